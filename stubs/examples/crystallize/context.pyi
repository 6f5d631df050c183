# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""FrozenContext: the typed, validated, write-once context that the steps of a pipeline share."""

import digits as _digits
import pipeline.schemas as _pipeline_schemas
from .protocols import Context
from typing import Literal
import logging
from collections.abc import (
    Callable,
    Collection,
    Generator,
    ItemsView,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    ValuesView,
)
from contextlib import contextmanager
from typing import Any, Generic, NoReturn, Self, overload
from typing_extensions import TypeVar
from .artifacts import ArtifactLog
from .errors import ContextMutationError, KeyLookupError
from .events import KeyWritten
from .metrics import FrozenMetrics, Metric, MetricSchema
from .outlet import Outlet
from .parts import Fork, Parts, Place
from .points import Scope
from .protocols import Sink
from .provenance import Cell, Provenance
from .schema import Key, Schema
from .values import Thaw
from .logging_context import LoggingContext

__all__ = ["FrozenContext", "State", "unmade"]
T_co = TypeVar("T_co", covariant=True, default=dict[str, Any])
_V = TypeVar("_V")
_G = TypeVar("_G")

def unmade(kind: Any) -> Any:
    """Return an instance of a context's class, or of `FrozenContext[T]`, that holds nothing yet, not even a state."""

class State:
    """All that one context holds, whichever handles there are on it."""

    schema: Schema
    outlet: Outlet
    cells: dict[str, Cell]
    """The one truth. A key is claimed by the cell that holds its value, in one step."""

    shared: dict[str, Any]
    """The values that need no copying, for reading fast. Whatever is not in it may be in a cell."""

    metrics: FrozenMetrics
    artifacts: ArtifactLog
    branch: str | None
    """The branch that this is the context of; None if it is of none."""

    lost_secrets: list[str | bytes]
    """The secrets, in clear, of branches that failed: what these raised may tell them."""

    forks: dict[str, Fork]
    """The branches that were forked from it, by their full names."""

    numbers: int
    """The number of the last of them."""

    forked: Callable[[], object] | None
    """Returns what it held when the last one was forked, as long as that is needed."""

    brought: Parts[tuple[str, ...]]
    """The keys that branches wrote."""

    provenance: Provenance
    __slots__ = (
        "artifacts",
        "branch",
        "brought",
        "cells",
        "forked",
        "forks",
        "lost_secrets",
        "metrics",
        "numbers",
        "outlet",
        "provenance",
        "schema",
        "shared",
    )

    def __init__(self, schema: Schema, metrics: type[MetricSchema] | None = None) -> None: ...
    def ordered(self) -> list[str]:
        """Return the keys that are written, in the order of writing, those of branches where these were forked."""

    def next_number(self) -> int:
        """Return a number for a branch; whoever calls has the lock over effect and event."""

    def place(self) -> Place:
        """Return how much there is by now, without what branches brought."""

    def read(self, key: str) -> Any:
        """Return what a reader gets of a key that is written."""

    def held(self) -> dict[str, Any]:
        """Return all that is held, for a validator or a reader to look at."""

    def secrets(self) -> list[str | bytes]:
        """Return, in clear, the secrets that no text may show: those held, and those that failed branches held."""

    def write(self, key: object, value: Any, scope: Scope, *, is_input: bool = False, trusted: bool = False) -> None:
        """Take a value in: the key is known, valid, frozen, claimed, told. Before it is claimed nothing changes.

        Args:
            key: The key.
            value: The value.
            scope: Who writes it.
            is_input: Whether the context is just being made.
            trusted: Whether its schema has accepted it before.
        """

    def keep(self, declared: Key, name: str, valid: Any, scope: Scope, *, is_input: bool = False) -> None:
        """Take a valid value in: it is frozen, claimed, told."""

    def frozen(self, declared: Key, name: str, valid: Any) -> tuple[Any, Thaw | None]:
        """Return what to keep of a valid value, and what makes a copy of it for a reader, if anything."""

    def claim(self, name: str, cell: Cell) -> None:
        """Claim a key by a cell: one atomic step, which of several threads one wins.

        Raises:
            ContextMutationError: It is written already.
        """

    def written(self, name: str, branch: str | None = None) -> KeyWritten:
        """Return what sinks are told of a key that is written."""

    def tell_inputs(self, known: Collection[str] = ()) -> None:
        """Tell the sinks what the context was made with, except for what they know from before."""

    def mutation(self, name: str) -> ContextMutationError:
        """Return the error of writing a key again."""

    def missing(self, key: object) -> KeyLookupError:
        """Return the error of reading a key that is not written.

        Raises:
            InvalidKeyError: It is no key at all.
            UnknownKeyError: It is not declared.
        """

    def take_all(self, initial: Any, label: str) -> None:
        """Take the initial values and the defaults in, all or none."""

class FrozenContext(Context[T_co], Generic[T_co]):
    """The typed, validated, write-once context that the steps of a pipeline share.

    `FrozenContext[Train](...)` holds what the shape `Train` declares: a Pydantic model, a `TypedDict`, a
    dataclass, or `dict[str, V]` for keys of one's own choice that all hold a `V`. Without a shape anything goes.

    Each value is validated when it is written, kept apart from whoever wrote it, and set for good. Any number
    of threads may share a context: of all that write one key, one wins.

    Example:
        >>> ctx = FrozenContext({"lr": 0.1})
        >>> ctx["lr"]
        0.1
        >>> with ctx.step("fit") as step:
        ...     step["accuracy"] = 1 - step["lr"]
        ...     step.record("loss", 0.5, {"epoch": 1})
        >>> dict(ctx), ctx.metrics["loss"]
        ({'lr': 0.1, 'accuracy': 0.9}, (0.5,))
    """

    @property
    def fields(self) -> T_co:
        """The keys, each with its type, as attributes, or as items for a TypedDict or dict."""

    @property
    def metrics(self) -> FrozenMetrics:
        """What was measured."""

    @property
    def artifacts(self) -> ArtifactLog:
        """The files that the run made."""

    @property
    def logger(self) -> logging.Logger:
        """Where to log."""

    @property
    def provenance(self) -> Provenance:
        """Who read, missed and wrote what."""

    def __init_subclass__(cls, **kwargs: Any) -> None: ...
    def __init__(
        self,
        initial: Mapping[str, Any] | T_co | None = None,
        logger: logging.Logger | None = None,
        *,
        metrics: type[MetricSchema] | None = None,
        sinks: Sequence[Sink] = (),
    ) -> None:
        """Make a context, at once or not at all.

        Args:
            initial: The values that it starts with: a mapping, validated key by key, or an instance of the
                shape, which is valid already. Fields with a default that are not given are set to it.
            logger: Where to log; by default the logger named "crystallize".
            metrics: What may be measured; by default anything.
            sinks: Who is told what happens, from the initial values on.

        Raises:
            SchemaError: The shape or the metrics cannot be used.
            InvalidInitialError: The initial values are not allowed. It names all that is wrong with them.
            SinkCheckError: A sink's backend would refuse something. It names all of it.
        """

    def __contains__(self, key: object) -> bool:
        """Whether a key is written. Asking after what the schema does not declare is allowed."""

    def __delitem__(self, key: str) -> NoReturn:
        """Refuse: what a context holds it keeps."""

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        """Refuse: keys are written through `ctx.fields` or `ctx[...]`."""

    def __delattr__(self, name: str) -> NoReturn:
        """Refuse: what a context holds it keeps."""

    def __len__(self) -> int:
        """Return how many keys are written."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys that are written, in the order of writing."""

    def keys(self) -> KeysView[str]:
        """Return the keys that are written, as a live view."""

    def values(self) -> ValuesView[Any]:
        """Return the values, as a live view."""

    def items(self) -> ItemsView[str, Any]:
        """Return the keys with their values, as a live view."""

    def as_dict(self) -> Mapping[str, Any]:
        """Return all that is held, in a mapping that cannot be changed."""

    def snapshot(self) -> T_co:
        """Return all that is held as an instance of the shape, whose model-level validators run.

        Returns:
            An instance that is the caller's own.

        Raises:
            IncompleteContextError: Required keys are not written yet.
            InvalidSnapshotError: The shape's model-level validators refuse.

        Example:
            >>> from pydantic import BaseModel
            >>> class Train(BaseModel):
            ...     lr: float
            >>> FrozenContext[Train]({"lr": 0.1}).snapshot()
            Train(lr=0.1)
        """

    @overload
    def record(self, metric_name: Metric[_V, None], value: _V, tags: None = None) -> None:
        """Record a point of a metric; see `FrozenMetrics.add`.

        Args:
            metric_name: A metric, or the name of one.
            value: What was measured, in the metric's unit.
            tags: How it is tagged: a mapping, or an instance of the metric's tag model.

        Raises:
            MetricError: The metric is not declared, or does not allow the value or the tags.
        """

    @overload
    def record(self, metric_name: Metric[_V, _G], value: _V, tags: _G) -> None: ...
    @overload
    def record(self, metric_name: Literal["accuracy"], value: float, tags: _pipeline_schemas.FoldTags) -> None: ...
    @overload
    def record(self, metric_name: Literal["accuracy"], value: float, tags: _digits.EpochTags) -> None: ...
    @overload
    def record(self, metric_name: Literal["loss"], value: float, tags: _pipeline_schemas.EpochTags) -> None: ...
    @overload
    def record(self, metric_name: Literal["loss"], value: float, tags: _digits.EpochTags) -> None: ...
    @overload
    def record(self, metric_name: Literal["loss"], value: float, tags: None = None) -> None: ...
    @overload
    def record(self, metric_name: Literal["rows"], value: int, tags: None = None) -> None: ...
    @overload
    def record(self, metric_name: Literal["score"], value: float, tags: _digits.FoldTags) -> None: ...
    @overload
    def record(self, metric_name: str, value: Any, tags: Mapping[str, Any] | None = None) -> None: ...
    @contextmanager
    def step(self, name: str) -> Generator[LoggingContext[T_co]]:
        """Open a step: a handle on this context that keeps a record of what is done through it.

        The record is filed in `provenance` when the step ends, also when an exception ends it. A name used
        again counts up: "epoch", "epoch#2". A step opened through a step is named after both: "fit/fold-3".

        Args:
            name: What to call it: printable characters other than `/` and `#`.

        Raises:
            InvalidStepError: The name cannot be a step's.
            FinishedStepError: It finished before the run was resumed.
        """

    def __repr__(self) -> str: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    def __deepcopy__(self, memo: object) -> Self:
        """Return a copy that is independent, with no sinks. What is `Shared` is handed over."""

    def __copy__(self) -> Self:
        """Return a copy that is independent: the same as a deep copy."""
