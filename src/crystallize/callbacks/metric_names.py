"""Find the metric and the tags of each name that a training framework measures."""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from .._core.metrics import Metric
from .._core.series import FrozenMetrics, declared_metric
from ..errors import InvalidTagError, SchemaError, UndeclaredMetricWarning, UnknownMetricError

__all__ = ["Measurement", "MetricNames", "Names", "Target"]

MetricName: TypeAlias = Metric[Any, Any] | str
Names: TypeAlias = Mapping[str, MetricName | tuple[MetricName, Mapping[str, Any]] | None]
"""Maps a framework's name to a metric, to a metric with further tags, or to None, which leaves the name out."""


class Measurement(NamedTuple):
    """A value that a framework measured.

    Example:
        >>> Measurement("val_loss", 0.5, metric="loss", split="val").name
        'val_loss'
    """

    name: str
    """The framework's name for it, which `names` may map."""
    value: Any
    metric: str = ""
    """The name without the data set; empty if the framework does not tell the two apart."""
    split: str | None = None
    """The data set that it was measured on, which becomes the tag `split`."""
    is_extra: bool = False
    """Whether the framework adds it unasked, so that a schema need not declare it."""

    @classmethod
    def of_round(cls, split: str, metric: str, mean: float, deviation: float | None = None) -> "Iterator[Measurement]":
        """Return the measurements of a round of boosting, with names such as "train-rmse".

        Args:
            split: The data set.
            metric: The metric of the schema.
            mean: The value; in cross-validation the mean over the folds.
            deviation: In cross-validation the standard deviation over the folds, which is named "train-rmse-std".
        """
        yield cls(f"{split}-{metric}", mean, metric, split)
        if deviation is not None:
            yield cls(f"{split}-{metric}-std", deviation, f"{metric}-std", split, is_extra=True)


class Target(NamedTuple):
    """The metric that a framework's name is recorded as."""

    metric: MetricName
    tags: Mapping[str, Any]
    allowed: frozenset[str] | None
    """The tags that the metric declares; None if it takes any."""

    def tags_of(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tags of a point. Those of the target go before the given ones."""
        tags = {name: tag for name, tag in {**given, **self.tags}.items() if tag is not None}
        return {name: tag for name, tag in tags.items() if self.allowed is None or name in self.allowed}


class MetricNames:
    """Finds the metrics of a framework's names in a context, and the tags of their points."""

    def __init__(self, metrics: FrozenMetrics, names: Names, tags: Mapping[str, Any]) -> None:
        self._metrics, self._names, self._tags = metrics, dict(names), dict(tags)
        self._targets: dict[str, Target | None] = {}
        """The targets of the names that were measured so far; None for a name that is left out."""
        for metric, further in (self._named(name) for name, named in self._names.items() if named is not None):
            self._check_tags(metric, further)
        self._check_common_tags()

    def _check_tags(self, metric: MetricName, tags: Mapping[str, Any]) -> None:
        declared = declared_metric(self._metrics.series(metric))
        for tag, value in tags.items():
            if declared is not None:
                declared.checks.check_tag(declared.name, tag, value)

    def _check_common_tags(self) -> None:
        schema = self._metrics.schema
        known = set[str]() if schema is None else {tag for m in schema.metrics.values() for tag in m.checks.tag_names}
        for tag in self._tags:
            if schema is not None and tag not in known:
                reason = f"no metric declares the tag {tag!r} of `tags`; declare it, or remove it"
                raise SchemaError(schema.__qualname__, reason)

    def check(self, measured: Measurement, tags: Mapping[str, Any], *, is_late: bool) -> None:
        """Look a name up for the first time. If it is not declared, raise, or warn if it is too late for an error."""
        name = measured.name
        if name in self._targets:
            return
        self._targets[name] = None
        try:
            target = self.find(measured)
            declared = None if target is None else declared_metric(self._metrics.series(target.metric))
            if target is not None and declared is not None:
                declared.checks.check_tags(declared.name, self.tags_of(target, measured, tags))
            self._targets[name] = target
        except (UnknownMetricError, InvalidTagError) as error:
            if measured.is_extra and isinstance(error, UnknownMetricError):
                return
            if is_late:
                warnings.warn(UndeclaredMetricWarning(name, str(error)), stacklevel=2)
                return
            del self._targets[name]
            error.add_note(f"Map it by names={{{name!r}: ...}} of the callback, or leave it out: {{{name!r}: None}}")
            raise

    def target(self, measured: Measurement) -> Target | None:
        """Return the target of a name that was checked; None if it is left out."""
        return self._targets[measured.name]

    def tags_of(self, target: Target, measured: Measurement, tags: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tags of a measurement that its metric declares."""
        return target.tags_of({**tags, "split": measured.split, **self._tags})

    def find(self, measured: Measurement) -> Target | None:
        """Return the target of a name, or None if it is left out. Raise UnknownMetricError if it is not declared."""
        name, metric = measured.name, measured.metric or measured.name
        if name in self._names:
            return None if self._names[name] is None else self._of(*self._named(name))
        schema = self._metrics.schema
        if schema is None:
            return self._of(metric, {})
        declared = None if name in schema.metrics else schema.metrics.get(metric)
        has_split = measured.split is None or (declared is not None and "split" in declared.checks.tag_names)
        return self._of(metric if declared is not None and has_split else name, {})

    def _named(self, name: str) -> tuple[MetricName, Mapping[str, Any]]:
        named: Any = self._names[name]
        return named if isinstance(named, tuple) else (named, {})

    def _of(self, metric: MetricName, tags: Mapping[str, Any]) -> Target:
        declared = declared_metric(self._metrics.series(metric))
        return Target(metric, tags, None if declared is None else frozenset(declared.checks.tag_names))
