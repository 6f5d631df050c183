"""Record the fits of a training framework, each in a step of the context."""

import json
import os
import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NoReturn, Self, TypedDict

from typing_extensions import Unpack

from .._base.masking import without
from .._base.text import short
from .._core.context import FrozenContext, state_of, token_of
from ..errors import SchemaError, StepClosedError
from .metric_names import Measurement, MetricName, MetricNames, Names, Target

__all__ = ["FitOptions", "FitRecorder"]

_OTHER_PROCESS: Final = (
    "it records in the context of the process that made it. In another process, the points would be lost; "
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
    resumable: bool
    """Whether points from before a checkpoint survive the process. They are recorded in inner steps, "part-1" and so
    on. Lightning ends such a step with each checkpoint, Keras with each epoch."""


def _frozen(tags: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset(tags.items())


class FitRecorder:
    """Records the fits of a training framework in a context. The callbacks of this package use it.

    Example:
        >>> from crystallize.callbacks.metric_names import Measurement
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
        self._names = MetricNames(ctx.metrics, options.get("names", {}), options.get("tags", {}))
        self._is_resumable = options.get("resumable", False)
        self._step: FrozenContext[Any] | None = None
        self._part: FrozenContext[Any] | None = None
        """The inner step in which points are recorded, if the fit is resumable."""
        self._own_parts: set[str] = set()
        self._opened, self._opened_part = ExitStack(), ExitStack()
        self._kept: dict[MetricName, set[frozenset[tuple[str, Any]]]] = {}
        """The tags of the points that inner steps of an earlier process have, of the metrics that were looked up."""
        self._has_points = False
        self._process = os.getpid()

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
            self._step = self._opened.enter_context(self._ctx.step(step or self._name))
        else:
            self._step = self._ctx
        self._has_points = False
        self._kept = {}
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
        measured = list(found)
        self.step  # noqa: B018  # raises if no fit is open
        self.check(measured, **tags)
        with self._ending_on_error():
            for entry in measured:
                target = self._names.target(entry)
                if target is not None and not (self._is_resumable and self._is_kept(target, entry, tags)):
                    self._place().record(target.metric, entry.value, self._names.tags_of(target, entry, tags))
                    self._has_points = True

    def replay(self, history: Iterable[tuple[Iterable[Measurement], Mapping[str, Any]]]) -> None:
        """Record the measurements of an earlier process that are not on record, for a fit that goes on.

        Args:
            history: The measurements that were made together, with their tags, oldest first.
        """
        on_record: dict[MetricName, set[frozenset[tuple[str, Any]]]] = {}

        def is_on_record(target: Target, measured: Measurement, tags: Mapping[str, Any]) -> bool:
            if target.metric not in on_record:
                on_record[target.metric] = {*map(_frozen, self._ctx.metrics.get_tags(target.metric))}
            return _frozen(self._names.tags_of(target, measured, tags)) in on_record[target.metric]

        for found, tags in history:
            measured = list(found)
            self.check(measured, **tags)
            targets = [(self._names.target(entry), entry) for entry in measured]
            self.record(
                [entry for target, entry in targets if target and not is_on_record(target, entry, tags)], **tags
            )

    def _is_kept(self, target: Target, measured: Measurement, tags: Mapping[str, Any]) -> bool:
        """Whether an inner step of this fit that another process ended has a point with the same tags."""
        if target.metric not in self._kept:
            series, inner = self._ctx.metrics.series(target.metric), f"{token_of(self.step).step}/part-"
            known = zip(series, self._ctx.metrics.get_tags(target.metric), strict=False)
            steps = ((str(point.step), tags) for point, tags in known)
            kept = (tags for step, tags in steps if step.startswith(inner) and step not in self._own_parts)
            self._kept[target.metric] = {*map(_frozen, kept)}
        return _frozen(self._names.tags_of(target, measured, tags)) in self._kept[target.metric]

    def _place(self) -> FrozenContext[Any]:
        """Return the step in which points are recorded."""
        if not self._is_resumable:
            return self.step
        if self._part is None:
            path, number = token_of(self.step).step, 1
            while self._ctx.provenance.finished(f"{path}/part-{number}"):
                number += 1
            self._part = self._opened_part.enter_context(self.step.step(f"part-{number}"))
            self._own_parts.add(str(token_of(self._part).step))
        return self._part

    def keep_points(self) -> None:
        """End the inner step of a resumable fit: the points so far survive the process."""
        self._part = None
        self._opened_part.close()

    def check(self, found: Iterable[Measurement], **tags: Any) -> None:
        """Check the names and tags of measurements without recording them; see `record`."""
        with self._ending_on_error():
            for measured in found:
                self._names.check(measured, tags, is_late=self._has_points)

    def expect(self, names: Iterable[str]) -> None:
        """Check, before the work begins, that these names are declared.

        Raises:
            UnknownMetricError: A name is neither declared nor in `names`. The step of the fit ends with this error.
        """
        with self._ending_on_error():
            for name in names:
                self._names.find(Measurement(name, None))

    @contextmanager
    def _ending_on_error(self) -> Generator[None]:
        try:
            yield
        except BaseException as error:
            self.end(error)
            raise

    def keep(self, noun: str, facts: Mapping[str, Any] | None) -> None:
        """Add facts on the fit as an artifact, such as "fit-settings.json". Secrets of the context are masked.

        Args:
            noun: The second part of the name of the artifact.
            facts: The facts. If there are none, or no fit is open, nothing is added.
        """
        if not facts or self._step is None:
            return
        state, base = state_of(self._ctx), re.sub(r"[/#]", "-", str(token_of(self._step).step))
        name, count = f"{base}-{noun}.json", 1
        while name in state.artifacts:  # not those of the step, on whose record the look would be
            count += 1
            name = f"{base}-{noun}-{count}.json"
        text = without(json.dumps(dict(facts), indent=2, default=str), state.secrets())
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
            self._step = self._part = None
            raised = (None, None, None) if error is None else (type(error), error, error.__traceback__)
            try:
                self._opened_part.__exit__(*raised)
            finally:
                self._opened.__exit__(*raised)

    def __copy__(self) -> Self:
        """Return the recorder itself: copies of a callback record in the same context."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Return the recorder itself; see `__copy__`."""
        return self

    def __reduce__(self) -> NoReturn:
        raise SchemaError(type(self).__name__, _OTHER_PROCESS)
