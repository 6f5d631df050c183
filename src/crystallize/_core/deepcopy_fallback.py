"""Copies by `copy.deepcopy`, for values that no plan can copy: cycles, shared references, classes with own copying."""

import copy
from functools import partial
from typing import Any

from pydantic import BaseModel

from .._base.text import type_name
from ..errors import UncopyableValueError
from .copy_by_type import Frozen, NoPlan, NotCopyable, Thaw, freeze_by_kind
from .copy_plans import (
    CONTAINERS,
    DEEPEST,
    TOO_DEEP,
    copier_of,
    copy_instance,
    fill_instance,
    state_of_instance,
)
from .immutable_types import ATOMIC, parts_of


def deep_copied(value: Any, subject: str) -> Frozen:
    """Freeze with `copy.deepcopy`, which handles cycles, shared references and a class's own `__deepcopy__`.

    Parts of a registered type are copied in their registered way, at any depth.
    """
    try:
        parts = _parts(value)
        frozen = {id(part): frozen for part in parts if (frozen := _frozen_by_kind(part)) is not None}
    except NotCopyable as refused:
        raise UncopyableValueError(subject, type_name(refused.type), refused.reason) from refused.__cause__
    # In the private copy a placeholder replaces each such part. The copy for a reader looks the placeholder up.
    stand_ins = {place: part[0] if part[1] is None else _StandIn(part[1]) for place, part in frozen.items()}
    try:
        kept = _deepcopy(value, {**stand_ins}, parts)
        models = _parts(kept)
    except Exception as error:  # a class's own __deepcopy__ may raise anything
        reason = TOO_DEEP if isinstance(error, RecursionError) else f"{type(error).__name__}: {error}"
        raise UncopyableValueError(subject, type_name(type(_culprit(value, parts))), reason) from error

    def thaw() -> Any:
        fresh = {id(part): part.thaw() if isinstance(part, _StandIn) else part for part in stand_ins.values()}
        try:
            return _deepcopy(kept, fresh, models)
        except Exception as error:  # as above
            raise UncopyableValueError(subject, type_name(type(value)), f"{type(error).__name__}: {error}") from error

    return None, thaw


def _deepcopy(value: Any, memo: dict[int, Any], parts: list[Any]) -> Any:
    """Copy a value whose parts are known. Pydantic's own deep copy duplicates a model that contains itself."""
    models = [part for part in parts if copier_of(type(part)) is copy_instance and isinstance(part, BaseModel)]
    # A hashable model must be complete before it enters a set. It is left to Pydantic, as are private attributes.
    plain = [model for model in models if type(model).__hash__ is None and not model.__pydantic_private__]
    blanks = [(model, object.__new__(type(model))) for model in plain]
    memo |= {id(model): blank for model, blank in blanks}
    fresh = copy.deepcopy(value, memo)
    for model, blank in blanks:
        state, extra = copy.deepcopy((state_of_instance(model), model.__pydantic_extra__), memo)
        fill_instance(blank, state, extra, model.__pydantic_fields_set__, model.__pydantic_private__)
    return fresh


class _StandIn:
    """A placeholder in a private copy for a part that is copied in its registered way."""

    def __init__(self, thaw: Thaw) -> None:
        self.thaw = thaw


def _frozen_by_kind(part: Any) -> Frozen | None:
    """Freeze a part of a registered type; return None for all other parts."""
    copier = copier_of(type(part))
    if not isinstance(copier, partial) or copier.args[0].deep_copies:
        return None
    try:
        return freeze_by_kind(copier.args[0], part)
    except NoPlan:
        return None


def _parts(value: Any) -> list[Any]:
    """Return a value and all mutable parts in it, at any depth."""
    met: dict[int, Any] = {}
    rest = [(value, 0)]
    while rest:
        item, depth = rest.pop()
        if type(item) in ATOMIC or id(item) in met:
            continue
        if depth > DEEPEST:
            raise NotCopyable(type(item), TOO_DEEP)
        met[id(item)] = item
        rest += [(part, depth + 1) for part in parts_of(item)]
    return list(met.values())


def _culprit(value: Any, parts: list[Any]) -> Any:
    """Return the outermost part that cannot be copied and is not a plain container, for the error message."""
    return next((part for part in parts if type(part) not in CONTAINERS and not _copies(part)), value)


def _copies(part: Any) -> bool:
    try:
        copy.deepcopy(part)
    except Exception:  # any exception here explains why the whole cannot be copied
        return False
    return True
