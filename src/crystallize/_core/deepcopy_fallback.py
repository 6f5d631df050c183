"""Copies by `copy.deepcopy`, for values that no plan can copy: cycles, shared references, classes with own copying."""

import copy
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from .._base.signal_handlers import reraise_from_handler
from .._base.text import type_name
from ..errors import UncopyableValueError
from .copy_by_type import Frozen, NoPlan, NotCopyable, freeze_by_kind
from .copy_plans import (
    CONTAINERS,
    DEEPEST,
    TOO_DEEP,
    copier_of,
    copy_instance,
    fill_instance,
    is_live,
    kind_of,
    state_of_instance,
)
from .immutable_types import ATOMIC, parts_of
from .live_types import LIVE, LiveFound


def deep_copied(value: Any, subject: str, *, refuses_live: bool) -> Frozen:
    """Freeze with `copy.deepcopy`, which handles cycles, shared references and a class's own `__deepcopy__`.

    Parts of a registered type are copied in their registered way, at any depth. A live part raises LiveFound, if these
    are refused.
    """
    frozen: dict[int, Frozen] = {}

    def is_whole(part: Any) -> bool:
        found = _frozen_by_kind(part)
        if found is not None:
            frozen[id(part)] = found
        return found is not None

    try:
        original = _DeepCopier(value, is_whole)
    except NotCopyable as refused:
        raise UncopyableValueError(subject, type_name(refused.type), refused.reason) from refused.__cause__
    if refuses_live and any(is_live(type(part)) for part in original.parts):
        _check_live(value)
    # A class's own `__deepcopy__` or `__setstate__` may use such a part. So the private copy has a reader's copy of it.
    kept_parts = {place: _read(part) for place, part in frozen.items()}
    try:
        kept = original.copy({**kept_parts})
        whole = set(map(id, kept_parts.values()))
        copier = _DeepCopier(kept, lambda part: id(part) in whole)
    except Exception as error:  # a class's own __deepcopy__ may raise anything
        reraise_from_handler(error)
        reason = TOO_DEEP if isinstance(error, RecursionError) else f"{type(error).__name__}: {error}"
        culprit = type_name(type(_culprit(original, kept_parts)))
        raise UncopyableValueError(subject, culprit, reason) from error
    thaws = [(id(part), frozen[place]) for place, part in kept_parts.items()]

    def thaw() -> Any:
        try:
            return copier.copy({place: _read(part) for place, part in thaws})
        except Exception as error:  # as above
            reraise_from_handler(error)
            raise UncopyableValueError(subject, type_name(type(value)), f"{type(error).__name__}: {error}") from error

    return None, thaw


def _read(frozen: Frozen) -> Any:
    """Return a reader's copy of a part."""
    kept, thaw = frozen
    return kept if thaw is None else thaw()


class _DeepCopier:
    """Copies one value by `copy.deepcopy`, and by other means the parts that this would copy wrongly."""

    def __init__(self, value: Any, is_whole: Callable[[Any], bool]) -> None:
        """Find the parts of a value; the parts of a part that `is_whole` are left out."""
        self.value = value
        self.parts: list[Any] = _parts(value, is_whole)
        kinds = [(part, kind_of(type(part))) for part in self.parts]
        by_kind = [(part, kind.deep_copy) for part, kind in reversed(kinds) if kind is not None and kind.deep_copy]
        # An array is copied after the objects in it, so that it finds the copies of these in the memo.
        self._by_kind = sorted(by_kind, key=lambda found: bool(parts_of(found[0])))
        self._mappings = [part for part in self.parts if type(part) is MappingProxyType]
        models = [part for part in self.parts if copier_of(type(part)) is copy_instance and isinstance(part, BaseModel)]
        # Pydantic's own deep copy duplicates a model that contains itself. But a hashable model must be complete before
        # it enters a set. It is left to Pydantic, as are private attributes.
        self._models = [model for model in models if type(model).__hash__ is None and not model.__pydantic_private__]

    def copy(self, memo: dict[int, Any]) -> Any:
        """Return a copy; `memo` has the copies of some parts by their ids, as for `copy.deepcopy`."""
        blanks = [(model, object.__new__(type(model))) for model in self._models]
        dicts: list[tuple[Any, dict[Any, Any]]] = [(mapping, {}) for mapping in self._mappings]
        memo |= {id(part): blank for part, blank in [*blanks, *dicts]}
        for part, deep_copy in self._by_kind:
            memo[id(part)] = deep_copy(part, memo)
        fresh = copy.deepcopy(self.value, memo)
        for model, blank in blanks:
            state, extra = copy.deepcopy((state_of_instance(model), model.__pydantic_extra__), memo)
            fill_instance(blank, state, extra, model.__pydantic_fields_set__, model.__pydantic_private__)
        for mapping, items in dicts:
            items.update(copy.deepcopy(dict(mapping), memo))
        return fresh


def _check_live(value: Any) -> None:
    """Raise LiveFound for a live part, unless it is within a part that is copied as a whole."""

    def is_whole(part: Any) -> bool:
        live = LIVE.find(type(part))
        return kind_of(type(part)) is not None or (live is not None and not live.is_live)

    for part in _parts(value, is_whole):
        if is_live(type(part)):
            raise LiveFound(type(part))


def _frozen_by_kind(part: Any) -> Frozen | None:
    """Freeze a part of a registered type; return None for all other parts."""
    kind = kind_of(type(part))
    if kind is None or kind.deep_copy is not None:
        return None
    try:
        return freeze_by_kind(kind, part)
    except NoPlan:
        return None


def _parts(value: Any, is_whole: Callable[[Any], bool]) -> list[Any]:
    """Return a value and all mutable parts in it, at any depth, but no parts of those that are whole."""
    met: dict[int, Any] = {}
    rest = [(value, 0)]
    while rest:
        item, depth = rest.pop()
        if type(item) in ATOMIC or id(item) in met:
            continue
        if depth > DEEPEST:
            raise NotCopyable(type(item), TOO_DEEP)
        met[id(item)] = item
        if not is_whole(item):
            rest += [(part, depth + 1) for part in parts_of(item)]
    return list(met.values())


def _culprit(copier: _DeepCopier, memo: dict[int, Any]) -> Any:
    """Return the outermost part that cannot be copied and is not a plain container, for the error message."""
    parts = (part for part in copier.parts if type(part) not in CONTAINERS and id(part) not in memo)
    return next((part for part in parts if not _copies(part, memo)), copier.value)


def _copies(part: Any, memo: dict[int, Any]) -> bool:
    try:
        copy.deepcopy(part, {**memo})
    except Exception as error:  # any exception here explains why the whole cannot be copied
        reraise_from_handler(error)
        return False
    return True
