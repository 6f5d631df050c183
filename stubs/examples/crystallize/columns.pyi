# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Columns for Arrow, made of packed ones: what a block has once is looked at once, and what is numbers is copied whole.

What a column holds decides its type. Numbers, texts, bools, dates and times have one of their own; what has none, and
what is mixed, is text that holds JSON.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Flag
from typing import Any, TypeAlias
from .points import Column
from .schema import Outcome
import pyarrow as pa

__all__ = ["Form", "Kind", "Seen", "beside", "constant", "encoded", "form_of", "gathered", "number", "text_dictionary"]
_Array: TypeAlias = pa.Array[Any]

class Kind(Flag):
    """What there is in a column."""

    NOTHING = 0
    BOOL = ...
    INT = ...
    """Ints that a float holds exactly."""

    BIG = ...
    """Ints of at most 64 bits that it may not."""

    HUGE = ...
    """Ints of more."""

    FLOAT = ...
    TEXT = ...
    MOMENT = ...
    """Times that say in which zone."""

    CLOCK = ...
    """Times that do not."""

    DATE = ...
    OTHER = ...
    LOST = ...
    """What a file cannot give back; beside it what JSON makes of that."""

    @property
    def is_number(self) -> bool:
        """Whether it is floats, and ints that are floats as well."""

def number(item: Any) -> float | None:
    """Return the nearest float to a number; None of what is none, and of what is past all floats."""

def beside(item: Any) -> str | None:
    """Return, as JSON, what `number` does not give exactly; else None."""

class Seen:
    """What is known of a column before it is made: what was declared, and what was found.

    Attributes:
        kinds: What there is in it.
        is_lacking: Whether there is in it what a file cannot give back.
    """

    kinds: Kind
    is_lacking: bool

    def __init__(self) -> None: ...
    def declare(self, outcome: Outcome | None) -> None:
        """Note what something that is put in it can be; None where that is not known, and it is no choice."""

    def see(self, column: Column) -> Kind:
        """Note what is in a part of it, and return that."""

    @property
    def choices(self) -> tuple[Any, ...] | None:
        """All that can be in it, where that is a choice."""

@dataclass(frozen=True)
class Form:
    """How a column is made."""

    type: pa.DataType
    convert: Callable[[Any], Any]
    """Returns what Arrow is to keep of an item: in a dictionary its place."""

    takes_numbers: bool = False
    """Whether packed numbers are taken as they are."""

    is_json: bool = False
    dictionary: pa.Array[Any] | None = None

    @property
    def kept(self) -> pa.DataType:
        """The type of what `convert` returns."""

def form_of(seen: Seen) -> Form:
    """Return how a column is made that holds what was seen."""

def text_dictionary(texts: Iterable[str]) -> tuple[pa.DataType, pa.Array[Any]]:
    """Return the type of a column of few texts, and these."""

def constant(place: int | None, size: int, dictionary: _Array) -> _Array:
    """Return a column of one text, by its place in a dictionary."""

def encoded(places: _Array, dictionary: _Array) -> _Array:
    """Return a column of texts by their places in a dictionary."""

def gathered(columns: Iterable[Column], form: Form) -> _Array:
    """Return packed columns that follow on one another as one.

    Args:
        columns: The columns; at least one.
        form: What to make of them.
    """
