"""A step runs again if a change reaches it by the code of a value, by a module, or by a thing that it changes."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from crystallize import FrozenContext, Journal, load_run

HEAD = """
import dataclasses
from typing import Annotated
import numpy as np
from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, field_validator, validate_call
from crystallize import Context, FrozenContext, Metric, MetricSchema, fork

def made(journal): return journal.context(FrozenContext, {"lr": 1})
def main(ctx): return ctx.run(fit)
"""

CHANGES = {
    "a method of a value": (
        """
class Config(BaseModel):
    base: float = 1.0
    def rate(self): return self.base * @@
class Train(BaseModel):
    config: Config
def made(journal): return journal.context(FrozenContext[Train], {"config": Config()})
def fit(ctx: Context[Train]) -> float: return ctx.fields.config.rate()
""",
        "the code of the type of config changed",
    ),
    "a validator of a key": (
        """
class Train(BaseModel):
    out: Annotated[float, AfterValidator(lambda value: value * @@)]
def made(journal): return journal.context(FrozenContext[Train])
def fit(ctx: Context[Train]) -> None: ctx.fields.out = 1.0
def main(ctx): ctx.run(fit); return ctx.fields.out
""",
        "the type of out, which it wrote, changed",
    ),
    "a validator of the schema": (
        """
class Train(BaseModel):
    out: dict[str, float | int] | None
    @field_validator("out")
    @classmethod
    def doubled(cls, value): return {name: part * @@ for name, part in value.items()}
def made(journal): return journal.context(FrozenContext[Train])
def fit(ctx: Context[Train]) -> None: ctx.fields.out = {"x": 1.0}
def main(ctx): ctx.run(fit); return ctx.fields.out
""",
        "the type of out, which it wrote, changed",
    ),
    "a default of a field": (
        """
class Config(BaseModel):
    a: int
    b: int = @@
class Train(BaseModel):
    config: Config
def made(journal): return journal.context(FrozenContext[Train])
def fit(ctx: Context[Train]) -> None: ctx["config"] = {"a": 1}
def main(ctx): ctx.run(fit); return ctx.fields.config
""",
        "the type of config, which it wrote, changed",
    ),
    "a validator of a metric": (
        """
class Metrics(MetricSchema):
    loss = Metric(Annotated[float, AfterValidator(lambda value: value * @@)])
def made(journal): return journal.context(FrozenContext, metrics=Metrics)
def fit(ctx) -> None: ctx.record("loss", 1.0)
def main(ctx): ctx.run(fit); return ctx.metrics["loss"]
""",
        "the declaration of loss, which it recorded, changed",
    ),
    "a module in a variable": (
        """
import helpers
def fit(ctx) -> int:
    chosen = helpers
    return chosen.RATE
""",
        "the source of helpers.RATE changed",
    ),
    "a module that is passed on": (
        """
import helpers
def use(module): return module.RATE
def fit(ctx) -> int: return use(helpers)
""",
        "the source of helpers.RATE changed",
    ),
    "a context in a class": (
        """
class Here:
    ctx = None
def made(journal): return journal.context(FrozenContext, {"x": @@})
def fit(ctx) -> int: return Here.ctx["x"]
def main(ctx): Here.ctx = ctx; return ctx.run(fit)
""",
        "Here holds a context, whose reads by the step are not on record",
    ),
    "a branch that is not merged": (
        """
def made(journal): return journal.context(FrozenContext, {"x": @@})
def fit(ctx) -> int: return fork(ctx, "try").open()["x"]
""",
        "it looked at a branch that it forked, which has no digest",
    ),
    "a value that was refused": (
        """
class Train(BaseModel):
    x: Annotated[int, Field(lt=2 * @@)]
def made(journal): return journal.context(FrozenContext[Train])
def fit(ctx: Context[Train]) -> str:
    try: ctx["x"] = 3
    except ValueError: return "refused"
    return "written"
""",
        "it looked at the reason for which key 'x' was refused, which has no digest",
    ),
    "a key that was not declared": (
        """
class Train(BaseModel):
    x@@: int
def made(journal): return journal.context(FrozenContext[Train])
def fit(ctx: Context[Train]) -> str:
    try: return str(ctx.get("x2", "missing"))
    except KeyError: return "not declared"
""",
        "it looked at the declared keys, which has no digest",
    ),
    "a metric that was not declared": (
        """
class Metrics(MetricSchema):
    loss@@ = Metric(int)
def made(journal): return journal.context(FrozenContext, metrics=Metrics)
def fit(ctx) -> str:
    try: ctx.record("loss2", 2)
    except KeyError: return "not declared"
    return "recorded"
""",
        "it looked at the declared metrics, which has no digest",
    ),
    "a point that was refused": (
        """
class Metrics(MetricSchema):
    loss = Metric(Annotated[int, Field(lt=2 * @@)])
def made(journal): return journal.context(FrozenContext, metrics=Metrics)
def fit(ctx) -> str:
    try: ctx.record("loss", 3)
    except ValueError: return "refused"
    return "recorded"
""",
        "it looked at the reason for which a point was refused, which has no digest",
    ),
    "the unit of a metric": (
        """
class Metrics(MetricSchema):
    loss = Metric(float, unit="u@@")
def made(journal): return journal.context(FrozenContext, metrics=Metrics)
def record(ctx) -> None: ctx.record("loss", 1.0)
def fit(ctx) -> str: series = ctx.metrics.series("loss"); return f"{min(series)} {series.metric.unit}"
def main(ctx): ctx.run(record); return ctx.run(fit)
""",
        "the declaration of loss, which it recorded, changed",
    ),
    "the unit of a metric whose points are not read": (
        """
class Metrics(MetricSchema):
    loss = Metric(float, unit="u@@")
def made(journal): return journal.context(FrozenContext, metrics=Metrics)
def fit(ctx) -> str: return ctx.metrics.series("loss").metric.unit
""",
        "the declaration of loss changed",
    ),
    "the goal of a metric that has none": (
        """
class Metrics(MetricSchema):
    loss = Metric(float, goal=[None, "minimize"][@@ - 1])
def made(journal): return journal.context(FrozenContext, metrics=Metrics)
def fit(ctx) -> str:
    try: return str(ctx.metrics.series("loss").best)
    except Exception as error: return type(error).__name__
""",
        "the declaration of loss changed",
    ),
    "the step of an artifact": (
        """
def first(ctx) -> None: ctx.artifacts.add("a.txt", b"x")
def second(ctx) -> None: ctx.artifacts.add("a.txt", b"x")
def fit(ctx) -> str: return ctx.artifacts["a.txt"].step
def main(ctx): ctx.run([first, second][@@ - 1]); return ctx.run(fit)
""",
        "it did not finish in line-0001 or an older run",
    ),
    "a value without a digest": (
        """
class Train(BaseModel):
    handle: Annotated[object, "@@"]
def made(journal): return journal.context(FrozenContext[Train], {"handle": object()})
def fit(ctx: Context[Train]) -> str: return type(ctx["handle"]).__name__
""",
        "the file of line-0001 does not have handle: no codec stores a object",
    ),
    "an array that the step changes": (
        """
def fit(ctx, w) -> None: w += 5
def judge(ctx, w) -> float: return float(w.sum())
def main(ctx): w = np.zeros(3); ctx.run(fit, w); return ctx.run(judge, w)
""",
        "it changed its argument w",
    ),
    "an object that its method changes": (
        """
class Trainer:
    w = 0.0
    def fit(self, ctx) -> None: self.w = 10.0
    def judge(self, ctx) -> float: return self.w
def main(ctx): trainer = Trainer(); ctx.run(trainer.fit); return ctx.run(trainer.judge)
""",
        "it changed the object of its method",
    ),
    "a variable that the step changes": (
        """
def main(ctx):
    w = 0
    def fit(ctx) -> None:
        nonlocal w
        w = 5
    def judge(ctx) -> int: return w
    ctx.run(fit)
    return ctx.run(judge)
""",
        "it changed the variable w of its closure",
    ),
    "the order of an array": (
        """
def fit(ctx, a) -> bool: return a.flags.f_contiguous
def main(ctx): return ctx.run(fit, np.zeros((2, 3), order="CF"[@@ - 1]))
""",
        "its argument a changed",
    ),
}
SAME = {
    "points without tags": """
class Metrics(MetricSchema):
    loss = Metric(float)
def made(journal): return journal.context(FrozenContext, metrics=Metrics)
def record(ctx) -> None: ctx.record("loss", 0.5)
def fit(ctx) -> float: return min(ctx.metrics["loss"])
def main(ctx): ctx.run(record); return ctx.run(fit)
""",
    "a unit": """
class Metrics(MetricSchema):
    loss = Metric(float, unit="nats")
def made(journal): return journal.context(FrozenContext, metrics=Metrics)
def fit(ctx) -> str: return ctx.metrics.series("loss").metric.unit
""",
    "a nested function with generic aliases": """
class Train(BaseModel):
    lr: float
Read = Context[Train]
Made = FrozenContext[Train]
def inner_of(cls):
    Own = FrozenContext[cls]
    def inner(ctx: Own, kind: type = Context[cls]) -> str: return f"{Own} {Read} {Context[Train]}"
    return inner
def fit(ctx: Context[Train]) -> str:
    def inner(ctx: Context[Train], kind: type = Made) -> Annotated[Read, 1] | None: return f"{Context[Train]}"
    return ctx.run(inner) + ctx.run(inner_of(Train))
""",
    "a helper that checks its arguments": """
@validate_call
def helper(x: int) -> int: return x
def fit(ctx) -> int: return helper(1)
""",
    "a log in a global": """
log = []
def fit(ctx) -> int: log.append(1); return 1
""",
}


def loaded(name: str, source: str, patch: pytest.MonkeyPatch) -> Any:
    """Execute source as a module that can be imported."""
    module = ModuleType(name)
    patch.setitem(sys.modules, name, module)
    exec(source, vars(module))
    return module


def run(folder: Path, source: str, number: int, *, reuse: bool, patch: pytest.MonkeyPatch) -> tuple[str, list[Any]]:
    """Run a program as its version of this number; return its result, and why its steps have run."""
    loaded("helpers", f"RATE = {number}", patch)
    program = loaded("program", HEAD + source.replace("@@", str(number)), patch)
    with Journal.start(folder, "line", reuse=reuse) as journal:
        ctx: FrozenContext[Any] = program.made(journal)
        result = program.main(ctx)
    return str(result), [found.reason for found in load_run(journal.path).attempts]


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_that_reaches_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """The run with reuse ends as the one without, and says why the step has run."""
    source, reason = CHANGES[case]
    run(tmp_path, source, 1, reuse=False, patch=monkeypatch)
    result, reasons = run(tmp_path, source, 2, reuse=True, patch=monkeypatch)

    assert run(tmp_path, source, 2, reuse=False, patch=monkeypatch)[0] == result
    assert str(reasons[0]).startswith(reason)


@pytest.mark.parametrize("case", SAME)
def test_a_program_without_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """No step runs again."""
    first, _ = run(tmp_path, SAME[case], 1, reuse=False, patch=monkeypatch)
    result, reasons = run(tmp_path, SAME[case], 1, reuse=True, patch=monkeypatch)

    assert first == result
    assert {None} == {*reasons}
