"""A value to bytes and back.

A value is JSON, with NaN and the infinities by their names, and its arrays as `.npy` beside it. Nothing is pickled, and
reading a value runs no code of its own. A value that cannot be restored from these bytes is known by its type alone.
"""

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from pydantic_core import PydanticSerializationError, from_json, to_json

from .._base.text import type_name
from ..errors import SchemaError
from .digest import digest
from .equality import same
from .immutable_types import PLAIN
from .key import Key
from .schema import Schema

if TYPE_CHECKING:
    from .metrics import MetricSchema

How: TypeAlias = Literal["json", "schema", "python", "secret", "none"]
"""What gives a value back: its JSON alone; its schema, from JSON; its schema, from what JSON was parsed to; only the
user, since it is secret; nothing."""

_ARRAY = "crystallize.npy"
_SCALAR = "crystallize.scalar"
"""The names under which JSON has the number of an array, and of one that is there for the scalar in it."""

LONGEST = 4000
"""Bytes of a fact that may hold an int which Python refuses to read back."""


class Stored(NamedTuple):
    """A value as a file stores it; see `Entry.stored`.

    Example:
        >>> from crystallize.runs import Stored
        >>> stored = Stored("json", "float", b"0.1")
        >>> stored.type, stored.json
        ('float', b'0.1')
    """

    how: How
    type: str
    """The full name of the value's type."""
    json: bytes
    """Its JSON; `null` where it has none."""
    arrays: tuple[bytes, ...] = ()
    """The arrays in it, as `.npy`."""
    fingerprint: str | None = None
    """Of the type that a task said that it returns."""

    @property
    def digest(self) -> str | None:
        """BLAKE2b of all that is kept, 128 bits; None where the value cannot be given back."""
        return None if self.how in ("secret", "none") else digest(b"".join((self.json, *self.arrays)))


@dataclass(frozen=True, slots=True)
class NotRestorable:
    """Stands for a value or a tag of a point that cannot be restored from a file, in a run that was read from one.

    Example:
        >>> NotRestorable("tuple", "[1, 2]").seen
        [1, 2]
    """

    type: str
    """The full name of the type that it had; empty where the file does not say."""
    json: str = "null"
    """What JSON makes of it; `null` where that is nothing."""

    @property
    def seen(self) -> Any:
        """What JSON makes of it, of JSON's types."""
        import json  # here, since importing the package is to cost little

        return json.loads(self.json)


def json_view(value: Any) -> Any:
    """Return a value; of one that a file cannot give back, what JSON makes of it."""
    return value.seen if type(value) is NotRestorable else value


def fingerprints(schema: Schema, metrics: "type[MetricSchema] | None") -> dict[str, Any]:
    """Return what tells whether values and points of a run are of the types that a schema has."""
    return {
        "keys": {name: key.fingerprint() for name, key in schema.keys.items()},
        "others": schema.others and schema.others.fingerprint(),
        "metrics": {name: metric.checks.fingerprint for name, metric in (metrics.metrics if metrics else {}).items()},
    }


def any_key() -> Key:
    """Return what an untyped context says of a key."""
    others = Schema.untyped().others
    assert others is not None
    return others


@lru_cache(maxsize=64)
def key_of(type: Any) -> Key:
    """Return what a context whose keys all hold a type says of a key; of a type that none can hold, as of any."""
    try:
        others = Schema(dict[str, type]).others
    except (SchemaError, TypeError):
        others = None
    return others or any_key()


def encode(key: Key, value: Any) -> Stored:
    """Turn a value into what can be kept, and read it back to see what gives it back."""
    arrays: list[Any] = []

    def apart(part: Any) -> dict[str, int]:
        if not _is_array(part):
            raise TypeError(f"no JSON has a {type(part).__name__}")
        arrays.append(part)
        return {_ARRAY: len(arrays) - 1}

    kind = type_name(type(value))
    try:
        dumped = value if type(value) in PLAIN else _scalar(value, arrays) or key.dump(value, apart)
        # A set has no order, and what is equal should look the same.
        text = to_json(sorted(dumped, key=to_json) if isinstance(value, (set, frozenset)) else dumped)
        if type(value) in PLAIN and len(text) < LONGEST:
            return Stored("json", kind, text)
        parts = tuple(map(_npy, arrays))
        for how in _WAYS:
            stored = Stored(how, kind, text, parts)
            if _gives_back(stored, key, value):
                return stored
    except (PydanticSerializationError, TypeError, ValueError, RecursionError, AttributeError):
        return Stored("none", kind, b"null")
    return Stored("none", kind, text, parts) if _is_read_back(text) else Stored("none", kind, b"null")


def _is_read_back(text: bytes) -> bool:
    """Whether JSON can be parsed again; of an int of thousands of digits it cannot."""
    try:
        from_json(text)
    except ValueError:
        return False
    return True


_WAYS: tuple[How, ...] = ("json", "schema", "python")


def _gives_back(stored: Stored, key: Key, value: Any) -> bool:
    try:
        return same(decode(stored, key), value)
    except Exception:  # whatever a user's validator raises of its own output, it is no way back
        return False


def decode(stored: Stored, key: Key) -> Any:
    """Return a value as it was written."""
    if stored.how == "schema":
        return key.validate_json(stored.json)
    parsed = decode_untyped(stored)
    return key.validate(parsed) if stored.how == "python" else parsed


def revalidate(stored: Stored, key: Key) -> Any:
    """Return a value as another type than the one that it was written by makes of it."""
    return key.validate(decode_untyped(stored)) if stored.arrays else key.validate_json(stored.json)


def decode_untyped(stored: Stored) -> Any:
    """Return a value as JSON has it, with its arrays in place; it needs no schema."""
    return _with_arrays(from_json(stored.json), [_array(part) for part in stored.arrays])


def _with_arrays(parsed: Any, arrays: list[Any]) -> Any:
    if not arrays:
        return parsed
    if isinstance(parsed, list):
        return [_with_arrays(item, arrays) for item in parsed]
    if not isinstance(parsed, dict):
        return parsed
    if parsed.keys() == {_ARRAY}:
        return arrays[parsed[_ARRAY]]
    if parsed.keys() == {_SCALAR}:
        return arrays[parsed[_SCALAR]][()]
    return {name: _with_arrays(item, arrays) for name, item in parsed.items()}


def _scalar(value: Any, arrays: list[Any]) -> dict[str, int] | None:
    """Put a scalar of numpy among the arrays; return what JSON has in its place, and None of anything else."""
    is_scalar = type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0 and not _is_array(value)
    if not is_scalar or value.dtype.hasobject:
        return None
    import numpy as np  # as below

    arrays.append(np.asarray(value))
    return {_SCALAR: 0}


def _is_array(value: Any) -> bool:
    kind = type(value)
    return (kind.__module__, kind.__qualname__) == ("numpy", "ndarray") and not value.dtype.hasobject


def _npy(array: Any) -> bytes:
    import numpy as np  # only where there is an array already

    content = BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def _array(content: bytes) -> Any:
    import numpy as np  # as above

    return np.load(BytesIO(content), allow_pickle=False)


def unrestorable(kind: str, parsed: Any, arrays: tuple[bytes, ...]) -> NotRestorable:
    """Return the stand-in for a value of which only the JSON is known."""
    import json  # here, since importing the package is to cost little; unlike pydantic-core it accepts lone surrogates

    return NotRestorable(kind, json.dumps(_with_arrays(parsed, [*map(_array, arrays)]), default=_listed))


def refers_to_arrays(stored: Stored) -> bool:
    """Whether the JSON of a value refers to its arrays, or only seems to, as a text of the user's may."""
    return bool(stored.arrays) or _ARRAY.encode() in stored.json


def has_array_marks(parsed: Any) -> bool:
    """Whether parsed JSON refers to an array."""
    if isinstance(parsed, dict):
        return parsed.keys() == {_ARRAY} or any(map(has_array_marks, parsed.values()))
    return isinstance(parsed, list) and any(map(has_array_marks, parsed))


def _listed(item: Any) -> Any:
    return item.tolist() if _is_array(item) else str(item)
