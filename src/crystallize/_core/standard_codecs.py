"""Codecs for the types of Python's own library that JSON lacks. They apply to exactly these types."""

from base64 import b64decode, b64encode
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from .value_codecs import CannotStore
from .value_parts import Blob, PartContent

_SHORT: Final = 256
"""The length in bytes up to which `bytes` are text in the JSON."""


class StandardCodec(NamedTuple):
    """How values of a type become a simpler value, and values again."""

    name: str
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


def _dump_bytes(value: bytes | bytearray) -> Any:
    return b64encode(value).decode() if len(value) <= _SHORT else Blob(bytes(value))


def _load_bytes(content: str | PartContent) -> bytes:
    return bytes(content.buffer) if isinstance(content, PartContent) else b64decode(content, validate=True)


def _dump_zone(zone: tzinfo | None) -> Any:
    """Return the name of a time zone, its offset in microseconds, or None."""
    if zone is None:
        return None
    if type(zone) is ZoneInfo:
        if zone.key is None:
            raise CannotStore("its time zone has no name", "make it as ZoneInfo(name)")
        return zone.key
    if (offset := fixed_offset(zone)) is not None:
        return offset // _MICROSECOND
    raise CannotStore(f"its time zone is a {type(zone).__name__}", "use one of zoneinfo")


def fixed_offset(zone: tzinfo) -> timedelta | None:
    """Return the offset of a zone in which it never changes; None for all other zones."""
    is_fixed = type(zone) is timezone or (type(zone).__module__, type(zone).__name__) == _PYDANTIC_ZONE
    return zone.utcoffset(None) if is_fixed else None


_PYDANTIC_ZONE: Final = ("pydantic_core._pydantic_core", "TzInfo")
_MICROSECOND: Final = timedelta(microseconds=1)


def _load_zone(found: Any) -> tzinfo | None:
    if found is None:
        return None
    return ZoneInfo(found) if isinstance(found, str) else timezone(timedelta(microseconds=found))


def _dump_time(value: Any) -> Any:
    return [value.replace(tzinfo=None, fold=0).isoformat(), _dump_zone(value.tzinfo), value.fold]


def _load_moment(kind: Any) -> Callable[[Any], Any]:
    def load(found: Any) -> Any:
        text, zone, fold = found
        return kind.fromisoformat(text).replace(tzinfo=_load_zone(zone), fold=fold)

    return load


def _dump_timedelta(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _dump_ordered(value: Any) -> Any:
    """Return the pairs of an OrderedDict, and its attributes: a `state_dict` has the versions of its modules there."""
    return [_dump_pairs(value), getattr(value, "_metadata", None)]


def _load_ordered(found: Any) -> Any:
    pairs, metadata = found
    made = OrderedDict(pairs)
    if metadata is not None:
        vars(made)["_metadata"] = metadata
    return made


def _dump_path(value: Any) -> str:
    return str(value)


def _dump_pairs(value: Any) -> Any:
    return [[key, item] for key, item in value.items()]


def _dump_deque(value: Any) -> Any:
    return [value.maxlen, *value]


def _load_deque(found: Any) -> Any:
    return deque(found[1:], found[0])


def _load_bytearray(found: Any) -> Any:
    return bytearray(_load_bytes(found))


def _dump_complex(value: complex) -> list[float]:
    return [value.real, value.imag]


def _load_complex(found: Any) -> Any:
    return complex(*found)


def _load_timedelta(found: Any) -> Any:
    return timedelta(*found)


def _dump_fraction(value: Fraction) -> list[int]:
    # Not as one text: that may have an exponent of any size.
    return [*value.as_integer_ratio()]


def _load_fraction(found: Any) -> Any:
    return Fraction(*found)


STANDARD: Final[dict[type, StandardCodec]] = {
    tuple: StandardCodec("tuple", list, tuple),
    set: StandardCodec("set", list, set),
    frozenset: StandardCodec("frozenset", list, frozenset),
    dict: StandardCodec("dict", _dump_pairs, dict),
    OrderedDict: StandardCodec("OrderedDict", _dump_ordered, _load_ordered),
    deque: StandardCodec("deque", _dump_deque, _load_deque),
    bytes: StandardCodec("bytes", _dump_bytes, _load_bytes),
    bytearray: StandardCodec("bytearray", _dump_bytes, _load_bytearray),
    complex: StandardCodec("complex", _dump_complex, _load_complex),
    date: StandardCodec("date", date.isoformat, date.fromisoformat),
    time: StandardCodec("time", _dump_time, _load_moment(time)),
    datetime: StandardCodec("datetime", _dump_time, _load_moment(datetime)),
    timedelta: StandardCodec("timedelta", _dump_timedelta, _load_timedelta),
    timezone: StandardCodec("timezone", _dump_zone, _load_zone),
    ZoneInfo: StandardCodec("ZoneInfo", _dump_zone, _load_zone),
    Decimal: StandardCodec("Decimal", str, Decimal),
    Fraction: StandardCodec("Fraction", _dump_fraction, _load_fraction),
    UUID: StandardCodec("UUID", str, UUID),
    **{
        kind: StandardCodec(kind.__name__, _dump_path, kind)
        for kind in (PurePosixPath, PureWindowsPath, PosixPath, WindowsPath)
    },
}

STANDARD_BY_NAME: Final[dict[str, StandardCodec]] = {codec.name: codec for codec in STANDARD.values()}
