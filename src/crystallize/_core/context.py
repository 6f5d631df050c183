"""FrozenContext: the typed, validated, write-once context that the steps of a pipeline share."""

import logging
import types
from collections.abc import (
    Callable,
    Collection,
    Generator,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    ValuesView,
)
from contextlib import contextmanager
from copy import copy
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NoReturn,
    Protocol,
    Self,
    get_origin,
    overload,
    runtime_checkable,
)

from typing_extensions import TypeVar

from .._base.table import Table, TableRow
from .._base.text import MASK, counted, nearest, short, type_name
from .._base.type_hints import key_types
from ..errors import (
    AbsentKeyError,
    ContextMutationError,
    CrystallizeError,
    InvalidInitialError,
    InvalidValueError,
    KeyLookupError,
    Problem,
    SchemaError,
    SinkCheckError,
    UncopyableValueError,
    UnknownKeyError,
)
from ..events import KeyWritten
from .artifacts import ArtifactLog
from .event_dispatch import EventDispatcher
from .fields_view import fields_of
from .freezing import ATOMIC, Thaw, freeze, masked, same, secrets_in
from .metrics import FrozenMetrics, Metric, MetricSchema
from .ordered_log import Fork, Merged, Parts, Place, ordered_keys
from .point_log import StepToken
from .protocols import CheckingSink, DeclaredKey, Sink
from .provenance import Provenance, StepRecord, StoredValue
from .schema import Key, Schema, plain_key, shape_name

if TYPE_CHECKING:
    from .logging_context import LoggingContext

__all__ = ["FrozenContext", "State", "blank_context"]

T_co = TypeVar("T_co", covariant=True, default=dict[str, Any])
_V = TypeVar("_V")
_G = TypeVar("_G")


class _Alias(types.GenericAlias):
    """`FrozenContext[Train]`: its call hands the schema on. Not kept by type, as equal types may differ."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        made = blank_context(self)
        made.__init__(*args, **kwargs)
        return made

    def __getitem__(self, args: Any) -> "_Alias":
        filled = super().__getitem__(args)
        origin: Any = filled.__origin__
        return _Alias(origin, filled.__args__)


def blank_context(kind: Any) -> Any:
    """Return an instance of a context's class, or of `FrozenContext[T]`, that holds nothing yet, not even a state."""
    if not isinstance(kind, _Alias):
        if not (isinstance(kind, type) and issubclass(kind, FrozenContext)):
            if isinstance(kind, type):
                name = shape_name(kind)
                raise SchemaError(name, f"this takes the class of a context; write FrozenContext[{name}]")
            reason = "this takes the class of a context, as FrozenContext[Train], and after it the initial values"
            raise SchemaError(short(kind), reason)
        return object.__new__(kind)
    cls: Any = kind.__origin__
    own = cls._default_shape
    made = cls.__new__(cls)
    # Of a subclass over part of a shape, as FrozenContext[dict[str, V]], the rest is filled in.
    shape = own[kind.__args__] if getattr(own, "__parameters__", ()) else kind.__args__[0]
    object.__setattr__(made, "_shape", shape)
    return made


class State:
    """All that one context holds, whichever handles there are on it."""

    __slots__ = (
        *(
            "artifacts",
            "branch",
            "brought",
            "cells",
            "forked",
            "forks",
            "lost_secrets",
            "metrics",
            "numbers",
            "dispatcher",
        ),
        *("provenance", "schema", "shared"),
    )

    def __init__(self, schema: Schema, metrics: type[MetricSchema] | None = None) -> None:
        self.schema = schema
        self.dispatcher = EventDispatcher()
        self.cells: dict[str, StoredValue] = {}
        """The one truth. A key is claimed by the cell that holds its value, in one step."""
        self.shared: dict[str, Any] = {}
        """The values that need no copying, for reading fast. Whatever is not in it may be in a cell."""
        self.metrics = FrozenMetrics(metrics, dispatcher=self.dispatcher)
        self.artifacts = ArtifactLog(dispatcher=self.dispatcher)
        self.branch: str | None = None
        """The branch that this is the context of; None if it is of none."""
        self.lost_secrets: list[str | bytes] = []
        """The secrets, in clear, of branches that failed: what these raised may tell them."""
        self.forks: dict[str, Fork] = {}
        """The branches that were forked from it, by their full names."""
        self.numbers = -1
        """The number of the last of them."""
        self.forked: Callable[[], object] | None = None
        """Returns what it held when the last one was forked, as long as that is needed."""
        self.brought: Parts[tuple[str, ...]] = Parts()
        """The keys that branches wrote."""
        self.provenance = Provenance(schema, self.cells, self.brought)

    def ordered(self) -> list[str]:
        """Return the keys that are written, in the order of writing, those of branches where these were forked."""
        return ordered_keys(self.cells.copy(), self.brought)

    def next_number(self) -> int:
        """Return a number for a branch; whoever calls has the lock over effect and event."""
        self.numbers += 1
        return self.numbers

    def place(self) -> Place:
        """Return how much there is by now, without what branches brought."""
        own = len(self.cells) - self.brought.count
        return Place(own, self.provenance._own, self.artifacts._own, self.metrics._lengths())

    def read(self, key: str) -> Any:
        """Return what a reader gets of a key that is written."""
        kept, thaw, _, _ = self.cells[key]
        return kept if thaw is None else thaw()

    def held(self) -> dict[str, Any]:
        """Return all that is held, for a validator or a reader to look at."""
        return {key: self.read(key) for key in self.ordered()}

    def secrets(self) -> list[str | bytes]:
        """Return, in clear, the secrets that no text may show: those held, and those that failed branches held."""
        return [*secrets_in(self.held()), *self.lost_secrets]

    def write(
        self, key: object, value: Any, scope: StepToken, *, is_input: bool = False, trusted: bool = False
    ) -> None:
        """Take a value in: the key is known, valid, frozen, claimed, told. Before it is claimed nothing changes.

        Args:
            key: The key.
            value: The value.
            scope: Who writes it.
            is_input: Whether the context is just being made.
            trusted: Whether its schema has accepted it before.
        """
        scope.check_open()
        declared = self.schema.key(key)
        name = declared.name or plain_key(key)
        if name in self.cells:
            raise self.mutation(name)
        valid = value if trusted else declared.check(name, value, self.held)
        self.keep(declared, name, valid, scope, is_input=is_input)

    def keep(self, declared: Key, name: str, valid: Any, scope: StepToken, *, is_input: bool = False) -> None:
        """Take a valid value in: it is frozen, claimed, told."""
        kept, thaw = self.frozen(declared, name, valid)
        cell = (kept, thaw, scope.step, is_input)
        # Validating may have taken long enough for the step to end.
        scope.check_open()
        if not self.dispatcher.sinks:
            self.claim(name, cell)
            return
        with self.dispatcher.lock:
            self.claim(name, cell)
            self.dispatcher.emit(KeyWritten(name, self._told(declared, name), scope.step))

    def frozen(self, declared: Key, name: str, valid: Any) -> tuple[Any, Thaw | None]:
        """Return what to keep of a valid value, and what makes a copy of it for a reader, if anything."""
        if declared.shared:
            return valid, None
        try:
            return freeze(valid, repr(name))
        except UncopyableValueError as error:
            # What refuses may tell the secret that it holds.
            if not secrets_in(valid):
                raise
            failure = UncopyableValueError(error.subject, error.type, masked(error.reason, valid))
        raise failure

    def claim(self, name: str, cell: StoredValue) -> None:
        """Claim a key by a cell: one atomic step, which of several threads one wins.

        Raises:
            ContextMutationError: It is written already.
        """
        if self.cells.setdefault(name, cell) is not cell:
            raise self.mutation(name)
        if cell[1] is None:
            self.shared[name] = cell[0]

    def written(self, name: str, branch: str | None = None) -> KeyWritten:
        """Return what sinks are told of a key that is written."""
        return KeyWritten(name, self._told(self.schema.key(name), name), self.cells[name][2], branch=branch)

    def _told(self, declared: Key, name: str) -> Any:
        value = self.read(name)
        return MASK if value is not None and (declared.secret or secrets_in(value)) else value

    def tell_inputs(self, known: Collection[str] = ()) -> None:
        """Tell the sinks what the context was made with, except for what they know from before."""
        keys = [key for key in self.cells if key not in known] if self.dispatcher.sinks else []
        if keys:
            with self.dispatcher.lock:
                told = (KeyWritten(key, self._told(self.schema.key(key), key), None, True) for key in keys)
                self.dispatcher.emit(*told)

    def mutation(self, name: str) -> ContextMutationError:
        """Return the error of writing a key again."""
        _, _, step, is_input = self.cells[name]
        how = f"by step {step!r}" if step else "as an initial value" if is_input else "outside any step"
        return ContextMutationError(name, f"Cannot mutate existing key: {name!r}, written {how}")

    def missing(self, key: object) -> KeyLookupError:
        """Return the error of reading a key that is not written.

        Raises:
            InvalidKeyError: It is no key at all.
            UnknownKeyError: It is not declared.
        """
        declared = self.schema.key(key)
        if declared.name:
            return AbsentKeyError(declared.name, self.schema.name)
        name = plain_key(key)
        return AbsentKeyError(name, None, nearest(name, list(self.cells)))

    def take_all(self, initial: Any, label: str) -> None:
        """Take the initial values and the defaults in, all or none."""
        shape = get_origin(self.schema.shape) or self.schema.shape
        if not self.schema.by_items and isinstance(initial, shape):
            given, trusted = self._of_instance(initial), True
            problems: list[Problem] = []
        elif isinstance(initial, Mapping) or hasattr(initial, "keys"):
            given, problems = _by_key(self.schema, initial)
            trusted = False
        else:
            wanted = "a mapping" if self.schema.by_items else f"a mapping or an instance of {self.schema.name}"
            shown = None if any(key.secret for key in self.schema.keys.values()) else short(initial)
            if isinstance(initial, type):
                wanted += f"; a schema goes in brackets, FrozenContext[{shape_name(initial)}](...)"
            problem = Problem((), f"the initial values should be {wanted}", type(initial).__name__, shown)
            raise InvalidInitialError(label, (problem,))
        failed: CrystallizeError | None = None
        refused: set[str] = set()
        for name in [*self.schema.keys, *(name for name in given if name not in self.schema.keys)]:
            try:
                self._take(name, given, trusted)
            except AbsentKeyError as error:
                if error.key not in refused:
                    problems.append(Problem((name,), error.complaint, "", None))
                refused.add(name)
            except CrystallizeError as error:
                found = getattr(error, "problems", None)
                complaint = getattr(error, "complaint", str(error))
                problems += found if found is not None else [Problem((name,), complaint, "", None)]
                refused.add(name)
                failed = error
        if problems:
            raise InvalidInitialError(label, tuple(problems)) from (failed.__cause__ if failed is not None else None)

    def _take(self, name: str, given: Mapping[str, Any], trusted: bool) -> None:
        declared = self.schema.keys.get(name)
        if name in self.cells:
            if name in given:
                self._check_same(name, given[name], trusted)
        elif name in given:
            self.write(name, given[name], _NOBODY, is_input=True, trusted=trusted)
        elif declared is not None and declared.is_input:
            self.write(name, declared.make_default(self.held), _NOBODY, is_input=True, trusted=True)

    def _check_same(self, name: str, value: Any, trusted: bool) -> None:
        """Check that an initial value is the one that the run began with.

        Raises:
            InvalidValueError: It is another one.
        """
        declared = self.schema.key(name)
        valid = value if trusted else declared.check(name, value, self.held)
        held = self.read(name)
        if not same(valid, held):
            began = "another value" if declared.secret else short(held)
            shown = None if declared.secret else short(value)
            problem = Problem(
                (name,),
                f"is {began} in the run that is resumed (leave it out, or start another)",
                type(value).__name__,
                shown,
            )
            raise InvalidValueError(name, (problem,))

    def _of_instance(self, initial: Any) -> dict[str, Any]:
        """Return the values of an instance of the shape, without outputs that it did not set."""
        written = getattr(initial, "__pydantic_fields_set__", None)
        given = {}
        for name, key in self.schema.keys.items():
            if hasattr(initial, name):
                value = getattr(initial, name)
                default = (key.default or {}).get("default", _NOTHING)
                unset = value is default if written is None else name not in written
                if not (key.output and unset):
                    given[name] = value
        own = _fields_of(type(initial)) - _fields_of(get_origin(self.schema.shape) or self.schema.shape)
        beyond = {name: getattr(initial, name) for name in own}
        return {**given, **beyond, **(getattr(initial, "__pydantic_extra__", None) or {})}


_NO_VALIDATORS: Mapping[str, Callable[[Any], Any]] = MappingProxyType({})
"""Where sinks are to be told every write goes the long way."""
_NOBODY = StepToken()
_NOTHING = object()


def _fields_of(cls: type) -> set[str]:
    return {*getattr(cls, "__pydantic_fields__", ()), *getattr(cls, "__dataclass_fields__", ())}


def _by_key(schema: Schema, initial: Any) -> tuple[dict[str, Any], list[Problem]]:
    """Return initial values by their keys, which a mapping may give by alias."""
    # A subclass of str may have its own idea of equality, and a dict would go by it.
    keys = {key: str.__str__(key) if isinstance(key, str) else key for key in initial.keys()}  # noqa: SIM118 - a context has keys() and is no Mapping
    rest = {plain: initial[key] for key, plain in keys.items()}
    given: dict[str, Any] = {}
    problems: list[Problem] = []
    used: set[Any] = set()
    aliased = {way[0] for key in schema.keys.values() for way in key.aliases}
    for name, key in schema.keys.items():
        own = () if name in aliased and (name,) not in key.aliases else ((name,),)
        ways = [way for way in dict.fromkeys((*key.aliases, *own)) if _follow(rest, way) is not _NOTHING]
        if ways:
            given[name] = _follow(rest, ways[0])
            used |= {way[0] for way in ways}
        if len({way[0] for way in ways}) > 1:
            twice = " and as ".join(repr(way[0]) for way in ways)
            problems.append(Problem((name,), f"is given twice, as {twice}; give it once", "", None))
    for key_, value in rest.items():
        if key_ in used:
            continue
        try:
            schema.key(key_)
            given[plain_key(key_)] = value
        except UnknownKeyError as error:
            near = nearest(error.key, [*schema.keys, *map(str, aliased)])
            problem = UnknownKeyError(error.key, error.schema, near, error.declared)
            problems.append(Problem((error.key,), problem.complaint, "", None))
        except KeyLookupError as error:
            problems.append(Problem((), str(error), "", None))
    return given, problems


def _follow(values: Any, way: tuple[str | int, ...]) -> Any:
    """Follow an alias into nested values; where it leads nowhere, return `_NOTHING`."""
    for part in way:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return _NOTHING
    return values


class FrozenContext(Generic[T_co]):
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

    _default_shape: ClassVar[Any] = _NOTHING

    if TYPE_CHECKING:
        _state: State
        _cells: dict[str, StoredValue]
        _shared: dict[str, Any]
        _validators: Mapping[str, Callable[[Any], Any]]
        _scope: StepToken

        # Attributes that only this class itself sets, which is more than slots can say.
        @property
        def fields(self) -> T_co:
            """The keys, each with its type, as attributes, or as items for a TypedDict or dict."""
            raise

        @property
        def metrics(self) -> FrozenMetrics:
            """What was measured."""
            raise

        @property
        def artifacts(self) -> ArtifactLog:
            """The files that the run made."""
            raise

        @property
        def logger(self) -> logging.Logger:
            """Where to log."""
            raise

        @property
        def provenance(self) -> Provenance:
            """Who read, missed and wrote what."""
            raise

    else:
        __slots__ = {
            "__weakref__": None,
            "_cells": "The state's cells.",
            "_scope": "On whose behalf this handle reads and writes.",
            "_shape": "The shape that an alias handed on.",
            "_shared": "The state's values that need no copying.",
            "_state": "What all handles on one context share.",
            "_validators": "The validators of the keys that can be written the short way.",
            "artifacts": "The files that the run made.",
            "fields": "The keys, each with its type, as attributes, or as items for a TypedDict or dict.",
            "logger": "Where to log.",
            "metrics": "What was measured.",
            "provenance": "Who read, missed and wrote what.",
        }

        def __class_getitem__(cls, shape: Any) -> _Alias:
            shapes = shape if isinstance(shape, tuple) else (shape,)
            if len(shapes) != 1:
                raise SchemaError(cls.__name__, f"it takes one type, not {len(shapes)}")
            return _Alias(cls, shapes)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in vars(cls).get("__orig_bases__", ()):
            if isinstance(base, _Alias) and not isinstance(base.__args__[0], TypeVar):
                cls._default_shape = base.__args__[0]

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
        if hasattr(self, "_state"):
            raise ContextMutationError("__init__", "Cannot make a context anew: what it holds it keeps")
        self._make(initial, logger, metrics, sinks)

    def _make(
        self,
        initial: Any,
        logger: logging.Logger | None,
        metrics: type[MetricSchema] | None,
        sinks: Sequence[Sink],
        restore: Callable[[State], object] | None = None,
        *,
        takes_inputs: bool = True,
    ) -> None:
        """Make the context; one of a run in a file begins with what `restore` puts into its state."""
        shape = getattr(self, "_shape", self._default_shape)
        schema = Schema.untyped() if shape is _NOTHING else Schema.of(shape)
        label = type(self).__name__ if shape is _NOTHING else f"{type(self).__name__}[{shape_name(shape)}]"
        state = State(schema, metrics)
        found = _sinks(sinks)
        if restore is not None:
            restore(state)
        restored = [*state.cells]
        if takes_inputs:
            state.take_all({} if initial is None else initial, label)
        _check(found, state, label)
        for sink in found:
            if isinstance(sink, _Joined):
                sink._join(state)
        # Sinks are told of a context that is made; of one that cannot be they never hear.
        state.dispatcher.sinks = found
        self._attach(state, _NOBODY, logger)
        state.tell_inputs(restored)

    def _attach(self, state: State, scope: StepToken, logger: logging.Logger | None) -> None:
        """Make this a handle on a state."""
        own = state.metrics if scope.step is None else state.metrics._bound(scope)
        kept = state.artifacts if scope.step is None else state.artifacts._bound(scope)
        for name, value in {
            "_state": state,
            "_scope": scope,
            "_cells": state.cells,
            "_shared": state.shared,
            "_validators": state.schema.validators if not state.dispatcher.sinks else _NO_VALIDATORS,
            "metrics": own,
            "artifacts": kept,
            "provenance": state.provenance,
            "logger": logging.getLogger("crystallize") if logger is None else logger,
            "fields": self._make_fields(state),
        }.items():
            object.__setattr__(self, name, value)

    def _make_fields(self, state: State) -> Any:
        return fields_of(self, state.schema, state.shared)

    @overload
    def __getitem__(self: "FrozenContext[dict[str, _V]]", key: str) -> _V: ...
    @overload
    def __getitem__(self, key: str) -> Any: ...
    def __getitem__(self, key: str) -> Any:
        """Return the value of a key. What can be changed comes as a copy of the reader's own.

        Raises:
            UnknownKeyError: The schema does not declare it.
            AbsentKeyError: It is not written yet.
        """
        # A subclass of str may have its own idea of equality, and a dict would go by it. (`type` takes longer.)
        if key.__class__ is str:
            try:
                return self._shared[key]
            except KeyError:
                pass
        return self._read(key)

    def _read(self, key: object) -> Any:
        """Return the value of a key, the long way."""
        state = self._state
        plain = key if type(key) is str else plain_key(key)
        if plain not in state.cells:
            raise state.missing(plain)
        return state.read(plain)

    def __setitem__(self, key: str, value: Any) -> None:
        """Write a key, once.

        Raises:
            UnknownKeyError: The schema does not declare it.
            ContextMutationError: It is written already.
            InvalidValueError: The schema does not allow the value.
            UncopyableValueError: The value cannot be kept apart from whoever else holds it.
            SinkError: It is written, and a sink failed to take note.
        """
        # The short way only succeeds: what is not plainly right the long way meets too, and explains.
        if key.__class__ is str:
            try:
                valid = self._validators[key](value)
            except Exception:
                pass
            else:
                if type(valid) in ATOMIC:
                    # As `claim` does, whose call would take as long again.
                    cell: StoredValue = (valid, None, None, False)
                    if self._cells.setdefault(key, cell) is not cell:
                        raise self._state.mutation(key)
                    self._shared[key] = valid
                elif key in self._cells:
                    raise self._state.mutation(key)
                else:
                    self._state.keep(self._state.schema.key(key), key, valid, self._scope)
                return
        self._state.write(key, value, self._scope)

    def add(self, key: str, value: Any) -> None:
        """Write a key, once: the same as `ctx[key] = value`."""
        self[key] = value

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or a default if it is not written.

        Args:
            key: The key.
            default: What to return if the key is not written.

        Raises:
            UnknownKeyError: The schema does not declare it, so that no default is meant.
        """
        try:
            return self[key]
        except AbsentKeyError:
            return default

    def __contains__(self, key: object) -> bool:
        """Whether a key is written. Asking after what the schema does not declare is allowed."""
        return isinstance(key, str) and str.__str__(key) in self._state.cells

    def __delitem__(self, key: str) -> NoReturn:
        """Refuse: what a context holds it keeps."""
        raise ContextMutationError(key, f"Cannot delete key: {short(key)}; what a context holds it keeps")

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        """Refuse: keys are written through `ctx.fields` or `ctx[...]`."""
        write = f"write through ctx.fields.{name} or ctx[{name!r}]"
        raise ContextMutationError(name, f"Cannot assign attribute {name!r} of a context; {write}")

    def __delattr__(self, name: str) -> NoReturn:
        """Refuse: what a context holds it keeps."""
        raise ContextMutationError(name, f"Cannot delete attribute {name!r} of a context")

    def __len__(self) -> int:
        """Return how many keys are written."""
        self._scope.check_open()
        return len(self._state.cells)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys that are written, in the order of writing."""
        self._scope.check_open()
        return iter(self._state.ordered())

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
        """Return all that is held, in a mapping that cannot be changed."""
        return MappingProxyType({key: self[key] for key in self})

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
            metric_name: A metric, or the name of one.
            value: What was measured, in the metric's unit.
            tags: How it is tagged: a mapping, or an instance of the metric's tag model.

        Raises:
            MetricError: The metric is not declared, or does not allow the value or the tags.
        """
        # What `add` does, whose call would take a tenth of the time.
        kind, metrics = type(metric_name), self.metrics
        add = metrics._adders.get(metric_name) if kind is str or kind is Metric else None
        (add or metrics._adder(metric_name))(value, tags)

    @contextmanager
    def step(self, name: str) -> "Generator[LoggingContext[T_co]]":
        """Open a step: a handle on this context that keeps a record of what is done through it.

        The record is filed in `provenance` when the step ends, also when an exception ends it. A name used
        again counts up: "epoch", "epoch#2". A step opened through a step is named after both: "fit/fold-3".

        Args:
            name: What to call it: printable characters other than `/` and `#`.

        Raises:
            InvalidStepError: The name cannot be a step's.
            FinishedStepError: It finished before the run was resumed.
        """
        # A LoggingContext is a FrozenContext, so its file comes after this one.
        from .logging_context import opened_step

        with opened_step(self, name) as step:
            yield step

    def _described(self) -> str:
        """Return a short text of what is held."""
        state = self._state
        shown = ", ".join(f"{key}={self._shown(key)}" for key in state.ordered()[:20])
        more = f", and {len(state.cells) - 20} more" if len(state.cells) > 20 else ""
        return f"{self._kind}({shown}{more})"

    @property
    def _kind(self) -> str:
        """The name of its class, with the shape that it has."""
        schema = self._state.schema
        return type(self).__name__ if schema is Schema.untyped() else f"{type(self).__name__}[{schema.name}]"

    def _repr_html_(self) -> str:
        """Return a table of the keys, those too that are declared and not written, for notebooks."""
        from .._base.html import as_html  # only notebooks need it

        return as_html(self._table())

    def _table(self) -> Table:
        keys = [*self._state.ordered(), *self._unwritten()]
        step = "" if self._scope.step is None else f" of step {self._scope.step!r}"
        title = f"{self._kind}{step}: {counted(len(self._state.cells), 'key')}"
        return Table.of(title, ("key", "value", "type", "written by", "here"), keys, self._row)

    def _unwritten(self) -> Iterable[str]:
        return self._state.provenance.unwritten

    def _row(self, key: str) -> TableRow:
        cell = self._state.cells.get(key)
        if cell is None:
            return key, "not written yet", None, None, self._done_with(key)
        _, _, step, is_input = cell
        kind = type_name(type(self._state.read(key)))
        return key, self._shown(key), kind, "(at the start)" if is_input else step, self._done_with(key)

    def _done_with(self, key: str) -> str | None:
        """Say what was done with a key through this handle, where that is on record."""
        return None

    def _shown(self, key: str) -> str:
        """Return a value in short, masked where it may be secret."""
        state = self._state
        return MASK if state.schema.key(key).secret else short(state.read(key))

    def __repr__(self) -> str:
        return self._described()

    def _ipython_key_completions_(self) -> list[str]:
        return list(dict.fromkeys([*self._state.schema.keys, *self._state.cells]))

    def __reduce__(self) -> tuple[Any, ...]:
        state = self._state
        with state.dispatcher.lock:  # so that no branch is merged meanwhile, and a copy has all of it, or nothing
            cells = state.cells.copy()
            metrics, artifacts = copy(state.metrics), copy(state.artifacts)
            steps, parts = state.provenance._steps[:], state.provenance._parts.copy()
            forks = {name: Fork(one.number, one.place, _known(one.merged)) for name, one in state.forks.items()}
            branches = state.branch, forks, state.brought.copy()
        values = {key: (kept if thaw is None else thaw(), *who) for key, (kept, thaw, *who) in cells.items()}
        shape = () if state.schema is Schema.untyped() else (state.schema.shape,)
        return _restored, (type(self), self.logger, shape, values, metrics, artifacts, steps, parts, branches)

    def __deepcopy__(self, memo: object) -> Self:
        """Return a copy that is independent, with no sinks. What is `Shared` is handed over."""
        restored, arguments = self.__reduce__()
        copied: Self = restored(*arguments)
        return copied

    def __copy__(self) -> Self:
        """Return a copy that is independent: the same as a deep copy."""
        return self.__deepcopy__(None)


@runtime_checkable
class _Joined(Protocol):
    """A sink that wants to know the context, as a journal does for its schema."""

    def _join(self, state: State, /) -> None: ...


def _sinks(sinks: Any) -> tuple[Sink, ...]:
    if not isinstance(sinks, Iterable):
        raise SchemaError("sinks", f"they are a sequence of sinks, not {short(sinks)}")
    found = tuple(sinks)
    for sink in found:
        if not isinstance(sink, Sink):
            raise SchemaError(type(sink).__name__, "a sink has the methods handle(event) and close()")
    return found


def _check(sinks: tuple[Sink, ...], state: State, label: str) -> None:
    """Ask the sinks what their backends would refuse.

    Raises:
        SinkCheckError: There is something. It names all of it.
    """
    checking = [sink for sink in sinks if isinstance(sink, CheckingSink)]
    if not checking:
        return
    cells = state.cells
    types = key_types(state.schema.shape, dict.fromkeys([*state.schema.keys, *cells]))
    schema = {key: DeclaredKey(type, key in cells and cells[key][3]) for key, type in types.items()}
    told = [(sink.__class__.__name__, one) for sink in checking for one in sink.check(schema, state.metrics.schema)]
    if told:
        raise SinkCheckError(label, tuple(told))


def _known(merged: Merged | None) -> Merged | None:
    """What a copy has to know of a branch that was merged: not what its task returned."""
    return merged and merged._replace(result=None, is_taken=True)


def _restored(
    cls: type[FrozenContext[Any]],
    logger: logging.Logger,
    shape: tuple[Any, ...],
    values: dict[str, tuple[Any, str | None, bool]],
    metrics: FrozenMetrics,
    artifacts: ArtifactLog,
    steps: Sequence[StepRecord],
    parts: Parts[tuple[StepRecord, ...]],
    branches: tuple[str | None, dict[str, Fork], Parts[tuple[str, ...]]],
) -> Any:
    """Make a context of what a pickle or a copy of one holds. Its schema has accepted the values before."""
    state = State(Schema.of(*shape) if shape else Schema.untyped())
    state.branch, state.forks, state.brought = branches
    state.numbers = max((fork.number for fork in state.forks.values()), default=-1)
    for key, (value, step, is_input) in values.items():
        state.write(key, value, StepToken(step), is_input=is_input, trusted=True)
    state.metrics = metrics._copy(state.dispatcher)
    for name, fork in state.forks.items():
        if fork.merged is None:
            state.metrics._store.scopes.reserve(name)
    state.artifacts = artifacts._copy(state.dispatcher)
    state.provenance = Provenance(state.schema, state.cells, state.brought)
    state.provenance._restore(steps, parts)
    ctx: FrozenContext[Any] = object.__new__(cls)
    FrozenContext._attach(ctx, state, _NOBODY, logger)
    return ctx
