// Times in the reader's own zone, and the live list. The page works without it, in UTC.
"use strict";

const zoned = new Intl.DateTimeFormat("sv-SE", {
  year: "numeric", month: "2-digit", day: "2-digit",
  hour: "2-digit", minute: "2-digit", second: "2-digit",
});

function localTimes(within) {
  for (const each of within.querySelectorAll("time[datetime]:not([data-local])")) {
    const at = new Date(each.dateTime);
    if (!Number.isNaN(at.getTime())) {
      each.textContent = zoned.format(at);
      each.dataset.local = "";
    }
  }
}

function follow(list) {
  const button = document.getElementById("pause");
  const state = document.getElementById("live-state");
  const most = Number(list.dataset.most);
  let stream = null;
  let last = list.dataset.after;

  function say(text) {
    state.textContent = text;
  }

  function add(event) {
    last = event.lastEventId;
    const holder = document.createElement("template");
    holder.innerHTML = event.data; // our own template's, which escapes what strangers wrote
    localTimes(holder.content);
    for (const row of [...holder.content.querySelectorAll("li")]) {
      row.classList.add("new");
      list.prepend(row);
    }
    while (list.children.length > most) list.lastElementChild.remove();
    document.getElementById("live-empty").hidden = list.children.length > 0;
  }

  function open() {
    const address = new URL(list.dataset.stream, location.href);
    address.searchParams.set("after", last);
    stream = new EventSource(address);
    stream.addEventListener("open", () => say("Live: what comes is shown here at once."));
    stream.addEventListener("rows", add);
    stream.addEventListener("at", (event) => { last = event.lastEventId; });
    stream.addEventListener("ended", () => {
      pause();
      say("Your session has ended: log in again.");
    });
    stream.addEventListener("error", () => {
      // The bridge ends each stream after a while; a browser then comes back by itself.
      if (stream && stream.readyState === EventSource.CLOSED) {
        pause();
        say("The connection was refused: load the page again.");
      } else {
        say("Connecting …");
      }
    });
    button.textContent = "Pause";
  }

  function pause() {
    if (stream) stream.close();
    stream = null;
    button.textContent = "Go on";
    say("Paused: nothing is fetched. What comes meanwhile is shown when you go on.");
  }

  button.addEventListener("click", () => (stream ? pause() : open()));
  button.hidden = false;
  open();
}

// Fetches a part of the page anew every so many seconds, for as long as it asks for that.
function renew(part) {
  setTimeout(async () => {
    const answer = await fetch(location.href).catch(() => null);
    const fresh = answer && answer.ok && !answer.redirected
      ? new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(part.id)
      : null;
    if (fresh) {
      localTimes(fresh);
      part.replaceWith(fresh);
    }
    if ((fresh || part).dataset.renew) renew(fresh || part);
  }, 1000 * Number(part.dataset.renew));
}

localTimes(document);
for (const part of document.querySelectorAll("[data-renew]")) renew(part);
for (const each of document.querySelectorAll("[data-zone]")) {
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (name) each.textContent = `Times are in your zone, ${name}; UTC is shown on hover.`;
}
const list = document.getElementById("live");
if (list) follow(list);
