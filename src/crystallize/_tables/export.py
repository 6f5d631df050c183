"""The values and points of a run as rows, and rows as JSON and CSV text.

The fields of a row are the keys of its JSON object.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from os import urandom
from types import NoneType
from typing import Any, Final, Literal, TypeAlias

from pydantic_core import to_json

from .._base.text import short
from .._core.codec import NotRestorable, json_view
from .._core.value_codecs import RegisteredFailed, library
from .._journal.loaded_run import Run, value_once
from .._journal.rows import Entry
from ..errors import DamagedRunError, JournalError
from .legible_times import with_legible_times


@dataclass(frozen=True, slots=True)
class ValueRow:
    """A key and its value."""

    key: str
    type: str
    """The full name of the value's type; empty for a secret."""
    input: bool
    """Whether the run began with the value."""
    step: str | None
    """The step that wrote the value; None outside any step."""
    missing: Literal["secret", "not restorable"] | None
    """Why the file does not contain the value; None if it does."""
    value: Any
    why: str | None = None
    """Why the value cannot be restored, and a remedy, as a sentence; None if it can."""


@dataclass(frozen=True, slots=True)
class PointRow:
    """A point of a series."""

    metric: str
    sequence: int
    """The position in the series, from 0."""
    step: str | None
    """The step that recorded the point; None outside any step."""
    missing: str | None
    """The parts that cannot be restored from the file, "value" or a tag as "tag.epoch", with ", " between them. The
    row contains their JSON form instead."""
    value: Any
    tags: dict[str, Any]


_RowOf: TypeAlias = Callable[[Entry, Callable[[], Any]], ValueRow]


def value_rows(run: Run[Any], row_of: _RowOf | None = None) -> Iterator[ValueRow]:
    """Return the keys in the order in which they were written, also those whose values the file does not contain.

    `row_of` makes the rows; by default `value_row` does.
    """
    make = row_of or value_row
    return (make(entry, partial(value_once, run, key)) for key, entry in run.entries.items())


def value_row(entry: Entry, read: Callable[[], Any]) -> ValueRow:
    """Return the row of a key, given the function that reads its value.

    The value is None if the file does not contain it, or if its object was changed. It is also None if this program
    cannot read it, because a library is not installed, or a registered function raised an exception.
    """
    try:
        value = None if entry.missing else read()
    except (JournalError, ImportError, RegisteredFailed) as error:
        if isinstance(error, DamagedRunError):
            raise
        why = f"{error}; {error.advice}" if isinstance(error, RegisteredFailed) else str(error)
        entry, value = entry._replace(stored=entry.stored._replace(how="none", why=why)), None
    return ValueRow(entry.key, entry.stored.type, entry.is_input, entry.step, entry.missing, value, entry.why or None)


class InShort:
    """A large value that is only shown: the text in which it is."""

    __slots__ = ("_text",)

    def __init__(self, value: Any) -> None:
        self._text = short(value)

    def __repr__(self) -> str:
        return self._text


def row_to_show(entry: Entry, read: Callable[[], Any]) -> ValueRow:
    """Return what `value_row` returns, with a value that is `InShort` if it is large."""
    is_small = all(isinstance(part, bytes) for part in entry.stored.parts)
    return value_row(entry, read if is_small else lambda: InShort(read()))


def point_rows(run: Run[Any]) -> Iterator[PointRow]:
    """Return all points, one series after the other, each in order."""
    for name in run.metrics:
        for position, point in enumerate(run.metrics.series(name)):
            yield _point_row(name, position, *point)


def _point_row(name: str, position: int, value: Any, tags: Any, step: str | None) -> PointRow:
    plain = dict(tags or ())
    if NotRestorable not in (type(value), *map(type, plain.values())):
        return PointRow(name, position, step, None, value, plain)
    parts = {"value": value, **{f"tag.{tag}": item for tag, item in plain.items()}}
    missing = ", ".join(part for part, item in parts.items() if type(item) is NotRestorable)
    return PointRow(name, position, step, missing, json_view(value), {tag: json_view(plain[tag]) for tag in plain})


def as_json(value: object) -> bytes:
    """Return JSON on one line: numbers that are not finite as "NaN", "Infinity", "-Infinity", arrays as lists."""
    return _json(value, _without_arrays)


def _json(value: object, fallback: Callable[[Any], Any]) -> bytes:
    return to_json(with_legible_times(value), inf_nan_mode="strings", bytes_mode="base64", fallback=fallback)


_PIECE: Final = 1 << 18
"""The size in bytes up to which an array becomes a list at once. The list and its text take about six times as much."""


def json_pieces(value: object) -> Iterator[bytes]:
    """Return the JSON of `as_json`, a piece at a time; no large array in the value becomes a list as a whole."""
    arrays: list[Any] = []
    mark = urandom(16).hex()

    def fallback(found: Any) -> Any:
        if not _is_large(found):
            return _without_arrays(found)
        arrays.append(found)
        return mark

    # One mark, as the arrays are in the text in their order.
    first, *rest = _json(value, fallback).split(as_json(mark))
    yield first
    for array, text in zip(arrays, rest, strict=True):
        yield from _array_pieces(array)
        yield text


def _is_large(value: Any) -> bool:
    # An array without dimensions cannot be cut.
    return hasattr(value, "tolist") and getattr(value, "nbytes", 0) > _PIECE and getattr(value, "ndim", 1) > 0


def _array_pieces(array: Any) -> Iterator[bytes]:
    count = len(array)
    size = array.nbytes // count
    by_place = getattr(array, "iloc", array)
    yield b"["
    if size > _PIECE and getattr(array, "ndim", 1) > 1:
        for at in range(count):
            if at:
                yield b","
            yield from _array_pieces(by_place[at])
    else:
        step = max(_PIECE // max(size, 1), 1)
        for at in range(0, count, step):
            yield (b"," if at else b"") + as_json(by_place[at : at + step])[1:-1]
    yield b"]"


def _without_arrays(value: Any) -> Any:
    """Return an array, or an item of one, as a value that JSON can express."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    # Of a time that Python's times are too coarse for, `tolist` returns the number without its unit.
    if getattr(getattr(value, "dtype", None), "kind", None) in ("m", "M"):
        if isinstance(plain, (int, NoneType)):
            return str(value)
        if type(value).__module__ == "numpy" and _is_bare(value.dtype):
            return value.astype(str).tolist()
    return str(value) if type(plain) is type(value) else with_legible_times(plain)


def _is_bare(dtype: Any) -> bool:
    return isinstance(library("numpy").zeros((), dtype).item(), int)


def json_lines(rows: Iterable[ValueRow | PointRow]) -> Iterator[bytes]:
    """Return rows as JSON, one per line, a piece at a time."""
    for row in rows:
        yield from _row_pieces(row, b"", b"\n")
        del row  # or its value would stay in memory beside the next one


def json_document(lists: Mapping[str, Iterable[ValueRow | PointRow]]) -> Iterator[bytes]:
    """Return named lists of rows as one JSON object, a piece at a time."""
    yield b"{"
    for list_number, (name, rows) in enumerate(lists.items()):
        before = (b"," if list_number else b"") + as_json(name) + b":["
        for row in rows:
            yield from _row_pieces(row, before)
            before = b","
            del row  # as above
        yield (b"" if before == b"," else before) + b"]"
    yield b"}\n"


def _row_pieces(row: ValueRow | PointRow, before: bytes, after: bytes = b"") -> Iterator[bytes]:
    if isinstance(row, PointRow):  # there may be millions of them
        yield before + as_json(row) + after
        return
    yield before
    yield from json_pieces(row)
    yield after


def csv_of_values(run: Run[Any]) -> Iterator[bytes]:
    """Return the keys and values of a run as CSV: a column for each field of `ValueRow`."""
    writer = csv.writer(_LineEncoder())
    yield writer.writerow(("key", "type", "input", "step", "missing", "value"))
    for row in value_rows(run):
        yield from _value_line(writer, row)
        del row  # or its value would stay in memory beside the next one


def _value_line(writer: Any, row: ValueRow) -> Iterator[bytes]:
    """Return the line of a value, a piece at a time."""
    texts = [*map(_csv_text, (row.key, row.type, row.input, row.step, row.missing))]
    if row.value is None or isinstance(row.value, (str, float)):
        yield writer.writerow([*texts, _csv_text(row.value)])
        return
    pieces = json_pieces(row.value)
    first, second = next(pieces), next(pieces, None)
    if second is None:
        yield writer.writerow([*texts, first.decode()])
        return
    yield writer.writerow([*texts, ""]).removesuffix(_LINE_END) + b'"'
    for piece in chain((first, second), pieces):
        yield piece.replace(b'"', b'""')
    yield b'"' + _LINE_END


def csv_of_points(run: Run[Any]) -> Iterator[bytes]:
    """Return the points of a run as CSV: the fields of `PointRow`, with a column for each tag, as "tag.epoch"."""
    # The prefix is needed because a tag may be called "step" or "value" too.
    tags = tuple(dict.fromkeys(tag for row in point_rows(run) for tag in row.tags))
    rows = (
        (row.metric, row.sequence, row.step, row.missing, row.value, *map(row.tags.get, tags))
        for row in point_rows(run)
    )
    return csv_lines(("metric", "sequence", "step", "missing", "value", *(f"tag.{tag}" for tag in tags)), rows)


_LINE_END: Final = b"\r\n"
"""As in RFC 4180. Older versions of `csv` only quote the characters of the line end."""


def csv_lines(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> Iterator[bytes]:
    """Return a table as CSV, a line at a time. No text in it is a formula of a spreadsheet."""
    writer = csv.writer(_LineEncoder())
    yield writer.writerow(map(_csv_text, header))
    for row in rows:
        yield writer.writerow(map(_csv_text, row))


class _LineEncoder:
    """A file for `csv` that returns each line, so that the writer returns it too."""

    def write(self, line: str) -> bytes:
        return line.encode()


_FORMULA: Final = re.compile(
    r"""[\s\x00-\x20\x7f-\xa0\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]*
    [=+\-@\uff0b\uff0d\uff1d\uff20] | [\t\r\n]""",
    re.VERBOSE,
)
"""The beginning of a text that a spreadsheet evaluates as a formula. Before the sign it may skip spaces, control
characters and characters without a width; some take full-width signs as well."""


def _csv_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if _FORMULA.match(value) else value
    text = as_json(value).decode()
    return text.strip('"') if isinstance(value, float) else text
