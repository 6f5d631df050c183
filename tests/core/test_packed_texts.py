"""Texts as compressed bytes."""

from hypothesis import given
from hypothesis import strategies as st

from crystallize._core.packed_texts import packed_texts, texts_in


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec=None))))
def test_round_trip(texts: list[str]) -> None:
    """All texts without a zero character come back."""
    assert texts == texts_in(packed_texts(texts))
