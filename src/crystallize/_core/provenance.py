"""Provenance: which step read, missed and wrote what, and what follows from that."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from .._base.table import Table
from .._base.text import counted, moment, one_line, took
from ..events import StepFinished
from .freezing import Thaw, secrets_in
from .ordered_log import Parts, ordered_keys
from .schema import Schema, digest

__all__ = ["EarlyRead", "Lineage", "Provenance", "StepRecord", "StoredValue"]


StoredValue: TypeAlias = tuple[Any, Thaw | None, str | None, bool]
"""A key's value as it is kept; what makes a copy of it for a reader, if anything; the step that wrote it, if a step
did; and whether it was there when the context was made. A plain tuple, since each write makes one."""


class StepRecord(NamedTuple):
    """What one step did, without what its inner steps did.

    Example:
        >>> ctx = FrozenContext({"lr": 0.1})
        >>> with ctx.step("fit") as step:
        ...     step["accuracy"] = 1 - step["lr"]
        >>> record = ctx.provenance.steps[0]
        >>> record.name, record.reads, record.writes, record.error
        ('fit', ('lr',), ('accuracy',), None)
    """

    name: str
    reads: tuple[str, ...]
    """The keys that it read, in the order of first reading."""
    absent: tuple[str, ...]
    """The keys that it looked for and did not find."""
    writes: tuple[str, ...]
    """The keys that it wrote, in order."""
    points: Mapping[str, int]
    """How many points it recorded, by metric."""
    artifacts: tuple[str, ...]
    started: datetime
    """When it began, in UTC."""
    ended: datetime
    """When it ended, in UTC, by the time that passed since `started`, whatever was done to the clock."""
    error: str | None
    """The type and text of the exception that ended it, if one did."""

    def __reduce__(self) -> tuple[Any, ...]:
        # A view of a dict does not pickle.
        return _restored_record, (tuple(self._replace(points=dict(self.points))),)

    def as_event(self, branch: str | None = None) -> StepFinished:
        """Return what sinks are told of the end of the step.

        Args:
            branch: The branch that brought it, if one did.
        """
        return StepFinished(*self._replace(points=dict(self.points)), branch)

    @property
    def duration(self) -> timedelta:
        """How long it took."""
        return self.ended - self.started


def _restored_record(facts: tuple[Any, ...]) -> StepRecord:
    record = StepRecord._make(facts)
    return record._replace(points=MappingProxyType(dict(record.points)))


class EarlyRead(NamedTuple):
    """A key that a step looked for before it was written.

    Example:
        >>> ctx = FrozenContext()
        >>> with ctx.step("fit") as step:
        ...     rate = step.get("lr", 0.1)
        >>> ctx["lr"] = 0.2
        >>> ctx.provenance.early_reads
        (EarlyRead(key='lr', reader='fit', writer=None),)
    """

    key: str
    reader: str
    writer: str | None
    """The step that wrote it afterwards; None if it was written outside any step."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Which key went into which step, and which came out: a graph key → step → key.

    Example:
        >>> ctx = FrozenContext({"lr": 0.1})
        >>> with ctx.step("fit") as step:
        ...     step["accuracy"] = 1 - step["lr"]
        >>> ctx.provenance.lineage.sources("accuracy"), ctx.provenance.lineage.results("lr")
        (frozenset({'lr'}), frozenset({'accuracy'}))
    """

    reads: tuple[tuple[str, str], ...]
    """Edges from a key to a step that read it."""
    writes: tuple[tuple[str, str], ...]
    """Edges from a step to a key that it wrote."""

    def sources(self, key: str) -> frozenset[str]:
        """Return the keys that a key was made from, over any number of steps.

        A step may use what the steps within it and around it have read.
        """
        return _reached(key, self.writes, self.reads)

    def results(self, key: str) -> frozenset[str]:
        """Return the keys that were made from a key, over any number of steps."""
        turned_reads, turned_writes = [(b, a) for a, b in self.reads], [(b, a) for a, b in self.writes]
        return _reached(key, turned_reads, turned_writes)


def _reached(key: str, makers: Iterable[tuple[str, str]], materials: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Follow edges from keys to steps and on to keys, as often as it goes."""
    steps_of, keys_of = (
        _grouped((made, step) for step, made in makers),
        _grouped((step, one) for one, step in materials),
    )
    found: set[str] = set()
    rest = [key]
    while rest:
        near = {other for step in steps_of.get(rest.pop(), ()) for other in keys_of if _is_within(step, other)}
        nexts = {one for step in near for one in keys_of[step]}
        rest += nexts - found
        found |= nexts
    return frozenset(found - {key})


def _is_within(one: str, other: str) -> bool:
    """Whether two steps are the same, or one is within the other."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _grouped(edges: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = {}
    for start, end in edges:
        groups.setdefault(start, set()).add(end)
    return groups


class Provenance:
    """Who read, missed and wrote what in one context, by the steps that have ended.

    Example:
        >>> ctx = FrozenContext({"lr": 0.1, "seed": 7})
        >>> with ctx.step("fit") as step:
        ...     step["accuracy"] = 1 - step["lr"]
        >>> ctx.provenance.finished("fit"), ctx.provenance.writer("accuracy"), ctx.provenance.unread_inputs
        (True, 'fit', ('seed',))
    """

    __slots__ = ("_cells", "_finished", "_keys", "_parts", "_schema", "_steps")

    def __init__(self, schema: Schema, cells: Mapping[str, StoredValue], keys: Parts[tuple[str, ...]]) -> None:
        self._schema = schema
        self._cells = cells
        self._keys = keys
        self._steps: list[StepRecord] = []
        self._parts: Parts[tuple[StepRecord, ...]] = Parts()
        self._finished: set[str] = set()

    def _restore(self, steps: Iterable[StepRecord], parts: Parts[tuple[StepRecord, ...]]) -> None:
        """Take in the records of another context."""
        self._steps += steps
        self._parts = parts
        self._finished.update(record.name for record in self.steps if record.error is None)

    def _file(self, record: StepRecord) -> None:
        self._steps.append(record)
        if record.error is None:
            self._finished.add(record.name)

    @property
    def _own(self) -> int:
        """How many records there are without those of branches."""
        return len(self._steps)

    def _bring(self, number: int, place: int, records: tuple[StepRecord, ...]) -> None:
        """Take in the records of a branch, in place of that of an attempt that failed."""
        self._parts.add(number, place, records, len(records))
        self._finished.update(record.name for record in records if record.error is None)

    def _give_back(
        self, number: int, place: int, records: tuple[StepRecord, ...], before: tuple[StepRecord, ...]
    ) -> None:
        """Undo what `_bring` has done, of a branch that had other records before: that it had failed."""
        self._parts.drop(number)
        self._finished.difference_update(record.name for record in records)
        self._parts.add(number, place, before, len(before))

    @property
    def steps(self) -> tuple[StepRecord, ...]:
        """The records of all steps, in the order in which they ended, those of branches where these were forked."""
        return tuple(self._parts.spliced(self._steps[:], iter))

    def finished(self, name: str) -> bool:
        """Whether a step of this name has ended, and not by an exception."""
        return name in self._finished

    @property
    def inputs(self) -> tuple[str, ...]:
        """The keys that were there when the context was made."""
        return tuple(key for key, (_, _, _, is_input) in self._cells_now() if is_input)

    @property
    def unread_inputs(self) -> tuple[str, ...]:
        """The inputs that no step has read."""
        read = {key for record in self.steps for key in record.reads}
        return tuple(key for key in self.inputs if key not in read)

    @property
    def unwritten(self) -> tuple[str, ...]:
        """The keys that are declared and not written."""
        return tuple(key for key in self._schema.keys if key not in self._cells)

    @property
    def early_reads(self) -> tuple[EarlyRead, ...]:
        """The keys that a step looked for before another one, or nobody's step, wrote them."""
        return tuple(
            EarlyRead(key, record.name, self.writer(key))
            for record in self.steps
            for key in record.absent
            if key in self._cells and self.writer(key) != record.name
        )

    @property
    def lineage(self) -> Lineage:
        """The graph of what was made from what."""
        return Lineage(
            tuple((key, record.name) for record in self.steps for key in record.reads),
            tuple((step, key) for key, (_, _, step, _) in self._cells_now() if step is not None),
        )

    def writer(self, key: str) -> str | None:
        """Return the step that wrote a key; None if it is not written, or was written outside any step.

        Raises:
            UnknownKeyError: The schema does not declare it.
        """
        self._schema.key(key)
        return self._cells[key][2] if key in self._cells else None

    def digest(self, key: str) -> str | None:
        """Return a digest of a key's value, the same in every process.

        BLAKE2b, 128 bits, in hexadecimal: of the value's JSON by its schema, with sorted keys; of dtype, shape
        and bytes for an array.

        Returns:
            The digest; None if the key is not written, holds a secret, or has no JSON.

        Raises:
            UnknownKeyError: The schema does not declare it.
        """
        declared = self._schema.key(key)
        cell = self._cells.get(key)
        if cell is None or declared.secret or declared.shared:
            return None
        kept, thaw, _, _ = cell
        value = kept if thaw is None else thaw()
        content = None if secrets_in(value) else declared.content(value)
        return None if content is None else digest(content)

    def _cells_now(self) -> list[tuple[str, StoredValue]]:
        # Other threads may write meanwhile.
        cells = dict(self._cells)
        return [(key, cells[key]) for key in ordered_keys(cells, self._keys)]

    def __repr__(self) -> str:
        steps = counted(len(self._steps) + self._parts.count, "step")
        return f"Provenance({steps}, {counted(len(self.inputs), 'input')})"

    def _repr_html_(self) -> str:
        """Return a table of the steps, and one of what is worth a look, for notebooks."""
        from .._base.html import as_html  # only notebooks need it

        return as_html(*self._tables())

    def _tables(self) -> tuple[Table, Table]:
        steps = self.steps
        findings = {
            "inputs that no step read": self.unread_inputs,
            "declared and not written": self.unwritten,
            "looked for before it was written": tuple(f"{one.key} by {one.reader}" for one in self.early_reads),
        }
        rows = [(what, ", ".join(keys)) for what, keys in findings.items() if keys]
        return (
            Table.of(f"Provenance: {counted(len(steps), 'step')}", _HEADINGS, steps, _row),
            Table("Worth a look", ("", ""), rows),
        )


_HEADINGS = ("step", "outcome", "started (UTC)", "took", "read", "not found", "wrote", "points", "artifacts", "error")


def _row(step: StepRecord) -> tuple[str | None, ...]:
    return (
        step.name,
        "finished" if step.error is None else "failed",
        moment(step.started),
        took(step.duration.total_seconds()),
        *(", ".join(keys) for keys in (step.reads, step.absent, step.writes)),
        ", ".join(f"{name}: {count:,}" for name, count in step.points.items()),
        ", ".join(step.artifacts),
        None if step.error is None else one_line(step.error),
    )
