"""`python -m bridge` and the `smsbridge` command."""

from __future__ import annotations

import sys

from bridge.cli import root


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(root.main())


if __name__ == "__main__":
    main()
