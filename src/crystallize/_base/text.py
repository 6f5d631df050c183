"""Short texts of values, times and counts, and the name that was probably meant."""

import re
import reprlib
from collections.abc import Iterable
from datetime import datetime

from .signal_handlers import reraise_from_handler

MASK = "**********"
"""The text that replaces a secret."""

_LONGEST = 200
"""The maximum length of the texts that `short` and `cut` return."""

_CANDIDATES = 2000
"""The maximum number of names that `nearest` compares, so that an error of a large context is raised at once."""


class _OneLine(reprlib.Repr):
    """Short reprs. `reprlib` makes the whole repr of a type without a method here, so large builtins have one."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 80

    def repr_bytes(self, x: bytes, level: int) -> str:
        """Return the repr of the first 40 bytes."""
        return repr(x[:40]) + ("..." if len(x) > 40 else "")

    repr_bytearray = repr_bytes

    def repr_int(self, x: int, level: int) -> str:
        """Return the repr of an int, or its size if it is too large for Python to print."""
        return super().repr_int(x, level) if x.bit_length() < 4000 else f"<int of {x.bit_length()} bits>"

    def repr_instance(self, x: object, level: int) -> str:
        """Return the repr of any other object, cut. An exception of the repr is raised."""
        text = repr(x)
        return text if len(text) <= self.maxother else f"{text[: self.maxother - 3]}..."


_repr = _OneLine().repr


def short(value: object) -> str:
    """Return a short repr of a value on one line, even if its own repr raises."""
    try:
        text = _repr(value)
    except Exception as error:  # a fault of the value's own repr must not hide the error that shows the value
        reraise_from_handler(error)
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    line = " ".join(text.split())
    line = line if line.isprintable() else line.encode("unicode_escape").decode("ascii")
    return cut(line)


def rounded(text: str) -> str:
    """Return a short text with its floats to six significant digits. A text with quotes is not changed."""
    return text if "'" in text or '"' in text else _FLOAT.sub(_shorter, text)


_FLOAT = re.compile(r"(?<![\w.])\d+\.\d+(?:e[+-]?\d+)?")


def _shorter(match: re.Match[str]) -> str:
    text = match[0]
    # An `1.0` is a float, and should not look like an int.
    return f"{float(text):.6g}" if sum(map(str.isdigit, text.partition("e")[0])) > 6 else text


def short_type(name: str) -> str:
    """Return the full name of a type without modules and outer classes, also of the types in its brackets."""
    return _OUTER.sub("", name)


_OUTER = re.compile(r"(?:[\w<>]+\.)+(?=\w)")


def cut(text: str) -> str:
    """Return the text, cut at its end if it is longer than 200 characters."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def legible(text: str) -> str:
    """Return the text with its lone surrogates, which come from undecodable bytes, escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def printable(text: str) -> str:
    """Return the text with control characters escaped: they move cursors, change colours or the reading direction."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def one_line(text: str) -> str:
    """Return the printable text on one line."""
    return printable(" ".join(text.split()))


def moment(when: datetime | None) -> str | None:
    """Return a time to the second, or None for None."""
    return None if when is None else str(when)[:19]


def took(seconds: float | None) -> str | None:
    """Return a duration as text, or None for None."""
    return None if seconds is None else lasted(seconds)


def lasted(seconds: float) -> str:
    """Return a duration as text: "20 ms", "41.7 s", "2 h 5 min"."""
    if seconds <= 0:  # the clock was set back
        return "0"
    for unit, size in _UNITS:
        # A duration that rounds up to a unit is shown in that unit.
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


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: "1 point", "1,000 points"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def type_name(cls: type) -> str:
    """Return the full name of a type. The name of a builtin has no module."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that is most similar to `name`, or None if no name is similar."""
    from difflib import get_close_matches  # only errors need it, and its import takes long

    near = [other for other in names if abs(len(other) - len(name)) <= 4]
    plain = _plain(name)
    alike = [other for other in near if _plain(other) == plain]
    matches = alike or get_close_matches(name, near[:_CANDIDATES], n=1)
    return matches[0] if matches else None


def _plain(name: str) -> str:
    """Return a name in lower case and without separators, which are easily confused."""
    return name.casefold().replace("_", "").replace("-", "")


_PASSWORD = re.compile(r"://[^/\s@]*@")
"""The user and password in a URL."""


def without_passwords(text: str) -> str:
    """Return a text with the users and passwords in its URLs masked."""
    return _PASSWORD.sub(f"://{MASK}@", text)


def error_line(error: Exception) -> str:
    """Return an exception as one line of at most 300 characters, with the passwords in URLs masked."""
    line = without_passwords(" ".join(legible(f"{type(error).__name__}: {error}").split()))
    return line if len(line) <= 300 else f"{line[:297]}..."
