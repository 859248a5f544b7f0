"""Prints our verdicts on the signed mails that other projects test with.

    SMSBRIDGE_VECTORS=FOLDER python -m benchmarks.vectors

FOLDER has their checkouts, named as `git clone` does; docs/threats.md lists them. `believed` is
with our policy, `right` without it. Returns 1 if one that its authors call invalid is either.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from pathlib import Path

from tests.vectors.foreign import MAILS, VARIABLE, folder
from tests.vectors.verdicts import verdict


async def table(root: Path) -> int:
    """Print each project's numbers, and why valid mails are refused."""
    forged = 0
    for name, (read, _) in MAILS.items():
        if not (root / name).is_dir():
            print(f"{name}: not there")
            continue
        counts: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for vector in read(root / name):
            found = await verdict(vector)
            kind = "valid" if vector.valid else "invalid"
            counts.update(
                {kind: 1, f"{kind} believed": found.believed, f"{kind} right": found.right}
            )
            if vector.valid and not found.believed:
                reasons[re.sub(r" of \S+: ", ": ", found.why_not)] += 1
            if not vector.valid and (found.believed or found.right):
                forged += 1
                print(f"  WRONG: {vector.name}: {found}")
        print(f"{name}: {', '.join(f'{key} {count}' for key, count in counts.items())}")
        for reason, count in reasons.most_common():
            print(f"    {count:3} {reason}")
    return 1 if forged else 0


if __name__ == "__main__":
    at = folder()
    sys.exit(f"{VARIABLE} names no folder" if at is None else asyncio.run(table(at)))
