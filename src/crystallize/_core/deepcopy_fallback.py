"""Copies by `copy.deepcopy`, for values that no plan can copy: cycles, shared references, classes with own ways."""

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
    """Freeze by `copy.deepcopy`, which knows cycles, shared references and what a class says of itself.

    What has a registered way to be copied is copied in that way, wherever it is found inside.
    """
    try:
        parts = _parts(value)
        frozen = {id(part): frozen for part in parts if (frozen := _frozen_by_kind(part)) is not None}
    except NotCopyable as refused:
        raise UncopyableValueError(subject, type_name(refused.type), refused.reason) from refused.__cause__
    # In the private copy each such part is stood in for by an object of its own, which a reader's copy looks up.
    stand_ins = {place: part[0] if part[1] is None else _StandIn(part[1]) for place, part in frozen.items()}
    try:
        kept = _deepcopy(value, {**stand_ins}, parts)
        models = _parts(kept)
    except Exception as error:  # anything may come out of a class's own __deepcopy__
        reason = TOO_DEEP if isinstance(error, RecursionError) else f"{type(error).__name__}: {error}"
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
    models = [part for part in parts if copier_of(type(part)) is copy_instance and isinstance(part, BaseModel)]
    # One that is hashed must be whole before it enters a set, and is left to Pydantic, as are private attributes.
    plain = [model for model in models if type(model).__hash__ is None and not model.__pydantic_private__]
    blanks = [(model, object.__new__(type(model))) for model in plain]
    memo |= {id(model): blank for model, blank in blanks}
    fresh = copy.deepcopy(value, memo)
    for model, blank in blanks:
        state, extra = copy.deepcopy((state_of_instance(model), model.__pydantic_extra__), memo)
        fill_instance(blank, state, extra, model.__pydantic_fields_set__, model.__pydantic_private__)
    return fresh


class _StandIn:
    """Stands in a private copy for what is copied in a way of its own."""

    def __init__(self, thaw: Thaw) -> None:
        self.thaw = thaw


def _frozen_by_kind(part: Any) -> Frozen | None:
    """Freeze a part of a registered type; None for all others."""
    copier = copier_of(type(part))
    if not isinstance(copier, partial) or copier.args[0].deep_copies:
        return None
    try:
        return freeze_by_kind(copier.args[0], part)
    except NoPlan:
        return None


def _parts(value: Any) -> list[Any]:
    """Return a value and all that can be found in it, but for what cannot change."""
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
    """Return the outermost part that cannot be copied and is no mere container: the one to do something about."""
    return next((part for part in parts if type(part) not in CONTAINERS and not _copies(part)), value)


def _copies(part: Any) -> bool:
    try:
        copy.deepcopy(part)
    except Exception:  # whatever it is, it is why the whole cannot be copied
        return False
    return True
