"""The context: `FrozenContext`, and `LoggingContext`, a handle that records every read.

A handle is an object that users read and write through; all handles on one context share its `State`. The fast paths
are here. A read of a value that needs no copy is one look-up in `state.shared`, which is also the `__dict__` of
`ctx.fields`. A write of an immutable value outside any step, with no sinks, claims its key without a further call. Both
fall back to the methods of `State`, which raise the errors.
"""

import logging
import os
import sys
import types
from collections.abc import (
    Awaitable,
    Callable,
    ItemsView,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    ValuesView,
)
from contextlib import AbstractContextManager
from functools import partial
from inspect import signature
from types import MappingProxyType, SimpleNamespace
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Concatenate,
    Generic,
    NoReturn,
    ParamSpec,
    Self,
    SupportsIndex,
    overload,
)

from typing_extensions import TypeVar

from .._base.signal_handlers import reraise_from_handler
from .._base.table import Table, TableDisplay
from .._base.text import MASK, short
from ..errors import AbsentKeyError, ContextMutationError, KeyLookupError, SchemaError
from .artifacts import ArtifactLog, artifacts_view
from .context_field import NO_SHAPE, FieldType, shape_in
from .copied_context import watches_copy_of
from .fast_recorders import Recorder
from .fields_view import AttributeFields, fields_of, noting_fields_of
from .immutable_types import ATOMIC
from .initial_values import Baseline, emit_inputs, schema_of_instance, take_initial
from .inputs_model import InputsModel
from .key import plain_key, shape_name
from .metrics import Metric, MetricSchema
from .pickled_values import check_classes
from .protocols import Context, Sink
from .provenance import Provenance
from .schema import Schema
from .series import FrozenMetrics, metrics_view, recorders_of
from .sink_setup import attach_sinks, check_sinks, sinks_in
from .state import State, StateContents
from .step_runner import StepRunner, opened_step, run_coroutine, run_task
from .steps import StepNotes, StepToken
from .stored_value import RawValue
from .task_call import TaskCall

if TYPE_CHECKING:
    from argparse import Namespace

T_co = TypeVar("T_co", covariant=True, default=dict[str, Any])
_L = TypeVar("_L", bound="LoggingContext[Any]")
_V = TypeVar("_V")
_G = TypeVar("_G")
_P = ParamSpec("_P")
_R = TypeVar("_R")

_DEBUG = logging.DEBUG
_NO_VALIDATORS: Mapping[str, Callable[[Any], Any] | None] = MappingProxyType({})
"""Used if there are sinks: then every write takes the slow path, which emits the events."""
_NO_RECORDERS: dict[Metric[Any, Any] | str, Recorder] = {}
"""Used until a handle has recorded something."""
_NOBODY = StepToken()


class _Alias(types.GenericAlias):
    """`FrozenContext[Train]`: calling it passes the schema on. It is not cached, since equal types may differ."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        made = blank_context(self)
        made.__init__(*args, **kwargs)
        return made

    def __getattribute__(self, name: str) -> Any:
        # A generic alias asks its class for this name, and a class has none.
        if name == "__signature__":
            cls: Any = self.__origin__
            return signature(cls)
        return super().__getattribute__(name)

    def __getitem__(self, args: Any) -> "_Alias":
        filled = super().__getitem__(args)
        origin: Any = filled.__origin__
        return _Alias(origin, filled.__args__)


def blank_context(kind: Any) -> Any:
    """Return an instance of a context class, or of `FrozenContext[T]`, that has no state yet."""
    if not isinstance(kind, _Alias):
        if not (isinstance(kind, type) and issubclass(kind, FrozenContext)):
            if isinstance(kind, type):
                name = shape_name(kind)
                raise SchemaError(name, f"this takes the class of a context; write FrozenContext[{name}]")
            reason = "this takes the class of a context, as FrozenContext[Train], and after it the initial values"
            raise SchemaError(short(kind), reason)
        return object.__new__(kind)
    cls: Any = kind.__origin__
    made = cls.__new__(cls)
    object.__setattr__(made, "_shape", shape_in(cls, kind.__args__))
    return made


def context_class(shape: Any) -> Any:
    """Return the context class of a shape: `FrozenContext[shape]`, or the shape itself if it is such a class."""
    if isinstance(shape, _Alias) or (isinstance(shape, type) and issubclass(shape, FrozenContext)):
        return shape
    untyped: Any = FrozenContext
    return untyped if shape is None else untyped[shape]


class ContextHandle(TableDisplay, FieldType):
    """A handle on a context: its read-only attributes."""

    if TYPE_CHECKING:
        _state: State
        _token: StepToken
        _values: dict[str, RawValue]
        _shared: dict[str, Any]
        _validators: Mapping[str, Callable[[Any], Any] | None]
        _validate_other: Callable[[Any], Any] | None
        _recorders: dict[Metric[Any, Any] | str, Recorder]
        _runner: StepRunner

        # Properties, since annotations cannot mark an attribute as read-only.
        @property
        def metrics(self) -> FrozenMetrics:
            """The metrics that were recorded."""
            raise

        @property
        def artifacts(self) -> ArtifactLog:
            """The files that the run made."""
            raise

        @property
        def logger(self) -> logging.Logger:
            """The logger of the run."""
            raise

    else:
        __slots__ = {
            "__weakref__": None,
            "_recorders": "The recorders that the view of the metrics has found.",
            "_runner": "Opens and ends the steps of this handle.",
            "_shape": "The shape that an alias handed on.",
            "_shared": "The state's values that need no copying.",
            "_state": "The state that all handles on one context share.",
            "_token": "The step on whose behalf this handle reads and writes.",
            "_validate_other": "The validator of undeclared keys, if they can be written the fast way.",
            "_validators": "The validators of the keys that can be written the fast way.",
            "_values": "The state's values.",
            "artifacts": "The files that the run made.",
            "fields": "The keys, each with its type, as attributes, or as items for a TypedDict or dict.",
            "logger": "The logger of the run.",
            "metrics": "The metrics that were recorded.",
        }

        # No `__getattr__` explains `ctx.lr`. With one, Python 3.11 reads a key in 76 ns in place of 58, and IPython
        # completes nothing after `ctx.artifacts["`.
        # Hidden from checkers, which then report an assignment.
        def __setattr__(self, name: str, value: Any) -> NoReturn:
            """Refuse: keys are written through `ctx.fields` or `ctx[...]`."""
            write = f"write through ctx.fields.{name} or ctx[{name!r}]"
            raise ContextMutationError(name, f"Cannot assign attribute {name!r} of a context; {write}")

        def __delattr__(self, name: str) -> NoReturn:
            """Refuse: a context keeps its values."""
            raise ContextMutationError(name, f"Cannot delete attribute {name!r} of a context")

    @property
    def provenance(self) -> Provenance:
        """Who read, missed and wrote which keys."""
        return self._state.provenance

    def __delitem__(self, key: str) -> NoReturn:
        """Refuse: a context keeps its values."""
        raise ContextMutationError(key, f"Cannot delete key: {short(key)}; a context keeps its values")

    def __context_schema__(self) -> Schema:
        return self._state.schema

    def __notebook_tables__(self) -> tuple[Table, ...]:
        from .notebook import context_table

        return (context_table(self),)

    def __repr__(self) -> str:
        state, keys = self._state, [*self._state.keys]
        shown = ", ".join(f"{key}={state.short_value(key)}" for key in keys[:20])
        more = f", and {len(keys) - 20} more" if len(keys) > 20 else ""
        return f"{context_kind(self)}({shown}{more})"

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        state = self._state
        values = ((key, partial(state.read, key)) for key in state.keys.in_order())
        check_classes(values, protocol, str(sys._getframe(1).f_globals.get("__name__")))
        return self.__reduce__()

    def _ipython_key_completions_(self) -> list[str]:
        return list(dict.fromkeys([*self._state.schema.keys, *self._state.values]))


def _refuse(value: object) -> NoReturn:
    raise TypeError


if TYPE_CHECKING:
    # Checkers then compare a context with a `Context` by their arguments alone, and not method by method.
    _Base = Context
else:
    _Base = Generic


class StepContext(ContextHandle, _Base[T_co]):
    """A handle on a context: its steps."""

    __slots__ = ()

    def step(self, name: str) -> "AbstractContextManager[LoggingContext[T_co]]":
        """Open a step: a handle on this context that records every read and write through it.

        When the step ends, also by an exception, the record is added to `provenance`. A name that is used again gets a
        number: "epoch", "epoch#2". A step within a step gets both names: "fit/fold-3".

        Args:
            name: The name of the step: printable characters other than `/` and `#`.

        Raises:
            InvalidStepError: The name is not allowed.
            FinishedStepError: The step finished in an earlier process.
        """
        return opened_step(self._runner, name)

    def run(
        self, task: "Callable[Concatenate[LoggingContext[T_co], _P], _R]", /, *args: _P.args, **kwargs: _P.kwargs
    ) -> _R:
        """Run a function as a step that is named after it, and return its result.

        The function gets the step and the arguments. The step is named after the function, followed by each
        argument that is a short text, an int, a bool or an enum, as in "fit-3"; `@step` gives a function another one.
        If the step finished in an earlier process of the run, the function is not called, and its result is returned.

        Args:
            task: The function. A coroutine is for `arun`.
            *args: Its arguments after the context.
            **kwargs: Its named arguments.

        Returns:
            The result of the function.

        Raises:
            InvalidStepError: It is not a function that can be run, its name cannot be a step's, or it finished with
                other arguments in an earlier process.

        Example:
            >>> def fit(ctx, size):
            ...     ctx["accuracy"] = 1 - 1 / size
            ...     return size
            >>> ctx = FrozenContext()
            >>> ctx.run(fit, 4), ctx["accuracy"], ctx.provenance.writer("accuracy")
            (4, 0.75, 'fit-4')
        """
        result: _R = run_task(self._runner, TaskCall.checked(task, args, kwargs))
        return result

    async def arun(
        self,
        task: "Callable[Concatenate[LoggingContext[T_co], _P], Awaitable[_R]]",
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _R:
        """Run a coroutine as a step that is named after its function, and return its result; see `run`.

        The event loop does not wait for a disk: the end of the step is made durable in a thread. If the coroutine is
        cancelled, its step is on record as ended by `CancelledError`.

        Args:
            task: The function of the coroutine.
            *args: Its arguments after the context.
            **kwargs: Its named arguments.

        Returns:
            The result of the coroutine.

        Raises:
            InvalidStepError: See `run`; or its call gives nothing that can be awaited.

        Example:
            >>> import asyncio
            >>> async def ask(ctx, question):
            ...     return len(question)
            >>> ctx = FrozenContext()
            >>> asyncio.run(ctx.arun(ask, "why?")), ctx.provenance.steps[0].name
            (4, 'ask-why?')
        """
        result: _R = await run_coroutine(self._runner, TaskCall.checked(task, args, kwargs, is_async=True))
        return result


class FrozenContext(StepContext[T_co]):
    """The typed, validated, write-once context that the steps of a pipeline share.

    `FrozenContext[Train](...)` has the keys that the shape `Train` declares: a Pydantic model, a `TypedDict`, a
    dataclass, or `dict[str, V]` for any keys. The default is the shape of the initial instance, or any key.

    Each value is validated when it is written, copied so that later changes by the writer do not reach it, and never
    replaced. Contexts are thread-safe: if several threads write the same key, one of them succeeds.

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

    __default_shape__: ClassVar[Any] = NO_SHAPE

    if TYPE_CHECKING:

        @property
        def fields(self) -> T_co:
            """The keys, each with its type, as attributes, or as items for a TypedDict or dict."""
            raise

    else:
        __slots__ = ()

        def __class_getitem__(cls, shape: Any) -> _Alias:
            shapes = shape if isinstance(shape, tuple) else (shape,)
            if len(shapes) != 1:
                raise SchemaError(cls.__name__, f"it takes one type, not {len(shapes)}")
            return _Alias(cls, shapes)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in vars(cls).get("__orig_bases__", ()):
            if isinstance(base, _Alias) and not isinstance(base.__args__[0], TypeVar):
                cls.__default_shape__ = base.__args__[0]

    def __init__(
        self,
        initial: "Mapping[str, Any] | T_co | InputsModel[T_co] | Namespace | SimpleNamespace | None" = None,
        logger: logging.Logger | None = None,
        *,
        metrics: type[MetricSchema] | None = None,
        sinks: Sequence[Sink] = (),
    ) -> None:
        """Make a context. If anything is wrong with the arguments, none of it takes effect.

        Args:
            initial: The initial values. A mapping or a namespace is validated key by key; an instance of the shape, or
                of its `inputs_of`, is not validated again. Missing fields are set to their defaults.
            logger: The logger of the run; by default the logger named "crystallize".
            metrics: The metrics that may be recorded; by default any.
            sinks: The sinks that receive the events, including those of the initial values.

        Raises:
            SchemaError: The shape or the metrics cannot be used.
            InvalidInitialError: The initial values are not allowed. The error names all problems.
            SinkCheckError: A sink's backend would reject a key or a metric. The error names all problems.
        """
        if hasattr(self, "_state"):
            raise ContextMutationError(
                "__init__", "Cannot initialize a context again: its values cannot be replaced; create another context"
            )
        begin_context(self, blank_state(self, metrics, initial), initial, logger, sinks)

    def _make_fields(self, state: State) -> Any:
        return fields_of(self, state.schema, state.shared)

    def _find_recorder(self, metric: Any) -> Recorder:
        """Return the recorder of a metric that is not in `_recorders`."""
        recorders, find = recorders_of(self.metrics)
        _fill_recorders(self, recorders)
        return find(metric)

    @overload
    def __getitem__(self: "FrozenContext[dict[str, _V]]", key: str) -> _V: ...
    @overload
    def __getitem__(self, key: str) -> Any: ...
    def __getitem__(self, key: str) -> Any:
        """Return the value of a key. If the value is mutable, the reader gets a copy.

        Raises:
            UnknownKeyError: The schema does not declare the key.
            AbsentKeyError: The key is not written yet.
        """
        # A subclass of str may define its own equality, and a dict would use it. (`type(key)` is slower.)
        if key.__class__ is str:
            try:
                return self._shared[key]
            except KeyError:
                pass
            if (stored := self._values.get(key)) and (thaw := stored[1]):  # as `_read`, inlined for speed
                return thaw()
        return self._read(key)

    def _read(self, key: object) -> Any:
        """Return the value of a key, the slow way."""
        plain = key if type(key) is str else plain_key(key)
        if plain not in self._values:
            raise self._state.missing_error(plain)
        return self._state.read(plain)

    def __setitem__(self, key: str, value: Any) -> None:
        """Write a key. Each key can be written once.

        Raises:
            UnknownKeyError: The schema does not declare the key.
            ContextMutationError: The key is already written.
            InvalidValueError: The schema does not allow the value.
            UncopyableValueError: The value cannot be copied.
            SinkError: The key is written, but a sink failed.
        """
        # On any failure, the fast path falls back to `State.write`, which raises the proper error.
        if key.__class__ is str:
            validate: Any = self._validators.get(key, other := self._validate_other)
            if validate is other and not (0 < len(key) < 256 and key.isprintable()):
                validate = _refuse  # as `plain_key` raises
            try:
                valid = validate(value)
            except Exception as error:
                reraise_from_handler(error)
            else:
                if type(valid) in ATOMIC:
                    # The same as `State.claim`, inlined: the call would double the time.
                    stored: RawValue = (valid, None, None, False)
                    if self._values.setdefault(key, stored) is not stored:
                        raise self._state.mutation_error(key)
                    self._shared[key] = valid
                else:
                    self._state.keep(self._state.schema.key(key), key, valid, self._token)
                return
        self._state.write(key, value, self._token)

    def add(self, key: str, value: Any) -> None:
        """Write a key, once: the same as `ctx[key] = value`."""
        self[key] = value

    @overload
    def get(self: "FrozenContext[dict[str, _V]]", key: str) -> _V | None: ...
    @overload
    def get(self: "FrozenContext[dict[str, _V]]", key: str, default: _G) -> _V | _G: ...
    @overload
    def get(self, key: str, default: Any = None) -> Any: ...
    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or a default if the key is not written.

        Raises:
            UnknownKeyError: The schema does not declare the key, so that the default does not apply.
        """
        try:
            return self[key]
        except AbsentKeyError:
            return default

    def __contains__(self, key: object) -> bool:
        """Whether a key is written. The schema need not declare the key."""
        return isinstance(key, str) and str.__str__(key) in self._state.values

    def __len__(self) -> int:
        """Return the number of keys that are written."""
        self._token.check_open()
        return len(self._state.values)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys that are written, in order."""
        self._token.check_open()
        return iter(self._state.keys)

    def keys(self) -> KeysView[str]:
        """Return the keys that are written, as a live view."""
        return KeysView(self)

    def values(self) -> ValuesView[Any]:
        """Return the values, as a live view."""
        return ValuesView(self)

    def items(self) -> ItemsView[str, Any]:
        """Return the keys with their values, as a live view."""
        return ItemsView(self)

    def as_dict(self) -> Mapping[str, Any]:
        """Return all keys with their values, in a read-only mapping."""
        return MappingProxyType({key: self[key] for key in self})

    def snapshot(self) -> T_co:
        """Return all values as an instance of the shape. The shape's model-level validators run.

        Returns:
            A new instance, independent of the context.

        Raises:
            IncompleteContextError: Required keys are not written yet.
            InvalidSnapshotError: The shape's model-level validators reject the values.

        Example:
            >>> from pydantic import BaseModel
            >>> class Train(BaseModel):
            ...     lr: float
            >>> FrozenContext[Train]({"lr": 0.1}).snapshot()
            Train(lr=0.1)
        """
        made: T_co = self._state.schema.snapshot({key: self[key] for key in self})
        return made

    @overload
    def record(self, metric_name: Metric[_V, None], value: _V, tags: None = None) -> None: ...
    @overload
    def record(self, metric_name: Metric[_V, _G], value: _V, tags: _G) -> None: ...
    @overload
    def record(self, metric_name: str, value: Any, tags: Mapping[str, Any] | None = None) -> None: ...
    def record(self, metric_name: Any, value: Any, tags: Any = None) -> None:
        """Record a point of a metric; see `FrozenMetrics.add`.

        Args:
            metric_name: A metric, or its name.
            value: The measured value, in the metric's unit.
            tags: A mapping, or an instance of the metric's tag model.

        Raises:
            MetricError: The metric is not declared, or does not allow the value or the tags.
        """
        # The same as `FrozenMetrics.add`, inlined: the call would take a tenth of the time.
        kind = type(metric_name)
        record = self._recorders.get(metric_name) if kind is str or kind is Metric else None
        (record or self._find_recorder(metric_name))(value, tags)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self._state.contents(), self.logger, os.getpid())

    def __deepcopy__(self, memo: object) -> Self:
        """Return an independent copy without sinks. `Shared` values are not copied."""
        restored, arguments = self.__reduce__()
        copied: Self = restored(*arguments)
        return copied

    def __copy__(self) -> Self:
        """Return an independent copy, the same as a deep copy."""
        return self.__deepcopy__(None)


def _later(name: str) -> property:
    """Return the property that makes a view of a `LoggingContext` when it is first asked for."""

    def view(log: Any) -> Any:
        try:
            return log._views[name]
        except KeyError:
            return log._views.setdefault(name, _VIEWS[name](log))

    return property(view, doc=vars(ContextHandle)[name].__doc__)


class LoggingContext(FrozenContext[T_co]):
    """A proxy of a context that records every key read through it, and logs each read at DEBUG.

    It is a `FrozenContext` itself, with the same data, metrics and artifacts. `ctx.step(name)` makes one, and adds
    its record to `ctx.provenance`. Made directly, it records the reads of any piece of code.

    Example:
        >>> log = LoggingContext(FrozenContext({"lr": 0.1}))
        >>> log["lr"], log.get("epochs", 3)
        (0.1, 3)
        >>> log.reads, log.absent
        ({'lr': 0.1}, {'epochs'})
    """

    __slots__ = {
        "_notes": "The work that was done through this handle.",
        "_reads": "The keys that were read; the same dict as in `_notes`.",
        "_views": "The views of this handle that were asked for, by name.",
        "_watched": "The handle that this one is a proxy of, if that one keeps notes too.",
    }

    if TYPE_CHECKING:
        _notes: StepNotes
        _reads: dict[str, None]
        _views: dict[str, Any]
        _watched: "LoggingContext[Any] | None"

    else:
        # A step makes them when they are first asked for. Not by `__getattr__`, with which every attribute is slower.
        metrics = _later("metrics")
        artifacts = _later("artifacts")
        fields = _later("fields")
        _runner = _later("_runner")

    def __init__(self, ctx: FrozenContext[T_co], logger: logging.Logger | None = None) -> None:
        """Make a proxy of a context.

        Args:
            ctx: The context. If it is a `LoggingContext` itself, it records the reads through this proxy as well.
            logger: The logger of the reads; by default the logger of `ctx`.
        """
        if not isinstance(ctx, FrozenContext):
            raise SchemaError(type(self).__name__, f"it watches a FrozenContext, not {short(ctx)}")
        _open_log(self, ctx._state, ctx._token, logger or ctx.logger)
        if isinstance(ctx, LoggingContext):
            object.__setattr__(self, "_watched", ctx)
            end_fast_reads(self)
        self._views.update(metrics=ctx.metrics, artifacts=ctx.artifacts)

    def _make_fields(self, state: Any) -> Any:
        return noting_fields_of(self, state.schema, _reader)

    @property
    def reads(self) -> dict[str, Any]:
        """The keys that were read, with their values, in the order of the first read."""
        return {key: self._state.read(key) for key in list(self._reads)}

    @property
    def absent(self) -> set[str]:
        """The keys that were looked up and not found by `get`, by `in`, or by a read that raised."""
        return set(self._notes.absent)

    @property
    def artifact_reads(self) -> tuple[str, ...]:
        """The artifacts that a step has read, in the order of the first read; empty outside of steps."""
        return tuple(self._notes.artifact_reads)

    @property
    def absent_artifacts(self) -> set[str]:
        """The artifacts that a step looked for and did not find; empty outside of steps."""
        return set(self._notes.absent_artifacts)

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key, record the read, and log it at DEBUG.

        Raises:
            UnknownKeyError: The schema does not declare the key.
            AbsentKeyError: The key is not written yet.
            StepClosedError: The step has ended.
        """
        if key.__class__ is str:
            try:
                value = self._shared[key]
            except KeyError:
                pass
            else:
                self._reads[key] = None
                if self.logger.isEnabledFor(_DEBUG):
                    self._log(key, value)
                return value
        return self._read_slowly(key)

    def _read_slowly(self, key: object) -> Any:
        """Return the value of a key, the slow way."""
        self._token.check_open()
        try:
            value = self._read(key)
        except KeyLookupError:
            if isinstance(key, str):
                self._note_absent(str.__str__(key))
            raise
        self._note(plain_key(key), value)
        return value

    def _note(self, key: str, value: Any) -> None:
        self._reads[key] = None
        if self.logger.isEnabledFor(_DEBUG):
            self._log(key, value)
        if self._watched is not None:
            self._watched._note(key, value)

    def _log(self, key: str, value: Any) -> None:
        shown = MASK if self._state.schema.key(key).secret else short(value)
        self.logger.debug("Read %s -> %s", key, shown)

    def _note_absent(self, key: str) -> None:
        self._notes.absent[key] = None
        if self._state.schema.others is None and key not in self._state.schema.keys:
            self._notes.blind["the declared keys"] = None
        if self._watched is not None:
            self._watched._note_absent(key)

    def __setitem__(self, key: str, value: Any) -> None:
        """Write a key, once, and record that this handle wrote it; see `FrozenContext`."""
        # The step ends under the same lock, so that its record contains this write.
        run = self._state.dispatcher.lock.run
        if type(key) is str and type(value) in ATOMIC and self._watched is None:
            # As in `FrozenContext`: this only succeeds, and on any failure `State.write` raises the proper error.
            validate: Any = self._validators.get(key, other := self._validate_other)
            if validate is not None and (validate is not other or (0 < len(key) < 256 and key.isprintable())):
                try:
                    valid = validate(value)
                except Exception as error:
                    reraise_from_handler(error)
                else:
                    if type(valid) in ATOMIC and run(partial(self._claim, key, (valid, None, self._token.step, False))):
                        return
        run(partial(self._write, key, value))

    def _claim(self, key: str, stored: RawValue) -> bool:
        """Write an immutable value, and note that; return whether the key was free, and the step open."""
        try:
            if not self._token.is_open or self._values.setdefault(key, stored) is not stored:
                return False
            self._state.shared[key] = stored[0]
            self._notes.writes[key] = None
        except BaseException:
            # Ctrl-C may have come after the key was written.
            if self._values.get(key) is stored:
                self._state.shared[key] = stored[0]
                self._notes.writes[key] = None
            raise
        return True

    def _write(self, key: str, value: Any) -> None:
        values = self._state.values
        schema = self._state.schema
        declared = schema.keys.get(key, schema.others) if isinstance(key, str) else None
        if declared is not None and declared.validate_among is not None:
            # Pydantic gives it a plain dict of all values, so nothing tells which of them it reads.
            self._note_blind(f"all values, in the validator of key {str.__str__(key)!r}")
        was_written = isinstance(key, str) and str.__str__(key) in values
        try:
            self._state.write(key, value, self._token)
            self._note_write(str.__str__(key))
        except BaseException:
            if was_written:
                # The code of the step may catch the error, and go on otherwise.
                self._note_present(str.__str__(key))
            elif not (isinstance(key, str) and str.__str__(key) in values):
                self._note_blind(f"the reason for which key {short(key)} was refused")
            # Sinks may have failed, or Ctrl-C may have come: the key may be written all the same.
            if not was_written and isinstance(key, str) and str.__str__(key) in values:
                self._note_write(str.__str__(key))
            raise

    def _note_write(self, key: str) -> None:
        self._notes.writes[key] = None
        if self._watched is not None:
            self._watched._note_write(key)

    def _note_present(self, key: str) -> None:
        self._notes.present[key] = None
        if self._watched is not None:
            self._watched._note_present(key)

    def _note_blind(self, seen: str) -> None:
        self._notes.blind[seen] = None
        if self._watched is not None:
            self._watched._note_blind(seen)

    def __contains__(self, key: object) -> bool:
        """Whether a key is written. If it is not, the lookup is recorded in `absent`."""
        self._token.check_open()
        found = super().__contains__(key)
        if isinstance(key, str):
            (self._note_present if found else self._note_absent)(str.__str__(key))
        return found

    def __repr__(self) -> str:
        self._note_blind("the set of keys")
        return super().__repr__()

    def __notebook_tables__(self) -> tuple[Table, ...]:
        self._note_blind("the set of keys")
        return super().__notebook_tables__()

    @property
    def provenance(self) -> Provenance:
        """Who read, missed and wrote which keys."""
        self._note_blind("the provenance")
        return super().provenance

    def __len__(self) -> int:
        self._note_blind("the number of keys")
        return super().__len__()

    def __iter__(self) -> Iterator[str]:
        self._note_blind("the set of keys")
        return super().__iter__()

    def __reduce__(self) -> tuple[Any, ...]:
        token = (self._token.step, self._token.is_open)
        parts = (type(self), self._state.contents(), self.logger, os.getpid(), token, self._notes.copy())
        # Reads through the copy are on no record.
        self._note_blind("a copy of the context")
        return _restored_log, parts


def _reader(key: str) -> Callable[[AttributeFields], Any]:
    """Return the reader of a key through the view of a `LoggingContext`: the same as `log[key]`, with one call less."""

    def read(view: AttributeFields) -> Any:
        log: Any = view.crystallize_owner
        try:
            value = log._shared[key]
        except KeyError:
            pass
        else:
            log._reads[key] = None
            if log.logger.isEnabledFor(_DEBUG):
                log._log(key, value)
            return value
        return log[key]

    return read


def _filler(cls: type, name: str) -> Callable[[Any, Any], None]:
    """Return the function that fills a slot. `object.__setattr__` takes three times as long."""
    fill: Callable[[Any, Any], None] = vars(cls)[name].__set__
    return fill


_fill_state, _fill_token = _filler(ContextHandle, "_state"), _filler(ContextHandle, "_token")
_fill_values, _fill_shared = _filler(ContextHandle, "_values"), _filler(ContextHandle, "_shared")
_fill_validators = _filler(ContextHandle, "_validators")
_fill_validate_other = _filler(ContextHandle, "_validate_other")
_fill_logger, _fill_recorders = _filler(ContextHandle, "logger"), _filler(ContextHandle, "_recorders")
_fill_notes, _fill_reads = _filler(LoggingContext, "_notes"), _filler(LoggingContext, "_reads")
_fill_watched, _fill_views = _filler(LoggingContext, "_watched"), _filler(LoggingContext, "_views")


def _attach(ctx: FrozenContext[Any], state: State, token: StepToken, logger: logging.Logger | None) -> None:
    """Attach a context to a state. A step gets its views later: one that needs none of them is opened faster."""
    schema, has_sinks = state.schema, state.dispatcher.sinks
    _fill_state(ctx, state)
    _fill_token(ctx, token)
    _fill_values(ctx, state.values)
    _fill_shared(ctx, state.shared)
    _fill_validate_other(ctx, None if has_sinks else schema.validate_other)
    _fill_validators(ctx, _NO_VALIDATORS if has_sinks else schema.validators)
    _fill_recorders(ctx, _NO_RECORDERS)
    _fill_logger(ctx, logging.getLogger("crystallize") if logger is None else logger)
    if not isinstance(ctx, LoggingContext):
        for name, make in _VIEWS.items():
            object.__setattr__(ctx, name, make(ctx))


def _metrics_of(ctx: Any) -> FrozenMetrics:
    state, token = ctx._state, ctx._token
    found: FrozenMetrics = state.metrics if token.step is None else metrics_view(state.metric_store, token)
    return found


def _artifacts_of(ctx: Any) -> ArtifactLog:
    if isinstance(ctx, LoggingContext):
        return artifacts_view(ctx._state.artifact_store, ctx._token, (ctx._notes,))
    found: ArtifactLog = ctx._state.artifacts
    return found


_VIEWS: dict[str, Callable[[Any], Any]] = {
    "metrics": _metrics_of,
    "artifacts": _artifacts_of,
    "fields": lambda ctx: ctx._make_fields(ctx._state),
    "_runner": lambda ctx: StepRunner(ctx._state, ctx._token, ctx.logger, _step_handle, end_fast_reads),
}
"""The views of a handle, and what opens and ends its steps."""


def _step_handle(state: State, token: StepToken, logger: logging.Logger, notes: StepNotes) -> LoggingContext[Any]:
    return logging_handle(LoggingContext, state, token, logger, notes)


def logging_handle(
    cls: type[_L], state: State, token: StepToken, logger: logging.Logger, notes: StepNotes | None = None
) -> _L:
    """Return a handle on a state that records every read and write through it."""
    log = object.__new__(cls)
    _open_log(log, state, token, logger, notes)
    return log


def _open_log(
    log: LoggingContext[Any], state: State, token: StepToken, logger: logging.Logger, notes: StepNotes | None = None
) -> None:
    notes = notes or StepNotes()
    _fill_notes(log, notes)
    _fill_reads(log, notes.reads)
    _fill_watched(log, None)
    _fill_views(log, {})
    if token.step is not None and token.notes is None:
        token.notes = notes
    _attach(log, state, token, logger)


def end_fast_reads(log: LoggingContext[Any]) -> None:
    """Make every further read through a handle take the slow path."""
    _fill_shared(log, {})
    # The view and the handle refer to each other. Apart, they need no garbage collection.
    log._views.pop("fields", None)


def blank_state(ctx: FrozenContext[Any], metrics: type[MetricSchema] | None, initial: Any = None) -> State:
    """Return a state without values for a blank context that will take the initial values."""
    shape = getattr(ctx, "_shape", ctx.__default_shape__)
    return State(schema_of_instance(initial) if shape is NO_SHAPE else Schema.of(shape), metrics)


def begin_context(
    ctx: FrozenContext[Any],
    state: State,
    initial: Any,
    logger: logging.Logger | None,
    sinks: Sequence[Sink],
    baseline: Baseline | None = None,
) -> None:
    """Attach a blank context to a state from `blank_state`, and take the initial values.

    The baseline, if there is one, was already applied to the state.
    """
    label = type(ctx).__name__ if state.schema is Schema.untyped() else f"{type(ctx).__name__}[{state.schema.name}]"
    found = sinks_in(sinks)
    take_initial(state, {} if initial is None else initial, label, baseline)
    check_sinks(found, state, label)
    if found:
        state.dispatcher.attach(found)
        # Sinks receive no events of a context that cannot be made, and all that a sink records while it is attached.
        with state.dispatcher.postponed():
            attach_sinks(found, state)
    attach_context(ctx, state, logger)
    if found:
        emit_inputs(state, () if baseline is None else baseline.values)


def attach_context(ctx: FrozenContext[Any], state: State, logger: logging.Logger | None = None) -> None:
    """Attach a blank context to a state without changing the state."""
    _attach(ctx, state, _NOBODY, logger)


def state_of(ctx: ContextHandle) -> State:
    """Return the state of a context, for the folders above the core."""
    return ctx._state


def token_of(ctx: ContextHandle) -> StepToken:
    """Return the step on whose behalf a handle reads and writes."""
    return ctx._token


def notes_of(ctx: ContextHandle) -> StepNotes | None:
    """Return the notes of a `LoggingContext`; None for other handles."""
    return ctx._notes if isinstance(ctx, LoggingContext) else None


def context_kind(ctx: ContextHandle) -> str:
    """Return the class name of a context, with its shape in brackets."""
    schema = ctx._state.schema
    return type(ctx).__name__ if schema is Schema.untyped() else f"{type(ctx).__name__}[{schema.name}]"


def _restored(
    cls: type[FrozenContext[Any]], contents: StateContents, logger: logging.Logger, process: int
) -> FrozenContext[Any]:
    ctx: FrozenContext[Any] = object.__new__(cls)
    _attach(ctx, _restored_state(contents, process), _NOBODY, logger)
    return ctx


def _restored_state(contents: StateContents, process: int) -> State:
    """Return the state of a copy, given the process that pickled it."""
    state = State.restored(contents)
    if watches := watches_copy_of(process):
        state.dispatcher.attach(watches)
    return state


def _restored_log(
    cls: type[LoggingContext[Any]],
    contents: StateContents,
    logger: logging.Logger,
    process: int,
    was: tuple[str | None, bool],
    notes: StepNotes,
) -> LoggingContext[Any]:
    state, (step, is_open) = _restored_state(contents, process), was
    token = state.registry.find(step)
    log = logging_handle(cls, state, token, logger, notes)
    if not is_open:
        token.close()
        end_fast_reads(log)
    return log
