"""Plans to copy values: one walk through a value copies it, and plans how to copy it for each reader."""

from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cached_property, partial
from inspect import getattr_static
from operator import is_
from types import BuiltinMethodType, MappingProxyType
from typing import Any, Generic, TypeAlias

from pydantic import BaseModel

from .copy_by_type import KINDS, CopyKind, Frozen, NoPlan, NotCopyable, Thaw, freeze_by_kind
from .immutable_types import ATOMIC
from .live_types import LIVE, LiveFound
from .pickled_values import note_class
from .secrets import is_secret

DEEPEST = 100
"""Levels of nesting. A reader may be deep in the stack already, and a read must not fail if the write did not."""
TOO_DEEP: str = f"it is nested more than {DEEPEST} levels deep"

PartCopier: TypeAlias = Callable[["CopyPlanner", Any], Frozen]
"""Freezes values of one type."""

_copiers: dict[type, PartCopier] = {}


class CopyPlanner:
    """One walk through one value, which copies it and plans how to copy it again."""

    def __init__(self, *, refuses_live: bool = True, is_owned: bool = False) -> None:
        self.refuses_live = refuses_live
        self.is_owned = is_owned
        """Whether nobody else has the value, and its buffers are immutable; see `CopyKind.adopt`."""
        self._met: set[int] = set()
        self._kept: dict[int, Frozen] = {}
        self._depth = 0

    def take(self, value: Any) -> Frozen:
        """Freeze a value or a part of one."""
        cls = type(value)
        if cls in ATOMIC:
            return value, None
        if id(value) in self._kept:
            return self._kept[id(value)]
        # A plan would duplicate an object that occurs twice, and would never end for an object that contains itself.
        if id(value) in self._met:
            raise NoPlan
        self._met.add(id(value))
        self._depth += 1
        if self._depth > DEEPEST:
            raise NotCopyable(cls, TOO_DEEP)
        frozen = (_copiers.get(cls) or copier_of(cls))(self, value)
        self._depth -= 1
        if frozen[1] is None or frozen[0] is not None:
            self._kept[id(value)] = frozen
        return frozen

    def are_shared(self, values: Iterable[Any]) -> bool:
        """Whether all the values are immutable, so that the same objects are kept."""
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
    """Plan to copy a container by its own fast method, and then only the mutable items in it."""
    if not parts:
        copy_flat: Thaw = base.copy
        return copy_flat

    def thaw() -> Any:
        fresh = base.copy()
        for place, part in parts:
            fresh[place] = part()
        return fresh

    return thaw


def _as_it_is(walk: CopyPlanner, value: Any) -> Frozen:
    return value, None


def _by_deep_copy(walk: CopyPlanner, value: Any) -> Frozen:
    # The whole value is deep-copied, and not this part alone, so that an object that occurs twice stays one object.
    raise NoPlan


def _live(walk: CopyPlanner, value: Any) -> Frozen:
    if walk.refuses_live:
        raise LiveFound(type(value))
    raise NoPlan


def _list(walk: CopyPlanner, value: list[Any]) -> Frozen:
    return None, walk.plan_list(value.copy())


def _dict(walk: CopyPlanner, value: dict[Any, Any]) -> Frozen:
    base = value.copy()
    if not walk.are_shared(base):
        raise NoPlan
    return None, walk.plan(base)


def _mapping(walk: CopyPlanner, value: MappingProxyType[Any, Any]) -> Frozen:
    return _dict(walk, dict(value))


def _set(walk: CopyPlanner, value: set[Any]) -> Frozen:
    base = value.copy()
    # An item of a set cannot be replaced by its copy in place.
    if not walk.are_shared(base):
        raise NoPlan
    return None, base.copy


def _frozenset(walk: CopyPlanner, value: frozenset[Any]) -> Frozen:
    if not walk.are_shared(value):
        raise NoPlan
    return value, None


def _tuple(walk: CopyPlanner, value: tuple[Any, ...]) -> Frozen:
    make = tuple if type(value) is tuple else partial(tuple.__new__, type(value))
    base = list(value)
    thaw = walk.plan_list(base)
    if not _is_flat(thaw):
        return None, lambda: make(thaw())
    return (value if all(map(is_, value, base)) else make(base)), None


def copy_instance(walk: CopyPlanner, value: Any) -> Frozen:
    """Freeze a model or a dataclass whose whole state is in plain attributes."""
    cls = type(value)
    private = getattr(value, "__pydantic_private__", None)
    if private:
        raise NoPlan
    given = state_of_instance(value)
    state = given.copy()
    plan = walk.plan(state)
    extra = getattr(value, "__pydantic_extra__", None)
    plan_of_extra = None if extra is None else walk.plan(extra.copy())
    names_set = frozenset(getattr(value, "__pydantic_fields_set__", ()))

    def thaw() -> Any:
        fresh: Any = object.__new__(cls)
        fill_instance(fresh, plan(), None if plan_of_extra is None else plan_of_extra(), names_set, private)
        return fresh

    if (
        plan_of_extra is not None
        or not _is_flat(plan)
        or not _is_frozen(cls)
        or len(state) != len(declared_fields(cls))
    ):
        return None, thaw
    return (value if all(map(is_, given.values(), state.values())) else thaw()), None


def fill_instance(fresh: Any, state: dict[str, Any], extra: Any, names_set: Iterable[str], private: Any) -> None:
    """Set the attributes of an empty instance of a model or dataclass."""
    for name, item in state.items():
        object.__setattr__(fresh, name, item)
    if isinstance(fresh, BaseModel):
        object.__setattr__(fresh, "__pydantic_extra__", extra)
        object.__setattr__(fresh, "__pydantic_fields_set__", set(names_set))
        object.__setattr__(fresh, "__pydantic_private__", None if private is None else {})


def _is_flat(plan: Thaw) -> bool:
    """Whether a plan copies a single container in which nothing is mutable."""
    return isinstance(plan, BuiltinMethodType)


def declared_fields(cls: Any) -> list[str]:
    """Return the names of the fields of a model or dataclass."""
    return [*cls.__pydantic_fields__] if issubclass(cls, BaseModel) else [field.name for field in fields(cls)]


def state_of_instance(value: Any) -> dict[str, Any]:
    """Return all attributes of an instance of a model or dataclass, also those in slots."""
    names = dict.fromkeys([*declared_fields(type(value)), *getattr(value, "__dict__", ())])
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _is_frozen(cls: Any) -> bool:
    """Whether instances of a model or dataclass reject assignment and cache nothing on themselves."""
    if any(isinstance(attribute, cached_property) for base in cls.__mro__ for attribute in vars(base).values()):
        return False
    if issubclass(cls, BaseModel):
        return bool(cls.model_config.get("frozen")) and not cls.__private_attributes__
    # A subclass that is not a dataclass itself accepts any attribute.
    return "__dataclass_params__" in vars(cls) and bool(cls.__dataclass_params__.frozen)


def copier_of(cls: type) -> PartCopier:
    """Return the function that freezes values of a type. The result is cached."""
    copier = _copiers.get(cls)
    if copier is None:
        note_class(cls)
        copier = _copiers[cls] = _find_copier(cls)
    return copier


def kind_of(cls: type) -> CopyKind | None:
    """Return how a registered type is copied; None for other types."""
    copier = copier_of(cls)
    return copier.args[0] if isinstance(copier, partial) else None


def forget_copiers() -> None:
    """Clear the cache of copiers, after a type was registered."""
    _copiers.clear()


def is_live(cls: type) -> bool:
    """Whether values of a type are live objects."""
    return copier_of(cls) is _live


def _find_copier(cls: type) -> PartCopier:
    live = LIVE.find(cls)
    if live is not None and live.is_live:
        return _live
    if (kind := KINDS.find(cls)) is not None:
        return partial(_by_kind, kind)
    if cls in CONTAINERS:
        return CONTAINERS[cls]
    if issubclass(cls, (Enum, type)) or is_secret(cls):
        return _as_it_is
    if issubclass(cls, tuple) and hasattr(cls, "_fields") and cls.__dictoffset__ == 0:
        return _tuple
    if (issubclass(cls, BaseModel) or is_dataclass(cls)) and _is_plain(cls):
        return copy_instance
    return _by_deep_copy


def _by_kind(kind: CopyKind, walk: "CopyPlanner", value: Any) -> Frozen:
    return freeze_by_kind(kind, value, is_owned=walk.is_owned)


CONTAINERS: dict[type, PartCopier] = {
    tuple: _tuple,
    frozenset: _frozenset,
    list: _list,
    dict: _dict,
    set: _set,
    MappingProxyType: _mapping,
}
_COPYING = ("__copy__", "__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")


def _is_plain(cls: type) -> bool:
    """Whether the attributes of an instance are its whole state, and its class does not define how it is copied."""
    reference: type = BaseModel if issubclass(cls, BaseModel) else object
    for name in _COPYING:
        own = getattr_static(cls, name, None)
        # `dataclass` itself defines how a frozen dataclass with slots is pickled.
        if own is not getattr_static(reference, name, None) and getattr(own, "__module__", "") != "dataclasses":
            return False
    return all(
        issubclass(base, BaseModel) or "__dataclass_fields__" in vars(base) or base in (object, Generic)
        for base in cls.__mro__
    )
