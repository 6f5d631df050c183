"""The log of one metric: its declaration and its points, and how values and tags are prepared for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._base.text import short
from ..errors import InvalidMetricError, InvalidTagError, Problem
from .immutable_types import PLAIN
from .metrics import Metric
from .point_log import PointLog, fetch, store
from .secrets import secrets_in


@dataclass(eq=False)
class MetricLog:
    """One metric of one context: its declaration and its points."""

    name: str
    metric: Metric[Any, Any] | None
    """The declaration; None if the metric is not declared."""
    points: PointLog

    def prepare(self, value: Any, tags: Any) -> tuple[Any, dict[str, Any]]:
        """Validate and freeze a value and its tags."""
        return self.prepare_value(value), self.prepare_tags(tags)

    def prepare_value(self, value: Any) -> Any:
        """Validate and freeze a value."""
        number = value if type(value) in PLAIN else as_number(value)
        valid = number if self.metric is None else self.metric.checks.check(self.name, number)
        if type(valid) in PLAIN:
            return valid
        if secrets_in(valid):
            raise InvalidMetricError(self.name, (Problem((), "should be no secret", type(value).__name__, None),))
        return store(valid, f"a value of metric {self.name!r}")

    def prepare_tags(self, tags: Any) -> dict[str, Any]:
        """Validate and freeze tags."""
        checks = None if self.metric is None else self.metric.checks
        valid = _free_tags(self.name, tags) if checks is None else checks.check_tags(self.name, with_numbers(tags))
        return {name: tag if type(tag) in PLAIN else self._prepare_tag(name, tag) for name, tag in valid.items()}

    def _prepare_tag(self, name: str, tag: Any) -> Any:
        tag = as_number(tag)
        if secrets_in(tag):
            raise InvalidTagError(self.name, (Problem((name,), "should be no secret", type(tag).__name__, None),))
        return store(tag, f"a tag of metric {self.name!r}")

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
    """Convert a NumPy or PyTorch scalar to the Python number in it."""
    package = type(value).__module__.partition(".")[0]
    if package in ("numpy", "torch") and getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


def with_numbers(tags: Any) -> Any:
    """Return tags with NumPy and PyTorch scalars converted to Python numbers."""
    if not isinstance(tags, Mapping) or PLAIN.issuperset(map(type, tags.values())):
        return tags
    return {name: as_number(value) for name, value in tags.items()}


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
