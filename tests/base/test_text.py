"""Values and names as short text on one line."""

import logging
from collections import deque
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from crystallize import FrozenContext, LoggingContext
from crystallize._base.text import MASK, nearest, printable, rounded, short, short_type, took, type_name

MANY = 50_000_000


class Told:
    """Its repr is what it was made with."""

    def __init__(self, text: Any) -> None:
        self.text = text

    def __repr__(self) -> str:
        text: str = self.text
        return text


class Refusing:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Named(NamedTuple):
    name: str


class Model(BaseModel):
    name: str


class Str(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ("1", 1),
        ("'lr'", "lr"),
        ("b'ab'", b"ab"),
        ("bytearray(b'ab')", bytearray(b"ab")),
        ("[1, 2]", [1, 2]),
        ("{'a': 1}", {"a": 1}),
        ("nan", float("nan")),
        ("'é'", "é"),
        ("'a\\nb'", "a\nb"),
        ("'\\udfff'", "\udfff"),
        ("one two", Told("one\n\t two\r\n")),
        ("\\x1b[31mred", Told("\x1b[31mred")),
        ("\\ud800", Told("\ud800")),
        ("[SecretStr('**********')]", [SecretStr("hunter2")]),
    ],
)
def test_short(expected: str, value: object) -> None:
    """A small value is its repr, on one line, with what does not print escaped."""
    assert expected == short(value)


@pytest.mark.parametrize("value", [Refusing(), Told(5), Told(None)], ids=["raises", "int", "None"])
def test_short_where_repr_fails(value: object) -> None:
    """A value whose repr raises, or is no text, is told of by its type."""
    text = short(value)

    assert type(value).__name__ in text
    assert text.isprintable()


def test_short_where_repr_fails_in_a_builtin() -> None:
    """Also what passes for a builtin and is none has a text."""
    value = type("list", (), {"__module__": "builtins"})()

    assert "<list whose repr raises TypeError>" == short(value)


@pytest.mark.parametrize(
    "value",
    [
        "x" * MANY,
        b"x" * MANY,
        bytearray(MANY),
        memoryview(bytes(MANY)),
        Str("x" * MANY),
        ["x" * MANY],
        {"x" * MANY: "x" * MANY},
        Named("x" * MANY),
        Model(name="x" * MANY),
        list(range(1_000_000)),
        deque(range(1_000_000)),
        10**5000,
        Told("\x00" * 1000),
        Told("é" * 1000),
        type("Long" * 1000, (), {"__repr__": Refusing.__repr__})(),
    ],
    ids=lambda value: type(value).__name__[:20],
)
def test_short_is_short(value: object) -> None:
    """Whatever a value is, its text has at most 200 characters."""
    assert len(short(value)) <= 200


def test_short_names_an_odd_class_on_one_line() -> None:
    """A class with a line break in its name and a repr that raises is told of on one line."""
    odd = type("Two\nLines", (), {"__repr__": Refusing.__repr__})

    assert short(odd()).isprintable()


@settings(deadline=None)
@given(st.recursive(st.text() | st.binary(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_short_is_one_line(value: object) -> None:
    """Text of any value is short, and printable."""
    text = short(value)

    assert text.isprintable()
    assert len(text) <= 200


@settings(deadline=None)
@given(st.text())
def test_short_of_any_repr_is_one_line(text: str) -> None:
    """Text of a value with any repr is short, and printable."""
    shown = short(Told(text))

    assert shown.isprintable()
    assert len(shown) <= 200


@pytest.mark.parametrize(
    "value", ["x" * MANY, b"x" * MANY, ["y" * MANY], Refusing()], ids=["str", "bytes", "list", "odd"]
)
def test_log_line_is_short(value: object, caplog: pytest.LogCaptureFixture) -> None:
    """A read of a huge value is one DEBUG line of less than 1 KB."""
    log = LoggingContext(FrozenContext({"big": value}))
    with caplog.at_level(logging.DEBUG, "crystallize"):
        log["big"]

    [line] = caplog.messages
    assert line.startswith("Read big -> ")
    assert line.isprintable()
    assert len(line.encode()) < 1024


@pytest.mark.parametrize(
    ("expected", "name", "names"),
    [
        ("lr", "lrr", ["lr", "epochs"]),
        ("accuracy", "acuracy", ["lr", "accuracy"]),
        ("lr", "lr", ["lr"]),
        ("lr", "LR", ["lrr", "lr"]),
        ("learning_rate", "learningRate", ["learning_ratio", "learning_rate"]),
        (None, "zzz", ["lr", "epochs"]),
        (None, "lr", []),
        (None, "a" * 255, ["lr"]),
    ],
)
def test_nearest(expected: str | None, name: str, names: list[str]) -> None:
    """The nearest name is the one that was probably meant, or none."""
    assert expected == nearest(name, names)


def test_nearest_of_many() -> None:
    """Also among very many names there is an answer."""
    names = [f"key{number}" for number in range(100_000)]

    assert nearest("kei17", names) in names


@pytest.mark.parametrize(("expected", "cls"), [("int", int), ("collections.deque", deque), (f"{__name__}.Told", Told)])
def test_type_name(expected: str, cls: type) -> None:
    """A type's name is the full one, without the module for builtins."""
    assert expected == type_name(cls)


def test_mask_shows_nothing() -> None:
    """What stands for a secret says nothing about it, not even its length."""
    assert {"*"} == set(MASK)
    assert f"{MASK}" in short(SecretStr("a"))


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("loss", "loss"),
        ("ünï שלום", "ünï שלום"),
        ("\\x1b[31m\\n", "\x1b[31m\n"),
        ("\\u202egnp", "\u202egnp"),
        ("\\ud800", "\ud800"),
    ],
)
def test_visible(expected: str, text: str) -> None:
    """What moves a cursor, changes a colour or turns the direction of reading is shown by its code."""
    assert expected == printable(text)


@pytest.mark.parametrize(
    ("expected", "seconds"),
    [
        ("0", 0),
        ("0", -1.5),
        (None, None),
        ("2.5 µs", 2.5e-6),
        ("1 ms", 0.0009996),
        ("17.2 ms", 0.01723),
        ("1 s", 0.9999),
        ("59.9 s", 59.9),
        ("1 min", 59.99),
        ("2 min 5 s", 125),
        ("1 h", 3599.9),
        ("1 h 30 min", 5400),
        ("2 d 3 h", 2 * 86400 + 3 * 3600),
    ],
)
def test_duration_as_text(expected: str | None, seconds: float | None) -> None:
    """A duration is told in the unit that fits it, and in at most one more."""
    assert expected == took(seconds)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.3333333333333333", "0.333333"),
        ("-12345.678901", "-12345.7"),
        ("1.2345678e-07", "1.23457e-07"),
        ("1.0", "1.0"),
        ("(0.1234567, 12345678)", "(0.123457, 12345678)"),
        ("3 points, the last 0.06666666666666667", "3 points, the last 0.0666667"),
        ("'version 1.23456789'", "'version 1.23456789'"),
        ("1.2.34567890", "1.2.34567890"),
        ("v1.23456789", "v1.23456789"),
        ("nan", "nan"),
    ],
)
def test_rounds_floats(text: str, expected: str) -> None:
    """Floats in a short text have six significant digits; ints, texts and version numbers stay as they are."""
    assert expected == rounded(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("int", "int"),
        ("pipeline.schemas.Train", "Train"),
        ("tests.work.make.<locals>.Train", "Train"),
        ("pipeline.Box[pipeline.schemas.Train, list[pipeline.Other]]", "Box[Train, list[Other]]"),
        ("", ""),
    ],
)
def test_short_type(name: str, expected: str) -> None:
    """A type is named without its module and the classes around it, and so are the types in its brackets."""
    assert expected == short_type(name)
