"""What an idle daemon does without: each module is a part of the memory that every one takes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from tests.servers.daemon import Config, Daemon

# Name → who imports it.
UNUSED: Final = {
    "aioimaplib": "a config with a mailbox",
    "aiohttp._websocket.reader_c": "nobody",
    "alembic": "a start that migrates",
    "bridge.providers.posts": "a config with posts",
    "bridge.web.api.acting": "who has a token and acts",
    "bridge.web.api.answers": "nobody",
    "bridge.web.api.asked": "who has a token and asks",
    "bridge.web.api.openapi": "nobody",
    "bridge.web.api.seeing": "who has a token and looks",
    "bridge.providers.template": "a provider declared in TOML",
    "bridge.sources.imap.client": "a config with a mailbox",
    "bridge.sources.posts.source": "a config with posts",
    "bridge.store.audit": "`smsbridge audit`",
    "bridge.web.page.screens": "a page that somebody opens",
    "cryptography": "a config with dkim",
    "dns": "a config with dkim",
    "frozenlist._frozenlist": "nobody",
    "jinja2": "a page that somebody opens",
    "psycopg": "a store on PostgreSQL",
    "pygments": "a terminal",
    "re2": "a config with a pattern",
    "rich": "a terminal",
    "sqlalchemy.dialects.postgresql": "a store on PostgreSQL",
}
_PROGRAM: Final = """
import atexit, json, sys
from bridge.cli import root
def tell():
    names = sorted(name for name, module in sys.modules.items() if module)
    print(json.dumps({"event": "imported", "names": names}), file=sys.stderr, flush=True)
atexit.register(tell)
sys.exit(root.main())
"""


@pytest.mark.processes
def test_an_idle_daemon_has_imported_nothing_that_its_config_does_not_use(tmp_path: Path) -> None:
    """SQLite, mails by SMTP, two endpoints: from its start to its end it has none of these."""
    config = Config(endpoints={"crm": "http://127.0.0.1:9/", "erp": "https://127.0.0.1:9/"},
                    secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")  # fmt: skip
    with Daemon(config.write(tmp_path), ("-c", _PROGRAM)) as daemon:
        daemon.start().wait_for("started")
        assert daemon.stop() == 0
        daemon.wait_until(lambda: daemon.logged("imported"))
        (told,) = daemon.log("imported")
    imported = set(told["names"])
    assert {"bridge.app", "sqlalchemy", "aiohttp", "httpx", "sqlite3"} <= imported
    assert imported & UNUSED.keys() == set()


@pytest.mark.parametrize("name", list(UNUSED))
def test_there_is_such_a_module(name: str) -> None:
    """A name that a library has changed would be missing from every daemon."""
    assert find_spec(name) is not None
