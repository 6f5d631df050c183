"""Values and names as short text on one line, and the name that was probably meant."""

import reprlib
from collections.abc import Iterable

__all__ = ["MASK", "legible", "nearest", "short", "type_name"]

MASK = "**********"
"""What stands in place of a secret."""

_LONGEST = 200
"""Characters of the longest text that `short` returns."""

_CANDIDATES = 2000
"""Names that `nearest` compares at the most: a context may hold many, and an error should come at once."""


class _OneLine(reprlib.Repr):
    """Short reprs. What it does not know it prints whole and cuts, so large builtins have a method."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 80

    def repr_bytes(self, x: bytes, level: int) -> str:
        """Return the repr of the first bytes, without printing the others."""
        return repr(x[:40]) + ("..." if len(x) > 40 else "")

    repr_bytearray = repr_bytes

    def repr_int(self, x: int, level: int) -> str:
        """Return the repr of an int, or how large it is: Python refuses to print the largest ones."""
        return super().repr_int(x, level) if x.bit_length() < 4000 else f"<int of {x.bit_length()} bits>"

    def repr_instance(self, x: object, level: int) -> str:
        """Return the repr of any other object, cut; if it raises, so does this."""
        text = repr(x)
        return text if len(text) <= self.maxother else f"{text[: self.maxother - 3]}..."


_repr = _OneLine().repr


def short(value: object) -> str:
    """Return a short repr of a value, on one line, whatever it holds and even if its repr raises."""
    try:
        text = _repr(value)
    except Exception as error:  # the value's own repr is at fault, and it is not what was asked about
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    line = " ".join(text.split())
    line = line if line.isprintable() else line.encode("unicode_escape").decode("ascii")
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def legible(text: str) -> str:
    """Return a text of which every character is Unicode; what came from bytes that are none is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def type_name(cls: type) -> str:
    """Return the full name of a type, without the module for builtins."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that `name` was probably meant to be, if there is one."""
    from difflib import get_close_matches  # here, since importing the package is to cost little

    near = [other for other in names if abs(len(other) - len(name)) <= 4][:_CANDIDATES]
    matches = get_close_matches(name, near, n=1)
    return matches[0] if matches else None
