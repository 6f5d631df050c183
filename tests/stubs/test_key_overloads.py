"""The overloads by which stubs type keys and metrics. What checkers make of them tests/typing asks."""

import ast
import builtins
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import crystallize
from crystallize import StubsError
from crystallize._stubs.class_outline import outline
from crystallize._stubs.key_overloads import with_overloads
from crystallize._stubs.schema_list import SchemaList, list_schemas

PACKAGE = Path(crystallize.__file__).parent
EMPTY = SchemaList([], [], [], {})


@cache  # which nobody changes
def outlines() -> dict[str, ast.Module]:
    paths = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")}
    return {name: outline(path.read_text(encoding="utf-8")) for name, path in paths.items()}


@pytest.fixture(scope="module")
def schemas() -> SchemaList:
    return list_schemas(["pipeline.schemas", "pipeline.tuning"])


def stubs_with(schemas: SchemaList) -> dict[str, ast.Module]:
    """Return the stubs of all modules, parsed from their text."""
    return {name: ast.parse(ast.unparse(module)) for name, module in with_overloads(outlines(), schemas).items()}


@pytest.fixture(scope="module")
def stubs(schemas: SchemaList) -> dict[str, ast.Module]:
    return stubs_with(schemas)


@pytest.fixture(scope="module")
def before() -> dict[str, ast.Module]:
    return stubs_with(EMPTY)


def class_in(stubs: Mapping[str, ast.Module], name: str) -> ast.ClassDef:
    """Return a class, whichever module it is in."""
    body = (statement for module in stubs.values() for statement in module.body)
    return next(statement for statement in body if isinstance(statement, ast.ClassDef) and statement.name == name)


def module_of(stubs: Mapping[str, ast.Module], name: str) -> str:
    """Return the text of the module that a class is in."""
    return next(ast.unparse(module) for module in stubs.values() if class_in(stubs, name) in module.body)


def signatures(stubs: Mapping[str, ast.Module], cls: str, method: str) -> list[str]:
    """Return how a method is declared in a class or in its nearest base but `Context`, a text for each overload."""
    found = class_in(stubs, cls)
    declared = [*_signatures(found, method)]
    names = [ast.unparse(base).partition("[")[0] for base in found.bases]
    known = {part.name for module in stubs.values() for part in module.body if isinstance(part, ast.ClassDef)}
    inherited = (signatures(stubs, name, method) for name in names if name in known - {"Context"})
    return declared or next(filter(None, inherited), [])


def _signatures(cls: ast.ClassDef, method: str) -> Iterator[str]:
    for part in cls.body:
        if isinstance(part, ast.FunctionDef) and part.name == method:
            marks = "".join(f"@{ast.unparse(mark)} " for mark in part.decorator_list)
            returns = "" if part.returns is None else ast.unparse(part.returns)
            yield f"{marks}({ast.unparse(part.args)}) -> {returns}"


def test_keys(stubs: dict[str, ast.Module]) -> None:
    """There is an overload a key, to read it, to write it and to get it or a default."""
    assert ["@overload (self, key: Literal['mean']) -> float"] == signatures(stubs, "_Scores_getitem", "__call__")[:1]
    assert "@overload (self, key: Literal['lr'], value: float) -> None" in signatures(
        stubs, "_Train_setitem", "__call__"
    )
    assert "@overload (self, key: Literal['best_epoch'], default: _Default=...) -> int | None | _Default" in signatures(
        stubs, "_Train_get", "__call__"
    )
    # That of one key needs no mark, since it has no others.
    assert ["(self, key: Literal['depth']) -> int"] == signatures(stubs, "_Settings_getitem", "__call__")


def test_other_keys(stubs: dict[str, ast.Module]) -> None:
    """A schema that allows more takes any other key after its own."""
    assert [
        "@overload (self, key: Literal['seed']) -> int",
        "@overload (self, key: str) -> Any",
    ] == signatures(stubs, "_Loose_getitem", "__call__")


def test_no_keys(stubs: dict[str, ast.Module]) -> None:
    """Of a schema without keys there is none that will do, and none to complete."""
    assert ["(self, key: Never) -> Any"] == signatures(stubs, "_Nothing_getitem", "__call__")
    assert ["(self, key: Never, value: Any) -> None"] == signatures(stubs, "_Nothing_setitem", "__call__")
    assert ["(self, key: Never, default: _Default=...) -> Any | _Default"] == signatures(
        stubs, "_Nothing_get", "__call__"
    )
    assert not any("Nothing" in signature for signature in signatures(stubs, "_Getitem", "__call__"))


@pytest.mark.parametrize(
    ("changed", "count"),
    [
        ("(self, metric_name): ...", 0),
        ("(self): ...", 0),
        ("(self, metric_name: object) -> None: ...", 0),
        ("(self, metric_name: str) -> None: ...\n", 2),
    ],
)
def test_nowhere_for_metrics(schemas: SchemaList, changed: str, count: int) -> None:
    """A method without a single signature for the overloads of metrics is an error that names the method."""
    source = f"class FrozenContext:\n    def record{changed}" + f"\n    def record{changed}"

    with pytest.raises(
        StubsError, match=f"FrozenContext: {count} signatures of 'record' take a metric's name as a tex"
    ):
        with_overloads({"context": ast.parse(source)}, schemas)


def test_no_such_method(schemas: SchemaList) -> None:
    """A class without a method that takes a metric's name is an error, too."""
    with pytest.raises(StubsError, match="FrozenContext: 0 signatures of 'record'"):
        with_overloads({"context": ast.parse("class FrozenContext: ...")}, schemas)


MOVED = {
    "a/contexts": """
from typing import Generic, TypeVar
S = TypeVar("S")
class Base(dict[str, int], Generic[S]):
    def get(self, key: str) -> object: ...
    def record(self, metric_name: str, value: object) -> None: ...
class FrozenContext(Base[S]):
    def add(self, key: str, value: object) -> None: ...
class StepContext(FrozenContext[S]):
    def __setitem__(self, key: str, value: object) -> None: ...
""",
    "protocols": """
from typing import Protocol, TypeVar
T = TypeVar("T")
class Context(Protocol[T]):
    def get(self, key: str) -> object: ...
    def record(self, metric_name: str, value: object) -> None: ...
""",
    "points": "import typing\nclass Series: ...",
    "metrics": """
import typing
class Named:
    def add(self, key: str) -> None: ...
    def series(self, metric: str) -> None: ...
class FrozenMetrics(Named):
    def __getitem__(self, key: str) -> None: ...
    def get_tags(self, key: str) -> None: ...
""",
}


def test_classes_may_be_anywhere(schemas: SchemaList) -> None:
    """The classes are typed in any file of the package, and so are methods that they inherit from a base there."""
    moved = with_overloads({name: ast.parse(source) for name, source in MOVED.items()}, schemas)
    texts = {name: ast.unparse(module) for name, module in moved.items()}

    assert "from crystallize.protocols import Context\n" in texts["a/contexts"]
    assert "from crystallize.a.contexts import FrozenContext\n" in texts["protocols"]
    assert "from crystallize.points import Series\n" in texts["metrics"]
    assert "class Base(dict[str, int], Context[S], Generic[S]):" in texts["a/contexts"]
    assert "class FrozenContext(Base[S]):\n    ..." in texts["a/contexts"]
    assert "class StepContext(FrozenContext[S]):\n    ..." in texts["a/contexts"]
    assert ["@_as_get (self: Context[T], key: str) -> object"] == signatures(moved, "Context", "get")
    assert [] == signatures(moved, "StepContext", "get")
    for cls, method in [("Base", "record"), ("Context", "record"), ("Named", "series"), ("FrozenMetrics", "get_tags")]:
        assert any("Literal['rows']" in signature for signature in signatures(moved, cls, method))


def test_schemas(stubs: dict[str, ast.Module]) -> None:
    """The schema of a context decides what takes its keys; a context of any other one takes all keys, as before."""
    reads = signatures(stubs, "_Getitem", "__get__")

    assert "@overload (self: _Getitem[_Unlisted], ctx: object, owner: Any) -> _FreeGetitem[Any]" == reads[0]
    assert "@overload (self: _Getitem[_pipeline_schemas.Train], ctx: object, owner: Any) -> _Train_getitem" in reads
    assert (
        "@overload (self: _Getitem[_pipeline_schemas.Batch[_Batch_Item]], ctx: object, owner: Any)"
        " -> _Batch_getitem[_Batch_Item]"
    ) in reads
    assert [
        "@overload (self: _Getitem[dict[str, _Value]], ctx: FrozenContext[Any], owner: Any) -> _FreeGetitem[_Value]",
        "@overload (self, ctx: object, owner: Any) -> _FreeGetitem[Any]",
    ] == reads[-2:]
    writes = signatures(stubs, "_Setitem", "__get__")
    assert "@overload (self, ctx: object, owner: Any) -> _FreeSetitem" == writes[-1]


def test_methods(stubs: dict[str, ast.Module]) -> None:
    """The methods that take a key are typed in the protocol, from which all contexts have them."""
    assert ["@_as_getitem (self: Context[T_co], key: str) -> Any"] == signatures(stubs, "Context", "__getitem__")
    for method in ("__getitem__", "__setitem__", "get", "add"):
        assert signatures(stubs, "Context", method)
        assert [] == signatures(stubs, "FrozenContext", method)
        assert [] == signatures(stubs, "LoggingContext", method)
    assert "class StepContext(ContextHandle, _Base[T_co]):" in module_of(stubs, "FrozenContext")
    assert "_Base = Context\n" in module_of(stubs, "FrozenContext")


def test_metrics(stubs: dict[str, ast.Module]) -> None:
    """There is an overload a metric's name, of each way to be declared, before the one that takes any name."""
    records = signatures(stubs, "FrozenContext", "record")

    assert [
        "@overload (self, metric_name: Literal['accuracy'], value: float, tags: _pipeline_schemas.FoldTags) -> None",
        "@overload (self, metric_name: Literal['loss'], value: float, tags: None=None) -> None",
        "@overload (self, metric_name: Literal['loss'], value: float, tags: _pipeline_schemas.EpochTags) -> None",
        "@overload (self, metric_name: Literal['rows'], value: int, tags: None=None) -> None",
        "@overload (self, metric_name: str, value: Any, tags: Mapping[str, Any] | None=None) -> None",
    ] == sorted(records[2:], key=lambda signature: (" str" in signature, signature))
    assert records[2:] == signatures(stubs, "Context", "record")[2:]
    assert "@overload (self, key: Literal['rows']) -> tuple[int, ...]" in signatures(
        stubs, "FrozenMetrics", "__getitem__"
    )
    tags = signatures(stubs, "FrozenMetrics", "get_tags")
    assert {
        "@overload (self, key: Literal['accuracy']) -> tuple[dict[str, Any], ...]",
        "@overload (self, key: Literal['loss']) -> tuple[_pipeline_schemas.EpochTags | dict[str, Any], ...]",
        "@overload (self, key: Metric[Any, Any] | str) -> tuple[dict[str, Any], ...]",
    } <= {*tags}
    assert "@overload (self, key: Metric[Any, Any] | str) -> tuple[dict[str, Any], ...]" == tags[-1]
    assert "@overload (self, metric: Literal['rows']) -> Series[int, None]" in signatures(
        stubs, "FrozenMetrics", "series"
    )


def test_what_is_not_typed_stays(stubs: dict[str, ast.Module], before: dict[str, ast.Module]) -> None:
    """Other modules and classes are as they would be without any schema."""
    for name in ("errors", "_branches/branch"):
        assert ast.unparse(before[name]) == ast.unparse(stubs[name])
    assert signatures(before, "Series", "add") == signatures(stubs, "Series", "add")


@pytest.mark.parametrize(("part", "as_before"), [("schemas", "FrozenMetrics"), ("metrics", "Context")])
def test_one_of_two(schemas: SchemaList, before: dict[str, ast.Module], part: str, as_before: str) -> None:
    """Where there are schemas alone, or metrics alone, the rest stays as it is."""
    some = EMPTY._replace(imports=schemas.imports, **{part: getattr(schemas, part)})
    stubs = stubs_with(some)

    if part == "schemas":
        assert module_of(before, as_before) == module_of(stubs, as_before)
        assert "Literal[" not in signatures(stubs, "FrozenContext", "record")[-2]
    else:
        assert "_Getitem" not in module_of(stubs, as_before)
        assert ["(self, key: str) -> Any"] == signatures(stubs, "Context", "__getitem__")


def test_every_name_is_bound(stubs: dict[str, ast.Module]) -> None:
    """Whatever the overloads name is imported or defined in the module that they are in."""
    for tree in stubs.values():
        used = {part.id for part in ast.walk(tree) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}
        bound = {part.id for part in ast.walk(tree) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
        for part in ast.walk(tree):
            if isinstance(part, ast.alias):
                bound.add((part.asname or part.name).partition(".")[0])
            elif isinstance(part, ast.ClassDef | ast.FunctionDef):
                bound.add(part.name)
        assert set() == used - bound - set(dir(builtins))
