# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Requests to MLflow: made of what waits, and made again as they were where nobody knows whether one arrived."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias
from mlflow import MlflowClient
from .mlflow_rules import LONGEST_NAME, LONGEST_TEXT, Naming
from .undelivered import Undelivered

__all__ = ["METRICS", "File", "Input", "Item", "Requests", "kind_of"]
METRICS: int
"""Metrics in one request, at the most."""

PARAMS: int
SIZE: int
"""Bytes of one request, at the most."""

AROUND: int
"""Bytes around the name of a metric, or around the name and text of a param, at the most."""

LARGEST_METRIC = AROUND + 12 * LONGEST_NAME
"""Bytes of one metric, at the most, as what is not ASCII takes six or twelve."""

LARGEST_PARAM = AROUND + 12 * (LONGEST_NAME + LONGEST_TEXT)

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
Item: TypeAlias = _Point | Input | File
"""What waits to be sent."""

def kind_of(item: Item) -> str:
    """Say what an item is, in one word."""

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

    def send(self, items: Sequence[Item]) -> int:
        """Send the first of some items, as many as go into one request, and return how many these are.

        Raises:
            Exception: There was no answer, or one after which the same may succeed later.
        """
