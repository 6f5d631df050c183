"""Programs that are drawn at random: two modules of functions, classes and constants that refer to each other."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from types import ModuleType
from typing import Any

KINDS = {
    # The source of each kind of unit: {n} is its name, {a} and {b} its constants, {refs} its references.
    "constant": "{n} = {a}",
    "texts": "{n} = ('{a}', frozenset({{{b}, 'x', 'y'}}))",
    "function": "def {n}(x, d={a}, *, k='{b}'):\n    return [x, d, k{refs}]",
    "comprehension": "def {n}(x):\n    return [[i, {a}{refs}] for i in range({b})]",
    "nested": "def {n}(x):\n    def inner(y):\n        return [y, {a}{refs}]\n    return inner(x) + [lambda: {b}]",
    "generator": "def {n}(x):\n    yield {a}{refs}\n    yield from (i for i in (x, {b}))",
    "handler": "def {n}(x):\n    try:\n        return x[{a}]{refs}\n    except KeyError:\n        return {b}",
    "closure": "def make_{n}(k):\n    def inner(x):\n        return [x, k, {b}{refs}]\n    return inner\n"
    "{n} = make_{n}({a})",
    "mapping": "def make_{n}(k):\n    def inner(x):\n        return [x, k{refs}]\n    return inner\n"
    "{n} = make_{n}({{1: [{a}, {b}]}})",
    "decorated": "def deco_{n}(f):\n    @wraps(f)\n    def wrapper(x):\n        return [f(x), {a}]\n"
    "    return wrapper\n@deco_{n}\ndef {n}(x):\n    return [x, {b}{refs}]",
    "cached": "@lru_cache(maxsize={a})\ndef {n}(x):\n    return [x, {b}{refs}]",
    "managed": "@contextmanager\ndef {n}(x={a}):\n    yield [x, {b}{refs}]",
    "dispatched": "@singledispatch\ndef {n}(x):\n    return {a}\n@{n}.register\ndef _(x: int):\n    return [{b}{refs}]",
    "partial": "def base_{n}(x, y):\n    return [x, y{refs}]\n{n} = partial(base_{n}, {a}, y={b})",
    "class": "class {n}:\n    size = {a}\n    def run(self):\n        return [self.size, {b}{refs}]",
    "methods": "class {n}:\n    @staticmethod\n    def one(x={a}):\n        return [x{refs}]\n    @classmethod\n"
    "    def two(cls):\n        return cls\n    @property\n    def three(self):\n        return {b}",
    "child": "class Base{n}:\n    def run(self, x={a}):\n        return [x{refs}]\nclass {n}(Base{n}):\n    step = {b}",
    "enum": "class {n}(Enum):\n    A = {a}\n    B = '{b}'\n    def run(self):\n        return [self{refs}]",
    "dataclass": "@dataclass\nclass {n}:\n    x: int = {a}\n    y: list[int] = field(default_factory=lambda: [{b}])\n"
    "    def run(self):\n        return [self.x{refs}]",
    "named": "class {n}(NamedTuple):\n    x: int = {a}\n    def run(self):\n        return [{b}{refs}]",
    "model": "class {n}(BaseModel):\n    x: int = Field({a}, le={b})\n    @field_validator('x')\n    @classmethod\n"
    "    def check(cls, x):\n        return x or [{a}{refs}]",
}
_HEAD = """
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache, partial, singledispatch, wraps
from typing import NamedTuple
from pydantic import BaseModel, Field, field_validator
"""


@dataclass(frozen=True)
class Unit:
    """A function, a class or a constant with the names that it refers to."""

    name: str
    kind: str
    module: str
    constants: tuple[int, int]
    refers_to: tuple[str, ...] = ()
    imports_inside: bool = False


@dataclass(frozen=True)
class Program:
    """Units in two modules. The first unit of the module "main" is the task."""

    units: tuple[Unit, ...]
    comment_lines: int = 0

    @classmethod
    def drawn(cls, random: Random) -> "Program":
        """Return a random program."""
        names = [f"u{number}" for number in range(random.randint(2, 9))]
        kinds = ["function", *(random.choice([*KINDS]) for _ in names[1:])]
        units = []
        for name, kind in zip(names, kinds, strict=True):
            module = "main" if name == "u0" or random.random() < 0.5 else "lib"
            has_names = kind not in ("constant", "texts")
            count = min(len(names), random.choice([0, 1, 1, 2, 3])) if has_names else 0
            constants = random.randint(2, 400), random.randint(2, 400)
            unit = Unit(name, kind, module, constants, (*random.sample(names, count),), random.random() < 0.3)
            units.append(unit)
        return cls((*units,))

    def reached(self) -> set[str]:
        """Return the names of the units that the task reaches."""
        found, rest = set(), ["u0"]
        by_name = {unit.name: unit for unit in self.units}
        while rest:
            if (name := rest.pop()) not in found:
                found.add(name)
                rest += by_name[name].refers_to
        return found

    def changed(self, random: Random, names: set[str]) -> "Program":
        """Return the program with another constant in one of these units."""
        unit = random.choice([unit for unit in self.units if unit.name in names])
        first, second = unit.constants
        # A plain constant is the first one.
        constants = (first + 1, second) if unit.kind == "constant" or random.random() < 0.5 else (first, second + 1)
        units = tuple(replace(other, constants=constants) if other is unit else other for other in self.units)
        return replace(self, units=units)

    def source(self, module: str) -> str:
        """Return the source of a module."""
        other = "lib" if module == "main" else "main"
        text = _HEAD + "# A comment.\n" * self.comment_lines
        for unit in self.units:
            if unit.module == module:
                text += f"{self._source_of(unit, other)}\n"
        # After all, as the modules import each other.
        return f"{text}import made_{other}\n"

    def _source_of(self, unit: Unit, other: str) -> str:
        modules = {entry.name: entry.module for entry in self.units}
        refs = [f", {'' if modules[name] == unit.module else f'made_{other}.'}{name}" for name in unit.refers_to]
        text = KINDS[unit.kind].format(n=unit.name, a=unit.constants[0], b=unit.constants[1], refs="".join(refs))
        far = [name for name in unit.refers_to if modules[name] != unit.module]
        if unit.kind == "function" and unit.imports_inside and far:
            imported = f"    from made_{other} import {far[0]} as found\n    print(found)\n"
            text = text.replace("\n", f"\n{imported}", 1).replace(f"made_{other}.{far[0]}", "found")
        return text

    @contextmanager
    def loaded(self) -> Iterator[Any]:
        """Execute both modules, and return the task."""
        modules = {f"made_{name}": ModuleType(f"made_{name}") for name in ("lib", "main")}
        sys.modules.update(modules)
        try:
            for name, module in modules.items():
                exec(compile(self.source(name.removeprefix("made_")), f"{name}.py", "exec"), vars(module))
            yield vars(modules["made_main"])["u0"]
        finally:
            for name in modules:
                del sys.modules[name]
