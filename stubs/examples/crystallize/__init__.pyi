# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""The typed, validated, write-once context that the steps of a data or ML pipeline share."""

from typing import Any
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
__version__: str

def __getattr__(name: str) -> Any: ...
def __dir__() -> list[str]: ...
