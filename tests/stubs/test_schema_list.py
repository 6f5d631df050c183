"""Which schemas modules declare, and what is known of them."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from crystallize import StubsError
from crystallize._stubs.schema_list import SchemaList, list_schemas

HEAD = """
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, Optional, ParamSpec, TypeVar
from pydantic import BaseModel, ConfigDict, RootModel
from typing_extensions import NotRequired, TypedDict
from crystallize import Metric, MetricSchema, Output, Shared
"""
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules that can be imported, and forget them."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(source: str, name: str = "of_a_user") -> str:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(HEAD + dedent(source))
        return name

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("of_"):
            del sys.modules[name]


def found(listing: SchemaList) -> dict[str, dict[str, str]]:
    """Return the keys of each schema, with their types."""
    assert [] == listing.refused
    return {schema.name: schema.keys for schema in listing.schemas}


def test_each_kind(write: Write) -> None:
    """Models, TypedDicts and dataclasses are listed, with the types of their keys as they were written."""
    name = write(
        """
        class Train(BaseModel):
            lr: Annotated[float, "a number"]
            epochs: int = 3
            best: Annotated[int | None, Output] = None
            later: "Node"

        class Node(BaseModel):
            children: "list[Node]" = []

        class Service(TypedDict):
            host: str
            mirrors: NotRequired["list[Service]"]

        @dataclass
        class Scores:
            mean: "Optional[float]"
        """
    )

    assert {
        "Node": {"children": "list[_of_a_user.Node]"},
        "Train": {"lr": "float", "epochs": "int", "best": "int | None", "later": "_of_a_user.Node"},
        "Scores": {"mean": "float | None"},
        "Service": {"host": "str", "mirrors": "list[_of_a_user.Service]"},
    } == found(list_schemas([name]))


def test_what_is_no_schema(write: Write) -> None:
    """Bases without keys, TypedDicts without, inputs, what others declare and the tags of metrics are not listed."""
    name = write(
        """
        from of_others import Other
        from crystallize import inputs_of

        class Base(BaseModel): ...
        class Derived(Base): ...
        class Items(TypedDict): ...
        class Root(RootModel[int]): ...
        class Tags(TypedDict):
            fold: int
        class Metrics(MetricSchema):
            loss = Metric(float, tags=Tags)
        class Plain:
            class Within(BaseModel):
                x: int
        PlainInputs = inputs_of(Plain.Within)
        Numbers = list[int]
        class Homeless:
            __module__ = None
        """
    )
    write("class Other(BaseModel):\n    x: int", "of_others")

    listing = list_schemas([name])

    assert {"Plain_Within": {"x": "int"}, "Derived": {}} == found(listing)
    assert [] == listing.refused


def test_self(write: Write) -> None:
    """`Self` is the schema, with its type variables, also where it comes from a base."""
    name = write(
        """
        from typing import Self
        T = TypeVar("T")

        class Node(BaseModel):
            above: Optional[Self] = None
        class Leaf(Node): ...
        class Box(BaseModel, Generic[T]):
            within: "list[Self]"
        """
    )

    assert {
        "Leaf": {"above": "_of_a_user.Leaf | None"},
        "Node": {"above": "_of_a_user.Node | None"},
        "Box": {"within": "list[_of_a_user.Box[_Box_T]]"},
    } == found(list_schemas([name]))


def test_made_by_a_call(write: Write) -> None:
    """What type checkers take for a variable is left out, with the reason; a TypedDict with all keys stays."""
    name = write(
        """
        from dataclasses import make_dataclass
        from pydantic import create_model
        if True:
            class Train(BaseModel):
                lr: float
        def helper():
            class Within: ...
        class Outer:
            Model = create_model("Outer.Model", a=(int, 3))
        Model = create_model("Model", a=(int, 3))
        Data = make_dataclass("Data", [("x", int)])
        Items = TypedDict("Items", {"a": int})
        ITEMS = {"a": int}
        Computed = TypedDict("Computed", ITEMS)
        """
    )
    listing = list_schemas([name])

    assert {"Train", "Items"} == {schema.name for schema in listing.schemas}
    reasons = {refusal.schema: refusal.reason for refusal in listing.refused}
    assert {f"of_a_user.{qualname}" for qualname in ("Model", "Outer.Model", "Data", "Computed")} == set(reasons)
    told = "to type checkers it is no class: no `class` statement in its module makes it; write one in place of"
    assert f"{told} `create_model` or the like" == reasons["of_a_user.Model"] == reasons["of_a_user.Data"]
    assert f"{told} the call, or its keys in the call" == reasons["of_a_user.Computed"]


def test_package(write: Write) -> None:
    """Of a package those schemas of its modules are listed that it hands on."""
    write("from .inner import A", "of_package.__init__")
    write("class A(BaseModel):\n    x: int\nclass B(A): ...", "of_package.inner")

    assert {"A": {"x": "int"}} == found(list_schemas(["of_package"]))


def test_package_that_hands_on(write: Write) -> None:
    """A package hands on what its `__init__` imports from beside it, and from elsewhere what is in `__all__`."""
    write("class A(BaseModel):\n    x: int", "of_others")
    write("class B(BaseModel):\n    y: int", "of_package.beside")
    write("", "of_package.__init__")
    write("class C(BaseModel):\n    z: int", "of_third")
    (Path(sys.path[0]) / "of_package/inner").mkdir()
    write(
        """
        from of_others import A
        from of_third import C
        from ..beside import B
        __all__ = ["A", "B", "BaseModel", "MetricSchema"]
        """,
        "of_package.inner.__init__",
    )

    listing = list_schemas(["of_package.inner"])
    assert {"A": {"x": "int"}, "B": {"y": "int"}} == found(listing)
    assert {"of_others.A", "of_package.beside.B"} == {schema.full_name for schema in listing.schemas}


def test_subclasses_come_first(write: Write) -> None:
    """A schema comes before those that it is made of, whose overloads would do for it too."""
    name = write(
        """
        class A(BaseModel):
            x: int
        class B(A):
            y: int
        class C(B): ...
        class Small(TypedDict):
            x: int
        class Large(TypedDict):
            x: int
            y: int
        """
    )

    names = [*found(list_schemas([name]))]
    assert ["C", "B", "A"] == [name for name in names if len(name) == 1]
    assert ["Large", "Small"] == [name for name in names if len(name) > 1]


def test_two_of_one_name(write: Write) -> None:
    """Two schemas of one name are told apart, whatever the order in which their modules are given."""
    first, second = (
        write("class A(BaseModel):\n    x: int", "of_one"),
        write("class A(BaseModel):\n    y: int", "of_other"),
    )

    expected = {"A": {"x": "int"}, "A_2": {"y": "int"}}
    assert expected == found(list_schemas([first, second, first])) == found(list_schemas([second, first]))


def test_generics(write: Write) -> None:
    """A generic schema has type variables of its own, with the bounds that they have."""
    name = write(
        """
        T = TypeVar("T")
        B = TypeVar("B", bound=int)
        C = TypeVar("C", int, str)

        class Lid(BaseModel, Generic[T]):
            x: T
        class Box(BaseModel, Generic[T]):
            items: list[T]
            next: "Box[T] | None" = None
            lid: "Lid[T] | None" = None
        Numbers = Box[int]
        class Pair(TypedDict, Generic[B, C]):
            b: B
            c: C
        """
    )
    schemas = {schema.name: schema for schema in list_schemas([name]).schemas}

    assert {
        "items": "list[_Box_T]",
        "next": "_of_a_user.Box[_Box_T] | None",
        "lid": "_of_a_user.Lid[_Box_T] | None",
    } == schemas["Box"].keys
    assert ["_typing_extensions.TypeVar('_Box_T')"] == [*schemas["Box"].parameters.values()]
    assert {"b": "_Pair_B", "c": "_Pair_C"} == schemas["Pair"].keys
    assert {
        "_Pair_B": "_typing_extensions.TypeVar('_Pair_B', bound=int)",
        "_Pair_C": "_typing_extensions.TypeVar('_Pair_C', int, str)",
    } == schemas["Pair"].parameters


def test_takes_others(write: Write) -> None:
    """It is known whether a schema allows keys that it does not declare."""
    name = write(
        """
        class Loose(BaseModel, extra="allow"):
            x: int
        class Strict(BaseModel):
            x: int
        """
    )

    assert {"Loose": True, "Strict": False} == {
        schema.name: schema.takes_others for schema in list_schemas([name]).schemas
    }


def test_metrics(write: Write) -> None:
    """The metrics of all schemas are listed by name, those of a base once, those of one name with all their types."""
    name = write(
        """
        class Tags(TypedDict):
            fold: int
        class Model(BaseModel):
            epoch: int
        class Base(MetricSchema):
            loss = Metric(float, tags=Tags)
        class More(Base):
            score = Metric(Annotated[int, "a number"], tags=Model)
        class Other(MetricSchema):
            loss = Metric(float)
            score = Metric(int, tags=Model)
        """
    )
    metrics = {metric.name: [metric.values, metric.tags, metric.kept] for metric in list_schemas([name]).metrics}

    assert {
        "loss": [["float", "float"], ["_of_a_user.Tags", "None"], ["_of_a_user.Tags", "dict[str, Any]"]],
        "score": [["int"], ["_of_a_user.Model"], ["dict[str, Any]"]],
    } == metrics


def test_one_that_cannot_be_written(write: Write) -> None:
    """A schema that no stub can be written of says why, and does not stop the others."""
    name = write(
        """
        P = ParamSpec("P")

        def made():
            class Hidden: ...
            class Local(BaseModel):
                x: int
            return Hidden, Local

        Hidden, Local = made()

        class Good(BaseModel):
            x: int
        class Bad(BaseModel, arbitrary_types_allowed=True):
            x: Hidden
        class Lost(BaseModel):
            x: "Nowhere"
        class Many(Generic[P]): ...
        @dataclass
        class Odd(Many[P]):
            x: int
        class Metrics(MetricSchema):
            worse = Metric(Hidden)
        """
    )
    listing = list_schemas([name])
    local = "of_a_user.made.<locals>.Local"

    assert ["Good"] == [schema.name for schema in listing.schemas]
    assert [] == listing.metrics
    reasons = {refusal.schema: refusal.reason for refusal in listing.refused}
    assert {"of_a_user.Bad", "of_a_user.Lost", "of_a_user.Odd", "Metrics.worse", local} == set(reasons)
    assert "it is made in a function; define it at the top of a module" in reasons[local]
    assert "it refers to 'Nowhere', which is not defined" in reasons["of_a_user.Lost"]
    assert "of the type of 'x', of_a_user.made.<locals>.Hidden: no stub can import it" in reasons["of_a_user.Bad"]
    assert "it is generic in ~P, which is no TypeVar" == reasons["of_a_user.Odd"]
    assert "it is made in a function" in reasons["Metrics.worse"]


def test_annotations_that_raise(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a class raises when it is looked at is said of that class."""
    name = write(
        """
        class Good(BaseModel):
            x: int
        @dataclass
        class Raises:
            x: "1 / 0"
        """
    )
    (refused,) = list_schemas([name]).refused

    assert ("of_a_user.Raises", "ZeroDivisionError: division by zero") == refused


def test_none_that_can_be_written(write: Write) -> None:
    """Where no stub can be written of any schema, that is an error, which says why of each."""
    name = write("class Lost(BaseModel):\n    x: 'Nowhere'")

    with pytest.raises(StubsError, match=r"of any schema there: of_a_user.Lost: it refers to 'Nowhere'"):
        list_schemas([name])


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("of_a_usr", "of_a_usr: there is no module 'of_a_usr'; did you mean 'of_a_user'?"),
        (
            "of_package.scemas",
            "of_package.scemas: there is no module 'of_package.scemas'; did you mean 'of_package.schemas'?",
        ),
        ("of_a_user.inner", "of_a_user.inner: there is no module 'of_a_user.inner'; run this where"),
        ("qqqqqqqqqqqq", "qqqqqqqqqqqq: there is no module 'qqqqqqqqqqqq'; run this where `import qqqqqqqqqqqq` works"),
        ("qqqqqqqqqqqq.py", "there is no such module; write its name, as in an import, and not its path"),
        ("src/qqqqqqqqqqqq", "there is no such module; write its name, as in an import, and not its path"),
        ("of_raising", "of_raising: its import fails: ValueError: no such file"),
        ("of_leaving", "of_leaving: its import fails: SystemExit: 3"),
        ("of_needing", "of_needing: its import fails: No module named 'torch_of_tests'"),
        ("of_nothing", "of_nothing: it declares no Pydantic model, TypedDict, dataclass or MetricSchema"),
        (".relative", ".relative: its import fails: TypeError"),
    ],
)
def test_modules_that_will_not_do(write: Write, module: str, told: str) -> None:
    """What is wrong with a module is said, and what was probably meant."""
    write("class A(BaseModel):\n    x: int")
    write("", "of_package.__init__")
    write("", "of_package.schemas")
    write("raise ValueError('no such\\nfile')", "of_raising")
    write("raise SystemExit(3)", "of_leaving")
    write("import torch_of_tests", "of_needing")
    write("x = 3", "of_nothing")

    with pytest.raises(StubsError) as caught:
        list_schemas([module])

    assert told in str(caught.value)
    assert module == caught.value.subject
