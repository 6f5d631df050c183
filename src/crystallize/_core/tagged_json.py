"""JSON that describes itself: values that JSON lacks are in it as marks, which name their codec.

A mark is a JSON object with one name:

- `{"crystallize.npy": 0}` is an array, whose `.npy` is part 0 of the stored value;
- `{"crystallize.part": 0}` is the bytes of part 0;
- `{"crystallize.value": ["pandas.DataFrame", ...]}` is the result of a codec for the second item;
- `{"crystallize.scalar": 0}` is a scalar of NumPy, as files of the first versions have it.
"""

from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, Final

from pydantic_core import to_json

from .._base.signal_handlers import reraise_from_handler
from .._base.text import short, type_name
from ..errors import CrystallizeError
from .live_types import LIVE
from .plain_forms import plain_form, too_deep
from .standard_codecs import STANDARD, STANDARD_BY_NAME, StandardCodec
from .value_codecs import (
    REGISTERED,
    CannotStore,
    Named,
    NotRegistered,
    RegisteredFailed,
    ValueCodec,
    codec_named,
    codec_of,
    registered_load,
)
from .value_parts import Blob, Part, PartContent

ARRAY: Final = "crystallize.npy"
_PART: Final = "crystallize.part"
_VALUE: Final = "crystallize.value"
_SCALAR: Final = "crystallize.scalar"
_OURS: Final = "crystallize."
_ARRAY_CODEC: Final = "numpy.ndarray"
_NUMBER: Final = "numpy.generic"
_LISTS: Final = frozenset({"tuple", "set", "frozenset"})

_JSON_TYPES: Final = frozenset({str, int, float, bool, NoneType})


class Tagger:
    """Turns one value into JSON with marks, and collects its parts.

    Attributes:
        failure: The first value that could not be stored; None if there was none.
        needs_schema: The first type in it that only a schema restores; None if there was none.
    """

    def __init__(self) -> None:
        self._parts: list[Part | None] = []
        self._gathered: dict[str, tuple[int, ValueCodec, list[Any]]] = {}
        self._marks: dict[int, tuple[Any, Any]] = {}
        self._values: dict[bytes, Any] = {}
        self.failure: CannotStore | None = None
        self.needs_schema: str | None = None

    def tag(self, value: Any) -> Any:
        """Return a value as JSON with marks; raise CannotStore if a part of it has no codec."""
        try:
            return self._tag(value)
        except CannotStore as error:
            self.failure = self.failure or error
            raise
        except RecursionError:
            self.failure = self.failure or too_deep(value)
            raise

    def _tag(self, value: Any) -> Any:
        cls = type(value)
        if cls in _JSON_TYPES:
            return value
        if cls is list:
            return [*map(self._tag, value)]
        if cls is dict and all(type(key) is str and not key.startswith(_OURS) for key in value):
            return {key: self._tag(item) for key, item in value.items()}
        standard = STANDARD.get(cls)
        if standard is not None:
            return self._standard(standard, value)
        plain = plain_form(value)
        if plain is value:
            return self.mark(value)
        self.needs_schema = self.needs_schema or type_name(cls)
        return self._tag(plain)

    def mark(self, value: Any) -> Any:
        """Return the mark of a value that has a codec; raise CannotStore if it has none."""
        known = self._marks.get(id(value))
        if known is None:
            try:
                mark = self._mark(value)
            except CannotStore as error:
                self.failure = self.failure or error
                raise
            # With the value, so that no other one gets its id.
            known = self._marks[id(value)] = (mark, value)
            self._values[to_json(mark)] = value
        return known[0]

    def parts(self) -> tuple[Part, ...]:
        """Return all parts."""
        for index, codec, values in self._gathered.values():
            assert codec.gather is not None
            self._parts[index] = codec.gather(values).part()
        self._gathered.clear()
        return tuple(part for part in self._parts if part is not None)

    def restore(self, parsed: Any) -> Any:
        """Return the value of parsed JSON, with the very objects in it that were checked when they were marked."""
        return _Untagger(self._parts, self._values).restore(parsed)

    def _mark(self, value: Any) -> Any:
        cls = type(value)
        codec = codec_of(cls)
        if codec is None:
            raise CannotStore(f"no codec stores a {type_name(cls)}", advice_for(cls))
        name, advice = codec.name.removeprefix(REGISTERED), codec.advice or advice_for(cls)
        try:
            return self._dumped(codec, value, f"a {name} does not come back equal", advice)
        except CannotStore:
            raise
        except RegisteredFailed as error:
            raise CannotStore(str(error), error.advice) from error
        except ImportError as error:
            reraise_from_handler(error)
            raise CannotStore(f"a {name} is stored by {error.name}", f"pip install {error.name}") from error
        except Exception as error:  # whatever a library, or a function of the user, raises
            reraise_from_handler(error)
            raise CannotStore(f"a {name} cannot be stored ({type(error).__name__}: {error})", advice) from error

    def _dumped(self, codec: ValueCodec, value: Any, unequal: str, advice: str) -> Any:
        if codec.gather is not None:
            return self._put_together(codec, value)
        inner = self._tag_dumped(codec.dump(value))
        if not codec.is_exact:
            restored = (codec.peek or codec.load)(_Untagger(self._parts, {}).restore(inner))
            if not codec.equal(restored, value):
                part = f": {codec.difference(restored, value)}" if codec.difference else ""
                raise _other_type(codec, value, restored) or CannotStore(unequal + part, advice)
        if codec.name == _ARRAY_CODEC and isinstance(inner, dict):
            return {ARRAY: inner[_PART]}
        return {_VALUE: [codec.name, inner]}

    def _put_together(self, codec: ValueCodec, value: Any) -> Any:
        """Return the mark of a value that shares one part with all others of its codec."""
        dumped = self.tag(codec.dump(value))
        index, _, values = self._gathered.setdefault(codec.name, (len(self._parts), codec, []))
        if not values:
            self._parts.append(None)
        values.append(value)
        return {_VALUE: [codec.name, [{_PART: index}, len(values) - 1, dumped]]}

    def _tag_dumped(self, dumped: Any) -> Any:
        if isinstance(dumped, Blob):
            self._parts.append(dumped.part())
            return {_PART: len(self._parts) - 1}
        if type(dumped) is list:
            return [*map(self._tag_dumped, dumped)]
        return self._tag_named(dumped) if isinstance(dumped, Named) else self._tag(dumped)

    def _tag_named(self, part: Named) -> Any:
        before, self.failure = self.failure, None
        try:
            return self._tag_dumped(part.value)
        except (CannotStore, RecursionError) as error:
            cause = error if isinstance(error, CannotStore) else too_deep(part.value)
            self.failure = before or CannotStore(f"{part.name} cannot be stored: {cause.why}", cause.advice)
            raise self.failure from error
        finally:
            self.failure = self.failure or before

    def _standard(self, codec: StandardCodec, value: Any) -> Any:
        inner = self._tag_dumped(codec.dump(value))
        # A set has no order, and equal sets should have equal bytes.
        return {_VALUE: [codec.name, sorted(inner, key=to_json) if isinstance(value, (set, frozenset)) else inner]}


def _other_type(codec: ValueCodec, value: Any, restored: Any) -> CannotStore | None:
    """Return the error for a registered type whose load returns another one; None if it does not."""
    if type(restored) is type(value) or not codec.name.startswith(REGISTERED):
        return None
    kind = type_name(type(value))
    return CannotStore(f"a {kind} comes back as a {type_name(type(restored))}", f"let load return a {kind}")


def advice_for(cls: type) -> str:
    """Return a remedy that makes values of a type restorable."""
    if cls.__module__ == "builtins":
        return "write it as another type"
    live = LIVE.find(cls)
    if live is not None and live.state:
        return f"write its {live.state}"
    return f'call register("{type_name(cls)}", dump=..., load=...), or write an artifact, or the path of a file'


class _Untagger:
    """Turns JSON with marks into values."""

    def __init__(self, parts: Sequence[Part | None], known: dict[bytes, Any]) -> None:
        """Take the parts of the value, and the values of marks that need no decoding."""
        self._parts = parts
        self._known = known
        self._contents: dict[int, PartContent] = {}

    def restore(self, parsed: Any) -> Any:
        """Return the value of parsed JSON."""
        if isinstance(parsed, list):
            return [*map(self.restore, parsed)]
        if not isinstance(parsed, dict):
            return parsed
        if len(parsed) == 1:
            ((name, inner),) = parsed.items()
            # Without parts a mark is a dict of the user, as files of the first versions have it.
            if name == _VALUE or (name in _MARKS and self._parts):
                known = self._known and self._known.get(to_json(parsed), self._known)
                return self._value(name, inner) if known is self._known else known
        return {name: self.restore(item) for name, item in parsed.items()}

    def _value(self, mark: str, inner: Any) -> Any:
        if mark == _PART:
            return self._content(inner)
        if mark == _VALUE:
            name, dumped = inner
            return _loaded(name, _load_of(name), self.restore(dumped))
        array = _loaded(_ARRAY_CODEC, codec_named(_ARRAY_CODEC).load, self._content(inner))
        return array[()] if mark == _SCALAR else array

    def _content(self, index: Any) -> PartContent:
        if type(index) is not int or not 0 <= index < len(self._parts):
            raise ValueError(f"it has {len(self._parts)} parts, and no part {index!r}")
        if index not in self._contents:
            part = self._parts[index]
            assert part is not None
            self._contents[index] = PartContent(part)
        return self._contents[index]


_MARKS: Final = frozenset({ARRAY, _PART, _VALUE, _SCALAR})


def _loaded(name: str, load: Callable[[Any], Any], dumped: Any) -> Any:
    try:
        return load(dumped)
    except (ImportError, ValueError, CrystallizeError, RegisteredFailed):
        raise
    except BaseException as error:
        # A library written in Rust raises this where it has an error of its own.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if isinstance(error, Exception):
            reraise_from_handler(error)
        raise ValueError(f"its {short(name)} cannot be read ({type(error).__name__}: {error})") from error


def _load_of(name: Any) -> Callable[[Any], Any]:
    """Return the function that makes a value of what its codec dumped; raise an error if there is no such codec."""
    if not isinstance(name, str):
        raise ValueError(f"a codec has a name, not {short(name)}")
    if name in STANDARD_BY_NAME:
        return STANDARD_BY_NAME[name].load
    if name.startswith(REGISTERED):
        return registered_load(name.removeprefix(REGISTERED))
    return codec_named(name).load


def unregistered_in(parsed: Any) -> NotRegistered | None:
    """Return the error for the first value in JSON whose codec is not registered in this program, if there is one."""
    if isinstance(parsed, list):
        return next(filter(None, map(unregistered_in, parsed)), None)
    if not isinstance(parsed, dict):
        return None
    inner = parsed.get(_VALUE)
    name = inner[0] if isinstance(inner, list) and inner else None
    if isinstance(name, str) and name.startswith(REGISTERED):
        try:
            registered_load(name.removeprefix(REGISTERED))
        except NotRegistered as error:
            return error
    return unregistered_in([*parsed.values()])


def untagged(parsed: Any, parts: Sequence[Part]) -> Any:
    """Return the value of JSON with marks and of its parts."""
    return _Untagger(parts, {}).restore(parsed)


def without_marks(parsed: Any, parts: Sequence[Part] = ()) -> Any:
    """Return parsed JSON with simple values in place of its marks, to be shown: numbers, texts and lists.

    An empty dict is in place of anything else, also of the numbers of NumPy if their `parts` are not given.
    """
    if isinstance(parsed, list):
        return [without_marks(item, parts) for item in parsed]
    if not isinstance(parsed, dict):
        return parsed
    if len(parsed) == 1 and not _MARKS.isdisjoint(parsed):
        return _simple(parsed, parts)
    return {name: without_marks(item, parts) for name, item in parsed.items()}


def _simple(mark: dict[str, Any], parts: Sequence[Part]) -> Any:
    nothing: dict[str, Any] = {}
    if _VALUE not in mark:
        return nothing
    name, dumped = mark[_VALUE]
    if name == _NUMBER:
        return untagged(mark, parts).item() if parts else nothing
    if name in _LISTS:
        return without_marks(dumped, parts)
    if name not in STANDARD_BY_NAME:
        return nothing
    value = untagged(mark, parts)
    return float(value) if name == "Decimal" else str(value)


def may_have_marks(json: bytes) -> bool:
    """Whether JSON may have marks. A user's text that contains the beginning of one counts too."""
    return _OURS.encode() in json


def has_mark(parsed: Any) -> bool:
    """Whether parsed JSON has a mark, or a dict of the user that looks like one."""
    if isinstance(parsed, dict):
        return (len(parsed) == 1 and not _MARKS.isdisjoint(parsed)) or any(map(has_mark, parsed.values()))
    return isinstance(parsed, list) and any(map(has_mark, parsed))
