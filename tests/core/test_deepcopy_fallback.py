"""Deep copies: a class's own way to be copied meets real parts, and errors name types of the program."""

import copy
import re
import threading
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from pydantic import BaseModel

from crystallize import FrozenContext, UncopyableValueError, register


class Held:
    """A type of its own, which only its registered functions copy."""

    def __init__(self, items: list[int]) -> None:
        self.items = items
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.items)


register(Held, freeze=lambda value: [*value.items], thaw=lambda kept: Held([*kept]))

PARTS: dict[str, Callable[[], Any]] = {
    "pandas": lambda: pd.DataFrame({"a": [1, 2]}),
    "polars": lambda: pl.DataFrame({"a": [1, 2]}),
    "numpy": lambda: np.array([1, 2]),
    "registered": lambda: Held([1, 2]),
}


class WithDeepCopy:
    def __init__(self, part: Any) -> None:
        self.part, self.rows = part, len(part)

    def __deepcopy__(self, memo: dict[int, Any]) -> "WithDeepCopy":
        return WithDeepCopy(copy.deepcopy(self.part, memo))


class WithReduce:
    def __init__(self, part: Any) -> None:
        self.part, self.rows = part, len(part)

    def __reduce__(self) -> Any:
        return WithReduce, (self.part,)


class WithSetState:
    def __init__(self, part: Any) -> None:
        self.part, self.rows = part, len(part)

    def __getstate__(self) -> Any:
        return {"part": self.part}

    def __setstate__(self, state: Any) -> None:
        self.part, self.rows = state["part"], len(state["part"])


class CheckingDict(dict[str, Any]):
    def __setitem__(self, name: str, part: Any) -> None:
        if len(part) != 2:
            raise TypeError(f"{name} should have two rows")
        super().__setitem__(name, part)

    @property
    def part(self) -> Any:
        return self["x"]


class CheckingList(list[Any]):
    def append(self, part: Any) -> None:
        if len(part) != 2:
            raise TypeError("should have two rows")
        super().append(part)

    def extend(self, parts: Any) -> None:
        for part in parts:
            self.append(part)

    @property
    def part(self) -> Any:
        return self[0]


def checking_dict(part: Any) -> CheckingDict:
    holder = CheckingDict()
    holder["x"] = part
    return holder


def checking_list(part: Any) -> CheckingList:
    holder = CheckingList()
    holder.append(part)
    return holder


HOLDERS = [WithDeepCopy, WithReduce, WithSetState, checking_dict, checking_list]


def spoil(part: Any) -> None:
    if isinstance(part, Held):
        part.items[0] = 9
    elif isinstance(part, pd.DataFrame):
        part.loc[0, "a"] = 9
    elif isinstance(part, pl.DataFrame):
        part[0, "a"] = 9
    else:
        part[0] = 9


def shown(part: Any) -> str:
    return f"{part.items}" if isinstance(part, Held) else f"{type(part)} {part}"


@pytest.mark.parametrize("make", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("hold", HOLDERS)
def test_own_way_to_be_copied(make: Callable[[], Any], hold: Callable[[Any], Any]) -> None:
    """A class that is copied its own way finds in itself the parts that it had, also if they are registered."""
    value = hold(make())
    ctx = FrozenContext({"x": value, "in": [value, value]})
    spoil(value.part)

    readers: list[Callable[[], Any]] = [lambda: ctx["x"], lambda: ctx["in"][1]]
    for read in readers:
        assert type(value) is type(read())
        spoil(read().part)
        assert shown(make()) == shown(read().part)
        assert 2 == len(read().part)


def test_own_way_without_the_memo() -> None:
    """A class may copy its parts without the memo of `copy.deepcopy`."""

    class Careless:
        def __init__(self, part: Any) -> None:
            self.part = part

        def __deepcopy__(self, memo: dict[int, Any]) -> "Careless":
            return Careless(self.part.copy())

    value = Careless(pd.DataFrame({"a": [1, 2]}))
    ctx = FrozenContext({"x": value})
    for holder in (value, ctx["x"]):
        spoil(holder.part)

    assert [1, 2] == ctx["x"].part["a"].tolist()


@pytest.mark.parametrize(
    "make",
    [
        lambda: pd.DataFrame({"a": [1, 1], "b": [1, 2]}).groupby("a"),
        lambda: pd.DataFrame({"b": [1, 2]}).rolling(2),
        lambda: pl.DataFrame({"a": [1, 1], "b": [1, 2]}).group_by("a"),
    ],
    ids=["groupby", "rolling", "polars"],
)
def test_views_of_frames(make: Callable[[], Any]) -> None:
    """A grouping or a window of a frame is copied with its frame."""
    found = FrozenContext({"x": make()})["x"]

    assert str(make().sum()) == str(found.sum())


class Fussy:
    """Refuses to be copied, beside a part that can be."""

    def __init__(self, part: Any) -> None:
        self.part = part

    def __deepcopy__(self, memo: Any) -> Any:
        raise ValueError("no copies today")


@pytest.mark.parametrize("make", PARTS.values(), ids=PARTS)
def test_the_error_names_the_programs_own_type(make: Callable[[], Any]) -> None:
    """If a class refuses to be copied, the error names that class, and nothing from within its parts."""
    with pytest.raises(UncopyableValueError) as caught:
        FrozenContext()["x"] = [{"a": Fussy(make())}]

    assert f"{__name__}.Fussy" == caught.value.type
    assert not re.search("PyDataFrame|StandIn", str(caught.value))


# Read-only mappings.


class Model(BaseModel):
    options: Any = None


def test_read_only_mapping() -> None:
    """A read-only mapping is kept as a dict, at any depth, and apart from the dict behind it."""
    behind = {"a": [1], "b": 2}
    view, part = MappingProxyType(behind), [0]
    ctx = FrozenContext({"x": view, "in": [(view,)], "model": Model(options=view), "twice": [view, view, part, part]})
    behind["a"].append(2)  # type: ignore[attr-defined]  # it is the list
    behind["c"] = 3
    readers: list[Callable[[], Any]] = [
        *(lambda: ctx["x"], lambda: ctx["in"][0][0], lambda: ctx["model"].options, lambda: ctx["twice"][1]),
    ]
    for read in readers:
        read()["a"].append(3)
        assert {"a": [1], "b": 2} == read()
        assert dict is type(read())
    first, second, *_ = ctx["twice"]
    assert first is second


class Key:
    def __init__(self, options: Any) -> None:
        self.options = options


def test_read_only_mapping_in_itself() -> None:
    """A read-only mapping that contains itself, in an object, comes back as a dict that does."""
    behind: dict[str, Any] = {}
    behind["me"] = Key(MappingProxyType(behind))
    found = FrozenContext({"x": MappingProxyType(behind)})["x"]

    assert found["me"].options["me"] is found["me"]
