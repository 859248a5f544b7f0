"""The cursor never passes a mail that is not finished, in whatever order mails are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.model import ArrivalOutcome
from bridge.sources.imap.progress import Progress


def test_a_failure_in_the_middle_holds_the_cursor() -> None:
    """What is above it is finished and not read again, and nothing is forgotten."""
    progress = Progress(7, base=0, settled=0)
    assert progress.found([3, 5, 9]) == [3, 5, 9]
    assert progress.cursor == 2
    for uid in (9, 3):
        progress.finish(uid)
    assert progress.cursor == 4
    assert progress.open == 1
    assert progress.found([5, 9, 12]) == [5, 12]
    progress.finish(12)
    assert progress.cursor == 4
    progress.finish(5)
    assert progress.cursor == 12


def test_what_is_gone_holds_nothing() -> None:
    """A mail that somebody took away before it was read is settled by the next search."""
    progress = Progress(7, base=0, settled=0)
    progress.found([3, 5])
    progress.finish(5)
    assert progress.found([5]) == []
    assert progress.cursor == 5


def test_committed_is_not_finished() -> None:
    """A mail whose action is not done holds the cursor, and is not read again."""
    progress = Progress(7, base=0, settled=0)
    progress.found([3, 5])
    progress.committed[3] = ArrivalOutcome.MESSAGE
    progress.finish(5)
    assert progress.cursor == 2
    assert progress.found([3, 5]) == []
    assert progress.cursor == 2
    progress.finish(3)
    assert progress.cursor == 5


def test_below_the_base_there_is_no_cursor() -> None:
    """While old mails are picked one by one, a restart must begin with them again."""
    progress = Progress(7, base=10, settled=0)
    progress.found([4, 8, 12])
    assert progress.cursor is None
    for uid in (4, 12):
        progress.finish(uid)
    assert progress.cursor is None
    progress.finish(8)
    assert progress.cursor == 12


def test_an_empty_folder_is_settled_up_to_its_base() -> None:
    """Where nothing is found, nothing is left to be done."""
    progress = Progress(7, base=10, settled=0)
    assert progress.found([]) == []
    assert progress.cursor == 10


@given(
    st.lists(
        st.tuples(st.sets(st.integers(1, 30)), st.lists(st.integers(0, 10), max_size=12)),
        max_size=6,
    )
)
def test_every_mail_is_read_until_it_is_finished(
    rounds: list[tuple[set[int], list[int]]],
) -> None:
    """Over any searches and any order of ends, no unfinished mail is ever below the cursor."""
    progress = Progress(7, base=0, settled=0)
    there: set[int] = set()
    finished: set[int] = set()
    highest = 0
    for new, ends in rounds:
        there |= {uid + highest for uid in new}
        highest = max(there, default=0)
        wanted = progress.found(uid for uid in there if uid > progress.settled)
        assert set(wanted) == there - finished
        for end in ends:
            if wanted:
                uid = wanted.pop(end % len(wanted))
                progress.finish(uid)
                finished.add(uid)
            assert progress.cursor is not None
            assert all(uid > progress.cursor for uid in there - finished)
    assert progress.open == len(there - finished)
