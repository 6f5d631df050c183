"""The rules of the house that no linter checks: private names, sizes, nouns, the words of the core, heavy imports.

Import-linter checks the order of the folders: see `pyproject.toml`.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

import crystallize

PACKAGE = Path(crystallize.__file__).parent
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)

PROTOCOL_NAMES = {
    *("_asdict", "_fields", "_make", "_replace"),  # of a namedtuple
    *("_ipython_key_completions_", "_repr_html_", "_repr_mimebundle_"),  # of IPython
    "_metadata",  # of pandas, and of PyTorch
}
"""Names with an underscore that are public all the same."""

CORE_FOREIGN_WORDS = re.compile(r"branch|fork|merg|resum|journal|html", re.IGNORECASE)
EXTENSION_POINTS = {"AttachedSink", "Baseline", "ContextView", "Extension"}
"""The classes of the core whose docstrings may say who uses them."""

FACE = "__init__"
FOUNDATION = ("errors", "events", "_base/", "_core/", "_branches/", "_journal/")
"""The parts of the package that need no optional dependency, and the only ones that its face re-exports."""
SINKS_WITHOUT_EXTRAS = ("delivery_queue", "entry_points", "memory", "mlflow/rules", "naming", "undelivered")
THIRD_PARTY = {"pydantic", "pydantic_core", "typing_extensions"}
OPTIONAL = {"_branches/progress": "tqdm"}
"""The files of the foundation that import an optional package inside a function, if there is a use for it."""
HEAVY = ("jinja2", "numpy", "pandas", "plotly", "polars", "pyarrow", "rich")


class Module(NamedTuple):
    """A file of the package."""

    name: str
    """The path below the package, without the suffix: `_core/context`."""
    text: str
    tree: ast.Module

    @property
    def folder(self) -> str:
        return self.name.rpartition("/")[0]

    @property
    def is_public(self) -> bool:
        return not any(part.startswith("_") for part in self.name.removesuffix(FACE).split("/"))

    def at(self, node: ast.AST) -> str:
        return f"{self.name}.py:{getattr(node, 'lineno', 1)}"


def load() -> list[Module]:
    files = sorted(PACKAGE.rglob("*.py"))
    texts = [(file.relative_to(PACKAGE).with_suffix("").as_posix(), file.read_text("utf-8")) for file in files]
    return [Module(name, text, ast.parse(text)) for name, text in texts]


MODULES = load()
IN_CORE = [module for module in MODULES if module.name.startswith("_core/")]


def assert_none(problems: Iterable[str], allowed: int = 0) -> None:
    """Fail with every problem on a line of its own; pytest would shorten a comparison of lists."""
    found = sorted(problems)
    assert len(found) <= allowed, "\n".join([f"{len(found)} problems:", *found])


def classes(modules: Iterable[Module] = MODULES) -> Iterator[tuple[Module, ast.ClassDef]]:
    for module in modules:
        yield from ((module, node) for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef))


def functions() -> Iterator[tuple[Module, Function]]:
    for module in MODULES:
        yield from ((module, node) for node in ast.walk(module.tree) if isinstance(node, Function))


# Private names.


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_" and name not in PROTOCOL_NAMES


class Class(NamedTuple):
    """A class, as far as its private names are concerned."""

    module: Module
    bases: tuple[str, ...]
    names: frozenset[str]


def names_in(node: ast.AST) -> set[str]:
    """Return the names in an expression, also in an annotation that is a string."""
    found = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    texts = [text.value for text in ast.walk(node) if isinstance(text, ast.Constant) and isinstance(text.value, str)]
    return found.union(*(re.findall(r"\w+", text) for text in texts))


def private_names(tree: ast.AST) -> Iterator[str]:
    """Yield the private names that a tree defines: by `def`, `class`, assignment, `self._x = ...` or `__slots__`."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ClassDef | Function):
            names = [node.name]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names = [node.id]
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names = [node.attr] if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls") else []
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value] if node.value.isidentifier() else []
        yield from filter(is_private, names)


CLASSES = {
    node.name: Class(
        module,
        tuple(name for base in node.bases for name in names_in(base)),
        frozenset(private_names(node)),
    )
    for module, node in classes()
}
DEFINED_IN: dict[str, set[str]] = {}
for _module in MODULES:
    for _name in private_names(_module.tree):
        DEFINED_IN.setdefault(_name, set()).add(_module.name)


def owners(class_names: Iterable[str], attribute: str) -> set[str]:
    """Return the files of the nearest classes, among these and their bases, that define an attribute."""
    found = set()
    for known in (CLASSES[name] for name in class_names if name in CLASSES):
        found |= {known.module.name} if attribute in known.names else owners(known.bases, attribute)
    return found


class PrivateUses(ast.NodeVisitor):
    """Finds the private names that a file uses and another file defines."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.types: dict[str, set[str]] = {}
        """The classes of `self` and of annotated parameters, by name."""
        self.found: list[tuple[str, ast.AST, set[str]]] = []

    def add(self, name: str, node: ast.AST, defined_in: set[str]) -> None:
        if defined_in and self.module.name not in defined_in:
            self.found.append((name, node, defined_in))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        before, self.types = self.types, {**self.types, "self": {node.name}, "cls": {node.name}}
        for name in CLASSES[node.name].names:  # one that it redefines belongs to the base
            self.add(name, node, owners(CLASSES[node.name].bases, name))
        self.generic_visit(node)
        self.types = before

    def visit_FunctionDef(self, node: Function) -> None:
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        annotated = {entry.arg: names_in(entry.annotation) & set(CLASSES) for entry in arguments if entry.annotation}
        before, self.types = self.types, {**self.types, **{name: found for name, found in annotated.items() if found}}
        self.generic_visit(node)
        self.types = before

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if node.level and is_private(alias.name) and not (PACKAGE / alias.name).is_dir():
                self.add(alias.name, node, DEFINED_IN.get(alias.name, set()) - {self.module.name})

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if is_private(node.attr):
            known = self.types.get(node.value.id, set()) if isinstance(node.value, ast.Name) else set()
            self.add(node.attr, node, owners(known, node.attr) or DEFINED_IN.get(node.attr, set()))
        self.generic_visit(node)


def private_uses(module: Module) -> list[tuple[str, ast.AST, set[str]]]:
    visitor = PrivateUses(module)
    visitor.visit(module.tree)
    return visitor.found


def uses_of_private_names(*, in_same_folder: bool) -> Iterator[str]:
    for module in MODULES:
        for name, node, defined_in in private_uses(module):
            if in_same_folder == (module.folder in {file.rpartition("/")[0] for file in defined_in}):
                yield f"{module.at(node)} {name} of {', '.join(sorted(defined_in))}"


def test_no_private_name_of_another_folder() -> None:
    """No module uses a `_private` name that another folder defines, inherited ones included."""
    assert_none(uses_of_private_names(in_same_folder=False))


def test_no_private_name_of_another_file() -> None:
    """Inside a folder, a leading underscore means "this file only"."""
    assert_none(uses_of_private_names(in_same_folder=True))


# Sizes.


def lines_of(node: ast.ClassDef) -> int:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return (node.end_lineno or first) - first + 1


def body_lines(node: Function) -> int:
    """Return the lines of a body, without its docstring."""
    body = node.body[ast.get_docstring(node) is not None :]
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def depth(node: ast.AST) -> int:
    """Return how deep blocks are nested; an `elif` is one deeper than its `if`."""
    inner = max((depth(child) for child in ast.iter_child_nodes(node)), default=0)
    return inner + isinstance(node, BLOCKS)


def public_names() -> set[str]:
    """Return the names in `__all__` of the public modules."""
    found: set[str] = set()
    for module in MODULES:
        for node in module.tree.body if module.is_public else ():
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                found |= names_in(node.value)
    return found


def public_functions() -> set[Function]:
    """Return the functions that users call: public functions, methods of public classes, and the command's parts."""
    public = public_names()
    found = {node for _, node in functions() if node.name in public}
    found |= {node for module, node in functions() if module.name == f"_cli/{node.name}_command"}
    for _, node in classes():
        methods = [method for method in node.body if isinstance(method, Function) and node.name in public]
        found.update(method for method in methods if not is_private(method.name))
    return found


def count_parameters(node: Function) -> int:
    arguments = node.args
    named = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return len(named) + (arguments.vararg is not None) + (arguments.kwarg is not None)


def test_few_long_files() -> None:
    """At most five files have more than 400 lines."""
    lengths = {module.name: len(module.text.splitlines()) for module in MODULES}

    assert_none((f"{name}.py {length}" for name, length in lengths.items() if length > 400), allowed=5)


def test_no_long_body() -> None:
    """No body of a function has more than 40 lines."""
    assert_none(
        f"{module.at(node)} {node.name} {body_lines(node)}" for module, node in functions() if body_lines(node) > 40
    )


def test_no_long_class() -> None:
    """No class has more than 250 lines."""
    assert_none(f"{module.at(node)} {node.name} {lines_of(node)}" for module, node in classes() if lines_of(node) > 250)


def test_few_parameters() -> None:
    """No internal function has more than 6 parameters."""
    public = public_functions()
    internal = [(module, node) for module, node in functions() if node not in public]

    assert_none(
        f"{module.at(node)} {node.name} {count_parameters(node)}"
        for module, node in internal
        if count_parameters(node) > 6
    )


def test_shallow() -> None:
    """Blocks are nested at most 5 deep."""
    assert_none(f"{module.at(node)} {node.name} {depth(node)}" for module, node in functions() if depth(node) > 5)


# Nouns and words.


def repeated(names: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield each name that occurs more than once, with the places where it does."""
    places: dict[str, list[str]] = {}
    for name, place in names:
        places.setdefault(name, []).append(place)
    return (f"{name}: {', '.join(found)}" for name, found in places.items() if len(found) > 1)


def test_no_class_name_twice() -> None:
    """Two classes of the package never share a name."""
    assert_none(repeated((node.name, module.at(node)) for module, node in classes()))


def test_no_noun_twice() -> None:
    """Two files of the package never share a name, except `utils/context`, the published path of the context."""
    files = [module.name for module in MODULES if module.name != "utils/context"]

    assert_none(repeated((name.rpartition("/")[2], name) for name in files if not name.endswith(FACE)))


def docstring_lines(node: ast.AST) -> range:
    """Return the lines of the docstrings of a class and of all that it contains."""
    if not isinstance(node, ast.ClassDef | Function):
        return range(0)
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return range(first.lineno, (first.end_lineno or first.lineno) + 1)
    return range(0)


def test_the_core_knows_only_itself() -> None:
    """The core names nothing that is built on it, except in the docstrings of its extension points."""
    found = []
    for module in IN_CORE:
        points = [node for _, node in classes([module]) if node.name in EXTENSION_POINTS]
        documented = [node for point in points for node in ast.walk(point)]
        allowed = {line for node in documented for line in docstring_lines(node)}
        for number, line in enumerate(module.text.splitlines(), 1):
            if number not in allowed and CORE_FOREIGN_WORDS.search(line.replace("_repr_html_", "")):
                found.append(f"{module.name}.py:{number} {line.strip()}")

    assert_none(found)


def test_folders_say_what_they_do() -> None:
    """The docstring of each folder has at least three lines."""
    faces = [module for module in MODULES if module.name.endswith(FACE)]
    texts = {module.name: ast.get_docstring(module.tree) or "" for module in faces}

    assert_none(name for name, text in texts.items() if len(text.splitlines()) < 3)


# Imports.


class Import(NamedTuple):
    """A module that a file imports when it runs."""

    name: str
    """The module in full, with slashes: `crystallize/errors`."""
    imported: tuple[str, ...]
    is_relative: bool
    is_hidden: bool
    """Whether a function imports it."""

    @property
    def top(self) -> str:
        return self.name.partition("/")[0]

    @property
    def inner(self) -> str:
        """The path below the package; empty if it is the package root or another package."""
        return self.name.removeprefix("crystallize/") if self.name.startswith("crystallize/") else ""


def imports_of(module: Module) -> list[Import]:
    return list(_imports(module.tree, ("crystallize", *module.name.split("/")), is_hidden=False))


def _imports(node: ast.AST, at: tuple[str, ...], *, is_hidden: bool) -> Iterator[Import]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        for statement in node.orelse:
            yield from _imports(statement, at, is_hidden=is_hidden)
        return
    if isinstance(node, ast.Import):
        yield from (Import(alias.name.replace(".", "/"), (), False, is_hidden) for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        within = at[: -node.level] if node.level else ()
        name = "/".join([*within, *(node.module or "").split(".")]).rstrip("/")
        yield Import(name, tuple(alias.name for alias in node.names), node.level > 0, is_hidden)
    is_hidden = is_hidden or isinstance(node, Function)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, at, is_hidden=is_hidden)


IMPORTS = {module.name: imports_of(module) for module in MODULES}


def test_finds_the_package() -> None:
    """The files that these tests read are there."""
    assert {FACE, "errors", "_core/context", "sinks/memory", "utils/context"} <= set(IMPORTS)
    assert {"crystallize/errors", "crystallize/_core/schema"} <= {entry.name for entry in IMPORTS["_core/context"]}


@pytest.mark.parametrize("module", sorted(IMPORTS))
def test_imports_relatively(module: str) -> None:
    """The package is imported relatively, and the package root never."""
    own = [entry for entry in IMPORTS[module] if entry.top == "crystallize"]

    assert_none(entry.name for entry in own if not (entry.is_relative and entry.inner))


def test_imports_at_the_top() -> None:
    """A function imports only files that most programs do not need.

    These are tables for notebooks, subcommands, and the readers of runs: a fresh index is enough for a list of runs.
    """
    readers = ("_journal/ended_run", "_journal/loaded_run", "_journal/run_summary", "_tables/export")
    late = ("_base/html", "_core/notebook", "_cli/", "_ui/server", "sinks/mlflow/sink", *readers)
    assert_none(
        f"{module}.py imports {entry.inner}"
        for module, imports in IMPORTS.items()
        for entry in imports
        if entry.is_hidden and entry.inner and not entry.inner.startswith(late)
    )


def test_face_hands_on_the_core() -> None:
    """The package's face imports only from the foundation."""
    assert_none(entry.inner for entry in IMPORTS[FACE] if entry.inner and not entry.inner.startswith(FOUNDATION))


FOUNDATION_FILES = [
    *(FACE, "utils/context", *(f"sinks/{sink}" for sink in SINKS_WITHOUT_EXTRAS)),
    *(name for name in sorted(IMPORTS) if name.startswith(FOUNDATION)),
]


@pytest.mark.parametrize("module", FOUNDATION_FILES)
def test_core_needs_no_extra(module: str) -> None:
    """The foundation imports the standard library, pydantic and typing_extensions, and two optional packages."""
    allowed = {*sys.stdlib_module_names, *THIRD_PARTY, "crystallize"}

    found = {(entry.top, entry.is_hidden) for entry in IMPORTS[module] if entry.top not in allowed}
    assert found <= {(OPTIONAL.get(module), True)}


def test_one_file_reads_core_schemas() -> None:
    """One file takes the schemas of pydantic-core apart; the others use its JSON and its messages only."""
    json = {
        "PydanticCustomError",
        "PydanticKnownError",
        "PydanticSerializationError",
        "from_json",
        "to_json",
        "to_jsonable_python",
    }
    pydantic_core = {
        module: {name for entry in imports if entry.top == "pydantic_core" for name in entry.imported}
        for module, imports in IMPORTS.items()
    }

    assert ["_core/pydantic_core_schema"] == [module for module, names in pydantic_core.items() if not names <= json]


@pytest.mark.slow
def test_imports_nothing_heavy() -> None:
    """Importing the package imports no optional dependency, even if it is installed."""
    code = f"import sys, crystallize; print([name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.strip()

    assert all(find_spec(name) for name in HEAVY)
    assert "[]" == found
