"""Random programs of steps, in two versions, to compare a run that takes steps over with one that does not."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, NamedTuple

from crystallize import FrozenContext, Journal

_NAME = "reuse_program"
_ANY_TIME = datetime.fromtimestamp(0, UTC)
THEMES = ("keys", "presence", "points", "files", "code", "inner")
_SHAPES = ("plain", "closure", "default", "partial", "method")
_HEAD = """
from functools import partial
from crystallize import step
from {name}_calls import called
"""


class Outcome(NamedTuple):
    """All that is left of a run, without times and without where its steps ran."""

    values: dict[str, Any]
    series: dict[str, Any]
    artifacts: list[Any]
    records: list[Any]
    results: list[Any]


class Version(NamedTuple):
    """A version of a program, with its inputs."""

    source: str
    inputs: dict[str, int]


class Program:
    """A random program; the second version differs in little."""

    def __init__(self, seed: int, *, theme: str | None = None, is_plain: bool = False) -> None:
        """Draw a program whose steps mostly do things of a theme; if it `is_plain`, each can be taken over."""
        self._random = Random(seed)
        self._is_plain = is_plain
        self._theme = theme or self._random.choice(THEMES)
        self._count = self._random.randint(2, 4)
        self._helpers = [self._random.randint(0, 9) for _ in range(2)]
        self._global = self._random.randint(0, 9)
        self._shapes = [
            self._random.choice(("plain", "closure", "default", "partial", "method")) for _ in self._steps()
        ]
        self._settings = [self._random.randint(0, 9) for _ in self._steps()]
        self._bodies = [[*self._body(number)] for number in self._steps()]
        self._calls = [number for number in self._steps() if self._random.random() < 0.9]
        self._inputs = {f"k{number}": self._random.randint(0, 9) for number in range(3) if self._random.random() < 0.5}
        self.first = self._version()
        self._change()
        self.second = self._version()

    def _steps(self) -> range:
        return range(self._count)

    def _body(self, number: int) -> Iterator[str]:
        draw = self._random
        yield f"acc = setting + {draw.randint(0, 3)}"
        for _ in range(draw.randint(2, 5)):
            theme = self._theme if draw.random() < 0.7 else draw.choice(THEMES)
            yield draw.choice([*getattr(self, f"_{theme}")(number)])

    def _keys(self, number: int) -> Iterator[str]:
        draw = self._random
        key = draw.choice(["k0", "k1", "k2", *(f"w{other}" for other in range(number))])
        yield f"acc += ctx.get({key!r}, 7)"
        yield f"acc += ctx.get({key!r}, 5)"
        yield f"write(ctx, 'w{number}', acc)"

    def _presence(self, number: int) -> Iterator[str]:
        draw = self._random
        key = draw.choice(["k0", "k1", "k2", *(f"w{other}" for other in range(number))])
        yield f"acc += 3 * ({key!r} in ctx)"
        yield f"acc += 2 * write(ctx, {key!r}, acc)"
        yield f"acc % 2 and write(ctx, 'w{number}', acc)"

    def _points(self, number: int) -> Iterator[str]:
        draw = self._random
        metric = draw.choice(("m0", "m1"))
        yield f"ctx.record({metric!r}, acc % 13, {{'tag': acc % 3}})"
        yield f"ctx.record({metric!r}, acc % 13)"
        yield f"acc += sum(ctx.metrics[{metric!r}]) if {metric!r} in ctx.metrics else 2"
        yield f"acc += len(ctx.metrics[{metric!r}]) if {metric!r} in ctx.metrics else 4"
        yield f"acc += ctx.metrics[{metric!r}][-1] if {metric!r} in ctx.metrics else 1"

    def _files(self, number: int) -> Iterator[str]:
        name = f"a{self._random.randrange(number + 1)}"
        yield f"acc += len(ctx.artifacts[{name!r}].data) if {name!r} in ctx.artifacts else 3"
        yield f"acc += 5 * ({name!r} in ctx.artifacts)"
        yield f"acc += 2 * add(ctx, {name!r}, b'x' * (acc % 5))"
        yield f"acc += add(ctx, 'a{number}', b'x' * (acc % 5))"

    def _code(self, number: int) -> Iterator[str]:
        yield f"acc += helper{self._random.randrange(2)}(acc)"
        yield "acc += GLOBAL"

    def _inner(self, number: int) -> Iterator[str]:
        draw = self._random
        yield "acc += 1"
        if number:
            inner = draw.randrange(number)
            yield f"acc += ctx.run(step{inner}, {draw.randint(0, 2)})"
            yield f"acc += ctx.run(step{inner}, {draw.randint(0, 2)}) if acc % 2 else 1"
        if not self._is_plain:
            yield "acc += len([*ctx])"
            yield "acc += attempt(ctx, failing)"

    def _change(self) -> None:
        draw = self._random
        for _ in range(draw.choice((1, 1, 1, 2))):
            change = draw.choice(("input", "input", "input", "drop", "helper", "global", "setting", "body", "calls"))
            number = draw.randrange(self._count)
            if change == "input":
                self._inputs[f"k{draw.randrange(3)}"] = draw.randint(0, 9)
            elif change == "drop":
                self._inputs.pop(f"k{draw.randrange(3)}", None)
            elif change == "helper":
                self._helpers[draw.randrange(2)] += 1
            elif change == "global":
                self._global += 1
            elif change == "setting":
                self._settings[number] += 1
            elif change == "body":
                self._bodies[number] = [*self._body(number)]
            else:
                self._calls = [number for number in self._steps() if draw.random() < 0.8]

    def _version(self) -> Version:
        lines = [_HEAD.format(name=_NAME), f"GLOBAL = {self._global}"]
        for number, amount in enumerate(self._helpers):
            lines.append(f"def helper{number}(x): return (x * 3 + {amount}) % 17")
        lines.append(_TOOLS)
        for number in self._steps():
            lines.append(self._step(number))
        calls = ", ".join(f"ctx.run(step{number}, 1)" for number in self._calls)
        lines.append(f"def main(ctx): return [{calls}]")
        return Version("\n".join(lines), dict(self._inputs))

    def _step(self, number: int) -> str:
        name, shape, setting = f"step{number}", self._shapes[number], self._settings[number]
        body = [f"called.append({name!r})", *self._bodies[number], "return (acc + arg) % 101"]
        own = "\n".join(f"    {line}" for line in body)
        deep = "\n".join(f"        {line}" for line in body)
        templated = f"@step('{name}-{{arg}}')"
        if shape == "closure":
            made = f"def make(setting):\n    {templated}\n    def {name}(ctx, arg):\n{deep}\n    return {name}"
            return f"{made}\n{name} = make({setting})"
        if shape == "default":
            return f"{templated}\ndef {name}(ctx, arg, setting={setting}):\n{own}"
        if shape == "partial":
            return f"{templated}\ndef {name}(ctx, arg, setting):\n{own}\n{name} = partial({name}, setting={setting})"
        if shape == "method":
            made = f"class Class{number}:\n    def __init__(self, setting): self.setting = setting\n    {templated}\n"
            made += f"    def {name}(self, ctx, arg):\n        setting = self.setting\n{deep}"
            return f"{made}\n{name} = Class{number}({setting}).{name}"
        return f"{templated}\ndef {name}(ctx, arg):\n    setting = {setting}\n{own}"


_TOOLS = """
from crystallize import ContextMutationError
def write(ctx, key, value):
    try:
        ctx[key] = value
    except ContextMutationError:
        return 1
    return 0
def add(ctx, name, data):
    try:
        ctx.artifacts.add(name, data)
    except ContextMutationError:
        return 1
    return 0
def failing(ctx):
    called.append("failing")
    ctx.record("m1", 3)
    raise ValueError
def attempt(ctx, task):
    try:
        return ctx.run(task)
    except ValueError:
        return 6
    except Exception:
        return 8
"""


def ran(version: Version, ctx: FrozenContext[Any]) -> tuple[Outcome, list[str]]:
    """Run a version in a context; return its outcome, and the names of the tasks that were called."""
    calls, module = ModuleType(f"{_NAME}_calls"), ModuleType(_NAME)
    names: list[str] = []
    calls.__file__ = str(Path(sys.executable).parent / "site-packages" / "calls.py")  # not followed
    vars(calls)["called"] = names
    sys.modules[calls.__name__], sys.modules[_NAME] = calls, module
    try:
        exec(compile(version.source, f"<{_NAME}>", "exec"), vars(module))
        results = vars(module)["main"](ctx)
    finally:
        del sys.modules[calls.__name__], sys.modules[_NAME]
    return outcome_of(ctx, results), names


def outcome_of(ctx: FrozenContext[Any], results: Any) -> Outcome:
    """Return all that is in a context."""
    names = ("m0", "m1")
    series = {
        name: [(point.value, dict(point.tags), point.step) for point in ctx.metrics.series(name)]
        for name in names
        if name in ctx.metrics
    }
    artifacts = [(artifact.name, artifact.data, artifact.step) for artifact in ctx.artifacts]
    records = [
        record._replace(started=_ANY_TIME, ended=_ANY_TIME, reused_from=None, points=dict(record.points))
        for record in ctx.provenance.steps
    ]
    values = {key: (ctx[key], ctx.provenance.writer(key)) for key in ctx}
    return Outcome(values, series, artifacts, records, results)


def ran_in_file(version: Version, folder: Path, *, reuse: bool) -> tuple[Outcome, list[str]]:
    """Run a version with a journal."""
    with Journal.start(folder, "run", reuse=reuse) as journal:
        return ran(version, journal.context(FrozenContext, version.inputs))
