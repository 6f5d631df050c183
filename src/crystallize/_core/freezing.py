"""Freezing: how a value is kept apart from whoever wrote it and whoever reads it.

`freeze` takes a value in. What is immutable all the way down is kept as it is and handed out as it is. Of all
else a private copy is kept, with a plan, built once, that makes a fresh copy for each reader.
"""

import copy
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import cached_property, partial
from inspect import getattr_static
from operator import is_
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import (
    BuiltinFunctionType,
    BuiltinMethodType,
    EllipsisType,
    FunctionType,
    ModuleType,
    NoneType,
    NotImplementedType,
)
from typing import Any, Generic, NamedTuple, TypeAlias, cast
from uuid import UUID

from pydantic import BaseModel

from .._base.text import MASK, short, type_name
from ..errors import SchemaError, UncopyableValueError

__all__ = [
    "ATOMIC",
    "PLAIN",
    "Mark",
    "Shared",
    "Thaw",
    "freeze",
    "is_secret",
    "masked",
    "register",
    "same",
    "secrets_in",
]

Thaw: TypeAlias = Callable[[], Any]
"""Makes a fresh copy of a value that is kept."""

_Frozen: TypeAlias = tuple[Any, Thaw | None]
"""What is kept of a value, and what makes a copy of it for a reader; None: the kept object is shared."""

ATOMIC: frozenset[type] = frozenset(
    {
        *(int, float, complex, bool, str, bytes, NoneType, EllipsisType, NotImplementedType, range, type),
        *(date, datetime, time, timedelta, timezone, Decimal, Fraction, UUID, re.Pattern),
        *(PurePosixPath, PureWindowsPath, PosixPath, WindowsPath),
        *(FunctionType, BuiltinFunctionType),
    }
)
"""Types whose instances, of exactly this type, nobody can change."""

PLAIN: frozenset[type] = frozenset({float, int, str, bool, NoneType})
"""The types of most of what is measured and tagged: immutable, and no secrets."""

_DEEPEST = 100
"""Levels of nesting. A reader may be deep in the stack already, and a copy must not fail where the write did not."""
_TOO_DEEP = f"it is nested more than {_DEEPEST} levels deep"


class Mark:
    """The base of what marks a key in its annotation: `Annotated[X, Shared]`."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Leave the mark where Pydantic keeps it, also inside of generics and forward references."""
        node = handler(source)
        metadata = node.setdefault("metadata", {})
        metadata["crystallize"] = (*metadata.get("crystallize", ()), cls.__name__)
        return node


class Shared(Mark):
    """Marks a key whose value is handed over as it is, uncopied: `model: Annotated[Model, Shared]`.

    Whoever writes it vouches that nobody changes it: a fitted model, a tokenizer, a connection.

    Example:
        >>> from typing import Annotated, Any
        >>> from typing_extensions import TypedDict
        >>> class Tools(TypedDict):
        ...     tokenizer: Annotated[Any, Shared]
        >>> tokenizer = object()
        >>> FrozenContext[Tools]({"tokenizer": tokenizer})["tokenizer"] is tokenizer
        True
    """


class _Kind(NamedTuple):
    """How a registered type is frozen and thawed."""

    freeze: Callable[[Any], Any]
    thaw: Callable[[Any], Any] | None
    deep_copies: bool = False
    """Whether `copy.deepcopy` of what holds such a value does as well, and leaves it changeable."""


_Handler: TypeAlias = Callable[["_Walk", Any], _Frozen]
"""Freezes values of one type."""


class _NotThisWayError(Exception):
    """A plan cannot copy this value faithfully; a deep copy can."""


class _RefusedError(Exception):
    """A value that cannot be copied at all."""

    def __init__(self, type: type, reason: str) -> None:
        super().__init__(type, reason)
        self.type = type
        self.reason = reason


_lock = threading.Lock()
_kinds: dict[type, _Kind] = {}
_kinds_by_name: dict[str, _Kind] = {}
_handlers: dict[type, _Handler] = {}


def register(kind: type | str, *, freeze: Callable[[Any], Any], thaw: Callable[[Any], Any] | None = None) -> None:
    """Say how values of a type are copied, in place of a deep copy.

    A name stands for a type that may never be imported: nothing is, until such a value comes.

    Args:
        kind: The type, or its full name as one would import it: "torch.Tensor". Subclasses are meant too.
        freeze: Takes a written value and returns what to keep, apart from the writer's.
        thaw: Takes what is kept and returns what a reader gets; None hands out what is kept, which then must
            not be changeable.

    Raises:
        SchemaError: `kind` is neither a type nor a full name, or its values cannot change anyway.

    Example:
        >>> register("torch.Tensor", freeze=lambda t: t.detach().clone(), thaw=lambda t: t.clone())
    """
    if not isinstance(kind, type) and not (isinstance(kind, str) and "." in kind):
        raise SchemaError("register", f'it takes a type or its full name, as in "torch.Tensor", not {short(kind)}')
    if not callable(freeze) or not (thaw is None or callable(thaw)):
        raise SchemaError(
            "register", "freeze is a function of the value, and thaw one of what freeze returned, or None"
        )
    if kind in ATOMIC:
        raise SchemaError("register", f"a {short(kind)} cannot change and is never copied")
    with _lock:
        if isinstance(kind, type):
            _kinds[kind] = _Kind(freeze, thaw)
        else:
            # The newest comes first, also before those that are known from the beginning.
            _kinds_by_name.pop(kind, None)
            _kinds_by_name[kind] = _Kind(freeze, thaw)
        _handlers.clear()


def freeze(value: Any, subject: str) -> _Frozen:
    """Take a value in.

    Args:
        value: Any value, already validated.
        subject: What holds it, for an error: "'lr'" or "a value of metric 'loss'".

    Returns:
        What to keep, and what makes a fresh copy of it for each reader; None in place of the latter when the
        kept object itself may be handed out.

    Raises:
        UncopyableValueError: The value refuses to be copied, or is nested too deeply.
    """
    if type(value) in ATOMIC:
        return value, None
    try:
        return _Walk().take(value)
    except _NotThisWayError:
        pass
    except RecursionError:
        reason = "it is nested too deeply for what is left of the stack"
        raise UncopyableValueError(subject, type_name(type(value)), reason) from None
    except _RefusedError as refused:
        raise UncopyableValueError(subject, type_name(refused.type), refused.reason) from refused.__cause__
    return _deep_copied(value, subject)


def is_secret(cls: type) -> bool:
    """Whether instances of a type hide what they hold: `SecretStr` and its kin."""
    # Where nobody has imported them there are none; importing them here would take longer than all the rest.
    types: Any = sys.modules.get("pydantic.types")
    return types is not None and issubclass(cls, (types.SecretStr, types.SecretBytes, types.Secret))


def secrets_in(value: object) -> list[str | bytes]:
    """Return the cleartext of every secret in a value, at any depth that can be looked into."""
    found: list[str | bytes] = []
    met: dict[int, Any] = {}
    rest: list[Any] = [value]
    while rest:
        item = rest.pop()
        if type(item) not in ATOMIC and id(item) not in met:
            met[id(item)] = item
            if is_secret(type(item)):
                found.append(item.get_secret_value())
            else:
                rest += _inner(item)
    return found


def masked(text: str, value: object) -> str:
    """Return a text with a mask in place of every secret that a value holds."""
    return without(text, secrets_in(value))


def without(text: str, secrets: Iterable[str | bytes]) -> str:
    """Return a text with a mask in place of each of some secrets, given in clear."""
    for secret in secrets:
        forms = [repr(secret).removeprefix("b")[1:-1], str(secret)]
        forms += [secret.decode(errors="replace")] if isinstance(secret, bytes) else []
        for form in filter(None, forms):
            text = text.replace(form, MASK)
    return text


def same(one: Any, other: Any) -> bool:
    """Whether two values cannot be told apart: of one type all the way down, NaN the same as NaN."""
    cls = type(one)
    if one is other or cls is not type(other):
        return one is other
    if cls is float:
        return bool(one == other or (one != one and other != other))
    if hasattr(one, "dtype") and hasattr(one, "tobytes"):
        return bool((one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()))
    if isinstance(one, BaseModel) or is_dataclass(one):
        # As Pydantic's own comparison, without which fields were set: JSON does not say.
        beside = ("__pydantic_extra__", "__pydantic_private__")
        return all(same(getattr(one, name, None), getattr(other, name, None)) for name in (*_declared(cls), *beside))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, (list, tuple, deque)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (set, frozenset)):
        return {(type(item), item) for item in one} == {(type(item), item) for item in other}
    return bool(one == other)


class _Walk:
    """One walk through one value, which copies it and plans how to copy it again."""

    def __init__(self) -> None:
        self._met: set[int] = set()
        self._kept: dict[int, _Frozen] = {}
        self._depth = 0

    def take(self, value: Any) -> _Frozen:
        """Freeze a value or a part of one."""
        cls = type(value)
        if cls in ATOMIC:
            return value, None
        if id(value) in self._kept:
            return self._kept[id(value)]
        # A plan would make two of a mutable object that is met twice, and never end with one in itself.
        if id(value) in self._met:
            raise _NotThisWayError
        self._met.add(id(value))
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _RefusedError(cls, _TOO_DEEP)
        frozen = (_handlers.get(cls) or _handler_of(cls))(self, value)
        self._depth -= 1
        if frozen[1] is None:
            self._kept[id(value)] = frozen
        return frozen

    def are_shared(self, values: Iterable[Any]) -> bool:
        """Whether all the values are immutable, and kept as the very objects that they are."""
        frozen = [(item, *self.take(item)) for item in values if type(item) not in ATOMIC]
        return all(kept is item and thaw is None for item, kept, thaw in frozen)

    def plan(self, base: dict[Any, Any]) -> Thaw:
        """Freeze the values of a private dict in place, and plan how to copy it."""
        if ATOMIC.issuperset(map(type, base.values())):
            return base.copy
        return _plan(base, [(key, thaw) for key, item in base.items() if (thaw := self._put(base, key, item))])

    def plan_list(self, base: list[Any]) -> Thaw:
        """Freeze the items of a private list in place, and plan how to copy it."""
        if ATOMIC.issuperset(map(type, base)):
            return base.copy
        return _plan(base, [(at, thaw) for at, item in enumerate(base) if (thaw := self._put(base, at, item))])

    def _put(self, base: Any, place: Any, item: Any) -> Thaw | None:
        base[place], thaw = self.take(item)
        return thaw


def _plan(base: Any, parts: list[tuple[Any, Thaw]]) -> Thaw:
    """Plan to copy a container flat, by its own fast method, and then only what in it is mutable."""
    if not parts:
        copy_flat: Thaw = base.copy
        return copy_flat

    def thaw() -> Any:
        fresh = base.copy()
        for place, part in parts:
            fresh[place] = part()
        return fresh

    return thaw


def _as_it_is(walk: _Walk, value: Any) -> _Frozen:
    return value, None


def _by_deep_copy(walk: _Walk, value: Any) -> _Frozen:
    # The whole is deep-copied and not this part alone, so that an object met twice stays one.
    raise _NotThisWayError


def _list(walk: _Walk, value: list[Any]) -> _Frozen:
    return None, walk.plan_list(value.copy())


def _dict(walk: _Walk, value: dict[Any, Any]) -> _Frozen:
    base = value.copy()
    if not walk.are_shared(base):
        raise _NotThisWayError
    return None, walk.plan(base)


def _set(walk: _Walk, value: set[Any]) -> _Frozen:
    base = value.copy()
    # What is hashed cannot be swapped for its copy in place.
    if not walk.are_shared(base):
        raise _NotThisWayError
    return None, base.copy


def _frozenset(walk: _Walk, value: frozenset[Any]) -> _Frozen:
    if not walk.are_shared(value):
        raise _NotThisWayError
    return value, None


def _tuple(walk: _Walk, value: tuple[Any, ...]) -> _Frozen:
    make = tuple if type(value) is tuple else partial(tuple.__new__, type(value))
    base = list(value)
    thaw = walk.plan_list(base)
    if not _is_flat(thaw):
        return None, lambda: make(thaw())
    return (value if all(map(is_, value, base)) else make(base)), None


def _instance(walk: _Walk, value: Any) -> _Frozen:
    """A model or a dataclass that keeps all that it has in plain attributes."""
    cls = type(value)
    private = getattr(value, "__pydantic_private__", None)
    if private:
        raise _NotThisWayError
    given = _state(value)
    state = given.copy()
    plan = walk.plan(state)
    extra = getattr(value, "__pydantic_extra__", None)
    plan_of_extra = None if extra is None else walk.plan(extra.copy())
    names_set = frozenset(getattr(value, "__pydantic_fields_set__", ()))

    def thaw() -> Any:
        fresh: Any = object.__new__(cls)
        _fill(fresh, plan(), None if plan_of_extra is None else plan_of_extra(), names_set, private)
        return fresh

    if plan_of_extra is not None or not _is_flat(plan) or not _is_frozen(cls) or len(state) != len(_declared(cls)):
        return None, thaw
    return (value if all(map(is_, given.values(), state.values())) else thaw()), None


def _fill(fresh: Any, state: dict[str, Any], extra: Any, names_set: Iterable[str], private: Any) -> None:
    """Give an empty instance of a model or dataclass what it holds."""
    for name, item in state.items():
        object.__setattr__(fresh, name, item)
    if isinstance(fresh, BaseModel):
        object.__setattr__(fresh, "__pydantic_extra__", extra)
        object.__setattr__(fresh, "__pydantic_fields_set__", set(names_set))
        object.__setattr__(fresh, "__pydantic_private__", None if private is None else {})


def _is_flat(plan: Thaw) -> bool:
    """Whether a plan copies one container only, as nothing in that one is mutable."""
    return isinstance(plan, BuiltinMethodType)


def _declared(cls: Any) -> list[str]:
    """The names of the fields of a model or dataclass."""
    return [*cls.__pydantic_fields__] if issubclass(cls, BaseModel) else [field.name for field in fields(cls)]


def _state(value: Any) -> dict[str, Any]:
    """All that an instance of a model or dataclass holds under a name, in slots too."""
    names = dict.fromkeys([*_declared(type(value)), *getattr(value, "__dict__", ())])
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _is_frozen(cls: Any) -> bool:
    """Whether instances of a model or dataclass refuse assignment and cache nothing on themselves."""
    if any(isinstance(attribute, cached_property) for base in cls.__mro__ for attribute in vars(base).values()):
        return False
    if issubclass(cls, BaseModel):
        return bool(cls.model_config.get("frozen")) and not cls.__private_attributes__
    # A subclass that is no dataclass itself takes any attribute.
    return "__dataclass_params__" in vars(cls) and bool(cls.__dataclass_params__.frozen)


def _handler_of(cls: type) -> _Handler:
    """Find out how values of a type are frozen; once, as the answer is kept."""
    handler = _find_handler(cls)
    _handlers[cls] = handler
    return handler


def _find_handler(cls: type) -> _Handler:
    for base in cls.__mro__:
        if (kind := _kinds.get(base) or _kind_by_name(base)) is not None:
            return partial(_by_kind, kind)
    if cls in _CONTAINERS:
        return _CONTAINERS[cls]
    if issubclass(cls, (Enum, type)) or is_secret(cls):
        return _as_it_is
    if issubclass(cls, tuple) and hasattr(cls, "_fields") and cls.__dictoffset__ == 0:
        return _tuple
    if (issubclass(cls, BaseModel) or is_dataclass(cls)) and _is_plain(cls):
        return _instance
    return _by_deep_copy


_CONTAINERS: dict[type, _Handler] = {
    tuple: _tuple,
    frozenset: _frozenset,
    list: _list,
    dict: _dict,
    set: _set,
}
_COPYING = ("__copy__", "__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")


def _is_plain(cls: type) -> bool:
    """Whether an instance is no more than its attributes, and has no own idea of how to be copied."""
    reference: type = BaseModel if issubclass(cls, BaseModel) else object
    for name in _COPYING:
        own = getattr_static(cls, name, None)
        # `dataclass` itself says how a frozen one with slots is pickled.
        if own is not getattr_static(reference, name, None) and getattr(own, "__module__", "") != "dataclasses":
            return False
    return all(
        issubclass(base, BaseModel) or "__dataclass_fields__" in vars(base) or base in (object, Generic)
        for base in cls.__mro__
    )


def _kind_by_name(cls: type) -> _Kind | None:
    """The kind registered under a name by which this type calls itself, or can be imported."""
    package = str(cls.__module__).partition(".")[0]
    with _lock:
        names = list(_kinds_by_name)
    for name in reversed(names):
        module, _, attribute = name.rpartition(".")
        imported = name.partition(".")[0] == package and getattr(sys.modules.get(module), attribute, None) is cls
        if imported or name == type_name(cls):
            return _kinds_by_name[name]
    return None


def _by_kind(kind: _Kind, walk: _Walk, value: Any) -> _Frozen:
    try:
        kept = kind.freeze(value)
    except Exception as error:  # whatever a registered function raises, the value cannot be taken in
        raise _RefusedError(type(value), f"{type(error).__name__}: {error}") from error
    if kept is NotImplemented:
        raise _NotThisWayError
    return (kept, None) if kind.thaw is None else (None, partial(kind.thaw, kept))


def _deep_copied(value: Any, subject: str) -> _Frozen:
    """Freeze by `copy.deepcopy`, which knows cycles, shared references and what a class says of itself.

    What has a registered way to be copied is copied in that way, wherever it is found inside.
    """
    try:
        parts = _parts(value)
        frozen = {id(part): frozen for part in parts if (frozen := _frozen_by_kind(part)) is not None}
    except _RefusedError as refused:
        raise UncopyableValueError(subject, type_name(refused.type), refused.reason) from refused.__cause__
    # In the private copy each such part is stood in for by an object of its own, which a reader's copy looks up.
    stand_ins = {place: part[0] if part[1] is None else _StandIn(part[1]) for place, part in frozen.items()}
    try:
        kept = _deepcopy(value, {**stand_ins}, parts)
        models = _parts(kept)
    except Exception as error:  # anything may come out of a class's own __deepcopy__
        reason = _TOO_DEEP if isinstance(error, RecursionError) else f"{type(error).__name__}: {error}"
        raise UncopyableValueError(subject, type_name(type(_culprit(value, parts))), reason) from error

    def thaw() -> Any:
        fresh = {id(one): one.thaw() if isinstance(one, _StandIn) else one for one in stand_ins.values()}
        try:
            return _deepcopy(kept, fresh, models)
        except Exception as error:  # as above, at a later time
            raise UncopyableValueError(subject, type_name(type(value)), f"{type(error).__name__}: {error}") from error

    return None, thaw


def _deepcopy(value: Any, memo: dict[int, Any], parts: list[Any]) -> Any:
    """Copy a value of which the parts are known. Pydantic's own way would make two of a model that is in itself."""
    models = [part for part in parts if _handlers.get(type(part)) is _instance and isinstance(part, BaseModel)]
    # One that is hashed must be whole before it enters a set, and is left to Pydantic, as are private attributes.
    plain = [model for model in models if type(model).__hash__ is None and not model.__pydantic_private__]
    blanks = [(model, object.__new__(type(model))) for model in plain]
    memo |= {id(model): blank for model, blank in blanks}
    fresh = copy.deepcopy(value, memo)
    for model, blank in blanks:
        state, extra = copy.deepcopy((_state(model), model.__pydantic_extra__), memo)
        _fill(blank, state, extra, model.__pydantic_fields_set__, model.__pydantic_private__)
    return fresh


class _StandIn:
    """Stands in a private copy for what is copied in a way of its own."""

    def __init__(self, thaw: Thaw) -> None:
        self.thaw = thaw


def _frozen_by_kind(part: Any) -> _Frozen | None:
    """Freeze what has a registered way to be copied; None for all else."""
    handler = _handlers.get(type(part)) or _handler_of(type(part))
    if not isinstance(handler, partial) or handler.args[0].deep_copies:
        return None
    try:
        return cast("_Frozen", handler(_Walk(), part))  # what `partial` is of is one of the handlers
    except _NotThisWayError:
        return None


def _parts(value: Any) -> list[Any]:
    """Return a value and all that can be found in it, but for what cannot change."""
    met: dict[int, Any] = {}
    rest = [(value, 0)]
    while rest:
        item, depth = rest.pop()
        if type(item) in ATOMIC or id(item) in met:
            continue
        if depth > _DEEPEST:
            raise _RefusedError(type(item), _TOO_DEEP)
        met[id(item)] = item
        rest += [(part, depth + 1) for part in _inner(item)]
    return list(met.values())


def _inner(item: Any) -> list[Any]:
    """Return what an object holds, as far as it can be looked into."""
    if isinstance(item, (type, ModuleType)):
        return []
    inner: list[Any] = [*getattr(item, "__dict__", {}).values()]
    if isinstance(item, dict):
        inner += [*item.keys(), *item.values()]
    elif isinstance(item, (list, tuple, set, frozenset, deque)):
        inner += item
    slots = [vars(base).get("__slots__", ()) for base in type(item).__mro__]
    names = [name for own in slots for name in ([own] if isinstance(own, str) else own) if name != "__dict__"]
    return inner + [getattr(item, name) for name in names if hasattr(item, name)]


def _culprit(value: Any, parts: list[Any]) -> Any:
    """Return the outermost part that cannot be copied and is no mere container: the one to do something about."""
    return next((part for part in parts if type(part) not in _CONTAINERS and not _copies(part)), value)


def _copies(part: Any) -> bool:
    try:
        copy.deepcopy(part)
    except Exception:  # whatever it is, it is why the whole cannot be copied
        return False
    return True


def _freeze_array(array: Any) -> Any:
    """Copy a numpy array over immutable bytes, which no owner can make writeable again."""
    cls = type(array)
    if array.dtype.hasobject or (cls.__module__, cls.__qualname__) != ("numpy", "ndarray"):
        return NotImplemented
    order = "F" if array.flags.fnc else "C"
    return cls(array.shape, array.dtype, array.tobytes(order), 0, None, order)


def _over_bytes(value: Any) -> Any:
    """Copy a frame with all its buffers, over bytes that nobody can change: its own copy may share them."""
    import pickle  # here, since importing the package is to cost little

    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(content, buffers=[buffer.raw().tobytes() for buffer in buffers])


def _thaw_pandas(kept: Any) -> Any:
    """Copy a pandas frame or series, lazily where copy on write lets it. That never copies objects inside."""
    columns = kept.dtypes if kept.ndim == 2 else [kept.dtype]
    labels = [level.dtype for axis in kept.axes for level in (axis.levels if hasattr(axis, "levels") else [axis])]
    dtypes = [
        getattr(dtype, "categories", kept.index).dtype if str(dtype) == "category" else dtype for dtype in columns
    ]
    if any(str(dtype) == "object" for dtype in [*dtypes, *labels]):
        import pickle  # as above

        return pickle.loads(pickle.dumps(kept))
    # Of dates with a zone, and the like, even a lazy copy hands out what can be written to.
    writable = any(type(dtype).__module__.startswith("pandas") and dtype.kind in "mMO" for dtype in columns)
    copies_on_write = int(sys.modules["pandas"].__version__.partition(".")[0]) >= 3
    return kept.copy(deep=writable or not copies_on_write)


def _immutable(value: Any) -> Any:
    return value


def _not_implemented(value: Any) -> Any:
    return NotImplemented


def _clone(kept: Any) -> Any:
    return kept.clone()


_kinds_by_name |= {
    "numpy.generic": _Kind(_immutable, None, deep_copies=True),
    "numpy.void": _Kind(_not_implemented, None, deep_copies=True),  # the one scalar that can be changed
    "numpy.ndarray": _Kind(_freeze_array, None, deep_copies=True),
    **{f"pyarrow.{name}": _Kind(_over_bytes, None) for name in ("Table", "RecordBatch", "ChunkedArray", "Array")},
    **{f"polars.{name}": _Kind(_over_bytes, _clone) for name in ("DataFrame", "LazyFrame", "Series")},
    **{f"pandas.{name}": _Kind(_over_bytes, _thaw_pandas) for name in ("DataFrame", "Series")},
}
