"""The protocols that others rely on, and those that sinks provide."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar, overload, runtime_checkable

from ..events import Event
from .artifacts import ArtifactLog
from .context_view import ContextView
from .event_dispatch import Batch
from .metrics import Metric, MetricSchema
from .series import FrozenMetrics

T_co = TypeVar("T_co", covariant=True)
_V = TypeVar("_V")
_G = TypeVar("_G")


@runtime_checkable
class Context(Protocol[T_co]):
    """What a step asks for: a context that declares at least the keys of `T`.

    A step names what it needs by a protocol of its own, `def fit(ctx: Context[FitNeeds])`, and a type checker
    proves that each context handed to it declares that. `FrozenContext` and `LoggingContext` conform.

    Example:
        >>> from typing import Protocol
        >>> class FitNeeds(Protocol):
        ...     @property
        ...     def lr(self) -> float: ...
        >>> def fit(ctx: Context[FitNeeds]) -> None:
        ...     ctx.record("step_size", ctx.fields.lr)
    """

    @property
    def fields(self) -> T_co:
        """The keys, each with its type."""
        ...

    @property
    def metrics(self) -> FrozenMetrics:
        """What was measured."""
        ...

    @property
    def artifacts(self) -> ArtifactLog:
        """The files made."""
        ...

    @property
    def logger(self) -> logging.Logger:
        """Where to log."""
        ...

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key."""
        ...

    def __setitem__(self, key: str, value: Any) -> None:
        """Write a key, once."""
        ...

    def __contains__(self, key: object) -> bool:
        """Whether a key is written."""
        ...

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or a default if it is not written."""
        ...

    def add(self, key: str, value: Any) -> None:
        """Write a key, once."""
        ...

    @overload
    def record(self, metric_name: Metric[_V, None], value: _V, tags: None = None) -> None: ...
    @overload
    def record(self, metric_name: Metric[_V, _G], value: _V, tags: _G) -> None: ...
    @overload
    def record(self, metric_name: str, value: Any, tags: Mapping[str, Any] | None = None) -> None: ...
    def record(self, metric_name: Any, value: Any, tags: Any = None) -> None:
        """Record a point of a metric."""
        ...


@runtime_checkable
class Sink(Protocol):
    """What is told everything that happens to a context, in the order in which it took effect.

    Whoever makes a sink closes it, after the context's last use.

    Example:
        >>> class Printer:
        ...     def handle(self, event: Event, /) -> None:
        ...         print(type(event).__name__)
        ...     def close(self) -> None:
        ...         pass
        >>> ctx = FrozenContext({"lr": 0.1}, sinks=[Printer()])
        KeyWritten
    """

    def handle(self, event: Event, /) -> None:
        """Take one event. What it raises reaches, as a `SinkError`, whoever caused the event."""
        ...

    def close(self) -> None:
        """Finish, and give back what it holds."""
        ...


class DeclaredKey(NamedTuple):
    """A key as a sink gets to know it before the run starts.

    Example:
        >>> DeclaredKey(float, is_input=True)
        DeclaredKey(type=<class 'float'>, is_input=True)
    """

    type: Any
    """The type that it is declared with, without its constraints; `Any` where none is declared."""
    is_input: bool
    """Whether the context holds it from the start."""


@runtime_checkable
class CheckingSink(Sink, Protocol):
    """A sink that says before the run starts what its backend would refuse.

    What all sinks of a context say becomes one `SinkCheckError`. Nothing has been told to any of them then.

    Example:
        >>> from crystallize.sinks.memory import MemorySink
        >>> class Short(MemorySink):
        ...     def check(self, schema, metrics, /):
        ...         return [f"key {key!r} is too long" for key in schema if len(key) > 20]
        >>> isinstance(Short(), CheckingSink)
        True
    """

    def check(self, schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, /) -> Iterable[str]:
        """Return what the backend would refuse: names, lengths, characters, types.

        Args:
            schema: The keys that are declared, and those that the context starts with.
            metrics: What may be measured; None where that is anything.

        Returns:
            Each problem as a sentence.
        """
        ...


@runtime_checkable
class AttachedSink(Sink, Protocol):
    """A sink that gets to know its context: a context calls `attach` once, before the first event.

    This is how a journal learns the schema, and which texts show secrets.

    Example:
        >>> from crystallize.sinks.memory import MemorySink
        >>> class Named(MemorySink):
        ...     def attach(self, view, /):
        ...         print(view.schema.name)
        >>> ctx = FrozenContext({"lr": 0.1}, sinks=[Named()])
        dict[str, Any]
    """

    def attach(self, view: ContextView, /) -> None:
        """Keep the view, or raise to refuse the context: then the context is not made.

        Args:
            view: The context, for as long as it is used.
        """
        ...


@runtime_checkable
class BatchSink(Sink, Protocol):
    """A sink that receives a merged branch as a whole, as a journal does, in place of its events one by one.

    Example:
        >>> from crystallize.sinks.memory import MemorySink
        >>> class Counting(MemorySink):
        ...     def handle_batch(self, work, /):
        ...         print(f"{work.branch}: {len(work.keys)} key, {len(work.steps)} step")
        >>> ctx = FrozenContext(sinks=[Counting()])
        >>> child = fork(ctx, "fold-3").open()
        >>> child["score"] = 0.9
        >>> merge(ctx, child.delta())
        fold-3: 1 key, 1 step
    """

    def handle_batch(self, work: Batch, /) -> None:
        """Handle the work of a branch; an error that it raises reaches the caller of `merge` as a `SinkError`.

        Args:
            work: A `MergedWork`. Its `events()` are the events that other sinks receive.
        """
        ...
