"""Arrow arrays made of the packed columns of points.

A column's Arrow type follows from its items. Numbers, texts, bools, dates and times have types of their own. A column
of other or of mixed items is text that contains JSON. Packed numbers are copied whole, and an item that occurs often
in a block is converted once.
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
from .._core.immutable_types import PLAIN
from .._core.key import ValueDomain
from .._core.packed_columns import ABSENT, CodedColumn, PackedColumn
from .._core.point_log import fetch
from .export import as_json

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = OptionalModule("pyarrow", "arrow")

ArrowArray: TypeAlias = "pa.Array[Any]"


class ItemKind(Flag):
    """The kinds of items in a column."""

    NOTHING = 0
    BOOL = auto()
    INT = auto()
    """Ints that a float represents exactly."""
    INT64 = auto()
    """Other ints of at most 64 bits."""
    LARGE_INT = auto()
    FLOAT = auto()
    TEXT = auto()
    AWARE_TIME = auto()
    NAIVE_TIME = auto()
    DATE = auto()
    OTHER = auto()
    UNRESTORABLE = auto()
    """Items that cannot be restored from a file. The kind of their JSON form is included as well."""

    @property
    def is_number(self) -> bool:
        """Whether there are only floats, and ints that a float represents exactly."""
        return self in ItemKind.FLOAT | ItemKind.INT


_KINDS: Final[Mapping[type, ItemKind]] = {
    bool: ItemKind.BOOL,
    float: ItemKind.FLOAT,
    str: ItemKind.TEXT,
    date: ItemKind.DATE,
    NoneType: ItemKind.NOTHING,
    type(ABSENT): ItemKind.NOTHING,
}
_DECLARED: Final[Mapping[type, ItemKind]] = {**_KINDS, int: ItemKind.INT}
_ARROW_TYPES: Final = frozenset({*PLAIN, date, datetime})
"""The types whose values Arrow accepts unchanged."""
_LARGEST_EXACT: Final = 1 << 53
_INT64_END: Final = 1 << 63


def _kind_of(item: Any) -> ItemKind:
    known = _KINDS.get(type(item))
    if known is not None:
        return known
    if type(item) is int:
        if -_LARGEST_EXACT <= item <= _LARGEST_EXACT:
            return ItemKind.INT
        return ItemKind.INT64 if -_INT64_END <= item < _INT64_END else ItemKind.LARGE_INT
    if type(item) is datetime:
        return ItemKind.NAIVE_TIME if item.utcoffset() is None else ItemKind.AWARE_TIME
    if type(item) is NotRestorable:
        return ItemKind.UNRESTORABLE | _kind_of(item.seen)
    plain = _plain(item)
    return ItemKind.OTHER if isinstance(plain, (list, dict)) else _kind_of(plain)


def _kinds_in(column: PackedColumn) -> ItemKind:
    if isinstance(column, array):
        if column.typecode == "d":
            return ItemKind.FLOAT
        return _kind_of(max(column, key=abs)) if column.typecode == "q" else ItemKind.INT
    items = _distinct_items(column)
    types = set(map(type, items))
    unknown = types - _KINDS.keys()
    found = {_KINDS[kind] for kind in types - unknown}
    found |= {_kind_of(item) for item in items if type(item) in unknown} if unknown else set()
    return reduce(or_, found, ItemKind.NOTHING)


def _distinct_items(column: PackedColumn) -> Iterable[Any]:
    return column.table if isinstance(column, CodedColumn) else column


def _plain(item: Any) -> Any:
    """Return an item as Arrow accepts it, else as JSON has it; None if it is absent."""
    if type(item) in _ARROW_TYPES:
        return item
    if item is ABSENT:
        return None
    try:
        return from_json(as_json(json_view(fetch(item))))
    except Exception:  # a user's type may raise anything, and the column needs an item
        return short(fetch(item))


def _json(item: Any) -> str | None:
    """Return an item as JSON; None if it is None or absent."""
    if item is None or item is ABSENT or (type(item) is NotRestorable and item.json == "null"):
        return None
    value = legible(item) if type(item) is str else json_view(fetch(item))
    try:
        return as_json(value).decode()
    except (PydanticSerializationError, ValueError, RecursionError):
        return as_json(short(value)).decode()


def nearest_float(item: Any) -> float | None:
    """Return the nearest float to a number; None for other items, and for ints beyond the range of floats."""
    if type(item) is not int:
        return item if type(item) is float else None
    try:
        return float(item)
    except OverflowError:
        return None


def exact_json(item: Any) -> str | None:
    """Return an item as JSON if `nearest_float` does not return it exactly, else None."""
    is_exact = type(item) is float or (type(item) is int and nearest_float(item) == item)
    return None if is_exact else _json(item)


class ColumnContents:
    """The declared and the observed items of a column, collected before its arrays are made."""

    def __init__(self) -> None:
        self.kinds: ItemKind = ItemKind.NOTHING
        self.has_unrestorable: bool = False
        self._choices: dict[Any, Any] | None = {}

    def declare(self, domain: ValueDomain | None) -> None:
        """Add the items that a declared type allows; None if nothing is declared, or not known of the type."""
        if domain is None or domain.choices is None:
            self._choices = None
        elif self._choices is not None:
            self._choices.update((_identity(choice), choice) for choice in domain.choices)
        if domain is not None:
            found = {_DECLARED[type] for type in domain.types & _DECLARED.keys()}
            self.kinds = reduce(or_, {*found, *map(_kind_of, domain.choices or ())}, self.kinds)

    def observe(self, column: PackedColumn) -> ItemKind:
        """Add the items of a packed column, and return their kinds."""
        found = _kinds_in(column)
        self.has_unrestorable |= ItemKind.UNRESTORABLE in found
        found &= ~ItemKind.UNRESTORABLE
        self.kinds |= found
        if self._choices is not None:
            self._choices.update((_identity(item), item) for item in _distinct_items(column))
        return found

    @property
    def choices(self) -> tuple[Any, ...] | None:
        """All possible items, if the declared type is a choice."""
        return None if self._choices is None else tuple(self._choices.values())


def _identity(item: Any) -> Any:
    """Return a hashable that distinguishes an item from all others: 1 equals True, and some items have no hash."""
    return type(item), item if type(item) in PLAIN or isinstance(item, Enum) else _json(item)


@dataclass(frozen=True)
class ColumnEncoding:
    """The Arrow type of a column, and how its items are converted to it."""

    type: "pa.DataType"
    convert: Callable[[Any], Any]
    """Returns an item as Arrow stores it: its index, if there is a dictionary."""
    accepts_numbers: bool = False
    """Whether packed numbers are copied without conversion of each."""
    is_json: bool = False
    dictionary: "pa.Array[Any] | None" = None

    @property
    def item_type(self) -> "pa.DataType":
        """The Arrow type of the results of `convert`."""
        return self.type if self.dictionary is None else pa.int32()


def encoding_for(contents: ColumnContents) -> ColumnEncoding:
    """Return the encoding of a column with these contents."""
    kind = _arrow_type(contents.kinds)
    is_json = kind is None
    convert = _json if is_json else _plain
    kind = pa.large_string() if kind is None else kind
    if contents.choices is None or kind != pa.large_string():
        numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        return ColumnEncoding(kind, convert, accepts_numbers=numeric, is_json=is_json)
    texts = [legible(text) for text in map(convert, contents.choices) if text is not None]
    indices = {text: index for index, text in enumerate(dict.fromkeys(texts))}

    def index_of(item: Any) -> int | None:
        text = convert(item)
        return None if text is None else indices[legible(text)]

    dictionary = dictionary_of(indices)
    return ColumnEncoding(dictionary_type(), index_of, is_json=is_json, dictionary=dictionary)


def _arrow_type(kinds: ItemKind) -> "pa.DataType | None":
    """Return the Arrow type for items of these kinds; None if there is no common one."""
    if kinds == ItemKind.NOTHING:
        return pa.null()
    if kinds in ItemKind.INT | ItemKind.INT64:
        return pa.int64()
    if kinds.is_number:
        return pa.float64()
    types: Mapping[ItemKind, Callable[[], pa.DataType]] = {
        ItemKind.BOOL: pa.bool_,
        # As in polars and pandas; it has no limit of 2 GiB.
        ItemKind.TEXT: pa.large_string,
        ItemKind.AWARE_TIME: lambda: pa.timestamp("us", "UTC"),
        ItemKind.NAIVE_TIME: lambda: pa.timestamp("us"),
        ItemKind.DATE: pa.date32,
    }
    return types[kinds]() if kinds in types else None


def dictionary_type() -> "pa.DataType":
    """Return the type of a dictionary-encoded column of texts."""
    # Parquet returns indices of 32 bits.
    return pa.dictionary(pa.int32(), pa.string())


def dictionary_of(texts: Iterable[str]) -> ArrowArray:
    """Return the dictionary of a column of such a type."""
    return pa.array(texts, pa.string())


def repeated_text(index: int | None, size: int, dictionary: ArrowArray) -> ArrowArray:
    """Return an array that repeats one text of a dictionary, or null."""
    if index is None:
        indices: ArrowArray = pa.nulls(size, pa.int32())
    else:
        # The system maps memory of zeros only when it is read.
        content = array("i", [index]) * size if index else bytes(4 * size)
        indices = pa.Array.from_buffers(pa.int32(), size, [None, pa.py_buffer(content)])
    return dictionary_array(indices, dictionary)


def dictionary_array(indices: ArrowArray, dictionary: ArrowArray) -> ArrowArray:
    """Return an array of texts by their indices in a dictionary."""
    # All indices are within bounds, and checking each would take longer than everything else.
    return pa.DictionaryArray.from_arrays(indices, dictionary, safe=False)


def arrow_array(columns: Iterable[PackedColumn], encoding: ColumnEncoding) -> ArrowArray:
    """Return the items of at least one packed column, joined in order."""

    def layout_of(column: PackedColumn) -> str:
        if isinstance(column, array):
            return column.typecode if encoding.accepts_numbers else "items"
        return "coded" if isinstance(column, CodedColumn) else "items"

    arrays: list[ArrowArray] = []
    for layout, group in groupby(columns, layout_of):
        if layout == "coded":
            arrays.extend(_from_coded(group, encoding))
        elif layout == "items":
            arrays.append(_from_items(map(encoding.convert, chain.from_iterable(group)), encoding.item_type))
        else:
            arrays.append(_from_numbers(layout, group, encoding.type))
    whole = arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)
    return whole if encoding.dictionary is None else dictionary_array(whole, encoding.dictionary)


def _from_numbers(typecode: str, columns: Iterable[Any], type: "pa.DataType") -> ArrowArray:
    joined = b"".join(columns)
    types: dict[str, Callable[[], Any]] = {"b": pa.int8, "h": pa.int16, "i": pa.int32, "q": pa.int64, "d": pa.float64}
    length = len(joined) // array(typecode).itemsize
    numbers = pa.Array.from_buffers(types[typecode](), length, [None, pa.py_buffer(joined)])
    # Not every int is a float. Where that matters, the column `value_json` contains the exact int.
    return numbers if numbers.type == type else numbers.cast(type, safe=False)


def _from_coded(columns: Iterable[Any], encoding: ColumnEncoding) -> Iterator[ArrowArray]:
    """Join columns with tables of their own under a common table of at most 256 items, as many as fit into each."""
    indices: dict[Any, int] = {}
    table: list[Any] = []
    codes: list[bytes] = []
    for column in columns:
        items = [encoding.convert(item) for item in column.table]
        # The two zeros are equal and have to be kept apart, and NaN does not equal itself.
        keys = [repr(item) if type(item) is float else item for item in items]
        if len(indices) + len(keys) > 256:
            yield _looked_up(table, codes, encoding)
            for collection in (indices, table, codes):
                collection.clear()
        for key, item in zip(keys, items, strict=True):
            if key not in indices:
                indices[key] = len(table)
                table.append(item)
        mapping = bytes(map(indices.__getitem__, keys))
        codes.append(column.codes.translate(mapping.ljust(256, b"\0")))
    yield _looked_up(table, codes, encoding)


def _looked_up(table: list[Any], codes: list[bytes], encoding: ColumnEncoding) -> ArrowArray:
    joined = b"".join(codes)
    indices = pa.Array.from_buffers(pa.uint8(), len(joined), [None, pa.py_buffer(joined)])
    return _from_items(table, encoding.item_type).take(indices)


def _from_items(items: Iterable[Any], type: "pa.DataType") -> ArrowArray:
    converted = list(items)
    try:
        return pa.array(converted, type, from_pandas=False)
    except UnicodeEncodeError:
        return pa.array([legible(item) if isinstance(item, str) else item for item in converted], type)
