"""A sink that reports to a run of MLflow: inputs, points, artifacts, and the lineage at the end."""

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from types import TracebackType
from typing import Final, Self

from mlflow import MlflowClient
from pydantic_core import to_json

from ..._base.file_content import FileContent
from ..._core.context_view import ContextView
from ..._core.metrics import MetricSchema
from ..._core.protocols import DeclaredKey
from ..._core.provenance import Provenance
from ...events import ArtifactAdded, Event, KeyWritten, MetricRecorded
from ..delivery_queue import Delivery
from ..naming import Naming, Template, as_text, named, problems_of
from .requests import METRICS, FileItem, Item, ParamItem, RequestSender, kind_of
from .rules import MLFLOW, unfit_file, unfit_text

__all__ = ["MLflowSink"]

LINEAGE: Final = ("crystallize", "lineage.json")
"""The folder and the name of the artifact with the lineage. The artifacts of a context are in no folder."""


class MLflowSink:
    """Reports a context to a run of MLflow.

    The caller creates and ends the run. The sink uses no global state of MLflow. Its own thread makes the requests, so
    that a server that is slow or down does not hold up the context.

    Inputs become params, points become metrics, artifacts become artifacts. When the sink is closed, the lineage
    becomes the artifact `crystallize/lineage.json`. Data that MLflow would store differently, or reject, is not sent:
    it is logged at once, and `close` warns with the counts.

    Example:
        >>> client = MlflowClient("http://localhost:5000")
        >>> run = client.create_run(client.create_experiment("digits"))
        >>> with MLflowSink(client, run.info.run_id, step_tag="epoch") as sink:
        ...     ctx = FrozenContext({"lr": 0.1}, sinks=[sink])
        ...     ctx.record("loss", 0.5, {"epoch": 1, "split": "train"})
        >>> client.get_run(run.info.run_id).data.metrics
        {'loss/split-train': 0.5}
    """

    def __init__(
        self,
        client: MlflowClient,
        run_id: str,
        *,
        step_tag: str | None = None,
        name: Template = named,
        bound: int = 100_000,
        patience: float = 30.0,
    ) -> None:
        """Make a sink. It makes no request before the first event.

        Args:
            client: The client that makes the requests.
            run_id: The id of the run to report to.
            step_tag: The tag whose value becomes MLflow's step. It is left out of the names. The step of a point
                without this tag is its index, from 0.
            name: The name of a metric with its other tags: a template such as "{metric}/{split}", or a function of the
                metric's name and its tags. By default "loss/split-train", with all tags in alphabetical order.
            bound: The maximum number of points, params and artifacts that wait for the server.
            patience: The maximum seconds that `close` waits while the server accepts nothing.
        """
        self._run_id = run_id
        self._naming = Naming(MLFLOW, name, step_tag)
        self._provenance: Provenance | None = None
        self._delivery: Delivery[Item] = Delivery(
            type(self).__name__, self._send, kind_of, batch=METRICS, bound=bound, patience=patience
        )
        self._undelivered = self._delivery.undelivered
        self._sender = RequestSender(client, run_id, self._naming, self._undelivered)
        self._put = self._delivery.put

    def check(self, schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, /) -> Iterable[str]:
        """Return sentences about names and types that MLflow would reject; see `CheckingSink`."""
        if self._provenance is not None:
            yield "it reports one context, and has one already; make another sink, for another run"
        if not isinstance(self._run_id, str):
            yield f"a run is given by its id, a str as in run.info.run_id, not by a {type(self._run_id).__name__}"
        yield from problems_of(schema, metrics, self._naming)

    def attach(self, view: ContextView, /) -> None:
        """Store the provenance of the context; see `AttachedSink`."""
        self._provenance = view.provenance

    def handle(self, event: Event, /) -> None:
        """Queue an event, to be sent later by another thread.

        Raises:
            SinkClosedError: The sink is closed, or belongs to another process.
        """
        if isinstance(event, MetricRecorded):
            metric, value, tags, _, position, _ = event
            self._put((time_ns(), metric, value, position, (*tags,), (*tags.values(),)))
        elif isinstance(event, KeyWritten) and event.is_input:
            text = as_text(event.value)
            self._put_if_fit(ParamItem(event.key, text), event.key, unfit_text(text))
        elif isinstance(event, ArtifactAdded):
            self._put_if_fit(FileItem(event.name, event.content, None), event.name, unfit_file(event.name))

    def _put_if_fit(self, item: Item, name: str, reason: str | None) -> None:
        """Queue an item, or note it as undelivered if there is a reason against it."""
        if reason is None:
            self._put(item)
        else:
            self._undelivered.note(kind_of(item), f"{name!r}: {reason}")

    def _send(self, items: Sequence[Item]) -> int:
        return self._sender.send(items)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all events so far are sent, or noted as undelivered. Return False if the timeout ends first.

        Args:
            timeout: The maximum seconds to wait; None waits as long as it takes.
        """
        return self._delivery.flush(timeout)

    def close(self) -> None:
        """Send the remaining events and the lineage while the server accepts them. Closing again does nothing.

        Warns:
            UndeliveredWarning: Not everything was delivered. The warning has the counts and the reasons.
        """
        folder, name = LINEAGE
        last = [] if self._provenance is None else [FileItem(name, FileContent(_lineage(self._provenance)), folder)]
        self._delivery.close(*last)

    def __enter__(self) -> Self:
        """Return the sink itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the sink."""
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._run_id!r})"


def _lineage(provenance: Provenance) -> bytes:
    """Return the steps, with the keys that they read, missed and wrote, as JSON."""
    lineage = provenance.lineage
    content = {
        "inputs": provenance.inputs,
        "unread_inputs": provenance.unread_inputs,
        "unwritten": provenance.unwritten,
        "reads": [{"key": key, "step": step} for key, step in lineage.reads],
        "writes": [{"step": step, "key": key} for step, key in lineage.writes],
        "steps": [{**record._asdict(), "points": dict(record.points)} for record in provenance.steps],
    }
    return to_json(content, indent=2)
