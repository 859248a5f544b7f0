"""smsbridge turns inbound SMS that arrive as e-mail into signed webhooks, and loses none."""

import sys

__version__ = "0.1.0"

# httpx would load its own command, and with that rich and pygments: 4 MB in every daemon. Where the
# command cannot be imported it does without, as when those two are not installed.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
