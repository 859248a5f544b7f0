"""How texts lie in the database's columns."""

from hypothesis import example, given
from hypothesis import strategies as st

from bridge.store.types import as_it_was, exactly


@given(st.text(st.characters(exclude_categories=())))
@example("\x01")
@example('\x01"a"')
@example("a\0b")
@example("\udcff")
def test_a_text_comes_back_as_it_was(text: str) -> None:
    """Whatever a message holds, a database can store it and gives it back."""
    stored = exactly(text)
    assert stored is not None
    stored.encode()
    assert "\0" not in stored
    assert as_it_was(stored) == text


def test_ordinary_texts_are_stored_as_they_are() -> None:
    """So that they can be searched for in the database."""
    assert exactly("Perché no? 5 €\n👍") == "Perché no? 5 €\n👍"
