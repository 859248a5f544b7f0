import base64
import hmac
import json
import os
import sqlite3
import time
import traceback
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = base64.b64decode(os.environ["SMSBRIDGE_SECRET"].removeprefix("whsec_"))


def take(sms):
    print(sms["from"], sms["to"], sms["body"], flush=True)  # your work goes here


def verified(headers, body):
    """Tell whether smsbridge signed this request within the last 5 minutes."""
    timestamp = headers.get("webhook-timestamp", "")
    signed = f"{headers.get('webhook-id')}.{timestamp}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.digest(KEY, signed, "sha256"))
    given = headers.get("webhook-signature", "").split(" ")
    genuine = any(hmac.compare_digest(expected, each.encode()) for each in given)
    return genuine and abs(time.time() - int(timestamp)) <= 300


def connect():
    return closing(sqlite3.connect("sms.db", timeout=60, isolation_level="IMMEDIATE"))


with connect() as db:
    db.execute("CREATE TABLE IF NOT EXISTS inbox (id TEXT PRIMARY KEY, event BLOB NOT NULL)")


def receive(headers, body):
    """Store a webhook and do the work in one transaction; return the status to answer."""
    if not verified(headers, body):
        return 401
    event = json.loads(body)
    if event["type"] != "sms.received":
        return 204  # a ping, or something new
    with connect() as db, db:
        row = (headers["webhook-id"], body)
        if db.execute("INSERT OR IGNORE INTO inbox VALUES (?, ?)", row).rowcount:
            take(event["data"])
    return 204  # only after the commit; a repeated id is not an error


class Handler(BaseHTTPRequestHandler):
    timeout = 60

    def do_POST(self):
        try:
            length = int(self.headers.get("content-length", 0))
            status = receive(self.headers, self.rfile.read(min(length, 1_000_000)))
        except Exception:
            traceback.print_exc()
            status = 500  # smsbridge tries again
        self.send_response(status)
        self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer.request_queue_size = 100
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Handler)
    print(f"waiting for webhooks on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
