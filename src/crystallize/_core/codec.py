"""Encode values to bytes, and decode them.

A value is stored as JSON, with NaN and the infinities as names. Values that JSON lacks are in it as marks, with their
bytes as parts beside it; `tagged_json` describes both. Nothing is pickled, and decoding runs no code from the bytes. A
value that cannot be restored is stored with its type and its JSON only, if it has any, and with the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, get_args

from pydantic import ConfigDict
from pydantic_core import PydanticSerializationError, from_json, to_json
from typing_extensions import TypedDict

from .._base.signal_handlers import reraise_from_handler
from .._base.text import type_name
from ..errors import SchemaError
from .digest import digest, pandas_time
from .equality import lost_argument, lost_part, same
from .immutable_types import PLAIN
from .key import Key
from .schema import Schema
from .secrets import secrets_in
from .tagged_json import Tagger, advice_for, has_mark, may_have_marks, unregistered_in, untagged
from .type_code import code_of_keys
from .value_codecs import REGISTERED, CannotStore
from .value_parts import Part, contents_for_digest

if TYPE_CHECKING:
    from .metrics import MetricSchema

How: TypeAlias = Literal["json", "schema", "python", "secret", "none"]
"""How a value is restored: "json" parses its JSON; "schema" validates its JSON by the schema; "python" validates the
parsed JSON by the schema. "secret" values are not stored, so that the user must pass them again; "none": not at all."""

WAYS: Final[tuple[How, ...]] = get_args(How)

_typed_dict: Any = TypedDict
"""The types of its keys are known only at run time."""

LONGEST = 4000
"""The length in bytes from which JSON may contain an int that is too long for Python to parse."""


_DIGEST_OF_NULL: Final = digest(b"null")
"""Most tasks return None."""


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
    parts: tuple[Part, ...] = ()
    """The bytes of the arrays, frames, tensors and images in the value."""
    fingerprint: str | None = None
    """The fingerprint of the return type that a task declares."""
    why: str = ""
    """Why the value cannot be restored, and a remedy; empty if it can."""

    @property
    def digest(self) -> str | None:
        """BLAKE2b of the JSON and the parts, 128 bits; None if the file does not have the value.

        A value whose object in the folder `objects` is missing or changed has one, as the file names the object.
        """
        # Of a value that is not stored, no part is large.
        if self.how == "secret" or (self.how == "none" and all(isinstance(part, bytes) for part in self.parts)):
            return None
        if not self.parts:
            return _DIGEST_OF_NULL if self.json == b"null" else digest(self.json)
        return digest(b"".join((self.json, *contents_for_digest(self.parts))))


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
    why: str = ""
    """Why it cannot be restored, and a remedy, if this program could restore it; else empty."""

    @property
    def seen(self) -> Any:
        """The parsed JSON of the value."""
        import json  # here, to keep the import of the package fast

        return json.loads(self.json)


def json_view(value: Any) -> Any:
    """Return a value, or its parsed JSON if it could not be restored."""
    return value.seen if type(value) is NotRestorable else value


def fingerprints(schema: Schema, metrics: "type[MetricSchema] | None") -> dict[str, Any]:
    """Return the fingerprints of a schema's types, which show whether a stored run has the same types.

    The digests of the code of types that have some are in "code" and "metrics_code".
    """
    declared: Mapping[str, Any] = {} if metrics is None else metrics.metrics
    return {
        "keys": {name: key.fingerprint() for name, key in schema.keys.items()},
        "others": schema.others and schema.others.fingerprint(),
        "metrics": {name: metric.checks.fingerprint for name, metric in declared.items()},
        "code": _only_known({name: code_of_keys(key) for name, key in schema.keys.items()}),
        "metrics_code": _only_known({name: code_of_keys(*metric.checks.keys) for name, metric in declared.items()}),
    }


def _only_known(digests: dict[str, str]) -> dict[str, str]:
    return {name: found for name, found in digests.items() if found}


def any_key() -> Key:
    """Return the key that an untyped context uses for every name."""
    others = Schema.untyped().others
    assert others is not None
    return others


def content_for_digest(key: Key, value: Any) -> bytes | None:
    """Return bytes that are the same for equal values; None if that is unknown, or if the value may be a secret."""
    if type(value) in PLAIN:
        return plain_json(value)
    return None if secrets_in(value) else key.content(value)


def digest_of(value: Any) -> str | None:
    """Return a digest, equal for equal values; None if that is unknown, or if the value may be a secret."""
    content = content_for_digest(any_key(), value)
    return None if content is None else digest(content)


def plain_json(value: Any) -> bytes:
    """Return a value as JSON; a text with lone surrogates is escaped."""
    try:
        return to_json(value)
    except PydanticSerializationError:
        return repr(value).encode(errors="backslashreplace")


@lru_cache(maxsize=64)
def key_of(type: Any) -> Key:
    """Return a key whose values are of this type; a key for any value if the type cannot be used."""
    try:
        return Schema(dict[str, type]).others or any_key()
    except (SchemaError, TypeError):
        pass
    # It may be a dataclass or a named tuple with an array in it.
    shape = _typed_dict("Result", {"result": type})
    shape.__pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)
    try:
        return replace(Schema(shape).keys["result"], name="")
    except (SchemaError, TypeError):
        return any_key()


_NONE: Final = Stored("json", "NoneType", b"null")


def encode(key: Key, value: Any) -> Stored:
    """Encode a value, and decode it again to find the way that restores it."""
    if value is None:  # as most tasks return
        return _NONE
    kind = type_name(type(value))
    tagger = Tagger()
    seen = b"null"
    for make in (_json_of, _tagged_json_of):
        try:
            text = make(key, value, tagger)
            if type(value) in PLAIN and len(text) < LONGEST:
                return Stored("json", kind, text)
            how = _way_back(text, tagger, key, value)
            if how is not None:
                return Stored(how, kind, text, tagger.parts())
            if seen == b"null" and _is_read_back(text):
                seen = text
        except PydanticSerializationError as error:
            if isinstance(error.__cause__, Exception):  # of a user's serializer
                reraise_from_handler(error.__cause__)
            tagger.failure = tagger.failure or _unserialized(error)
        except (TypeError, ValueError, RecursionError, AttributeError) as error:
            reraise_from_handler(error)
    parts = tagger.parts()
    if not all(isinstance(part, bytes) for part in parts):
        seen, parts = b"null", ()  # only for looking at, it is not worth the space
    return Stored("none", kind, seen, parts if seen != b"null" else (), why=_why(key, value, tagger))


def _unserialized(error: PydanticSerializationError) -> CannotStore:
    if "surrogates" in str(error):
        return CannotStore("it has a text that is not Unicode", "write it as bytes")
    return CannotStore(f"its serializer failed ({error})", "see to the serializer of its type")


def _json_of(key: Key, value: Any, tagger: Tagger) -> bytes:
    """Return a value as the JSON of its schema's own serializer, with marks for parts that this does not know."""
    if type(value) in PLAIN:
        return to_json(value)
    dumped = pandas_time(value) or key.dump(value, tagger.mark)
    # A set has no order, and equal sets should have equal bytes.
    return to_json(sorted(dumped, key=to_json) if isinstance(value, (set, frozenset)) else dumped)


def _tagged_json_of(key: Key, value: Any, tagger: Tagger) -> bytes:
    return to_json(tagger.tag(value))


def _why(key: Key, value: Any, tagger: Tagger) -> str:
    """Return why a value cannot be restored, and a remedy."""
    found = tagger.failure
    if found is not None:
        return f"{found.why}; {found.advice}" if found.advice else found.why
    if tagger.needs_schema is not None:
        lost = lost_argument(value) or _lost_part(key, value)
        if lost is not None:
            return "; ".join(lost)
        advice = "declare this type in the schema, and let it serialize all of its state"
        return f"only a schema restores a {tagger.needs_schema}; {advice}"
    return f"it does not come back equal; {advice_for(type(value))}"


def _lost_part(key: Key, value: Any) -> tuple[str, str] | None:
    """Return the field or attribute of a declared type that its schema does not restore, and a remedy."""
    tagger = Tagger()
    for make in (_json_of, _tagged_json_of):
        try:
            parsed = tagger.restore(from_json(make(key, value, tagger)))
            if (lost := lost_part(key.validate(parsed), value)) is not None:
                return lost
        except Exception as error:  # whatever a user's validator raises; then this tells nothing
            reraise_from_handler(error)
    return None


def _is_read_back(text: bytes) -> bool:
    """Whether JSON can be parsed again. An int of thousands of digits cannot."""
    try:
        from_json(text)
    except ValueError:
        return False
    return True


_WAYS: tuple[How, ...] = ("json", "schema", "python")


def _way_back(text: bytes, tagger: Tagger, key: Key, value: Any) -> How | None:
    """Return the first way that restores a value from its JSON; None if no way does."""
    # In a loop, because an exception of a signal handler is lost while an unfinished generator is closed.
    for how in _WAYS:
        if _gives_back(how, text, tagger, key, value):
            return how
    return None


def _gives_back(how: How, text: bytes, tagger: Tagger, key: Key, value: Any) -> bool:
    try:
        if how == "schema":
            # Who reads it without the schema would take a dict of the user for a mark.
            looks_marked = may_have_marks(text) and has_mark(from_json(text))
            return not looks_marked and same(key.validate_json(text), value)
        parsed = tagger.restore(from_json(text))
        return same(key.validate(parsed) if how == "python" else parsed, value)
    except Exception as error:  # a user's validator may raise anything on its own output; then this is not the way
        reraise_from_handler(error)
        return False


def decode(stored: Stored, key: Key) -> Any:
    """Restore a value."""
    if stored.how == "schema":
        return key.validate_json(stored.json)
    parsed = decode_untyped(stored)
    return key.validate(parsed) if stored.how == "python" else parsed


def revalidate(stored: Stored, key: Key) -> Any:
    """Restore a value as another type than its own, by validating it."""
    return key.validate(decode_untyped(stored)) if has_marks(stored) else key.validate_json(stored.json)


def restored_as(stored: Stored, annotation: Any) -> Any:
    """Restore a value as this type; raise what its validation raises if it does not fit."""
    key = key_of(annotation)
    if stored.fingerprint in (None, key.fingerprint()):
        return decode(stored, key)
    return revalidate(stored, key)


def decode_untyped(stored: Stored) -> Any:
    """Return the parsed JSON of a value, with its arrays and frames in place. No schema is needed."""
    parsed = from_json(stored.json)
    return untagged(parsed, stored.parts) if has_marks(stored) else parsed


def unrestorable(kind: str, parsed: Any, parts: tuple[Part, ...]) -> NotRestorable:
    """Return the placeholder for a value whose JSON is known, but not how to restore it."""
    import json  # here, to keep the import of the package fast; unlike pydantic-core it accepts lone surrogates

    return NotRestorable(kind, json.dumps(untagged(parsed, parts), default=_listed))


def as_read_here(stored: Stored) -> Stored:
    """Return a value as this program can read it: as lost if the codec of a part of it is not registered here."""
    if REGISTERED.encode() not in stored.json or (error := unregistered_in(from_json(stored.json))) is None:
        return stored
    return Stored("none", stored.type, b"null", why=f"{error}; {error.advice}")


def has_marks(stored: Stored) -> bool:
    """Whether the JSON of a value may refer to parts, or have other marks. A user's text that has one counts too."""
    return bool(stored.parts) or may_have_marks(stored.json)


def _listed(item: Any) -> Any:
    return item.tolist() if type(item).__module__ == "numpy" and hasattr(item, "tolist") else str(item)
