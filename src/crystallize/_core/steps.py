"""Steps: their names and numbers, and notes of the reads and writes through one handle."""

import logging
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from .._base.masking import without
from .._base.moments import after
from .._base.signal_handlers import reraise_from_handler
from .._base.text import cut, lasted, legible, one_line, short
from ..errors import FinishedStepError, InvalidStepError, KeyLookupError, StepClosedError
from .key import plain_key
from .name_index import NameIndex
from .provenance import MetricRead, StepRecord

if TYPE_CHECKING:
    from .state import State


class StepToken:
    """The step that a handle reads and writes for, or no step.

    Attributes:
        step: The step's name; None outside any step.
        number: The number of the step in stored points. It is deleted when the step is closed, so that every fast path
            that reads it fails from then on.
        marks: The marks of the metrics that the step may have recorded, before its first point.
        notes: The notes of the step; None outside any step.
    """

    __slots__ = ("marks", "notes", "number", "step")

    def __init__(self, step: str | None = None, number: int = 0) -> None:
        self.step: str | None = step
        self.number: int = number
        self.marks: dict[str, int] = {}
        self.notes: StepNotes | None = None

    @property
    def is_open(self) -> bool:
        """Whether reads and writes are still allowed."""
        return hasattr(self, "number")

    def check_open(self) -> None:
        """Raise StepClosedError if the step has ended."""
        if not hasattr(self, "number"):
            raise StepClosedError(str(self.step))

    def note_blind(self, seen: str) -> None:
        """Note in the step, if there is one, a thing without a digest that its code has seen."""
        if self.notes is not None:
            self.notes.blind[seen] = None

    def open_number(self) -> int:
        """Return the number; raise StepClosedError if the step has ended."""
        try:
            return self.number
        except AttributeError:
            raise StepClosedError(str(self.step)) from None

    def close(self) -> None:
        """End the step. Ending it again does nothing."""
        if self.is_open:
            del self.number


class StepRegistry:
    """The steps of one context by number: 0 is no step; the steps follow in the order of opening.

    A caller that changes it holds the dispatcher's lock.

    Attributes:
        names: The names of the steps, after None for no step.
    """

    __slots__ = ("_condensed", "_finished", "_uses", "names")

    def __init__(self, names: Iterable[str | None] = (None,)) -> None:
        """Make a registry of steps that were already opened."""
        self._finished: frozenset[str] = frozenset()
        self.restore(names)

    def restore(self, names: Iterable[str | None], finished: Iterable[str] = ()) -> None:
        """Restore the steps of another process. The finished ones cannot be opened again."""
        self.names: list[str | None] = list(names)
        self._finished = frozenset(finished)
        self._uses: dict[str, int] = {}
        self._condensed: NameIndex[bool] = NameIndex()
        """The names that are reserved once, and are not among the others."""
        for name in self.names:
            if name is not None:
                path, number = unnumbered(name)
                self._uses[path] = max(number, self._uses.get(path, 0))

    def copy(self) -> "StepRegistry":
        """Return an independent registry with the same steps and reserved names, in which any step can be opened."""
        return _restored_registry(*self._contents())

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored_registry, self._contents()

    def _contents(self) -> tuple[list[str | None], dict[str, int], NameIndex[bool]]:
        return self.names[:], self._uses.copy(), self._condensed.mapped(bool)

    def open(self, path: str) -> StepToken:
        """Open a step. A name that is used again gets a number: "epoch", "epoch#2".

        Raise FinishedStepError if the step finished before the context was made.
        """
        if path in self._finished:
            raise FinishedStepError(path)
        self.reserve(path)
        uses = self._uses[path]
        return self._opened(numbered(path, uses))

    def open_task(self, path: str, number: int) -> StepToken:
        """Open the step of a task that is called the n-th time under this name.

        Raise FinishedStepError if that step finished before the context was made, by other means.
        """
        name, uses = numbered(path, number), self._uses.get(path, 0)
        if name in self._finished:
            raise FinishedStepError(name)
        if number > uses:
            self._uses[path] = number
        elif name in self.names:
            # A step that was opened by `ctx.step` has the name.
            self._uses[path] = uses + 1
            name = numbered(path, uses + 1)
        return self._opened(name)

    def reopen(self, name: str) -> StepToken:
        """Open the step of a task that finished before the context was made, and runs again."""
        self._finished -= {name}
        return self._opened(name)

    def _opened(self, name: str) -> StepToken:
        self.names.append(name)
        number = len(self.names) - 1
        while self.names[number] != name:  # a signal handler may have opened other steps since
            number -= 1
        return StepToken(name, number)

    def reserve(self, path: str) -> None:
        """Reserve a name, as if a step of this name had been opened."""
        if path not in self._uses:
            self._uses[path] = 0 if self._condensed.find(path) is None else 1
        self._uses[path] += 1

    def reserve_numbers(self, path: str, number: int) -> None:
        """Reserve the first numbers of a name, as if so many steps of this name had been opened."""
        self._uses[path] = max(number, self._uses.get(path, 0))

    def release(self, path: str) -> None:
        """Release a reserved name."""
        self._uses.pop(path, None)

    def is_used(self, path: str) -> bool:
        """Whether a step has this name, or the name is reserved."""
        return path in self._uses or self._condensed.find(path) is not None

    def condense(self, paths: Iterable[str]) -> None:
        """Store names in less memory that are not likely to be used again."""
        once = [path for path in paths if self._uses.get(path) == 1]
        # In between, the names are in both.
        self._condensed.add(once, True)
        for path in once:
            self._uses.pop(path, None)

    def find(self, step: str | None) -> StepToken:
        """Return a token of a step that was opened before, for a copy of its handle."""
        return StepToken(step, self.names.index(step))


def _restored_registry(names: list[str | None], uses: dict[str, int], condensed: NameIndex[bool]) -> StepRegistry:
    registry = StepRegistry(names)
    registry._uses, registry._condensed = uses, condensed
    return registry


def numbered(path: str, number: int) -> str:
    """Return the name of a step that is opened the n-th time."""
    return path if number == 1 else f"{path}#{number}"


def unnumbered(name: str) -> tuple[str, int]:
    """Return the name of a step without its number, and the number."""
    path, _, number = name.rpartition("#")
    return (path, int(number)) if number.isdecimal() else (name, 1)


_NUMBER = re.compile(r"#\d+")


AGAIN: Final = "To run it again, make a new context; a new run with reuse=True takes over the steps that did not change"
"""The advice for a step that has written something, and shall run again."""


def repetition_remark(step: str | None, earlier: str | None) -> str:
    """Return a remark for an error if a step repeats an earlier one, as a cell of a notebook does; else nothing."""
    if step is None or earlier is None or step == earlier or _NUMBER.sub("", step) != _NUMBER.sub("", earlier):
        return ""
    return f"; {earlier!r} has run in this context before, and keeps its work, also if it failed. {AGAIN}"


class StepNotes:
    """The keys and artifacts that were used through one handle, in the order of their first use.

    Attributes:
        reads: The keys that were read, without values, since the values of keys cannot change.
        absent: The keys that were looked up and not found.
        writes: The keys that were written.
        artifact_reads: The artifacts that were read.
        absent_artifacts: The artifacts that were looked up and not found.
        present: The keys, and artifacts as they are named in the lineage, that were looked up and found, but not read.
        metric_reads: The metrics whose points were read.
        blind: The things that were looked at and have no digest, in words.
    """

    __slots__ = (
        *("absent", "absent_artifacts", "artifact_reads", "blind", "metric_reads", "present", "reads", "writes"),
    )

    def __init__(self) -> None:
        self.reads: dict[str, None] = {}
        self.absent: dict[str, None] = {}
        self.writes: dict[str, None] = {}
        self.artifact_reads: dict[str, None] = {}
        self.absent_artifacts: dict[str, None] = {}
        self.present: dict[str, None] = {}
        self.metric_reads: dict[str, MetricRead] = {}
        self.blind: dict[str, None] = {}

    def note_metric(self, name: str, count: int) -> None:
        """Note that the points of a metric, or their number, were read while it had so many points."""
        seen = self.metric_reads.get(name)
        self.metric_reads[name] = MetricRead(name, count, count) if seen is None else seen._replace(last=count)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was used."""
        # Nearly every step has read or written a key.
        return not (self.reads or self.writes or any(getattr(self, name) for name in self.__slots__))

    def copy(self) -> "StepNotes":
        """Return independent notes with the same content."""
        copied = StepNotes()
        for name in self.__slots__:
            setattr(copied, name, getattr(self, name).copy())
        return copied


class StepOpening:
    """The moment at which a step was opened: the one at which this is made.

    Attributes:
        started: The time in UTC.
        clock: The time of `perf_counter`, which changes of the system clock do not affect.
        number: The number of the step's token.
    """

    __slots__ = ("clock", "number", "started")

    def __init__(self, number: int) -> None:
        self.started: datetime = datetime.now(UTC)
        self.clock: float = perf_counter()
        self.number = number


_NO_POINTS: Final = MappingProxyType[str, int]({})


def close_step(
    state: "State", token: StepToken, notes: StepNotes, opening: StepOpening, error: str | None
) -> StepRecord:
    """End a step and return its record. The caller holds the dispatcher's lock."""
    token.close()
    ended = after(opening.started, perf_counter() - opening.clock)
    marks = token.marks.copy()
    points = MappingProxyType(state.metric_store.counts(opening.number, marks)) if marks else _NO_POINTS
    present = tuple(name for name in notes.present if name not in notes.reads) if notes.present else ()
    return StepRecord(
        str(token.step),
        tuple(notes.reads),
        tuple(notes.absent),
        tuple(notes.writes),
        points,
        state.artifact_store.added_by(token.step),
        opening.started,
        ended,
        error,
        tuple(notes.artifact_reads),
        tuple(notes.absent_artifacts),
        tuple(notes.metric_reads.values()),
        present,
        tuple(notes.blind),
    )


def step_path(token: StepToken, name: object) -> str:
    """Return the full name of a step within the step of a token, "fit/fold-3", or raise InvalidStepError."""
    own = _step_name(name)
    return own if token.step is None else f"{token.step}/{own}"


def _step_name(name: object) -> str:
    try:
        plain = plain_key(name)
    except KeyLookupError:
        raise InvalidStepError(short(name), "it should be a str of 1 to 255 printable characters") from None
    if "/" in plain or "#" in plain:
        raise InvalidStepError(short(plain), "'/' separates a step from its inner steps, '#' precedes a count")
    return plain


def log_start(logger: logging.Logger, step: str | None) -> None:
    """Log that a step has started."""
    logger.info("Step %s started", step)


def log_end(logger: logging.Logger, record: StepRecord) -> None:
    """Log that a step has ended."""
    if not logger.isEnabledFor(logging.INFO):
        return
    seconds = lasted(record.duration.total_seconds())
    if record.error is None:
        logger.info("Step %s finished, took %s", record.name, seconds)
    else:
        logger.info("Step %s failed after %s: %s", record.name, seconds, cut(one_line(record.error)))


def error_text(raised: BaseException, secrets: Iterable[str | bytes]) -> str:
    """Return the type and the text of an exception, with these secrets masked, which are given in clear text."""
    try:
        text = str(raised)
    except Exception as error:  # the exception cannot be shown as text, but the step's own error matters more
        reraise_from_handler(error)
        text = f"its text raises {type(error).__name__}"
    name = type(raised).__name__
    return without(legible(f"{name}: {text}" if text else name), secrets)
