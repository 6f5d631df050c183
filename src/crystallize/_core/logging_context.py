"""LoggingContext: another handle on a context, which keeps a record of every read."""

import logging
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .._base.text import MASK, legible, short
from ..errors import InvalidStepError, KeyLookupError, SchemaError, SinkError
from ..events import StepStarted
from .context import FrozenContext, T_co
from .fields_view import AttributeFields, noting_fields_of
from .freezing import without
from .point_log import StepToken
from .provenance import StepRecord
from .schema import plain_key

__all__ = ["LoggingContext", "Opening", "closed", "opened_step", "step_path", "told_of"]

_T = TypeVar("_T")
_DEBUG = logging.DEBUG


@dataclass(slots=True)
class _Noted:
    """What was done through one handle; each key once, in the order of its first time."""

    reads: dict[str, None] = field(default_factory=dict)
    """The keys alone, since their values cannot change."""
    absent: dict[str, None] = field(default_factory=dict)
    writes: dict[str, None] = field(default_factory=dict)
    watched: "LoggingContext[Any] | None" = None
    """The handle that this one is a proxy of, if that one notes reads too."""


class LoggingContext(FrozenContext[T_co]):
    """A proxy of a context that records every key read through it, and logs each read at DEBUG.

    It is a `FrozenContext` itself, with the same data, metrics and artifacts. `ctx.step(name)` makes one whose
    record is filed in `ctx.provenance`; made by hand, it is a way to watch a piece of code.

    Example:
        >>> log = LoggingContext(FrozenContext({"lr": 0.1}))
        >>> log["lr"], log.get("epochs", 3)
        (0.1, 3)
        >>> log.reads, log.absent
        ({'lr': 0.1}, {'epochs'})
    """

    __slots__ = {"_noted": "What was done through this handle.", "_reads": "The keys read; in `_noted` too."}

    if TYPE_CHECKING:
        _noted: "_Noted"
        _reads: dict[str, None]

    def __init__(self, ctx: FrozenContext[T_co], logger: logging.Logger | None = None) -> None:
        """Watch a context.

        Args:
            ctx: The context; a `LoggingContext` is one too, and records what is read through this one as well.
            logger: Where to log; by default where `ctx` does.
        """
        if not isinstance(ctx, FrozenContext):
            raise SchemaError(type(self).__name__, f"it watches a FrozenContext, not {short(ctx)}")
        self._open(ctx._state, ctx._scope, logger or ctx.logger)
        if isinstance(ctx, LoggingContext):
            self._noted.watched = ctx
            self._end_short_reads()
        object.__setattr__(self, "metrics", ctx.metrics)
        object.__setattr__(self, "artifacts", ctx.artifacts)

    def _open(self, state: Any, scope: StepToken, logger: logging.Logger) -> None:
        noted = _Noted()
        object.__setattr__(self, "_noted", noted)
        object.__setattr__(self, "_reads", noted.reads)
        self._attach(state, scope, logger)

    def _end_short_reads(self) -> None:
        """Send every read the long way from now on."""
        object.__setattr__(self, "_shared", {})

    def _make_fields(self, state: Any) -> Any:
        return noting_fields_of(self, state.schema, _reader)

    @property
    def reads(self) -> dict[str, Any]:
        """Each key read with its value, in the order of first reading."""
        return {key: self._state.read(key) for key in list(self._reads)}

    @property
    def absent(self) -> set[str]:
        """The keys looked for and not found, whether a default was used, an `in` answered no, or an error came."""
        return set(self._noted.absent)

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key, note that it was read, and log that at DEBUG.

        Raises:
            UnknownKeyError: The schema does not declare it.
            AbsentKeyError: It is not written yet.
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
        return self._read_long(key)

    def _read_long(self, key: object) -> Any:
        """Return the value of a key, the long way."""
        self._scope.check_open()
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
        if self._noted.watched is not None:
            self._noted.watched._note(key, value)

    def _log(self, key: str, value: Any) -> None:
        shown = MASK if self._state.schema.key(key).secret else short(value)
        self.logger.debug("Read %s -> %s", key, shown)

    def _note_absent(self, key: str) -> None:
        self._noted.absent[key] = None
        if self._noted.watched is not None:
            self._noted.watched._note_absent(key)

    def __setitem__(self, key: str, value: Any) -> None:
        """Write a key, once, and note that this handle wrote it; see `FrozenContext`."""
        # One with the end of the step, so that what is written is in its record.
        with self._state.dispatcher.lock:
            try:
                self._state.write(key, value, self._scope)
            except SinkError:
                self._note_write(str.__str__(key))  # it is written all the same
                raise
            self._note_write(str.__str__(key))

    def _note_write(self, key: str) -> None:
        self._noted.writes[key] = None
        if self._noted.watched is not None:
            self._noted.watched._note_write(key)

    def __contains__(self, key: object) -> bool:
        """Whether a key is written. If not, that is noted."""
        self._scope.check_open()
        found = super().__contains__(key)
        if not found and isinstance(key, str):
            self._note_absent(str.__str__(key))
        return found

    def _unwritten(self) -> Iterable[str]:
        missed = (key for key in list(self._noted.absent) if key not in self._state.cells)
        return dict.fromkeys((*super()._unwritten(), *missed))

    def _done_with(self, key: str) -> str:
        noted = self._noted
        found = {"read": noted.reads, "not found": noted.absent, "written": noted.writes}
        return ", ".join(what for what, keys in found.items() if key in keys)

    def __reduce__(self) -> tuple[Any, ...]:
        restored, arguments = super().__reduce__()
        noted = [list(keys) for keys in (self._noted.reads, self._noted.absent, self._noted.writes)]
        scope = (self._scope.step, self._scope.is_open)
        return _restored_log, (type(self), restored, (FrozenContext, *arguments[1:]), scope, noted)


def _reader(key: str) -> Callable[[AttributeFields], Any]:
    """Return what reads a key through the view of a `LoggingContext`: as its `[]` does, in one call less."""

    def read(view: AttributeFields) -> Any:
        log: Any = view._crystallize_owner
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


def _restored_log(cls: type[LoggingContext[Any]], restored: Any, arguments: Any, was: Any, noted: Any) -> Any:
    ctx: FrozenContext[Any] = restored(*arguments)
    log: LoggingContext[Any] = object.__new__(cls)
    step, is_open = was
    scope = ctx.metrics._store.scopes.find(step)
    LoggingContext._open(log, ctx._state, scope, ctx.logger)
    reads, absent, writes = map(dict.fromkeys, noted)
    object.__setattr__(log, "_noted", _Noted(reads, absent, writes))
    object.__setattr__(log, "_reads", reads)
    if not is_open:
        scope.close()
        log._end_short_reads()
    return log


@contextmanager
def opened_step(ctx: FrozenContext[_T], name: str) -> Generator[LoggingContext[_T]]:
    """Open a step on a context and file its record when it ends.

    Args:
        ctx: The context, or the step that this one is within.
        name: What to call it.

    Raises:
        InvalidStepError: The name cannot be a step's.
        FinishedStepError: It finished before the run was resumed.
        StepClosedError: `ctx` is a step that has ended.
    """
    ctx._scope.check_open()
    state = ctx._state
    started, clock = datetime.now(UTC), perf_counter()
    with state.dispatcher.lock:
        scope = state.metrics._store.scopes.open(step_path(ctx, name))
        since = Opening(started, clock, scope.number, state.metrics._lengths())
    step: LoggingContext[Any] = object.__new__(LoggingContext)
    step._open(state, scope, ctx.logger)
    error: str | None = None
    try:
        if state.dispatcher.sinks:
            with state.dispatcher.lock:
                state.dispatcher.emit(StepStarted(str(scope.step), since.started))
        yield step
    except BaseException as raised:
        error = told_of(raised, ctx._state.secrets())
        raise
    finally:
        with state.dispatcher.lock:
            record = closed(step, since, error)
            state.provenance._file(record)
            if state.dispatcher.sinks:
                state.dispatcher.emit(record.as_event())


class Opening(NamedTuple):
    """When a step was opened."""

    started: datetime
    """In UTC."""
    clock: float
    """By `perf_counter`, which nobody sets."""
    number: int
    """That of its scope."""
    counted: Mapping[str, int]
    """How many points there were, by metric."""


def closed(step: LoggingContext[Any], since: Opening, error: str | None) -> StepRecord:
    """End a step; whoever calls has the lock over effect and event.

    Args:
        step: The handle that it was used through.
        since: When it was opened.
        error: What ended it, if an exception did.

    Returns:
        The record of what was done through it.
    """
    state, scope = step._state, step._scope
    scope.close()
    step._end_short_reads()
    return StepRecord(
        name=str(scope.step),
        reads=tuple(step._reads),
        absent=tuple(step._noted.absent),
        writes=tuple(step._noted.writes),
        points=MappingProxyType(state.metrics._counts(since.number, since.counted)),
        artifacts=tuple(one.name for one in state.artifacts if one.step == scope.step),
        started=since.started,
        ended=since.started + timedelta(seconds=perf_counter() - since.clock),
        error=error,
    )


def step_path(ctx: FrozenContext[Any], name: object) -> str:
    """Return the full name of a step within whatever a handle stands for: "fit/fold-3".

    Raises:
        InvalidStepError: The name cannot be a step's.
    """
    outer, own = ctx._scope.step, _step_name(name)
    return own if outer is None else f"{outer}/{own}"


_UNFIT = re.compile(r"[/#]")


def _step_name(name: object) -> str:
    """Return a step's name as a plain `str`.

    Raises:
        InvalidStepError: It cannot be one.
    """
    try:
        plain = plain_key(name)
    except KeyLookupError:
        raise InvalidStepError(short(name), "it should be a str of 1 to 255 printable characters") from None
    if _UNFIT.search(plain):
        raise InvalidStepError(short(plain), "'/' stands between a step and its inner steps, '#' before a count")
    return plain


def told_of(raised: BaseException, secrets: Iterable[str | bytes]) -> str:
    """Return an exception as text, without some secrets, given in clear."""
    try:
        text = str(raised)
    except Exception as error:  # the text of the exception is at fault, and not what was going on
        text = f"its text raises {type(error).__name__}"
    name = type(raised).__name__
    return without(legible(f"{name}: {text}" if text else name), secrets)
