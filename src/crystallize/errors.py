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

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

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


EXPLAINED_IN: Final = "docs/errors.md"
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

    def __str__(self) -> str:
        return self.sentence()

    def sentence(self, of: str = "") -> str:
        """Return it as a sentence, without the place where that is the whole of what is spoken of."""
        place = "" if self.location == (of,) else ".".join(str(part) for part in self.location)
        joint = " " if self.allowed.startswith(_VERBS) else ": "
        sentence = f"{place!r}{joint}{self.allowed}" if place else self.allowed
        if not self.type:
            return sentence
        return f"{sentence}, got {self.type}" if self.value is None else f"{sentence}, got {self.value} ({self.type})"


_VERBS = ("should ", "is ", "must ", "takes ", "needs ", "has ")


def _listing(head: str, subject: str, problems: Sequence[Problem]) -> str:
    """A sentence for one problem; for more, a line each."""
    head = head.format(subject)
    if len(problems) == 1:
        return f"{head}: {problems[0].sentence(subject)}"
    return "\n".join([f"{head}: {len(problems)} problems", *(f"  {problem}" for problem in problems)])


def _hint(nearest: str | None, declared: Iterable[str], of: str) -> str:
    """What to write instead: the nearest name, else some of the names that there are."""
    if nearest is not None:
        return f"; did you mean {nearest!r}?"
    names = sorted(declared)
    if not names:
        return ""
    more = f", and {len(names) - 8} more" if len(names) > 8 else ""
    return f"; {of}: {', '.join(names[:8])}{more}"


class CrystallizeError(Exception):
    """The base of every error that crystallize raises.

    A traceback ends with where the error is explained. That is a note, and not part of the error's text.
    """

    if TYPE_CHECKING:
        __notes__: list[str]
    else:
        # Made when a traceback asks for it, as most errors are caught and never shown. From then on it is an attribute
        # like others: notes are added to it, and a pickle or a copy brings it along.
        @cached_property
        def __notes__(self) -> list[str]:
            return self._first_notes()

    def _first_notes(self) -> list[str]:
        return [self._explained()]

    def _explained(self) -> str:
        own = __name__.partition(".")[0]
        # A class that others made is explained as the nearest of ours that it is made of.
        name = next(cls.__name__ for cls in type(self).__mro__ if cls.__module__.partition(".")[0] == own)
        return f"Explained in {EXPLAINED_IN}#{name.lower()}"


class SchemaError(CrystallizeError, TypeError):
    """A type that cannot serve as a context's schema, or a metric declared in a way that cannot work.

    Attributes:
        schema: The schema's name.
        reason: What is wrong, and what to write instead.
    """

    def __init__(self, schema: str, reason: str) -> None:
        super().__init__(schema, reason)
        self.schema = schema
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.schema}: {self.reason}"


class MetricClashError(SchemaError):
    """One metric name that two classes of a schema declare.

    Attributes:
        schema: The class that was to be made.
        metric: The name declared twice.
        owners: The two classes that declare it.
    """

    def __init__(self, schema: str, metric: str, owners: tuple[str, str]) -> None:
        super().__init__(schema, f"metric {metric!r} is declared by both {owners[0]} and {owners[1]}; rename one")
        self.args = (schema, metric, owners)
        self.metric = metric
        self.owners = owners


class ContextMutationError(CrystallizeError, TypeError):
    """An attempt to change or delete what is written once: a key, an attribute, an artifact.

    Attributes:
        key: The key, attribute or artifact.
        reason: The whole sentence.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key, reason)
        self.key = key
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class KeyLookupError(CrystallizeError, KeyError, AttributeError):
    """A key that has no value to give. Both a KeyError and an AttributeError, since keys are both.

    Attributes:
        key: The key asked for.
    """

    key: str

    # KeyError prints the repr of its argument; ours are sentences.
    def __str__(self) -> str:
        return self.sentence()

    def sentence(self) -> str:
        """Return what went wrong, as a sentence."""
        return ", ".join(map(str, self.args))


class UnknownKeyError(KeyLookupError):
    """A key that the schema does not declare.

    Attributes:
        key: The key asked for.
        schema: The schema's name.
        nearest: The declared key nearest to it, if one is near.
        declared: The keys that the schema declares.
    """

    def __init__(self, key: str, schema: str, nearest: str | None, declared: tuple[str, ...]) -> None:
        super().__init__(key, schema, nearest, declared)
        self.key = key
        self.schema = schema
        self.nearest = nearest
        self.declared = declared

    def sentence(self) -> str:
        """Return what went wrong, as a sentence."""
        return f"{self.key!r} {self.complaint}"

    @property
    def complaint(self) -> str:
        """What is to be said of the key."""
        return f"is not declared in {self.schema}{_hint(self.nearest, self.declared, 'declared are')}"


class ModelMethodError(UnknownKeyError):
    """What Pydantic gives every model, asked of a context's fields, which are not a model.

    Attributes:
        key: The name asked for.
        schema: The schema's name.
    """

    def __init__(self, key: str, schema: str) -> None:
        super().__init__(key, schema, None, ())
        self.args = (key, schema)

    @property
    def complaint(self) -> str:
        """What is to be said of the name."""
        return f"works on a whole {self.schema} and not on the fields of a context; write ctx.snapshot().{self.key}"


class ItemFieldsError(KeyLookupError):
    """An attribute asked of fields that are items.

    Attributes:
        key: The attribute asked for.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def sentence(self) -> str:
        """Return what went wrong, as a sentence."""
        return (
            f"the keys of this context are items: write fields[{self.key!r}]. "
            "Over a model or dataclass they are attributes: FrozenContext[Model](...)"
        )


class AbsentKeyError(KeyLookupError):
    """A key that may be there and is not written yet.

    Attributes:
        key: The key asked for.
        schema: The name of the schema that declares it; None where there is no schema.
        nearest: The written key nearest to it, where there is no schema and one is near.
        needed_by: The key whose validator or default asked for it, if one did.
    """

    def __init__(
        self, key: str, schema: str | None = None, nearest: str | None = None, needed_by: str | None = None
    ) -> None:
        super().__init__(key, schema, nearest, needed_by)
        self.key = key
        self.schema = schema
        self.nearest = nearest
        self.needed_by = needed_by

    def sentence(self) -> str:
        """Return what went wrong, as a sentence."""
        if self.needed_by is not None:
            return f"{self.needed_by!r} {self.complaint}"
        if self.schema is None:
            return f"{self.key!r} is not written" + _hint(self.nearest, (), "")
        return f"{self.key!r} is declared in {self.schema} and not written yet"

    @property
    def complaint(self) -> str:
        """What is to be said of the key that needs it."""
        return f"needs {self.key!r}, which is not written yet; write {self.key!r} first"


class InvalidKeyError(KeyLookupError, ValueError):
    """Something that cannot be a key.

    Attributes:
        key: What was given, in short.
        reason: What is wrong with it.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key, reason)
        self.key = key
        self.reason = reason

    def sentence(self) -> str:
        """Return what went wrong, as a sentence."""
        return f"a name is a str of 1 to 255 printable characters; {self.key} {self.reason}"


class _InvalidError(CrystallizeError, ValueError):
    """Something that does not validate, with the problems found."""

    _head = "{}"

    def __init__(self, subject: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(subject, problems)
        self.subject = subject
        self.problems = problems

    def __str__(self) -> str:
        return _listing(self._head, self.subject, self.problems)


class InvalidValueError(_InvalidError):
    """A value that its key does not allow. Nothing was written.

    Attributes:
        key: The key.
        problems: What is wrong with the value, each with its place.
    """

    _head = "cannot write {!r}"

    @property
    def key(self) -> str:
        """The key that was to be written."""
        return self.subject


class InvalidInitialError(_InvalidError):
    """Initial values that cannot make a context. All that is wrong with them comes at once.

    Attributes:
        context: The context that was to be made.
        problems: What is wrong, each with its key.
    """

    _head = "cannot make {}"

    @property
    def context(self) -> str:
        """The context that was to be made."""
        return self.subject


class InvalidSnapshotError(_InvalidError):
    """A context whose values, each valid by itself, fail a model-level validator of the schema.

    Attributes:
        schema: The schema's name.
        problems: What the validators said.
    """

    _head = "no valid {} yet"

    @property
    def schema(self) -> str:
        """The schema's name."""
        return self.subject


class IncompleteContextError(CrystallizeError, LookupError):
    """A snapshot of a context in which keys are still missing.

    Attributes:
        schema: The schema's name.
        missing: The keys without a value.
    """

    def __init__(self, schema: str, missing: tuple[str, ...]) -> None:
        super().__init__(schema, missing)
        self.schema = schema
        self.missing = missing

    def __str__(self) -> str:
        return f"no complete {self.schema} yet; not written: {', '.join(self.missing)}"


class UncopyableValueError(CrystallizeError, TypeError):
    """A value that cannot be copied, so that it cannot be kept apart from whoever else holds it.

    Attributes:
        subject: The key or metric that was to hold the value.
        type: The full name of the type that refuses.
        reason: Why it cannot be copied.
    """

    def __init__(self, subject: str, type: str, reason: str) -> None:
        super().__init__(subject, type, reason)
        self.subject = subject
        self.type = type
        self.reason = reason

    def __str__(self) -> str:
        name = self.type.rpartition(".")[2]
        lines = [f"cannot hold {self.subject}: a {self.type} cannot be copied ({self.reason})"]
        if self.subject.startswith("'"):
            lines += [f"If nobody changes it, declare its key as Annotated[{name}, Shared]."]
        # A builtin is copied by Python itself, and what is made in a function has no name to register.
        if name != self.type and "<locals>" not in self.type:
            lines += ["Or say how it is copied:", f'  crystallize.register("{self.type}", freeze=..., thaw=...)']
        return "\n".join(lines)

    @property
    def complaint(self) -> str:
        """What is to be said of the value."""
        name = self.type.rpartition(".")[2]
        return f"is a {self.type}, which cannot be copied ({self.reason}); Annotated[{name}, Shared] keeps it as it is"


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

    def __init__(self, metric: str, schema: str, nearest: str | None, declared: tuple[str, ...]) -> None:
        super().__init__(metric, schema, nearest, declared)
        self.metric = metric
        self.schema = schema
        self.nearest = nearest
        self.declared = declared

    def __str__(self) -> str:
        hint = _hint(self.nearest, self.declared, "declared are")
        return f"metric {self.metric!r} is not declared in {self.schema}{hint}"


class ForeignMetricError(MetricError, TypeError):
    """A `Metric` that is not the one that goes by its name here.

    Attributes:
        metric: The metric's name.
        owner: The schema that the metric belongs to, or None.
        schema: The schema in use, or None where there is none.
        reason: The whole sentence.
    """

    def __init__(self, metric: str, owner: str | None, schema: str | None, reason: str) -> None:
        super().__init__(metric, owner, schema, reason)
        self.metric = metric
        self.owner = owner
        self.schema = schema
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class _InvalidPointError(MetricError, ValueError):
    """A point that cannot be recorded, with the problems found."""

    _head = "{}"

    def __init__(self, metric: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(metric, problems)
        self.metric = metric
        self.problems = problems

    def __str__(self) -> str:
        return _listing(self._head, self.metric, self.problems)


class InvalidMetricError(_InvalidPointError):
    """A value that its metric does not allow. Nothing was recorded.

    Attributes:
        metric: The metric's name.
        problems: What is wrong with the value.
    """

    _head = "cannot record {!r}"


class InvalidTagError(_InvalidPointError):
    """Tags that their metric does not allow. Nothing was recorded.

    Attributes:
        metric: The metric's name.
        problems: What is wrong, each with its tag.
    """

    _head = "cannot tag {!r}"


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

    def __init__(self, metric: str, where: str = "") -> None:
        super().__init__(metric, where)
        self.metric = metric
        self.where = where

    def __str__(self) -> str:
        return f"metric {self.metric!r} has no points" + (f" where {self.where}" if self.where else "")


class NoGoalError(MetricError, TypeError):
    """The best of a metric that does not say which values are better.

    Attributes:
        metric: The metric's name.
    """

    def __init__(self, metric: str) -> None:
        super().__init__(metric)
        self.metric = metric

    def __str__(self) -> str:
        return (
            f"metric {self.metric!r} has no goal, so none of its values is the best; "
            'declare it with goal="minimize" or goal="maximize"'
        )


class NoAxisError(MetricError, ValueError):
    """A plot over what is no axis of a series.

    Attributes:
        metric: The metric's name.
        axis: What was asked for.
        nearest: The axis nearest to it, if one is near.
        axes: What it can be plotted over.
        reason: Why it cannot be plotted over that.
    """

    def __init__(self, metric: str, axis: str, nearest: str | None, axes: tuple[str, ...], reason: str) -> None:
        super().__init__(metric, axis, nearest, axes, reason)
        self.metric = metric
        self.axis = axis
        self.nearest = nearest
        self.axes = axes
        self.reason = reason

    def __str__(self) -> str:
        hint = _hint(self.nearest, self.axes, "it can be plotted over")
        return f"cannot plot {self.metric!r} over {self.axis!r}, {self.reason}{hint}"


class InvalidArtifactError(CrystallizeError, ValueError):
    """A name or data that cannot be an artifact. Nothing was added.

    Attributes:
        name: The name given, in short.
        reason: What is wrong.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot add artifact {self.name}: {self.reason}"


class UnknownArtifactError(CrystallizeError, KeyError):
    """An artifact that nobody has added.

    Attributes:
        name: The name asked for, in short.
        nearest: The name nearest to it, if one is near.
    """

    def __init__(self, name: str, nearest: str | None) -> None:
        super().__init__(name, nearest)
        self.name = name
        self.nearest = nearest

    def __str__(self) -> str:
        return f"no artifact is named {self.name}{_hint(self.nearest, (), '')}"


class InvalidStepError(CrystallizeError, ValueError):
    """A name that cannot be a step's.

    Attributes:
        name: The name given, in short.
        reason: What is wrong with it.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot open step {self.name}: {self.reason}"


class FinishedStepError(InvalidStepError):
    """A step that had finished before the run was resumed; its work is there.

    Attributes:
        step: The step's name.
    """

    def __init__(self, step: str) -> None:
        reason = (
            f"it finished before the run was resumed; ask first: if not ctx.provenance.finished({step!r}): ...; "
            "where several are of one name, give each a name of its own"
        )
        super().__init__(repr(step), reason)
        self.args = (step,)
        self.step = step


class StepClosedError(CrystallizeError, RuntimeError):
    """A step, or something that it handed out, used after the step ended.

    Attributes:
        step: The step's name.
    """

    def __init__(self, step: str) -> None:
        super().__init__(step)
        self.step = step

    def __str__(self) -> str:
        return f"step {self.step!r} has ended and takes no more reads or writes; use the context, or open another step"


class SinkError(CrystallizeError, RuntimeError):
    """One sink or more failed to take an event. What happened in the context holds nevertheless.

    The sinks' own exceptions are its cause, as one ExceptionGroup.

    Attributes:
        event: What happened, in short.
        failures: For each sink that failed its name and what it raised, as text.
    """

    def __init__(self, event: str, failures: tuple[tuple[str, str], ...]) -> None:
        super().__init__(event, failures)
        self.event = event
        self.failures = failures

    def __str__(self) -> str:
        told = "; ".join(f"{sink} raised {error}" for sink, error in self.failures)
        return f"{self.event} took effect in the context, but not every sink took it: {told}"


class SinkCheckError(CrystallizeError, ValueError):
    """What sinks' backends would refuse of what a context holds and measures. It was not made, and nothing was told.

    Attributes:
        context: The context that was to be made.
        problems: For each problem the sink's name and what it says, as a sentence.
    """

    def __init__(self, context: str, problems: tuple[tuple[str, str], ...]) -> None:
        super().__init__(context, problems)
        self.context = context
        self.problems = problems

    def __str__(self) -> str:
        head, told = f"cannot make {self.context}", [f"{sink}: {problem}" for sink, problem in self.problems]
        if len(told) == 1:
            return f"{head}: {told[0]}"
        return "\n".join([f"{head}: {len(told)} problems", *(f"  {one}" for one in told)])


class SinkClosedError(CrystallizeError, RuntimeError):
    """A sink that was told something after its end.

    Attributes:
        sink: The sink's name.
        reason: Why it takes nothing.
    """

    def __init__(self, sink: str, reason: str) -> None:
        super().__init__(sink, reason)
        self.sink = sink
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.sink} takes nothing more: {self.reason}"


class UnknownSinkError(CrystallizeError, LookupError):
    """A sink that no package installed here has.

    Attributes:
        sink: The name asked for, in short.
        nearest: The name nearest to it, if one is near.
        installed: The sinks that are installed.
    """

    def __init__(self, sink: str, nearest: str | None, installed: tuple[str, ...]) -> None:
        super().__init__(sink, nearest, installed)
        self.sink = sink
        self.nearest = nearest
        self.installed = installed

    def __str__(self) -> str:
        return f"no sink is named {self.sink}{_hint(self.nearest, self.installed, 'installed are')}"


class SinkLoadError(CrystallizeError, ImportError):
    """A sink that is installed and cannot be loaded.

    Attributes:
        sink: The sink's name.
        reason: Why not, and what to do about it.
    """

    def __init__(self, sink: str, reason: str) -> None:
        super().__init__(sink, reason)
        self.sink = sink
        self.reason = reason

    def __str__(self) -> str:
        return f"sink {self.sink!r} cannot be loaded: {self.reason}"


class UndeliveredWarning(CrystallizeError, UserWarning):
    """What a sink's backend did not get. The context has it, and so has a journal.

    Attributes:
        sink: The sink's name.
        undelivered: How many of what, each with the reason.
    """

    def __init__(self, sink: str, undelivered: tuple[tuple[int, str, str], ...]) -> None:
        super().__init__(sink, undelivered)
        self.sink = sink
        self.undelivered = undelivered

    def __str__(self) -> str:
        told = [f"{count:,} {what if count == 1 else what + 's'}: {why}" for count, what, why in self.undelivered]
        head, rest = f"{self.sink} did not deliver all; the context has it, and so has a journal", "\n  ".join(told)
        said = f"{head}. {rest}" if len(told) == 1 else f"{head}\n  {rest}"
        return f"{said}\n{self._explained()}"

    # A warning is printed without its notes.
    def _first_notes(self) -> list[str]:
        return []


class BranchError(CrystallizeError, RuntimeError):
    """What a branch, or merging it, cannot do.

    Attributes:
        branch: The branch's full name.
        reason: Why not, and what to do about it.
    """

    def __init__(self, branch: str, reason: str) -> None:
        super().__init__(branch, reason)
        self.branch = branch
        self.reason = reason

    def __str__(self) -> str:
        return f"branch {self.branch!r}: {self.reason}"


class MergeConflictError(BranchError):
    """One key or artifact from two branches, or from a branch and its parent. Nothing of this branch was merged.

    Attributes:
        branch: The branch that was to be merged.
        reason: Why it was not.
        name: The key or artifact.
        writers: Who wrote it first, and who did in this branch.
    """

    def __init__(self, branch: str, what: str, name: str, writers: tuple[str, str]) -> None:
        first, second = writers
        super().__init__(
            branch,
            f"nothing of it was merged: {what} {name!r} is written by {first} and by {second}, and is written once; "
            "have the task return it, and write it in the parent",
        )
        self.args = (branch, what, name, writers)
        self.name = name
        self.writers = writers


class DivergentRetryError(BranchError):
    """A branch that was merged before, and now comes with other content. Nothing was changed.

    Attributes:
        branch: The branch's full name.
        reason: What differs.
    """

    def __init__(self, branch: str, differs: str) -> None:
        super().__init__(
            branch,
            f"it was merged before, and this attempt at it differs in {differs}, times aside; what was merged first "
            "stays. Does its task depend on something else than the context and its item, as a seed or the time?",
        )
        self.args = (branch, differs)


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

    def __init__(self, path: str, reason: str, advice: str = "") -> None:
        super().__init__(path, reason, advice)
        self.path = path
        self.reason = reason
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}{'; ' if self.advice else ''}{self.advice}"


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

    def __init__(self, path: str) -> None:
        super().__init__(
            path,
            "another process, or another journal of this one, is writing this run",
            "a run has one writer; load_run reads it meanwhile",
        )
        self.args = (path,)


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

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(subject, reason)
        self.subject = subject
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}"


class StubsError(CrystallizeError, ValueError):
    """Stubs that cannot be written.

    Attributes:
        subject: The module or the place that stands in the way.
        reason: What is wrong, and what to do.
    """

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(subject, reason)
        self.subject = subject
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}"


class MissingExtraError(CrystallizeError, ModuleNotFoundError):
    """A library that is needed, and comes with an extra of this package.

    Attributes:
        library: The library.
        extra: The extra that brings it.
    """

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(library, extra)
        self.name = library
        self.library = library
        self.extra = extra

    def __str__(self) -> str:
        return f"this needs {self.library}, which is not installed: pip install 'crystallize-context[{self.extra}]'"
