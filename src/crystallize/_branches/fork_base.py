"""The contents of a context at the moment of a fork, which the branches that are forked together share."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple, NoReturn
from weakref import ref

from pydantic_core import to_json

from .._base.folder_address import FolderAddress, address_of
from .._base.object_folder import ObjectFolder
from .._core.codec import fingerprints
from .._core.context import FrozenContext, state_of
from .._core.digest import digest
from .._core.metrics import Metric, MetricSchema
from .._core.schema import Schema
from .._core.state import State
from .._core.stored_value import RawValue, StoredValue, Unread
from ..errors import TravelError
from .branch_registry import registry_of

_log = logging.getLogger("crystallize")


@dataclass(frozen=True)
class ForkBase:
    """The contents of a context when branches were forked from it."""

    schema: Schema
    values: dict[str, RawValue]
    metrics: type[MetricSchema] | None
    undeclared: dict[str, Metric[Any, Any] | None]
    """The first use of each metric's name, which later uses must match; empty if there is a schema of metrics."""
    logger: Any
    fingerprint: str
    objects: ObjectFolder | None
    """The folder of the parent's large artifacts, if it has one and this process reaches it."""
    releases: int = 0
    """The number of times that keys had been removed from the context."""

    @classmethod
    def of(cls, ctx: FrozenContext[Any]) -> "ForkBase":
        """Return the base of a fork at this moment. The caller holds the dispatcher's lock."""
        registry = registry_of(state_of(ctx))
        last = None if registry.last_base is None else registry.last_base()
        if isinstance(last, cls) and last._is_of(ctx):
            return last
        base = cls._taken(ctx)
        # A weak reference, since the base may be large: its branches keep it alive.
        registry.last_base = ref(base)
        return base

    def _is_of(self, ctx: FrozenContext[Any]) -> bool:
        """Whether a context has the same keys as then. Values that are written never change."""
        state = state_of(ctx)
        # If no key was removed, the same number of keys are the same keys.
        is_same = len(self.values) == len(state.values) and self.releases == state.releases
        has_same_metrics = self.metrics is not None or self.undeclared.keys() == state.metric_store.logs.keys()
        return is_same and has_same_metrics and self.logger is ctx.logger

    @classmethod
    def _taken(cls, ctx: FrozenContext[Any]) -> "ForkBase":
        state = state_of(ctx)
        # Before the values: a key that is removed meanwhile makes the next fork take a new base.
        releases = state.releases
        metrics = state.metric_store.schema
        used = {name: log.metric for name, log in state.metric_store.logs.copy().items()}
        values = {key: state.values[key] for key in state.keys.in_order()}
        own = fingerprint_of(state.schema, metrics)
        objects = state.artifact_store.objects
        undeclared = used if metrics is None else {}
        return cls(state.schema, values, metrics, undeclared, ctx.logger, own, objects, releases)

    @property
    def label(self) -> str:
        """The name of the schema in errors."""
        return schema_label(self.schema, self.metrics)

    @cached_property
    def shared(self) -> dict[str, Any]:
        """The values that need no copying."""
        return {key: raw[0] for key, raw in self.values.items() if raw[1] is None}

    @cached_property
    def keys(self) -> list[str]:
        """The keys, as a list, which is faster to copy."""
        return [*self.values]

    @property
    def unsendable(self) -> dict[str, str]:
        """The reasons why keys cannot be sent to another process, if they are known."""
        found: dict[str, str] = vars(self).get("_unsendable", {})
        return found

    def set_unsendable(self, found: dict[str, str]) -> None:
        """Set the keys that cannot be sent, each with the reason, and warn of them once."""
        for key in found.keys() - self.unsendable.keys():
            _log.warning("%s; a branch that reads the key fails", found[key])
        vars(self)["_unsendable"] = found

    def _read(self) -> dict[str, tuple[Any, str | None, bool]]:
        made = {}
        for key, raw in self.values.items():
            value = StoredValue._make(raw)
            reason = self.unsendable.get(key)
            sent: object = value.read() if reason is None else Unread(Unsendable(reason).read)
            made[key] = (sent, value.step, value.is_input)
        return made

    def head(self) -> tuple[Any, ...]:
        """Return everything but the values, in a form that can be pickled."""
        address = None if self.objects is None else address_of(self.objects)
        return self.schema, self.metrics, self.undeclared, self.logger, address

    def head_parts(self) -> Iterator[tuple[str, Any]]:
        """Return the parts of that, each with its name for errors."""
        yield "the schema", self.schema.parts
        yield "the metrics", self.metrics
        yield "the logger", self.logger

    def __reduce__(self) -> tuple[Any, ...]:
        return unpacked_base, (self._read(), *self.head())


class Unsendable(NamedTuple):
    """The placeholder of a value that could not be sent."""

    reason: str

    def read(self) -> NoReturn:
        """Raise TravelError."""
        raise TravelError(ANY_BRANCH, f"{self.reason}; a task that needs it has to make it")


ANY_BRANCH: Final = "(any)"
"""The name of the branch in errors of a base that several branches share."""


def unpacked_base(
    values: dict[str, Any],
    schema: Schema,
    metrics: Any,
    undeclared: dict[str, Any],
    logger: Any,
    address: FolderAddress | None,
) -> ForkBase:
    """Return a base in another process; a value may be `Unread`."""
    state = State(schema)
    state.write_all(values)
    own = fingerprint_of(state.schema, metrics)
    objects = None if address is None else address.folder()
    return ForkBase(state.schema, state.values, metrics, undeclared, logger, own, objects)


def schema_label(schema: Schema, metrics: type[MetricSchema] | None) -> str:
    """Return the name of a schema and its metrics in errors."""
    return schema.name if metrics is None else f"{schema.name} with {metrics.__qualname__}"


def fingerprint_of(schema: Schema, metrics: type[MetricSchema] | None) -> str:
    """Return a fingerprint of a schema and its metrics, the same in every process."""
    return _fingerprint_of((schema, metrics))


@lru_cache(maxsize=64)
def _fingerprint_of(kinds: tuple[Schema, type[MetricSchema] | None]) -> str:
    return digest(to_json(fingerprints(*kinds)))
