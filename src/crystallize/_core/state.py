"""State: all that one context contains, whichever handles there are on it."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from .._base.text import MASK, nearest, short
from ..errors import AbsentKeyError, ContextMutationError, KeyLookupError, UncopyableValueError
from ..events import KeyWritten
from .artifacts import ArtifactLog, ArtifactStore, artifacts_view
from .event_dispatch import EventDispatcher
from .freezing import freeze
from .key import Key, plain_key
from .metric_store import MetricStore
from .metrics import MetricSchema
from .ordered_log import OrderedKeys, Section
from .provenance import Provenance, StepLog, StepRecord
from .schema import Schema
from .secrets import masked, secrets_in
from .series import FrozenMetrics, metrics_view
from .steps import StepRegistry, StepToken
from .stored_value import RawValue, StoredValue


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
    """By metric."""


class StateContents(NamedTuple):
    """The contents of a state in a form that pickles."""

    shape: tuple[Any, ...]
    """The shape of the schema; empty for an untyped context."""
    values: dict[str, tuple[Any, str | None, bool]]
    """The reader's copy of each value, the step that wrote it, and whether it is an input."""
    key_sections: dict[int, Section]
    metrics: MetricStore
    artifacts: ArtifactStore
    steps: tuple[StepRecord, ...]
    step_sections: dict[int, Section]
    extensions: tuple[Extension, ...]


class State:
    """All that one context contains.

    Attributes:
        schema: The declared keys.
        dispatcher: The sinks, and the lock over effect and event.
        values: The values by key, and the one truth about them: a key is claimed by one atomic step.
        shared: The values that need no copying, for fast reads. A key that is missing here may be in `values`.
        keys: The order of the keys.
        metric_store: The metrics, with the registry of steps.
        artifact_store: The artifacts.
        step_log: The records of the steps that have ended.
        foreign_secrets: Secrets in clear of work that was done elsewhere and is not in the context; a text of an error
            may show them.
        extensions: The data of folders above the core, by their classes.
    """

    __slots__ = (
        *("artifact_store", "artifacts", "dispatcher", "extensions", "foreign_secrets", "keys", "metric_store"),
        *("metrics", "provenance", "schema", "shared", "step_log", "values"),
    )

    def __init__(
        self, schema: Schema, metrics: type[MetricSchema] | None = None, registry: StepRegistry | None = None
    ) -> None:
        self.schema = schema
        self.dispatcher: EventDispatcher = EventDispatcher()
        self.values: dict[str, RawValue] = {}
        self.shared: dict[str, Any] = {}
        self.foreign_secrets: list[str | bytes] = []
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
        self.provenance: Provenance = Provenance(self.schema, self.values, self.keys, self.step_log)

    def contents(self) -> StateContents:
        """Return the contents of this moment, for a copy or a pickle."""
        with self.dispatcher.lock:
            values, sections = self.values.copy(), self.keys.copy_sections()
            metrics, artifacts = self.metric_store.copy(), self.artifact_store.copy()
            steps, step_sections = tuple(self.step_log.own), self.step_log.copy_sections()
            extensions = tuple(extension.copied() for extension in self.extensions.values())
        stored = {key: StoredValue._make(raw) for key, raw in values.items()}
        read = {key: (value.read(), value.step, value.is_input) for key, value in stored.items()}
        shape = () if self.schema is Schema.untyped() else (self.schema.shape,)
        return StateContents(shape, read, sections, metrics, artifacts, steps, step_sections, extensions)

    @classmethod
    def restored(cls, contents: StateContents) -> "State":
        """Return a state with these contents, without sinks. Its schema has accepted the values before."""
        state = cls(Schema.of(*contents.shape) if contents.shape else Schema.untyped())
        for store in (contents.metrics, contents.artifacts):
            store.dispatcher = state.dispatcher
        steps = StepLog(contents.steps, contents.step_sections)
        state._fill(contents.metrics, contents.artifacts, steps, contents.key_sections)
        state.extensions = {type(extension): extension for extension in contents.extensions}
        state.write_all(contents.values)
        return state

    def write_all(self, values: Mapping[str, tuple[Any, str | None, bool]]) -> None:
        """Write values that the schema has accepted before, each with its step and whether it is an input."""
        for key, (value, step, is_input) in values.items():
            self.write(key, value, StepToken(step), is_input=is_input, trusted=True)

    @property
    def registry(self) -> StepRegistry:
        """The steps that were opened."""
        return self.metric_store.registry

    def marks(self) -> LogMarks:
        """Return the marks of this moment."""
        store = self.metric_store
        return LogMarks(self.keys.mark(), self.step_log.mark(), self.artifact_store.order.mark(), store.marks())

    def stored(self, key: str) -> StoredValue:
        """Return a value that is written, as it is kept."""
        return StoredValue._make(self.values[key])

    def read(self, key: str) -> Any:
        """Return the reader's copy of a value that is written."""
        kept, thaw, _, _ = self.values[key]  # as `StoredValue.read`, whose making would take a third of the time
        return kept if thaw is None else thaw()

    def short_value(self, key: str) -> str:
        """Return a value that is written in short, masked if it may be secret."""
        return MASK if self.schema.key(key).secret else short(self.read(key))

    def held(self) -> dict[str, Any]:
        """Return all values by key, for a validator or a reader to look at."""
        return {key: self.read(key) for key in self.keys.in_order()}

    def secrets(self) -> list[str | bytes]:
        """Return the secrets, in clear, that no text may show."""
        return [*secrets_in(self.held()), *self.foreign_secrets]

    def write(
        self, key: object, value: Any, token: StepToken, *, is_input: bool = False, trusted: bool = False
    ) -> None:
        """Write a key: look it up, validate, freeze, claim, emit. Before the claim nothing changes.

        An input is written while the context is made. A trusted value was accepted by the schema before.
        """
        token.check_open()
        declared = self.schema.key(key)
        name = declared.name or plain_key(key)
        if name in self.values:
            raise self.mutation_error(name)
        valid = value if trusted else declared.check(name, value, self.held)
        self.keep(declared, name, valid, token, is_input=is_input)

    def keep(self, declared: Key, name: str, valid: Any, token: StepToken, *, is_input: bool = False) -> None:
        """Keep a valid value: freeze it, claim the key, emit the event."""
        kept, thaw = self.freeze(declared, name, valid)
        stored: RawValue = (kept, thaw, token.step, is_input)
        # Validating may have taken long enough for the step to end.
        token.check_open()
        if not self.dispatcher.sinks:
            self.claim(name, stored)
            return
        with self.dispatcher.lock:
            self.claim(name, stored)
            self.dispatcher.emit(self.key_event(name))

    def freeze(self, declared: Key, name: str, valid: Any) -> tuple[Any, Any]:
        """Freeze a valid value of a key."""
        if declared.shared:
            return valid, None
        try:
            return freeze(valid, repr(name))
        except UncopyableValueError as error:
            # The text of what cannot be copied may show the secret in it.
            if not secrets_in(valid):
                raise
            failure = UncopyableValueError(error.subject, error.type, masked(error.reason, valid))
        raise failure

    def claim(self, name: str, stored: RawValue) -> None:
        """Claim a key in one atomic step; of several threads one wins, and the others get ContextMutationError."""
        if self.values.setdefault(name, stored) is not stored:
            raise self.mutation_error(name)
        if stored[1] is None:
            self.shared[name] = stored[0]

    def release(self, values: Mapping[str, RawValue]) -> None:
        """Undo claims, of those among these values that have their keys."""
        for name, stored in values.items():
            if self.values.get(name) is stored:
                self.shared.pop(name, None)
                del self.values[name]

    def key_event(self, name: str, source: str | None = None) -> KeyWritten:
        """Return the event of a key that is written, of work that was done elsewhere with its source."""
        value = self.read(name)
        is_secret = value is not None and (self.schema.key(name).secret or bool(secrets_in(value)))
        stored = self.stored(name)
        return KeyWritten(name, MASK if is_secret else value, stored.step, stored.is_input, source)

    def mutation_error(self, name: str) -> ContextMutationError:
        """Return the error of writing a key again."""
        stored = self.stored(name)
        how = (
            f"by step {stored.step!r}"
            if stored.step
            else "as an initial value"
            if stored.is_input
            else "outside any step"
        )
        return ContextMutationError(name, f"Cannot mutate existing key: {name!r}, written {how}")

    def missing_error(self, key: object) -> KeyLookupError:
        """Return the error of reading a key that is not written; raise it if the name is no key at all."""
        declared = self.schema.key(key)
        if declared.name:
            return AbsentKeyError(declared.name, self.schema.name)
        name = plain_key(key)
        return AbsentKeyError(name, None, nearest(name, list(self.values)))
