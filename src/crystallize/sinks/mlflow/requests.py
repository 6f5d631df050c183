"""Requests to MLflow: made of what waits, and made again as they were where nobody knows whether one arrived."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple, TypeAlias

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from ..._base.text import short
from ..delivery_queue import told_of
from ..undelivered import Undelivered
from .rules import LONGEST_NAME, LONGEST_TEXT, Naming, unfit_name, unfit_number, unfit_step

__all__ = ["METRICS", "File", "Input", "Item", "Requests", "kind_of"]

METRICS: Final = 1_000
"""Metrics in one request, at the most."""
PARAMS: Final = 100
SIZE: Final = 1_000_000
"""Bytes of one request, at the most."""
AROUND: Final = 300
"""Bytes around the name of a metric, or around the name and text of a param, at the most."""
LARGEST_METRIC: Final = AROUND + 12 * LONGEST_NAME
"""Bytes of one metric, at the most, as what is not ASCII takes six or twelve."""
LARGEST_PARAM: Final = AROUND + 12 * (LONGEST_NAME + LONGEST_TEXT)
REFUSED: Final = frozenset({"BAD_REQUEST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST"})
"""The answers of MLflow after which trying again is of no use."""
PASSING: Final = frozenset({401, 403, 408, 425, 429})
"""The statuses below 500 after which it may be."""


class Input(NamedTuple):
    """A param to be sent. As a text, since a value that is shared may change before it is."""

    key: str
    text: str


class File(NamedTuple):
    """A file to be sent."""

    name: str
    data: bytes
    folder: str | None


_Point: TypeAlias = tuple[int, str, Any, int, tuple[str, ...], tuple[Any, ...]]
"""A point to be sent: when it was recorded, in ns since 1970, its metric, value and position, its tags and values.

Plain tuples, since many may wait: the garbage collector looks at these once, and at what has a dict in it each time."""
Item: TypeAlias = _Point | Input | File
"""What waits to be sent."""


class _Request(NamedTuple):
    """What is sent at once: the same again, should it fail."""

    covers: int
    """How many items it is made of, those included that are withheld."""
    kind: str
    size: int
    """How many are in it."""
    send: Callable[[], object]


def kind_of(item: Item) -> str:
    """Say what an item is, in one word."""
    if isinstance(item, Input):
        return "param"
    return "artifact" if isinstance(item, File) else "point"


class Requests:
    """Sends what waits to a run of MLflow, a request at a time. For one thread."""

    def __init__(self, client: MlflowClient, run_id: str, naming: Naming, undelivered: Undelivered) -> None:
        """Get ready to send.

        Args:
            client: What makes the requests.
            run_id: The run to report to.
            naming: What names the metrics.
            undelivered: Where to note what will not be sent.
        """
        self._client = client
        self._run_id = run_id
        self._naming = naming
        self._undelivered = undelivered
        self._names: dict[Any, str] = {}
        """The names by metric and tags."""
        self._moments = _Moments()
        self._request: _Request | None = None
        """What is being sent; None while nothing is."""

    def send(self, items: Sequence[Item]) -> int:
        """Send the first of some items, as many as go into one request, and return how many these are.

        Raises:
            Exception: There was no answer, or one after which the same may succeed later.
        """
        if self._request is None:
            self._request = self._prepared(items)
        request = self._request
        try:
            request.send()
        except Exception as error:
            if _is_passing(error):
                raise
            self._undelivered.note(request.kind, told_of(error), request.size)
        self._request = None
        return request.covers

    def _prepared(self, items: Sequence[Item]) -> _Request:
        first = items[0]
        if isinstance(first, File):
            return _Request(1, "artifact", 1, lambda: self._upload(first))
        return self._params(items) if isinstance(first, Input) else self._points(items)

    def _params(self, items: Sequence[Item]) -> _Request:
        params: list[Param] = []
        size = 0
        for item in items[:PARAMS]:
            if not isinstance(item, Input) or size > SIZE - LARGEST_PARAM:
                break
            params.append(Param(item.key, item.text))
            size += AROUND + len(_escaped(item.key)) + len(_escaped(item.text))
        return _Request(len(params), "param", len(params), lambda: self._log(params=params))

    def _points(self, items: Sequence[Item]) -> _Request:
        measured: list[Metric] = []
        size = covers = 0
        for item in items[:METRICS]:
            if isinstance(item, Input | File) or size > SIZE - LARGEST_METRIC:
                break
            one = self._measurement(item)
            covers += 1
            if one is not None:
                measured.append(one)
                size += AROUND + len(_escaped(one.key))
        return _Request(covers, "point", len(measured), lambda: self._log(metrics=measured))

    def _measurement(self, point: _Point) -> "Metric | None":
        """Return a point as MLflow has it; None if it is withheld."""
        at, metric, value, position, names, tagged_with = point
        tags = dict(zip(names, tagged_with, strict=True))
        name = self._name_of(metric, tags)
        if name is None:
            return None
        tagged = tags.get(self._naming.step_tag or "")
        step = position if tagged is None else tagged
        reason = unfit_number(value) or unfit_step(step)
        if reason is not None:
            self._undelivered.note("point", f"{name!r}: {reason}")
            return None
        number = float(value)
        return Metric(name, number, self._moments.of(name, step, number, at // 1_000_000), step)

    def _name_of(self, metric: str, tags: Mapping[str, Any]) -> str | None:
        """Return the name of a metric by its tags; None if the point is withheld, since it has none that is fit."""
        # By type too: True and 1 are equal, and are written otherwise.
        others = tuple((tag, type(one), one) for tag, one in tags.items() if tag != self._naming.step_tag)
        try:
            return self._names[metric, others]
        except (KeyError, TypeError):  # it is new, or a tag has no hash
            pass
        try:
            name = self._naming.name(metric, tags)
        except Exception as error:  # whatever the user's own template raises
            self._undelivered.note("point", f"metric {metric!r} has no name: {told_of(error)}")
            return None
        reason = unfit_name(name)
        if reason is not None:
            self._undelivered.note("point", f"the name of metric {metric!r}, {short(name)}, {reason}")
            return None
        with suppress(TypeError):
            self._names[metric, others] = name
        return name

    def _log(self, **parts: Any) -> None:
        self._client.log_batch(self._run_id, **parts, synchronous=True)

    def _upload(self, file: File) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder, file.name)
            path.write_bytes(file.data)
            self._client.log_artifact(self._run_id, str(path), file.folder)


class _Moments:
    """Sees to it that no two points of a name are alike: of such MLflow would keep one.

    A point that is sent again, since nobody knows whether it arrived, is alike on purpose.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, set[tuple[int, float]]]] = {}

    def of(self, name: str, step: int, value: float, at: int) -> int:
        """Return when a point is said to have been recorded: as it was, or as soon after as makes it the only one.

        Args:
            name: Its name in MLflow.
            step: Its step.
            value: Its value.
            at: When it was recorded, in ms since 1970.
        """
        last, there = self._last.get(name, (-1, set()))
        # Also where the clock was set back: MLflow takes the latest moment for the last point.
        at = max(at, last)
        if (step, value) in there and at == last:
            at += 1
        if at > last:
            there = set()
            self._last[name] = at, there
        there.add((step, value))
        return at


def _escaped(text: str) -> str:
    """Return a text as it is in a request, where all that is not ASCII takes six characters or twelve."""
    return json.dumps(text)


def _is_passing(error: Exception) -> bool:
    """Whether a request that failed so may well succeed later."""
    if isinstance(error, MlflowException):
        return error.error_code not in REFUSED
    # By this the errors of `requests` are known, which are OSErrors too; there is none where no answer came.
    if hasattr(error, "response"):
        status = getattr(getattr(error, "response", None), "status_code", 500)
        return status >= 500 or status in PASSING
    return isinstance(error, ConnectionError | TimeoutError)
