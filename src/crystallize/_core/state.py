"""The state of a context: all its data, which every handle on the context shares."""

from collections.abc import Mapping
from copy import copy
from functools import partial
from typing import Any, NamedTuple, Protocol

from .._base.text import MASK, nearest, one_line, short
from .._base.type_hints import key_types
from ..errors import (
    AbsentKeyError,
    ContextMutationError,
    CrystallizeError,
    LiveValueError,
    LostKeyError,
    UncopyableValueError,
)
from ..events import KeyWritten
from .artifacts import ArtifactLog, ArtifactStore, artifacts_view
from .event_dispatch import EventDispatcher
from .freezing import freeze
from .immutable_types import ATOMIC
from .key import Key, plain_key, shape_name
from .live_types import refuse_live, warn_of_live
from .metric_store import MetricStore
from .metrics import MetricSchema
from .ordered_log import OrderedKeys, Section
from .placed_values import PlacedValue, place
from .provenance import NodeOrders, Provenance, StepRecord
from .schema import Schema
from .secrets import masked, secrets_in
from .series import FrozenMetrics, metrics_view
from .size_limit import check_value_size
from .step_log import StepLog
from .steps import StepRegistry, StepToken, repetition_remark
from .stored_value import Deferred, LostValue, RawValue, StoredValue, Unread


class Extension(Protocol):
    """Data that a folder above the core keeps in the state of a context, as the registry of its branches."""

    def copied(self) -> "Extension":
        """Return the data for a copy of the context; it pickles."""
        ...


class LogMarks(NamedTuple):
    """The marks of all logs of a context at one moment."""

    keys: int
    steps: int
    artifacts: int
    points: Mapping[str, int]
    """The marks of the points by metric."""


class StateContents(NamedTuple):
    """The contents of a state in a form that can be pickled."""

    schema: Schema
    values: dict[str, tuple[Any, str | None, bool]]
    """The reader's copy of each value, the step that wrote it, and whether it is an input."""
    key_sections: dict[int, Section]
    metrics: MetricStore
    artifacts: ArtifactStore
    steps: tuple[StepRecord, ...]
    step_sections: dict[int, Section]
    extensions: tuple[Extension, ...]


class State:
    """All data of one context.

    Attributes:
        schema: The declared keys.
        dispatcher: The sinks, and the lock that covers each change and its event.
        values: The values by key. A key is written if it is in here; it is added in one atomic step.
        shared: The values that need no copying, for fast reads. A key that is missing here may be in `values`.
        keys: The order of the keys.
        metric_store: The metrics, with the registry of steps.
        artifact_store: The artifacts.
        step_log: The records of the steps that have ended.
        foreign_secrets: Secrets in clear text from work that was done elsewhere, which errors may contain.
        extensions: The data of folders above the core, by their classes.
        lost: The values that were written in an earlier process, and that could not be restored.
        unsearched: The keys whose values may contain secrets, and were not searched yet.
        releases: The number of calls of `release` that removed keys.
        logs_steps: Whether the start and the end of each step are logged.
    """

    __slots__ = (
        *("_live", "_secrets", "artifact_store", "artifacts", "dispatcher", "extensions", "foreign_secrets", "keys"),
        *("logs_steps", "lost", "metric_store", "metrics", "provenance", "releases", "schema", "shared", "step_log"),
        *("unsearched", "values"),
    )

    def __init__(
        self, schema: Schema, metrics: type[MetricSchema] | None = None, registry: StepRegistry | None = None
    ) -> None:
        self.schema = schema
        self.dispatcher: EventDispatcher = EventDispatcher()
        self.values: dict[str, RawValue] = {}
        self.shared: dict[str, Any] = {}
        self.releases: int = 0
        self.foreign_secrets: list[str | bytes] = []
        self.unsearched: list[str] = []
        self.lost: dict[str, LostValue] = {}
        self.logs_steps = True
        self._secrets: list[str | bytes] = []
        self._live: list[str] = []  # the keys whose values are shared, and so may change
        self.extensions: dict[type, Extension] = {}
        self._fill(MetricStore(metrics, self.dispatcher, registry), ArtifactStore(dispatcher=self.dispatcher))

    def _fill(
        self,
        metrics: MetricStore,
        artifacts: ArtifactStore,
        steps: StepLog | None = None,
        key_sections: dict[int, Section] | None = None,
    ) -> None:
        self.metric_store: MetricStore = metrics
        self.artifact_store: ArtifactStore = artifacts
        self.metrics: FrozenMetrics = metrics_view(metrics)
        self.artifacts: ArtifactLog = artifacts_view(artifacts)
        self.keys: OrderedKeys = OrderedKeys(self.values, key_sections)
        self.step_log: StepLog = steps or StepLog()
        orders = NodeOrders(self.keys, artifacts.in_order)
        self.provenance: Provenance = Provenance(self.schema, self.values, orders, self.step_log)

    def contents(self) -> StateContents:
        """Return the current contents, for a copy or a pickle."""
        values, sections, metrics, artifacts, steps, step_sections, extensions = self.dispatcher.lock.run(self._copies)
        stored = {key: StoredValue._make(raw) for key, raw in values.items()}
        read = {key: (value.read(), value.step, value.is_input) for key, value in stored.items()}
        return StateContents(self.schema, read, sections, metrics, artifacts, steps, step_sections, extensions)

    def _copies(self) -> tuple[Any, ...]:
        return (
            *(self.values.copy(), self.keys.copy_sections(), self.metric_store.copy(), self.artifact_store.copy()),
            *(tuple(self.step_log.own), self.step_log.copy_sections()),
            tuple(extension.copied() for extension in self.extensions.values()),
        )

    @classmethod
    def restored(cls, contents: StateContents) -> "State":
        """Return a state with these contents, without sinks. The values are not validated again."""
        state = cls(contents.schema)
        for store in (contents.metrics, contents.artifacts):
            store.dispatcher = state.dispatcher
        steps = StepLog(contents.steps, contents.step_sections)
        state._fill(contents.metrics, contents.artifacts, steps, contents.key_sections)
        state.extensions = {type(extension): extension for extension in contents.extensions}
        state.write_all(contents.values)
        return state

    def write_all(self, values: Mapping[str, tuple[Any, str | None, bool]]) -> None:
        """Write values without validation, each with its step and whether it is an input; it may be `Unread`."""
        for key, (value, step, is_input) in values.items():
            if type(value) is Unread:
                self.unsearched.append(key)
                self.claim(key, (None, self._deferred(key, value), step, is_input))
            else:
                self.write(key, value, StepToken(step), is_input=is_input, trusted=True)

    @property
    def registry(self) -> StepRegistry:
        """The steps that were opened."""
        return self.metric_store.registry

    def marks(self) -> LogMarks:
        """Return the current marks."""
        store = self.metric_store
        return LogMarks(self.keys.mark(), self.step_log.mark(), self.artifact_store.order.mark(), store.marks())

    def stored(self, key: str) -> StoredValue:
        """Return the stored value of a key that is written."""
        return StoredValue._make(self.values[key])

    def read(self, key: str) -> Any:
        """Return a reader's copy of the value of a key that is written."""
        kept, thaw, _, _ = self.values[key]  # as `StoredValue.read`, inlined for speed
        return kept if thaw is None else thaw()

    def peek(self, key: str) -> Any:
        """Return what `read` returns, without keeping a value that was not read before."""
        thaw = self.values[key][1]
        return thaw.peek() if isinstance(thaw, Deferred) else self.read(key)

    def short_value(self, key: str) -> str:
        """Return a short text of a value, masked if the value may be secret; the error if it cannot be read."""
        if self.schema.key(key).secret:
            return MASK
        try:
            return short(self.peek(key))
        except CrystallizeError as error:
            return f"<{one_line(str(error))}>"

    def held(self) -> dict[str, Any]:
        """Return readers' copies of all values by key."""
        return {key: self.read(key) for key in self.keys.in_order()}

    def secrets(self) -> list[str | bytes]:
        """Return the secrets, in clear text, that no text may contain."""
        return self.dispatcher.lock.run(self._search_secrets)

    def _search_secrets(self) -> list[str | bytes]:
        # Many steps may fail. So a value is searched once, unless it is shared.
        keys = self.unsearched[:]
        # A value that nobody has read cannot be in a text.
        known = {key: raw[1] for key in keys if (raw := self.values.get(key)) is not None}
        new = {key: self.schema.key(key).shared for key, thaw in known.items() if not _is_unread(thaw)}
        self._secrets += secrets_in([self.read(key) for key, is_shared in new.items() if not is_shared])
        self._live += [key for key, is_shared in new.items() if is_shared]
        # The others are just being written, or were not read yet.
        self.unsearched[: len(keys)] = [key for key in keys if key not in new]
        found = secrets_in([self.read(key) for key in self._live if key in self.values])
        return [*self._secrets, *found, *self.foreign_secrets]

    def write(self, key: Any, value: Any, token: StepToken, *, is_input: bool = False, trusted: bool = False) -> None:
        """Write a key: look it up, validate, freeze, claim, emit. Nothing changes before the claim.

        `is_input`: the context is being made. `trusted`: the schema has already accepted the value.
        """
        token.check_open()
        declared = self.schema.key(key)
        name = declared.name or str.__str__(key)
        if name in self.values:
            raise self.mutation_error(name, token.step)
        valid = value if trusted else declared.check(name, value, self.held)
        self.keep(declared, name, valid, token, is_input=is_input)

    def keep(self, declared: Key, name: str, valid: Any, token: StepToken, *, is_input: bool = False) -> None:
        """Store a valid value: freeze it, claim the key, emit the event."""
        if name in self.values:
            raise self.mutation_error(name, token.step)
        kept, thaw, placed = valid, None, None  # as `freeze` returns an immutable value
        if not (is_atomic := type(valid) in ATOMIC):
            placed = place(declared, name, valid, self.artifact_store.objects, self.dispatcher.sinks)
            kept, thaw = self.freeze(declared, name, valid) if placed is None else (None, self._deferred(name, placed))
        stored: RawValue = (kept, thaw, token.step, is_input)
        # Checked again, since the step may have ended during the validation.
        token.check_open()
        if not is_atomic:
            # Before the claim, so that no moment is left at which a text could contain its secrets.
            self.unsearched.append(name)
        if not self.dispatcher.sinks:
            self.claim(name, stored)
            return
        check_value_size(self.dispatcher.sinks, name, declared, valid)
        event = _event_of(declared, name, StoredValue._make(stored), placed=placed)
        self.dispatcher.commit(
            partial(self.claim, name, stored), lambda: self.values.get(name) is stored, lambda: (event,)
        )

    def _deferred(self, name: str, value: Unread | PlacedValue) -> Deferred:
        return Deferred(value.read, partial(self.freeze, self.schema.key(name), name, is_owned=value.is_owned))

    def freeze(self, declared: Key, name: str, valid: Any, *, is_owned: bool = False) -> tuple[Any, Any]:
        """Freeze a valid value of a key. `is_owned`: nobody else has it, and its buffers are immutable."""
        if declared.shared or type(valid) in ATOMIC:
            return valid, None
        try:
            return freeze(valid, repr(name), partial(self._meet_live, name, valid), is_owned=is_owned)
        except LiveValueError:
            raise  # its text has names of types alone
        except UncopyableValueError as error:
            # The reason may contain the text of a value with a secret in it.
            if not secrets_in(valid):
                raise
            failure = UncopyableValueError(error.subject, error.type, masked(error.reason, valid))
        raise failure

    def _meet_live(self, name: str, value: Any, cls: type) -> None:
        """Raise LiveValueError for a live object in a value, or warn if the context has no schema."""
        if self.schema is Schema.untyped():
            warn_of_live(repr(name), cls)
            return
        # The values of a dict cannot be of any type, as Pydantic has no config for it.
        declaration = _shared_key(self.schema, name, value) if self.schema.keys else "dict[str, Annotated[Any, Shared]]"
        refuse_live(repr(name), value, cls, name=name, declaration=declaration)

    def claim(self, name: str, stored: RawValue) -> None:
        """Claim a key in one atomic step. If several threads try, all but one raise ContextMutationError."""
        if self.values.setdefault(name, stored) is not stored:
            raise self.mutation_error(name, stored[2])
        if stored[1] is None:
            self.shared[name] = stored[0]

    def release(self, values: Mapping[str, RawValue]) -> None:
        """Undo the claims of these values, except for keys that others have claimed."""
        try:
            for name, stored in values.items():
                if self.values.get(name) is stored:
                    self.shared.pop(name, None)
                    del self.values[name]
        finally:
            # Last, so that keys that are copied in the midst of this are not taken for those that are left.
            self.releases += 1

    def key_event(self, name: str, source: str | None = None) -> KeyWritten:
        """Return the event of a written key; `source` is set for work that was done elsewhere."""
        return _event_of(self.schema.key(name), name, self.stored(name), source)

    def mutation_error(self, name: str, step: str | None = None) -> ContextMutationError:
        """Return the error for writing a key again, in this step."""
        stored = self.stored(name)
        how = "as an initial value" if stored.is_input else "outside any step"
        if stored.step:
            how = f"by step {stored.step!r}{repetition_remark(step, stored.step)}"
        return ContextMutationError(name, f"Cannot mutate existing key: {name!r}, written {how}")

    def missing_error(self, key: object) -> CrystallizeError:
        """Return the error for reading a key that is not written; raise the error of an invalid or undeclared key."""
        declared = self.schema.key(key)
        name = declared.name or plain_key(key)
        if (lost := self.lost.get(name)) is not None:
            return LostKeyError(name, *lost[:3]) if lost.cause is None else copy(lost.cause)
        if declared.name:
            return AbsentKeyError(name, self.schema.name)
        return AbsentKeyError(name, None, nearest(name, list(self.values)))


def _is_unread(thaw: object) -> bool:
    return isinstance(thaw, Deferred) and not thaw.is_read


def _shared_key(schema: Schema, name: str, value: Any) -> str:
    """Return the declaration of a key as the user wrote it, with Shared."""
    hint = key_types(schema.plain, [name])[name]
    kind = type(value).__name__ if hint is Any else shape_name(hint)
    return f"{name}: Annotated[{kind}, {'Output, ' if schema.key(name).output else ''}Shared]"


def _event_of(
    declared: Key, name: str, stored: StoredValue, source: str | None = None, placed: PlacedValue | None = None
) -> KeyWritten:
    value = stored.read() if placed is None else placed
    is_secret = placed is None and value is not None and (declared.secret or bool(secrets_in(value)))
    return KeyWritten(name, MASK if is_secret else value, stored.step, stored.is_input, source)
