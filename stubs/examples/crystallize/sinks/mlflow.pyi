# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""A sink that reports to a run of MLflow: inputs as params, points, artifacts, and at the end the lineage."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self
from mlflow import MlflowClient
from ..events import Event
from ..metrics import MetricSchema
from ..protocols import DeclaredKey
from .mlflow_rules import Template

__all__ = ["MLflowSink"]
LINEAGE: tuple[str, ...]
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
        name: Template = ...,
        bound: int = 100000,
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

    def check(self, schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, /) -> Iterable[str]:
        """Return what MLflow would not take; see `CheckingSink`."""

    def handle(self, event: Event, /) -> None:
        """Take an event in. It is sent later, in another thread.

        Raises:
            SinkClosedError: The sink is closed, or belongs to another process.
        """

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was taken in before is sent, or withheld.

        Args:
            timeout: Seconds to wait, at the most; None: as long as it takes.

        Returns:
            Whether it is.
        """

    def close(self) -> None:
        """Send the rest and the lineage, as long as the server takes it in. Closing again does nothing.

        Warns:
            UndeliveredWarning: Not all was delivered. It says how much of what, and why.
        """

    def __enter__(self) -> Self:
        """Return the sink itself."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""

    def __repr__(self) -> str: ...
