"""A sink that reports to a run of Weights & Biases (W&B), which may be offline."""

import os
from collections.abc import Iterable, Mapping, Sequence
from glob import escape
from pathlib import Path
from shutil import copyfileobj
from time import time_ns
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self, TypeAlias

from pydantic_core import PydanticSerializationError, to_jsonable_python

from .._base.object_folder import BLOCK
from .._base.text import error_line, short
from .._core.context_view import ContextView
from .._core.metrics import MetricSchema
from .._core.protocols import DeclaredKey
from ..events import ArtifactAdded, Event, KeyWritten, MetricRecorded
from .delivery_queue import Delivery
from .naming import Backend, Naming, PointNames, Template, as_text, named, problems_of, unfit_step

__all__ = ["WandbRun", "WandbSink"]

FOLDER: Final = "artifacts"
"""The folder of a run's files in which the artifacts of the context are."""


class WandbRun(Protocol):
    """The parts of `wandb.Run` that the sink uses."""

    @property
    def dir(self) -> str:
        """The folder of the run's files."""
        ...

    @property
    def config(self) -> Any:
        """The inputs of the run."""
        ...

    def log(self, data: dict[str, Any], /) -> None:
        """Add a row to the history."""
        ...

    def define_metric(self, name: str, /, *, step_metric: str) -> Any:
        """Set the column that is the axis of a metric."""
        ...

    def save(self, glob_str: str, /, *, base_path: str, policy: Any) -> Any:
        """Add files to the run."""
        ...


def _unfit(name: Any) -> str | None:
    """Return why W&B would not take a name, or None."""
    if not isinstance(name, str):
        return f"is no text but {short(name)}"
    if not name:
        return "is empty"
    return "begins with '_', as W&B's own names do" if name.startswith("_") else None


def _backend(step_tag: str | None) -> Backend:
    def unfit_metric(name: Any) -> str | None:
        return _unfit(name) or (f"is the name of the tag {step_tag!r}, the axis" if name == step_tag else None)

    return Backend("W&B", "config value", unfit_metric, _unfit)


class _InputItem(NamedTuple):
    """An input as JSON."""

    key: str
    value: Any


_PointItem: TypeAlias = tuple[float, str, Any, int, Mapping[str, Any]]
"""A point to be sent: the time of its recording in s since 1970, its metric, value and index, and its tags."""
_Item: TypeAlias = _PointItem | _InputItem | ArtifactAdded


def _kind_of(item: _Item) -> str:
    return "artifact" if isinstance(item, ArtifactAdded) else "input" if isinstance(item, _InputItem) else "point"


class WandbSink:
    """Reports a context to a run of W&B.

    The caller makes and finishes the run, so that a `with wandb.init(...)` block that raises marks it as failed. The
    sink works with every mode; with `mode="offline"` no server is asked. Its own thread calls W&B, so that a service
    that is slow or down does not stop the context.

    Inputs become the config, points become rows of the history, artifacts become files in the folder "artifacts".

    Example:
        >>> with wandb.init(project="digits", mode="offline") as run:
        ...     with WandbSink(run, step_tag="epoch") as sink:
        ...         ctx = FrozenContext({"lr": 0.1}, sinks=[sink])
        ...         ctx.record("loss", 0.5, {"epoch": 1, "split": "train"})
    """

    def __init__(
        self,
        run: WandbRun,
        *,
        step_tag: str | None = None,
        name: Template = named,
        bound: int = 100_000,
        patience: float = 30.0,
    ) -> None:
        """Make a sink.

        Args:
            run: The run, as `wandb.init` returns it.
            step_tag: The tag that becomes the axis of the metrics. It is left out of the names, and is a column of the
                history. Metrics without this tag have W&B's own step as their axis.
            name: The name of a metric with its other tags: a template such as "{metric}/{split}", or a function of the
                metric's name and its tags. By default "loss/split-train", with all tags in alphabetical order.
            bound: The maximum number of points, inputs and artifacts that wait for W&B.
            patience: The maximum seconds that `close` waits while W&B accepts nothing.
        """
        self._run = run
        self._naming = Naming(_backend(step_tag), name, step_tag)
        self._is_attached = False
        self._defined: set[str] = set()
        """The names of metrics whose axis is set."""
        self._delivery: Delivery[_Item] = Delivery(
            type(self).__name__, self._send, _kind_of, bound=bound, patience=patience
        )
        self._undelivered = self._delivery.undelivered
        self._names = PointNames(self._naming, self._undelivered)

    def check(self, schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, /) -> Iterable[str]:
        """Return the parts that W&B would not take, as sentences; see `CheckingSink`."""
        if self._is_attached:
            yield "it reports one context, and has one already; make another sink, for another run"
        yield from problems_of(schema, metrics, self._naming)

    def attach(self, view: ContextView, /) -> None:
        """Take the context; see `AttachedSink`."""
        self._is_attached = True

    def handle(self, event: Event, /) -> None:
        """Queue an event, to be sent later by another thread.

        Raises:
            SinkClosedError: The sink is closed, or belongs to another process.
        """
        if isinstance(event, MetricRecorded):
            self._delivery.put((time_ns() / 1e9, event.metric, event.value, event.position, dict(event.tags)))
        elif isinstance(event, KeyWritten) and event.is_input:
            self._delivery.put(_InputItem(event.key, _as_json(event.value)))
        elif isinstance(event, ArtifactAdded):
            self._delivery.put(event)

    def _send(self, items: Sequence[_Item]) -> int:
        """Send the first item. An error of the connection is raised, after which the item is sent again."""
        item = items[0]
        try:
            if isinstance(item, ArtifactAdded):
                self._save(item)
            elif isinstance(item, _InputItem):
                self._run.config.update({item.key: item.value}, allow_val_change=True)
            else:
                self._log(item)
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:  # of any kind: W&B refuses the item, and would refuse it again
            self._undelivered.note(_kind_of(item), error_line(error))
        return 1

    def _log(self, point: _PointItem) -> None:
        seconds, metric, value, position, tags = point
        name = self._names.of(metric, tags)
        if name is None:
            return
        step_tag = self._naming.step_tag
        step = self._names.step_of(tags, position)
        reason = _unfit_number(value) or unfit_step(step, "W&B")
        if reason is not None:
            self._undelivered.note("point", f"{name!r}: {reason}")
            return
        row = {name: value, "_timestamp": seconds}
        if step_tag is not None and tags.get(step_tag) is not None:
            if name not in self._defined:
                self._run.define_metric(name, step_metric=step_tag)
                self._defined.add(name)
            row[step_tag] = step
        self._run.log(row)

    def _save(self, artifact: ArtifactAdded) -> None:
        path = Path(self._run.dir, FOLDER, artifact.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with artifact.open() as source, path.open("wb") as target:
            copyfileobj(source, target, BLOCK)
        self._run.save(escape(os.fspath(path)), base_path=self._run.dir, policy="now")

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all events so far are sent, or noted as undelivered. Return False if the timeout ends first.

        Args:
            timeout: The maximum seconds to wait; None waits as long as it takes.
        """
        return self._delivery.flush(timeout)

    def close(self) -> None:
        """Send the remaining events while W&B accepts them. Closing again does nothing.

        Warns:
            UndeliveredWarning: Not everything was delivered. The warning has the counts and the reasons.
        """
        self._delivery.close()

    def __enter__(self) -> Self:
        """Return the sink itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the sink."""
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._run!r})"


def _as_json(value: Any) -> Any:
    """Return a value as JSON, which keeps the structure of dicts, lists and models; as text if it has no JSON."""
    try:
        return to_jsonable_python(value)
    except (PydanticSerializationError, ValueError):
        return as_text(value)


def _unfit_number(value: Any) -> str | None:
    """Return why a value cannot be in the history, or None. W&B shows NaN and infinities."""
    if not isinstance(value, int | float):
        return f"it is a {type(value).__name__}, and W&B takes numbers"
    return None if isinstance(value, float) or -(2**63) <= value < 2**63 else "it does not go into 64 bits"
