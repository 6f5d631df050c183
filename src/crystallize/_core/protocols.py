"""The protocols of contexts and of sinks."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar, overload, runtime_checkable

from ..events import Event
from .artifacts import ArtifactLog
from .context_view import ContextView
from .metrics import Metric, MetricSchema
from .series import FrozenMetrics

T_co = TypeVar("T_co", covariant=True)
_V = TypeVar("_V")
_G = TypeVar("_G")
_P = ParamSpec("_P")
_R = TypeVar("_R")


@runtime_checkable
class Context(Protocol[T_co]):
    """The type of a context that declares at least the keys of `T`, for the functions of a pipeline.

    A step declares the keys that it needs in its own protocol, `def fit(ctx: Context[FitNeeds])`. A type checker then
    checks that every context passed to it has these keys. `FrozenContext` and `LoggingContext` conform.

    Example:
        >>> from typing import Protocol
        >>> class FitNeeds(Protocol):
        ...     lr: float
        >>> def fit(ctx: Context[FitNeeds]) -> None:
        ...     ctx.record("step_size", ctx.fields.lr)
    """

    @property
    def fields(self) -> T_co:
        """The keys, each with its type."""
        ...

    @property
    def metrics(self) -> FrozenMetrics:
        """The metrics that were recorded."""
        ...

    @property
    def artifacts(self) -> ArtifactLog:
        """The files that the run made."""
        ...

    @property
    def logger(self) -> logging.Logger:
        """The logger of the run."""
        ...

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key."""
        ...

    def __setitem__(self, key: str, value: Any) -> None:
        """Write a key. Each key can be written once."""
        ...

    def __contains__(self, key: object) -> bool:
        """Whether a key is written."""
        ...

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or a default if it is not written."""
        ...

    def add(self, key: str, value: Any) -> None:
        """Write a key, once: the same as `ctx[key] = value`."""
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

    def run(self, task: "Callable[Concatenate[Context[T_co], _P], _R]", /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Run a function as a step that is named after it, and return its result."""
        ...

    async def arun(
        self, task: "Callable[Concatenate[Context[T_co], _P], Awaitable[_R]]", /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _R:
        """Run a coroutine as a step that is named after its function, and return its result."""
        ...


@runtime_checkable
class Sink(Protocol):
    """A receiver of all events of a context, in the order in which they took effect.

    The code that makes a sink also closes it, after the last use of the context.

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
        """Handle one event. An exception reaches the code that caused the event, as a `SinkError`."""
        ...

    def close(self) -> None:
        """Finish pending work, and release all resources."""
        ...


class DeclaredKey(NamedTuple):
    """A declared key, as `CheckingSink.check` receives it.

    Example:
        >>> DeclaredKey(float, is_input=True)
        DeclaredKey(type=<class 'float'>, is_input=True)
    """

    type: Any
    """The declared type without its constraints; `Any` if none is declared."""
    is_input: bool
    """Whether the context has a value for the key from the start."""


@runtime_checkable
class CheckingSink(Sink, Protocol):
    """A sink that reports, before the run starts, everything that its backend would reject.

    The problems of all sinks of a context become one `SinkCheckError`. In that case no sink has received an event.

    Example:
        >>> from crystallize.sinks.memory import MemorySink
        >>> class Short(MemorySink):
        ...     def check(self, schema, metrics, /):
        ...         return [f"key {key!r} is too long" for key in schema if len(key) > 20]
        >>> isinstance(Short(), CheckingSink)
        True
    """

    def check(self, schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, /) -> Iterable[str]:
        """Return the problems that the backend would have with names, lengths, characters or types.

        Args:
            schema: The declared keys, and the keys that the context starts with.
            metrics: The metrics that may be recorded; None if any metric may be.

        Returns:
            A sentence for each problem.
        """
        ...


@runtime_checkable
class LimitedSink(Sink, Protocol):
    """A sink that cannot take values and artifacts above a size.

    A larger one is refused with a `TooLargeError` before the context changes.

    Example:
        >>> from crystallize.sinks.memory import MemorySink
        >>> class Small(MemorySink):
        ...     largest = 1_000_000
        >>> isinstance(Small(), LimitedSink)
        True
    """

    largest: int
    """Maximum bytes of an artifact, of the JSON of a value, and of each array in it."""


@runtime_checkable
class AttachedSink(Sink, Protocol):
    """A sink that receives a view of its context: the context calls `attach` once, before the first event.

    A journal uses the view to read the schema and to mask secrets.

    Example:
        >>> from crystallize.sinks.memory import MemorySink
        >>> class Named(MemorySink):
        ...     def attach(self, view, /):
        ...         print(view.schema.name)
        >>> ctx = FrozenContext({"lr": 0.1}, sinks=[Named()])
        dict[str, Any]
    """

    def attach(self, view: ContextView, /) -> None:
        """Store the view. If this raises, the context is not made.

        Args:
            view: A view of the context, valid as long as the context is used.
        """
        ...
