"""The typed, validated, write-once context that the steps of a data or ML pipeline share.

The public names are here and in the modules without an underscore; the folders with one contain the code. The names of
branches, journals and runs are imported when they are first asked for, since many programs need none of them.
"""

from typing import TYPE_CHECKING, Any

from ._core.artifacts import Artifact, ArtifactLog
from ._core.codec import NotRestorable
from ._core.context import FrozenContext, LoggingContext
from ._core.context_view import ContextView
from ._core.freezing import Shared, register
from ._core.inputs_model import InputsModel, inputs_of
from ._core.key import Output
from ._core.metrics import Metric, MetricSchema, Point
from ._core.protocols import AttachedSink, CheckingSink, Context, DeclaredKey, LimitedSink, Sink
from ._core.provenance import EarlyRead, Lineage, MetricRead, Provenance, StepRecord
from ._core.series import FrozenMetrics, Series
from ._core.step_options import step
from ._core.step_runner import set_attempts
from .errors import (
    AbsentKeyError,
    BranchError,
    ContextMutationError,
    CopiedContextWarning,
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
    LiveValueError,
    LostKeyError,
    MergeConflictError,
    MetricClashError,
    MetricError,
    MissingExtraError,
    MissingTagError,
    ModelMethodError,
    NoAxisError,
    NoGoalError,
    NoPointsError,
    ObjectError,
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
    TooLargeError,
    TravelError,
    UncopyableValueError,
    UndeclaredMetricWarning,
    UndeliveredWarning,
    UnknownArtifactError,
    UnknownKeyError,
    UnknownMetricError,
    UnknownSinkError,
    UnpicklableValueError,
    UnusedStepWarning,
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
    TaskInputs,
    TaskReturn,
)

if TYPE_CHECKING:
    from ._branches.async_fan_out import afan_out
    from ._branches.branch import Branch, BranchContext, fork
    from ._branches.delta import Delta
    from ._branches.fan_out import LostBranchesError, fan_out, fan_out_iter
    from ._branches.merge import BatchSink, MergedWork, merge
    from ._branches.sending import shared_base
    from ._branches.shared_base import SharedBase
    from ._journal.journal import Journal
    from ._journal.loaded_run import Run, load_run

__all__ = [
    "AbsentKeyError",
    "Artifact",
    "ArtifactAdded",
    "ArtifactLog",
    "AttachedSink",
    "BatchSink",
    "Branch",
    "BranchContext",
    "BranchError",
    "BranchForked",
    "BranchMerged",
    "CheckingSink",
    "Context",
    "ContextMutationError",
    "ContextView",
    "CopiedContextWarning",
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
    "InputsModel",
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
    "LimitedSink",
    "Lineage",
    "LiveValueError",
    "LoggingContext",
    "LostBranchesError",
    "LostKeyError",
    "MergeConflictError",
    "MergedWork",
    "Metric",
    "MetricClashError",
    "MetricError",
    "MetricRead",
    "MetricRecorded",
    "MetricSchema",
    "MissingExtraError",
    "MissingTagError",
    "ModelMethodError",
    "NoAxisError",
    "NoGoalError",
    "NoPointsError",
    "NotRestorable",
    "ObjectError",
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
    "SharedBase",
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
    "TaskInputs",
    "TaskReturn",
    "TooLargeError",
    "TravelError",
    "UncopyableValueError",
    "UndeclaredMetricWarning",
    "UndeliveredWarning",
    "UnknownArtifactError",
    "UnknownKeyError",
    "UnknownMetricError",
    "UnknownSinkError",
    "UnpicklableValueError",
    "UnusedStepWarning",
    "__version__",
    "afan_out",
    "fan_out",
    "fan_out_iter",
    "fork",
    "inputs_of",
    "load_run",
    "merge",
    "register",
    "shared_base",
    "step",
]

__version__ = "0.2.0"

_LATER = {
    **dict.fromkeys(("Branch", "BranchContext", "fork"), "_branches.branch"),
    "afan_out": "_branches.async_fan_out",
    **dict.fromkeys(("BatchSink", "MergedWork", "merge"), "_branches.merge"),
    **{"Delta": "_branches.delta", "SharedBase": "_branches.shared_base", "shared_base": "_branches.sending"},
    **dict.fromkeys(("LostBranchesError", "fan_out", "fan_out_iter"), "_branches.fan_out"),
    **{"Journal": "_journal.journal", "Run": "_journal.loaded_run", "load_run": "_journal.loaded_run"},
}
"""Names that are imported at their first use, with their modules: many programs need none of them."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # as above

    found = getattr(import_module(f".{_LATER[name]}", __name__), name)
    globals()[name] = found
    return found


def _attempts(ctx: Any, call: Any) -> Any:
    from importlib import import_module  # as above

    return import_module("._branches.attempts", __name__).Attempts(ctx, call)


# The core opens steps, and does not know of branches, in which the attempts at a step run.
set_attempts(_attempts)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
