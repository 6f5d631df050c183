"""Encode values to bytes, and decode them.

A value is stored as JSON, with NaN and the infinities as names, and with its arrays as `.npy` beside it. Nothing is
pickled, and decoding runs no code from the bytes. A value that cannot be restored is
stored with its type and its JSON only, if it has any.
"""

from ast import literal_eval
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from math import prod
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, get_args

from pydantic_core import PydanticSerializationError, from_json, to_json

from .._base.text import short, type_name
from ..errors import SchemaError
from .digest import digest, pandas_time
from .equality import same
from .immutable_types import PLAIN
from .key import Key
from .schema import Schema

if TYPE_CHECKING:
    from .metrics import MetricSchema

How: TypeAlias = Literal["json", "schema", "python", "secret", "none"]
"""How a value is restored: "json" parses its JSON; "schema" validates its JSON by the schema; "python" validates the
parsed JSON by the schema. "secret" values are not stored, so that the user must pass them again; "none": not at all."""

WAYS: Final[tuple[How, ...]] = get_args(How)

_ARRAY = "crystallize.npy"
_SCALAR = "crystallize.scalar"
"""The names under which the JSON has the index of an array, and of an array that was made of a scalar."""

LONGEST = 4000
"""The length in bytes from which JSON may contain an int that is too long for Python to parse."""


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
    """The JSON of the value; `null` if it has none."""
    arrays: tuple[bytes, ...] = ()
    """The arrays in the value, as `.npy`."""
    fingerprint: str | None = None
    """The fingerprint of the return type that a task declares."""

    @property
    def digest(self) -> str | None:
        """BLAKE2b of the JSON and the arrays, 128 bits; None if the value cannot be restored."""
        return None if self.how in ("secret", "none") else digest(b"".join((self.json, *self.arrays)))


@dataclass(frozen=True, slots=True)
class NotRestorable:
    """A placeholder, in a run that was read from a file, for a value or a tag that cannot be restored.

    Example:
        >>> NotRestorable("tuple", "[1, 2]").seen
        [1, 2]
    """

    type: str
    """The full name of the value's type; empty if the file does not contain it."""
    json: str = "null"
    """The JSON of the value; `null` if it has none."""

    @property
    def seen(self) -> Any:
        """The parsed JSON of the value."""
        import json  # here, to keep the import of the package fast

        return json.loads(self.json)


def json_view(value: Any) -> Any:
    """Return a value, or its parsed JSON if it could not be restored."""
    return value.seen if type(value) is NotRestorable else value


def fingerprints(schema: Schema, metrics: "type[MetricSchema] | None") -> dict[str, Any]:
    """Return the fingerprints of a schema's types, which show whether a stored run has the same types."""
    return {
        "keys": {name: key.fingerprint() for name, key in schema.keys.items()},
        "others": schema.others and schema.others.fingerprint(),
        "metrics": {name: metric.checks.fingerprint for name, metric in (metrics.metrics if metrics else {}).items()},
    }


def any_key() -> Key:
    """Return the key that an untyped context uses for every name."""
    others = Schema.untyped().others
    assert others is not None
    return others


@lru_cache(maxsize=64)
def key_of(type: Any) -> Key:
    """Return a key whose values are of this type; a key for any value if the type cannot be used."""
    try:
        others = Schema(dict[str, type]).others
    except (SchemaError, TypeError):
        others = None
    return others or any_key()


def encode(key: Key, value: Any) -> Stored:
    """Encode a value, and decode it again to find the way that restores it."""
    arrays: list[Any] = []

    def array_index(part: Any) -> Any:
        if type(part).__module__ == "ml_dtypes" and hasattr(part, "item"):
            return part.item()  # the number at least, for `NotRestorable.seen`
        if not _is_array(part):
            raise TypeError(f"no JSON has a {type(part).__name__}")
        # Of the types of ml_dtypes, `.npy` has only the size; each of their numbers is one of float32.
        arrays.append(part.astype("float32") if part.dtype.type.__module__ == "ml_dtypes" else part)
        return {_ARRAY: len(arrays) - 1}

    kind = type_name(type(value))
    try:
        dumped = (
            value
            if type(value) in PLAIN
            else _scalar(value, arrays) or pandas_time(value) or key.dump(value, array_index)
        )
        # A set has no order, and equal sets should have equal bytes.
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
    """Whether JSON can be parsed again. An int of thousands of digits cannot."""
    try:
        from_json(text)
    except ValueError:
        return False
    return True


_WAYS: tuple[How, ...] = ("json", "schema", "python")


def _gives_back(stored: Stored, key: Key, value: Any) -> bool:
    try:
        return same(decode(stored, key), value)
    except Exception:  # a user's validator may raise anything on its own output; then this way does not restore it
        return False


def decode(stored: Stored, key: Key) -> Any:
    """Restore a value."""
    if stored.how == "schema":
        return key.validate_json(stored.json)
    parsed = decode_untyped(stored)
    return key.validate(parsed) if stored.how == "python" else parsed


def revalidate(stored: Stored, key: Key) -> Any:
    """Restore a value as another type than its own, by validating it."""
    return key.validate(decode_untyped(stored)) if stored.arrays else key.validate_json(stored.json)


def decode_untyped(stored: Stored) -> Any:
    """Return the parsed JSON of a value, with its arrays in place. No schema is needed."""
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
    """Append a NumPy scalar to the arrays and return the JSON that refers to it; None for all other values."""
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
    import numpy as np  # here, so that it is imported only if there is an array

    content = BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def _array(content: bytes) -> Any:
    import numpy as np  # as above

    # The header of a few bytes may claim any size, and items of no bytes any number.
    header = _npy_header(content)
    dtype = np.lib.format.descr_to_dtype(header["descr"])
    size = prod(header["shape"]) * max(dtype.itemsize, 1)
    if size > len(content):
        raise ValueError(f"an array claims the shape {short(header['shape'])}, and has {len(content):,} bytes")
    return np.load(BytesIO(content), allow_pickle=False)


def _npy_header(content: bytes) -> Any:
    """Return the dictionary at the beginning of an `.npy`, which has at most 10,000 characters, as NumPy checks too."""
    length = Struct("<H" if content[6:7] == b"\x01" else "<I")
    (size,) = length.unpack_from(content, 8)
    start = 8 + length.size
    if size > 10_000:
        raise ValueError(f"the header of an array has {size:,} characters")
    try:
        return literal_eval(content[start : start + size].decode("latin-1"))
    except (SyntaxError, MemoryError, RecursionError) as error:  # as deep nesting raises, by version of Python
        raise ValueError("the header of an array cannot be parsed") from error


def unrestorable(kind: str, parsed: Any, arrays: tuple[bytes, ...]) -> NotRestorable:
    """Return the placeholder for a value whose JSON is known, but not how to restore it."""
    import json  # here, to keep the import of the package fast; unlike pydantic-core it accepts lone surrogates

    return NotRestorable(kind, json.dumps(_with_arrays(parsed, [*map(_array, arrays)]), default=_listed))


def refers_to_arrays(stored: Stored) -> bool:
    """Whether the JSON of a value may refer to arrays. A user's text that contains the mark counts too."""
    return bool(stored.arrays) or _ARRAY.encode() in stored.json


def has_array_marks(parsed: Any) -> bool:
    """Whether parsed JSON refers to an array."""
    if isinstance(parsed, dict):
        return parsed.keys() == {_ARRAY} or any(map(has_array_marks, parsed.values()))
    return isinstance(parsed, list) and any(map(has_array_marks, parsed))


def _listed(item: Any) -> Any:
    return item.tolist() if _is_array(item) else str(item)
