"""The values and points of a run as rows, and rows as JSON and CSV text.

The fields of a row are the keys of its JSON object.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import NoneType
from typing import Any, Final, Literal, TypeAlias

from pydantic_core import to_json

from .._base.text import short
from .._core.codec import NotRestorable, json_view
from .._journal.loaded_run import Run, value_once
from .._journal.rows import Entry
from ..errors import ObjectError


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
    """Why the value cannot be restored, and what would help, as a sentence; None if it can."""


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

    The value is None if the file does not contain it, or if its object was changed.
    """
    try:
        value = None if entry.missing else read()
    except ObjectError as error:
        entry, value = entry._replace(stored=entry.stored._replace(how="none", why=str(error))), None
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
    return to_json(value, inf_nan_mode="strings", bytes_mode="base64", fallback=_without_arrays)


def _without_arrays(value: Any) -> Any:
    """Return an array, or an item of one, as a value that JSON can express."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    # Of a time that Python's times are too coarse for, `tolist` returns the number without its unit.
    is_bare = getattr(getattr(value, "dtype", None), "kind", None) in ("m", "M") and isinstance(plain, (int, NoneType))
    return str(value) if is_bare or type(plain) is type(value) else plain


def json_lines(rows: Iterable[ValueRow | PointRow]) -> Iterator[bytes]:
    """Return rows as JSON, one per line."""
    for row in rows:
        yield as_json(row) + b"\n"


def json_document(lists: Mapping[str, Iterable[ValueRow | PointRow]]) -> Iterator[bytes]:
    """Return named lists of rows as one JSON object, a piece at a time."""
    yield b"{"
    for list_number, (name, rows) in enumerate(lists.items()):
        yield (b"," if list_number else b"") + as_json(name) + b":["
        for row_number, row in enumerate(rows):
            yield (b"," if row_number else b"") + as_json(row)
        yield b"]"
    yield b"}\n"


def csv_of_values(run: Run[Any]) -> Iterator[bytes]:
    """Return the keys and values of a run as CSV: a column for each field of `ValueRow`."""
    rows = ((row.key, row.type, row.input, row.step, row.missing, row.value) for row in value_rows(run))
    return _csv(("key", "type", "input", "step", "missing", "value"), rows)


def csv_of_points(run: Run[Any]) -> Iterator[bytes]:
    """Return the points of a run as CSV: the fields of `PointRow`, with a column for each tag, as "tag.epoch"."""
    # The prefix is needed because a tag may be called "step" or "value" too.
    tags = tuple(dict.fromkeys(tag for row in point_rows(run) for tag in row.tags))
    rows = (
        (row.metric, row.sequence, row.step, row.missing, row.value, *map(row.tags.get, tags))
        for row in point_rows(run)
    )
    return _csv(("metric", "sequence", "step", "missing", "value", *(f"tag.{tag}" for tag in tags)), rows)


def _csv(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> Iterator[bytes]:
    # Lines end in CR LF, as in RFC 4180: older versions of `csv` only quote the characters of the line end.
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
