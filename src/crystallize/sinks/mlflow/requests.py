"""Requests to MLflow. A request is repeated unchanged if it failed, as it may have arrived all the same."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple, TypeAlias

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from ..._base.file_content import FileContent
from ..._base.object_folder import BLOCK
from ..._base.text import error_line
from ..naming import Naming, PointNames, unfit_step
from ..undelivered import Undelivered
from .rules import LONGEST_NAME, LONGEST_TEXT, unfit_number

__all__ = ["METRICS", "FileItem", "Item", "ParamItem", "RequestSender", "kind_of"]

METRICS: Final = 1_000
"""The maximum number of metrics in one request."""
PARAMS: Final = 100
"""The maximum number of params in one request."""
SIZE: Final = 1_000_000
"""The maximum bytes of one request."""
AROUND: Final = 300
"""The maximum bytes of a metric without its name, or of a param without its name and text."""
LARGEST_METRIC: Final = AROUND + 12 * LONGEST_NAME
"""The maximum bytes of one metric. A character that is not ASCII takes six or twelve bytes."""
LARGEST_PARAM: Final = AROUND + 12 * (LONGEST_NAME + LONGEST_TEXT)
REFUSED: Final = frozenset({"BAD_REQUEST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST"})
"""The error codes of MLflow after which a request is not repeated."""
PASSING: Final = frozenset({401, 403, 408, 425, 429})
"""The HTTP statuses below 500 after which a request is repeated."""


class ParamItem(NamedTuple):
    """A param to be sent. It is a text, since a shared value may change before it is sent."""

    key: str
    text: str


class FileItem(NamedTuple):
    """An artifact to be sent."""

    name: str
    content: FileContent
    folder: str | None


_PointItem: TypeAlias = tuple[int, str, Any, int, tuple[str, ...], tuple[Any, ...]]
"""A point to be sent: the time of its recording in ns since 1970, its metric, value and index, its tags, their values.

Plain tuples, since many may wait: the garbage collector visits them once, but objects with a dict each time."""
Item: TypeAlias = _PointItem | ParamItem | FileItem
"""Data that waits to be sent."""


class _Request(NamedTuple):
    """One request, which is sent again unchanged if it fails."""

    covers: int
    """The number of items that it is made of, with those that are left out."""
    kind: str
    size: int
    """The number of items that are in it."""
    send: Callable[[], object]


def kind_of(item: Item) -> str:
    """Return a noun for an item."""
    if isinstance(item, ParamItem):
        return "param"
    return "artifact" if isinstance(item, FileItem) else "point"


class RequestSender:
    """Sends items to a run of MLflow, one request at a time. It is not thread-safe."""

    def __init__(self, client: MlflowClient, run_id: str, naming: Naming, undelivered: Undelivered) -> None:
        self._client = client
        self._run_id = run_id
        self._names = PointNames(naming, undelivered)
        self._undelivered = undelivered
        self._timestamps = _Timestamps()
        self._request: _Request | None = None
        """The request that is being sent, if any."""

    def send(self, items: Sequence[Item]) -> int:
        """Send as many of the first items as fit into one request, and return their number.

        If the request may succeed later, its exception is raised.
        """
        if self._request is None:
            self._request = self._prepared(items)
        request = self._request
        try:
            request.send()
        except Exception as error:
            if _is_passing(error):
                raise
            self._undelivered.note(request.kind, error_line(error), request.size)
        self._request = None
        return request.covers

    def _prepared(self, items: Sequence[Item]) -> _Request:
        first = items[0]
        if isinstance(first, FileItem):
            return _Request(1, "artifact", 1, lambda: self._upload(first))
        return self._params(items) if isinstance(first, ParamItem) else self._points(items)

    def _params(self, items: Sequence[Item]) -> _Request:
        params: list[Param] = []
        size = 0
        for item in items[:PARAMS]:
            if not isinstance(item, ParamItem) or size > SIZE - LARGEST_PARAM:
                break
            params.append(Param(item.key, item.text))
            size += AROUND + len(_escaped(item.key)) + len(_escaped(item.text))
        return _Request(len(params), "param", len(params), lambda: self._log(params=params))

    def _points(self, items: Sequence[Item]) -> _Request:
        metrics: list[Metric] = []
        size = covers = 0
        for item in items[:METRICS]:
            if isinstance(item, ParamItem | FileItem) or size > SIZE - LARGEST_METRIC:
                break
            metric = self._metric(item)
            covers += 1
            if metric is not None:
                metrics.append(metric)
                size += AROUND + len(_escaped(metric.key))
        return _Request(covers, "point", len(metrics), lambda: self._log(metrics=metrics))

    def _metric(self, point: _PointItem) -> "Metric | None":
        """Return a point as a metric of MLflow, or None if MLflow would not store it as it is."""
        recorded, metric, value, position, tag_names, tag_values = point
        tags = dict(zip(tag_names, tag_values, strict=True))
        name = self._names.of(metric, tags)
        if name is None:
            return None
        step = self._names.step_of(tags, position)
        reason = unfit_number(value) or unfit_step(step, "MLflow")
        if reason is not None:
            self._undelivered.note("point", f"{name!r}: {reason}")
            return None
        number = float(value)
        return Metric(name, number, self._timestamps.of(name, step, number, recorded // 1_000_000), step)

    def _log(self, **parts: Any) -> None:
        self._client.log_batch(self._run_id, **parts, synchronous=True)

    def _upload(self, file: FileItem) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder, file.name)
            with file.content.open() as source, path.open("wb") as target:
                copyfileobj(source, target, BLOCK)
            self._client.log_artifact(self._run_id, str(path), file.folder)


class _Timestamps:
    """Makes the timestamps of points unique by name, step and value, since MLflow keeps one of several equal points.

    A point that is sent again stays equal, so that it is stored once.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, set[tuple[int, float]]]] = {}
        """The last timestamp of each name, and the steps and values of its points."""

    def of(self, name: str, step: int, value: float, at: int) -> int:
        """Return the time of recording, in ms since 1970, or the next time that makes the point unique."""
        last, points = self._last.get(name, (-1, set()))
        # Never before the last timestamp, even if the clock was set back: MLflow takes the latest point for the last.
        at = max(at, last)
        if (step, value) in points and at == last:
            at += 1
        if at > last:
            points = set()
            self._last[name] = at, points
        points.add((step, value))
        return at


def _escaped(text: str) -> str:
    """Return a text as it is written in a request, where other than ASCII characters take six or twelve."""
    return json.dumps(text)


def _is_passing(error: Exception) -> bool:
    """Return whether a request that failed with this error may succeed later."""
    if isinstance(error, MlflowException):
        return error.error_code not in REFUSED
    # The errors of `requests` have this attribute, and are OSErrors too. It is None if there was no answer.
    if hasattr(error, "response"):
        status = getattr(getattr(error, "response", None), "status_code", 500)
        return status >= 500 or status in PASSING
    return isinstance(error, ConnectionError | TimeoutError)
