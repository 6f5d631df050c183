"""How types are written in a stub."""

import collections
import datetime
import enum
import re
import sys
import types
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Generic, List, Literal, NewType, Optional, Required, Tuple, TypeVar, Union  # noqa: UP035

import numpy as np
import pytest
import typing_extensions
from numpy.typing import NDArray
from pydantic import BaseModel, PositiveFloat, SecretStr
from sklearn.linear_model import SGDClassifier
from typing_extensions import TypeAliasType

from crystallize import SchemaError
from crystallize._stubs.type_names import ImportPath, TypeNames

T = TypeVar("T")
B = TypeVar("B", bound=int)
P = typing_extensions.ParamSpec("P")
Ts = typing_extensions.TypeVarTuple("Ts")
UserId = NewType("UserId", int)
Names = TypeAliasType("Names", list[str])
ME = "_tests_stubs_test_type_names"


class Color(enum.Enum):
    RED = 1


class ReadOnly(Generic[T]):
    """Called as what only says something about a type."""


class Box(BaseModel, Generic[T]):
    item: T

    class Lid(BaseModel):
        closed: bool


def _sequence_of(item: Any) -> Any:
    return Sequence[item]


def written(shape: Any, **options: Any) -> str:
    return TypeNames().of(shape, **options)


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (int, "int"),
        (None, "None"),
        (type(None), "None"),
        (Any, "Any"),
        (Optional[int], "int | None"),  # noqa: UP045
        (Union[int, str, None], "int | str | None"),  # noqa: UP007
        (int | str, "int | str"),
        (list[int], "list[int]"),
        (List, "list"),  # noqa: UP006
        (tuple[()], "tuple[()]"),
        (Tuple, "tuple"),  # noqa: UP006
        (tuple, "tuple"),
        (tuple[int, ...], "tuple[int, ...]"),
        (dict[str, list[int | None]], "dict[str, list[int | None]]"),
        (Callable[[int, str], bool], "_collections_abc.Callable[[int, str], bool]"),
        (typing.Callable[..., None], "_collections_abc.Callable[..., None]"),
        (Hashable, "_collections_abc.Hashable"),
        (Mapping[str, Any], "_collections_abc.Mapping[str, Any]"),
        (re.Pattern[str], "_re.Pattern[str]"),
        (collections.Counter[str], "_collections.Counter[str]"),
        (Literal["a", 1, True], "Literal['a', 1, True]"),
        (Literal[Color.RED], f"Literal[{ME}.Color.RED]"),
        (PositiveFloat, "float"),
        (list[Annotated[int, "more than nothing"]], "list[int]"),
        (Final[int], "int"),
        (Required[int], "int"),
        (typing.Never, "_typing.Never"),
        (type[int], "type[int]"),
        (datetime.date, "_datetime.date"),
        (Path, "_pathlib.Path"),
        (SecretStr, "_pydantic_types.SecretStr"),
        (np.float32, "_numpy.float32"),
        (NDArray[np.int64], "_numpy.ndarray[tuple[Any, ...], _numpy.dtype[_numpy.int64]]"),
        (Box[int], f"{ME}.Box[int]"),
        (Box[list[str]], f"{ME}.Box[list[str]]"),
        (Box, f"{ME}.Box"),
        (ReadOnly[int], f"{ME}.ReadOnly[int]"),
        (typing_extensions.ReadOnly[int], "int"),
        (Box.Lid, f"{ME}.Box.Lid"),
        (UserId, f"{ME}.UserId"),
        (types.ModuleType, "_types.ModuleType"),
        (types.FunctionType, "_types.FunctionType"),
        (types.CodeType, "_types.CodeType"),
        (typing.Self, "_typing.Self"),
        (Names, f"{ME}.Names"),
        (TypeAliasType("Local", list[str]), "list[str]"),
        (T, "Any"),
        (_sequence_of(B), "_collections_abc.Sequence[int]"),
    ],
)
def test_types(shape: Any, text: str) -> None:
    """A type is written as code has it, with a name for each module, and without what only Pydantic reads."""
    assert text == written(shape)


def test_variables() -> None:
    """A type variable is called what it is said to be called."""
    assert "_collections_abc.Sequence[_Box_T]" == written(_sequence_of(T), names={T: "_Box_T"})


def test_names_of_modules() -> None:
    """Each module has a name of its own, whatever it is called."""
    names = TypeNames()
    paths = [ImportPath("a.b", "X"), ImportPath("a_b", "X"), ImportPath("a.b", "Y.Z"), ImportPath("builtins", "int")]

    assert ["_a_b.X", "_a_b_2.X", "_a_b.Y.Z", "int"] == [names.name(path) for path in paths]
    assert {"a.b": "_a_b", "a_b": "_a_b_2"} == names.imports()


def test_imports_as_the_module_does() -> None:
    """What a module imports by name is imported from there, and not from where it happens to be defined."""
    names, here = TypeNames(), [sys.modules[__name__]]
    assert ImportPath("sklearn.linear_model", "SGDClassifier") == names.path(SGDClassifier, here)
    assert ImportPath("numpy", "int64") == names.path(np.int64, here)
    # What is hidden is imported from the package that shows it.
    assert "_sklearn_linear_model.SGDClassifier" == written(SGDClassifier)


def test_modules_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a module that has no file nothing is known but what is in it."""
    module = type(sys)("typed_by_hand")
    exec("class A: pass", vars(module))
    monkeypatch.setitem(sys.modules, "typed_by_hand", module)

    assert "_typed_by_hand.A" == written(vars(module)["A"], modules=[module])


def test_relative_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative import is of the module that it leads to; what is imported and gone is no matter."""
    (tmp_path / "of_tests").mkdir()
    (tmp_path / "of_tests/__init__.py").write_text("from ._inner import A\n")
    (tmp_path / "of_tests/_inner.py").write_text("class A: ...\nclass B: ...\n")
    (tmp_path / "of_tests/outer.py").write_text(
        "from . import A as C, _inner\nfrom ._inner import B\nimport os\n_inner = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from of_tests import outer  # type: ignore[import-not-found]  # just written

    assert "_of_tests.A" == written(outer.C, modules=[outer])
    assert "_of_tests__inner.B" == written(outer.B, modules=[outer])
    assert "_of_tests.A" == written(outer.C)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        (type("Hidden", (), {}), "its module has no such name"),
        (list["Forward"], "'Forward': no stub can write it: it is a text in place of a type"),  # type: ignore[name-defined]  # noqa: F821  # on purpose
        (typing.List["Forward"], "'Forward': no stub can write it"),  # type: ignore[name-defined]  # noqa: F821, UP006
        (3, "3: no stub can import it"),
        (Callable[P, int], "~P: no stub can write a ParamSpec; write the types, or `...`"),
        (_sequence_of(Ts), "Ts: no stub can write a TypeVarTuple; write the types, or `...`"),
        (type({}.keys()), "dict_keys: no stub can import it: its module has no such name"),
    ],
)
def test_what_cannot_be_written(shape: Any, told: str) -> None:
    """What nothing can import is refused, with the reason."""
    with pytest.raises(SchemaError) as caught:
        written(shape)

    assert told in str(caught.value)


def test_made_in_a_function() -> None:
    """A class that a function makes has no place."""

    class Local: ...

    with pytest.raises(SchemaError, match="it is made in a function; define it at the top of a module"):
        written(list[Local])
