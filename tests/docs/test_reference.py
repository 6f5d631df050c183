"""The reference: every public name is in it, with an example that runs."""

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from inspect import isclass, isroutine
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import crystallize
from crystallize.errors import CrystallizeError

from ..examples import example_of, what_fails

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"
FRAMEWORKS = ("huggingface", "keras", "lightgbm", "lightning", "optuna", "xgboost")
ELSEWHERE = (
    "crystallize.sinks.mlflow.",
    "crystallize.sinks.opentelemetry.",
    "crystallize.sinks.tensorboard.",
    "crystallize.sinks.wandb.",
    *(f"crystallize.callbacks.{framework}." for framework in FRAMEWORKS),
)
"""Where what is imported is in an environment of its own: `tests/backends` and `tests/frameworks` run the examples."""


class Listed(NamedTuple):
    """A name of the reference."""

    path: str
    thing: Any

    @property
    def example(self) -> str:
        return example_of(self.thing)


def paths() -> Iterator[str]:
    """Return the full names on the page; those of a module stand for all that it has."""
    entries = re.findall(
        r"^\.\. auto(\w+):: ([\w.]+)(?:\(.*\))?\n((?:   .*\n)*)", PAGE.read_text("utf-8"), re.MULTILINE
    )
    for kind, path, options in entries:
        if kind != "module":
            yield path
        elif ":no-members:" not in options:
            yield from (f"{path}.{name}" for name in import_module(path).__all__)


@cache
def listed() -> list[Listed]:
    """Return what is on the page and can be imported here."""
    split = [path.rpartition(".") for path in paths() if not path.startswith(ELSEWHERE)]
    return [Listed(f"{module}.{name}", getattr(import_module(module), name)) for module, _, name in split]


def examples() -> Iterator[Listed]:
    """Return what is listed and has an example, and the members of classes that have one of their own."""
    for entry in listed():
        own = vars(entry.thing) if isclass(entry.thing) else {}
        members = [Listed(f"{entry.path}.{name}", member) for name, member in own.items() if not name.startswith("_")]
        yield from (found for found in (entry, *members) if ">>> " in found.example)


def owes_example(thing: Any) -> bool:
    """Whether it is a class or a function. Errors have their example in `docs/errors.md`, which other tests hold."""
    return (isclass(thing) or isroutine(thing)) and not (isclass(thing) and issubclass(thing, CrystallizeError))


def test_reference_is_whole() -> None:
    """Whatever the package hands on is in the reference."""
    found = {entry.path.rpartition(".")[2] for entry in listed()}

    assert set() == set(crystallize.__all__) - found - {"__version__"}


def test_reference_has_each_name_once() -> None:
    """No name is in the reference twice, be it by two paths."""
    found = [entry.thing for entry in listed() if owes_example(entry.thing)]

    assert len(set(found)) == len(found)


def test_every_name_has_an_example() -> None:
    """Each class and function of the reference shows in its docstring how it is used."""
    assert [] == [entry.path for entry in listed() if owes_example(entry.thing) and ">>> " not in entry.example]


def test_examples_are_short() -> None:
    """An example has nine lines at the most: it is read in an editor, beside the code."""
    assert [] == [entry.path for entry in examples() if len(entry.example.splitlines()) > 9]


def marked(listed: Listed) -> Any:
    """Mark the examples that make stubs as slow."""
    return pytest.param(listed, marks=pytest.mark.slow) if listed.path.startswith("crystallize.stubs.") else listed


@pytest.mark.parametrize("entry", [marked(found) for found in examples()], ids=lambda entry: entry.path)
def test_example_runs(entry: Listed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An example prints what it says, with nothing imported but what the package hands on, and itself."""
    monkeypatch.chdir(tmp_path)
    names = {name: getattr(crystallize, name) for name in crystallize.__all__}

    assert "" == what_fails(entry.example, names | {entry.path.rpartition(".")[2]: entry.thing})
