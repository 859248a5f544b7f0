"""The operators' page: every screen is made here, works without a script, and comes from here.

Nothing of it but `routes` and `site` is imported before somebody asks for it who may.
"""

from bridge.web.page.pulse import Pulse
from bridge.web.page.routes import Page
from bridge.web.page.site import Site

__all__ = ["Page", "Pulse", "Site"]
