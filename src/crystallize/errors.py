"""Every exception that crystallize raises.

    CrystallizeError
    ├── SchemaError (TypeError)               a schema that cannot be used
    │   └── MetricClashError                  two classes of a schema declare the same metric
    ├── ContextMutationError (TypeError)      an attempt to change or delete a written key, attribute or artifact
    ├── KeyLookupError (KeyError, AttributeError)
    │   ├── UnknownKeyError                   a key that the schema does not declare
    │   │   └── ModelMethodError              a method of a whole model, asked of a context's fields
    │   ├── ItemFieldsError                   an attribute of fields that are items
    │   ├── AbsentKeyError                    a key that is not written yet
    │   │   └── LostKeyError                  a key that was written, and that the file of the run cannot give back
    │   └── InvalidKeyError (ValueError)      a value that cannot be a key
    ├── InvalidValueError (ValueError)        a value that its key does not allow
    ├── InvalidInitialError (ValueError)      initial values that cannot make a context
    ├── InvalidSnapshotError (ValueError)     a context that fails a model-level validator
    ├── IncompleteContextError (LookupError)  a snapshot with keys missing
    ├── UncopyableValueError (TypeError)      a value that cannot be copied
    │   └── LiveValueError                    a model or another live object for a key that is not `Shared`
    ├── UnpicklableValueError (TypeError)     a value whose class pickle does not find
    ├── TooLargeError (ValueError)            a value or an artifact that is too large for a sink
    ├── MetricError
    │   ├── UnknownMetricError (KeyError)     a metric that the schema does not declare
    │   ├── ForeignMetricError (TypeError)    a metric of another schema
    │   ├── InvalidMetricError (ValueError)   a value that its metric does not allow
    │   ├── InvalidTagError (ValueError)      tags that their metric does not allow
    │   │   └── MissingTagError               a required tag is missing
    │   ├── NoPointsError (LookupError)       the best or last point of an empty series
    │   ├── NoGoalError (TypeError)           the best point of a metric without a goal
    │   └── NoAxisError (ValueError)          a plot over something that is no axis of the series
    ├── InvalidArtifactError (ValueError)     a name or data that cannot be an artifact
    ├── UnknownArtifactError (KeyError)       an artifact that was never added
    ├── InvalidStepError (ValueError)         a name that cannot be a step's
    │   └── FinishedStepError                 a step that finished before the run was resumed
    ├── StepClosedError (RuntimeError)        a step that is used after it ended
    ├── BranchError (RuntimeError)            a branch that cannot be forked, used or merged
    │   ├── MergeConflictError                one key or artifact from two branches, or from a branch and its parent
    │   ├── DivergentRetryError               a branch that was merged before, with other content
    │   ├── ForeignDeltaError (TypeError)     a delta of another schema, or of a branch of another context
    │   └── TravelError (TypeError)           a value that cannot be sent to another process
    ├── JournalError (RuntimeError)           a journal, or the file of a run, that cannot be used
    │   ├── RunNotFoundError (LookupError)    a run that does not exist
    │   ├── RunInUseError                     a run that is already being written
    │   ├── DamagedRunError                   a file that cannot be read completely
    │   ├── ObjectError                       a file in `objects` that cannot be stored, or is missing or changed
    │   └── ResumeError (ValueError)          a run that cannot be resumed as asked
    ├── FrameError (ValueError)               data that cannot become a table or a plot
    ├── StubsError (ValueError)               stubs that cannot be written
    ├── MissingExtraError (ModuleNotFoundError)  a library that is not installed
    ├── SinkError (RuntimeError)              sinks failed; the change to the context is kept
    ├── SinkCheckError (ValueError)           a sink's backend would reject the context; no event was emitted
    ├── SinkClosedError (RuntimeError)        a sink that receives an event after it was closed
    ├── UnknownSinkError (LookupError)        a sink that is not installed
    ├── SinkLoadError (ImportError)           an installed sink that cannot be loaded
    ├── CopiedContextWarning (UserWarning)    work on a copy of a context, which the process of the context does not get
    ├── UnusedStepWarning (UserWarning)       a step without a record, while work was done outside of it
    ├── UndeclaredMetricWarning (UserWarning) a metric of a training framework that was left out
    └── UndeliveredWarning (UserWarning)      data that a sink's backend did not get

The fields of an error are its attributes and its `args`, so that it pickles. One more error is defined beside
`fan_out`: `LostBranchesError`, a `BranchError` and a `BrokenExecutor`, since importing `concurrent.futures` takes long.
"""

import builtins
from collections.abc import Iterable, Sequence
from inspect import Parameter, Signature
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

from typing_extensions import dataclass_transform

__all__ = [
    "AbsentKeyError",
    "BranchError",
    "ContextMutationError",
    "CopiedContextWarning",
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
    "LiveValueError",
    "LostKeyError",
    "MergeConflictError",
    "MetricClashError",
    "MetricError",
    "MissingExtraError",
    "MissingTagError",
    "ModelMethodError",
    "NoAxisError",
    "NoGoalError",
    "NoPointsError",
    "ObjectError",
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
]


_EXPLAINED: Final = "Explained by: python -m crystallize explain "


class Problem(NamedTuple):
    """One reason why a value is invalid.

    Example:
        >>> try:
        ...     FrozenContext[dict[str, int]]({"epochs": "many"})
        ... except InvalidInitialError as error:
        ...     error.problems[0].location, error.problems[0].value
        (('epochs',), "'many'")
    """

    location: tuple[str | int, ...]
    """The key or tag, then the path into its value."""
    allowed: str
    """The rule that the value breaks, worded to follow the location, such as "should be greater than 0"."""
    type: str
    """The name of the type of the given value; empty if no value was given."""
    value: str | None
    """The given value, shortened; None if no value was given, or if it may contain a secret."""

    def __str__(self) -> str:
        return self.sentence()

    def sentence(self, of: str = "") -> str:
        """Return the problem as a sentence. The location is left out if it is `of`, which the reader knows already."""
        path = "" if self.location == (of,) else ".".join(str(part) for part in self.location)
        joint = " " if self.allowed.startswith(_VERBS) else ": "
        sentence = f"{path!r}{joint}{self.allowed}" if path else self.allowed
        if not self.type:
            return sentence
        return f"{sentence}, got {self.type}" if self.value is None else f"{sentence}, got {self.value} ({self.type})"


_VERBS = ("should ", "is ", "must ", "takes ", "needs ", "has ")


def _listing(head: str, subject: str, problems: Sequence[Problem]) -> str:
    """Return one sentence if there is one problem, else one line for each problem."""
    if len(problems) == 1:
        return f"{head}: {problems[0].sentence(subject)}"
    return _lines(head, map(str, problems))


def _lines(head: str, problems: Iterable[str]) -> str:
    """Return the number of problems and one line for each of them."""
    lines = [f"  {problem}" for problem in problems]
    return "\n".join([f"{head}: {len(lines)} problems", *lines])


def _hint(nearest: str | None, declared: Iterable[str], of: str) -> str:
    """Return a hint at the nearest name, else a list of the first declared names."""
    if nearest is not None:
        return f"; did you mean {nearest!r}?"
    names = sorted(declared)
    if not names:
        return ""
    more = f", and {len(names) - 8} more" if len(names) > 8 else ""
    return f"; {of}: {', '.join(names[:8])}{more}"


class CrystallizeError(Exception):
    """The base of every error that crystallize raises.

    A traceback ends with a note: the command that explains the error. The note is not part of the error's text.
    """

    _explained: ClassVar[str] = f"{_EXPLAINED}CrystallizeError"
    _text: ClassVar[str] = ""
    """The error's text, with its attributes in braces."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        # Classes outside of this package are explained by the nearest of their bases that belongs to it.
        if cls.__module__.partition(".")[0] == __name__.partition(".")[0]:
            cls._explained = f"{_EXPLAINED}{cls.__name__}"

    def __init__(self, *args: object) -> None:
        self.args: tuple[Any, ...] = args
        # A plain list, as `add_note` makes it. Pickles and copies bring their own, which replaces it.
        self.__notes__: list[str] = [self._explained]

    def __str__(self) -> str:
        return self._text.format_map(vars(self)) if self._text else super().__str__()


_E = TypeVar("_E", bound=CrystallizeError)


@dataclass_transform(eq_default=False)
def _with_fields(cls: type[_E]) -> type[_E]:
    """Give an error class a constructor that takes its annotated attributes, in order, as its `args`.

    A decorator, since a base class would take the annotations of users' subclasses for fields. Errors that programs
    catch in loops, by `get`, `hasattr` or a second write, have their constructors written out: these are twice as fast.
    """
    names, kind = tuple(cls.__annotations__), Parameter.POSITIONAL_OR_KEYWORD
    fields = [Parameter(name, kind, annotation=type) for name, type in cls.__annotations__.items()]
    signature = Signature([Parameter("self", kind), *fields])

    def __init__(self: _E, *args: object, **keywords: object) -> None:
        if keywords or len(args) != len(names):
            args = signature.bind(self, *args, **keywords).args[1:]
        self.args = args
        self.__notes__ = [self._explained]
        attributes = vars(self)
        for name, value in zip(names, args, strict=True):
            attributes[name] = value

    made: Any = __init__
    made.__signature__ = signature  # for `help` and Sphinx
    cls.__init__ = made  # type: ignore[method-assign]  # checkers derive the same one
    return cls


@_with_fields
class SchemaError(CrystallizeError, TypeError):
    """A type that cannot be a context's schema, or a metric that is declared wrongly."""

    schema: str
    reason: str
    """The problem, and the declaration to write instead."""
    _text = "{schema}: {reason}"


class MetricClashError(SchemaError):
    """A metric name that two classes of a schema declare."""

    metric: str
    owners: tuple[str, str]
    """The two classes that declare the metric."""

    def __init__(self, schema: str, metric: str, owners: tuple[str, str]) -> None:
        super().__init__(schema, f"metric {metric!r} is declared by both {owners[0]} and {owners[1]}; rename one")
        self.args: tuple[Any, ...] = (schema, metric, owners)
        self.metric = metric
        self.owners = owners


class ContextMutationError(CrystallizeError, TypeError):
    """An attempt to change or delete a key, an attribute or an artifact. These are written once.

    Code written for the published module raises it with the message alone, `ContextMutationError("text")`; then `key`
    is empty.
    """

    key: str
    """The key, attribute or artifact; empty if it is not known."""
    reason: str
    """The whole message."""
    _text = "{reason}"

    def __init__(self, key: str = "", reason: str | None = None) -> None:
        self.__notes__: list[str] = [self._explained]
        if reason is None:
            self.args = (key,) if key else ()
            self.key, self.reason = "", str(key)
            return
        self.args: tuple[Any, ...] = (key, reason)
        self.key = key
        self.reason = reason


class KeyLookupError(CrystallizeError, KeyError, AttributeError):
    """A key without a value. Keys are read as items and as attributes, so it is a KeyError and an AttributeError."""

    # Where a key is read as an attribute, Python would set `obj` to the fields. From 3.12 on, it would look there for a
    # similar name, and end the traceback with a hint of its own. The errors that name the nearest key themselves set
    # `obj` first.
    key: str

    # KeyError prints the repr of its argument; our texts are sentences.
    def __str__(self) -> str:
        return super().__str__() if self._text else ", ".join(map(str, self.args))

    def sentence(self) -> str:
        """Return the error's text."""
        return str(self)


class UnknownKeyError(KeyLookupError):
    """A key that the schema does not declare."""

    schema: str
    nearest: str | None
    """The declared key with the most similar name; None if no name is similar."""
    declared: tuple[str, ...]

    def __init__(self, key: str, schema: str, nearest: str | None, declared: tuple[str, ...]) -> None:
        self.args: tuple[Any, ...] = (key, schema, nearest, declared)
        self.__notes__: list[str] = [self._explained]
        self.obj: object = None  # see KeyLookupError
        self.key = key
        self.schema = schema
        self.nearest = nearest
        self.declared = declared

    def __str__(self) -> str:
        return f"{self.key!r} {self.complaint}"

    @property
    def complaint(self) -> str:
        """The text of the error without the key."""
        return f"is not declared in {self.schema}{_hint(self.nearest, self.declared, 'declared are')}"


class ModelMethodError(UnknownKeyError):
    """A method of Pydantic models, asked of a context's fields, which are not a model."""

    def __init__(self, key: str, schema: str) -> None:
        super().__init__(key, schema, None, ())
        self.args: tuple[Any, ...] = (key, schema)

    @property
    def complaint(self) -> str:
        """The text of the error without the name."""
        return f"works on a whole {self.schema} and not on the fields of a context; write ctx.snapshot().{self.key}"


class ItemFieldsError(KeyLookupError):
    """An attribute asked of fields that are items."""

    _text = (
        "the keys of this context are items: write fields[{key!r}]. "
        "Over a model or dataclass they are attributes: FrozenContext[Model](...)"
    )

    def __init__(self, key: str) -> None:
        self.args: tuple[Any, ...] = (key,)
        self.__notes__: list[str] = [self._explained]
        self.key = key


class AbsentKeyError(KeyLookupError):
    """A key that is valid and not written yet."""

    schema: str | None
    """The name of the schema that declares the key; None if the context has no schema."""
    nearest: str | None
    """The written key with the most similar name; None if no name is similar, or if the schema declares the key."""
    needed_by: str | None
    """The key whose validator or default asked for this key; None if neither did."""

    def __init__(
        self, key: str, schema: str | None = None, nearest: str | None = None, needed_by: str | None = None
    ) -> None:
        self.args: tuple[Any, ...] = (key, schema, nearest, needed_by)
        self.__notes__: list[str] = [self._explained]
        self.obj: object = None  # see KeyLookupError
        self.key = key
        self.schema = schema
        self.nearest = nearest
        self.needed_by = needed_by

    def __str__(self) -> str:
        if self.needed_by is not None:
            return f"{self.needed_by!r} {self.complaint}"
        if self.schema is None:
            return f"{self.key!r} is not written" + _hint(self.nearest, (), "")
        return f"{self.key!r} is declared in {self.schema} and not written yet"

    @property
    def complaint(self) -> str:
        """The text of the error without `needed_by`."""
        return f"needs {self.key!r}, which is not written yet; write {self.key!r} first"


class LostKeyError(AbsentKeyError):
    """A key that was written before, and whose value the file of the run cannot give back."""

    type: str
    """The full name of the value's type; empty for a secret."""
    step: str | None
    """The step that wrote it; None outside any step."""
    why: str
    """Why the file does not have the value, and a remedy."""

    def __init__(self, key: str, type: str, step: str | None, why: str) -> None:
        super().__init__(key)
        self.args: tuple[Any, ...] = (key, type, step, why)
        self.type = type
        self.step = step
        self.why = why

    def __str__(self) -> str:
        by = "outside any step" if self.step is None else f"by step {self.step!r}"
        kind = f" as a {self.type}" if self.type else ""
        return f"{self.key!r} was written {by}{kind}, and cannot be restored from the file: {self.why}"


@_with_fields
class InvalidKeyError(KeyLookupError, ValueError):
    """A value that cannot be a key."""

    key: str
    """The given value, shortened."""
    reason: str
    _text = "a name is a str of 1 to 255 printable characters; {key} {reason}"


@_with_fields
class _InvalidError(CrystallizeError, ValueError):
    """A value that does not validate."""

    subject: str
    problems: tuple[Problem, ...]
    _head = "{}"

    def __str__(self) -> str:
        return _listing(self._head.format(self.subject), self.subject, self.problems)


class InvalidValueError(_InvalidError):
    """A value that its key does not allow. Nothing was written."""

    _head = "cannot write {!r}"

    @property
    def key(self) -> str:
        """The key that was to be written."""
        return self.subject


class InvalidInitialError(_InvalidError):
    """Initial values that cannot make a context. All problems are reported at once."""

    _head = "cannot make {}"

    @property
    def context(self) -> str:
        """The context that was to be made."""
        return self.subject


class InvalidSnapshotError(_InvalidError):
    """A context whose values are valid one by one, but fail a model-level validator of the schema."""

    _head = "no valid {} yet"

    @property
    def schema(self) -> str:
        """The schema's name."""
        return self.subject


@_with_fields
class IncompleteContextError(CrystallizeError, LookupError):
    """A snapshot of a context that lacks keys."""

    schema: str
    missing: tuple[str, ...]
    """The keys without a value."""

    def __str__(self) -> str:
        return f"no complete {self.schema} yet; not written: {', '.join(self.missing)}"


@_with_fields
class UncopyableValueError(CrystallizeError, TypeError):
    """A value that cannot be copied, so that later changes to it would change the context."""

    subject: str
    """The key or metric that the value was for."""
    type: str
    """The full name of the type that cannot be copied."""
    reason: str

    def __str__(self) -> str:
        lines = [f"cannot hold {self.subject}: a {self.type} cannot be copied ({self.reason})"]
        if instead := _INSTEAD.get(self.type):
            return "\n".join([*lines, f"Write {instead} of it in its place."])
        if self.subject.startswith("'"):
            lines += [f"If nobody changes it, declare its key as {self._shared}."]
        # Python itself copies builtins, and a class that is defined in a function cannot be registered by name.
        if "." in self.type and "<locals>" not in self.type:
            lines += ["Or say how it is copied:", f'  crystallize.register("{self.type}", freeze=..., thaw=...)']
        return "\n".join(lines)

    @property
    def complaint(self) -> str:
        """The text of the error without the key."""
        instead = _INSTEAD.get(self.type)
        advice = f"write {instead} of it" if instead else f"{self._shared} keeps it as it is"
        return f"is a {self.type}, which cannot be copied ({self.reason}); {advice}"

    @property
    def _shared(self) -> str:
        """The annotation of a key that is `Shared`, by the name under which the type can be imported, or by Any."""
        module, _, name = self.type.rpartition(".")
        is_hidden = module.startswith("_") or not (module or hasattr(builtins, name))
        return f"Annotated[{'Any' if is_hidden else name}, Shared]"


_INSTEAD: Final = {
    **dict.fromkeys(("dict_keys", "dict_values", "dict_items", "odict_keys", "odict_values", "odict_items"), "a list"),
    **dict.fromkeys(("generator", "map", "filter", "zip", "enumerate", "reversed", "list_iterator"), "a list"),
    "memoryview": "the bytes",
}
"""Copies of values that cannot be copied themselves, or only read once, by the names of their types."""


class LiveValueError(UncopyableValueError):
    """A live object, which changes while it is used, for a key that is not `Shared`: readers would get copies of it."""

    subject: str
    """The key or metric that the value was for."""
    type: str
    """The full name of the type of the live object, which may be within the value."""
    declaration: str
    """A declaration of the key that accepts the value; empty if there is none."""
    state: str
    """How to get the state of the object, which can be stored in its place; empty if it is not known."""

    def __init__(self, subject: str, type: str, declaration: str, state: str) -> None:
        super().__init__(subject, type, "it changes while it is used, and every reader would get another copy")
        self.args: tuple[Any, ...] = (subject, type, declaration, state)
        self.declaration = declaration
        self.state = state

    def __str__(self) -> str:
        lines = [
            f"cannot hold {self.subject}: a {self.type} changes while it is used, and every reader would get a copy"
        ]
        if self.declaration:
            lines += ["To share the object itself with all readers, declare:", f"  {self.declaration}"]
        if self.state:
            lines += ["To store a copy of its state, write in its place:", f"  {self.state}"]
        return "\n".join(lines)

    @property
    def complaint(self) -> str:
        """The text of the error without the key."""
        advice = [f"declare it as {self.declaration}", f"store {self.state}" if self.state else ""]
        chosen = ", or ".join(filter(None, advice))
        return f"is a {self.type}, which changes while it is used, so that every reader would get a copy; {chosen}"


@_with_fields
class UnpicklableValueError(CrystallizeError, TypeError):
    """A value of a context whose class pickle does not find by its name, such as `Box[int]` of a generic model."""

    key: str
    type: str
    """The full name of the class, whose instance may be within the value."""

    def __str__(self) -> str:
        origin = self.type.partition("[")[0]
        name, arguments = origin.rpartition(".")[2], self.type.removeprefix(origin)
        return (
            f"cannot pickle key {self.key!r}: pickle finds a class by its name, and finds no {self.type}; declare a "
            f"class at the top of a module, as `class My{name}({name}{arguments}): pass`, and make the value with it"
        )


@_with_fields
class TooLargeError(CrystallizeError, ValueError):
    """A value or an artifact that is larger than a sink can take. The context has not changed."""

    subject: str
    """The key, or the artifact."""
    size: int
    """Its size in bytes, as the sink would store it."""
    limit: int
    """The maximum."""
    sink: str
    """The class of the sink."""
    advice: str

    def __str__(self) -> str:
        limit = f"{self.sink} takes at most {self.limit:,}"
        return f"cannot take {self.subject}: it has {self.size:,} bytes, and {limit}; {self.advice}"


class MetricError(CrystallizeError):
    """The base of the errors about metrics."""

    metric: str


@_with_fields
class UnknownMetricError(MetricError, KeyError):
    """A metric that the schema does not declare."""

    metric: str
    schema: str
    nearest: str | None
    declared: tuple[str, ...]

    def __str__(self) -> str:
        hint = _hint(self.nearest, self.declared, "declared are")
        return f"metric {self.metric!r} is not declared in {self.schema}{hint}"


@_with_fields
class ForeignMetricError(MetricError, TypeError):
    """A `Metric` object of another schema, with or without a namesake in this one."""

    metric: str
    owner: str | None
    """The schema that the metric belongs to."""
    schema: str | None
    """The schema in use; None if there is none."""
    reason: str
    """The whole message."""
    _text = "{reason}"


@_with_fields
class _InvalidPointError(MetricError, ValueError):
    """A point that does not validate."""

    metric: str
    problems: tuple[Problem, ...]
    _head = "{}"

    def __str__(self) -> str:
        return _listing(self._head.format(self.metric), self.metric, self.problems)


class InvalidMetricError(_InvalidPointError):
    """A value that its metric does not allow. Nothing was recorded."""

    _head = "cannot record {!r}"


class InvalidTagError(_InvalidPointError):
    """Tags that their metric does not allow. Nothing was recorded."""

    _head = "cannot tag {!r}"


class MissingTagError(InvalidTagError):
    """A tag that its metric requires is missing. Nothing was recorded."""


class NoPointsError(MetricError, LookupError):
    """The last or best point of an empty series."""

    where: str
    """The tags that the series was filtered by, shortened; empty if it was not filtered."""

    def __init__(self, metric: str, where: str = "") -> None:
        super().__init__(metric, where)
        self.metric = metric
        self.where = where

    def __str__(self) -> str:
        return f"metric {self.metric!r} has no points" + (f" where {self.where}" if self.where else "")


@_with_fields
class NoGoalError(MetricError, TypeError):
    """The best point of a metric that does not declare which values are better."""

    metric: str
    _text = (
        "metric {metric!r} has no goal, so none of its values is the best; "
        'declare it with goal="minimize" or goal="maximize"'
    )


@_with_fields
class NoAxisError(MetricError, ValueError):
    """A plot over something that is no axis of the series."""

    metric: str
    axis: str
    nearest: str | None
    axes: tuple[str, ...]
    """The axes that the series can be plotted over."""
    reason: str

    def __str__(self) -> str:
        hint = _hint(self.nearest, self.axes, "it can be plotted over")
        return f"cannot plot {self.metric!r} over {self.axis!r}, {self.reason}{hint}"


@_with_fields
class InvalidArtifactError(CrystallizeError, ValueError):
    """A name or data that cannot be an artifact. Nothing was added."""

    name: str
    """The given name, shortened."""
    reason: str
    _text = "cannot add artifact {name}: {reason}"


@_with_fields
class UnknownArtifactError(CrystallizeError, KeyError):
    """An artifact that was never added."""

    name: str
    """The given name, shortened."""
    nearest: str | None

    def __str__(self) -> str:
        return f"no artifact is named {self.name}{_hint(self.nearest, (), '')}"


@_with_fields
class InvalidStepError(CrystallizeError, ValueError):
    """A name that cannot be a step's."""

    name: str
    """The given name, shortened."""
    reason: str
    _text = "cannot open step {name}: {reason}"


class FinishedStepError(InvalidStepError):
    """A step that finished before the run was resumed. Its results are in the context."""

    step: str

    def __init__(self, step: str) -> None:
        reason = (
            "it finished before the run was resumed; make a function of its block and call ctx.run, which skips it, or "
            f"ask ctx.provenance.finished({step!r}). If there are several of the name, give each a name of its own"
        )
        super().__init__(repr(step), reason)
        self.args: tuple[Any, ...] = (step,)
        self.step = step


@_with_fields
class StepClosedError(CrystallizeError, RuntimeError):
    """A step, or an object that it returned, used after the step ended."""

    step: str
    _text = "step {step!r} has ended and takes no more reads or writes; use the context, or open another step"


@_with_fields
class SinkError(CrystallizeError, RuntimeError):
    """One or more sinks failed to handle an event. The change to the context is not rolled back.

    The exceptions of the sinks are its cause, as one ExceptionGroup.
    """

    event: str
    """The event, shortened."""
    failures: tuple[tuple[str, str], ...]
    """For each sink that failed, its name and its exception as text."""

    def __str__(self) -> str:
        failures = "; ".join(f"{sink} raised {error}" for sink, error in self.failures)
        return f"{self.event} took effect in the context, but not every sink took it: {failures}"


@_with_fields
class SinkCheckError(CrystallizeError, ValueError):
    """A context whose keys or metrics a sink's backend would reject. It was not made, and no event was emitted."""

    context: str
    """The context that was to be made."""
    problems: tuple[tuple[str, str], ...]
    """For each problem, the name of the sink and the sentence that its `check` returned."""

    def __str__(self) -> str:
        head, problems = f"cannot make {self.context}", [f"{sink}: {problem}" for sink, problem in self.problems]
        return f"{head}: {problems[0]}" if len(problems) == 1 else _lines(head, problems)


@_with_fields
class SinkClosedError(CrystallizeError, RuntimeError):
    """A sink that received an event after it was closed."""

    sink: str
    reason: str
    _text = "{sink} takes nothing more: {reason}"


@_with_fields
class UnknownSinkError(CrystallizeError, LookupError):
    """A sink that no installed package provides."""

    sink: str
    """The given name, shortened."""
    nearest: str | None
    installed: tuple[str, ...]

    def __str__(self) -> str:
        return f"no sink is named {self.sink}{_hint(self.nearest, self.installed, 'installed are')}"


@_with_fields
class SinkLoadError(CrystallizeError, ImportError):
    """An installed sink that cannot be loaded."""

    sink: str
    reason: str
    """The cause, and a way to solve it."""
    _text = "sink {sink!r} cannot be loaded: {reason}"


class CopiedContextWarning(CrystallizeError, UserWarning):
    """Work on a copy of a context in a child process. The process that has the context does not get it."""

    work: str
    """The first key, metric, artifact, step or branch."""
    process: int
    """The number of the process that has the context."""

    def __init__(self, work: str, process: int) -> None:
        super().__init__(work, process)
        self.__notes__: list[str] = []  # a warning is printed without its notes, so its text has the line
        self.work = work
        self.process = process

    def __str__(self) -> str:
        head = f"{self.work} went to a copy of the context in this process; process {self.process}, which has the"
        remedy = "use fan_out, or send a branch from fork and merge its delta, or return the values"
        return f"{head} context, does not get it: {remedy}\n{self._explained}"


class UnusedStepWarning(CrystallizeError, UserWarning):
    """A step that ended with nothing on its record, while work was done outside of it."""

    step: str
    outer: str | None
    """The step in which the work was done; None if it was done outside of any step."""
    work: tuple[str, ...]
    """The keys, metrics and artifacts that were written meanwhile."""
    line: str | None
    """The line to write; None if the step is a function, which gets the step as its first argument."""

    def __init__(self, step: str, outer: str | None, work: tuple[str, ...], line: str | None) -> None:
        super().__init__(step, outer, work, line)
        self.__notes__: list[str] = []  # a warning is printed without its notes, so its text has the line
        self.step = step
        self.outer = outer
        self.work = work
        self.line = line

    def __str__(self) -> str:
        shown = ", ".join(self.work[:5]) + (f" and {len(self.work) - 5} more" if len(self.work) > 5 else "")
        place = "outside of any step" if self.outer is None else f"in step {self.outer!r}"
        if self.line is None:
            remedy = "use the first argument of its function, which is the step, in place of the context around it"
        else:
            remedy = f"write `{self.line}`, and use `step` in place of the context"
        head = f"step {self.step!r} has nothing on its record, while this was written {place}: {shown}"
        return f"{head}; {remedy}\n{self._explained}"


class UndeliveredWarning(CrystallizeError, UserWarning):
    """Data that a sink's backend did not get. The context has it, and so has a journal."""

    undelivered: tuple[tuple[int, str, str], ...]
    """For each reason the number of items, their kind and the reason."""

    def __init__(self, sink: str, undelivered: tuple[tuple[int, str, str], ...]) -> None:
        super().__init__(sink, undelivered)
        self.__notes__: list[str] = []  # a warning is printed without its notes, so its text has the line
        self.sink = sink
        self.undelivered = undelivered

    def __str__(self) -> str:
        parts = [f"{count:,} {kind if count == 1 else kind + 's'}: {why}" for count, kind, why in self.undelivered]
        head = f"{self.sink} did not deliver all; the context has it, and so has a journal"
        return "\n".join([f"{head}. {parts[0]}" if len(parts) == 1 else "\n  ".join([head, *parts]), self._explained])


class UndeclaredMetricWarning(CrystallizeError, UserWarning):
    """A metric that a training framework measured in the middle of a fit, and that its callback left out."""

    metric: str
    """The framework's name for it."""
    reason: str

    def __init__(self, metric: str, reason: str) -> None:
        super().__init__(metric, reason)
        self.__notes__: list[str] = []  # a warning is printed without its notes, so its text has the line
        self.metric = metric
        self.reason = reason

    def __str__(self) -> str:
        head = f"the callback leaves out {self.metric!r}, so that the training goes on: {self.reason}"
        return (
            f"{head}; next time, map it: names={{{self.metric!r}: ...}}, with None to leave it out\n{self._explained}"
        )


@_with_fields
class BranchError(CrystallizeError, RuntimeError):
    """A branch that cannot be forked, used or merged as asked."""

    branch: str
    """The branch's full name."""
    reason: str
    """The cause, and a way to solve it."""
    _text = "branch {branch!r}: {reason}"


class MergeConflictError(BranchError):
    """One key or artifact from two branches, or from a branch and its parent. Nothing of this branch was merged."""

    name: str
    """The key or artifact."""
    writers: tuple[str, str]
    """The first writer, and the writer in this branch."""

    def __init__(self, branch: str, what: str, name: str, writers: tuple[str, str]) -> None:
        first, second = writers
        super().__init__(
            branch,
            f"nothing of it was merged: {what} {name!r} is written by {first} and by {second}, and is written once; "
            "have the task return it, and write it in the parent",
        )
        self.args: tuple[Any, ...] = (branch, what, name, writers)
        self.name = name
        self.writers = writers


class DivergentRetryError(BranchError):
    """A branch that was merged before, and now comes with other content. Nothing was changed."""

    def __init__(self, branch: str, differs: str) -> None:
        super().__init__(
            branch,
            f"it was merged before, and this attempt at it differs in {differs}, apart from times; the work that "
            "was merged first is kept. Does its task depend on something else than the context and its item, as a seed "
            "or the time?",
        )
        self.args: tuple[Any, ...] = (branch, differs)


class ForeignDeltaError(BranchError, TypeError):
    """A delta of another schema, or of a branch that was forked within another branch. Nothing of it was merged."""


class TravelError(BranchError, TypeError):
    """A value that cannot be sent to another process, or that cannot be read there."""


class JournalError(CrystallizeError, RuntimeError):
    """A journal, or the file of a run, that cannot be used as asked."""

    path: str
    """The file; of a `RunNotFoundError`, the name or file that was asked for."""
    reason: str
    advice: str
    """A way to solve it; empty if the reason contains it."""

    def __init__(self, path: str, reason: str, advice: str = "") -> None:
        super().__init__(path, reason, advice)
        self.path = path
        self.reason = reason
        self.advice = advice

    def __str__(self) -> str:
        text = f"{self.path}: {self.reason}{'; ' if self.advice else ''}{self.advice}"
        # Parts of it may come from a file that somebody else wrote.
        # A name in a file may have characters that move the cursor of a terminal, or change its colours.
        return "".join(map(_shown, text))


def _shown(char: str) -> str:
    return char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()


class RunNotFoundError(JournalError, LookupError):
    """A run that does not exist."""


class RunInUseError(JournalError):
    """A run that is already being written by another process, or by another journal in this process."""

    def __init__(self, path: str) -> None:
        super().__init__(
            path,
            "another process, or another journal of this one, is writing this run",
            "a run has one writer; load_run reads it meanwhile",
        )
        self.args: tuple[Any, ...] = (path,)


class DamagedRunError(JournalError):
    """A file that cannot be read completely: it was changed, it was cut short, or it is not a run."""


class ObjectError(JournalError):
    """A file in the folder `objects` that cannot be stored, or is missing or changed since it was stored."""


class ResumeError(JournalError, ValueError):
    """A run that cannot be resumed as asked."""


@_with_fields
class _SubjectError(CrystallizeError, ValueError):
    """Something that cannot be made of a subject."""

    subject: str
    """The given object, module or path, shortened."""
    reason: str
    """The cause, and a way to solve it."""
    _text = "{subject}: {reason}"


class FrameError(_SubjectError):
    """Data that cannot become a table or a plot, or a table that cannot be written to the given place."""


class StubsError(_SubjectError):
    """Stubs that cannot be written."""


class MissingExtraError(CrystallizeError, ModuleNotFoundError):
    """A required library that is not installed, and that an extra of this package installs."""

    library: str
    extra: str

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(library, extra)
        self.name: str | None = library
        self.library = library
        self.extra = extra

    _text = "this needs {library}, which is not installed: pip install 'crystallize-context[{extra}]'"
