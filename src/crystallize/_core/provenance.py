"""Provenance: the keys that each step read, looked up and wrote, and conclusions from them."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from .._base.table import Table, TableDisplay
from .._base.text import counted
from ..events import StepFinished, TaskReturn
from .digest import digest
from .ordered_log import OrderedKeys
from .schema import Schema
from .secrets import secrets_in
from .stored_value import RawValue, StoredValue

if TYPE_CHECKING:
    from .step_log import StepLog


class MetricRead(NamedTuple):
    """A metric whose points a step has read.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.record("loss", 0.5)
        >>> with ctx.step("judge") as step:
        ...     best = min(step.metrics["loss"])
        >>> ctx.provenance.steps[0].metric_reads
        (MetricRead(metric='loss', first=1, last=1),)
    """

    metric: str
    first: int
    """The number of its points, by all steps, at the first read."""
    last: int
    """The number of its points at the last read."""


class StepRecord(NamedTuple):
    """The record of one step, without the work of its inner steps.

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
    """The keys that the step read, in the order of the first read."""
    absent: tuple[str, ...]
    """The keys that the step looked up and did not find."""
    writes: tuple[str, ...]
    """The keys that the step wrote, in order."""
    points: Mapping[str, int]
    """The number of points that the step recorded, by metric."""
    artifacts: tuple[str, ...]
    """The artifacts that the step added, in order."""
    started: datetime
    """The time of the start, in UTC."""
    ended: datetime
    """The time of the end, in UTC. Changes of the system clock since `started` do not affect it."""
    error: str | None
    """The type and text of the exception that ended the step; None if it ended without an exception."""
    artifact_reads: tuple[str, ...] = ()
    """The artifacts that the step read, in the order of the first read."""
    absent_artifacts: tuple[str, ...] = ()
    """The artifacts that the step looked for and did not find."""
    metric_reads: tuple[MetricRead, ...] = ()
    """The metrics whose points, or the number of them, the step read, in the order of the first read."""
    present: tuple[str, ...] = ()
    """The keys and artifacts that the step looked up and found, but did not read.

    The name of an artifact is after the word "artifact" and a colon.
    """
    blind: tuple[str, ...] = ()
    """The things without a digest that the step looked at, and the arguments that it changed, in words."""
    reused_from: str | None = None
    """The run in which the step ran, if this run has taken it over; None if it ran in this one."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The view of a dict cannot be pickled.
        return restored_record, (tuple(self._replace(points=dict(self.points))),)

    def as_event(self, source: str | None = None, returned: TaskReturn | None = None) -> StepFinished:
        """Return the event of the step's end, with the result of its task.

        `source` is set for work that was done elsewhere.
        """
        return StepFinished._make((*self[:_POINTS], dict(self.points), *self[_POINTS + 1 :], source, returned))

    @property
    def duration(self) -> timedelta:
        """The time from the start to the end."""
        return self.ended - self.started


_POINTS: Final = StepRecord._fields.index("points")


def restored_record(facts: tuple[Any, ...]) -> StepRecord:
    """Return a record from its parts, with the points as a plain dict."""
    record = StepRecord._make(facts)
    return record._replace(points=MappingProxyType(dict(record.points)))


class EarlyRead(NamedTuple):
    """A key or an artifact that a step looked up before it was there.

    Example:
        >>> ctx = FrozenContext()
        >>> with ctx.step("fit") as step:
        ...     rate = step.get("lr", 0.1)
        >>> ctx["lr"] = 0.2
        >>> ctx.provenance.early_reads
        (EarlyRead(key='lr', reader='fit', writer=None),)
    """

    key: str
    """The key, or the name of an artifact behind the word `artifact` and a colon."""
    reader: str
    writer: str | None
    """The step that wrote the key later; None if it was written outside any step."""


_ARTIFACT = "artifact:"


def artifact_node(name: str) -> str:
    """Return the name that an artifact has in the lineage."""
    return f"{_ARTIFACT}{name}"


class StepReads(Protocol):
    """A step, as far as its reads go."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The keys that it read."""
        ...

    @property
    def absent(self) -> tuple[str, ...]:
        """The keys that it looked up and did not find."""
        ...

    @property
    def artifact_reads(self) -> tuple[str, ...]:
        """The artifacts that it read."""
        ...

    @property
    def absent_artifacts(self) -> tuple[str, ...]:
        """The artifacts that it looked for and did not find."""
        ...


def nodes_read(record: StepReads) -> tuple[str, ...]:
    """Return the keys and artifacts that a step read, as they are named in the lineage."""
    return (*record.reads, *map(artifact_node, record.artifact_reads)) if record.artifact_reads else record.reads


def nodes_missed(record: StepReads) -> tuple[str, ...]:
    """Return the keys and artifacts that a step looked up and did not find, as they are named in the lineage."""
    return (*record.absent, *map(artifact_node, record.absent_artifacts)) if record.absent_artifacts else record.absent


class MadeFile(Protocol):
    """An artifact, as far as its provenance goes."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def step(self) -> str | None:
        """The step that made it; None outside any step."""
        ...


class NodeOrders(NamedTuple):
    """The keys and artifacts of a context, in order."""

    keys: OrderedKeys
    artifacts: Callable[[], Iterable[MadeFile]]


class KeyGraph:
    """A graph of keys and steps in one direction, from each key to the keys behind the steps beside it."""

    def __init__(self, makers: Iterable[tuple[str, str]], materials: Iterable[tuple[str, str]]) -> None:
        """Make a graph that leads from each made key, over the steps near its makers, to their materials.

        Args:
            makers: Edges from a step to a key that it made.
            materials: Edges from a key to a step that it was used in.
        """
        self._steps_of = _grouped((made, step) for step, made in makers)
        self._keys_of = _grouped((step, material) for material, step in materials)
        self._tree = StepTree(self._keys_of)

    def reached(self, key: str) -> frozenset[str]:
        """Return all keys that can be reached from a key over any number of steps."""
        found: set[str] = set()
        # Each step is looked at once, since many keys may have the same steps.
        made_by: set[str] = set()
        used: set[str] = set()
        rest = [key]
        while rest:
            steps = self._steps_of.get(rest.pop(), set()) - made_by
            made_by |= steps
            near = {other for step in steps for other in self._tree.related(step)} - used
            used |= near
            nexts = {material for step in near for material in self._keys_of[step]} - found
            rest += nexts
            found |= nexts
        return frozenset(found - {key})


class StepTree:
    """The full names of steps, in which the steps within and around a step are found without going over all."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(names)
        self._known = frozenset(self._names)

    def related(self, step: str) -> Iterator[str]:
        """Return the step itself, the steps around it, and the steps within it, as far as they are in the tree."""
        parts = step.split("/")
        around = ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
        yield from filter(self._known.__contains__, around)
        # "0" is the character after "/".
        first, last = bisect_left(self._names, f"{step}/"), bisect_left(self._names, f"{step}0")
        yield from self._names[first:last]


def _grouped(edges: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = {}
    for start, end in edges:
        groups.setdefault(start, set()).add(end)
    return groups


@dataclass(frozen=True, slots=True)
class Lineage:
    """A graph of the steps and the keys that they read and wrote: key → step → key.

    Artifacts are in it like keys, each by its name after "artifact:".

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
        """Return the keys that a key was derived from, over any number of steps.

        A step is assumed to use the reads of the steps within it and around it as well.
        """
        return sources_in(self).reached(key)

    def results(self, key: str) -> frozenset[str]:
        """Return the keys that were derived from a key, over any number of steps."""
        return results_in(self).reached(key)


def sources_in(lineage: Lineage) -> KeyGraph:
    """Return the graph that leads from each key to its sources, for those who ask for many keys."""
    return KeyGraph(lineage.writes, lineage.reads)


def results_in(lineage: Lineage) -> KeyGraph:
    """Return the graph that leads from each key to its results."""
    return KeyGraph([(step, key) for key, step in lineage.reads], [(key, step) for step, key in lineage.writes])


class Provenance(TableDisplay):
    """The record of a context's keys and steps: which step read, looked up and wrote which keys.

    Example:
        >>> ctx = FrozenContext({"lr": 0.1, "seed": 7})
        >>> with ctx.step("fit") as step:
        ...     step["accuracy"] = 1 - step["lr"]
        >>> ctx.provenance.finished("fit"), ctx.provenance.writer("accuracy"), ctx.provenance.unread_inputs
        (True, 'fit', ('seed',))
    """

    __slots__ = ("_artifacts", "_keys", "_log", "_schema", "_values")

    def __init__(self, schema: Schema, values: Mapping[str, RawValue], orders: NodeOrders, log: "StepLog") -> None:
        self._schema = schema
        self._values = values
        self._keys, self._artifacts = orders
        self._log = log

    @property
    def steps(self) -> tuple[StepRecord, ...]:
        """The records of all steps, in the order in which they ended."""
        return tuple(self._log)

    def finished(self, name: str) -> bool:
        """Whether a step of this name has ended without an exception."""
        return self._log.has_finished(name)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The keys that were written when the context was made."""
        return tuple(key for key, stored in self._stored() if stored.is_input)

    @property
    def unread_inputs(self) -> tuple[str, ...]:
        """The inputs that no step has read."""
        read = {key for record in self.steps for key in record.reads}
        return tuple(key for key in self.inputs if key not in read)

    @property
    def unwritten(self) -> tuple[str, ...]:
        """The declared keys that are not written."""
        return tuple(key for key in self._schema.keys if key not in self._values)

    @property
    def early_reads(self) -> tuple[EarlyRead, ...]:
        """The keys and artifacts that a step looked up before they were written elsewhere."""
        makers = {key: stored.step for key, stored in self._stored()}
        makers |= {artifact_node(made.name): made.step for made in self._artifacts()}
        return tuple(
            EarlyRead(node, record.name, makers[node])
            for record in self.steps
            for node in nodes_missed(record)
            if node in makers and makers[node] != record.name
        )

    @property
    def lineage(self) -> Lineage:
        """The graph of the keys and artifacts that each of them was derived from."""
        written = [(stored.step, key) for key, stored in self._stored()]
        written += [(made.step, artifact_node(made.name)) for made in self._artifacts()]
        return Lineage(
            tuple((node, record.name) for record in self.steps for node in nodes_read(record)),
            tuple((step, node) for step, node in written if step is not None),
        )

    def writer(self, key: str) -> str | None:
        """Return the step that wrote a key; None if it is not written, or was written outside any step.

        Raises:
            UnknownKeyError: The schema does not declare the key.
        """
        self._schema.key(key)
        return StoredValue._make(self._values[key]).step if key in self._values else None

    def digest(self, key: str) -> str | None:
        """Return a digest of a key's value, the same in every process.

        The digest is BLAKE2b with 128 bits, in hexadecimal. It is taken of the value's JSON with sorted keys, or of the
        dtype, shape and bytes of an array.

        Returns:
            The digest; None if the key is not written, holds a secret, or has no JSON.

        Raises:
            UnknownKeyError: The schema does not declare the key.
        """
        declared = self._schema.key(key)
        if key not in self._values or declared.secret or declared.shared:
            return None
        value = StoredValue._make(self._values[key]).read()
        content = None if secrets_in(value) else declared.content(value)
        return None if content is None else digest(content)

    def _stored(self) -> Iterator[tuple[str, StoredValue]]:
        # A copy, since other threads may write at the same time.
        values = dict(self._values)
        for key in OrderedKeys(values, self._keys.copy_sections()):
            yield key, StoredValue._make(values[key])

    def __repr__(self) -> str:
        return f"Provenance({counted(len(self._log), 'step')}, {counted(len(self.inputs), 'input')})"

    def __notebook_tables__(self) -> tuple[Table, ...]:
        from .notebook import provenance_tables

        return provenance_tables(self)
