"""The exceptions: one tree, whose every text is a sentence, and each explained on a page of the documentation."""

import ast
import copy
import copyreg
import doctest
import inspect
import logging
import pickle
import re
import subprocess
import sys
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import crystallize
from crystallize import errors
from crystallize._branches.fan_out import LostBranchesError
from crystallize.errors import CrystallizeError, Problem

NEGATIVE = Problem(("lr",), "should be greater than 0", "int", "-1")
DEEP = Problem(("opt", "betas", 0), "should be a valid number", "str", "'x'")
SECRET = Problem(("password",), "should be a valid string", "int", None)
ABSENT = Problem(("epoch",), "is missing", "", None)
NAMES = tuple("abcdefghij")
PAGE = Path(__file__).parents[1] / "docs" / "errors.md"

CASES: list[tuple[CrystallizeError, str, dict[str, Any]]] = [
    (
        errors.SchemaError("int", "it declares no keys"),
        "int: it declares no keys",
        {"schema": "int", "reason": "it declares no keys"},
    ),
    (
        errors.MetricClashError("Both", "loss", ("a.One", "a.Two")),
        "Both: metric 'loss' is declared by both a.One and a.Two; rename one",
        {"schema": "Both", "metric": "loss", "owners": ("a.One", "a.Two")},
    ),
    (
        errors.ContextMutationError("lr", "Cannot mutate existing key: 'lr'"),
        "Cannot mutate existing key: 'lr'",
        {"key": "lr", "reason": "Cannot mutate existing key: 'lr'"},
    ),
    (
        errors.FrameError("dict", "there is no table of it"),
        "dict: there is no table of it",
        {"subject": "dict", "reason": "there is no table of it"},
    ),
    (
        errors.StubsError("pipeline.schemas", "it declares no schema"),
        "pipeline.schemas: it declares no schema",
        {"subject": "pipeline.schemas", "reason": "it declares no schema"},
    ),
    (
        errors.MissingExtraError("pyarrow", "arrow"),
        "this needs pyarrow, which is not installed: pip install 'crystallize-context[arrow]'",
        {"library": "pyarrow", "extra": "arrow"},
    ),
    (errors.KeyLookupError("lr", "odd"), "lr, odd", {}),
    (
        errors.UnknownKeyError("lrr", "Train", "lr", ("lr", "epochs")),
        "'lrr' is not declared in Train; did you mean 'lr'?",
        {"key": "lrr", "schema": "Train", "nearest": "lr", "declared": ("lr", "epochs")},
    ),
    (
        errors.UnknownKeyError("zz", "Train", None, ("lr", "epochs")),
        "'zz' is not declared in Train; declared are: epochs, lr",
        {"nearest": None},
    ),
    (
        errors.UnknownKeyError("zz", "Train", None, NAMES),
        "'zz' is not declared in Train; declared are: a, b, c, d, e, f, g, h, and 2 more",
        {"declared": NAMES},
    ),
    (errors.UnknownKeyError("zz", "Empty", None, ()), "'zz' is not declared in Empty", {"declared": ()}),
    (
        errors.ModelMethodError("model_dump", "Train"),
        "'model_dump' works on a whole Train and not on the fields of a context; write ctx.snapshot().model_dump",
        {"key": "model_dump", "schema": "Train", "nearest": None, "declared": ()},
    ),
    (
        errors.AbsentKeyError("lr", "Train"),
        "'lr' is declared in Train and not written yet",
        {"key": "lr", "schema": "Train", "nearest": None, "needed_by": None},
    ),
    (errors.AbsentKeyError("lr"), "'lr' is not written", {"schema": None}),
    (errors.AbsentKeyError("lrr", None, "lr"), "'lrr' is not written; did you mean 'lr'?", {"nearest": "lr"}),
    (
        errors.AbsentKeyError("lr", needed_by="decay"),
        "'decay' needs 'lr', which is not written yet; write 'lr' first",
        {"needed_by": "decay"},
    ),
    (
        errors.LostKeyError("model", "app.Model", "fit", "no codec stores it"),
        "'model' was written by step 'fit' as a app.Model, and cannot be restored from the file: no codec stores it",
        {"key": "model", "type": "app.Model", "step": "fit", "why": "no codec stores it"},
    ),
    (
        errors.LostKeyError("token", "", None, "it is a secret"),
        "'token' was written outside any step, and cannot be restored from the file: it is a secret",
        {"key": "token", "type": "", "step": None},
    ),
    (
        errors.InvalidKeyError("''", "is empty"),
        "a name is a str of 1 to 255 printable characters; '' is empty",
        {"key": "''", "reason": "is empty"},
    ),
    (
        errors.InvalidValueError("lr", (NEGATIVE,)),
        "cannot write 'lr': should be greater than 0, got -1 (int)",
        {"key": "lr", "problems": (NEGATIVE,)},
    ),
    (
        errors.InvalidValueError("password", (SECRET,)),
        "cannot write 'password': should be a valid string, got int",
        {"key": "password", "problems": (SECRET,)},
    ),
    (
        errors.InvalidValueError("opt", (DEEP,)),
        "cannot write 'opt': 'opt.betas.0' should be a valid number, got 'x' (str)",
        {"key": "opt"},
    ),
    (
        errors.InvalidInitialError("FrozenContext[Train]", (NEGATIVE, ABSENT)),
        "cannot make FrozenContext[Train]: 2 problems\n"
        "  'lr' should be greater than 0, got -1 (int)\n"
        "  'epoch' is missing",
        {"context": "FrozenContext[Train]", "problems": (NEGATIVE, ABSENT)},
    ),
    (
        errors.InvalidSnapshotError("Train", (Problem((), "lr and epochs do not go together", "", None),)),
        "no valid Train yet: lr and epochs do not go together",
        {"schema": "Train"},
    ),
    (
        errors.IncompleteContextError("Train", ("accuracy", "best")),
        "no complete Train yet; not written: accuracy, best",
        {"schema": "Train", "missing": ("accuracy", "best")},
    ),
    (
        errors.UncopyableValueError("'gen'", "generator", "TypeError: cannot pickle 'generator' object"),
        "cannot hold 'gen': a generator cannot be copied (TypeError: cannot pickle 'generator' object)\n"
        "Write a list of it in its place.",
        {"subject": "'gen'", "type": "generator", "reason": "TypeError: cannot pickle 'generator' object"},
    ),
    (
        errors.UnpicklableValueError("box", "m.Box[list[m.Item]]"),
        "cannot pickle key 'box': pickle finds a class by its name, and finds no m.Box[list[m.Item]]; declare a "
        "class at the top of a module, as `class MyBox(Box[list[m.Item]]): pass`, and make the value with it",
        {"key": "box", "type": "m.Box[list[m.Item]]"},
    ),
    (
        errors.TooLargeError("'rows'", 2000, 1000, "Small", "write several keys"),
        "cannot take 'rows': it has 2,000 bytes, and Small takes at most 1,000; write several keys",
        {"subject": "'rows'", "size": 2000, "limit": 1000, "sink": "Small", "advice": "write several keys"},
    ),
    (
        errors.UncopyableValueError("'net'", "torch.nn.Linear", "no"),
        "cannot hold 'net': a torch.nn.Linear cannot be copied (no)\n"
        "If nobody changes it, declare its key as Annotated[Linear, Shared].\n"
        "Or say how it is copied:\n"
        '  crystallize.register("torch.nn.Linear", freeze=..., thaw=...)',
        {"type": "torch.nn.Linear"},
    ),
    (
        errors.UncopyableValueError("'lock'", "_thread.lock", "no"),
        "cannot hold 'lock': a _thread.lock cannot be copied (no)\n"
        "If nobody changes it, declare its key as Annotated[Any, Shared].\n"
        "Or say how it is copied:\n"
        '  crystallize.register("_thread.lock", freeze=..., thaw=...)',
        {"type": "_thread.lock"},
    ),
    (
        errors.LiveValueError("'net'", "torch.nn.Linear", "net: Annotated[Linear, Shared]", "net.state_dict()"),
        "cannot hold 'net': a torch.nn.Linear changes while it is used, and every reader would get a copy\n"
        "To share the object itself with all readers, declare:\n"
        "  net: Annotated[Linear, Shared]\n"
        "To store a copy of its state, write in its place:\n"
        "  net.state_dict()",
        {"subject": "'net'", "type": "torch.nn.Linear", "state": "net.state_dict()"},
    ),
    (
        errors.ItemFieldsError("lr"),
        "the keys of this context are items: write fields['lr']. "
        "Over a model or dataclass they are attributes: FrozenContext[Model](...)",
        {"key": "lr"},
    ),
    (
        errors.UnknownArtifactError("'plott'", "plot"),
        "no artifact is named 'plott'; did you mean 'plot'?",
        {"name": "'plott'", "nearest": "plot"},
    ),
    (errors.MetricError("odd"), "odd", {}),
    (
        errors.UnknownMetricError("los", "TrainMetrics", "loss", ("loss",)),
        "metric 'los' is not declared in TrainMetrics; did you mean 'loss'?",
        {"metric": "los", "schema": "TrainMetrics", "nearest": "loss", "declared": ("loss",)},
    ),
    (
        errors.ForeignMetricError("loss", "a.One", "Two", "metric 'loss' is declared in a.One"),
        "metric 'loss' is declared in a.One",
        {"metric": "loss", "owner": "a.One", "schema": "Two", "reason": "metric 'loss' is declared in a.One"},
    ),
    (
        errors.InvalidMetricError("loss", (Problem((), "should be a finite number", "float", "nan"),)),
        "cannot record 'loss': should be a finite number, got nan (float)",
        {"metric": "loss", "problems": (Problem((), "should be a finite number", "float", "nan"),)},
    ),
    (
        errors.InvalidTagError("loss", (Problem(("split",), "should be 'train' or 'val'", "str", "'trian'"),)),
        "cannot tag 'loss': 'split' should be 'train' or 'val', got 'trian' (str)",
        {"metric": "loss"},
    ),
    (
        errors.MissingTagError("loss", (ABSENT,)),
        "cannot tag 'loss': 'epoch' is missing",
        {"metric": "loss", "problems": (ABSENT,)},
    ),
    (errors.NoPointsError("loss"), "metric 'loss' has no points", {"metric": "loss", "where": ""}),
    (
        errors.NoPointsError("loss", "split='val'"),
        "metric 'loss' has no points where split='val'",
        {"metric": "loss", "where": "split='val'"},
    ),
    (
        errors.NoAxisError("loss", "epok", "epoch", ("epoch", "position"), "which is no tag of it"),
        "cannot plot 'loss' over 'epok', which is no tag of it; did you mean 'epoch'?",
        {"axis": "epok", "nearest": "epoch", "axes": ("epoch", "position"), "reason": "which is no tag of it"},
    ),
    (
        errors.NoAxisError("loss", "split", None, ("epoch", "position"), "which is no number in all of its points"),
        "cannot plot 'loss' over 'split', which is no number in all of its points; it can be plotted over: epoch, "
        "position",
        {"nearest": None},
    ),
    (
        errors.NoGoalError("loss"),
        "metric 'loss' has no goal, so none of its values is the best; "
        'declare it with goal="minimize" or goal="maximize"',
        {"metric": "loss"},
    ),
    (
        errors.InvalidArtifactError("'CON'", "its name is reserved on Windows"),
        "cannot add artifact 'CON': its name is reserved on Windows",
        {"name": "'CON'", "reason": "its name is reserved on Windows"},
    ),
    (
        errors.InvalidStepError("'a/b'", "'/' separates a step from its inner steps"),
        "cannot open step 'a/b': '/' separates a step from its inner steps",
        {"name": "'a/b'"},
    ),
    (
        errors.StepClosedError("fit"),
        "step 'fit' has ended and takes no more reads or writes; use the context, or open another step",
        {"step": "fit"},
    ),
    (
        errors.FinishedStepError("fit"),
        "cannot open step 'fit': it finished before the run was resumed; make a function of its block and call "
        "ctx.run, which skips it, or ask ctx.provenance.finished('fit'). If there are several of the name, give each a "
        "name of its own",
        {"step": "fit"},
    ),
    (
        errors.BranchError("fold-3", "there is a step of that name"),
        "branch 'fold-3': there is a step of that name",
        {"branch": "fold-3", "reason": "there is a step of that name"},
    ),
    (
        errors.MergeConflictError("fold-3", "key", "best", ("step 'fold-1'", "step 'fold-3/fit'")),
        "branch 'fold-3': nothing of it was merged: key 'best' is written by step 'fold-1' and by step 'fold-3/fit', "
        "and is written once; have the task return it, and write it in the parent",
        {"branch": "fold-3", "name": "best", "writers": ("step 'fold-1'", "step 'fold-3/fit'")},
    ),
    (
        errors.DivergentRetryError("fold-3", "its steps"),
        "branch 'fold-3': it was merged before, and this attempt at it differs in its steps, apart from times; the "
        "work that was merged first is kept. Does its task depend on something else than the context and its item, as "
        "a seed or the time?",
        {"branch": "fold-3"},
    ),
    (errors.ForeignDeltaError("fold-3", "merge it there"), "branch 'fold-3': merge it there", {"branch": "fold-3"}),
    (errors.TravelError("fold-3", "it does not pickle"), "branch 'fold-3': it does not pickle", {"branch": "fold-3"}),
    (
        errors.JournalError("runs/a-0001.db", "it cannot be used", "make room"),
        "runs/a-0001.db: it cannot be used; make room",
        {"path": "runs/a-0001.db", "reason": "it cannot be used", "advice": "make room"},
    ),
    (
        errors.RunNotFoundError("9", "there is no such run in runs"),
        "9: there is no such run in runs",
        {"path": "9", "reason": "there is no such run in runs", "advice": ""},
    ),
    (
        errors.RunInUseError("runs/a-0001.db"),
        "runs/a-0001.db: another process, or another journal of this one, is writing this run; "
        "a run has one writer; load_run reads it meanwhile",
        {"path": "runs/a-0001.db"},
    ),
    (
        errors.DamagedRunError("a.db", "this is not a run of crystallize"),
        "a.db: this is not a run of crystallize",
        {"path": "a.db"},
    ),
    (
        errors.ObjectError("objects/ab/cd", "the object is missing", "put it back"),
        "objects/ab/cd: the object is missing; put it back",
        {"path": "objects/ab/cd"},
    ),
    (
        errors.ResumeError("a.db", "no file has a secret, so give again 'token'"),
        "a.db: no file has a secret, so give again 'token'",
        {"path": "a.db"},
    ),
    (
        errors.SinkCheckError("FrozenContext", (("MLflowSink", "the name of key 'a=b' has '='"),)),
        "cannot make FrozenContext: MLflowSink: the name of key 'a=b' has '='",
        {"context": "FrozenContext", "problems": (("MLflowSink", "the name of key 'a=b' has '='"),)},
    ),
    (
        errors.SinkCheckError("FrozenContext", (("One", "no"), ("Other", "never"))),
        "cannot make FrozenContext: 2 problems\n  One: no\n  Other: never",
        {"problems": (("One", "no"), ("Other", "never"))},
    ),
    (
        errors.SinkClosedError("MLflowSink", "it is closed"),
        "MLflowSink takes nothing more: it is closed",
        {"sink": "MLflowSink", "reason": "it is closed"},
    ),
    (
        errors.UnknownSinkError("'mlfow'", "mlflow", ("memory", "mlflow")),
        "no sink is named 'mlfow'; did you mean 'mlflow'?",
        {"sink": "'mlfow'", "nearest": "mlflow", "installed": ("memory", "mlflow")},
    ),
    (
        errors.UnknownSinkError("'x'", None, ("memory", "mlflow")),
        "no sink is named 'x'; installed are: memory, mlflow",
        {"nearest": None},
    ),
    (
        errors.SinkLoadError("mlflow", "no module named 'mlflow'"),
        "sink 'mlflow' cannot be loaded: no module named 'mlflow'",
        {"sink": "mlflow", "reason": "no module named 'mlflow'"},
    ),
    (
        errors.CopiedContextWarning("metric 'loss'", 5),
        "metric 'loss' went to a copy of the context in this process; process 5, which has the context, does not get "
        "it: use fan_out, or send a branch from fork and merge its delta, or return the values\n"
        "Explained by: python -m crystallize explain CopiedContextWarning",
        {"work": "metric 'loss'", "process": 5},
    ),
    (
        errors.UnusedStepWarning("fit", None, ("key 'a'", "metric 'b'"), 'with ctx.step("fit") as step:'),
        "step 'fit' has nothing on its record, while this was written outside of any step: key 'a', metric 'b'; "
        'write `with ctx.step("fit") as step:`, and use `step` in place of the context\n'
        "Explained by: python -m crystallize explain UnusedStepWarning",
        {"step": "fit", "outer": None, "work": ("key 'a'", "metric 'b'"), "line": 'with ctx.step("fit") as step:'},
    ),
    (
        errors.UnusedStepWarning("fit/in", "fit", tuple("abcdefg"), None),
        "step 'fit/in' has nothing on its record, while this was written in step 'fit': a, b, c, d, e and 2 more; use "
        "the first argument of its function, which is the step, in place of the context around it\n"
        "Explained by: python -m crystallize explain UnusedStepWarning",
        {"outer": "fit", "line": None},
    ),
    (
        errors.UndeclaredMetricWarning("f1", "metric 'f1' is not declared in FitMetrics"),
        "the callback leaves out 'f1', so that the training goes on: metric 'f1' is not declared in FitMetrics; next "
        "time, map it: names={'f1': ...}, with None to leave it out\n"
        "Explained by: python -m crystallize explain UndeclaredMetricWarning",
        {"metric": "f1", "reason": "metric 'f1' is not declared in FitMetrics"},
    ),
    (
        errors.UndeliveredWarning("MLflowSink", ((1, "point", "it is NaN"),)),
        "MLflowSink did not deliver all; the context has it, and so has a journal. 1 point: it is NaN\n"
        "Explained by: python -m crystallize explain UndeliveredWarning",
        {"sink": "MLflowSink", "undelivered": ((1, "point", "it is NaN"),)},
    ),
    (
        errors.UndeliveredWarning("MLflowSink", ((1200, "point", "down"), (1, "artifact", "down"))),
        "MLflowSink did not deliver all; the context has it, and so has a journal\n"
        "  1,200 points: down\n  1 artifact: down\nExplained by: python -m crystallize explain UndeliveredWarning",
        {"sink": "MLflowSink"},
    ),
    (
        errors.SinkError("KeyWritten 'a'", (("Journal", "OSError: disk full"), ("Live", "ValueError: odd"))),
        "KeyWritten 'a' took effect in the context, but not every sink took it: "
        "Journal raised OSError: disk full; Live raised ValueError: odd",
        {"event": "KeyWritten 'a'", "failures": (("Journal", "OSError: disk full"), ("Live", "ValueError: odd"))},
    ),
    (CrystallizeError("odd"), "odd", {}),
]

by_class = pytest.mark.parametrize(
    ("error", "text", "facts"), CASES, ids=[f"{type(case[0]).__name__}-{at}" for at, case in enumerate(CASES)]
)


def public() -> dict[str, type[CrystallizeError]]:
    """Return the exceptions that the module has, by name."""
    found = {name: cls for name, cls in vars(errors).items() if isinstance(cls, type) and not name.startswith("_")}
    return {name: cls for name, cls in found.items() if issubclass(cls, CrystallizeError)}


def drawn() -> dict[str, tuple[str | None, set[str]]]:
    """Return the exceptions that the docstring draws: the parent of each, and its builtin bases."""
    found: dict[str, tuple[str | None, set[str]]] = {}
    above: list[tuple[int, str]] = []
    for line in (inspect.getdoc(errors) or "").splitlines():
        match = re.match(r"(?P<lead>[ │├└─]*)(?P<name>\w+(?:Error|Warning))\b(?: \((?P<bases>[\w, ]+)\))?", line)
        if match is None:
            continue
        depth = len(match["lead"])
        above = [(at, name) for at, name in above if at < depth]
        found[match["name"]] = (above[-1][1] if above else None, set(filter(None, (match["bases"] or "").split(", "))))
        above.append((depth, match["name"]))
    return found


def parent_of(cls: type) -> type[CrystallizeError] | None:
    """Return the nearest public exception that a class is made of."""
    return next((base for base in cls.__mro__[1:] if base in public().values()), None)


def builtins_of(cls: type) -> set[type]:
    """Return the builtin exceptions that a class adds to those of its parent, without their own bases."""
    own = [base for base in cls.__mro__ if base.__module__ == "builtins"]
    inherited = (parent_of(cls) or Exception).__mro__
    added = [base for base in own if base not in inherited]
    return {base for base in added if not any(base in other.__mro__[1:] for other in added)}


@by_class
def test_text(error: CrystallizeError, text: str, facts: dict[str, Any]) -> None:
    """An error prints as a sentence, and its facts are its attributes."""
    assert text == str(error)
    assert facts == {name: getattr(error, name) for name in facts}


@by_class
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles(error: CrystallizeError, text: str, facts: dict[str, Any], protocol: int) -> None:
    """An error pickles, and keeps its type, text and attributes."""
    found = pickle.loads(pickle.dumps(error, protocol))

    assert type(error) is type(found)
    assert text == str(found)
    assert error.args == found.args
    assert vars(error) == vars(found)


@by_class
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies(error: CrystallizeError, text: str, facts: dict[str, Any], copied: Any) -> None:
    """An error can be copied."""
    found = copied(error)

    assert (type(error), text, vars(error)) == (type(found), str(found), vars(found))


def test_notes_and_facts_survive() -> None:
    """What was added to an error goes along in its pickle."""
    error = errors.AbsentKeyError("lr", "Train")
    error.add_note("in the third fold")

    assert "in the third fold" == pickle.loads(pickle.dumps(error)).__notes__[-1]


def test_every_error_is_tried() -> None:
    """The cases above have every error of the module."""
    assert set(public().values()) == {type(error) for error, _, _ in CASES}


def test_tree_is_drawn_whole() -> None:
    """The docstring draws every error, and nothing else."""
    assert set(public()) == set(drawn())


@pytest.mark.parametrize("name", sorted(public()))
def test_tree_is_true(name: str) -> None:
    """Each error stands under its parent, with its builtin bases beside it."""
    cls = public()[name]
    parent = parent_of(cls)
    expected = (None if parent is None else parent.__name__, {base.__name__ for base in builtins_of(cls)})

    assert expected == drawn()[name]


@pytest.mark.parametrize("name", sorted(public()))
def test_says_its_facts(name: str) -> None:
    """Each error has a docstring, and each of its attributes is an annotation, a property or an argument."""
    cls = public()[name]
    facts = {fact for error, _, facts in CASES if type(error) is cls for fact in facts}
    declared = {name for base in cls.__mro__ for name in (*inspect.get_annotations(base), *vars(base))}

    assert cls.__doc__
    assert facts <= declared | {*inspect.signature(cls).parameters}


@by_class
def test_takes_its_facts_by_name(error: CrystallizeError, text: str, facts: dict[str, Any]) -> None:
    """The constructor knows the names of its arguments, and makes the same error of these."""
    cls = type(error)
    parameters = inspect.signature(cls).parameters
    if cls in {CrystallizeError, errors.KeyLookupError, errors.MetricError}:
        assert ["args"] == [*parameters]
        return
    found = cls(**dict(zip(parameters, error.args, strict=True)))

    assert (error.args, vars(error), text) == (found.args, vars(found), str(found))


@pytest.mark.parametrize(
    ("args", "keywords", "told"),
    [
        (("Train",), {}, "missing a required argument: 'reason'"),
        (("Train", "it has no keys", 1), {}, "too many positional arguments"),
        (("Train",), {"schema": "Train"}, "multiple values for argument 'schema'"),
        (("Train", "it has no keys"), {"odd": 1}, "got an unexpected keyword argument 'odd'"),
    ],
)
def test_refuses_other_arguments(args: tuple[Any, ...], keywords: dict[str, Any], told: str) -> None:
    """Arguments that do not fit raise the TypeError of any function."""
    with pytest.raises(TypeError, match=told):
        errors.SchemaError(*args, **keywords)


def test_exported() -> None:
    """Every error, and what errors are made of, is handed on by the package."""
    assert {*public(), "Problem"} == set(errors.__all__)
    assert set(errors.__all__) <= set(crystallize.__all__)
    assert all(getattr(crystallize, name) is getattr(errors, name) for name in errors.__all__)


@pytest.mark.parametrize("module", [crystallize, errors], ids=["crystallize", "errors"])
def test_all_is_sorted(module: Any) -> None:
    """`__all__` is sorted, has no name twice, and none that is not there."""
    assert sorted(set(module.__all__)) == module.__all__
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize(
    ("expected", "problem", "of"),
    [
        ("should be greater than 0, got -1 (int)", NEGATIVE, "lr"),
        ("'lr' should be greater than 0, got -1 (int)", NEGATIVE, ""),
        ("'opt.betas.0' should be a valid number, got 'x' (str)", DEEP, "opt"),
        ("'password' should be a valid string, got int", SECRET, ""),
        ("is missing", ABSENT, "epoch"),
        ("does not hold", Problem((), "does not hold", "", None), ""),
    ],
)
def test_problem(expected: str, problem: Problem, of: str) -> None:
    """A problem is a sentence, which leaves out its place where that is the whole of what is spoken of."""
    assert expected == problem.sentence(of)
    assert problem.sentence() == str(problem)


def test_sentence() -> None:
    """The text of an error about a key is its sentence too."""
    error = errors.AbsentKeyError("lr")

    assert str(error) == error.sentence()


def test_braces_in_names() -> None:
    """Names with braces in them print as they are."""
    assert "{lr}: is {bad}" == str(errors.SchemaError("{lr}", "is {bad}"))

    text = str(errors.InvalidValueError("{lr}", (Problem(("{lr}",), "is {bad}", "str", "'{}'"),)))

    assert "cannot write '{lr}': is {bad}, got '{}' (str)" == text


class MisspeltError(errors.UnknownKeyError):
    """An error that a user has made of one of ours."""


class HintedError(errors.BranchError):
    """An error of a user with an attribute more, and a constructor of its own."""

    hint: str
    advice: str = ""

    def __init__(self, hint: str) -> None:
        super().__init__("fold-1", f"it is odd, {hint}")
        self.args = (hint,)
        self.hint = hint


class NotedError(errors.StepClosedError):
    """An error of a user with an annotation, and the constructor of its base."""

    seen: bool


def sections() -> list[str]:
    """Return the headings of the page's sections on one error each."""
    return re.findall(r"^### (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def declared_errors() -> set[str]:
    """Return the names of all public exceptions that the files of the package declare."""
    folder = Path(crystallize.__file__).parent
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py")]
    classes = {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    return {name for name in classes if name.endswith(("Error", "Warning")) and not name.startswith("_")}


def shown(error: BaseException) -> list[str]:
    """Return the lines that stand below a traceback."""
    return "".join(traceback.format_exception_only(error)).splitlines()


def test_every_error_is_explained() -> None:
    """The page has one section for each public error of the package, and none without one."""
    assert sorted(declared_errors()) == sorted(sections())


@pytest.mark.parametrize("name", sorted({*public(), "LostBranchesError"}))
def test_sections_are_whole(name: str) -> None:
    """Each section says when the error comes, and shows it, but for a class that is only ever a base."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n### {name}\n")[2]
    text, _, example = re.split(r"^##", section, maxsplit=1, flags=re.MULTILINE)[0].partition("```python")

    assert text.strip()
    assert f".{name}: " in example or name in {"CrystallizeError", "KeyLookupError", "MetricError"}


@by_class
def test_traceback_names_the_section(error: CrystallizeError, text: str, facts: dict[str, Any]) -> None:
    """The last line of a traceback names the section that explains the error; the error's own text does not change."""
    expected = f"Explained by: python -m crystallize explain {type(error).__name__}"

    assert expected == shown(error)[-1]
    assert 1 == shown(error).count(expected)


def test_engine_break_names_its_section() -> None:
    """So does the error that stands in a file of its own."""
    error = LostBranchesError("fold-1", ("1",), "OSError: gone")

    assert ["Explained by: python -m crystallize explain LostBranchesError"] == error.__notes__
    assert error.__notes__ == pickle.loads(pickle.dumps(error)).__notes__


def test_own_errors_are_explained_as_their_base() -> None:
    """An error that others made of one of ours is explained where that one is."""
    assert ["Explained by: python -m crystallize explain UnknownKeyError"] == MisspeltError(
        "lrr", "Train", "lr", ("lr",)
    ).__notes__


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "error", [MisspeltError("lrr", "Train", "lr", ("lr",)), HintedError("see the log"), NotedError("fit")], ids=repr
)
def test_own_errors_travel(error: CrystallizeError, protocol: int) -> None:
    """The errors of others pickle and copy as ours do; what they annotate changes no constructor."""
    error = copy.copy(error)
    error.add_note("in the third fold")
    found = copy.deepcopy(pickle.loads(pickle.dumps(error, protocol)))

    assert (type(error), error.args, vars(error), shown(error)) == (
        type(found),
        found.args,
        vars(found),
        shown(found),
    )


@by_class
def test_note_does_not_double(error: CrystallizeError, text: str, facts: dict[str, Any]) -> None:
    """However often an error is shown, pickled and copied, it has one such line."""
    expected = shown(error)
    for _ in range(2):
        error = copy.deepcopy(copy.copy(pickle.loads(pickle.dumps(error))))

        assert expected == shown(error)


def test_note_does_not_depend_on_how_it_is_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that others pickle in their own way, as tblib does for Dask, has the same notes."""
    tblib = import_module("tblib.pickling_support")  # which has no types
    monkeypatch.setitem(copyreg.dispatch_table, errors.AbsentKeyError, tblib.pickle_exception)
    error = errors.AbsentKeyError("lr", "Train")
    sent = pickle.loads(pickle.dumps(error))
    sent.add_note("in the third fold")

    assert [*shown(error), "in the third fold"] == shown(pickle.loads(pickle.dumps(sent)))
    assert 1 == len(error.__notes__)


def test_notes_of_others_follow() -> None:
    """What is added to an error stands below where it is explained."""
    error = errors.AbsentKeyError("lr", "Train")
    error.add_note("in the third fold")

    assert ["Explained by: python -m crystallize explain AbsentKeyError", "in the third fold"] == error.__notes__


def test_comes_back_with_one_note() -> None:
    """An error that comes out of an executor has its line once."""

    def fails() -> None:
        raise errors.AbsentKeyError("lr", "Train")

    with ThreadPoolExecutor() as pool:
        found = pool.submit(fails).exception()

    assert isinstance(found, errors.AbsentKeyError)
    assert ["Explained by: python -m crystallize explain AbsentKeyError"] == found.__notes__


def test_each_of_a_group_names_its_section() -> None:
    """In a group of exceptions each error has its line."""
    group = ExceptionGroup("two failed", [errors.AbsentKeyError("lr"), errors.NoPointsError("loss")])
    told = "".join(traceback.format_exception(group))

    assert ["AbsentKeyError", "NoPointsError"] == re.findall(r"Explained by: python -m crystallize explain (\w+)", told)


def test_logs_name_the_section() -> None:
    """So has a traceback in a log."""
    out = StringIO()
    log = logging.Logger("of this test")
    log.addHandler(logging.StreamHandler(out))
    try:
        raise errors.AbsentKeyError("lr")
    except errors.AbsentKeyError:
        log.exception("it failed")

    assert out.getvalue().endswith("\nExplained by: python -m crystallize explain AbsentKeyError\n")


@pytest.mark.slow
def test_interpreter_names_the_section() -> None:
    """What ends a process says on stderr, at the end, where it is explained."""
    code = "from crystallize import FrozenContext; FrozenContext()['lr']"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert [
        "crystallize.errors.AbsentKeyError: 'lr' is not written",
        "Explained by: python -m crystallize explain AbsentKeyError",
    ] == (ended.stderr.splitlines()[-2:])


def test_patterns_of_pytest_match_the_text() -> None:
    """`pytest.raises(match=...)` finds the text as before; a `$` is met by the end of a line alone with `(?m)`."""
    for pattern in ("^'lr' is not written", "not written\n", "(?m)not written$"):
        with pytest.raises(errors.AbsentKeyError, match=pattern):
            raise errors.AbsentKeyError("lr")


@pytest.mark.parametrize(
    ("below", "flags"),
    [
        ("Explained by: python -m crystallize explain AbsentKeyError\n", 0),
        ("...\n", doctest.ELLIPSIS),
        ("", doctest.IGNORE_EXCEPTION_DETAIL),
    ],
)
def test_doctests_take_the_line(below: str, flags: int) -> None:
    """A doctest expects the line, or anything below the text, or the class alone."""
    source = ">>> raise errors.AbsentKeyError('lr')\nTraceback (most recent call last):\n"
    source += f"crystallize.errors.AbsentKeyError: 'lr' is not written\n{below}"
    example = doctest.DocTestParser().get_doctest(source, {"errors": errors}, "of a user", None, 0)

    assert (0, 1) == doctest.DocTestRunner(optionflags=flags).run(example, out=lambda text: None)


def test_warning_prints_its_section() -> None:
    """A warning, which is printed without notes, has the line in its text, and not as a note besides."""
    warning = errors.UndeliveredWarning("MLflowSink", ((1, "point", "it is NaN"),))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn(warning, stacklevel=1)

    assert str(caught[0].message).endswith("\nExplained by: python -m crystallize explain UndeliveredWarning")
    assert [] == warning.__notes__
