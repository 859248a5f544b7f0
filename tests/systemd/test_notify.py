"""What systemd hears from us, on a real datagram socket, and how often it wants to hear it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.systemd import notify, watchdog_seconds
from tests.patience import PATIENCE


@pytest.fixture
def listening(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[socket.socket, str]]:
    """Open a datagram socket as systemd does, and tell how it spells the address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(PATIENCE)
        if request.param == "abstract":
            receiver.bind("")  # the kernel chooses a free name
            name = receiver.getsockname()
            yield receiver, "@" + name[1:].decode()
        else:
            path = tmp_path / "notify"
            receiver.bind(str(path))
            yield receiver, str(path)


@pytest.mark.parametrize("listening", ["path", "abstract"], indirect=True)
def test_each_state_is_one_datagram(listening: tuple[socket.socket, str]) -> None:
    """Systemd gets each state as it was given, one datagram each, in order."""
    receiver, address = listening
    for state in ("READY=1\nSTATUS=taking mail", "WATCHDOG=1", "STOPPING=1"):
        notify(state, {"NOTIFY_SOCKET": address})

    received = [receiver.recv(4096).decode() for _ in range(3)]

    assert received == ["READY=1\nSTATUS=taking mail", "WATCHDOG=1", "STOPPING=1"]


@pytest.mark.parametrize("listening", ["path"], indirect=True)
def test_the_environment_of_the_process_is_the_default(
    listening: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without more words, the address is the one that systemd put into the environment."""
    receiver, address = listening
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    notify("READY=1")

    assert receiver.recv(4096) == b"READY=1"


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234"])
def test_without_a_socket_nothing_happens(address: str | None) -> None:
    """Outside systemd, or with an address of another kind, notify does nothing."""
    notify("READY=1", {} if address is None else {"NOTIFY_SOCKET": address})


@pytest.mark.parametrize("listening", ["path"], indirect=True)
def test_a_relative_path_is_not_systemd(
    listening: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever listens under a name in our working folder doesn't hear us."""
    receiver, address = listening
    monkeypatch.chdir(Path(address).parent)
    receiver.setblocking(False)

    notify("READY=1", {"NOTIFY_SOCKET": Path(address).name})

    with pytest.raises(BlockingIOError):
        receiver.recv(4096)


@pytest.mark.parametrize("address", ["{folder}/gone", "@smsbridge-nobody-listens", "/" + "x" * 200])
def test_a_socket_nobody_listens_on_is_no_error(address: str, tmp_path: Path) -> None:
    """A lost datagram never takes the daemon down."""
    notify("WATCHDOG=1", {"NOTIFY_SOCKET": address.format(folder=tmp_path)})


@pytest.mark.parametrize("listening", ["path"], indirect=True)
def test_a_full_queue_is_not_waited_for(listening: tuple[socket.socket, str]) -> None:
    """A systemd that doesn't read can't stop the event loop."""
    receiver, address = listening
    for _ in range(2000):  # the kernel queues a few hundred at most
        notify("WATCHDOG=1", {"NOTIFY_SOCKET": address})

    assert receiver.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_counts_microseconds_for_our_process(
    environment: dict[str, str], seconds: float | None
) -> None:
    """The watchdog's time is read in seconds, and only if it is meant for this process."""
    assert watchdog_seconds(environment) == seconds
