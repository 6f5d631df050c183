# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Every exception that crystallize raises.

    CrystallizeError
    ├── SchemaError (TypeError)               a schema that cannot be used
    │   └── MetricClashError                  one metric name, declared twice
    ├── ContextMutationError (TypeError)      what is written once was to be changed
    ├── KeyLookupError (KeyError, AttributeError)
    │   ├── UnknownKeyError                   a key that the schema does not declare
    │   │   └── ModelMethodError              what only a whole model can do
    │   ├── ItemFieldsError                   an attribute of fields that are items
    │   ├── AbsentKeyError                    a key that is not written yet
    │   └── InvalidKeyError (ValueError)      not a key at all
    ├── InvalidValueError (ValueError)        a value that its key does not allow
    ├── InvalidInitialError (ValueError)      initial values that cannot make a context
    ├── InvalidSnapshotError (ValueError)     the whole fails a model-level validator
    ├── IncompleteContextError (LookupError)  a snapshot with keys missing
    ├── UncopyableValueError (TypeError)      a value that cannot be kept apart from its writer
    ├── MetricError
    │   ├── UnknownMetricError (KeyError)     a metric that the schema does not declare
    │   ├── ForeignMetricError (TypeError)    a metric of another schema
    │   ├── InvalidMetricError (ValueError)   a value that its metric does not allow
    │   ├── InvalidTagError (ValueError)      tags that their metric does not allow
    │   │   └── MissingTagError               a tag is missing
    │   ├── NoPointsError (LookupError)       the best or last of nothing
    │   ├── NoGoalError (TypeError)           the best, and no goal that says which that is
    │   └── NoAxisError (ValueError)          a plot over what is no axis of a series
    ├── InvalidArtifactError (ValueError)     a name or data that cannot be an artifact
    ├── UnknownArtifactError (KeyError)       an artifact that nobody has added
    ├── InvalidStepError (ValueError)         a name that cannot be a step's
    │   └── FinishedStepError                 a step that had finished before the run was resumed
    ├── StepClosedError (RuntimeError)        a step used after it ended
    ├── BranchError (RuntimeError)            what a branch, or merging it, cannot do
    │   ├── MergeConflictError                one key or artifact from two branches, or from one and its parent
    │   ├── DivergentRetryError               a branch that was merged before, with other content
    │   ├── ForeignDeltaError (TypeError)     a delta of another schema, or of a branch of another context
    │   └── TravelError (TypeError)           what cannot be sent to another process
    ├── JournalError (RuntimeError)           what a journal, or a run in a file, cannot do
    │   ├── RunNotFoundError (LookupError)    there is no such run
    │   ├── RunInUseError                     somebody else is writing it
    │   ├── DamagedRunError                   what was written cannot all be read
    │   └── ResumeError (ValueError)          a run that cannot go on as it was asked to
    ├── FrameError (ValueError)               what there is no table or picture of, or no place for one
    ├── StubsError (ValueError)               stubs that cannot be written, or no place for them
    ├── MissingExtraError (ModuleNotFoundError)  a library that is not installed
    ├── SinkError (RuntimeError)              sinks failed; the context itself holds
    ├── SinkCheckError (ValueError)           what a sink's backend would refuse, said before anything is told
    ├── SinkClosedError (RuntimeError)        a sink told something after its end
    ├── UnknownSinkError (LookupError)        a sink that is not installed
    ├── SinkLoadError (ImportError)           a sink that is installed and cannot be loaded
    └── UndeliveredWarning (UserWarning)      what a sink's backend did not get

The facts of an error are its attributes, and they are its arguments too, so it pickles. One more stands in `workers`:
`LostBranchesError`, a `BranchError` that is a `BrokenExecutor` of concurrent.futures too, whose import takes long.
"""

from typing import NamedTuple

__all__ = [
    "AbsentKeyError",
    "BranchError",
    "ContextMutationError",
    "CrystallizeError",
    "DamagedRunError",
    "DivergentRetryError",
    "FinishedStepError",
    "ForeignDeltaError",
    "ForeignMetricError",
    "FrameError",
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
    "JournalError",
    "KeyLookupError",
    "MergeConflictError",
    "MetricClashError",
    "MetricError",
    "MissingExtraError",
    "MissingTagError",
    "ModelMethodError",
    "NoAxisError",
    "NoGoalError",
    "NoPointsError",
    "Problem",
    "ResumeError",
    "RunInUseError",
    "RunNotFoundError",
    "SchemaError",
    "SinkCheckError",
    "SinkClosedError",
    "SinkError",
    "SinkLoadError",
    "StepClosedError",
    "StubsError",
    "TravelError",
    "UncopyableValueError",
    "UndeliveredWarning",
    "UnknownArtifactError",
    "UnknownKeyError",
    "UnknownMetricError",
    "UnknownSinkError",
]
EXPLAINED_IN: str
"""The page with a section on each error, by the name of its class in lower case. Of a release it is an address."""

class Problem(NamedTuple):
    """One thing that is wrong with a value.

    Example:
        >>> try:
        ...     FrozenContext[dict[str, int]]({"epochs": "many"})
        ... except InvalidInitialError as error:
        ...     error.problems[0].location, error.problems[0].value
        (('epochs',), "'many'")
    """

    location: tuple[str | int, ...]
    """The key or tag, then the way down into its value."""

    allowed: str
    """What was allowed, to be read after the location, as "should be greater than 0"."""

    type: str
    """The name of the type of the value that was given; empty where there was none."""

    value: str | None
    """The value in short; None where there was none, or where it may hold a secret."""

    def __str__(self) -> str: ...
    def sentence(self, of: str = "") -> str:
        """Return it as a sentence, without the place where that is the whole of what is spoken of."""

class CrystallizeError(Exception):
    """The base of every error that crystallize raises.

    A traceback ends with where the error is explained. That is a note, and not part of the error's text.
    """

    __notes__: list[str]

class SchemaError(CrystallizeError, TypeError):
    """A type that cannot serve as a context's schema, or a metric declared in a way that cannot work.

    Attributes:
        schema: The schema's name.
        reason: What is wrong, and what to write instead.
    """

    schema: str
    reason: str

    def __init__(self, schema: str, reason: str) -> None: ...
    def __str__(self) -> str: ...

class MetricClashError(SchemaError):
    """One metric name that two classes of a schema declare.

    Attributes:
        schema: The class that was to be made.
        metric: The name declared twice.
        owners: The two classes that declare it.
    """

    metric: str
    owners: tuple[str, str]

    def __init__(self, schema: str, metric: str, owners: tuple[str, str]) -> None: ...

class ContextMutationError(CrystallizeError, TypeError):
    """An attempt to change or delete what is written once: a key, an attribute, an artifact.

    Attributes:
        key: The key, attribute or artifact.
        reason: The whole sentence.
    """

    key: str
    reason: str

    def __init__(self, key: str, reason: str) -> None: ...
    def __str__(self) -> str: ...

class KeyLookupError(CrystallizeError, KeyError, AttributeError):
    """A key that has no value to give. Both a KeyError and an AttributeError, since keys are both.

    Attributes:
        key: The key asked for.
    """

    key: str

    def __str__(self) -> str: ...
    def sentence(self) -> str:
        """Return what went wrong, as a sentence."""

class UnknownKeyError(KeyLookupError):
    """A key that the schema does not declare.

    Attributes:
        key: The key asked for.
        schema: The schema's name.
        nearest: The declared key nearest to it, if one is near.
        declared: The keys that the schema declares.
    """

    key: str
    schema: str
    nearest: str | None
    declared: tuple[str, ...]

    def __init__(self, key: str, schema: str, nearest: str | None, declared: tuple[str, ...]) -> None: ...
    def sentence(self) -> str:
        """Return what went wrong, as a sentence."""

    @property
    def complaint(self) -> str:
        """What is to be said of the key."""

class ModelMethodError(UnknownKeyError):
    """What Pydantic gives every model, asked of a context's fields, which are not a model.

    Attributes:
        key: The name asked for.
        schema: The schema's name.
    """

    def __init__(self, key: str, schema: str) -> None: ...
    @property
    def complaint(self) -> str:
        """What is to be said of the name."""

class ItemFieldsError(KeyLookupError):
    """An attribute asked of fields that are items.

    Attributes:
        key: The attribute asked for.
    """

    key: str

    def __init__(self, key: str) -> None: ...
    def sentence(self) -> str:
        """Return what went wrong, as a sentence."""

class AbsentKeyError(KeyLookupError):
    """A key that may be there and is not written yet.

    Attributes:
        key: The key asked for.
        schema: The name of the schema that declares it; None where there is no schema.
        nearest: The written key nearest to it, where there is no schema and one is near.
        needed_by: The key whose validator or default asked for it, if one did.
    """

    key: str
    schema: str | None
    nearest: str | None
    needed_by: str | None

    def __init__(
        self,
        key: str,
        schema: str | None = None,
        nearest: str | None = None,
        needed_by: str | None = None,
    ) -> None: ...
    def sentence(self) -> str:
        """Return what went wrong, as a sentence."""

    @property
    def complaint(self) -> str:
        """What is to be said of the key that needs it."""

class InvalidKeyError(KeyLookupError, ValueError):
    """Something that cannot be a key.

    Attributes:
        key: What was given, in short.
        reason: What is wrong with it.
    """

    key: str
    reason: str

    def __init__(self, key: str, reason: str) -> None: ...
    def sentence(self) -> str:
        """Return what went wrong, as a sentence."""

class _InvalidError(CrystallizeError, ValueError):
    subject: str
    problems: tuple[Problem, ...]

    def __init__(self, subject: str, problems: tuple[Problem, ...]) -> None: ...
    def __str__(self) -> str: ...

class InvalidValueError(_InvalidError):
    """A value that its key does not allow. Nothing was written.

    Attributes:
        key: The key.
        problems: What is wrong with the value, each with its place.
    """

    @property
    def key(self) -> str:
        """The key that was to be written."""

class InvalidInitialError(_InvalidError):
    """Initial values that cannot make a context. All that is wrong with them comes at once.

    Attributes:
        context: The context that was to be made.
        problems: What is wrong, each with its key.
    """

    @property
    def context(self) -> str:
        """The context that was to be made."""

class InvalidSnapshotError(_InvalidError):
    """A context whose values, each valid by itself, fail a model-level validator of the schema.

    Attributes:
        schema: The schema's name.
        problems: What the validators said.
    """

    @property
    def schema(self) -> str:
        """The schema's name."""

class IncompleteContextError(CrystallizeError, LookupError):
    """A snapshot of a context in which keys are still missing.

    Attributes:
        schema: The schema's name.
        missing: The keys without a value.
    """

    schema: str
    missing: tuple[str, ...]

    def __init__(self, schema: str, missing: tuple[str, ...]) -> None: ...
    def __str__(self) -> str: ...

class UncopyableValueError(CrystallizeError, TypeError):
    """A value that cannot be copied, so that it cannot be kept apart from whoever else holds it.

    Attributes:
        subject: The key or metric that was to hold the value.
        type: The full name of the type that refuses.
        reason: Why it cannot be copied.
    """

    subject: str
    type: str
    reason: str

    def __init__(self, subject: str, type: str, reason: str) -> None: ...
    def __str__(self) -> str: ...
    @property
    def complaint(self) -> str:
        """What is to be said of the value."""

class MetricError(CrystallizeError):
    """The base of the errors about metrics.

    Attributes:
        metric: The metric's name.
    """

    metric: str

class UnknownMetricError(MetricError, KeyError):
    """A metric that the schema does not declare.

    Attributes:
        metric: The name asked for.
        schema: The metric schema's name.
        nearest: The declared metric nearest to it, if one is near.
        declared: The metrics that the schema declares.
    """

    metric: str
    schema: str
    nearest: str | None
    declared: tuple[str, ...]

    def __init__(self, metric: str, schema: str, nearest: str | None, declared: tuple[str, ...]) -> None: ...
    def __str__(self) -> str: ...

class ForeignMetricError(MetricError, TypeError):
    """A `Metric` that is not the one that goes by its name here.

    Attributes:
        metric: The metric's name.
        owner: The schema that the metric belongs to, or None.
        schema: The schema in use, or None where there is none.
        reason: The whole sentence.
    """

    metric: str
    owner: str | None
    schema: str | None
    reason: str

    def __init__(self, metric: str, owner: str | None, schema: str | None, reason: str) -> None: ...
    def __str__(self) -> str: ...

class _InvalidPointError(MetricError, ValueError):
    metric: str
    problems: tuple[Problem, ...]

    def __init__(self, metric: str, problems: tuple[Problem, ...]) -> None: ...
    def __str__(self) -> str: ...

class InvalidMetricError(_InvalidPointError):
    """A value that its metric does not allow. Nothing was recorded.

    Attributes:
        metric: The metric's name.
        problems: What is wrong with the value.
    """

class InvalidTagError(_InvalidPointError):
    """Tags that their metric does not allow. Nothing was recorded.

    Attributes:
        metric: The metric's name.
        problems: What is wrong, each with its tag.
    """

class MissingTagError(InvalidTagError):
    """A tag that its metric requires is missing. Nothing was recorded.

    Attributes:
        metric: The metric's name.
        problems: What is wrong, each with its tag.
    """

class NoPointsError(MetricError, LookupError):
    """The last or best point of a series that has none.

    Attributes:
        metric: The metric's name.
        where: The tags that the series was narrowed to, in short.
    """

    metric: str
    where: str

    def __init__(self, metric: str, where: str = "") -> None: ...
    def __str__(self) -> str: ...

class NoGoalError(MetricError, TypeError):
    """The best of a metric that does not say which values are better.

    Attributes:
        metric: The metric's name.
    """

    metric: str

    def __init__(self, metric: str) -> None: ...
    def __str__(self) -> str: ...

class NoAxisError(MetricError, ValueError):
    """A plot over what is no axis of a series.

    Attributes:
        metric: The metric's name.
        axis: What was asked for.
        nearest: The axis nearest to it, if one is near.
        axes: What it can be plotted over.
        reason: Why it cannot be plotted over that.
    """

    metric: str
    axis: str
    nearest: str | None
    axes: tuple[str, ...]
    reason: str

    def __init__(self, metric: str, axis: str, nearest: str | None, axes: tuple[str, ...], reason: str) -> None: ...
    def __str__(self) -> str: ...

class InvalidArtifactError(CrystallizeError, ValueError):
    """A name or data that cannot be an artifact. Nothing was added.

    Attributes:
        name: The name given, in short.
        reason: What is wrong.
    """

    name: str
    reason: str

    def __init__(self, name: str, reason: str) -> None: ...
    def __str__(self) -> str: ...

class UnknownArtifactError(CrystallizeError, KeyError):
    """An artifact that nobody has added.

    Attributes:
        name: The name asked for, in short.
        nearest: The name nearest to it, if one is near.
    """

    name: str
    nearest: str | None

    def __init__(self, name: str, nearest: str | None) -> None: ...
    def __str__(self) -> str: ...

class InvalidStepError(CrystallizeError, ValueError):
    """A name that cannot be a step's.

    Attributes:
        name: The name given, in short.
        reason: What is wrong with it.
    """

    name: str
    reason: str

    def __init__(self, name: str, reason: str) -> None: ...
    def __str__(self) -> str: ...

class FinishedStepError(InvalidStepError):
    """A step that had finished before the run was resumed; its work is there.

    Attributes:
        step: The step's name.
    """

    step: str

    def __init__(self, step: str) -> None: ...

class StepClosedError(CrystallizeError, RuntimeError):
    """A step, or something that it handed out, used after the step ended.

    Attributes:
        step: The step's name.
    """

    step: str

    def __init__(self, step: str) -> None: ...
    def __str__(self) -> str: ...

class SinkError(CrystallizeError, RuntimeError):
    """One sink or more failed to take an event. What happened in the context holds nevertheless.

    The sinks' own exceptions are its cause, as one ExceptionGroup.

    Attributes:
        event: What happened, in short.
        failures: For each sink that failed its name and what it raised, as text.
    """

    event: str
    failures: tuple[tuple[str, str], ...]

    def __init__(self, event: str, failures: tuple[tuple[str, str], ...]) -> None: ...
    def __str__(self) -> str: ...

class SinkCheckError(CrystallizeError, ValueError):
    """What sinks' backends would refuse of what a context holds and measures. It was not made, and nothing was told.

    Attributes:
        context: The context that was to be made.
        problems: For each problem the sink's name and what it says, as a sentence.
    """

    context: str
    problems: tuple[tuple[str, str], ...]

    def __init__(self, context: str, problems: tuple[tuple[str, str], ...]) -> None: ...
    def __str__(self) -> str: ...

class SinkClosedError(CrystallizeError, RuntimeError):
    """A sink that was told something after its end.

    Attributes:
        sink: The sink's name.
        reason: Why it takes nothing.
    """

    sink: str
    reason: str

    def __init__(self, sink: str, reason: str) -> None: ...
    def __str__(self) -> str: ...

class UnknownSinkError(CrystallizeError, LookupError):
    """A sink that no package installed here has.

    Attributes:
        sink: The name asked for, in short.
        nearest: The name nearest to it, if one is near.
        installed: The sinks that are installed.
    """

    sink: str
    nearest: str | None
    installed: tuple[str, ...]

    def __init__(self, sink: str, nearest: str | None, installed: tuple[str, ...]) -> None: ...
    def __str__(self) -> str: ...

class SinkLoadError(CrystallizeError, ImportError):
    """A sink that is installed and cannot be loaded.

    Attributes:
        sink: The sink's name.
        reason: Why not, and what to do about it.
    """

    sink: str
    reason: str

    def __init__(self, sink: str, reason: str) -> None: ...
    def __str__(self) -> str: ...

class UndeliveredWarning(CrystallizeError, UserWarning):
    """What a sink's backend did not get. The context has it, and so has a journal.

    Attributes:
        sink: The sink's name.
        undelivered: How many of what, each with the reason.
    """

    sink: str
    undelivered: tuple[tuple[int, str, str], ...]

    def __init__(self, sink: str, undelivered: tuple[tuple[int, str, str], ...]) -> None: ...
    def __str__(self) -> str: ...

class BranchError(CrystallizeError, RuntimeError):
    """What a branch, or merging it, cannot do.

    Attributes:
        branch: The branch's full name.
        reason: Why not, and what to do about it.
    """

    branch: str
    reason: str

    def __init__(self, branch: str, reason: str) -> None: ...
    def __str__(self) -> str: ...

class MergeConflictError(BranchError):
    """One key or artifact from two branches, or from a branch and its parent. Nothing of this branch was merged.

    Attributes:
        branch: The branch that was to be merged.
        reason: Why it was not.
        name: The key or artifact.
        writers: Who wrote it first, and who did in this branch.
    """

    name: str
    writers: tuple[str, str]

    def __init__(self, branch: str, what: str, name: str, writers: tuple[str, str]) -> None: ...

class DivergentRetryError(BranchError):
    """A branch that was merged before, and now comes with other content. Nothing was changed.

    Attributes:
        branch: The branch's full name.
        reason: What differs.
    """

    def __init__(self, branch: str, differs: str) -> None: ...

class ForeignDeltaError(BranchError, TypeError):
    """A delta of another schema, or of a branch that was forked within another branch. Nothing of it was merged.

    Attributes:
        branch: The branch's full name.
        reason: Whose it is.
    """

class TravelError(BranchError, TypeError):
    """Something that cannot be sent to another process, or cannot be read there.

    Attributes:
        branch: The branch's full name.
        reason: What, of which type, and why not.
    """

class JournalError(CrystallizeError, RuntimeError):
    """What a journal, or a run in a file, cannot do.

    Attributes:
        path: The file.
        reason: Why not.
        advice: What to do about it; empty where the reason says it.
    """

    path: str
    reason: str
    advice: str

    def __init__(self, path: str, reason: str, advice: str = "") -> None: ...
    def __str__(self) -> str: ...

class RunNotFoundError(JournalError, LookupError):
    """There is no such run.

    Attributes:
        path: The name or file that was asked for.
        reason: Why not.
        advice: What to do about it; empty where the reason says it.
    """

class RunInUseError(JournalError):
    """Another process, or another journal of this one, is writing the run.

    Attributes:
        path: The file.
        reason: Why not.
        advice: What to do about it; empty where the reason says it.
    """

    def __init__(self, path: str) -> None: ...

class DamagedRunError(JournalError):
    """What was written cannot all be read: the file was changed, cut short, or is no run at all.

    Attributes:
        path: The file.
        reason: Why not.
        advice: What to do about it; empty where the reason says it.
    """

class ResumeError(JournalError, ValueError):
    """A run that cannot go on as it was asked to.

    Attributes:
        path: The file.
        reason: Why not.
        advice: What to do about it; empty where the reason says it.
    """

class FrameError(CrystallizeError, ValueError):
    """What there is no table or picture of, or a table that cannot be written where it was to be.

    Attributes:
        subject: What was given, in short.
        reason: Why not, and what to do about it.
    """

    subject: str
    reason: str

    def __init__(self, subject: str, reason: str) -> None: ...
    def __str__(self) -> str: ...

class StubsError(CrystallizeError, ValueError):
    """Stubs that cannot be written.

    Attributes:
        subject: The module or the place that stands in the way.
        reason: What is wrong, and what to do.
    """

    subject: str
    reason: str

    def __init__(self, subject: str, reason: str) -> None: ...
    def __str__(self) -> str: ...

class MissingExtraError(CrystallizeError, ModuleNotFoundError):
    """A library that is needed, and comes with an extra of this package.

    Attributes:
        library: The library.
        extra: The extra that brings it.
    """

    name: str
    library: str
    extra: str

    def __init__(self, library: str, extra: str) -> None: ...
    def __str__(self) -> str: ...
