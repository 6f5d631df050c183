"""A sink may limit the size of values and artifacts; what is larger is refused before the context changes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
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
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(10**3000),
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
