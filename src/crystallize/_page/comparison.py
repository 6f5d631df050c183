"""Several runs on one page: shared and different inputs, the table, and the runs whose curves are drawn."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from .._base.text import counted, printable
from .._journal.loaded_run import Run
from .._journal.run_summary import summary_of
from .._tables.run_rows import RunRows, cell, flat, table_of
from .metric_curves import MAX_CURVES, are_numbers

Goal: TypeAlias = Literal["minimize", "maximize"] | None

_MAX_IN_LABEL: Final = 4
"""Inputs in the label of a run."""
_LONGEST_IN_LABEL: Final = 24
"""Characters of an input in a label."""
_MAX_COLUMNS: Final = 40
"""Columns of inputs, and of results."""
_MAX_RESULTS: Final = 8
"""Results that can be chosen."""
_FIRST: Final = ("status", "tags")
_LAST: Final = ("took", "started", "note", "parent", "error")


class RunCell(NamedTuple):
    """A cell of the table of runs."""

    text: str | None
    rank: str | float | None
    """The text or number by which runs are sorted; None comes last."""
    is_best: bool


class RunColumn(NamedTuple):
    """A column of the table of runs."""

    name: str
    """The full name, as in "inputs.lr"."""
    heading: str
    goal: Goal
    is_number: bool
    cells: tuple[RunCell, ...]
    """One for each run."""


class BestRun(NamedTuple):
    """The run with the best result."""

    column: RunColumn
    run: int


@dataclass(frozen=True)
class Comparison:
    """Several runs, compared by the columns of their table."""

    names: Sequence[str]
    table: RunRows
    goals: Mapping[str, Goal]
    """The goal of each metric."""

    @cached_property
    def title(self) -> str:
        """The number of runs, and the names that they share."""
        stems = [*Counter(re.sub(r"-\d+$", "", str(row["run"])) for row in self.table.rows)]
        shown = [*stems[:2], counted(len(stems) - 2, "more name")] if len(stems) > 3 else stems
        return printable(f"{counted(len(self.names), 'run')} of {_listed(shown)}")

    @cached_property
    def differing(self) -> list[RunColumn]:
        """The inputs that differ."""
        same = {*self.table.shared("inputs")}
        return self._columns(name for name in self._of_kind("inputs") if name not in same)

    @cached_property
    def shared(self) -> list[RunColumn]:
        """The inputs and values that are the same in all runs."""
        return self._columns(self.table.shared("inputs", "values"))

    @cached_property
    def columns(self) -> list[RunColumn]:
        """The columns of the table, except for the name of the run."""
        same = {*self.table.shared("values")}
        known = {name for row in self.table.rows for name, value in row.items() if value not in (None, "", ())}
        first, last = ([name for name in names if name in known] for names in (_FIRST, _LAST))
        results = [*self._of_kind("best"), *(name for name in self._of_kind("values") if name not in same)]
        return [
            *self._columns(first),
            *self.differing[:_MAX_COLUMNS],
            *self._columns(results[:_MAX_COLUMNS]),
            *self._columns(last),
        ]

    @cached_property
    def results(self) -> list[RunColumn]:
        """The best values of metrics, and other values, that are numbers and differ. Users choose one of them."""
        found = [column for column in self.columns if column.name.startswith(("best.", "values."))]
        return [column for column in found if column.is_number and _count(column) > 1][:_MAX_RESULTS]

    @cached_property
    def bests(self) -> list[BestRun]:
        """The best run by each metric that has a goal."""
        found: list[BestRun] = []
        for column in self.columns:
            winners = [run for run, entry in enumerate(column.cells) if entry.is_best]
            found += [BestRun(column, winners[0])] if winners else []
        return found[:_MAX_RESULTS]

    @cached_property
    def labels(self) -> list[str]:
        """The label of each run: the inputs that differ, and its name if these do not tell it apart."""
        columns = [
            column
            for column in self.differing
            if max(len(entry.text or "") for entry in column.cells) <= _LONGEST_IN_LABEL
        ][:_MAX_IN_LABEL]
        texts = [
            ", ".join(f"{column.heading} {column.cells[run].text}" for column in columns if column.cells[run].text)
            for run in range(len(self.names))
        ]
        times = Counter(texts)
        return [
            text if text and times[text] == 1 else ", ".join(filter(None, (text, name)))
            for text, name in zip(texts, self.names, strict=True)
        ]

    @cached_property
    def drawn(self) -> list[int]:
        """The runs whose curves are drawn: all, or if these are too many, the best by the first result, best first."""
        runs = range(len(self.names))
        if len(runs) <= MAX_CURVES:
            return [*runs]
        if not self.results:
            return [*runs[-MAX_CURVES:]]
        return self._ranked(self.results[0])[:MAX_CURVES]

    @property
    def drawn_note(self) -> str:
        """A sentence that says which runs are drawn, if not all are."""
        if len(self.drawn) == len(self.names):
            return ""
        if not self.results:
            return f"Drawn are the last {MAX_CURVES} of {len(self.names)} runs."
        which = "highest" if self.results[0].goal == "maximize" else "lowest"
        return f"Drawn are the {MAX_CURVES} of {len(self.names)} runs with the {which} {self.results[0].heading}."

    def _ranked(self, column: RunColumn) -> list[int]:
        """Return the runs, the best by a column first, and those without it last."""
        sign = -1 if column.goal == "maximize" else 1
        ranks = [entry.rank for entry in column.cells]
        numbers = [(rank is None, sign * rank if isinstance(rank, float) else 0.0) for rank in ranks]
        return sorted(range(len(ranks)), key=numbers.__getitem__)

    def _of_kind(self, kind: str) -> list[str]:
        return [name for name in self.table.names.full if name.partition(".")[0] == kind and "." in name]

    def _columns(self, names: Iterable[str]) -> list[RunColumn]:
        return [self._column(name) for name in names]

    def _column(self, name: str) -> RunColumn:
        values = [flat(row.get(name)) for row in self.table.rows]
        present = [value for value in values if value is not None]
        goal = self.goals.get(name.removeprefix("best.")) if name.startswith("best.") else None
        is_number = name == "took" or (bool(present) and are_numbers(present))
        numbers = [value for value in present if isinstance(value, int | float)]
        best = {"minimize": min, "maximize": max}[goal](numbers) if goal and is_number and _differ(numbers) else None
        cells = tuple(RunCell(cell(name, value), _rank(value), best is not None and value == best) for value in values)
        return RunColumn(name, printable(self._heading(name)), goal, is_number, cells)

    def _heading(self, name: str) -> str:
        """Return the name of a column as the page has it: of an input, the end that no other input has."""
        kind, _, _ = name.partition(".")
        if name == "started" or kind != "inputs":
            return "started (UTC)" if name == "started" else self.table.names.shortest(name)
        end = name.rpartition(".")[2]
        is_unique = [other.rpartition(".")[2] for other in self.table.names.full].count(end) == 1
        return end if is_unique else self.table.names.shortest(name)


def comparison_of(runs: Sequence[Run[Any]]) -> Comparison:
    """Compare several runs."""
    names = [printable(run.path.stem) for run in runs]
    if len(set(names)) < len(names):
        names = [printable(str(run.path)) for run in runs]
    goals: dict[str, Goal] = {name: declared.goal for run in runs for name, declared in run.declared.items()}
    return Comparison(names, table_of(summary_of(run.path) for run in runs), goals)


def _count(column: RunColumn) -> int:
    return len({entry.rank for entry in column.cells if entry.rank is not None})


def _differ(numbers: Sequence[float]) -> bool:
    return len(set(numbers)) > 1


def _rank(value: Any) -> str | float | None:
    if isinstance(value, datetime):
        return value.timestamp()
    if are_numbers([value]):
        return float(value)
    return None if value is None else str(value)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
