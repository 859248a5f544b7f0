"""Other projects' signed mails and headers: none that is invalid is believed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.trust import results
from tests.vectors import foreign
from tests.vectors.verdicts import verdict

# Why a mail that is valid by RFC 6376 may be refused; "it does not fit" is none of these.
POLICY = re.compile(
    r"its algorithm is none of|its version is not known here|it lacks the tag v="  # SHA-1, drafts
    r"|only testing \(t=y\)|it has l=|it had expired|it does not cover the header"
    r"|a header line is malformed|the mail cannot be read"  # DomainKeys only
)
# Those of them that stop us from verifying at all.
NEVER_VERIFIED = re.compile(r"algorithm|version|lacks the tag v=|malformed|cannot be read|l=")


def project(name: str) -> Path:
    """Return a project's checkout, else skip; under CI too, since it is data that we don't ship."""
    root = foreign.folder()
    if root is None or not (root / name).is_dir():
        pytest.skip(f"there is no checkout of {name} in the folder that {foreign.VARIABLE} names")
    return root / name


@pytest.mark.parametrize("name", foreign.MAILS)
async def test_no_invalid_mail_is_believed(name: str) -> None:
    """With our policy and without it; and what is valid is refused by policy alone."""
    read, fewest = foreign.MAILS[name]
    vectors = list(read(project(name)))
    assert len(vectors) >= fewest
    for vector in vectors:
        found = await verdict(vector)
        if not vector.valid:
            assert not found.believed, vector.name
            assert not found.right, vector.name
            continue
        assert found.believed or POLICY.search(found.why_not), (vector.name, found.why_not)
        assert found.right or NEVER_VERIFIED.search(found.why_not), (vector.name, found.why_not)


@pytest.mark.parametrize("name", foreign.HEADERS)
def test_headers_are_read_as_their_authors_read_them(name: str) -> None:
    """The authserv-id, and each method with its result; an id beyond ASCII is nobody's."""
    read, fewest = foreign.HEADERS[name]
    headers = list(read(project(name)))
    assert len(headers) >= fewest
    for header in headers:
        if not header.authserv_id.isascii():
            continue  # policy: some of its letters look or fold like others
        found = results.read(header.value)
        assert found.authserv_id == header.authserv_id, header.name
        assert tuple((each.method, each.result) for each in found.results) == header.results
