"""The typed, validated, write-once context that the steps of a data or ML pipeline share."""

from typing import TYPE_CHECKING, Any

from .artifacts import Artifact, ArtifactLog
from .context import FrozenContext
from .errors import (
    AbsentKeyError,
    BranchError,
    ContextMutationError,
    CrystallizeError,
    DamagedRunError,
    DivergentRetryError,
    FinishedStepError,
    ForeignDeltaError,
    ForeignMetricError,
    FrameError,
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
    MergeConflictError,
    MetricClashError,
    MetricError,
    MissingExtraError,
    MissingTagError,
    ModelMethodError,
    NoAxisError,
    NoGoalError,
    NoPointsError,
    Problem,
    ResumeError,
    RunInUseError,
    RunNotFoundError,
    SchemaError,
    SinkCheckError,
    SinkClosedError,
    SinkError,
    SinkLoadError,
    StepClosedError,
    StubsError,
    TravelError,
    UncopyableValueError,
    UndeliveredWarning,
    UnknownArtifactError,
    UnknownKeyError,
    UnknownMetricError,
    UnknownSinkError,
)
from .events import (
    ArtifactAdded,
    BranchForked,
    BranchMerged,
    Event,
    KeyWritten,
    MetricRecorded,
    StepFinished,
    StepStarted,
)
from .logging_context import LoggingContext
from .metrics import FrozenMetrics, Metric, MetricSchema, Point, Series
from .points import NotRestorable
from .protocols import CheckingSink, Context, DeclaredKey, Sink
from .provenance import EarlyRead, Lineage, Provenance, StepRecord
from .schema import Output
from .values import Shared, register

if TYPE_CHECKING:
    from .branches import Branch, BranchContext, fork, merge
    from .deltas import Delta
    from .journal import Journal
    from .runs import Run, load_run
    from .workers import LostBranchesError, fan_out

__all__ = [
    "AbsentKeyError",
    "Artifact",
    "ArtifactAdded",
    "ArtifactLog",
    "Branch",
    "BranchContext",
    "BranchError",
    "BranchForked",
    "BranchMerged",
    "CheckingSink",
    "Context",
    "ContextMutationError",
    "CrystallizeError",
    "DamagedRunError",
    "DeclaredKey",
    "Delta",
    "DivergentRetryError",
    "EarlyRead",
    "Event",
    "FinishedStepError",
    "ForeignDeltaError",
    "ForeignMetricError",
    "FrameError",
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
    "LostBranchesError",
    "MergeConflictError",
    "Metric",
    "MetricClashError",
    "MetricError",
    "MetricRecorded",
    "MetricSchema",
    "MissingExtraError",
    "MissingTagError",
    "ModelMethodError",
    "NoAxisError",
    "NoGoalError",
    "NoPointsError",
    "NotRestorable",
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
    "SinkCheckError",
    "SinkClosedError",
    "SinkError",
    "SinkLoadError",
    "StepClosedError",
    "StepFinished",
    "StepRecord",
    "StepStarted",
    "StubsError",
    "TravelError",
    "UncopyableValueError",
    "UndeliveredWarning",
    "UnknownArtifactError",
    "UnknownKeyError",
    "UnknownMetricError",
    "UnknownSinkError",
    "__version__",
    "fan_out",
    "fork",
    "load_run",
    "merge",
    "register",
]

__version__ = "0.1.0"

_LATER = {
    **dict.fromkeys(("Branch", "BranchContext", "fork", "merge"), "branches"),
    **{"Delta": "deltas", "LostBranchesError": "workers", "fan_out": "workers"},
    **{"Journal": "journal", "Run": "runs", "load_run": "runs"},
}
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
