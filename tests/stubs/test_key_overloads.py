"""The overloads by which stubs type keys and metrics. What checkers make of them tests/typing asks."""

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path

import pytest

import crystallize
from crystallize import StubsError
from crystallize._stubs.class_outline import outline
from crystallize._stubs.key_overloads import with_overloads
from crystallize._stubs.listings import Listing, listed
from crystallize._stubs.printer import printed

PACKAGE = Path(crystallize.__file__).parent
MODULES = ("_core/protocols", "_core/context", "_core/logging_context", "_core/metrics", "errors", "_branches/branch")


def outlines() -> dict[str, ast.Module]:
    return {name: outline((PACKAGE / f"{name}.py").read_text(encoding="utf-8")) for name in MODULES}


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> Listing:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "docs/examples"))
    return listed(["pipeline.schemas", "pipeline.tuning"])


@pytest.fixture
def texts(listing: Listing) -> dict[str, str]:
    return {name: printed(module) for name, module in with_overloads(outlines(), listing).items()}


def signatures(text: str, cls: str, method: str) -> list[str]:
    """Return how a method is declared in a class, an overload a line."""
    found = next(one for one in ast.parse(text).body if isinstance(one, ast.ClassDef) and one.name == cls)
    return [*_signatures(found, method)]


def _signatures(cls: ast.ClassDef, method: str) -> Iterator[str]:
    for one in cls.body:
        if isinstance(one, ast.FunctionDef) and one.name == method:
            marks = "".join(f"@{ast.unparse(mark)} " for mark in one.decorator_list)
            returns = "" if one.returns is None else ast.unparse(one.returns)
            yield f"{marks}({ast.unparse(one.args)}) -> {returns}"


def test_keys(texts: dict[str, str]) -> None:
    """There is an overload a key, to read it, to write it and to get it or a default."""
    protocols = texts["_core/protocols"]

    assert ["@overload (self, key: Literal['mean']) -> float"] == signatures(protocols, "_Scores_getitem", "__call__")[
        :1
    ]
    assert "@overload (self, key: Literal['lr'], value: float) -> None" in signatures(
        protocols, "_Train_setitem", "__call__"
    )
    assert "@overload (self, key: Literal['best_epoch'], default: _Default=...) -> int | None | _Default" in signatures(
        protocols, "_Train_get", "__call__"
    )
    # That of one key needs no mark, since it has no others.
    assert ["(self, key: Literal['depth']) -> int"] == signatures(protocols, "_Settings_getitem", "__call__")


def test_other_keys(texts: dict[str, str]) -> None:
    """A schema that allows more takes any other key after its own."""
    assert [
        "@overload (self, key: Literal['seed']) -> int",
        "@overload (self, key: str) -> Any",
    ] == signatures(texts["_core/protocols"], "_Loose_getitem", "__call__")


def test_no_keys(texts: dict[str, str]) -> None:
    """Of a schema without keys there is none that will do, and none to complete."""
    protocols = texts["_core/protocols"]

    assert ["(self, key: Never) -> Any"] == signatures(protocols, "_Nothing_getitem", "__call__")
    assert ["(self, key: Never, value: Any) -> None"] == signatures(protocols, "_Nothing_setitem", "__call__")
    assert ["(self, key: Never, default: _Default=...) -> Any | _Default"] == signatures(
        protocols, "_Nothing_get", "__call__"
    )
    assert not any("Nothing" in one for one in signatures(protocols, "_Getitem", "__call__"))


@pytest.mark.parametrize(
    ("changed", "count"),
    [
        ("(self, metric_name): ...", 0),
        ("(self): ...", 0),
        ("(self, metric_name: object) -> None: ...", 0),
        ("(self, metric_name: str) -> None: ...\n", 2),
    ],
)
def test_nowhere_for_metrics(listing: Listing, changed: str, count: int) -> None:
    """A method without the one signature that the overloads of metrics go before is an error, and is named."""
    source = f"class FrozenContext:\n    def record{changed}" + f"\n    def record{changed}"

    with pytest.raises(
        StubsError, match=f"FrozenContext: {count} signatures of 'record' take a metric's name as a tex"
    ):
        with_overloads({"context": ast.parse(source)}, listing)


def test_schemas(texts: dict[str, str]) -> None:
    """The schema of a context decides what takes its keys; a context of any other one takes all keys, as before."""
    reads = signatures(texts["_core/protocols"], "_Getitem", "__get__")

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
    writes = signatures(texts["_core/protocols"], "_Setitem", "__get__")
    assert "@overload (self, ctx: object, owner: Any) -> _FreeSetitem" == writes[-1]


def test_methods(texts: dict[str, str]) -> None:
    """The methods that take a key are typed in the protocol, from which all contexts have them."""
    assert ["@_as_getitem (self: Context[T_co], key: str) -> Any"] == signatures(
        texts["_core/protocols"], "Context", "__getitem__"
    )
    for method in ("__getitem__", "__setitem__", "get", "add"):
        assert signatures(texts["_core/protocols"], "Context", method)
        assert [] == signatures(texts["_core/context"], "FrozenContext", method)
        assert [] == signatures(texts["_core/logging_context"], "LoggingContext", method)
    assert "class FrozenContext(Context[T_co], Generic[T_co]):" in texts["_core/context"]
    assert "from crystallize._core.protocols import Context\n" in texts["_core/context"]


def test_metrics(texts: dict[str, str]) -> None:
    """There is an overload a metric's name, of each way to be declared, before the one that takes any name."""
    records = signatures(texts["_core/context"], "FrozenContext", "record")

    assert [
        "@overload (self, metric_name: Literal['accuracy'], value: float, tags: _pipeline_schemas.FoldTags) -> None",
        "@overload (self, metric_name: Literal['loss'], value: float, tags: None=None) -> None",
        "@overload (self, metric_name: Literal['loss'], value: float, tags: _pipeline_schemas.EpochTags) -> None",
        "@overload (self, metric_name: Literal['rows'], value: int, tags: None=None) -> None",
        "@overload (self, metric_name: str, value: Any, tags: Mapping[str, Any] | None=None) -> None",
    ] == sorted(records[2:], key=lambda one: (" str" in one, one))
    assert records[2:] == signatures(texts["_core/protocols"], "Context", "record")[2:]
    assert "@overload (self, key: Literal['rows']) -> tuple[int, ...]" in signatures(
        texts["_core/metrics"], "FrozenMetrics", "__getitem__"
    )
    tags = signatures(texts["_core/metrics"], "FrozenMetrics", "get_tags")
    assert {
        "@overload (self, key: Literal['accuracy']) -> tuple[dict[str, Any], ...]",
        "@overload (self, key: Literal['loss']) -> tuple[_pipeline_schemas.EpochTags | dict[str, Any], ...]",
        "@overload (self, key: Metric[Any, Any] | str) -> tuple[dict[str, Any], ...]",
    } <= {*tags}
    assert "@overload (self, key: Metric[Any, Any] | str) -> tuple[dict[str, Any], ...]" == tags[-1]
    assert "@overload (self, metric: Literal['rows']) -> Series[int, None]" in signatures(
        texts["_core/metrics"], "FrozenMetrics", "series"
    )


def test_what_is_not_typed_stays(texts: dict[str, str]) -> None:
    """Other modules and classes are as they would be without any schema."""
    before = {name: printed(module) for name, module in outlines().items()}

    assert before["errors"] == texts["errors"]
    assert before["_branches/branch"] == texts["_branches/branch"]
    assert signatures(before["_core/metrics"], "Series", "add") == signatures(texts["_core/metrics"], "Series", "add")


@pytest.mark.parametrize(("part", "as_before"), [("schemas", "_core/metrics"), ("metrics", "_core/protocols")])
def test_one_of_two(listing: Listing, part: str, as_before: str) -> None:
    """Where there are schemas alone, or metrics alone, the rest stays as it is."""
    empty: Listing = Listing([], [], [], listing.imports)._replace(**{part: getattr(listing, part)})
    texts = {name: printed(module) for name, module in with_overloads(outlines(), empty).items()}

    before = printed(outlines()[as_before])
    if part == "schemas":
        assert before == texts[as_before]
        assert "Literal[" not in signatures(texts["_core/context"], "FrozenContext", "record")[-2]
    else:
        assert "_Getitem" not in texts["_core/protocols"]
        assert ["(self, key: str) -> Any"] == signatures(texts["_core/protocols"], "Context", "__getitem__")


def test_every_name_is_bound(texts: dict[str, str]) -> None:
    """Whatever the overloads name is imported or defined in the module that they are in."""
    for text in texts.values():
        tree = ast.parse(text)
        used = {part.id for part in ast.walk(tree) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}
        bound = {part.id for part in ast.walk(tree) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
        for part in ast.walk(tree):
            if isinstance(part, ast.alias):
                bound.add((part.asname or part.name).partition(".")[0])
            elif isinstance(part, ast.ClassDef | ast.FunctionDef):
                bound.add(part.name)
        assert set() == used - bound - set(dir(builtins))
