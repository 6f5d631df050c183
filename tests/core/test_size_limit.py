"""A sink may limit the size of values and artifacts; what is larger is refused before the context changes."""

import signal
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from unittest.mock import MagicMock, Mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from crystallize import BranchContext, FrozenContext, LimitedSink, TooLargeError, fork, merge
from crystallize._core.codec import any_key, encode
from crystallize._core.size_limit import size_bound
from crystallize.sinks.memory import MemorySink


class Small(MemorySink):
    largest = 1000


class Roomy(MemorySink):
    largest = 10_000


class Free(BaseModel):
    model_config = ConfigDict(extra="allow")
    text: str


@dataclass
class Plain:
    text: str


def test_values_and_artifacts() -> None:
    """A value that fits is written, and one that does not is an error with the limit, the size and a way out."""
    ctx = FrozenContext(sinks=[small := Small()])
    assert isinstance(small, LimitedSink)
    assert not isinstance(MemorySink(), LimitedSink)
    ctx["fits"] = "x" * 998
    with pytest.raises(TooLargeError) as caught:
        ctx["text"] = "x" * 999
    text = "cannot take 'text': it has 1,001 bytes, and Small takes at most 1,000; write it to a file and keep the path"
    assert str(caught.value).startswith(text)
    for large in (
        ["x" * 500] * 3,
        {"a": "x" * 2000},
        np.zeros(200),
        Free.model_validate({"text": "", "more": "x" * 2000}),
    ):
        with pytest.raises(TooLargeError):
            ctx["large"] = large
    ctx["arrays"] = [np.zeros(50)] * 10  # each fits
    ctx.artifacts.add("fits", bytes(1000))
    with pytest.raises(TooLargeError, match=r"artifact .large.: it has 1,001 bytes"):
        ctx.artifacts.add("large", bytes(1001))
    assert (["fits", "arrays"], ["fits"]) == ([*ctx], [artifact.name for artifact in ctx.artifacts])
    assert 3 == len(small.events)


@pytest.mark.parametrize("what", ["value", "artifact"])
def test_work_of_a_branch(what: str) -> None:
    """A branch whose work is too large for a sink of the parent is not merged."""
    ctx = FrozenContext(sinks=[small := Small()])
    child: BranchContext[dict[str, Any]] = fork(ctx, "fold").open()
    if what == "value":
        child["large"] = "x" * 2000
    else:
        child.artifacts.add("large", bytes(2000))
    with pytest.raises(TooLargeError, match="'large'"):
        merge(ctx, child.delta())
    assert ([], [], 1) == ([*ctx], [*ctx.artifacts], len(small.events))  # the fork


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.just(10**3000)
    | st.datetimes(timezones=st.timezones()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(VALUES | st.builds(Free, text=st.text(), more=VALUES) | st.builds(Plain, st.text()))
def test_bound(value: Any) -> None:
    """The bound is never below the size, so that a value that is too large is always seen."""
    assert len(encode(any_key(), value).json) <= size_bound(value, 1 << 60)


@given(VALUES, st.integers(0, 1000))
def test_bound_stops_early(value: Any, enough: int) -> None:
    """Once it is above the limit, it does not matter by how much."""
    whole = size_bound(value, 1 << 60)
    assert (whole > enough) == (size_bound(value, enough) > enough)


class Odd:
    """An object whose attributes and length are not to be asked for."""

    @property
    def nbytes(self) -> int:
        raise OSError

    def __getattr__(self, name: str) -> Any:
        raise OSError

    def __len__(self) -> int:
        raise OSError


class OddList(list[Any]):
    def __radd__(self, other: Any) -> Any:
        raise OSError

    def __iter__(self) -> Any:
        raise OSError


class OddText(str):
    __slots__ = ()

    def __len__(self) -> int:
        raise OSError


class WithSlots:
    __slots__ = ("empty", "text")

    def __init__(self, text: str) -> None:
        self.text = text


def in_itself() -> Any:
    whole: list[Any] = []
    whole += [whole, whole]
    return whole


def as_text_of_size() -> Any:
    odd: Any = Odd()
    vars(odd)["nbytes"] = "many"
    return odd


ODD: dict[str, Callable[[], Any]] = {
    "a type": lambda: np.float32,
    "its own type": lambda: Odd,
    "a module": lambda: sys,
    "a property that raises": Odd,
    "a text as its size": as_text_of_size,
    "a list that is odd": lambda: OddList([1, OddText("text")]),
    "slots": lambda: WithSlots("text"),
    "a mock": MagicMock,
    "a mock of a list": lambda: Mock(spec=list),
    "an object in itself": in_itself,
    "a masked array": lambda: np.ma.masked_array([1, 2], [True, False]),
    "labels of two levels": lambda: pd.MultiIndex.from_product([["a", "b"], [1, 2]]),
    "labels of categories": lambda: pd.CategoricalIndex(["a", "b", "a"]),
    "a frame with that column": lambda: pd.DataFrame({"nbytes": ["a"]}),
    "a sparse tensor": type("Tensor", (Odd,), {"__module__": "torch"}),
}


@pytest.mark.parametrize("what", ODD)
def test_any_object(what: str) -> None:
    """The bound runs no code of a class, so that it never fails, and it ends."""
    assert 32 <= size_bound({"value": ODD[what]()}, 1 << 60) < 100_000


@pytest.mark.parametrize(
    "what",
    [
        "a type",
        "a masked array",
        "labels of two levels",
        "labels of categories",
        "a frame with that column",
    ],
)
def test_written_with_a_limit(what: str) -> None:
    """A value that a context takes without a sink is also taken by one whose sink has a limit."""
    value = {"value": ODD[what]()}
    FrozenContext()["key"] = value
    ctx = FrozenContext(sinks=[Roomy()])
    ctx["key"] = value
    assert "key" in ctx


def test_contents_of_any_object() -> None:
    """Slots, attributes and the items of any container count, and the size of an array."""
    text = "x" * 2000
    for large in (WithSlots(text), deque([text]), OddList([text]), OddText(text), MappingProxyType({text: 1})):
        assert size_bound([large], 1 << 60) > 2000
    assert size_bound(np.zeros(1000), 1 << 60) >= 8000
    shared = [text]
    assert size_bound([shared, shared], 1 << 60) > 2 * size_bound(shared, 1 << 60)


def test_signal_handler_in_nbytes() -> None:
    """An exception of a signal handler comes out, also while a size is asked for."""

    class Slow(np.ndarray[Any, Any]):
        @property
        def nbytes(self) -> int:
            signal.raise_signal(signal.SIGUSR1)
            return 0

    def end(number: int, frame: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGUSR1, end)
    try:
        with pytest.raises(TimeoutError):
            size_bound(np.zeros(1).view(Slow), 1000)
    finally:
        signal.signal(signal.SIGUSR1, before)
