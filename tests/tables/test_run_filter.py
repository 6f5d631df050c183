"""Conditions on runs."""

import ast
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize._tables.column_names import ColumnNames
from crystallize._tables.run_filter import condition
from crystallize.errors import FrameError

NAMES = ("status", "inputs.lr", "inputs.cfg.depth", "values.accuracy", "best.loss")
ROW = {"status": "finished", "inputs.lr": 0.1, "inputs.cfg.depth": 3, "values.accuracy": 0.9, "best.loss": None}


def fulfils(text: str, row: Mapping[str, Any] = ROW, names: tuple[str, ...] = NAMES) -> bool:
    return condition(text, ColumnNames(names))(row)


@pytest.mark.parametrize(
    "text",
    [
        "lr < 0.2 and status == 'finished'",
        "inputs.lr == 0.1",
        "cfg.depth in (1, 2, 3)",
        "depth not in [4, -1]",
        "not lr > 0.2",
        "0 < lr <= 0.1 < accuracy",
        "lr > 5 or accuracy > 0.5",
        "'fin' in status",
        "loss is None",
        "loss == None",
        "lr is not None",
        'inputs["cfg"].depth == 3',
        'inputs["cfg.depth"] != 4',
        "  lr\n< 0.2  ",
        "status",
    ],
)
def test_fulfilled(text: str) -> None:
    """Names, also short ones, comparisons and literals mean the same as in Python."""
    assert fulfils(text)
    assert not fulfils(f"not ({text.strip()})")


@pytest.mark.parametrize(
    "text", ["loss < 1", "not loss < 1", "lr < 'a'", "loss < 1 and lr", "lr > 1 or loss < 1", "loss < 1 or lr > 1"]
)
def test_unknown(text: str) -> None:
    """A comparison without an order is neither true nor false, and a condition that depends on it is not fulfilled."""
    assert not fulfils(text)
    assert not fulfils(f"not ({text})")


@pytest.mark.parametrize("text", ["loss < 1 or lr", "not (loss < 1 and lr > 5)", "not 5 < lr < loss", "lr or loss < 1"])
def test_unknown_that_does_not_count(text: str) -> None:
    """A comparison without an order does not count if the other parts decide."""
    assert fulfils(text)


def test_missing_column() -> None:
    """A run that lacks a column has None there."""
    assert fulfils("accuracy is None", {"inputs.lr": 0.1})


def test_times_are_texts() -> None:
    """A time is compared as its text."""
    row = {"started": datetime(2026, 11, 24, 9, tzinfo=UTC)}

    assert fulfils("'2026-11-01' < started < '2026-12'", row, ("started",))
    assert not fulfils("started > '2026-11-25'", row, ("started",))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("acuracy > 0.5", "there is no column 'acuracy'; did you mean 'accuracy'?"),
        ("inputs.rl > 0.5", "did you mean 'inputs.lr'?"),
        ("nothing_like_it > 1", "the columns are 'status', 'inputs.lr'"),
        ("lr <", "this is no condition (invalid syntax)"),
        ("", "this is no condition"),
        ("lr = 1", "this is no condition"),
        ("lr\0", "this is no condition"),
        ("lr < 1; lr", "this is no condition"),
        ("lr + 1 > 2", "'lr + 1' is not allowed; write names of columns"),
        ("open('x')", "is not allowed"),
        ("__import__('os').system('x')", "is not allowed"),
        ("(lambda: 1)()", "is not allowed"),
        ("lr[0] > 1", "'lr[0]' is not allowed"),
        ("f()['x'] > 1", "is not allowed"),
        ("f().x > 1", "is not allowed"),
        ("lr := 1", "this is no condition"),
        ("[x for x in lr]", "is not allowed"),
        ("not " * 2000 + "lr", "too many levels"),
        ("lr" + " and lr" * 2000, "more than 10,000 characters"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    """What is no condition is refused, with the nearest right name, and never executed."""
    with pytest.raises(FrameError) as raised:
        fulfils(text)

    assert reason in raised.value.reason


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("lr = 0.1", "write == to compare"),
        ("status == finished", "a text is written in quotes: 'finished'"),
        ("lr < len(status)", "'len(status)' is not allowed; write names of columns"),
        ("learning-rate < 0.1", 'write inputs["learning-rate"] for this column'),
        ("cfg.a b == 3", 'write values["cfg.a b"] for this column'),
        ("tags == 'paper'", "write 'paper' in tags"),
        ("tags in ['paper']", "write 'paper' in tags"),
        ("'paper' == tags", "write 'paper' in tags"),
    ],
)
def test_advice(text: str, advice: str) -> None:
    """The error of a frequent mistake says how the condition is written."""
    with pytest.raises(FrameError) as raised:
        fulfils(text, {}, (*NAMES, "tags", "inputs.learning-rate", "values.cfg.a b"))

    assert advice in raised.value.reason
    assert fulfils('inputs["learning-rate"] < 0.1', {"inputs.learning-rate": 0.01}, ("inputs.learning-rate",))


def test_ambiguous() -> None:
    """A short name that several columns have is refused, unless it is that of an input or result as a whole."""
    names = ("inputs.a.depth", "inputs.b.depth", "inputs.lr", "inputs.a.lr")

    with pytest.raises(FrameError, match=r"'depth' may be 'inputs.a.depth' or 'inputs.b.depth'; write one of them"):
        fulfils("depth > 1", {}, names)
    with pytest.raises(FrameError, match=r"'loss' may be 'values.loss' or 'best.loss'"):
        fulfils("loss > 1", {}, ("values.loss", "best.loss"))
    assert fulfils("lr == 1", {"inputs.lr": 1, "inputs.a.lr": 2}, names)


def test_shortest_names() -> None:
    """The heading of a column is its shortest name that means it."""
    names = ColumnNames(["run", "took", "inputs.lr", "inputs.took", "values.loss", "best.loss", "other.x"])

    assert ["run", "took", "lr", "inputs.took", "values.loss", "best.loss", "other.x"] == [
        names.shortest(name) for name in names.full
    ]


PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=True), st.text("ab", max_size=3))
LITERALS = st.one_of(PLAIN.filter(lambda value: value == value and abs(hash(value)) >= 0), st.lists(PLAIN, max_size=3))
SIGNS = st.sampled_from(["<", "<=", ">", ">=", "==", "!=", "in", "not in"])


def literal(value: object) -> str:
    text = repr(value)
    return "1" if "nan" in text or "inf" in text else text


ATOMS = st.one_of(st.sampled_from(["a", "b", "c.d"]), LITERALS.map(literal))
COMPARISONS = st.builds(
    lambda first, rest: " ".join([first, *(f"{sign} {atom}" for sign, atom in rest)]),
    ATOMS,
    st.lists(st.tuples(SIGNS, ATOMS), min_size=1, max_size=3),
)
CONDITIONS = st.recursive(
    st.one_of(ATOMS, COMPARISONS),
    lambda inner: st.one_of(
        inner.map(lambda text: f"not ({text})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda texts: " and ".join(f"({text})" for text in texts)),
        st.lists(inner, min_size=2, max_size=3).map(lambda texts: " or ".join(f"({text})" for text in texts)),
    ),
    max_leaves=6,
)


@given(CONDITIONS, PLAIN, PLAIN, PLAIN)
def test_equals_eval(text: str, a: Any, b: Any, d: Any) -> None:
    """A condition is fulfilled if Python's own `eval` of it is true; where that raises, it may be anything."""

    class Owner:
        pass

    owner = Owner()
    owner.d = d  # type: ignore[attr-defined]  # a name with a dot
    ast.parse(text, mode="eval")
    found = fulfils(text, {"a": a, "b": b, "c.d": d}, ("a", "b", "c.d"))
    try:
        expected = bool(eval(text, {"__builtins__": {}}, {"a": a, "b": b, "c": owner}))
    except TypeError:
        return
    assert expected == found
