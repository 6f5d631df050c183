"""The hot paths of the core, each beside what one would use in its place."""

import copy
import threading
from collections import defaultdict
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from prometheus_client import CollectorRegistry, Histogram
from pydantic import BaseModel, FiniteFloat, TypeAdapter, create_model
from typing_extensions import TypedDict

from crystallize import FrozenContext, Metric, MetricSchema, Shared

from .rounds import Contestant


class Frozen(BaseModel, frozen=True):
    a: int = 1
    b: str = "b"


class Train(BaseModel, arbitrary_types_allowed=True):
    lr: float
    items: list[int]
    nested: dict[str, dict[str, float]]
    array: np.ndarray[Any, Any]
    frozen: Frozen
    pair: tuple[int, int]
    model: Annotated[object, Shared]


class EpochTags(TypedDict):
    epoch: int
    split: Literal["train", "val"]


class ModelTags(BaseModel):
    epoch: int
    split: Literal["train", "val"]


class TrainMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=EpochTags)
    modelled = Metric(FiniteFloat, tags=ModelTags)


class PlainMetrics:
    """What the published module does to record a point: two look-ups and two appends, and no validation."""

    def __init__(self) -> None:
        self.values: defaultdict[str, list[float]] = defaultdict(list)
        self.tags: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

    def add(self, key: str, value: float, tags: dict[str, Any]) -> None:
        self.values[key].append(value)
        self.tags[key].append(tags)


class PlainRecorder:
    def __init__(self) -> None:
        self.metrics = PlainMetrics()

    def record(self, name: str, value: float, tags: dict[str, Any]) -> None:
        self.metrics.add(name, value, tags)


class Null:
    """A sink that does nothing."""

    def handle(self, event: object, /) -> None:
        pass

    def close(self) -> None:
        pass


KEYS = [f"key_{n}" for n in range(1000)]
MANY = [f"key_{n}" for n in range(20_000)]
FIELDS: dict[str, Any] = dict.fromkeys(KEYS, (float, ...))
Wide = create_model("Wide", **FIELDS)


class Assigned(BaseModel, validate_assignment=True):
    loss: float
    lr: float


def context(**options: Any) -> FrozenContext[Train]:
    initial = {
        "lr": 0.1,
        "items": list(range(1000)),
        "nested": {f"group {n}": {f"leaf {m}": float(m) for m in range(100)} for n in range(10)},
        "array": np.zeros(125_000),
        "frozen": Frozen(),
        "pair": (1, 2),
        "model": object(),
    }
    return FrozenContext[Train](initial, metrics=TrainMetrics, **options)


def full(size: int) -> FrozenContext[dict[str, float]]:
    """A context with many keys."""
    return FrozenContext[dict[str, float]]({f"held_{n}": 0.5 for n in range(size)})


def grown() -> FrozenContext[dict[str, float]]:
    """A context to which undeclared keys are added."""
    return FrozenContext[dict[str, float]]()


def names() -> list[str]:
    """Keys that were not hashed before, as those that a program has just made."""
    return [f"key_{n}" for n in range(len(MANY))]


def histogram() -> Any:
    made = Histogram("loss", "A loss.", ["epoch", "split"], registry=CollectorRegistry())
    return made.labels("1", "train")


def in_threads(number: int, points: int) -> None:
    """Record points of one series, by some threads together."""
    ctx = context()

    def record() -> None:
        for epoch in range(points // number):
            ctx.record("loss", 0.5, {"epoch": epoch, "split": "train"})

    threads = [threading.Thread(target=record) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


CTX = context()
NAMES: dict[str, Any] = {
    **globals(),
    "d": {"lr": 0.1},
    "ctx": CTX,
    "validate": TypeAdapter(float).validator.validate_python,
    "items": list(range(1000)),
    "nested": CTX["nested"],
    "copy": copy,
}


@dataclass(frozen=True)
class Row:
    """One path, timed beside its baselines.

    Attributes:
        path: What is timed, as a user writes it.
        ours: How it is timed.
        baselines: What it is compared with, each with the largest ratio of ours to it.
        number: How many operations a round has.
        tried: A ratio to try for, below the first target.
    """

    path: str
    ours: Contestant
    baselines: tuple[tuple[Contestant, float], ...]
    number: int = 100_000
    tried: float | None = None


STEP = 'cm = ctx.step("bench"); step = cm.__enter__()'
TAGS = '{"epoch": e, "split": "train"}'
LOOKUP = Contestant('d["lr"]', 'd["lr"]')
RECORDER = Contestant("plain recorder", f'r.record("loss", 0.5, {TAGS})', "r = PlainRecorder(); e = 3")
PROMETHEUS = Contestant("prometheus observe", "child.observe(0.5)", "child = histogram()")
POINTS = 20_000
"""Points of a round. The plain recorder keeps each of them. With more points, the allocator returns the memory after
each round, and the page faults of the next round make the plain recorder slower than it is."""
FIELDS_TARGET = 1.0 if __import__("sys").version_info >= (3, 12) else 1.9

ROWS = [
    Row('ctx["lr"]', Contestant("ours", 'ctx["lr"]'), ((LOOKUP, 2.7),)),
    Row("ctx.fields.lr", Contestant("ours", "ctx.fields.lr"), ((LOOKUP, FIELDS_TARGET),)),
    Row('step["lr"]', Contestant("ours", 'step["lr"]', STEP), ((LOOKUP, 7.5),)),
    Row("step.fields.lr", Contestant("ours", "step.fields.lr", STEP), ((LOOKUP, 13.0),), tried=9.0),
    Row(
        "read a list of 1,000 ints",
        Contestant("ours", 'ctx["items"]'),
        ((Contestant("list.copy()", "items.copy()"), 1.5),),
        10_000,
    ),
    Row(
        "read a nested dict of 1,000 leaves",
        Contestant("ours", 'ctx["nested"]'),
        ((Contestant("copy.deepcopy", "copy.deepcopy(nested)"), 0.04),),
        100,
    ),
    *(
        Row(f"read a {what}", Contestant("ours", f'ctx["{key}"]'), ((LOOKUP, 2.7),))
        for what, key in [("frozen model", "frozen"), ("tuple", "pair"), ("`Shared`", "model")]
    ),
    Row(
        "read a 1 MB array",
        Contestant("ours", 'ctx["array"]'),
        ((Contestant("array.view()", "array.view()", "array = np.zeros(125_000)"), 4),),
    ),
    Row(
        "validated write",
        Contestant(
            "ours",
            "for ctx in made:\n for k in KEYS: ctx[k] = 0.5",
            "made = [FrozenContext[Wide]() for _ in range(10)]",
            10_000,
        ),
        (
            (
                Contestant(
                    "d[k] = validate(v)",
                    "for d in made:\n for k in KEYS: d[k] = validate(0.5)",
                    "made = [{} for _ in range(10)]",
                    10_000,
                ),
                3.8,
            ),
            (Contestant("validate_assignment", "assigned.loss = 0.5", "assigned = Assigned(loss=1, lr=1)"), 0.45),
        ),
        10_000,
    ),
    Row(
        "validated write, undeclared key",
        Contestant("ours", "for k in made: ctx[k] = 0.5", "ctx = grown(); made = names()", len(MANY)),
        ((Contestant("validate_assignment", "assigned.loss = 0.5", "assigned = Assigned(loss=1, lr=1)"), 0.45),),
        len(MANY),
    ),
    Row(
        'record("loss", v, {...})',
        Contestant("ours", f'ctx.record("loss", 0.5, {TAGS})', "ctx = context(); e = 3"),
        ((RECORDER, 2.7), (PROMETHEUS, 0.6)),
        POINTS,
        tried=2.0,
    ),
    Row(
        "series(metric).add(v, {...})",
        Contestant("ours", f"s.add(0.5, {TAGS})", "s = context().metrics.series(TrainMetrics.loss); e = 3"),
        ((RECORDER, 2.6),),
        POINTS,
        tried=1.8,
    ),
    Row(
        "series.bind(tags)(v)",
        Contestant(
            "ours",
            "note(0.5)",
            'note = context().metrics.series(TrainMetrics.loss).bind({"epoch": 3, "split": "train"})',
        ),
        ((RECORDER, 1.0), (PROMETHEUS, 0.25)),
        POINTS,
    ),
    Row(
        "record of an undeclared metric",
        Contestant("ours", f'ctx.record("loss", 0.5, {TAGS})', "ctx = FrozenContext(); e = 3"),
        ((RECORDER, 5.0),),
        POINTS,
    ),
    Row(
        "record with model tags",
        Contestant(
            "ours",
            'ctx.record("modelled", 0.5, ModelTags(epoch=e, split="train"))',
            "ctx = context(); e = 3",
        ),
        ((Contestant("the model alone", 'ModelTags(epoch=e, split="train")', "e = 3"), 1.8),),
        POINTS,
    ),
    Row(
        "4 threads recording, a point",
        Contestant("ours", "in_threads(4, 20_000)", per=20_000),
        ((Contestant("1 thread", "in_threads(1, 20_000)", per=20_000), 1.15),),
        20_000,
    ),
    *(
        Row(
            f"read with {size:,} keys",
            Contestant("ours", 'ctx["held_5"]', f"ctx = full({size})"),
            ((Contestant("with 10 keys", 'ctx["held_5"]', "ctx = full(10)"), 1.1),),
            20_000,
        )
        for size in (1000, 100_000)
    ),
    *(
        Row(
            f"write with {size:,} keys",
            Contestant("ours", "for k in MANY: ctx[k] = 0.5", f"ctx = full({size}); gc.collect()", len(MANY)),
            (
                (
                    Contestant(
                        "with 10 keys", "for k in MANY: ctx[k] = 0.5", "ctx = full(10); gc.collect()", len(MANY)
                    ),
                    1.1,
                ),
            ),
            len(MANY),
        )
        for size in (1000, 100_000)
    ),
]
