"""Runs of a small training, for the tests of the journal."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from typing_extensions import TypedDict

from crystallize import (
    FrozenContext,
    Journal,
    Metric,
    MetricSchema,
)

__all__ = ["Tags", "Train", "TrainMetrics", "abandon", "died"]


class Train(BaseModel):
    lr: float
    token: SecretStr = SecretStr("")
    accuracy: float


class Tags(TypedDict):
    epoch: int


class TrainMetrics(MetricSchema):
    loss = Metric(float, tags=Tags)


def died(folder: Path, initial: dict[str, Any], kind: Any = FrozenContext, **options: Any) -> Path:
    """Write a run whose journal nobody closed."""
    journal = Journal.start(folder, "run")
    journal.context(kind, initial, **options)
    journal.flush()
    abandon(journal)
    return journal.path


def abandon(journal: Journal) -> None:
    """Let go of the files of a journal as if its process had died."""
    writer = journal._writer
    # git is started in a process that has a copy of the descriptor of the lock until git runs.
    writer.probe.wait(60)
    writer.closed = "its process died"
    writer._drainer.is_closed = True
    writer.wake()
    writer._drainer._thread.join()
    writer._finalizer()
