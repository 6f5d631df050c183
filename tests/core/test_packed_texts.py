"""Texts and numbers as compressed bytes."""

from hypothesis import given
from hypothesis import strategies as st

from crystallize._core.packed_texts import numbers_in, packed_numbers, packed_texts, texts_in


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec=None))))
def test_round_trip(texts: list[str]) -> None:
    """All texts without a zero character come back."""
    assert texts == texts_in(packed_texts(texts))


@given(st.lists(st.integers()))
def test_round_trip_of_numbers(numbers: list[int]) -> None:
    """All numbers come back."""
    assert numbers == [*numbers_in(packed_numbers(numbers))]
