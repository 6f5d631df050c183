"""The lineage of a run as a drawing: a row for each key and artifact, a column for each step, in the order of time.

An artifact is a row like a key, by its name after "artifact:".
"""

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Final, NamedTuple

from .._core.provenance import Lineage, StepTree, artifact_node, nodes_read, results_in, sources_in
from .._tables.run_description import Description, StepAttempt


class StepColumn(NamedTuple):
    """A step, or several similar ones."""

    label: str
    first: int
    """The first row of the keys that it read or wrote."""
    last: int


class KeyRow(NamedTuple):
    """A key or an artifact, from the step that wrote it to the last step that read it."""

    key: str
    writer: int | None
    """The column of the step that wrote it; None if no step did."""
    readers: tuple[int, ...]
    """The columns of the steps that read it."""
    indirect_readers: tuple[int, ...]
    """The columns of steps that may use it, since a step within or around them has read it."""
    related: tuple[int, ...]
    """The rows of the keys that it was made from, and that were made from it."""

    @property
    def steps(self) -> tuple[int, ...]:
        """The columns of all steps that wrote or used it."""
        return (*(() if self.writer is None else (self.writer,)), *self.readers, *self.indirect_readers)


class LineageLayout(NamedTuple):
    """The rows and columns of a lineage."""

    columns: tuple[StepColumn, ...]
    rows: tuple[KeyRow, ...]
    left_out: int
    """The number of keys and steps that are not shown."""


_MAX_ROWS: Final = 120
_MAX_COLUMNS: Final = 60


def lineage_layout(run: Description) -> LineageLayout:
    """Lay out the lineage of a run."""
    steps = [step for step in map(_with_nodes, _with_writes(run)) if step.reads or step.writes]
    # By their end: a step around others writes the results of those.
    steps.sort(key=lambda step: (step.ended is None, step.ended or step.started))
    made = [artifact_node(artifact.name) for artifact in run.artifacts]
    # Steps that differ only in the names of their files, as those of epochs do, are similar if nobody reads the files.
    unread = set(made).difference(*(step.reads for step in steps))
    groups = [tuple(group) for _, group in groupby(steps, key=partial(_similarity, unread))]
    keys = [*(row.key for row in (*run.inputs, *run.values)), *made]
    shown, columns = keys[:_MAX_ROWS], groups[:_MAX_COLUMNS]
    writers = {key: column for column, group in enumerate(columns) for step in group for key in step.writes}
    reads = [{key for step in group for key in step.reads} for group in columns]
    reads_of: dict[str, set[str]] = {}
    for step in steps:
        reads_of.setdefault(step.name, set()).update(step.reads)
    tree = StepTree(reads_of)
    indirect = [_near_reads(group, tree, reads_of) - own for group, own in zip(columns, reads, strict=True)]
    rows = [
        KeyRow(key, writers.get(key), _columns_with(key, reads), _columns_with(key, indirect), related)
        for key, related in zip(shown, _related(shown, steps), strict=True)
    ]
    step_columns = [_step_column(column, group, rows) for column, group in enumerate(columns)]
    left_out = len(groups) - len(columns) + len(keys) - len(shown)
    return LineageLayout(tuple(step_columns), tuple(rows), left_out)


def _with_writes(run: Description) -> Iterator[StepAttempt]:
    """Return the steps whose work is in the run, even if they failed or died, each with the keys that it wrote."""
    names = {step.name for step in run.steps}
    last = run.sessions[-1].number
    finished = {(step.session, step.name) for step in run.steps}
    failed = (
        step
        for step in run.dead_attempts
        if step.name not in names and (step.session == last or _is_within(step, finished))
    )
    written: dict[str | None, list[str]] = {}
    for row in run.values:
        written.setdefault(row.step, []).append(row.key)
    for step in (*run.steps, *failed):
        yield replace(step, writes=tuple(dict.fromkeys((*step.writes, *written.get(step.name, ())))))


def _is_within(step: StepAttempt, finished: Container[tuple[int, str]]) -> bool:
    """Return whether a step ran within one that finished, whose work contains its own."""
    around = step.name.split("/")[:-1]
    return any((step.session, "/".join(around[:depth])) in finished for depth in range(1, len(around) + 1))


def _with_nodes(step: StepAttempt) -> StepAttempt:
    """Return a step whose reads and writes contain its artifacts, too."""
    return replace(step, reads=nodes_read(step), writes=(*step.writes, *map(artifact_node, step.artifacts)))


def _related(keys: Sequence[str], steps: Sequence[StepAttempt]) -> Iterator[tuple[int, ...]]:
    """Return the rows of the sources and results of each key."""
    graph = Lineage(
        tuple((key, step.name) for step in steps for key in step.reads),
        tuple((step.name, key) for step in steps for key in step.writes),
    )
    backward, forward = sources_in(graph), results_in(graph)
    for key in keys:
        related = backward.reached(key) | forward.reached(key)
        yield tuple(row for row, other in enumerate(keys) if other in related)


def _columns_with(key: str, columns: Sequence[set[str]]) -> tuple[int, ...]:
    return tuple(index for index, keys in enumerate(columns) if key in keys)


def _step_column(column: int, group: Sequence[StepAttempt], rows: Sequence[KeyRow]) -> StepColumn:
    first, last = group[0].name, group[-1].name
    label = first if first == last else f"{first}…{last.removeprefix(_unnumbered(first))}"
    used = [index for index, row in enumerate(rows) if column in row.steps] or [0]
    return StepColumn(label, min(used), max(used))


def _similarity(unread: Container[str], step: StepAttempt) -> tuple[str, frozenset[str], tuple[str, ...]]:
    """Return the key by which steps share a column: all but a number in the name, the order of the reads, and files."""
    return _unnumbered(step.name), frozenset(step.reads), tuple(node for node in step.writes if node not in unread)


def _unnumbered(name: str) -> str:
    return re.sub(r"\d+$", "", name)


def _near_reads(group: Sequence[StepAttempt], tree: StepTree, reads_of: Mapping[str, set[str]]) -> set[str]:
    """Return the keys that the steps of a group that write have read, or a step within or around them."""
    writers = [step for step in group if step.writes]
    written = {key for step in writers for key in step.writes}
    return {key for step in writers for name in tree.related(step.name) for key in reads_of[name]} - written
