import copy
import math
import pickle
import struct
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from itertools import chain
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from crystallize import (
    FrozenContext,
    FrozenMetrics,
    Metric,
    MetricSchema,
    MissingTagError,
    NotRestorable,
    Point,
    StepClosedError,
)
from crystallize._core.packed_columns import Block, PointLayout, unrestorable_parts

from ..profiles import examples

SEALED = 4096
"""Points after which a part of a series is packed."""


class Colour(Enum):
    RED = 1
    GREEN = 2


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Split(StrEnum):
    TRAIN = "train"
    VAL = "val"


class Alike(Enum):
    """Members that say that they are equal."""

    ONE = 1
    TWO = 2

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike)

    def __hash__(self) -> int:
        return 1


class Unhashable(Enum):
    """Members that cannot be hashed."""

    ONE = 1
    TWO = 2

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]


def exact(value: Any) -> object:
    """A form of a value in which only what is the same in type and content is equal."""
    if isinstance(value, Enum):
        return type(value), value.name
    if type(value) is float:
        return float, struct.pack("d", value)
    if isinstance(value, list | tuple):
        return type(value), [exact(item) for item in value]
    if isinstance(value, dict):
        return dict, {name: exact(item) for name, item in value.items()}
    return type(value), value


def recorded(points: list[tuple[Any, dict[str, Any] | None]]) -> FrozenMetrics:
    metrics = FrozenMetrics()
    for value, tags in points:
        metrics.add("m", value, tags)
    return metrics


def read(metrics: FrozenMetrics) -> list[object]:
    return [(exact(point.value), exact(point.tags)) for point in metrics.series("m")]


def long(*pattern: Any) -> Iterator[Any]:
    """A pattern, over and over, for more than one sealed block."""
    return (pattern[at % len(pattern)] for at in range(SEALED + 500))


KINDS: dict[str, tuple[Any, ...]] = {
    "floats": (0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1 / 3),
    "tiny ints": (0, 1, -128, 127),
    "short ints": (0, -32768, 32767),
    "ints": (-(2**31), 2**31 - 1),
    "long ints": (-(2**63), 2**63 - 1),
    "huge ints": (2**63, -(2**63) - 1, 10**100),
    "one in three types": (1, True, 1.0),
    "one and true": (1, True, 0, False),
    "strings": ("", "a", "train", "ü", "\ud800", "a\x00b"),
    "none": (None, 1, "a", True),
    "floats and none": (None, 0.5, -0.0),
    "bytes": (b"", b"\xff"),
    "enums": (Colour.RED, Colour.GREEN, Level.LOW, 1, Split.TRAIN, "train"),
    "equal enums": (Alike.ONE, Alike.TWO),
    "unhashable enums": (Unhashable.ONE, Unhashable.TWO),
    "lists": ([1, [2]], []),
    "others": (Decimal("1.50"), (1, "a"), 1 + 2j),
}


@pytest.mark.parametrize("kind", KINDS)
def test_values_come_back_exactly(kind: str) -> None:
    """However many points there are, each value comes back with its exact type and content, in order."""
    metrics = recorded([(value, None) for value in long(*KINDS[kind])])
    assert [exact(value) for value in long(*KINDS[kind])] == [exact(value) for value in metrics["m"]]


@pytest.mark.parametrize("kind", KINDS)
def test_tags_come_back_exactly(kind: str) -> None:
    """However many points there are, each tag comes back with its exact type and content, in order."""
    metrics = recorded([(at, {"tag": tag}) for at, tag in enumerate(long(*KINDS[kind]))])
    assert [exact(tag) for tag in long(*KINDS[kind])] == [exact(tags["tag"]) for tags in metrics.get_tags("m")]


@pytest.mark.parametrize("many", [256, 257, SEALED])
def test_many_different_texts_come_back(many: int) -> None:
    """Texts come back, few different ones or many."""
    texts = [str(at % many) for at in range(SEALED + 10)]
    metrics = recorded([(text, {"text": text}) for text in texts])
    assert texts == list(metrics["m"])
    assert texts == [tags["text"] for tags in metrics.get_tags("m")]


@pytest.mark.parametrize("names", [0, 1, 32, 33, 200])
def test_any_number_of_tags_comes_back(names: int) -> None:
    """Points with tags of few or many different names come back each with its own, and no others."""
    tags = [{} if names == 0 else {f"t{at % names}": at} for at in range(SEALED + 10)]
    metrics = recorded(list(enumerate(tags)))
    assert tags == list(metrics.get_tags("m"))
    assert list(range(SEALED + 10)) == list(metrics["m"])


def test_a_tag_that_is_absent_is_not_none() -> None:
    """A tag that a point does not have is no tag that is None."""
    tags: list[Any] = list(long({"a": None}, {}, {"a": 1, "b": None}, {"b": 2}))
    assert tags == list(recorded([(0, tag_set) for tag_set in tags]).get_tags("m"))


@pytest.mark.parametrize("names", [0, 1, 33])
@pytest.mark.parametrize("count", [1, SEALED - 1, SEALED, SEALED + 1, 2 * SEALED])
def test_the_last_point_at_any_count(count: int, names: int) -> None:
    """The newest point is found whether it was packed or not."""
    metrics = FrozenMetrics()
    with_names = [{f"t{at % names}": at} if names else {} for at in range(count)]
    for at, tags in enumerate(with_names):
        metrics.add("m", str(at), tags)
    series = metrics.series("m")
    assert (str(count - 1), count) == (series.last, len(series))
    assert [Point(str(count - 1), with_names[-1], None)] == list(series)[-1:]


def test_mutable_values_in_packed_points_are_isolated() -> None:
    """What is read of packed points can be changed without effect on what is kept."""
    metrics = recorded([([at], {"path": [at]}) for at in range(SEALED + 1)])
    metrics["m"][0].append("changed")
    metrics.get_tags("m")[0]["path"].append("changed")
    metrics.series("m").tags[0]["new"] = 1
    assert ([0], {"path": [0]}) == (metrics["m"][0], metrics.get_tags("m")[0])


class Tagged(MetricSchema):
    m = Metric(float)


def test_where_looks_into_packed_points() -> None:
    """A narrowed series has the packed points too."""
    metrics = recorded([(at, {"split": "train" if at % 2 else "val"}) for at in range(SEALED + 100)])
    val = metrics.series("m").where(split="val")
    assert tuple(range(0, SEALED + 100, 2)) == val.values
    assert (SEALED // 2 + 50, SEALED + 98) == (len(val), val.last)


@pytest.mark.parametrize(("kind", "items"), [(int, (1, 2)), (float, (0.5, -0.0)), (str, ("a", "b"))])
def test_what_was_lost_is_packed(kind: type, items: tuple[Any, ...]) -> None:
    """What a file could not give back stands among values and tags that are else of one type, and can be found."""
    lost = NotRestorable(kind.__name__)
    values = [items[0], lost, items[1], items[1]]
    tags = [{"t": items[0]}, {"t": items[1]}, {"t": lost}, {"t": items[0]}]
    layout = PointLayout(kind, {"t": kind})
    block = Block.of([*chain.from_iterable(map(layout.items, values, tags, [0] * 4))], layout)
    assert list(zip(values, tags, [0] * 4, strict=True)) == list(block.rows())
    assert [(), (None,), ("t",), ()] == list(unrestorable_parts(block))


def test_points_keep_their_step_when_packed() -> None:
    """Each point says which step recorded it, and each step's record how many, over any number of points."""
    ctx = FrozenContext({}, metrics=Tagged)
    names: list[str | None] = []
    for name, count in [("a", 10), ("b", SEALED), ("a", 100), ("c", 3 * SEALED), ("d", 5)]:
        with ctx.step(name) as step:
            for at in range(count):
                step.metrics.add("m", float(at))
            ctx.metrics.add("m", -1.0)
        names += [step_name(ctx)] * count + [None]
    seen = [point.step for point in ctx.metrics.series("m")]
    # The point of no step stands after those of each step.
    assert names == seen
    counts = [record.points["m"] for record in ctx.provenance.steps]
    assert [10, SEALED, 100, 3 * SEALED, 5] == counts


def step_name(ctx: FrozenContext) -> str:
    return ctx.provenance.steps[-1].name


def test_more_steps_than_a_byte_counts() -> None:
    """Points of many hundred steps keep their step when packed."""
    ctx = FrozenContext({}, metrics=Tagged)
    for _ in range(600):
        with ctx.step("epoch") as step:
            record = step.metrics.series(Tagged.m).bind(None)
            for _ in range(8):
                record(0.5)
    expected = ["epoch" if at == 0 else f"epoch#{at + 1}" for at in range(600) for _ in range(8)]
    assert expected == [point.step for point in ctx.metrics.series("m")]


COPIES: list[Callable[[FrozenMetrics], FrozenMetrics]] = [
    copy.copy,
    copy.deepcopy,
    lambda metrics: pickle.loads(pickle.dumps(metrics)),
]


@pytest.mark.parametrize("copied", COPIES)
def test_packed_points_survive_copies(copied: Callable[[FrozenMetrics], FrozenMetrics]) -> None:
    """A copy has all points exactly, packed or not, and both go on by themselves."""
    kinds = [value for kind in ("floats", "huge ints", "enums", "one in three types", "none") for value in KINDS[kind]]
    metrics = recorded([(value, {"tag": value} if at % 3 else {}) for at, value in enumerate(long(*kinds))])
    other = copied(metrics)
    assert read(metrics) == read(other)
    for _ in range(SEALED):
        other.add("m", 1)
    metrics.add("m", "own")
    assert (SEALED + 501, 2 * SEALED + 500) == (len(metrics["m"]), len(other["m"]))
    assert ("own", 1) == (metrics.series("m").last, other.series("m").last)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda ctx: pickle.loads(pickle.dumps(ctx))])
def test_a_copy_counts_the_steps_on(copied: Callable[[FrozenContext], FrozenContext]) -> None:
    """In a copy of a context a step's name used again counts on, so that no two steps share one."""
    ctx = FrozenContext({})
    for value in (1, 2):
        with ctx.step("epoch") as step:
            step.record("m", value)
    other = copied(ctx)
    with other.step("epoch") as step:
        step.record("m", 3)
    assert ["epoch", "epoch#2", "epoch#3"] == [record.name for record in other.provenance.steps]
    assert ["epoch", "epoch#2", "epoch#3"] == [point.step for point in other.metrics.series("m")]


class Old(TypedDict):
    split: str


class New(TypedDict):
    epoch: int
    split: str


class Changing(MetricSchema):
    m = Metric(float, tags=Old)


class Changed(MetricSchema):
    m = Metric(float, tags=New)


@pytest.mark.parametrize("count", [1, SEALED, SEALED + 1])
def test_a_declaration_that_changed_since_points_were_pickled(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points with other tags than the metric declares now are read as they are, and the next ones are recorded."""
    metrics = FrozenMetrics(Changing)
    for at in range(count):
        metrics.add("m", at / 2, {"split": "val"})
    pickled = pickle.dumps(metrics)
    monkeypatch.setattr(Changing, "metrics", Changed.metrics)
    restored = pickle.loads(pickled)
    for at in range(SEALED):
        restored.add("m", at / 2, {"epoch": at, "split": "train"})
    with pytest.raises(MissingTagError):
        restored.add("m", 0.5, {"split": "val"})

    assert ({"split": "val"},) * count == restored.get_tags("m")[:count]
    assert tuple({"epoch": at, "split": "train"} for at in range(SEALED)) == restored.get_tags("m")[count:]


def test_a_bound_recorder_of_a_closed_step_records_nothing() -> None:
    """A recorder that was bound in a step fails once the step has ended, and nothing is recorded."""
    ctx = FrozenContext({}, metrics=Tagged)
    with ctx.step("fit") as step:
        record = step.metrics.series(Tagged.m).bind(None)
        record(0.5)
    with pytest.raises(StepClosedError):
        record(0.25)
    assert (0.5,) == ctx.metrics["m"]


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.integers(),
    st.floats(allow_nan=True),
    st.sampled_from([0.0, -0.0, math.nan, 1.0]),
    st.text(max_size=3),
    st.sampled_from([*Colour, *Level, *Split]),
    st.binary(max_size=2),
)
columns = st.one_of(
    st.lists(scalars, min_size=1, max_size=6),
    st.lists(st.floats(allow_nan=True), min_size=1, max_size=6),
    st.lists(st.integers(), min_size=1, max_size=6),
    st.lists(st.text(max_size=2), min_size=1, max_size=6),
    st.lists(st.sampled_from([1, True, 1.0, Level.LOW]), min_size=1, max_size=6),
)
tag_sets = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), scalars, max_size=3), min_size=1, max_size=5)


@pytest.mark.slow
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=columns, tags=tag_sets, count=st.sampled_from([1, 7, SEALED - 1, SEALED, SEALED + 1, SEALED + 300]))
def test_any_mix_of_points_comes_back(values: list[Any], tags: list[dict[str, Any]], count: int) -> None:
    """Any mix of values and tags comes back in order, exactly, at any count, and through a pickle."""
    points = [(values[at % len(values)], tags[at % len(tags)]) for at in range(count)]
    metrics = recorded(points)  # type: ignore[arg-type]  # a list is invariant
    expected = [(exact(value), exact(tag)) for value, tag in points]
    assert expected == read(metrics)
    assert expected == read(pickle.loads(pickle.dumps(metrics)))
    assert count == len(metrics.series("m"))
    assert exact(points[-1][0]) == exact(metrics.series("m").last)
