"""Weak references: they forget the dead, and run no Python code when they do."""

import gc
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from crystallize._base.weak_objects import WeakObjects


class Thing:
    """Something that can die."""


def test_only_the_living() -> None:
    """Objects are there until they die or are removed."""
    objects: WeakObjects[Thing] = WeakObjects()
    kept, removed, dying = Thing(), Thing(), Thing()
    for thing in (kept, removed, dying, kept):
        objects.add(thing)
    objects.discard(removed)
    objects.discard(removed)
    del dying
    gc.collect()

    assert [kept] == [*objects]
    objects.clear()
    assert [] == [*objects]


def test_objects_that_die_meanwhile() -> None:
    """Objects may die or be removed while somebody goes through them."""
    objects: WeakObjects[Thing] = WeakObjects()
    things = [Thing() for _ in range(5)]
    for thing in things:
        objects.add(thing)
    del thing

    for found in objects:
        things.clear()
        objects.discard(found)
    del found
    gc.collect()

    assert [] == [*objects]


def python_calls(work: Callable[[], None]) -> list[str]:
    """Return the functions written in Python that run while another one does."""
    called: list[str] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            called.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return called[1:]  # without `work`


@pytest.mark.parametrize("is_in_a_cycle", [False, True])
def test_no_python_code_runs_when_an_object_dies(is_in_a_cycle: bool) -> None:
    """No signal handler can run when an object dies, where Python would ignore its exception."""
    gc.collect()
    gc.freeze()  # so that nothing of other tests dies meanwhile
    objects: WeakObjects[Thing] = WeakObjects()
    things = [Thing()]
    objects.add(things[0])
    if is_in_a_cycle:
        vars(things[0])["own"] = things[0]

    def kill() -> None:
        things.clear()
        gc.collect()

    callbacks, gc.callbacks[:] = gc.callbacks[:], []  # hypothesis has one
    try:
        called = python_calls(kill)
    finally:
        gc.unfreeze()
        gc.callbacks[:] = callbacks
    assert [] == called
    assert [] == [*objects]
