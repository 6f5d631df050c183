"""The JSON in the rows of a run's database, checked.

A field that this version does not know is left out, so that a later version may add some. The file keeps it, also when
the run is resumed.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, NotRequired, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from .._base.text import short
from .environment import Origin

_T = TypeVar("_T")

_adapters: dict[object, TypeAdapter[Any]] = {}
"""By shape. Each is made when it is first used, as that takes longer than the import of this file."""

Count = Annotated[int, Field(ge=0, lt=1 << 63)]


class StoredDeclaration(TypedDict):
    """The declaration of a metric; an absent field is None."""

    unit: NotRequired[str | None]
    goal: NotRequired[Literal["minimize", "maximize"] | None]
    description: NotRequired[str | None]


class StoredFingerprints(TypedDict):
    """The fingerprints of the types of a process, with the declarations of its metrics."""

    keys: dict[str, str]
    others: NotRequired[str | None]
    metrics: NotRequired[dict[str, str]]
    declared: NotRequired[dict[str, StoredDeclaration]]
    code: NotRequired[dict[str, str]]
    metrics_code: NotRequired[dict[str, str]]


class StoredRecord(TypedDict):
    """The record of a step."""

    step: str
    reads: list[str]
    absent: list[str]
    writes: list[str]
    points: dict[str, Count]
    artifacts: list[str]
    started: str
    ended: str
    error: str | None
    artifact_reads: NotRequired[list[str]]
    absent_artifacts: NotRequired[list[str]]
    metric_reads: NotRequired[list[tuple[str, Count, Count]]]
    present: NotRequired[list[str]]
    blind: NotRequired[list[str]]
    reused_from: NotRequired[str | None]


class StoredInputs(TypedDict):
    """The digests of the code and the arguments of a task."""

    code: dict[str, str]
    arguments: dict[str, str]
    unknown: list[str]
    version: str | int | None


def inputs_in(text: str, step: str) -> StoredInputs | None:
    """Parse the digests of the task of a step; None if nobody took them."""
    return None if text == "null" else _parsed(f"the task of step {short(step)}", StoredInputs, text)


def origin_in(text: str) -> Origin:
    """Parse the environment of a process."""
    return _parsed("the environment of a process", Origin, text)


def fingerprints_in(text: str) -> dict[str, Any]:
    """Parse the fingerprints of a process."""
    found: dict[str, Any] = {**_parsed("the fingerprints of a process", StoredFingerprints, text)}
    return found


def record_in(text: str, step: str) -> StoredRecord:
    """Parse the record of a step, which has this name."""
    record = _parsed(f"the record of step {short(step)}", StoredRecord, text)
    if record["step"] != step:
        raise ValueError(f"the record of step {short(step)} belongs to step {short(record['step'])}")
    return record


def item_in(text: str) -> dict[str, Any]:
    """Parse the scalars of an item."""
    return {**_parsed("the item of a branch", dict[str, str | int | float | bool | None], text)}


def items_of(rows: Iterable[tuple[Any, ...]], items: Iterable[tuple[Any, ...]]) -> Mapping[str, Mapping[str, Any]]:
    """Return the scalars of the items of branches, given the rows of `forks` and `items`; the last fork counts."""
    last = {branch: position for branch, position, _ in rows}
    found = {position: item_in(text) for position, text in items}
    return {branch: found[position] for branch, position in last.items() if position in found}


def time_in(text: str) -> datetime:
    """Parse a time, which is in UTC."""
    found = datetime.fromisoformat(text)
    if found.utcoffset() != timedelta(0):
        raise ValueError(f"{short(text)} is not a time in UTC")
    return found


def _parsed(what: str, shape: type[_T], text: str) -> _T:
    """Parse JSON of this shape. Anything else raises ValueError, whose text names the field and not Pydantic's page."""
    if shape not in _adapters:
        _adapters[shape] = TypeAdapter(shape)
    adapter: TypeAdapter[_T] = _adapters[shape]
    try:
        return adapter.validate_json(text, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = short(".".join(map(str, problem["loc"]))) if problem["loc"] else "its JSON"
        raise ValueError(f"{what}: {where}: {problem['msg']}") from error
