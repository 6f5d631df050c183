"""Names by their owners, against a dict."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystallize._core.name_index import NameIndex
from tests.interruption import called_at

from ..profiles import examples

STEMS = ["fold-", "", "a/b", "0", "fold-00", "x#", "²"]
ENDS = [*map(str, range(30)), *(f"{at:03}" for at in range(12)), "1023", "1024", "9" * 15, "9" * 16, "9" * 5000, ""]
names = st.builds("".join, st.tuples(st.sampled_from(STEMS), st.sampled_from(ENDS)))


@settings(max_examples=examples(200), deadline=None)
@given(groups=st.lists(st.sets(names, max_size=40), max_size=6))
def test_owners(groups: list[set[str]]) -> None:
    """Each name has the owner of its group, also in a copy and after pickling."""
    index: NameIndex[int] = NameIndex()
    expected: dict[str, int] = {}
    for owner, group in enumerate(groups):
        new = group.difference(expected)
        index.add(sorted(new), owner)
        expected |= dict.fromkeys(new, owner)
    asked = [stem + end for stem in STEMS for end in ENDS]
    found = {name: index.find(name) for name in asked}
    assert {name: expected.get(name) for name in asked} == found
    assert found == {name: pickle.loads(pickle.dumps(index)).find(name) for name in asked}
    texts = index.mapped(str)
    assert {name: None if owner is None else str(owner) for name, owner in found.items()} == {
        name: texts.find(name) for name in asked
    }


def test_consecutive_numbers_take_little_memory() -> None:
    """10,000 names in groups take less than two bytes each."""
    index: NameIndex[bool] = NameIndex()
    for at in range(0, 10_000, 1000):
        index.add([f"fold-{number}" for number in range(at, at + 1000)], True)
    assert len(pickle.dumps(index)) < 20_000
    assert index.find("fold-9999")
    assert index.find("fold-10000") is None


def test_signal_handler_that_adds_names() -> None:
    """Names that a signal handler adds while others are being added are not lost."""
    groups = [[f"fold-{number}" for number in range(at, at + 10)] for at in (0, 10, 20)]
    for at in range(1, 500):
        index: NameIndex[int] = NameIndex()
        index.add(groups[0], 0)
        handled: list[int] = []

        def handle(index: NameIndex[int] = index, handled: list[int] = handled) -> None:
            index.add(groups[1], 1)
            handled.append(1)

        with called_at(at, handle):
            index.add(groups[2], 2)
        if not handled:
            return
        assert [0] * 10 + [1] * 10 + [2] * 10 == [index.find(name) for group in groups for name in group]
    pytest.fail("adding names has too many calls for this test")
