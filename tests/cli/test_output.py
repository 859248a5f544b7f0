"""Tables fit the terminal: ids stay whole or usable, and only texts are wrapped."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from bridge.cli.output import GrowingTable, layout

ID = "msg_01KNPH5X30401B3TRSPRJVWQZD"
COLUMNS = ("id", "message_id", "state", "next_at", "reason")
LONG = "answered 503: the database of the receiver is locked by a migration"
ROWS = [
    ["12", ID, "pending", "2026-04-08T12:30:52Z", LONG],
    ["11", ID, "delivered", "", ""],
]


def test_a_pipe_gets_everything_on_one_line() -> None:
    """Without a width nothing is cut, wrapped or moved."""
    head, first, _ = layout(COLUMNS, ROWS, None)
    assert head.split() == list(COLUMNS)
    assert ID in first
    assert first.endswith(LONG)


@pytest.mark.parametrize("width", range(37, 140, 7))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """At every width from a phone's on; ids and times are never broken."""
    lines = layout(COLUMNS, ROWS, width)
    assert max(map(cell_len, lines)) <= max(width, 40)  # an id in a block is kept whole
    text = "\n".join(lines)
    assert ID[:18] in text
    assert "2026-04-08T12:30:52Z" in text
    assert " ".join(LONG.split()[-2:]) in " ".join(text.split())


def test_ids_are_cut_before_texts_are_wrapped() -> None:
    """A cut id is a beginning that commands accept."""
    whole = layout(COLUMNS, ROWS, 140)
    assert ID in whole[1]
    cut = layout(COLUMNS, ROWS, 128)
    assert ID not in cut[1]
    assert ID[:18] in cut[1]
    assert len(cut) == len(ROWS) + 1


def test_a_text_without_room_goes_below_its_row() -> None:
    """At 80 columns the row stays one line, and the text follows it, indented."""
    lines = layout(COLUMNS, ROWS, 60)
    assert lines[1].split() == ["12", ID[:18], "pending", "2026-04-08T12:30:52Z"]
    assert lines[2].startswith("    answered 503")
    assert lines[-1].split() == ["11", ID[:18], "delivered"]


def test_rows_without_room_become_blocks() -> None:
    """Where not even the short columns fit, each row is a block of fields."""
    lines = layout(COLUMNS, ROWS, 40)
    assert lines[0].split() == ["id", "12"]
    assert "" in lines


def test_wide_characters_are_counted_as_they_are_shown() -> None:
    """Two cells for a Chinese character: the columns stay aligned."""
    lines = layout(("name", "text"), [["短信", "a"], ["sms", "b"]], None)
    assert [cell_len(line) for line in lines[1:]] == [7, 7]


def test_spare_columns_are_left_out_before_texts_are_moved() -> None:
    """They stay in a pipe and on a wide terminal."""
    assert "state" in layout(COLUMNS, ROWS, None, ("state",))[0].split()
    assert "state" in layout(COLUMNS, ROWS, 140, ("state",))[0].split()
    assert layout(COLUMNS, ROWS, 80, ("state",))[0].split() == [
        "id", "message_id", "next_at", "reason",
    ]  # fmt: skip


def test_a_growing_table_has_one_heading(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows that come later stand below the columns of those before."""
    table = GrowingTable(COLUMNS)
    table.add(ROWS[:1])
    table.add(ROWS[1:])
    table.add([["7", ID, "held", "", "paused"]])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == list(COLUMNS)
    assert [line.split()[0] for line in lines] == ["12", "11", "7"]
    assert {line.index(ID) for line in lines} == {head.index("message_id")}
    table.add([["6", ID, "held", "", "paused"]])
    assert capsys.readouterr().out.index("paused") == lines[2].index("paused")
