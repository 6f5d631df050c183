"""Nested values of every kind in the file of a run: nobody changes them, and they come back equal or are named."""

import enum
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from crystallize import FrozenContext, Journal, LostKeyError, load_run
from crystallize._core import placed_values, value_parts
from crystallize._core.equality import same
from crystallize.runs import Run, verify_run
from tests.core import nested_values
from tests.core.nested_values import PARTS, STORED_PARTS, WRAPS, Recipe, built, recipes, shown, spoil
from tests.profiles import examples

from .journal_runs import die


class Declared(BaseModel, arbitrary_types_allowed=True):
    """A key of each type that only a schema restores."""

    anything: Any
    model: nested_values.Model
    models: dict[str, list[nested_values.Model]]
    fixed: nested_values.Fixed
    open: nested_values.Open
    data: nested_values.Data
    fixed_data: tuple[nested_values.FixedData, ...]
    pair: nested_values.Pair


AROUND: dict[str, Callable[[Any], Any]] = {
    "anything": lambda part: part,
    "model": WRAPS["model"],
    "models": lambda part: {"a": [nested_values.Model(part=part)]},
    "fixed": WRAPS["frozen model"],
    "open": WRAPS["open model"],
    "data": WRAPS["dataclass"],
    "fixed_data": lambda part: (nested_values.FixedData(part), nested_values.FixedData(5)),
    "pair": WRAPS["named tuple"],
}
"""What makes a value of each key of `Declared` around a part."""

RESTORED_WRAPS = ("list", "tuple", "dict", "dict with a number", "twice", "read-only mapping", "deque", "OrderedDict")
"""The wraps that come back without a schema, if their parts do."""


ANY_PARTS = [
    # That comes back with its fields in the same places, and without the mark that they are aligned.
    *(part for part in PARTS if part != "structured, aligned"),
    *STORED_PARTS,
]


class Written(NamedTuple):
    """A value that a step writes to a key, and what a run is to give back."""

    kind: Any
    """The class of the context."""
    key: str
    expected: Any
    """What `shown` says of the value, as it was written."""


def write(journal: Journal, recipe: Recipe, key: str, *, is_typed: bool) -> Written:
    """Write a value in a step, and change it by all references to it that the writer and readers have."""
    kind: Any = FrozenContext[Declared] if is_typed else FrozenContext
    value, expected = AROUND[key](built(recipe)), shown(AROUND[key](built(recipe)))
    ctx = journal.context(kind)
    with ctx.step("write") as step:
        step[key] = value
        spoil(value)
        spoil(step[key])
        spoil(ctx[key])
    assert expected == shown(ctx[key])
    return Written(kind, key, expected)


def check_loaded(run: Run[Any], written: Written) -> bool:
    """Check that a loaded run gives the value back, or names it; return whether it does give it back."""
    entry = run.entries[written.key]
    if entry.missing:
        assert entry.why
        assert written.key in run.unrestorable
        with pytest.raises(LostKeyError, match=f"'{written.key}'"):
            run.values[written.key]
        return False
    found = run.values[written.key]
    assert written.expected == shown(found)
    assert same(found, run.context[written.key])
    spoil(found)
    assert written.expected == shown(run.values[written.key])
    return True


def check_resumed(journal: Journal, written: Written, *, comes_back: bool) -> None:
    """Check that a resumed run has the value and not to do its step again, or neither."""
    again = journal.context(written.kind)
    assert comes_back is (written.key in again)
    assert comes_back is again.provenance.finished("write")
    if comes_back:
        spoil(again[written.key])
        assert written.expected == shown(again[written.key])


class Store(enum.Enum):
    """Where the arrays of a value are."""

    ROWS = "in the file of the run"
    OBJECTS = "in the folder objects"
    PLACED = "in the folder objects, and not copied before"


def check(recipe: Recipe, key: str = "anything", *, is_typed: bool, dies: bool, store: Store) -> bool:
    """Check a value from its writing to the end of a resumed run; return whether it came back."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if store is not Store.ROWS:
            patch.setattr(value_parts, "LARGE", 100)
        if store is Store.PLACED:
            patch.setattr(placed_values, "LARGE", 1)
        opened = Journal.start(folder, "run")
        written = write(opened, recipe, key, is_typed=is_typed)
        die(opened) if dies else opened.close()
        comes_back = check_loaded(load_run(opened.path, Declared if is_typed else None), written)
        with Journal.resume(opened.path) as journal:
            check_resumed(journal, written, comes_back=comes_back)
        assert () == verify_run(opened.path)
        return comes_back


pytestmark = [
    pytest.mark.usefixtures("without_environment"),
    pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning"),
]
SETTINGS = settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.mark.slow
@SETTINGS
@given(recipes(*ANY_PARTS), st.sampled_from([*AROUND]), st.booleans(), st.sampled_from(Store))
def test_any_values_of_declared_types(recipe: Recipe, key: str, dies: bool, store: Store) -> None:
    """A value of declared types, with values of any kinds within, stays and comes back as it was, or is named."""
    check(recipe, key, is_typed=True, dies=dies, store=store)


@pytest.mark.slow
@SETTINGS
@given(recipes(*ANY_PARTS), st.booleans(), st.sampled_from(Store))
def test_any_values_without_a_schema(recipe: Recipe, dies: bool, store: Store) -> None:
    """The same holds without a schema."""
    check(recipe, is_typed=False, dies=dies, store=store)


@pytest.mark.slow
@SETTINGS
@given(
    recipes(*STORED_PARTS, wraps=RESTORED_WRAPS),
    st.sampled_from(["", *AROUND]),
    st.booleans(),
    st.sampled_from(Store),
)
def test_built_in_kinds_come_back(recipe: Recipe, key: str, dies: bool, store: Store) -> None:
    """A value in which all is of built-in kinds comes back."""
    assert check(recipe, key or "anything", is_typed=key != "", dies=dies, store=store)


@pytest.mark.slow
@pytest.mark.parametrize("part", STORED_PARTS)
def test_each_kind_comes_back(part: str) -> None:
    """A value of each built-in kind comes back, alone and within a model, from a row and from an object."""
    assert check(("part", part), is_typed=False, dies=False, store=Store.PLACED)
    assert check(("tuple", ("part", part)), "models", is_typed=True, dies=True, store=Store.ROWS)
