"""What branches brought into a sequence, and into a series, against plain lists."""

import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crystallize._core.ordered_log import Fork, Merged, Parts, Place, ordered_keys
from crystallize._core.point_log import BLOCK, FULL, PointLog

from ..profiles import examples

SETTINGS = settings(max_examples=examples(80), deadline=None, suppress_health_check=[HealthCheck.too_slow])

Program: TypeAlias = list[int | list[int]]
"""What is done one after another: an item of one's own, or a branch that brings some."""

programs: st.SearchStrategy[Program] = st.lists(st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=3), max_size=8)


def flat(program: Program) -> list[int]:
    return [item for one in program for item in (one if isinstance(one, list) else [one])]


def own(program: Program) -> list[int]:
    return [one for one in program if not isinstance(one, list)]


def branches(program: Program) -> list[tuple[int, int, list[int]]]:
    """The number of each branch, how much of one's own comes before it, and what it brings."""
    forks = [at for at, one in enumerate(program) if isinstance(one, list)]
    return [
        (number, len(own(program[:at])), one)
        for number, at in enumerate(forks)
        if isinstance(one := program[at], list)  # for mypy
    ]


def spliced(parts: Parts[list[int]], items: list[int]) -> list[int]:
    return list(parts.spliced(items, iter))


@SETTINGS
@given(program=programs, data=st.data())
def test_parts_stand_where_their_branches_were_forked(program: Program, data: st.DataObject) -> None:
    """In whichever order parts come, the whole reads as if all had been done one after another."""
    parts: Parts[list[int]] = Parts()
    arrival = data.draw(st.permutations(branches(program)))
    come: set[int] = set()
    for number, place, part in arrival:
        parts.add(number, place, part, len(part))
        come.add(number)
        numbers = iter(range(len(program)))
        known: Program = [one for one in program if not isinstance(one, list) or next(numbers) in come]
        assert flat(known) == spliced(parts, own(program))
    assert sum(len(part) for _, _, part in arrival) == parts.count
    assert any(part for _, _, part in arrival) == bool(parts)
    assert sorted(number for number, _, part in arrival if part) == [number for number, _, _ in parts.ordered()]


@SETTINGS
@given(program=programs, data=st.data())
def test_parts_that_were_dropped_can_come_again(program: Program, data: st.DataObject) -> None:
    """A part that is given back is as one that never came, and it may come later."""
    parts: Parts[list[int]] = Parts()
    arrival = data.draw(st.permutations(branches(program)))
    for number, place, part in arrival:
        parts.add(number, place, part, len(part))
        before = (parts.count, spliced(parts, own(program)))
        parts.drop(number)
        parts.drop(number)
        parts.add(number, place, part, len(part))
        assert before == (parts.count, spliced(parts, own(program)))
    assert flat(program) == spliced(parts, own(program))
    for number, _, _ in arrival:
        parts.drop(number)
    assert (0, False, own(program)) == (parts.count, bool(parts), spliced(parts, own(program)))


COPIES: list[Callable[[Any], Any]] = [lambda one: one.copy(), lambda one: pickle.loads(pickle.dumps(one))]


@pytest.mark.parametrize("copied", COPIES)
def test_copied_parts_go_on_by_themselves(copied: Callable[[Parts[list[int]]], Parts[list[int]]]) -> None:
    """A copy has the same parts, and what comes to one does not come to the other."""
    parts: Parts[list[int]] = Parts()
    parts.add(1, 2, [5, 6], 2)
    other = copied(parts)
    parts.add(0, 1, [7], 1)
    other.add(2, 2, [8], 1)
    assert ([1, 7, 2, 5, 6, 3], 3) == (spliced(parts, [1, 2, 3]), parts.count)
    assert ([1, 2, 5, 6, 8, 3], 3) == (spliced(other, [1, 2, 3]), other.count)


def test_a_part_that_is_moved() -> None:
    """A part that is moved stands at its new place, by its new number; of what brought nothing there is nothing."""
    parts: Parts[list[int]] = Parts()
    parts.add(0, 0, [5, 6], 2)
    parts.add(1, 1, [7], 1)
    parts.move(0, 2, 1)
    parts.move(3, 4, 0)
    assert ([1, 7, 5, 6, 2], 3) == (spliced(parts, [1, 2]), parts.count)
    assert (None, [7], [5, 6], None) == (parts.of(0), parts.of(1), parts.of(2), parts.of(4))
    parts.drop(2)
    assert ([1, 7, 2], 1) == (spliced(parts, [1, 2]), parts.count)


def test_parts_that_are_forgotten() -> None:
    """Cleared parts are no more."""
    parts: Parts[list[int]] = Parts()
    parts.add(0, 0, [1], 1)
    parts.clear()
    assert ([2], 0, False) == (spliced(parts, [2]), parts.count, bool(parts))


def test_a_part_forked_before_what_came_first_was_forgotten() -> None:
    """Where some of what came before a fork is gone, parts are still read in the order of the forks."""
    parts: Parts[list[int]] = Parts()
    parts.add(0, 5, [1], 1)
    parts.add(1, 0, [2], 1)
    parts.add(2, 1, [3], 1)
    assert [1, 2, 3] == [item for item in spliced(parts, [7, 8]) if item < 7]
    assert [1, 2, 3, 7, 8] == sorted(spliced(parts, [7, 8]))


def test_a_part_that_is_interrupted_on_its_way_in_can_be_given_back() -> None:
    """Where adding a part is interrupted, dropping it leaves the count as it was."""

    class Interrupting(int):
        def __radd__(self, other: int) -> int:
            raise KeyboardInterrupt

    parts: Parts[list[int]] = Parts()
    parts.add(0, 0, [1], 1)
    with suppress(KeyboardInterrupt):  # no error where the count is made only when it is asked for
        parts.add(1, 0, [2], Interrupting(1))
    parts.drop(1)
    assert (1, [1]) == (parts.count, spliced(parts, []))


@SETTINGS
@given(program=programs, data=st.data())
def test_keys_in_order(program: Program, data: st.DataObject) -> None:
    """Keys are in the order in which they would have been written one after another."""
    names = iter(f"k{at}" for at in range(100))
    named: list[str | tuple[str, ...]] = [
        tuple(next(names) for _ in one) if isinstance(one, list) else next(names) for one in program
    ]
    expected = list(chain.from_iterable((one,) if isinstance(one, str) else one for one in named))
    mine = [one for one in named if isinstance(one, str)]
    places = branches(program)
    brought = [one for one in named if not isinstance(one, str)]
    # What branches brought came anywhere among the context's own, in any order.
    arrival = data.draw(st.permutations(list(zip(places, brought, strict=True))))
    parts: Parts[tuple[str, ...]] = Parts()
    held = mine[:]
    for (number, place, _), part in arrival:
        parts.add(number, place, part, len(part))
        at = data.draw(st.integers(0, len(held)))
        # Not in the middle of another part's, which are all claimed together; the order is the same all the same.
        held[at:at] = part
    own_order = [key for key in held if key in mine]
    assert mine == own_order
    assert expected == ordered_keys(held, parts)


def test_keys_without_branches() -> None:
    """Without branches keys are in the order in which they came."""
    assert ["b", "a"] == ordered_keys({"b": 1, "a": 2}, Parts())


def test_keys_that_come_meanwhile() -> None:
    """Keys that a branch brings while others are being listed are not among those, and none is there twice."""
    parts: Parts[tuple[str, ...]] = Parts()
    parts.add(0, 0, ("x",), 1)

    def held() -> Iterator[str]:
        yield from ("a", "x")
        parts.add(1, 1, ("y", "z"), 2)

    assert ["x", "a"] == ordered_keys(held(), parts)


def test_a_fork_starts_unmerged() -> None:
    """A fork knows its number and its place, and nothing of a merge."""
    fork = Fork(3, Place(1, 2, 3, {"m": 4}))
    assert (3, Place(1, 2, 3, {"m": 4}), None) == (fork.number, fork.place, fork.merged)
    fork.merged = Merged("digest", 5, None, False)
    assert fork == pickle.loads(pickle.dumps(fork))


# Points

Row: TypeAlias = tuple[Any, dict[str, Any], int]


def logged(rows: list[Row]) -> PointLog:
    log = PointLog()
    for row in rows:
        log.append(*row)
    return log


def made(count: int, first: int, number: int, kind: type = int) -> list[Row]:
    return [(kind(first + at), {"at": at} if at % 3 else {"at": at, "b": "x"}, number) for at in range(count)]


def moved(rows: list[Row], offset: int) -> list[Row]:
    return [(value, tags, number + offset) for value, tags, number in rows]


def check(log: PointLog, expected: list[Row]) -> None:
    assert expected == list(log.rows())
    assert [value for value, _, _ in expected] == list(log.values())
    assert len(expected) == len(log)
    assert (expected[-1] if expected else None) == log.last()


COUNTS = st.sampled_from([0, 1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])


@pytest.mark.slow
@settings(max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    counts=st.lists(st.tuples(COUNTS, st.booleans()), min_size=1, max_size=5),
    kind=st.sampled_from([int, float, str]),
    data=st.data(),
)
def test_points_of_branches(counts: list[tuple[int, bool]], kind: type, data: st.DataObject) -> None:
    """Points of branches stand where these were forked, however many there are and whichever branch comes first."""
    log, expected, out, first = PointLog(), list[Row](), list[tuple[int, int, list[Row]]](), 0
    mine = 0
    for count, is_branch in counts:
        rows = made(count, first, 1, kind)
        first += count
        if is_branch and rows:
            out.append((len(out), log.own, rows))
            expected += moved(rows, len(out))
        elif not is_branch:
            for row in rows:
                log.append(*row)
            mine += count
            expected += rows
    for number, place, rows in data.draw(st.permutations(out)):
        log.bring(number, place, logged(rows).packed(), number + 1, "fold")
    assert (mine, mine) == (log.own, log.length())
    check(log, expected)
    check(log.copy(), expected)
    check(pickle.loads(pickle.dumps(log)), expected)
    # Packed for somebody else, by whom it is brought with the numbers of the scopes there.
    other = PointLog()
    packed = log.packed()
    assert all(block.size <= BLOCK for block in packed)
    if packed:
        other.bring(0, 0, packed, 10, "fold")
    check(other, moved(expected, 10))
    for number, _, _ in out:
        log.give_back(number)
    check(log, [row for row in expected if row[2] == 1])
    assert mine == len(log) == log.own


def test_points_go_on_after_a_branch() -> None:
    """What is recorded after a branch was forked comes after what it brings, also once it was packed."""
    log = logged(made(BLOCK - 1, 0, 0))
    log.bring(0, log.own, logged(made(5, 10**6, 1)).packed(), 2, "fold")
    expected = made(BLOCK - 1, 0, 0) + made(5, 10**6, 3)
    check(log, expected)
    for row in made(BLOCK + 5, 2 * 10**6, 0):
        log.append(*row)
    assert (2 * BLOCK + 4, 2) == (log.own, len(log.blocks))
    assert FULL > len(log.tail)
    check(log, expected + made(BLOCK + 5, 2 * 10**6, 0))


def test_points_are_counted_without_those_of_branches() -> None:
    """A scope's points are counted among the context's own, whatever branches brought in between."""
    log = logged(made(BLOCK, 0, 7))
    log.bring(0, log.own, logged(made(3, 0, 7)).packed(), 0, "fold")
    for row in made(2, 0, 7):
        log.append(*row)
    assert (BLOCK + 2, 2, 1, 0) == (log.count(7, 0), log.count(7, BLOCK), log.count(7, BLOCK + 1), log.count(8, 0))


def test_a_copied_series_goes_on_by_itself() -> None:
    """What a branch brings into a series does not come to a copy of it, nor the other way round."""
    log = logged(made(2, 0, 0))
    log.bring(0, 1, logged(made(1, 50, 1)).packed(), 0, "fold")
    other = log.copy()
    log.bring(1, 2, logged(made(1, 60, 1)).packed(), 0, "fold")
    other.append(70, {}, 0)
    assert [0, 50, 1, 60] == list(log.values())
    assert [0, 50, 1, 70] == list(other.values())
    other.give_back(1)
    assert 4 == len(other)


def test_points_that_are_moved() -> None:
    """The points of a branch that is moved stand at its new place."""
    log = logged(made(2, 0, 0))
    log.bring(0, 0, logged(made(1, 50, 1)).packed(), 0, "fold")
    log.move(0, 1, 1)
    log.move(5, 6, 0)
    assert [0, 50, 1] == list(log.values())
    part = log.brought(1)
    assert part is not None
    assert [50] == list(part.values())
    assert log.brought(0) is None


def test_an_empty_series_of_a_kind() -> None:
    """A log for points of the same kind has none of them."""
    log = logged(made(2, 0, 0))
    check(log.empty(), [])


def test_mutable_values_of_branches_are_isolated() -> None:
    """What is brought twice, as to a context and to a copy of it, is the same both times."""
    blocks = logged([([1], {"tag": [2]}, 1)]).packed()
    one, other = PointLog(), PointLog()
    one.bring(0, 0, blocks, 0, "fold")
    other.bring(0, 0, pickle.loads(pickle.dumps(blocks)), 0, "fold")
    assert list(one.rows()) == list(other.rows()) == [([1], {"tag": [2]}, 1)]
