"""The order of the package's files: each imports only from those above it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

import crystallize

PACKAGE = Path(crystallize.__file__).parent

CORE = (
    *("errors", "text", "tables", "events", "outlet", "values", "schema", "annotations", "parts", "points", "metrics"),
    *("artifacts", "provenance", "protocols", "fields", "context", "logging_context", "facts", "deltas", "branches"),
    *("workers", "spool", "origin", "database", "runs", "journal"),
)
SINKS = ("sinks/undelivered", "sinks/delivery", "sinks/installed", "sinks/mlflow_rules")
"""What stands below the sinks themselves, and needs no extra."""
ORDER = (
    *(*CORE, "export", "extras", "columns", "layouts", "batches", "frames", *SINKS, "sinks/mlflow_requests", "sinks"),
    *("curves", "plots", "drawings", "charts", "report", "printer", "outlines", "spelling", "listings"),
    *("overloads", "stubs", "terminal", "follow", "watch", "cli", "__main__"),
    "utils",
)
"""From the bottom up: files and folders, as one would import them."""

FACE = "__init__"
FILES = sorted(path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py"))
THIRD_PARTY = {"pydantic", "typing_extensions"}
EXCEPTIONS = {
    "schema": ("pydantic_core",),  # the only file that takes core schemas apart
    **dict.fromkeys(("database", "runs", "journal"), ("pydantic_core",)),  # for its JSON alone
    "branches": ("pydantic_core",),  # as above
    "deltas": ("pydantic_core",),  # as above
    "workers": ("tqdm",),  # where it is installed
    "sinks/mlflow_rules": ("pydantic_core",),  # for its JSON alone
    "facts": ("pydantic_core", "numpy"),  # numpy where an array was written, and nowhere else
}
HEAVY = ("jinja2", "numpy", "pandas", "plotly", "polars", "pyarrow", "rich")


class Import(NamedTuple):
    """One import of one file."""

    module: str
    """The module in full, with slashes: `crystallize/errors`."""
    is_relative: bool
    function: str | None
    """The function that it is in; None at the top level."""


def place(file: str) -> int:
    return ORDER.index(file if file in ORDER else file.partition("/")[0])


def imports_of(file: str) -> list[Import]:
    """Return all that a file imports when it runs, also inside functions."""
    tree = ast.parse((PACKAGE / f"{file}.py").read_text(encoding="utf-8"))
    return list(_imports(tree, ("crystallize", *file.split("/")), None))


def _imports(node: ast.AST, at: tuple[str, ...], function: str | None) -> Iterator[Import]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        for otherwise in node.orelse:
            yield from _imports(otherwise, at, function)
        return
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        function = node.name
    if isinstance(node, ast.Import):
        yield from (Import(name.name.replace(".", "/"), False, function) for name in node.names)
    if isinstance(node, ast.ImportFrom):
        within = at[: -node.level] if node.level else ()
        module = (*within, *(node.module or "").split(".")) if node.module else within
        yield Import("/".join(module), node.level > 0, function)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, at, function)


def inner(imports: list[Import]) -> list[Import]:
    return [one for one in imports if one.module.partition("/")[0] == "crystallize"]


def is_announced(file: str, one: Import) -> bool:
    """Whether it is the one import inside a function: `ctx.step` makes a LoggingContext."""
    return (file, one.module, one.function) == ("context", "crystallize/logging_context", "step")


def test_the_package_is_not_empty() -> None:
    """The files that the other tests go by are found."""
    assert {"__init__", "errors", "context", "sinks/memory", "utils/context"} <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_has_a_place(file: str) -> None:
    """Every file is in the table."""
    assert file == FACE or file.partition("/")[0] in ORDER


@pytest.mark.parametrize("file", FILES)
def test_imports_relatively(file: str) -> None:
    """What is in the package is imported relatively, and never the package root."""
    own = inner(imports_of(file))

    assert [] == [one.module for one in own if not one.is_relative or one.module == "crystallize"]


@pytest.mark.parametrize("file", [file for file in FILES if file != FACE])
def test_imports_from_above(file: str) -> None:
    """A file imports only from files above it in the table."""
    own = [one.module.partition("/")[2] for one in inner(imports_of(file)) if not is_announced(file, one)]

    assert [] == [other for other in own if place(other) >= place(file)]


@pytest.mark.parametrize("file", ["errors", "events"])
def test_is_a_leaf(file: str) -> None:
    """The leaves import nothing of the package."""
    assert [] == inner(imports_of(file))


def test_imports_at_the_top() -> None:
    """One import of the package stands inside a function, and no other."""
    hidden = [(file, one) for file in FILES for one in inner(imports_of(file)) if one.function is not None]

    assert [("context", Import("crystallize/logging_context", True, "step"))] == hidden


def test_face_hands_on_the_core() -> None:
    """The package's face imports from the core alone."""
    assert {one.module.partition("/")[2] for one in inner(imports_of(FACE))} <= set(CORE)


@pytest.mark.parametrize(
    "file", [FACE, *(file for file in FILES if file in CORE), *SINKS, "sinks/memory", "utils/context"]
)
def test_core_needs_no_extra(file: str) -> None:
    """The core imports the standard library, pydantic and typing_extensions, and the exceptions from that rule."""
    allowed = {*sys.stdlib_module_names, *THIRD_PARTY, "crystallize", *EXCEPTIONS.get(file, ())}

    assert set() == {one.module.partition("/")[0] for one in imports_of(file)} - allowed


def run(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.strip()


def test_imports_no_extra() -> None:
    """Importing the package imports nothing heavy, even where it is installed."""
    found = run(f"import sys, crystallize; print([name for name in {HEAVY} if name in sys.modules])")

    assert all(find_spec(name) for name in HEAVY)
    assert "[]" == found
