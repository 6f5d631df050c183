"""Values and names as short text on one line, and the name that was probably meant."""

import reprlib
from collections.abc import Iterable
from datetime import datetime

__all__ = [
    *(
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
    ),
]

MASK = "**********"
"""What stands in place of a secret."""

_LONGEST = 200
"""Characters of the longest text that `short` and `cut` return."""

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
    return cut(line)


def cut(text: str) -> str:
    """Return text that is too long without its end."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def legible(text: str) -> str:
    """Return a text of which every character is Unicode; what came from bytes that are none is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def printable(text: str) -> str:
    """Return text with escapes in place of what moves a cursor, changes a colour or turns the direction of reading."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def one_line(text: str) -> str:
    """Return text on one line, as `printable` does."""
    return printable(" ".join(text.split()))


def moment(when: datetime | None) -> str | None:
    """Return a time to the second; of None, None."""
    return None if when is None else f"{when:%Y-%m-%d %H:%M:%S}"


def took(seconds: float | None) -> str | None:
    """Return how long something took; of None, None."""
    return None if seconds is None else lasted(seconds)


def lasted(seconds: float) -> str:
    """Return a duration as text: "20 ms", "41.7 s", "2 h 5 min"."""
    if seconds <= 0:  # by a clock that was turned back
        return "0"
    for unit, size in _UNITS:
        # What would be rounded up to a unit is one.
        if seconds < size * 0.9995:
            continue
        if unit not in _SMALLER:
            return f"{seconds / size:.3g} {unit}"
        smaller, part = _SMALLER[unit]
        large, small = divmod(round(seconds / part), round(size / part))
        return f"{large} {unit}" + (f" {small} {smaller}" if small else "")
    return f"{seconds * 1e6:.3g} µs"


_UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3))
_SMALLER = {"d": ("h", 3600.0), "h": ("min", 60.0), "min": ("s", 1.0)}


def counted(count: int, what: str) -> str:
    """Return how many there are of something: "1 point", "1,000 points"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def type_name(cls: type) -> str:
    """Return the full name of a type, without the module for builtins."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that `name` was probably meant to be, if there is one."""
    from difflib import get_close_matches  # here, since importing the package is to cost little

    near = [other for other in names if abs(len(other) - len(name)) <= 4]
    plain = _plain(name)
    alike = [other for other in near if _plain(other) == plain]
    matches = alike or get_close_matches(name, near[:_CANDIDATES], n=1)
    return matches[0] if matches else None


def _plain(name: str) -> str:
    """Return a name without what is easily taken for another: case, and what stands between its words."""
    return name.casefold().replace("_", "").replace("-", "")
