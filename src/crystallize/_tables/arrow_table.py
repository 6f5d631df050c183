"""Tables of points: which columns there are, of which types, and how they are filled."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pydantic_core import to_json

from .._base.optional import Extra
from .._base.text import legible
from .._core.metrics import Metric
from .._core.point_log import Coded, Column, Piece, unrestorable_parts
from .._journal.rows import Declared
from .columns import Form, Kind, Seen, beside, constant, encoded, form_of, gathered, number, text_dictionary

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = Extra("pyarrow", "arrow")

__all__ = ["Layout", "Source"]

_Array: TypeAlias = "pa.Array[Any]"
_Field: TypeAlias = "pa.Field[Any]"

_OWN: Final = ("run", "step", "branch", "sequence", "metric", "value", "value_json", "missing")
"""The names of columns that no tag and no input has."""
_LONGEST: Final = 1 << 22
"""Points in a batch, or up to a block more."""


@dataclass(frozen=True)
class Source:
    """Whose points they are."""

    run: str | None = None
    steps: Sequence[str | None] = (None,)
    """The steps by the numbers of their scopes."""
    metrics: Mapping[str, Metric[Any, Any] | None] = field(default_factory=dict)
    """By name; None where it was not declared."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """The values that the run began with, where they are to be columns."""
    declared: Mapping[str, Declared] = field(default_factory=dict)
    """What the file of a run says of its metrics besides their types."""


class Layout:
    """The columns of a table, made for what was declared and what was seen."""

    def __init__(self) -> None:
        self._places: dict[str, dict[str, int]] = {name: {} for name in ("run", "step", "branch", "metric")}
        self._metrics: dict[str, Metric[Any, Any] | None] = {}
        self._declared: dict[str, Declared] = {}
        self._kinds: dict[str, Kind] = {}
        self._value = Seen()
        self._tags: dict[str, Seen] = {}
        self._inputs: dict[str, Seen] = {}

    def declare(self, source: Source) -> None:
        """Make columns for what is known of a run without its points."""
        for step in source.steps:
            self._place("step", step)
        self._place("run", source.run)
        for name, metric in source.metrics.items():
            self._declare(name, metric)
        for name, one in source.declared.items():
            self._declared.setdefault(name, one)
        for key, value in source.inputs.items():
            self._inputs.setdefault(key, Seen()).see((value,))

    def _place(self, column: str, text: str | None) -> int | None:
        """Return the place of a text in the dictionary of a column, where it gets one if it has none."""
        places = self._places[column]
        return None if text is None else places.setdefault(legible(text), len(places))

    def _declare(self, name: str, metric: Metric[Any, Any] | None) -> None:
        if self._metrics.get(name) is None:
            self._metrics[name] = metric
        self._place("metric", name)
        self._value.declare(None if metric is None else metric.checks.value_key.outcome)
        for tag, key in metric.checks.tag_keys.items() if metric is not None else ():
            self._tags.setdefault(tag, Seen()).declare(key.outcome)

    def see(self, name: str, pieces: Iterable[Piece]) -> None:
        """Make columns for points.

        Args:
            name: Their metric.
            pieces: The points.
        """
        if name not in self._metrics:
            self._declare(name, None)
        metric, kinds = self._metrics[name], self._kinds.get(name, Kind.NOTHING)
        known = metric.checks.tag_keys if metric is not None else {}
        for block, _, branch, _ in pieces:
            self._place("branch", branch)
            kinds |= self._value.see(block.packed)
            for tag in block.tag_names:
                if tag not in known:
                    self._tags.setdefault(tag, Seen()).declare(None)
                self._tags[tag].see(block.tag(tag))
        self._kinds[name] = kinds

    # What follows is for when all has been seen.

    @cached_property
    def _value_form(self) -> Form | None:
        """How the values are made where they are of one type; None where they are not."""
        form = form_of(self._value)
        if form.type == pa.null():
            return Form(pa.float64(), number)
        return None if form.is_json else form

    @cached_property
    def _dictionaries(self) -> dict[str, _Array]:
        return {name: text_dictionary(places)[1] for name, places in self._places.items()}

    @cached_property
    def _tag_forms(self) -> dict[str, Form]:
        return {tag: form_of(seen) for tag, seen in self._tags.items()}

    @cached_property
    def _input_forms(self) -> dict[str, Form]:
        return {key: form_of(seen) for key, seen in self._inputs.items()}

    @cached_property
    def _tag_columns(self) -> dict[str, str]:
        """The names of the columns of tags."""
        taken = {*_OWN}
        return {tag: _column_of(tag, "tag", taken) for tag in self._tags}

    @cached_property
    def _is_lacking(self) -> bool:
        """Whether there is something that the file of a run could not give back."""
        return any(seen.is_lacking for seen in (self._value, *self._tags.values()))

    @cached_property
    def schema(self) -> "pa.Schema":
        """The names and types of the columns; its metadata says what is known of the metrics."""
        text, _ = text_dictionary(())
        value = self._value_form
        fields = [
            *(pa.field(name, text) for name in ("run", "step", "branch")),
            pa.field("sequence", pa.int64()),
            pa.field("metric", text),
            pa.field("value", pa.float64() if value is None else value.type),
            *([pa.field("value_json", pa.large_string())] if value is None else []),
            *([pa.field("missing", pa.large_string())] if self._is_lacking else []),
        ]
        fields += [_field(self._tag_columns[tag], "tag", tag, form) for tag, form in self._tag_forms.items()]
        taken = {*_OWN, *self._tag_columns.values()}
        for key, form in self._input_forms.items():
            column = _column_of(key, "input", taken)
            fields.append(_field(column, "input", key, form))
        known: dict[str, Metric[Any, Any] | Declared] = {**self._declared}
        known |= {name: one for name, one in self._metrics.items() if one is not None}
        facts = {legible(name): _facts(known.get(name)) for name in {**known, **self._metrics}}
        return pa.schema(fields, metadata={"crystallize": to_json({"metrics": facts})})

    def batches(self, source: Source, name: str, pieces: Iterable[Piece]) -> "Iterator[pa.RecordBatch]":
        """Return points as batches, which are large unless the points are few.

        Args:
            source: Whose they are.
            name: Their metric.
            pieces: The points.
        """
        steps = pa.array([self._place("step", step) for step in source.steps], pa.int32())
        held: list[Piece] = []
        size = 0
        for piece in pieces:
            held.append(piece)
            size += piece.block.size
            if size >= _LONGEST:
                yield self._batch(source, name, held, size, steps)
                held.clear()
                size = 0
        if held:
            yield self._batch(source, name, held, size, steps)

    def _batch(self, source: Source, name: str, pieces: Sequence[Piece], size: int, steps: _Array) -> "pa.RecordBatch":
        columns: list[_Array] = [
            self._constant("run", source.run, size),
            self._looked_up("step", steps, map(_moved, pieces), size),
            self._branches(pieces, size),
            _sequence(pieces),
            self._constant("metric", name, size),
            *self._values(name, [piece.block.packed for piece in pieces], size),
            *([self._missing(pieces)] if self._is_lacking else []),
        ]
        for tag, form in self._tag_forms.items():
            columns.append(gathered((piece.block.tag(tag) for piece in pieces), form))
        for key, form in self._input_forms.items():
            columns.append(_repeated(source.inputs.get(key), size, form))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _constant(self, column: str, text: str | None, size: int) -> _Array:
        return constant(self._place(column, text), size, self._dictionaries[column])

    def _branches(self, pieces: Sequence[Piece], size: int) -> _Array:
        if all(piece.branch is None for piece in pieces):
            return self._constant("branch", None, size)
        # After what stands for none.
        places = array("i")
        for piece in pieces:
            place = self._place("branch", piece.branch)
            places.extend(repeat(0 if place is None else place + 1, piece.block.size))
        names = pa.array([None, *range(len(self._places["branch"]))], pa.int32())
        return self._looked_up("branch", names, [places], size)

    def _looked_up(self, column: str, texts: _Array, numbers: Iterable[Column], size: int) -> _Array:
        """Return a column of texts by numbers that stand for them."""
        packed = [*numbers]
        tables = {one.table if isinstance(one, Coded) else None for one in packed}
        table = tables.pop() if len(tables) == 1 else None
        if table is not None and len(table) == 1:
            return constant(texts[table[0]].as_py(), size, self._dictionaries[column])
        places = texts.take(gathered(packed, Form(pa.int32(), int, takes_numbers=True)))
        return encoded(places, self._dictionaries[column])

    def _values(self, name: str, packed: Sequence[Column], size: int) -> list[_Array]:
        if self._value_form is not None:
            return [gathered(packed, self._value_form)]
        numbers = gathered(packed, Form(pa.float64(), number, takes_numbers=True))
        # As it nearly always is.
        if self._kinds[name].is_number:
            return [numbers, pa.nulls(size, pa.large_string())]
        return [numbers, gathered(packed, Form(pa.large_string(), beside))]

    def _missing(self, pieces: Sequence[Piece]) -> _Array:
        """Return, for each point, the columns in which there is not what was recorded."""

        def told(parts: tuple[str | None, ...]) -> str | None:
            return ", ".join("value" if part is None else self._tag_columns[part] for part in parts) or None

        rows = chain.from_iterable(unrestorable_parts(piece.block) for piece in pieces)
        return pa.array(map(told, rows), pa.large_string())


def _column_of(name: str, what: str, taken: set[str]) -> str:
    """Return the name of the column of a tag or an input, with what it is in front where another one has its name."""
    column = legible(name)
    # Without a name polars would give it one.
    while not column or column in taken:
        column = f"{what}.{column}"
    taken.add(column)
    return column


def _field(column: str, what: str, name: str, form: Form) -> _Field:
    """Return the field of a tag or an input."""
    facts = {what: legible(name), **({"encoding": "json"} if form.is_json else {})}
    return pa.field(column, form.type, metadata={"crystallize": to_json(facts)})


def _facts(metric: Metric[Any, Any] | Declared | None) -> dict[str, str]:
    """Return what is told of a metric."""
    if metric is None:
        return {}
    facts = {"unit": metric.unit, "goal": metric.goal, "description": metric.description}
    return {name: legible(fact) for name, fact in facts.items() if fact is not None}


def _moved(piece: Piece) -> Column:
    """Return the numbers of scopes as they are in the context."""
    scopes, offset = piece.block.scopes, piece.offset
    if not offset:
        return scopes
    if isinstance(scopes, Coded):
        return Coded(scopes.codes, tuple(number + offset for number in scopes.table))
    return array("i", [number + offset for number in piece.block.numbers])


def _sequence(pieces: Iterable[Piece]) -> _Array:
    """Return the places of points in their series."""
    spans: list[list[int]] = []
    for block, _, _, first in pieces:
        if spans and spans[-1][1] == first:
            spans[-1][1] += block.size
        else:
            spans.append([first, first + block.size])
    untyped: Any = pa  # its stubs are older than this function
    runs = [untyped.arange(begin, end) for begin, end in spans]
    return runs[0] if len(runs) == 1 else pa.concat_arrays(runs)


def _repeated(value: Any, size: int, form: Form) -> _Array:
    place = None if value is None else form.convert(value)
    if form.dictionary is not None:
        return constant(place, size, form.dictionary)
    scalar: Any = pa.scalar(place, form.type)
    column: _Array = pa.repeat(scalar, size)
    return column
