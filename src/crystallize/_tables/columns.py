"""Columns for Arrow, made of packed ones: what a block has once is looked at once, and what is numbers is copied whole.

What a column holds decides its type. Numbers, texts, bools, dates and times have one of their own; what has none, and
what is mixed, is text that holds JSON.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum, Flag, auto
from functools import reduce
from itertools import chain, groupby
from operator import or_
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pydantic_core import PydanticSerializationError, from_json

from .._base.optional import OptionalModule
from .._base.text import legible, short
from .._core.codec import NotRestorable, json_view
from .._core.key import Outcome
from .._core.object_parts import PLAIN
from .._core.packed_columns import ABSENT
from .._core.point_log import Coded, fetch
from .._page.drawings import Column
from .export import as_json

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = OptionalModule("pyarrow", "arrow")

__all__ = ["Form", "Kind", "Seen", "beside", "constant", "encoded", "form_of", "gathered", "number", "text_dictionary"]

_Array: TypeAlias = "pa.Array[Any]"


class Kind(Flag):
    """What there is in a column."""

    NOTHING = 0
    BOOL = auto()
    INT = auto()
    """Ints that a float holds exactly."""
    BIG = auto()
    """Ints of at most 64 bits that it may not."""
    HUGE = auto()
    """Ints of more."""
    FLOAT = auto()
    TEXT = auto()
    MOMENT = auto()
    """Times that say in which zone."""
    CLOCK = auto()
    """Times that do not."""
    DATE = auto()
    OTHER = auto()
    LOST = auto()
    """What a file cannot give back; beside it what JSON makes of that."""

    @property
    def is_number(self) -> bool:
        """Whether it is floats, and ints that are floats as well."""
        return self in Kind.FLOAT | Kind.INT


_KINDS: Final[Mapping[type, Kind]] = {
    bool: Kind.BOOL,
    float: Kind.FLOAT,
    str: Kind.TEXT,
    date: Kind.DATE,
    NoneType: Kind.NOTHING,
    type(ABSENT): Kind.NOTHING,
}
_DECLARED: Final[Mapping[type, Kind]] = {**_KINDS, int: Kind.INT}
_ITSELF: Final = frozenset({*PLAIN, date, datetime})
"""The types of what Arrow takes as it is."""
_EXACT: Final = 1 << 53
_LONG: Final = 1 << 63


def _kind_of(item: Any) -> Kind:
    known = _KINDS.get(type(item))
    if known is not None:
        return known
    if type(item) is int:
        return Kind.INT if -_EXACT <= item <= _EXACT else Kind.BIG if -_LONG <= item < _LONG else Kind.HUGE
    if type(item) is datetime:
        return Kind.CLOCK if item.utcoffset() is None else Kind.MOMENT
    if type(item) is NotRestorable:
        return Kind.LOST | _kind_of(item.seen)
    simpler = _plain(item)
    return Kind.OTHER if isinstance(simpler, (list, dict)) else _kind_of(simpler)


def _kinds_in(column: Column) -> Kind:
    if isinstance(column, array):
        if column.typecode == "d":
            return Kind.FLOAT
        return _kind_of(max(column, key=abs)) if column.typecode == "q" else Kind.INT
    items = column.table if isinstance(column, Coded) else column
    types = set(map(type, items))
    odd = types - _KINDS.keys()
    found = {_KINDS[one] for one in types - odd}
    found |= {_kind_of(item) for item in items if type(item) in odd} if odd else set()
    return reduce(or_, found, Kind.NOTHING)


def _plain(item: Any) -> Any:
    """Return a value as JSON has it, where it is not what Arrow takes as it is; None where there is none."""
    if type(item) in _ITSELF:
        return item
    if item is ABSENT:
        return None
    try:
        return from_json(as_json(json_view(fetch(item))))
    except Exception:  # whatever a user's type raises of itself, there has to be something in its place
        return short(fetch(item))


def _json(item: Any) -> str | None:
    """Return a value as JSON; None where there is none."""
    if item is None or item is ABSENT or (type(item) is NotRestorable and item.json == "null"):
        return None
    given = legible(item) if type(item) is str else json_view(fetch(item))
    try:
        return as_json(given).decode()
    except (PydanticSerializationError, ValueError, RecursionError):
        return as_json(short(given)).decode()


def number(item: Any) -> float | None:
    """Return the nearest float to a number; None of what is none, and of what is past all floats."""
    if type(item) is not int:
        return item if type(item) is float else None
    try:
        return float(item)
    except OverflowError:
        return None


def beside(item: Any) -> str | None:
    """Return, as JSON, what `number` does not give exactly; else None."""
    is_given = type(item) is float or (type(item) is int and number(item) == item)
    return None if is_given else _json(item)


class Seen:
    """What is known of a column before it is made: what was declared, and what was found.

    Attributes:
        kinds: What there is in it.
        is_lacking: Whether there is in it what a file cannot give back.
    """

    def __init__(self) -> None:
        self.kinds: Kind = Kind.NOTHING
        self.is_lacking: bool = False
        self._choices: dict[Any, Any] | None = {}

    def declare(self, outcome: Outcome | None) -> None:
        """Note what something that is put in it can be; None where that is not known, and it is no choice."""
        if outcome is None or outcome.choices is None:
            self._choices = None
        elif self._choices is not None:
            self._choices.update((_key(choice), choice) for choice in outcome.choices)
        if outcome is not None:
            found = {_DECLARED[one] for one in outcome.types & _DECLARED.keys()}
            self.kinds = reduce(or_, {*found, *map(_kind_of, outcome.choices or ())}, self.kinds)

    def see(self, column: Column) -> Kind:
        """Note what is in a part of it, and return that."""
        found = _kinds_in(column)
        self.is_lacking |= Kind.LOST in found
        found &= ~Kind.LOST
        self.kinds |= found
        if self._choices is not None:
            items = column.table if isinstance(column, Coded) else column
            self._choices.update((_key(item), item) for item in items)
        return found

    @property
    def choices(self) -> tuple[Any, ...] | None:
        """All that can be in it, where that is a choice."""
        return None if self._choices is None else tuple(self._choices.values())


def _key(item: Any) -> Any:
    """Return what tells an item from others: 1 and True are equal, and not everything can be looked up."""
    return type(item), item if type(item) in PLAIN or isinstance(item, Enum) else _json(item)


@dataclass(frozen=True)
class Form:
    """How a column is made."""

    type: "pa.DataType"
    convert: Callable[[Any], Any]
    """Returns what Arrow is to keep of an item: in a dictionary its place."""
    takes_numbers: bool = False
    """Whether packed numbers are taken as they are."""
    is_json: bool = False
    dictionary: "pa.Array[Any] | None" = None

    @property
    def kept(self) -> "pa.DataType":
        """The type of what `convert` returns."""
        return self.type if self.dictionary is None else pa.int32()


def form_of(seen: Seen) -> Form:
    """Return how a column is made that holds what was seen."""
    kind = _type_of(seen.kinds)
    is_json = kind is None
    convert = _json if is_json else _plain
    kind = pa.large_string() if kind is None else kind
    if seen.choices is None or kind != pa.large_string():
        numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        return Form(kind, convert, takes_numbers=numeric, is_json=is_json)
    texts = [legible(text) for text in map(convert, seen.choices) if text is not None]
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    type_, dictionary = text_dictionary(places)

    def place(item: Any) -> int | None:
        text = convert(item)
        return None if text is None else places[legible(text)]

    return Form(type_, place, is_json=is_json, dictionary=dictionary)


def _type_of(kinds: Kind) -> "pa.DataType | None":
    """Return the type for what is in a column; None where there is none."""
    if kinds == Kind.NOTHING:
        return pa.null()
    if kinds in Kind.INT | Kind.BIG:
        return pa.int64()
    if kinds.is_number:
        return pa.float64()
    made: Mapping[Kind, Callable[[], pa.DataType]] = {
        Kind.BOOL: pa.bool_,
        # As polars and pandas have it; no text is too long for it.
        Kind.TEXT: pa.large_string,
        Kind.MOMENT: lambda: pa.timestamp("us", "UTC"),
        Kind.CLOCK: lambda: pa.timestamp("us"),
        Kind.DATE: pa.date32,
    }
    return made[kinds]() if kinds in made else None


def text_dictionary(texts: Iterable[str]) -> "tuple[pa.DataType, pa.Array[Any]]":
    """Return the type of a column of few texts, and these."""
    # Indices of 32 bits are what Parquet gives back.
    return pa.dictionary(pa.int32(), pa.string()), pa.array(texts, pa.string())


def constant(place: int | None, size: int, dictionary: _Array) -> _Array:
    """Return a column of one text, by its place in a dictionary."""
    if place is None:
        places: _Array = pa.nulls(size, pa.int32())
    else:
        # Zeros cost nothing until somebody looks at them.
        content = array("i", [place]) * size if place else bytes(4 * size)
        places = pa.Array.from_buffers(pa.int32(), size, [None, pa.py_buffer(content)])
    return encoded(places, dictionary)


def encoded(places: _Array, dictionary: _Array) -> _Array:
    """Return a column of texts by their places in a dictionary."""
    # None is out of bounds, and to look at each would take longer than all else.
    return pa.DictionaryArray.from_arrays(places, dictionary, safe=False)


def gathered(columns: Iterable[Column], form: Form) -> _Array:
    """Return packed columns that follow on one another as one.

    Args:
        columns: The columns; at least one.
        form: What to make of them.
    """

    def way(column: Column) -> str:
        if isinstance(column, array):
            return column.typecode if form.takes_numbers else "items"
        return "coded" if isinstance(column, Coded) else "items"

    runs: list[_Array] = []
    for how, group in groupby(columns, way):
        if how == "coded":
            runs.extend(_of_coded(group, form))
        elif how == "items":
            runs.append(_of_items(chain.from_iterable(group), form))
        else:
            runs.append(_of_numbers(how, group, form.type))
    whole = runs[0] if len(runs) == 1 else pa.concat_arrays(runs)
    return whole if form.dictionary is None else encoded(whole, form.dictionary)


def _of_numbers(code: str, columns: Iterable[Any], type: "pa.DataType") -> _Array:
    joined = b"".join(columns)
    types: dict[str, Callable[[], Any]] = {"b": pa.int8, "h": pa.int16, "i": pa.int32, "q": pa.int64, "d": pa.float64}
    numbers = pa.Array.from_buffers(types[code](), len(joined) // array(code).itemsize, [None, pa.py_buffer(joined)])
    # Not every int is a float, and where that matters the exact one stands beside it.
    return numbers if numbers.type == type else numbers.cast(type, safe=False)


def _of_items(items: Iterable[Any], form: Form) -> _Array:
    return _array_of(map(form.convert, items), form.kept)


def _of_coded(columns: Iterable[Any], form: Form) -> Iterator[_Array]:
    """Bring columns that have tables of their own under one, as long as that has place for 256 items."""
    places: dict[Any, int] = {}
    kept: list[Any] = []
    codes: list[bytes] = []
    for column in columns:
        items = [form.convert(item) for item in column.table]
        # There are two zeros, which are equal, and NaN is not.
        keys = [repr(item) if type(item) is float else item for item in items]
        if len(places) + len(keys) > 256:
            yield _taken(kept, codes, form)
            for one in (places, kept, codes):
                one.clear()
        for key, item in zip(keys, items, strict=True):
            if key not in places:
                places[key] = len(kept)
                kept.append(item)
        mapping = bytes(map(places.__getitem__, keys))
        codes.append(column.codes.translate(mapping.ljust(256, b"\0")))
    yield _taken(kept, codes, form)


def _taken(items: list[Any], codes: list[bytes], form: Form) -> _Array:
    joined = b"".join(codes)
    places = pa.Array.from_buffers(pa.uint8(), len(joined), [None, pa.py_buffer(joined)])
    return _array_of(items, form.kept).take(places)


def _array_of(items: Iterable[Any], type: "pa.DataType") -> _Array:
    given = list(items)
    try:
        return pa.array(given, type, from_pandas=False)
    except UnicodeEncodeError:
        return pa.array([legible(item) if isinstance(item, str) else item for item in given], type)
