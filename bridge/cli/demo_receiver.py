"""The demo's own receiver of webhooks."""

from __future__ import annotations

import queue
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self

from bridge.errors import NotPossible

PATIENCE: Final = 30.0  # seconds that a step of the demo may take on a slow machine


@dataclass(frozen=True, slots=True)
class Received:
    """A webhook as received."""

    headers: dict[str, str]
    body: bytes
    status: int  # our response


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Print no traceback if a connection is reset: the demo kills the daemon."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Receiver:
    """A receiver of webhooks on 127.0.0.1; `refuse` makes it answer 503."""

    def __init__(self) -> None:
        self.inbox: queue.Queue[Received] = queue.Queue()
        self.refuse = threading.Event()
        receiver = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                """Receive one webhook."""
                length = int(self.headers.get("content-length", "0"))
                body = self.rfile.read(length)
                if len(body) < length:
                    self.close_connection = True  # the daemon was killed in the middle of it
                    return
                status = 503 if receiver.refuse.is_set() else 204
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.inbox.put(Received(headers, body, status))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing: the demo prints the webhooks."""

        self._server = _Server(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hooks/sms"

    def __enter__(self) -> Self:
        """Listen in a thread."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def next(self) -> Received:
        """Wait for the next webhook."""
        try:
            return self.inbox.get(timeout=PATIENCE)
        except queue.Empty:
            raise NotPossible(f"no webhook came within {PATIENCE:.0f} s") from None
