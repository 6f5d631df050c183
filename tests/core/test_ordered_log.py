"""Sections that are inserted into a log, and into the log of a series, against plain lists."""

import pickle
from contextlib import ExitStack
from itertools import chain
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crystallize._core import ordered_log
from crystallize._core.ordered_log import KeyPack, OrderedKeys, OrderedLog, SectionPack
from crystallize._core.packed_columns import ANY_TAGS, Block, PointLayout
from crystallize._core.point_log import BLOCK, LARGE, PointLog
from crystallize._core.point_sections import PointSection

from ..profiles import examples

SETTINGS = settings(max_examples=examples(80), deadline=None, suppress_health_check=[HealthCheck.too_slow])

Program: TypeAlias = list[int | list[int]]
"""What is done one after another: an item is appended, or a section is inserted."""

programs: st.SearchStrategy[Program] = st.lists(st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=3), max_size=8)


def flat(program: Program) -> list[int]:
    return [item for part in program for item in (part if isinstance(part, list) else [part])]


def own(program: Program) -> list[int]:
    return [part for part in program if not isinstance(part, list)]


def sections(program: Program) -> list[tuple[int, int, list[int]]]:
    """The rank of each section, the number of appended items before it, and its items."""
    forks = [at for at, part in enumerate(program) if isinstance(part, list)]
    return [
        (rank, len(own(program[:at])), part)
        for rank, at in enumerate(forks)
        if isinstance(part := program[at], list)  # for mypy
    ]


@SETTINGS
@given(program=programs, data=st.data())
def test_sections_stand_at_their_marks(program: Program, data: st.DataObject) -> None:
    """In whichever order sections come, the whole reads as if all had been appended one after another."""
    log = OrderedLog(own(program))
    arrival = data.draw(st.permutations(sections(program)))
    come: set[int] = set()
    for rank, mark, items in arrival:
        log.insert(rank, mark, items)
        come.add(rank)
        ranks = iter(range(len(program)))
        known: Program = [part for part in program if not isinstance(part, list) or next(ranks) in come]
        assert flat(known) == list(log) == list(log.splice(own(program)))
    assert len(flat(program)) == len(log)
    assert sum(len(items) for _, _, items in arrival) == log.inserted
    assert [items for _, _, items in sorted(arrival) if items] == [section.items for section in log.sections()]


@SETTINGS
@given(program=programs)
def test_marks(program: Program) -> None:
    """A section that is inserted at the mark of a moment is read before all that was appended later."""
    log: OrderedLog[int] = OrderedLog()
    marks = []
    for part in program:
        if isinstance(part, list):
            marks.append((log.mark(), part))
        else:
            log.append(part)
    for rank, (mark, items) in enumerate(marks):
        log.insert(rank, mark, items)
    assert flat(program) == list(log)


@SETTINGS
@given(program=programs, data=st.data())
def test_insertions_that_are_undone(program: Program, data: st.DataObject) -> None:
    """An insertion that is undone never took place, and the section may come again."""
    log = OrderedLog(own(program))
    arrival = data.draw(st.permutations(sections(program)))
    undo = ExitStack()
    for rank, mark, items in arrival:
        before = (log.inserted, list(log))
        with ExitStack() as stack:
            log.insert(rank, mark, items, stack)
        assert before == (log.inserted, list(log))
        log.insert(rank, mark, items, undo)
    assert flat(program) == list(log)
    undo.close()
    assert (0, own(program)) == (log.inserted, list(log))


def test_an_undone_section_gives_its_rank_back() -> None:
    """A section replaces the earlier section of its rank, and undoing that brings the earlier section back."""
    log = OrderedLog([1, 2])
    log.insert(0, 1, [5, 6])
    with ExitStack() as undo:
        log.insert(0, 1, [7], undo)
        assert ([1, 7, 2], 1) == (list(log), log.inserted)
    assert ([1, 5, 6, 2], 2) == (list(log), log.inserted)


def test_an_interrupted_insertion() -> None:
    """An insertion during which an interruption comes is undone."""

    class Interrupting(list[int]):
        asked = 0

        def __len__(self) -> int:
            self.asked += 1
            if self.asked == 2:
                raise KeyboardInterrupt
            return 1

    log: OrderedLog[int] = OrderedLog()
    log.insert(0, 0, [1])
    with pytest.raises(KeyboardInterrupt), ExitStack() as undo:
        log.insert(1, 0, Interrupting([2]), undo)
    assert (1, [1]) == (log.inserted, list(log))


def test_a_copied_log_goes_on_by_itself() -> None:
    """A copy has the same sections, and an insertion into one is none into the other."""
    log = OrderedLog([1, 2, 3])
    log.insert(1, 2, [5, 6])
    other = OrderedLog([1, 2, 3], pickle.loads(pickle.dumps(log.copy_sections())))
    log.insert(0, 1, [7])
    other.insert(2, 2, [8])
    assert ([1, 7, 2, 5, 6, 3], 3) == (list(log), log.inserted)
    assert ([1, 2, 5, 6, 8, 3], 3) == (list(other), other.inserted)


def test_a_section_that_is_moved() -> None:
    """A section that is moved stands at its new mark, by its new rank; an empty section is not kept."""
    log = OrderedLog([1, 2])
    log.insert(0, 0, [5, 6])
    log.insert(1, 1, [7])
    log.insert(3, 1, [])
    log.move(0, 2, 1)
    log.move(3, 4, 0)
    assert ([1, 7, 5, 6, 2], 3) == (list(log), log.inserted)
    assert (None, [7], [5, 6], None) == (log.section(0), log.section(1), log.section(2), log.section(4))


@SETTINGS
@given(program=programs, data=st.data())
def test_packed_sections(program: Program, data: st.DataObject) -> None:
    """Whatever is packed when, and whatever comes between packed sections later: the whole reads the same."""
    plain, log = OrderedLog(own(program)), OrderedLog(own(program))
    ranks = [rank for rank, _, _ in sections(program)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered_log, "FEWEST", 2)
        for rank, mark, items in data.draw(st.permutations(sections(program))):
            plain.insert(rank, mark, items)
            with ExitStack() as undo:
                log.insert(rank, mark, [*items, 99], undo)
            log.insert(rank, mark, items)
            assert list(plain) == list(log)
            if data.draw(st.booleans()):
                log.pack(data.draw(st.lists(st.sampled_from(ranks))), KeyPack)
            assert list(plain) == list(log)
            log = data.draw(st.sampled_from([log, OrderedLog(log.own, log.copy_sections())]))
            assert len(plain) == len(log) == len(list(log))


def test_packed_sections_by_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sections at one mark become one, except where another one is between them, or they are too few."""
    monkeypatch.setattr(ordered_log, "FEWEST", 2)
    log = OrderedLog(["x", "y"])
    for rank, mark in enumerate((0, 0, 1, 1, 1, 1, 1, 2)):
        log.insert(rank, mark, (f"{rank}a", f"{rank}b"))
    before = list(log)
    packs = log.pack([0, 1, 2, 3, 5, 6, 7], KeyPack)
    assert [["0a", "0b", "1a", "1b"], ["2a", "2b", "3a", "3b"], ["5a", "5b", "6a", "6b"]] == [
        [key for keys in pack.parts() for key in keys] for pack in packs
    ]
    assert (before, 18, 5) == (list(log), len(log), len(log.sections()))
    assert [] == log.pack(range(8), KeyPack)
    # A section that comes, or is moved, between packed ones.
    log.move(4, 1, 0)
    assert ["0a", "0b", "4a", "4b", "1a"][:4] == list(log)[:4]


def test_a_pack_that_a_signal_handler_makes() -> None:
    """If a signal handler packs the sections while they are being packed, its pack stays."""
    log: OrderedLog[str] = OrderedLog()
    for rank in range(ordered_log.FEWEST):
        log.insert(rank, 0, (f"{rank}",))
    inner: list[SectionPack] = []

    def make(sections: list[Any]) -> KeyPack:
        inner[:] = inner or log.pack(range(20), KeyPack)
        return KeyPack(sections)

    assert [] == log.pack(range(20), make)
    assert inner == [log.section(0)]
    assert [f"{rank}" for rank in range(ordered_log.FEWEST)] == list(log)


def test_cleared_sections() -> None:
    """Cleared sections are no more."""
    log = OrderedLog([2])
    log.insert(0, 0, [1])
    log.clear()
    assert ([2], 0, []) == (list(log), log.inserted, log.sections())


def test_a_mark_after_deleted_items() -> None:
    """Where items before a mark were deleted, sections are still read in the order of their ranks."""
    log = OrderedLog([7, 8])
    log.insert(0, 5, [1])
    log.insert(1, 0, [2])
    log.insert(2, 1, [3])
    assert [1, 2, 3] == [item for item in log if item < 7]
    assert [1, 2, 3, 7, 8] == sorted(log)


@SETTINGS
@given(program=programs, data=st.data())
def test_keys_in_order(program: Program, data: st.DataObject) -> None:
    """Keys are in the order in which they would have been written one after another."""
    names = iter(f"k{at}" for at in range(100))
    named: list[str | tuple[str, ...]] = [
        tuple(next(names) for _ in part) if isinstance(part, list) else next(names) for part in program
    ]
    expected = list(chain.from_iterable((part,) if isinstance(part, str) else part for part in named))
    mine = [part for part in named if isinstance(part, str)]
    inserted = [part for part in named if not isinstance(part, str)]
    # Keys of sections are added anywhere among the others, in any order.
    arrival = data.draw(st.permutations(list(zip(sections(program), inserted, strict=True))))
    held = mine[:]
    for _, keys in arrival:
        at = data.draw(st.integers(0, len(held)))
        held[at:at] = keys
    assert mine == [key for key in held if key in mine]
    order = OrderedKeys(dict.fromkeys(held))
    for (rank, mark, _), keys in arrival:
        order.insert(rank, mark, keys)
    assert expected == list(order)
    assert (len(expected), len(mine)) == (len(order), order.mark())


def test_keys_without_sections() -> None:
    """Without sections keys are in the order in which they were added."""
    assert ["b", "a"] == list(OrderedKeys({"b": 1, "a": 2}))


def test_keys_that_come_meanwhile() -> None:
    """Keys that are added while others are being listed are not among those, and none is listed twice."""
    held = {"a": 1, "x": 2}
    order = OrderedKeys(held)
    order.insert(0, 0, ("x",))
    listing = iter(order)
    first = next(listing)
    held |= {"y": 3, "z": 4}
    order.insert(1, 1, ("y", "z"))
    assert ["x", "a"] == [first, *listing]
    # A section is inserted after its keys are added; who lists them in between leaves them where they were added.
    order.insert(2, 1, ("w",))
    assert ["x", "a", "y", "z"] == list(order)


# Points

Row: TypeAlias = tuple[Any, dict[str, Any], Any]


def logged(rows: list[Row]) -> PointLog:
    log = PointLog()
    for row in rows:
        log.append(*row)
    return log


def made(count: int, first: int, number: int, kind: type = int) -> list[Row]:
    return [(kind(first + at), {"at": at} if at % 3 else {"at": at, "b": "x"}, number) for at in range(count)]


def renamed(rows: list[Row], branch: int) -> list[Row]:
    return [(value, tags, f"{branch}/{number}") for value, tags, number in rows]


def section(blocks: tuple[Block, ...], branch: int) -> PointSection:
    return PointSection(blocks, [f"{branch}/{number}" for number in range(1, 10)], "fold")


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
    names=st.sampled_from([None, (), ("at",), ("b", "at")]),
    data=st.data(),
)
def test_points_of_branches(
    counts: list[tuple[int, bool]], kind: type, names: tuple[str, ...] | None, data: st.DataObject
) -> None:
    """Sections of points stand at their marks, however many there are and whichever comes first."""
    layout = ANY_TAGS if names is None else PointLayout(kind, dict.fromkeys(names))
    log, expected, out, first = PointLog(layout), list[Row](), list[tuple[int, int, list[Row]]](), 0
    mine = 0
    for count, is_branch in counts:
        rows = made(count, first, 1, kind)
        if names is not None:
            rows = [(value, {name: tags.get(name) for name in names}, number) for value, tags, number in rows]
        first += count
        if is_branch and rows:
            out.append((len(out), log.mark(), rows))
            expected += renamed(rows, len(out))
        elif not is_branch:
            for row in rows:
                log.append(*row)
            mine += count
            expected += rows
    undo = ExitStack()
    for number, mark, rows in data.draw(st.permutations(out)):
        log.insert(number, mark, section(logged(rows).packed(int), number + 1), undo)
    assert (mine, mine) == (log.mark(), log.length())
    check(log, expected)
    check(log.copy(), expected)
    check(pickle.loads(pickle.dumps(log)), expected)
    check(log.with_layout(ANY_TAGS), expected)
    check(log.with_layout(ANY_TAGS).with_layout(layout), expected)
    check(log.with_layout(PointLayout(kind, {"other": int})), expected)
    # SectionPack for another log, with a number for each step.
    other = PointLog()
    packed = log.packed(lambda step: int(step[0]) + 1)
    assert all(block.size <= BLOCK for block in packed)
    if packed:
        other.insert(0, 0, PointSection(packed, ["own", *(f"{branch}/1" for branch in range(1, 6))], "fold"))
    check(other, [(value, tags, "own" if step == 1 else step) for value, tags, step in expected])
    undo.close()
    check(log, [row for row in expected if row[2] == 1])
    assert mine == len(log) == log.mark()


def test_points_go_on_after_a_branch() -> None:
    """A section stands before the points that were recorded after its mark, also once these are packed."""
    log = logged(made(BLOCK - 1, 0, 0))
    log.insert(0, log.mark(), section(logged(made(5, 10**6, 1)).packed(int), 2))
    expected = made(BLOCK - 1, 0, 0) + renamed(made(5, 10**6, 1), 2)
    check(log, expected)
    for row in made(BLOCK + 5, 2 * 10**6, 0):
        log.append(*row)
    assert (2 * BLOCK + 4, 2) == (log.mark(), len(log.blocks))
    assert log.full > len(log.tail)
    check(log, expected + made(BLOCK + 5, 2 * 10**6, 0))


@pytest.mark.parametrize("layout", [ANY_TAGS, PointLayout(int, {}), PointLayout(int, {"at": int, "b": None})])
def test_the_points_of_either_end(layout: PointLayout) -> None:
    """The newest point, the ends and the number of points of a step are those of the points, packed or not."""
    log, rows = PointLog(layout), list[Row]()
    for at in range(BLOCK + 3):
        rows.append((at, {"at": at, "b": "x"} if layout.tags != {} else {}, at % 2))
        log.append(*rows[-1])
        if at in (0, 4, BLOCK - 2, BLOCK - 1, BLOCK, BLOCK + 2):
            check(log, rows)
            assert (len(rows), rows[:2], rows[-2:]) == log.ends(2)
            assert (at // 2 + 1, (at + 1) // 2) == (log.count(0, 0), log.count(1, 0))
    assert rows == [row for piece in log.pieces() for row in piece.block.rows()]


def test_points_are_counted_without_those_of_branches() -> None:
    """The points of a step are counted among the points that were recorded here, whatever was inserted."""
    log = logged(made(BLOCK, 0, 7))
    log.insert(0, log.mark(), section(logged(made(3, 0, 7)).packed(int), 0))
    for row in made(2, 0, 7):
        log.append(*row)
    for row in made(BLOCK, 0, 8):
        log.append(*row)
    assert (BLOCK + 2, BLOCK, 0) == (log.count(7, 0), log.count(8, BLOCK + 2), log.count(9, 0))


def test_a_copied_series_goes_on_by_itself() -> None:
    """An insertion into a log is none into its copy, nor the other way round."""
    log = logged(made(2, 0, 0))
    log.insert(0, 1, section(logged(made(1, 50, 1)).packed(int), 0))
    other = log.copy()
    log.insert(1, 2, section(logged(made(1, 60, 1)).packed(int), 0))
    other.append(70, {}, 0)
    assert [0, 50, 1, 60] == list(log.values())
    assert [0, 50, 1, 70] == list(other.values())
    assert 4 == len(other)


def test_points_that_are_moved() -> None:
    """Points that are moved stand at their new mark."""
    log = logged(made(2, 0, 0))
    log.insert(0, 0, section(logged(made(1, 50, 1)).packed(int), 0))
    log.move(0, 1, 1)
    log.move(5, 6, 0)
    assert [0, 50, 1] == list(log.values())
    assert [(None, 0), ("fold", 1), (None, 2)] == [(piece.source, piece.first) for piece in log.pieces()]


def test_mutable_values_of_branches_are_isolated() -> None:
    """Points that are inserted twice, as into a context and into a copy of it, are the same both times."""
    blocks = logged([([1], {"tag": [2]}, 1)]).packed(int)
    left, right = PointLog(), PointLog()
    left.insert(0, 0, section(blocks, 0))
    right.insert(0, 0, section(pickle.loads(pickle.dumps(blocks)), 0))
    assert list(left.rows()) == list(right.rows()) == [([1], {"tag": [2]}, "0/1")]


KINDS: list[list[Any]] = [[1, 2.5], ["a", None], [True, 1], [[1], (2, {"a": 3})], [float("inf"), 1 << 70]]


@pytest.mark.parametrize("values", KINDS)
@pytest.mark.parametrize("packed", [range(0, 4), range(1, 7), range(7)])
def test_packs_of_points(values: list[Any], packed: range, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same points are read from a pack, in the same pieces, also in copies, after pickling and in another log."""
    monkeypatch.setattr(ordered_log, "FEWEST", 2)
    log, plain = PointLog(), PointLog()
    for found in (log, plain):
        for rank in range(7):
            rows = [(values[at % 2], {"at": at} if at % 3 else {"b": "x"}, 1 + at % 2) for at in range(1 + rank % 4)]
            rows = rows * (200 if rank == 5 else 1)
            found.append(rank, {}, 0)
            branch = PointSection(logged(rows).packed(int), [f"fold-{rank}", f"fold-{rank}/fit"], f"fold-{rank}")
            found.insert(rank, 3 if rank < 5 else 0, branch)
    log.pack(packed)
    for found in (log, log.copy(), pickle.loads(pickle.dumps(log)), log.with_layout(PointLayout(None, {"at": None}))):
        assert repr([*plain.rows()]) == repr([*found.rows()])
        assert repr([*plain.values()]) == repr([*found.values()])
        assert (len(plain), repr(plain.last()), repr(plain.ends(3))) == (
            len(found),
            repr(found.last()),
            repr(found.ends(3)),
        )
        assert _described(plain) == _described(found)
        assert plain.count(0, 0) == found.count(0, 0)
    numbers = {f"fold-{rank}{end}": 1 + rank for rank in range(7) for end in ("", "/fit")}
    ours, theirs = (PointLog.restored(([], [], {}), ANY_TAGS) for _ in range(2))
    ours.insert(0, 0, PointSection(log.packed(numbers.__getitem__), [*"abcdefg"], "all"))
    theirs.insert(0, 0, PointSection(plain.packed(numbers.__getitem__), [*"abcdefg"], "all"))
    assert repr([*ours.rows()]) == repr([*theirs.rows()])


def _described(log: PointLog) -> list[tuple[str | None, int, str]]:
    """Return the source, the index and the content of each point."""
    return [
        (
            piece.source,
            piece.first + at,
            repr((value, tags, number if piece.names is None else piece.names[number - 1])),
        )
        for piece in log.pieces()
        for at, (value, tags, number) in enumerate(piece.block.rows())
    ]


def test_sections_with_many_points_stay_as_they_are() -> None:
    """A section with many points is not packed, and divides the others."""
    log = PointLog()
    for rank in range(40):
        log.insert(rank, 0, section(logged(made(LARGE if rank == 20 else 1, rank, 1)).packed(int), 0))
    expected = [*log.values()]
    log.pack(range(40))
    assert expected == [*log.values()]
    assert 3 == len(log.copy().__reduce__()[1][0][2])
