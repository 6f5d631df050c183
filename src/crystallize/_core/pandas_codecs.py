"""Codecs for the frames, columns and times of pandas. Frames are Arrow streams, with pandas' own notes on its types."""

from datetime import date
from itertools import chain
from typing import Any, Final

from .._base.signal_handlers import reraise_from_handler
from .._base.text import short, type_name
from .._base.type_registry import TypeRegistry
from .arrow_codecs import stream_of, table_in
from .equality import same
from .value_codecs import CannotStore, Named, ValueCodec, library
from .value_parts import PartContent

_ADVICE: Final = "convert it to a plain dtype with astype, or write plain lists"
_ARROW_ITEMS: Final = frozenset({str, bytes, bool, int, float, date})
"""The types whose columns Arrow restores exactly, if all items of a column have one of these types."""


def _dump_frame(frame: Any) -> list[Any]:
    pd = library("pandas")
    if type(frame) is not pd.DataFrame:
        raise CannotStore(f"a {type(frame).__name__} is no plain pandas.DataFrame", "write pandas.DataFrame(...) of it")
    return _dump_columns(frame, [f"its column {short(label)}" for label in frame.columns])


def _dump_columns(frame: Any, names: list[str]) -> list[Any]:
    """Return the index, the labels, the attributes, the columns that Arrow lacks, and the others as one stream."""
    beside: list[list[Any]] = []
    numbered = frame.set_axis(range(frame.shape[1]), axis=1).reset_index(drop=True)
    for at, dtype in enumerate(frame.dtypes):
        if _is_beside(dtype):
            beside.append([at, Named(names[at], _dump_items(numbered[at].to_numpy()))])
    rest = numbered.drop(columns=[at for at, _ in beside])
    # They would be JSON in the stream.
    empty: dict[Any, Any] = {}
    rest.attrs = empty
    stream = stream_of(_table_of(rest, names)) if rest.shape[1] else None
    labels = Named("its index", _dump_index(frame.index)), Named("its columns", _dump_index(frame.columns))
    return [*labels, Named("its attrs", frame.attrs), beside, stream]


def _is_beside(dtype: Any) -> bool:
    """Whether a column is stored beside those of Arrow, which has no complex numbers, and no objects of any types."""
    return str(dtype) == "object" or getattr(dtype, "kind", "") == "c"


def _table_of(frame: Any, names: list[str]) -> Any:
    """Return a frame as a table; raise CannotStore with the name of the column that Arrow does not know."""
    pa = library("pyarrow")
    for at, dtype in frame.dtypes.items():
        if "Sparse" in str(dtype):
            raise CannotStore(f"{names[at]} of dtype {dtype} is sparse", "convert it with .sparse.to_dense()")
    try:
        return pa.Table.from_pandas(frame)
    except Exception as error:  # whatever Arrow, or a dtype of another library, raises
        reraise_from_handler(error)
        problems = ((at, found) for at in frame if (found := _problem_of(frame[at])))
        at, problem = next(problems, (0, error))
        why = f"{names[at]} of dtype {frame.dtypes[at]} cannot be stored ({problem})"
        raise CannotStore(why, _ADVICE) from error


def _problem_of(column: Any) -> Exception | None:
    try:
        library("pyarrow").Array.from_pandas(column)
    except Exception as error:  # as above
        reraise_from_handler(error)
        return error
    return None


def _dump_items(items: Any) -> Any:
    """Return an array of objects as one of Arrow if that gives them back exactly, else as a list."""
    if not items.dtype.hasobject:
        return items
    pa = library("pyarrow")
    listed = [*items]
    types = {*map(type, listed)} - {type(None)}
    inner = {*map(type, chain.from_iterable(filter(None, listed)))} - {type(None)} if types == {list} else types
    if len(inner) == 1 and inner <= _ARROW_ITEMS:
        try:
            return pa.array(listed, from_pandas=False)
        except (ArithmeticError, TypeError, ValueError) as error:  # an int of more than 64 bits
            reraise_from_handler(error)
    return listed


def _load_items(dumped: Any) -> Any:
    """Return an array of the items of a column that is stored beside the others."""
    pa, np = library("pyarrow"), library("numpy")
    if isinstance(dumped, np.ndarray):
        return dumped
    listed = _checked(pa.table({"": dumped})).column(0).to_pylist() if isinstance(dumped, pa.Array) else dumped
    return np.fromiter(listed, dtype=object, count=len(listed))


def _arrays(beside: Any) -> Any:
    return ((at, _load_items(items)) for at, items in beside)


def _load_frame(dumped: Any, *, peeks: bool = False) -> Any:
    pd = library("pandas")
    index, labels, attributes, beside, content = dumped
    rows = _load_index(index)
    # A column that is a block of its own is not copied.
    frame = pd.DataFrame(index=range(len(rows))) if content is None else _frame_in(content, peeks=peeks)
    if beside:
        columns = {at: pd.Series(array, frame.index, array.dtype) for at, array in _arrays(beside)}
        whole = pd.concat([frame.set_axis(map(int, frame.columns), axis=1), pd.DataFrame(columns)], axis=1)
        frame = whole[[*range(whole.shape[1])]]
    frame = frame.set_axis(_load_index(labels), axis=1).set_axis(rows, axis=0)
    frame.attrs = attributes
    return frame


def _frame_in(content: PartContent, *, peeks: bool = False) -> Any:
    return _checked(table_in(content)).to_pandas(split_blocks=peeks)


def _checked(table: Any) -> Any:
    """Return a table; raise ValueError if pandas would make more of one of its columns than it has bytes."""
    for field in table.schema:
        kind = str(field.type)
        if "view" in kind or "run_end" in kind:
            raise ValueError(f"a frame has a column of type {short(kind)}")
    return table


def _dump_series(series: Any) -> list[Any]:
    pd = library("pandas")
    if type(series) is not pd.Series:
        raise CannotStore(f"a {type(series).__name__} is no plain pandas.Series", "write pandas.Series(...) of it")
    return [series.name, _dump_columns(series.rename("values").to_frame(), ["its data"])]


def _peek_at_frame(dumped: Any) -> Any:
    return _load_frame(dumped, peeks=True)


def _load_series(dumped: Any) -> Any:
    name, dumped_frame = dumped
    frame = _load_frame(dumped_frame)
    series = frame.iloc[:, 0].rename(name)
    series.attrs = frame.attrs
    return series


def _same_frame(left: Any, right: Any) -> bool:
    is_like = type(left) is type(right) and left.shape == right.shape and same(left.attrs, right.attrs)
    if not is_like or [*left.dtypes] != [*right.dtypes] or not all(map(_same_index, left.axes, right.axes)):
        return False
    # All others at once, as a frame takes long to make thousands of columns of itself.
    single = [at for at, dtype in enumerate(left.dtypes) if _is_beside(dtype) or hasattr(dtype, "categories")]
    rest = [frame.drop(columns=single) for frame in _numbered(left, right)]
    return rest[0].equals(rest[1]) and all(_same_items(left.iloc[:, at], right.iloc[:, at]) for at in single)


def _numbered(*frames: Any) -> list[Any]:
    return [frame.set_axis(range(frame.shape[1]), axis=1) for frame in frames]


def _same_series(left: Any, right: Any) -> bool:
    is_like = type(left) is type(right) and same(left.name, right.name) and same(left.attrs, right.attrs)
    return is_like and _same_index(left.index, right.index) and _same_items(left, right)


def _same_items(left: Any, right: Any) -> bool:
    """Whether two columns are the same. To pandas, objects such as None and NaN, or 1 and 1.0, are equal."""
    if left.dtype != right.dtype:
        return False
    if str(left.dtype) == "object":
        return _same_objects([*left.array], [*right.array])
    return bool(left.array.equals(right.array)) and _same_categories(left.dtype, right.dtype)


def _same_objects(left: list[Any], right: list[Any]) -> bool:
    """Whether items are the same; those of the types of an Arrow column are compared all at once."""
    types = [*map(type, left)]
    if types != [*map(type, right)]:
        return False
    kinds = {*types} - {type(None)}
    if kinds <= _ARROW_ITEMS - {float}:
        return left == right
    if kinds != {list}:
        return same(left, right)
    if [item and len(item) for item in left] != [item and len(item) for item in right]:
        return False
    return _same_objects(*([*chain.from_iterable(filter(None, items))] for items in (left, right)))


def _same_categories(left: Any, right: Any) -> bool:
    return not hasattr(left, "categories") or _same_index(left.categories, right.categories)


def _same_index(left: Any, right: Any) -> bool:
    is_like = type(left) is type(right) and left.shape == right.shape and same([*left.names], [*right.names])
    if not is_like or _frequency(left) != _frequency(right):
        return False
    if left.nlevels == 1:
        return _same_items(left, right)
    return bool(left.equals(right)) and all(map(_same_index, left.levels, right.levels))


def _frequency(index: Any) -> str | None:
    """Return the frequency of an index of times, which Arrow does not know."""
    return getattr(index, "freqstr", None) if type(index).__name__ in ("DatetimeIndex", "TimedeltaIndex") else None


def _dump_index(index: Any) -> list[Any]:
    pd, np = library("pandas"), library("numpy")
    if type(index) is pd.RangeIndex:
        return ["range", index.name, index.start, index.stop, index.step]
    if index.nlevels > 1:
        levels, codes = [*map(_dump_index, index.levels)], [*map(np.asarray, index.codes)]
        return ["levels", [*index.names], levels, codes]
    if _is_beside(index.dtype):
        return ["items", index.name, _dump_items(index.to_numpy())]
    table = _table_of(index.to_frame(index=False, name=0), ["its labels"])
    return ["arrow", index.name, _frequency(index), stream_of(table)]


def _load_index(dumped: Any) -> Any:
    pd = library("pandas")
    kind, name, *rest = dumped
    if kind == "range":
        return pd.RangeIndex(*rest, name=name)
    if kind == "levels":
        levels, codes = rest
        return pd.MultiIndex([*map(_load_index, levels)], codes, names=name)
    if kind == "items":
        items = _load_items(rest[0])
        return pd.Index(items, dtype=items.dtype, name=name, tupleize_cols=False)
    frequency, content = rest
    index = pd.Index(_frame_in(content).iloc[:, 0]).rename(name)
    if frequency is not None:
        index.freq = frequency
    return index


def _frame_difference(left: Any, right: Any) -> str:
    columns = range(right.shape[1]) if left.shape == right.shape else ()
    at = next((at for at in columns if not _same_items(left.iloc[:, at], right.iloc[:, at])), None)
    if at is None:
        return "its index, its columns or its attrs"
    return f"its column {short(right.columns[at])} {_described(right.iloc[:, at])}"


def _series_difference(left: Any, right: Any) -> str:
    return "its index, its name or its attrs" if _same_items(left, right) else f"its data {_described(right)}"


def _described(column: Any) -> str:
    if str(column.dtype) != "object":
        return f"of dtype {column.dtype}"
    return f"of objects ({', '.join(sorted({type_name(type(item)) for item in column}))})"


def _dump_timestamp(value: Any) -> list[Any]:
    return [value.to_datetime64(), value.tzinfo]


def _load_timestamp(dumped: Any) -> Any:
    pd = library("pandas")
    moment, zone = dumped
    naive = pd.Timestamp(moment)
    return naive if zone is None else naive.tz_localize("UTC").tz_convert(zone)


def _same_timestamp(left: Any, right: Any) -> bool:
    facts = [[type(time), time.to_datetime64(), time.unit, str(time.tzinfo), time.fold] for time in (left, right)]
    return facts[0] == facts[1]


def _dump_timedelta(value: Any) -> Any:
    return value.to_timedelta64()


def _load_timedelta(found: Any) -> Any:
    pd = library("pandas")
    return pd.Timedelta(found)


def _same_timedelta(left: Any, right: Any) -> bool:
    return type(left) is type(right) and left == right and left.unit == right.unit


def _dump_nothing(value: Any) -> None:
    return None


def _load_nothing(name: str) -> Any:
    def load(dumped: Any) -> Any:
        pd = library("pandas")
        return getattr(pd, name)

    return load


def _is(left: Any, right: Any) -> bool:
    return left is right


VALUE_CODECS: Final = TypeRegistry(
    {
        codec.name: codec
        for codec in (
            ValueCodec(
                "pandas.DataFrame",
                _dump_frame,
                _load_frame,
                _same_frame,
                peek=_peek_at_frame,
                advice=_ADVICE,
                difference=_frame_difference,
            ),
            ValueCodec(
                "pandas.Series", _dump_series, _load_series, _same_series, advice=_ADVICE, difference=_series_difference
            ),
            ValueCodec("pandas.Index", _dump_index, _load_index, _same_index, advice=_ADVICE),
            ValueCodec("pandas.api.typing.NaTType", _dump_nothing, _load_nothing("NaT"), _is),
            ValueCodec("pandas.api.typing.NAType", _dump_nothing, _load_nothing("NA"), _is),
            ValueCodec("pandas.Timestamp", _dump_timestamp, _load_timestamp, _same_timestamp),
            ValueCodec("pandas.Timedelta", _dump_timedelta, _load_timedelta, _same_timedelta),
        )
    }
)
