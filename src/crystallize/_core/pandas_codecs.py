"""Codecs for the frames, columns and times of pandas. Frames are Arrow streams, with pandas' own notes on its types."""

from typing import Any, Final

from .._base.text import short
from .._base.type_registry import TypeRegistry
from .arrow_codecs import stream_of, table_in
from .value_codecs import CannotStore, ValueCodec, library


def _dump_frame(frame: Any) -> list[Any]:
    pd = library("pandas")
    pa = library("pyarrow")
    if type(frame) is not pd.DataFrame:
        raise CannotStore(f"a {type(frame).__name__} is no plain pandas.DataFrame", "write pandas.DataFrame(...) of it")
    objects = [at for at, dtype in enumerate(frame.dtypes) if str(dtype) == "object"]
    numbered = frame.set_axis(range(frame.shape[1]), axis=1)
    return [_frequency(frame.index), objects, _dump_labels(frame.columns), stream_of(pa.Table.from_pandas(numbered))]


def _dump_labels(columns: Any) -> Any:
    """Return the labels of columns: of a RangeIndex its numbers, else an index as the frame's own is stored."""
    pd = library("pandas")
    if type(columns) is pd.RangeIndex:
        return [columns.name, columns.start, columns.stop, columns.step]
    return _dump_index(columns)


def _load_labels(dumped: Any) -> Any:
    pd = library("pandas")
    if len(dumped) == 1:
        return _load_index(dumped)
    name, *numbers = dumped
    return pd.RangeIndex(*numbers, name=name)


def _frequency(index: Any) -> str | None:
    """Return the frequency of an index of times, which Arrow does not know."""
    return getattr(index, "freqstr", None) if type(index).__name__ in ("DatetimeIndex", "TimedeltaIndex") else None


def _load_frame(dumped: Any, *, peeks: bool = False) -> Any:
    frequency, objects, labels, content = dumped
    # A column that is a block of its own is not copied.
    frame = _checked(table_in(content)).to_pandas(split_blocks=peeks).astype(dict.fromkeys(objects, object))
    frame = frame.set_axis(_load_labels(labels), axis=1)
    if frequency is not None:
        frame.index.freq = frequency
    return frame


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
    return [series.name, series.attrs, *_dump_frame(series.rename("values").to_frame())]


def _peek_at_frame(dumped: Any) -> Any:
    return _load_frame(dumped, peeks=True)


def _load_series(dumped: Any) -> Any:
    name, attributes, *frame = dumped
    series = _load_frame(frame).iloc[:, 0].rename(name)
    series.attrs = attributes
    return series


def _same_frame(left: Any, right: Any) -> bool:
    is_like = type(left) is type(right) and left.equals(right) and left.attrs == right.attrs
    return is_like and [*left.dtypes] == [*right.dtypes] and all(map(_same_index, left.axes, right.axes))


def _same_series(left: Any, right: Any) -> bool:
    is_like = type(left) is type(right) and left.equals(right) and left.attrs == right.attrs
    is_named = type(left.name) is type(right.name) and left.name == right.name
    return is_like and is_named and left.dtype == right.dtype and _same_index(left.index, right.index)


def _same_index(left: Any, right: Any) -> bool:
    is_like = type(left) is type(right) and [*left.names] == [*right.names] and left.equals(right)
    is_timed = _frequency(left) == _frequency(right)
    return is_like and is_timed and _dtypes_of(left) == _dtypes_of(right)


def _dtypes_of(index: Any) -> list[Any]:
    return [level.dtype for level in index.levels] if hasattr(index, "levels") else [index.dtype]


def _dump_index(index: Any) -> list[Any]:
    pd = library("pandas")
    return [_dump_frame(pd.DataFrame(index=index))]


def _load_index(dumped: Any) -> Any:
    return _load_frame(dumped[0]).index


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


_ADVICE: Final = "convert its columns of dtype object, whose items are of several types, or write plain lists"

VALUE_CODECS: Final = TypeRegistry(
    {
        codec.name: codec
        for codec in (
            ValueCodec("pandas.DataFrame", _dump_frame, _load_frame, _same_frame, peek=_peek_at_frame, advice=_ADVICE),
            ValueCodec("pandas.Series", _dump_series, _load_series, _same_series, advice=_ADVICE),
            ValueCodec("pandas.Index", _dump_index, _load_index, _same_index, advice=_ADVICE),
            ValueCodec("pandas.api.typing.NaTType", _dump_nothing, _load_nothing("NaT"), _is),
            ValueCodec("pandas.api.typing.NAType", _dump_nothing, _load_nothing("NA"), _is),
            ValueCodec("pandas.Timestamp", _dump_timestamp, _load_timestamp, _same_timestamp),
            ValueCodec("pandas.Timedelta", _dump_timedelta, _load_timedelta, _same_timedelta),
        )
    }
)
