"""A sink that reports to a run of MLflow: inputs as params, points, artifacts, and at the end the lineage."""

from collections.abc import Iterable, Mapping, Sequence
from time import time_ns
from types import TracebackType
from typing import Final, Self

from mlflow import MlflowClient
from pydantic_core import to_json

from ..._core.metrics import MetricSchema
from ..._core.protocols import DeclaredKey
from ..._core.provenance import Provenance
from ..._core.state import State
from ...events import ArtifactAdded, Event, KeyWritten, MetricRecorded
from ..delivery_queue import Delivery
from .requests import METRICS, File, Input, Item, Requests, kind_of
from .rules import Naming, Template, as_text, named, problems_of, unfit_file, unfit_text

__all__ = ["MLflowSink"]

LINEAGE: Final = ("crystallize", "lineage.json")
"""The folder and the name of the artifact with the lineage; those of a context are in no folder."""


class MLflowSink:
    """Reports a context to a run of MLflow.

    The run is made and ended by whoever makes the sink. Nothing of MLflow's global state is used. Requests are made by
    a thread of the sink's own, so that a server that is slow or down holds nothing up.

    Inputs become params, points become metrics, artifacts artifacts. When the sink is closed, the lineage goes to the
    artifact `crystallize/lineage.json`. What MLflow would not keep as it is, it is not sent: the log tells at once, and
    `close` how much there was.

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
        """Get ready to report; no request is made yet.

        Args:
            client: What makes the requests.
            run_id: The run to report to.
            step_tag: The tag that is MLflow's step; it is in no name. The points of a metric that has no such tag are
                counted instead, from 0.
            name: What a metric is named, by its other tags: a template as "{metric}/{split}", or a function of the
                metric's name and its tags. By default "loss/split-train", with all tags in alphabetical order.
            bound: How many points, params and artifacts may wait for the server, at the most.
            patience: Seconds that `close` waits, at the most, while the server takes nothing in.
        """
        self._run_id = run_id
        self._naming = Naming(name, step_tag)
        self._provenance: Provenance | None = None
        self._delivery: Delivery[Item] = Delivery(
            type(self).__name__, self._send, kind_of, batch=METRICS, bound=bound, patience=patience
        )
        self._undelivered = self._delivery.undelivered
        self._requests = Requests(client, run_id, self._naming, self._undelivered)
        self._put = self._delivery.put

    def check(self, schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, /) -> Iterable[str]:
        """Return what MLflow would not take; see `CheckingSink`."""
        if self._provenance is not None:
            yield "it reports one context, and has one already; make another sink, for another run"
        if not isinstance(self._run_id, str):
            yield f"a run is given by its id, a str as in run.info.run_id, not by a {type(self._run_id).__name__}"
        yield from problems_of(schema, metrics, self._naming)

    def _join(self, state: State) -> None:
        """Learn whose sink this is; called by the context, before it tells anything."""
        self._provenance = state.provenance

    def handle(self, event: Event, /) -> None:
        """Take an event in. It is sent later, in another thread.

        Raises:
            SinkClosedError: The sink is closed, or belongs to another process.
        """
        if isinstance(event, MetricRecorded):
            metric, value, tags, _, position, _ = event
            self._put((time_ns(), metric, value, position, (*tags,), (*tags.values(),)))
        elif isinstance(event, KeyWritten) and event.is_input:
            self._put_input(event.key, as_text(event.value))
        elif isinstance(event, ArtifactAdded):
            self._put_file(event.name, event.data)

    def _put_input(self, key: str, text: str) -> None:
        reason = unfit_text(text)
        if reason is None:
            self._put(Input(key, text))
        else:
            self._undelivered.note("param", f"{key!r}: {reason}")

    def _put_file(self, name: str, data: bytes) -> None:
        reason = unfit_file(name)
        if reason is None:
            self._put(File(name, data, None))
        else:
            self._undelivered.note("artifact", f"{name!r}: {reason}")

    def _send(self, items: Sequence[Item]) -> int:
        return self._requests.send(items)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was taken in before is sent, or withheld.

        Args:
            timeout: Seconds to wait, at the most; None: as long as it takes.

        Returns:
            Whether it is.
        """
        return self._delivery.flush(timeout)

    def close(self) -> None:
        """Send the rest and the lineage, as long as the server takes it in. Closing again does nothing.

        Warns:
            UndeliveredWarning: Not all was delivered. It says how much of what, and why.
        """
        folder, name = LINEAGE
        last = [] if self._provenance is None else [File(name, _lineage(self._provenance), folder)]
        self._delivery.close(*last)

    def __enter__(self) -> Self:
        """Return the sink itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._run_id!r})"


def _lineage(provenance: Provenance) -> bytes:
    """Return who read, missed and wrote what, as JSON."""
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
