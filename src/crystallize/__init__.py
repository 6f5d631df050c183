"""The typed, validated, write-once context that the steps of a data or ML pipeline share."""

from typing import TYPE_CHECKING, Any

from .artifacts import Artifact, ArtifactLog
from .context import FrozenContext
from .errors import (
    AbsentKeyError,
    ContextMutationError,
    CrystallizeError,
    DamagedRunError,
    FinishedStepError,
    ForeignMetricError,
    IncompleteContextError,
    InvalidArtifactError,
    InvalidInitialError,
    InvalidKeyError,
    InvalidMetricError,
    InvalidSnapshotError,
    InvalidStepError,
    InvalidTagError,
    InvalidValueError,
    ItemFieldsError,
    JournalError,
    KeyLookupError,
    MetricClashError,
    MetricError,
    MissingTagError,
    ModelMethodError,
    NoGoalError,
    NoPointsError,
    Problem,
    ResumeError,
    RunInUseError,
    RunNotFoundError,
    SchemaError,
    SinkError,
    StepClosedError,
    UncopyableValueError,
    UnknownArtifactError,
    UnknownKeyError,
    UnknownMetricError,
)
from .events import ArtifactAdded, Event, KeyWritten, MetricRecorded, StepFinished, StepStarted
from .logging_context import LoggingContext
from .metrics import FrozenMetrics, Metric, MetricSchema, Point, Series
from .protocols import Context, Sink
from .provenance import EarlyRead, Lineage, Provenance, StepRecord
from .schema import Output
from .values import Shared, register

if TYPE_CHECKING:
    from .journal import Journal
    from .runs import Run, load_run

__all__ = [
    "AbsentKeyError",
    "Artifact",
    "ArtifactAdded",
    "ArtifactLog",
    "Context",
    "ContextMutationError",
    "CrystallizeError",
    "DamagedRunError",
    "EarlyRead",
    "Event",
    "FinishedStepError",
    "ForeignMetricError",
    "FrozenContext",
    "FrozenMetrics",
    "IncompleteContextError",
    "InvalidArtifactError",
    "InvalidInitialError",
    "InvalidKeyError",
    "InvalidMetricError",
    "InvalidSnapshotError",
    "InvalidStepError",
    "InvalidTagError",
    "InvalidValueError",
    "ItemFieldsError",
    "Journal",
    "JournalError",
    "KeyLookupError",
    "KeyWritten",
    "Lineage",
    "LoggingContext",
    "Metric",
    "MetricClashError",
    "MetricError",
    "MetricRecorded",
    "MetricSchema",
    "MissingTagError",
    "ModelMethodError",
    "NoGoalError",
    "NoPointsError",
    "Output",
    "Point",
    "Problem",
    "Provenance",
    "ResumeError",
    "Run",
    "RunInUseError",
    "RunNotFoundError",
    "SchemaError",
    "Series",
    "Shared",
    "Sink",
    "SinkError",
    "StepClosedError",
    "StepFinished",
    "StepRecord",
    "StepStarted",
    "UncopyableValueError",
    "UnknownArtifactError",
    "UnknownKeyError",
    "UnknownMetricError",
    "__version__",
    "load_run",
    "register",
]

__version__ = "0.1.0"

_LATER = {"Journal": "journal", "Run": "runs", "load_run": "runs"}
"""What is imported when it is first asked for, and from where: many programs need none of it."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # as above

    found = getattr(import_module(f".{_LATER[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
