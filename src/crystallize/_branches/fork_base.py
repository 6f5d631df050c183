"""The contents of a context at the moment of a fork, which the branches that are forked together share."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any
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
from .._core.stored_value import RawValue, StoredValue
from .branch_registry import registry_of
from .pickling import dumped, loaded


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
        is_same = self.values.keys() == state.values.keys() and self.logger is ctx.logger
        return is_same and (self.metrics is not None or self.undeclared.keys() == state.metric_store.logs.keys())

    @classmethod
    def _taken(cls, ctx: FrozenContext[Any]) -> "ForkBase":
        state = state_of(ctx)
        metrics = state.metric_store.schema
        used = {name: log.metric for name, log in state.metric_store.logs.copy().items()}
        values = {key: state.values[key] for key in state.keys.in_order()}
        own = fingerprint_of(state.schema, metrics)
        objects = state.artifact_store.objects
        return cls(state.schema, values, metrics, used if metrics is None else {}, ctx.logger, own, objects)

    @property
    def label(self) -> str:
        """The name of the schema in errors."""
        return schema_label(self.schema, self.metrics)

    @cached_property
    def shared(self) -> dict[str, Any]:
        """The values that need no copying."""
        return {key: raw[0] for key, raw in self.values.items() if raw[1] is None}

    def packed(self, branch: str) -> tuple[str, bytes] | None:
        """Return the digest of the pickled base, and the bytes; None if the executor has to pickle the base itself.

        The base is pickled once, for the first of its branches; errors name that branch.
        """
        if "_packed" not in vars(self):
            vars(self)["_packed"] = self._pack(branch)
        packed: tuple[str, bytes] | None = vars(self)["_packed"]
        return packed

    def _pack(self, branch: str) -> tuple[str, bytes] | None:
        content = dumped(self, branch, self._parts)
        # Workers of some executors import classes of `__main__` by name; other executors pickle these classes.
        by_name = b"cloudpickle" not in content and (b"__main__" in content or b"__mp_main__" in content)
        return None if by_name else (digest(content), content)

    def _read(self) -> dict[str, tuple[Any, str | None, bool]]:
        stored = {key: StoredValue._make(raw) for key, raw in self.values.items()}
        return {key: (value.read(), value.step, value.is_input) for key, value in stored.items()}

    def _parts(self) -> Iterator[tuple[str, Any]]:
        yield "the schema", self.schema.parts
        yield "the metrics", self.metrics
        yield "the logger", self.logger
        for key, (value, _, _) in self._read().items():
            yield f"key {key!r}", value

    def __reduce__(self) -> tuple[Any, ...]:
        address = None if self.objects is None else address_of(self.objects)
        return _unpacked_base, (self.schema, self._read(), self.metrics, self.undeclared, self.logger, address)


def _unpacked_base(
    schema: Schema,
    values: dict[str, Any],
    metrics: Any,
    undeclared: dict[str, Any],
    logger: Any,
    address: FolderAddress | None,
) -> ForkBase:
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


_last_arrived: tuple[str, ForkBase] | None = None
"""The base that arrived last: the next branch usually has the same base. Only one is kept, since it may be large."""


def arrived_base(branch: str, which: str, content: bytes) -> ForkBase:
    """Return the base in these bytes. It is not unpickled again if the last branch had the same base."""
    global _last_arrived
    last = _last_arrived
    if last is None or last[0] != which:
        last = which, loaded(content, branch, "what its parent held")
        _last_arrived = last
    return last[1]
