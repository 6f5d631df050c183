"""Record the fits of a training framework: the step of each fit, and the metric and the tags of each measurement."""

import json
import os
import re
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, NamedTuple, NoReturn, Self, TypeAlias, TypedDict

from typing_extensions import Unpack

from .._base.masking import without
from .._base.text import short
from .._core.context import FrozenContext, state_of, token_of
from .._core.metrics import Metric
from ..errors import InvalidTagError, SchemaError, StepClosedError, UndeclaredMetricWarning, UnknownMetricError

__all__ = ["FitOptions", "FitRecorder", "Measurement", "Names"]

_MetricName: TypeAlias = Metric[Any, Any] | str
Names: TypeAlias = Mapping[str, _MetricName | tuple[_MetricName, Mapping[str, Any]] | None]
"""Maps a framework's name to a metric, to a metric with further tags, or to None, which leaves the name out."""

_OTHER_PROCESS: Final = (
    "it records in the context of the process that made it, and in another process the points would be lost; "
    "train in that process, or make the context and the callback in the process that trains"
)


class FitOptions(TypedDict, total=False):
    """The options that all callbacks take.

    Example:
        >>> options: FitOptions = {"names": {"val_loss": ("loss", {"split": "val"})}, "tags": {"fold": 3}}
    """

    names: Names
    """The metrics of the framework's names. Other names are recorded under the framework's name."""
    tags: Mapping[str, Any]
    """Tags for all points, such as the number of a fold. Each metric gets those that it declares."""
    step: str
    """The name of the step that each fit opens, by default "fit"."""


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
        """Return what was measured in a round of boosting, named as "train-rmse".

        Args:
            split: The data set.
            metric: The metric.
            mean: The value; in cross-validation the mean over the folds.
            deviation: In cross-validation the standard deviation over the folds, which is named "train-rmse-std".
        """
        yield cls(f"{split}-{metric}", mean, metric, split)
        if deviation is not None:
            yield cls(f"{split}-{metric}-std", deviation, f"{metric}-std", split, is_extra=True)


class _Target(NamedTuple):
    """The metric that a framework's name is recorded as."""

    metric: _MetricName
    tags: Mapping[str, Any]
    allowed: frozenset[str] | None
    """The tags that the metric declares; None if it takes any."""

    def tags_of(self, given: Mapping[str, Any]) -> dict[str, Any]:
        tags = {name: tag for name, tag in {**given, **self.tags}.items() if tag is not None}
        return {name: tag for name, tag in tags.items() if self.allowed is None or name in self.allowed}


class FitRecorder:
    """Records the fits of a training framework in a context. The callbacks of this package use it.

    Example:
        >>> from crystallize.callbacks.fit_recorder import Measurement
        >>> ctx = FrozenContext()
        >>> recorder = FitRecorder(ctx, names={"l": "loss"})
        >>> recorder.begin()
        >>> recorder.record([Measurement("l", 0.5)], epoch=1)
        >>> recorder.end()
        >>> list(ctx.metrics.series("loss"))
        [Point(value=0.5, tags={'epoch': 1}, step='fit')]
    """

    def __init__(self, ctx: FrozenContext[Any], **options: Unpack[FitOptions]) -> None:
        """Make a recorder.

        Args:
            ctx: The context, in which each fit opens a step, or a step, in which all fits are recorded.
            **options: See `FitOptions`.

        Raises:
            SchemaError: `ctx` is no context, or no metric of its schema declares one of the tags.
            MetricError: A metric in `names` is not declared, or does not allow the tags that stand beside it.
        """
        if not isinstance(ctx, FrozenContext):
            raise SchemaError(type(self).__name__, f"it records in a FrozenContext or a step, not in {short(ctx)}")
        self._ctx, self._name = ctx, options.get("step", "fit")
        self._names, self._tags = dict(options.get("names", {})), dict(options.get("tags", {}))
        self._targets: dict[str, _Target | None] = {}
        """The targets of the names that were measured so far; None for a name that is left out."""
        self._step: FrozenContext[Any] | None = None
        self._opened: AbstractContextManager[Any] | None = None
        self._has_points = False
        self._process = os.getpid()
        self._check_names()

    def _check_names(self) -> None:
        for metric, tags in (self._named(name) for name, named in self._names.items() if named is not None):
            declared = self._ctx.metrics.series(metric).metric
            for tag, value in tags.items():
                if declared is not None:
                    declared.checks.check_tag(declared.name, tag, value)
        schema = self._ctx.metrics.schema
        if schema is not None:
            for tag in self._tags:
                if not any(tag in metric.checks.tag_names for metric in schema.metrics.values()):
                    raise SchemaError(
                        schema.__qualname__, f"no metric declares the tag {tag!r} of `tags`; declare it, or remove it"
                    )

    @property
    def is_open(self) -> bool:
        """Whether a fit is being recorded."""
        return self._step is not None

    @property
    def step(self) -> FrozenContext[Any]:
        """The step of the fit.

        Raises:
            StepClosedError: No fit is open.
        """
        if self._step is None:
            raise StepClosedError(self._name)
        return self._step

    def begin(self, settings: Mapping[str, Any] | None = None, *, step: str | None = None) -> None:
        """Begin a fit. A fit that the framework has not ended is ended as failed.

        Args:
            settings: The hyperparameters, which become the artifact "fit-settings.json".
            step: The name of the step, if it differs from the one in the options.

        Raises:
            FinishedStepError: The step finished before the run was resumed.
            SchemaError: The process was forked from the one that made the recorder.
        """
        if os.getpid() != self._process:
            raise SchemaError(type(self).__name__, _OTHER_PROCESS)
        if self.is_open:
            self.end(RuntimeError("the training framework did not end this fit"))
        token_of(self._ctx).check_open()
        if token_of(self._ctx).step is None:
            self._opened = self._ctx.step(step or self._name)
            self._step = self._opened.__enter__()
        else:
            self._step = self._ctx
        self._has_points = False
        self.keep("settings", settings)

    def record(self, found: Iterable[Measurement], **tags: Any) -> None:
        """Record measurements that were made together.

        Args:
            found: The measurements.
            **tags: The tags, such as `epoch`. Each metric gets those that it declares, and no None.

        Raises:
            MetricError: A name is not declared, and the fit has no points yet; or a value is not allowed. The step of
                the fit ends with this error.
            StepClosedError: No fit is open.

        Warns:
            UndeclaredMetricWarning: A name that is not declared was measured later. It is left out.
        """
        step, measured = self.step, list(found)
        self.check(measured, **tags)
        with self._ending_on_error():
            for name, value, _, split, _ in measured:
                target = self._targets[name]
                if target is not None:
                    step.record(target.metric, value, target.tags_of({**tags, "split": split, **self._tags}))
                    self._has_points = True

    def replay(self, history: Iterable[tuple[Iterable[Measurement], Mapping[str, Any]]]) -> None:
        """Record the measurements of an earlier process that are not on record, for a fit that goes on.

        Args:
            history: The measurements that were made together, with their tags, oldest first.
        """
        on_record: dict[_MetricName, set[frozenset[tuple[str, Any]]]] = {}

        def is_missing(measured: Measurement, tags: Mapping[str, Any]) -> bool:
            target = self._targets[measured.name]
            if target is None:
                return False
            if target.metric not in on_record:
                known = self._ctx.metrics.get_tags(target.metric)
                on_record[target.metric] = {frozenset(point.items()) for point in known}
            point = target.tags_of({**tags, "split": measured.split, **self._tags})
            return frozenset(point.items()) not in on_record[target.metric]

        for found, tags in history:
            measured = list(found)
            self.check(measured, **tags)
            self.record([entry for entry in measured if is_missing(entry, tags)], **tags)

    def check(self, found: Iterable[Measurement], **tags: Any) -> None:
        """Check the names and tags of measurements without recording them; see `record`."""
        with self._ending_on_error():
            for measured in found:
                if measured.name not in self._targets:
                    self._targets[measured.name] = self._checked_target(measured, tags)

    def expect(self, names: Iterable[str]) -> None:
        """Check, before the work begins, that these names are declared.

        Raises:
            UnknownMetricError: A name is neither declared nor in `names`. The step of the fit ends with this error.
        """
        with self._ending_on_error():
            for name in names:
                self._target(Measurement(name, None))

    @contextmanager
    def _ending_on_error(self) -> Generator[None]:
        try:
            yield
        except BaseException as error:
            self.end(error)
            raise

    def _checked_target(self, measured: Measurement, tags: Mapping[str, Any]) -> _Target | None:
        name = measured.name
        try:
            target = self._target(measured)
            declared = None if target is None else self._ctx.metrics.series(target.metric).metric
            if target is not None and declared is not None:
                given = target.tags_of({**tags, "split": measured.split, **self._tags})
                declared.checks.check_tags(declared.name, given)
            return target
        except (UnknownMetricError, InvalidTagError) as error:
            if measured.is_extra and isinstance(error, UnknownMetricError):
                return None
            if not self._has_points:
                error.add_note(
                    f"Map it by names={{{name!r}: ...}} of the callback, or leave it out: {{{name!r}: None}}"
                )
                raise
            warnings.warn(UndeclaredMetricWarning(name, str(error)), stacklevel=2)
            return None

    def _target(self, measured: Measurement) -> _Target | None:
        """Return the target of a name. Raise UnknownMetricError if it has none."""
        name, metric = measured.name, measured.metric or measured.name
        if name in self._names:
            return None if self._names[name] is None else self._of(*self._named(name))
        schema = self._ctx.metrics.schema
        if schema is None:
            return self._of(metric, {})
        declared = None if name in schema.metrics else schema.metrics.get(metric)
        has_split = measured.split is None or (declared is not None and "split" in declared.checks.tag_names)
        return self._of(metric if declared is not None and has_split else name, {})

    def _named(self, name: str) -> tuple[_MetricName, Mapping[str, Any]]:
        named: Any = self._names[name]
        return named if isinstance(named, tuple) else (named, {})

    def _of(self, metric: _MetricName, tags: Mapping[str, Any]) -> _Target:
        declared = self._ctx.metrics.series(metric).metric
        return _Target(metric, tags, None if declared is None else frozenset(declared.checks.tag_names))

    def keep(self, noun: str, facts: Mapping[str, Any] | None) -> None:
        """Add facts on the fit as an artifact, such as "fit-settings.json". Secrets of the context are masked.

        Args:
            noun: The second part of the name of the artifact.
            facts: The facts. If there are none, or no fit is open, nothing is added.
        """
        if not facts or self._step is None:
            return
        base = re.sub(r"[/#]", "-", str(token_of(self._step).step))
        name, count = f"{base}-{noun}.json", 1
        while name in self._step.artifacts:
            count += 1
            name = f"{base}-{noun}-{count}.json"
        text = without(json.dumps(dict(facts), indent=2, default=str), state_of(self._ctx).secrets())
        self._step.artifacts.add(name, text.encode())

    def end(self, error: BaseException | None = None, result: Mapping[str, Any] | None = None) -> None:
        """End the fit. Ending it again does nothing.

        Args:
            error: The exception that ended the fit, if one did. It is put on the record of the step.
            result: Facts on the fit, such as its best checkpoint, which become the artifact "fit-result.json".
        """
        try:
            self.keep("result", result)
        finally:
            opened, self._step, self._opened = self._opened, None, None
            if opened is not None:
                opened.__exit__(*((None, None, None) if error is None else (type(error), error, error.__traceback__)))

    def __copy__(self) -> Self:
        """Return the recorder itself: copies of a callback record in the same context."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Return the recorder itself; see `__copy__`."""
        return self

    def __reduce__(self) -> NoReturn:
        raise SchemaError(type(self).__name__, _OTHER_PROCESS)
