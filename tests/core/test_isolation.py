"""Isolation: a value of any kind, within any other, is what was written, whoever changes what they can reach."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings

from crystallize import FrozenContext

from .nested_values import PARTS, WRAPS, Recipe, built, recipes, shown, spoil


@settings(deadline=None)
@given(recipes(*PARTS))
def test_isolation(recipe: Recipe) -> None:
    """Neither the writer nor a reader changes what the next reader gets: of a key, through a step, or in a copy."""
    value, expected = built(recipe), shown(built(recipe))
    ctx = FrozenContext({"x": value})
    spoil(value)
    with ctx.step("reads") as step:
        readers: list[Callable[[], Any]] = [
            *(lambda: ctx["x"], lambda: step["x"], lambda: ctx.as_dict()["x"], lambda: step.reads["x"]),
            lambda: copy.deepcopy(ctx)["x"],
        ]
        for read in readers:
            assert expected == shown(read())
            spoil(read())
        assert expected == shown(ctx["x"])


@pytest.mark.slow
@pytest.mark.parametrize("share", [15, pytest.param(3, marks=pytest.mark.long)])
def test_isolation_of_each_kind(share: int) -> None:
    """The same holds of each kind alone, and of one kind in so many in each container."""
    for part in PARTS:
        test_isolation.hypothesis.inner_test(("part", part))  # type: ignore[attr-defined]  # hypothesis sets it
    for at, wrap in enumerate(WRAPS):
        for part in [*PARTS][at % share :: share]:
            test_isolation.hypothesis.inner_test((wrap, ("part", part)))  # type: ignore[attr-defined]  # as above
