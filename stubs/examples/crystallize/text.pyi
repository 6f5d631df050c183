# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Values and names as short text on one line, and the name that was probably meant."""

from collections.abc import Iterable
from datetime import datetime

__all__ = [
    "MASK",
    "counted",
    "cut",
    "lasted",
    "legible",
    "moment",
    "nearest",
    "one_line",
    "printable",
    "short",
    "took",
    "type_name",
]
MASK: str
"""What stands in place of a secret."""

def short(value: object) -> str:
    """Return a short repr of a value, on one line, whatever it holds and even if its repr raises."""

def cut(text: str) -> str:
    """Return text that is too long without its end."""

def legible(text: str) -> str:
    """Return a text of which every character is Unicode; what came from bytes that are none is escaped."""

def printable(text: str) -> str:
    """Return text with escapes in place of what moves a cursor, changes a colour or turns the direction of reading."""

def one_line(text: str) -> str:
    """Return text on one line, as `printable` does."""

def moment(when: datetime | None) -> str | None:
    """Return a time to the second; of None, None."""

def took(seconds: float | None) -> str | None:
    """Return how long something took; of None, None."""

def lasted(seconds: float) -> str:
    """Return a duration as text: "20 ms", "41.7 s", "2 h 5 min"."""

def counted(count: int, what: str) -> str:
    """Return how many there are of something: "1 point", "1,000 points"."""

def type_name(cls: type) -> str:
    """Return the full name of a type, without the module for builtins."""

def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that `name` was probably meant to be, if there is one."""
