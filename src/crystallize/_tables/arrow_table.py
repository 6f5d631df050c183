"""Record batches of points: which columns a table has, their types, and their contents.

First all points are observed, and thereby all columns found. Then each series is written to batches.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, groupby, repeat
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic_core import to_json

from .._base.optional import OptionalModule
from .._base.text import legible
from .._core.metrics import Metric
from .._core.packed_columns import CodedColumn, PackedColumn, unrestorable_parts
from .._core.point_sections import Piece
from .._journal.rows import Declared
from .columns import (
    ArrowArray,
    ColumnContents,
    ColumnEncoding,
    ItemKind,
    arrow_array,
    dictionary_array,
    dictionary_of,
    dictionary_type,
    encoding_for,
    exact_json,
    nearest_float,
    repeated_text,
)

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = OptionalModule("pyarrow", "arrow")

_OWN: Final = ("run", "step", "branch", "sequence", "metric", "value", "value_json", "missing")
"""The names of columns that no tag and no input may take."""
_BATCH: Final = 1 << 22
"""Points after which a batch ends with the current block."""


@dataclass(frozen=True)
class PointOrigin:
    """The run or context that recorded some points, without the points."""

    run: str | None = None
    steps: Sequence[str | None] = (None,)
    """The names of the steps, by their numbers in stored points."""
    metrics: Mapping[str, Metric[Any, Any] | None] = field(default_factory=dict)
    """By name; None for a metric that is not declared."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """The inputs of the run, if they become columns."""
    declared: Mapping[str, Declared] = field(default_factory=dict)
    """The units, goals and descriptions of metrics in a run's file."""
    items: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The scalars of the items of branches, by the names of their fields; a scalar itself has an empty name."""
    results: Mapping[str, Any] = field(default_factory=dict)
    """The scalar values that the run wrote, if they become columns."""


class SourcePoints(NamedTuple):
    """The points of one run or context, by metric."""

    origin: PointOrigin
    series: dict[str, list[Piece]]


def reader_of(sources: Sequence[SourcePoints]) -> "pa.RecordBatchReader":
    """Return a reader of all points, one source after the other."""
    layout = TableLayout()
    for origin, series in sources:
        layout.declare(origin)
        for name, pieces in series.items():
            layout.observe(name, pieces)
    batches = (
        batch
        for origin, series in sources
        for name, pieces in series.items()
        for batch in layout.batches(origin, name, pieces)
    )
    return pa.RecordBatchReader.from_batches(layout.schema, batches)


class TableLayout:
    """The columns of a table, based on the declarations and the recorded points."""

    def __init__(self) -> None:
        self._indices: dict[str, dict[str, int]] = {name: {} for name in ("run", "step", "branch", "metric")}
        self._metrics: dict[str, Metric[Any, Any] | None] = {}
        self._declared: dict[str, Declared] = {}
        self._kinds: dict[str, ItemKind] = {}
        self._value = ColumnContents()
        self._tags: dict[str, ColumnContents] = {}
        self._inputs: dict[str, ColumnContents] = {}
        self._results: dict[str, ColumnContents] = {}
        self._items: dict[str, ColumnContents] = {}
        self._steps: tuple[PointOrigin, ArrowArray] | None = None

    def declare(self, origin: PointOrigin) -> None:
        """Add the columns that follow without the points."""
        for step in origin.steps:
            self._index("step", step)
        self._index("run", origin.run)
        for name, metric in origin.metrics.items():
            self._declare(name, metric)
        for name, declared in origin.declared.items():
            self._declared.setdefault(name, declared)
        for key, value in origin.inputs.items():
            self._inputs.setdefault(key, ColumnContents()).observe((value,))
        for key, value in origin.results.items():
            self._results.setdefault(key, ColumnContents()).observe((value,))
        for item in origin.items.values():
            for key, value in item.items():
                self._items.setdefault(key, ColumnContents()).observe((value,))

    def _index(self, column: str, text: str | None) -> int | None:
        """Return the index of a text in the dictionary of a column, after adding the text if it is new."""
        indices = self._indices[column]
        return None if text is None else indices.setdefault(legible(text), len(indices))

    def _declare(self, name: str, metric: Metric[Any, Any] | None) -> None:
        if self._metrics.get(name) is None:
            self._metrics[name] = metric
        self._index("metric", name)
        self._value.declare(None if metric is None else metric.checks.value_key.domain)
        for tag, key in metric.checks.tag_keys.items() if metric is not None else ():
            self._tags.setdefault(tag, ColumnContents()).declare(key.domain)

    def observe(self, name: str, pieces: Iterable[Piece]) -> None:
        """Add the columns of points of a metric."""
        if name not in self._metrics:
            self._declare(name, None)
        metric, kinds = self._metrics[name], self._kinds.get(name, ItemKind.NOTHING)
        known = metric.checks.tag_keys if metric is not None else {}
        for block, _, branch, _, _ in pieces:
            self._index("branch", branch)
            kinds |= self._value.observe(block.packed)
            for tag in block.tag_names:
                if tag not in known:
                    self._tags.setdefault(tag, ColumnContents()).declare(None)
                self._tags[tag].observe(block.tag(tag))
        self._kinds[name] = kinds

    # All members below are used after the last call of `declare` and `observe`.

    @cached_property
    def _value_encoding(self) -> ColumnEncoding | None:
        """The encoding of the values if they have a common type."""
        encoding = encoding_for(self._value)
        if encoding.type == pa.null():
            return ColumnEncoding(pa.float64(), nearest_float)
        return None if encoding.is_json else encoding

    @cached_property
    def _dictionaries(self) -> dict[str, ArrowArray]:
        return {name: dictionary_of(indices) for name, indices in self._indices.items()}

    @cached_property
    def _tag_encodings(self) -> dict[str, ColumnEncoding]:
        return {tag: encoding_for(contents) for tag, contents in self._tags.items()}

    @cached_property
    def _input_encodings(self) -> dict[str, ColumnEncoding]:
        return {key: encoding_for(contents) for key, contents in self._inputs.items()}

    @cached_property
    def _result_encodings(self) -> dict[str, ColumnEncoding]:
        return {key: encoding_for(contents) for key, contents in self._results.items()}

    @cached_property
    def _item_encodings(self) -> dict[str, ColumnEncoding]:
        return {key: encoding_for(contents) for key, contents in self._items.items()}

    @cached_property
    def _tag_columns(self) -> dict[str, str]:
        """The names of the columns of tags."""
        taken = {*_OWN}
        return {tag: _column_name(tag, "tag", taken) for tag in self._tags}

    @cached_property
    def _has_unrestorable(self) -> bool:
        return any(contents.has_unrestorable for contents in (self._value, *self._tags.values()))

    @cached_property
    def schema(self) -> "pa.Schema":
        """The names and types of the columns; the metadata contains units, goals and descriptions of the metrics."""
        text, value = dictionary_type(), self._value_encoding
        fields = [
            *(pa.field(name, text) for name in ("run", "step", "branch")),
            pa.field("sequence", pa.int64()),
            pa.field("metric", text),
            pa.field("value", pa.float64() if value is None else value.type),
            *([pa.field("value_json", pa.large_string())] if value is None else []),
            *([pa.field("missing", pa.large_string())] if self._has_unrestorable else []),
        ]
        fields += [_field(self._tag_columns[tag], "tag", tag, form) for tag, form in self._tag_encodings.items()]
        taken = {*_OWN, *self._tag_columns.values()}
        for key, encoding in self._input_encodings.items():
            fields.append(_field(_column_name(key, "input", taken), "input", key, encoding))
        for key, encoding in self._result_encodings.items():
            fields.append(_field(_column_name(key, "values", taken), "values", key, encoding))
        for key, encoding in self._item_encodings.items():
            fields.append(_field(_column_name(f"item.{key}" if key else "item", "item", taken), "item", key, encoding))
        known: dict[str, Metric[Any, Any] | Declared] = {**self._declared}
        known |= {name: metric for name, metric in self._metrics.items() if metric is not None}
        facts = {legible(name): _facts(known.get(name)) for name in {**known, **self._metrics}}
        return pa.schema(fields, metadata={"crystallize": to_json({"metrics": facts})})

    def batches(self, origin: PointOrigin, name: str, pieces: Iterable[Piece]) -> "Iterator[pa.RecordBatch]":
        """Return the points of a metric as batches, which are large unless the points are few."""
        steps = self._step_indices(origin)
        collected: list[Piece] = []
        size = 0
        for piece in pieces:
            collected.append(piece)
            size += piece.block.size
            if size >= _BATCH:
                yield self._batch(origin, name, collected, size, steps)
                collected.clear()
                size = 0
        if collected:
            yield self._batch(origin, name, collected, size, steps)

    def _step_indices(self, origin: PointOrigin) -> ArrowArray:
        """Return the index of each step of a source. It is made once, and not for each of many metrics."""
        if self._steps is None or self._steps[0] is not origin:
            self._steps = (origin, pa.array([self._index("step", step) for step in origin.steps], pa.int32()))
        return self._steps[1]

    def _batch(
        self, origin: PointOrigin, name: str, pieces: Sequence[Piece], size: int, steps: ArrowArray
    ) -> "pa.RecordBatch":
        columns: list[ArrowArray] = [
            self._repeated("run", origin.run, size),
            self._looked_up("step", steps, map(_step_numbers, pieces), size),
            self._branches(pieces, size),
            _positions(pieces),
            self._repeated("metric", name, size),
            *self._values(name, [piece.block.packed for piece in pieces], size),
            *([self._missing(pieces)] if self._has_unrestorable else []),
        ]
        for tag, encoding in self._tag_encodings.items():
            columns.append(arrow_array((piece.block.tag(tag) for piece in pieces), encoding))
        for key, encoding in self._input_encodings.items():
            columns.append(_repeated_value(origin.inputs.get(key), size, encoding))
        for key, encoding in self._result_encodings.items():
            columns.append(_repeated_value(origin.results.get(key), size, encoding))
        for key, encoding in self._item_encodings.items():
            columns.append(_items_of(origin, key, pieces, encoding))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _repeated(self, column: str, text: str | None, size: int) -> ArrowArray:
        return repeated_text(self._index(column, text), size, self._dictionaries[column])

    def _branches(self, pieces: Sequence[Piece], size: int) -> ArrowArray:
        if all(piece.source is None for piece in pieces):
            return self._repeated("branch", None, size)
        # 0 means no branch.
        numbers = array("i")
        for piece in pieces:
            index = self._index("branch", piece.source)
            numbers.extend(repeat(0 if index is None else index + 1, piece.block.size))
        indices = pa.array([None, *range(len(self._indices["branch"]))], pa.int32())
        return self._looked_up("branch", indices, [numbers], size)

    def _looked_up(self, column: str, indices: ArrowArray, numbers: Iterable[PackedColumn], size: int) -> ArrowArray:
        """Return an array of texts by packed numbers, each the position of a text's index in `indices`."""
        packed = [*numbers]
        tables = {part.table if isinstance(part, CodedColumn) else None for part in packed}
        table = tables.pop() if len(tables) == 1 else None
        if table is not None and len(table) == 1:
            return repeated_text(indices[table[0]].as_py(), size, self._dictionaries[column])
        found = indices.take(arrow_array(packed, ColumnEncoding(pa.int32(), int, accepts_numbers=True)))
        return dictionary_array(found, self._dictionaries[column])

    def _values(self, name: str, packed: Sequence[PackedColumn], size: int) -> list[ArrowArray]:
        if self._value_encoding is not None:
            return [arrow_array(packed, self._value_encoding)]
        numbers = arrow_array(packed, ColumnEncoding(pa.float64(), nearest_float, accepts_numbers=True))
        # True of nearly every metric.
        if self._kinds[name].is_number:
            return [numbers, pa.nulls(size, pa.large_string())]
        return [numbers, arrow_array(packed, ColumnEncoding(pa.large_string(), exact_json))]

    def _missing(self, pieces: Sequence[Piece]) -> ArrowArray:
        """Return, for each point, the columns whose items cannot be restored."""

        def column_names(parts: tuple[str | None, ...]) -> str | None:
            return ", ".join("value" if part is None else self._tag_columns[part] for part in parts) or None

        rows = chain.from_iterable(unrestorable_parts(piece.block) for piece in pieces)
        return pa.array(map(column_names, rows), pa.large_string())


def _column_name(name: str, prefix: str, taken: set[str]) -> str:
    """Return the name of the column of a tag or an input, with a prefix if the name is taken."""
    column = legible(name)
    # polars would replace an empty name.
    while not column or column in taken:
        column = f"{prefix}.{column}"
    taken.add(column)
    return column


def _field(column: str, role: str, name: str, encoding: ColumnEncoding) -> "pa.Field[Any]":
    """Return the field of a tag or an input."""
    facts = {role: legible(name), **({"encoding": "json"} if encoding.is_json else {})}
    return pa.field(column, encoding.type, metadata={"crystallize": to_json(facts)})


def _facts(metric: Metric[Any, Any] | Declared | None) -> dict[str, str]:
    """Return the unit, goal and description of a metric."""
    if metric is None:
        return {}
    facts = {"unit": metric.unit, "goal": metric.goal, "description": metric.description}
    return {name: legible(fact) for name, fact in facts.items() if fact is not None}


def _step_numbers(piece: Piece) -> PackedColumn:
    """Return the numbers of steps as they are in the context."""
    numbers, offset = piece.block.step_numbers, piece.offset
    if not offset:
        return numbers
    if isinstance(numbers, CodedColumn):
        return CodedColumn(numbers.codes, tuple(number + offset for number in numbers.table))
    return array("i", [number + offset for number in piece.block.numbers])


def _positions(pieces: Iterable[Piece]) -> ArrowArray:
    """Return the positions of points in their series."""
    spans: list[list[int]] = []
    for block, _, _, first, _ in pieces:
        if spans and spans[-1][1] == first:
            spans[-1][1] += block.size
        else:
            spans.append([first, first + block.size])
    untyped: Any = pa  # its stubs are older than this function
    ranges = [untyped.arange(begin, end) for begin, end in spans]
    return ranges[0] if len(ranges) == 1 else pa.concat_arrays(ranges)


def _items_of(origin: PointOrigin, key: str, pieces: Sequence[Piece], encoding: ColumnEncoding) -> ArrowArray:
    """Return a part of the item of the branch that each point comes from."""
    parts = []
    for source, group in groupby(pieces, lambda piece: piece.source):
        item: Mapping[str, Any] = {} if source is None else origin.items.get(source, {})
        parts.append(_repeated_value(item.get(key), sum(piece.block.size for piece in group), encoding))
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)


def _repeated_value(value: Any, size: int, encoding: ColumnEncoding) -> ArrowArray:
    item = None if value is None else encoding.convert(value)
    if encoding.dictionary is not None:
        return repeated_text(item, size, encoding.dictionary)
    scalar: Any = pa.scalar(item, encoding.type)
    column: ArrowArray = pa.repeat(scalar, size)
    return column
