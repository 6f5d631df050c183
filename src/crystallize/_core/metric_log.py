"""The log of one metric: its declaration and its points, and how values and tags are prepared for it."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any

from .._base.text import short
from ..errors import InvalidMetricError, InvalidTagError, MetricError, Problem
from .immutable_types import PLAIN
from .metrics import Metric
from .point_log import PointLog, fetch, store
from .secrets import secrets_in
from .steps import StepToken


@dataclass(eq=False)
class MetricLog:
    """One metric of one context: its declaration and its points."""

    name: str
    metric: Metric[Any, Any] | None
    """The declaration; None if the metric is not declared."""
    points: PointLog

    def note_use(self, token: StepToken) -> None:
        """Note that a step may record points from now on. Its end counts the points of these metrics only."""
        if token.step is not None and self.name not in token.marks:
            token.marks[self.name] = self.points.mark()

    def prepare(self, value: Any, tags: Any) -> tuple[Any, dict[str, Any]]:
        """Validate and freeze a value and its tags."""
        return self.prepare_value(value), self.prepare_tags(tags)

    def prepare_value(self, value: Any) -> Any:
        """Validate and freeze a value."""
        number = value if type(value) in PLAIN else as_number(value)
        checks = None if self.metric is None else self.metric.checks
        valid = (
            number
            if checks is None
            else checked(partial(checks.check, self.name), number, partial(InvalidMetricError, self.name))
        )
        if type(valid) in PLAIN:
            return valid
        if secrets_in(valid):
            raise InvalidMetricError(self.name, (Problem((), "should be no secret", type(value).__name__, None),))
        return store(valid, f"a value of metric {self.name!r}", is_declared=self.metric is not None)

    def prepare_tags(self, tags: Any) -> dict[str, Any]:
        """Validate and freeze tags."""
        checks = None if self.metric is None else self.metric.checks
        if checks is None:
            valid = _free_tags(self.name, tags)
        else:
            check = partial(checks.check_tags, self.name)
            valid = checked(check, with_numbers(tags), partial(InvalidTagError, self.name))
        return {name: tag if type(tag) in PLAIN else self._prepare_tag(name, tag) for name, tag in valid.items()}

    def _prepare_tag(self, name: str, tag: Any) -> Any:
        tag = as_number(tag)
        if secrets_in(tag):
            raise InvalidTagError(self.name, (Problem((name,), "should be no secret", type(tag).__name__, None),))
        return store(tag, f"a tag of metric {self.name!r}", is_declared=self.metric is not None)

    def tags_of(self, kept: dict[str, Any]) -> Any:
        """Return tags as a reader gets them."""
        tags = fetched(kept)
        if self.metric is None:
            return tags
        return None if self.metric.tags is None else self.metric.checks.make_tags(tags)


def fetched(tags: dict[str, Any]) -> dict[str, Any]:
    """Return tags as a reader gets them, by name."""
    return tags.copy() if PLAIN.issuperset(map(type, tags.values())) else {tag: fetch(tags[tag]) for tag in tags}


def as_number(value: Any) -> Any:
    """Convert a NumPy, ml_dtypes or PyTorch scalar to the Python number or text in it, which is exactly equal."""
    package = type(value).__module__.partition(".")[0]
    if package not in ("numpy", "ml_dtypes", "torch") or getattr(value, "ndim", None) != 0:
        return value
    # Times are no numbers: 5 ns would become 5, and NaT None.
    if package == "numpy" and value.dtype.kind not in "biufcSU":
        return value
    return value.item()


def with_numbers(tags: Any) -> Any:
    """Return tags with NumPy, ml_dtypes and PyTorch scalars converted to Python numbers."""
    if not isinstance(tags, Mapping) or PLAIN.issuperset(map(type, tags.values())):
        return tags
    return {name: as_number(value) for name, value in tags.items()}


def checked(check: Callable[[Any], Any], given: Any, error: Callable[[tuple[Problem, ...]], MetricError]) -> Any:
    """Check a value or the tags of a point, so that no time of NumPy becomes a number.

    Pydantic accepts some of these times as ints, without their unit. They are kept as they are if the type accepts
    that, as Any does; else they are checked as Python's times, if these are exactly equal.
    """
    if not _times_in(given):
        return check(given)
    with suppress(MetricError):
        valid = check(given)
        if not _lost(given, valid):
            return valid
    plain = {name: as_time(tag) for name, tag in given.items()} if isinstance(given, Mapping) else as_time(given)
    valid = check(plain)
    if lost := _lost(plain, valid):
        should = "should be a time of Python, or a number: this time of NumPy has no exact equal"
        raise error(tuple(Problem(at, should, type(time).__name__, short(time)) for at, time in lost))
    return valid


def _times_in(given: Any) -> list[tuple[tuple[str, ...], Any]]:
    """Return the times of NumPy in a value or in tags, each after its location."""
    parts = [((name,), tag) for name, tag in given.items()] if isinstance(given, Mapping) else [((), given)]
    return [(at, part) for at, part in parts if type(part) not in PLAIN and _is_time(part)]


def _lost(given: Any, valid: Any) -> list[tuple[tuple[str, ...], Any]]:
    """Return the times of NumPy that a validator replaced."""
    kept = {id(part) for part in (valid.values() if isinstance(valid, Mapping) else [valid])}
    return [(at, time) for at, time in _times_in(given) if id(time) not in kept]


def _is_time(value: Any) -> bool:
    return type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0 and value.dtype.kind in "mM"


def as_time(value: Any) -> Any:
    """Convert a NumPy time to the datetime, date or timedelta that is exactly equal; return the rest as it is."""
    if not _is_time(value):
        return value
    unit = value.dtype.str[1:]
    if unit == "M8[D]":
        found = value.item()
    elif unit.partition("[")[2].strip("0123456789]") not in ("D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"):
        return value
    else:
        rounded = value.astype(f"{unit[0]}8[us]")
        # Also unequal if it is NaT.
        found = rounded.item() if rounded.astype(value.dtype) == value else None
    # NumPy has an int for a year that Python lacks, and None for NaT.
    return found if isinstance(found, (date, timedelta)) else value


def _free_tags(metric: str, tags: Any) -> dict[str, Any]:
    """Return undeclared tags by name."""
    if tags is None:
        return {}
    if not isinstance(tags, Mapping):
        should = "should be a mapping from names to values"
        raise InvalidTagError(metric, (Problem((), should, type(tags).__name__, short(tags)),))
    for name in tags:
        if not isinstance(name, str):
            raise InvalidTagError(metric, (Problem((), "a name should be a str", type(name).__name__, short(name)),))
    return {str.__str__(name): value for name, value in tags.items()}
