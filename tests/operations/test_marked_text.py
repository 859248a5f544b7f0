"""A mail's text is shown with the values that were found in it."""

from __future__ import annotations

from bridge.operations.marked_text import marked_lines


def test_what_was_found_is_cut_out_of_its_line() -> None:
    """The pieces of a line make the line again, and the marked ones are the values."""
    (first, second), more = marked_lines(
        "From: +39 x\nbody\nlast", [(6, 9, "from"), (12, 16, "body")], 2, 100
    )
    assert [(each.text, each.field) for each in first.pieces] == [
        ("From: ", None), ("+39", "from"), (" x", None),
    ]  # fmt: skip
    assert [(each.text, each.field) for each in second.pieces] == [("body", "body")]
    assert (first.fields, second.fields, more) == (("from",), ("body",), 1)


def test_a_value_is_on_its_own_lines_only() -> None:
    """One that ends with its line is not on the next; an empty one is where it would be."""
    lines, more = marked_lines("one\ntwo\n\nfour", [(0, 4, "body"), (8, 8, "from")], 10, 10)
    assert [line.fields for line in lines] == [("body",), (), ("from",), ()]
    assert more == 0


def test_a_long_line_is_cut_and_says_so() -> None:
    """Marks that reach past the cut end there."""
    ((line,), _) = marked_lines("abcdefgh", [(2, 8, "body")], 1, 4)
    assert [(each.text, each.field) for each in line.pieces] == [("ab", None), ("cd", "body")]
    assert line.left_out == 4
