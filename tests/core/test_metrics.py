import copy
import inspect
import math
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from textwrap import dedent
from types import ModuleType, new_class
from typing import Annotated, Any, ClassVar, Literal, NotRequired

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    SecretBytes,
    SecretStr,
    StrictFloat,
    StrictInt,
    ValidationInfo,
    field_validator,
)
from typing_extensions import TypedDict

from crystallize import (
    ContextMutationError,
    ForeignMetricError,
    FrozenContext,
    FrozenMetrics,
    InvalidKeyError,
    InvalidMetricError,
    InvalidTagError,
    Metric,
    MetricClashError,
    MetricError,
    MetricSchema,
    MissingTagError,
    NoGoalError,
    NoPointsError,
    Point,
    SchemaError,
    Sink,
    UncopyableValueError,
    UnknownMetricError,
)
from crystallize._core.equality import same
from crystallize.sinks.memory import MemorySink


class EpochTags(TypedDict):
    epoch: NonNegativeInt
    split: Literal["train", "val"]


class TrainMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=EpochTags, unit="nats", goal="minimize", description="Cross-entropy.")
    accuracy = Metric(float, tags=EpochTags, goal="maximize")
    seconds = Metric(float)


class OtherMetrics(MetricSchema):
    loss = Metric(float)


class ImageTags(BaseModel):
    path: list[str]
    size: int = 3


class OpenTags(BaseModel):
    model_config = ConfigDict(extra="allow")
    epoch: int


class LooseTags(TypedDict):
    epoch: int
    note: NotRequired[str]


class ListMetrics(MetricSchema):
    boxes = Metric(list[Any], tags=ImageTags)
    table = Metric(dict[str, Any])
    loose = Metric(float, tags=LooseTags)
    any = Metric(Any)


TRAIN: EpochTags = {"epoch": 1, "split": "train"}
VAL: EpochTags = {"epoch": 1, "split": "val"}

Way = Callable[[FrozenMetrics, Any, Any, Any], None]


def by_add(metrics: FrozenMetrics, metric: Any, value: Any, tags: Any = None) -> None:
    metrics.add(metric, value, tags)


def by_series(metrics: FrozenMetrics, metric: Any, value: Any, tags: Any = None) -> None:
    metrics.series(metric).add(value, tags)


def by_bound(metrics: FrozenMetrics, metric: Any, value: Any, tags: Any = None) -> None:
    metrics.series(metric).bind(tags)(value)


every_way = pytest.mark.parametrize("way", [by_add, by_series, by_bound])


# Declaring


def test_a_metric_is_named_by_its_attribute() -> None:
    """A metric knows its name, where it was declared, and what was said of it."""
    loss = TrainMetrics.loss
    assert ("loss", f"{__name__}.TrainMetrics", "nats", "minimize", "Cross-entropy.") == (
        loss.name,
        loss.owner,
        loss.unit,
        loss.goal,
        loss.description,
    )
    assert f"Metric({__name__}.TrainMetrics.loss)" == repr(loss)


def test_a_schema_lists_its_metrics_in_order() -> None:
    """A schema's metrics come by name in the order of declaration, in a mapping that cannot be changed."""
    assert ["loss", "accuracy", "seconds"] == list(TrainMetrics.metrics)
    with pytest.raises(TypeError):
        TrainMetrics.metrics["more"] = TrainMetrics.loss  # type: ignore[index]


def test_inheritance_adds_metrics() -> None:
    """A subclass has its bases' metrics, first, and its own."""

    class More(TrainMetrics):
        f1 = Metric(float)

    assert ["loss", "accuracy", "seconds", "f1"] == list(More.metrics)
    assert More.metrics["loss"] is TrainMetrics.loss
    metrics = FrozenMetrics(More)
    metrics.add(TrainMetrics.loss, 0.5, TRAIN)
    assert (0.5,) == metrics[More.loss]


def test_a_name_declared_again_clashes() -> None:
    """A subclass that declares a name again is an error when the class is made, which names both owners."""
    with pytest.raises(MetricClashError) as caught:

        class Again(TrainMetrics):
            loss = Metric(float)  # type: ignore[assignment]

    owners = (f"{__name__}.TrainMetrics", f"{__name__}.test_a_name_declared_again_clashes.<locals>.Again")
    assert ("loss", owners) == (caught.value.metric, caught.value.owners)
    assert "metric 'loss' is declared by both" in str(caught.value)


def test_two_bases_with_one_name_clash() -> None:
    """Two bases that each declare a name are an error when the class is made."""
    with pytest.raises(MetricClashError, match=r"'loss' is declared by both .*TrainMetrics and .*OtherMetrics"):

        class Both(TrainMetrics, OtherMetrics):  # type: ignore[misc]
            pass


def test_a_diamond_is_no_clash() -> None:
    """Two bases that have a metric from one and the same class do not clash."""

    class Left(TrainMetrics):
        left = Metric(int)

    class Right(TrainMetrics):
        right = Metric(int)

    class Diamond(Left, Right):
        pass

    assert ["loss", "accuracy", "seconds", "left", "right"] == list(Diamond.metrics)


def test_a_schema_may_have_other_bases() -> None:
    """A base that is no schema adds no metrics and does no harm."""

    class Mixin:
        help = "text"

    class Mixed(Mixin, TrainMetrics):
        pass

    assert list(TrainMetrics.metrics) == list(Mixed.metrics)


def test_a_goal_is_one_of_two() -> None:
    """A goal that is neither "minimize" nor "maximize" is an error where it stands."""
    goal: Any = "min"
    with pytest.raises(SchemaError, match='"minimize" or "maximize", not \'min\''):
        Metric(float, goal=goal)


def test_a_metric_is_declared_once() -> None:
    """A `Metric` object used for a second attribute is an error that says where it was declared."""
    # Python 3.11 wraps what __set_name__ raises into a RuntimeError; later versions let it through.
    with pytest.raises((SchemaError, RuntimeError)) as caught:

        class Twice(MetricSchema):
            again = TrainMetrics.loss

    error = caught.value if isinstance(caught.value, SchemaError) else caught.value.__cause__
    assert isinstance(error, SchemaError)
    assert "metric 'again' is declared already" in str(error)
    assert "TrainMetrics.loss" in str(error)


def test_metrics_is_no_name_for_a_metric() -> None:
    """A metric that would hide the schema's list of metrics is an error."""
    with pytest.raises(SchemaError, match="give that metric another name"):

        class Hidden(MetricSchema):
            metrics = Metric(float)  # type: ignore[assignment]


def test_an_unnamed_metric_prints() -> None:
    """A metric in no schema says so in its repr."""
    assert repr(Metric(float)) == "Metric(unnamed)"


class SecretTags(TypedDict):
    token: SecretStr


class Holder(BaseModel):
    deep: dict[str, list[SecretBytes]]


class Plain:
    """Nothing that Pydantic knows."""


class Tree(TypedDict):
    value: int
    children: "list[Tree]"


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (Metric(SecretStr), "a secret is not to be recorded"),
        (Metric(Holder), "a secret is not to be recorded"),
        (Metric(float, tags=SecretTags), "a secret is not to be recorded"),
        (Metric(Plain), "Plain"),
        (Metric(float, tags=dict[str, int]), "tags are a TypedDict or a model, not dict"),
        (Metric(float, tags=int), "tags are a TypedDict or a model, not int"),
        (Metric(float, tags=Plain), "tags are a TypedDict or a model, not Plain"),
    ],
)
@pytest.mark.parametrize("make", [FrozenMetrics, lambda schema: FrozenContext({}, metrics=schema)])
def test_unusable_types_say_so_when_the_context_is_made(
    make: Callable[[Any], object], metric: Metric[Any, Any], words: str
) -> None:
    """A metric whose types cannot be used is an error when a context is made, which names the metric."""
    fresh: Metric[Any, Any] = Metric(metric.type, tags=metric.tags)
    schema = type("Bad", (MetricSchema,), {"bad": fresh})
    with pytest.raises(SchemaError, match=r"metric '(\w+\.)?bad'") as caught:
        make(schema)
    assert words in str(caught.value)


@pytest.mark.parametrize("schema", [TrainMetrics(), float, {"loss": float}, "TrainMetrics"])
def test_a_schema_is_a_class(schema: Any) -> None:
    """What is no subclass of `MetricSchema` is refused with what to pass instead."""
    with pytest.raises(SchemaError, match="subclass of MetricSchema; pass the class"):
        FrozenMetrics(schema)


def test_a_recursive_type_can_be_measured() -> None:
    """A type that refers to itself validates all the way down."""

    class Trees(MetricSchema):
        tree = Metric(Tree)

    metrics = FrozenMetrics(Trees)
    metrics.add("tree", {"value": 1, "children": [{"value": 2, "children": []}]})
    with pytest.raises(InvalidMetricError, match=r"'children\.0\.value' should be a valid integer"):
        metrics.add("tree", {"value": 1, "children": [{"value": "x", "children": []}]})
    assert 1 == len(metrics.series("tree"))


# Recording


@every_way
@pytest.mark.parametrize("metric", [TrainMetrics.loss, "loss"])
@pytest.mark.parametrize("schema", [TrainMetrics, None])
def test_every_way_to_record_is_the_same(way: Way, metric: Any, schema: type[MetricSchema] | None) -> None:
    """`add`, a series and a bound recorder keep the same point, by metric and by name."""
    metrics = FrozenMetrics(schema)
    way(metrics, metric, 0.5, TRAIN)
    way(metrics, metric, 0.25, VAL)
    assert (0.5, 0.25) == metrics[metric]
    assert (TRAIN, VAL) == metrics.get_tags(metric)
    assert [Point(0.5, TRAIN, None), Point(0.25, VAL, None)] == list(metrics.series(metric))


def test_a_context_records() -> None:
    """`ctx.record` takes a metric, or the name of one with tags by keyword, and says by which step."""
    ctx = FrozenContext({}, metrics=TrainMetrics)
    ctx.record(TrainMetrics.seconds, 1.5)
    with ctx.step("fit") as step:
        step.record("loss", 0.5, tags={"epoch": 1, "split": "train"})
        step.metrics.series(TrainMetrics.seconds).add(2.5)
        step.metrics.series(TrainMetrics.seconds).bind(None)(3.5)
    assert [(1.5, None), (2.5, "fit"), (3.5, "fit")] == [(p.value, p.step) for p in ctx.metrics.series("seconds")]
    assert [Point(0.5, TRAIN, "fit")] == list(ctx.metrics.series(TrainMetrics.loss))


@every_way
@pytest.mark.parametrize("use", ["losss", "Loss"])
def test_an_undeclared_metric_names_the_nearest(way: Way, use: str) -> None:
    """With a schema, a name that it does not declare is an error with the nearest name."""
    metrics = FrozenMetrics(TrainMetrics)
    with pytest.raises(UnknownMetricError) as caught:
        way(metrics, use, 0.5, TRAIN)
    assert f"metric {use!r} is not declared in TrainMetrics; did you mean 'loss'?" == str(caught.value)
    assert {} == metrics.as_dict()


@pytest.mark.parametrize(
    "look",
    [
        lambda metrics, metric: metrics[metric],
        lambda metrics, metric: metrics.get_tags(metric),
        lambda metrics, metric: metrics.series(metric),
    ],
)
def test_looking_an_undeclared_metric_up_is_an_error(look: Callable[[FrozenMetrics, Any], object]) -> None:
    """Looking up what is not declared, or what another schema declares, raises as recording it does."""
    metrics = FrozenMetrics(TrainMetrics)
    with pytest.raises(UnknownMetricError, match="declared are: accuracy, loss, seconds"):
        look(metrics, "zzz")
    with pytest.raises(ForeignMetricError, match="this context records TrainMetrics"):
        look(metrics, OtherMetrics.loss)


@every_way
def test_another_schemas_metric_is_foreign(way: Way) -> None:
    """A metric of another schema is an error that names both schemas, even if the name is declared here."""
    metrics = FrozenMetrics(TrainMetrics)
    with pytest.raises(ForeignMetricError) as caught:
        way(metrics, OtherMetrics.loss, 0.5, None)
    expected = f"metric 'loss' is declared in {__name__}.OtherMetrics, and this context records TrainMetrics"
    assert expected == str(caught.value)
    assert 0 == len(metrics.series("loss"))


@pytest.mark.parametrize("schema", [TrainMetrics, None])
@pytest.mark.parametrize(
    ("metric", "words"),
    [(5, "not 5 (int)"), (None, "not None (NoneType)"), (Metric(float), "this one is not in any")],
)
def test_what_is_no_metric_is_refused(schema: type[MetricSchema] | None, metric: Any, words: str) -> None:
    """What is neither a declared metric nor a name is an error that says what was given."""
    metrics = FrozenMetrics(schema)
    with pytest.raises(ForeignMetricError) as caught:
        metrics.add(metric, 1.0)
    assert words in str(caught.value)
    assert {} == metrics.as_dict()


@every_way
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "cannot record 'loss': should be a finite number, got nan (float)"),
        (np.float32("nan"), "cannot record 'loss': should be a finite number, got nan (float)"),
        ("much", "should be a valid number, unable to parse string as a number, got 'much' (str)"),
        (None, "cannot record 'loss': should be a valid number, got None (NoneType)"),
    ],
)
@pytest.mark.parametrize("schema", [TrainMetrics, None])
def test_an_invalid_value_is_not_recorded(way: Way, value: Any, text: str, schema: type[MetricSchema] | None) -> None:
    """A value that its metric does not allow is an error with value and what was allowed; nothing is recorded."""
    metrics = FrozenMetrics(schema)
    with pytest.raises(InvalidMetricError) as caught:
        way(metrics, TrainMetrics.loss, value, TRAIN)
    assert text in str(caught.value)
    assert "loss" == caught.value.metric
    assert 0 == len(metrics.series(TrainMetrics.loss))


def refuse(value: float) -> float:
    raise ValueError("never good")


def test_a_validators_own_error_is_the_cause() -> None:
    """What a metric's own validator raised is told, and is the cause of the error."""

    class Strict(MetricSchema):
        never = Metric(Annotated[float, AfterValidator(refuse)])

    with pytest.raises(InvalidMetricError, match=r"cannot record 'never': never good, got 1\.0") as caught:
        FrozenMetrics(Strict).add("never", 1.0)
    assert isinstance(caught.value.__cause__, ValueError)


@every_way
@pytest.mark.parametrize(
    ("tags", "error", "words"),
    [
        ({"epoch": 1, "split": "trian"}, InvalidTagError, "'split' should be 'train' or 'val', got 'trian' (str)"),
        ({"epoch": -1, "split": "val"}, InvalidTagError, "'epoch' should be greater than or equal to 0, got -1 (int)"),
        ({"epoch": 1}, MissingTagError, "cannot tag 'loss': 'split' is missing"),
        ({"epoch": 1, "splt": "val"}, MissingTagError, "'splt' is not a tag of this metric; did you mean 'split'?"),
        (
            {"epoch": 1, "split": "val", "zzz": 2},
            InvalidTagError,
            "'zzz' is not a tag of this metric; declared are epoch, split",
        ),
        ({"epoch": 1, "split": "val", 7: 2}, InvalidTagError, "'7' is not a tag of this metric"),
        (None, MissingTagError, "'epoch' is missing"),
        (5, InvalidTagError, "should be a valid dictionary, got 5 (int)"),
        ([("epoch", 1)], InvalidTagError, "should be a valid dictionary"),
    ],
)
def test_invalid_tags_are_not_recorded(way: Way, tags: Any, error: type[InvalidTagError], words: str) -> None:
    """Tags that a metric does not allow are an error with the tag and what was allowed; nothing is recorded."""
    metrics = FrozenMetrics(TrainMetrics)
    with pytest.raises(error) as caught:
        way(metrics, TrainMetrics.loss, 0.5, tags)
    assert words in str(caught.value)
    assert error is type(caught.value)
    assert 0 == len(metrics.series("loss"))


@every_way
def test_a_metric_without_tags_takes_none(way: Way) -> None:
    """A metric that declares no tags takes none: no tags and empty ones are the same."""
    metrics = FrozenMetrics(TrainMetrics)
    way(metrics, "seconds", 1.0, {})
    with pytest.raises(InvalidTagError, match=r"'seconds': takes no tags \(declare .*\), got \{'epoch': 1\} \(dict\)"):
        way(metrics, "seconds", 2.0, {"epoch": 1})
    assert [Point(1.0, None, None)] == list(metrics.series("seconds"))
    assert ({},) == metrics.get_tags("seconds")


def test_errors_about_metrics_pickle() -> None:
    """Every error of a metric keeps its text and facts through a pickle."""
    metrics = FrozenMetrics(TrainMetrics)
    untyped = FrozenMetrics()
    untyped.add("seconds", 1.0)
    acts: list[Callable[[], object]] = [
        lambda: metrics["losss"],
        lambda: metrics[OtherMetrics.loss],
        lambda: by_add(metrics, "loss", "x", TRAIN),
        lambda: by_add(metrics, "loss", 1.0, {"epoch": 1}),
        lambda: by_add(metrics, "loss", 1.0, {"epoch": "x", "split": "val"}),
        lambda: metrics.series("loss").last,
        lambda: untyped.series("seconds").best,
    ]
    for act in acts:
        with pytest.raises(MetricError) as caught:
            act()
        copied = pickle.loads(pickle.dumps(caught.value))
        assert (type(caught.value), str(caught.value), vars(caught.value)) == (type(copied), str(copied), vars(copied))


# Tags as models


@every_way
@pytest.mark.parametrize("tags", [{"path": ["a"]}, {"path": ["a"], "size": 3}, ImageTags(path=["a"])])
def test_model_tags_come_as_instances_and_mappings(way: Way, tags: Any) -> None:
    """Tags declared as a model are given as a mapping or an instance and read as an instance, with defaults."""
    metrics = FrozenMetrics(ListMetrics)
    way(metrics, ListMetrics.boxes, [1], tags)
    assert (ImageTags(path=["a"], size=3),) == metrics.series(ListMetrics.boxes).tags
    assert ({"path": ["a"], "size": 3},) == metrics.get_tags("boxes")


class BiggerTags(ImageTags):
    pass


@every_way
@pytest.mark.parametrize(
    ("tags", "error"),
    [({"path": 5}, InvalidTagError), ({"size": 5}, MissingTagError), (None, MissingTagError), (7, InvalidTagError)],
)
def test_model_tags_validate(way: Way, tags: Any, error: type[InvalidTagError]) -> None:
    """Tags that their model refuses are an error and nothing is recorded."""
    metrics = FrozenMetrics(ListMetrics)
    with pytest.raises(error):
        way(metrics, ListMetrics.boxes, [1], tags)
    assert 0 == len(metrics.series("boxes"))


def test_an_instance_of_another_model_is_refused() -> None:
    """Tags that are an instance of a model other than the declared one are an error that names the declared one."""
    metrics = FrozenMetrics(ListMetrics)
    with pytest.raises(InvalidTagError, match=r"should be an instance of ImageTags or a mapping, got .*OpenTags"):
        by_add(metrics, "boxes", [1], OpenTags(epoch=1))
    assert 0 == len(metrics.series("boxes"))


def test_an_instance_of_a_subclass_of_the_tags_is_an_instance() -> None:
    """Tags that are an instance of a subclass of the declared model are accepted, as checkers accept them."""
    metrics = FrozenMetrics(ListMetrics)
    metrics.add(ListMetrics.boxes, [1], BiggerTags(path=["a"]))
    assert ({"path": ["a"], "size": 3},) == metrics.get_tags("boxes")


def test_an_undeclared_tag_of_a_model_is_refused() -> None:
    """A tag that its model does not declare is an error, though the model by itself would ignore it."""
    metrics = FrozenMetrics(ListMetrics)
    with pytest.raises(InvalidTagError, match="'siz' is not a tag of this metric; did you mean 'size'"):
        metrics.add("boxes", [1], {"path": ["a"], "siz": 4})
    assert 0 == len(metrics.series("boxes"))


def test_a_model_that_allows_extra_tags_keeps_them() -> None:
    """With `extra="allow"` undeclared tags are kept, found by `where` and read back."""

    class Open(MetricSchema):
        loss = Metric(float, tags=OpenTags)

    metrics = FrozenMetrics(Open)
    metrics.add("loss", 0.5, {"epoch": "1", "host": "a"})
    metrics.series(Open.loss).add(0.25, OpenTags.model_validate({"epoch": 2, "host": "b"}))
    assert ({"epoch": 1, "host": "a"}, {"epoch": 2, "host": "b"}) == metrics.get_tags("loss")
    assert (0.25,) == metrics.series("loss").where(host="b").values
    assert {"host": "b"} == metrics.series(Open.loss).tags[1].model_extra


class AliasTags(BaseModel):
    split: str = Field("train", alias="s")


class Aliased(MetricSchema):
    loss = Metric(float, tags=AliasTags)


@every_way
@pytest.mark.parametrize("tags", [{"s": "val"}, AliasTags(s="val")])
def test_tags_may_have_aliases(way: Way, tags: Any) -> None:
    """A tag may be given by its alias; it is kept and found by its name."""
    metrics = FrozenMetrics(Aliased)
    way(metrics, "loss", 0.5, tags)
    assert ({"split": "val"},) == metrics.get_tags("loss")
    assert (AliasTags(s="val"),) == metrics.series(Aliased.loss).tags
    assert (0.5,) == metrics.series("loss").where(split="val").values


def test_a_tag_given_by_name_is_not_dropped_for_its_default() -> None:
    """A tag with an alias that is given by its name is kept, not silently replaced by its default."""
    metrics = FrozenMetrics(Aliased)
    metrics.add("loss", 0.5, {"split": "val"})
    assert ({"split": "val"},) == metrics.get_tags("loss")


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int


class OuterTags(BaseModel):
    inner: Inner


@every_way
def test_an_extra_name_inside_a_tag_is_an_error(way: Way) -> None:
    """A name too many inside a tag's own value is an error that gives its place."""

    class Nested(MetricSchema):
        loss = Metric(float, tags=OuterTags)

    metrics = FrozenMetrics(Nested)
    with pytest.raises(InvalidTagError, match=r"inner\.b"):
        way(metrics, "loss", 0.5, {"inner": {"a": 1, "b": 2}})
    assert 0 == len(metrics.series("loss"))


class ClassTags(BaseModel):
    cls: int


def test_a_tag_may_have_any_name() -> None:
    """A tag named as a parameter of Pydantic's own functions is read back like any other."""

    class ByClass(MetricSchema):
        recall = Metric(float, tags=ClassTags)

    metrics = FrozenMetrics(ByClass)
    metrics.add("recall", 0.5, {"cls": 3})
    assert (ClassTags(cls=3),) == metrics.series(ByClass.recall).tags


def test_tags_may_be_left_out_where_they_are_not_required() -> None:
    """A tag that is not required is kept where it was given and absent where it was not."""
    metrics = FrozenMetrics(ListMetrics)
    metrics.series(ListMetrics.loose).add(0.5, {"epoch": 1})
    metrics.series(ListMetrics.loose).add(0.25, {"epoch": 1, "note": "x"})
    assert ({"epoch": 1}, {"epoch": 1, "note": "x"}) == metrics.series(ListMetrics.loose).tags
    assert (0.25,) == metrics.series(ListMetrics.loose).where(note="x").values


class OrderedTags(BaseModel):
    low: int
    high: int

    @field_validator("high")
    @classmethod
    def above_low(cls, high: int, info: ValidationInfo) -> int:
        if high <= info.data["low"]:
            raise ValueError("should be above low")
        return high


def test_tags_may_be_validated_together() -> None:
    """A tag's validator may look at the tags before it; a lookup by it takes the value as it is."""

    class Ranged(MetricSchema):
        share = Metric(float, tags=OrderedTags)

    metrics = FrozenMetrics(Ranged)
    metrics.add("share", 0.5, {"low": 1, "high": 2})
    with pytest.raises(InvalidTagError, match="'high' should be above low") as caught:
        metrics.add("share", 0.5, {"low": 2, "high": 1})
    assert isinstance(caught.value.__cause__, ValueError)
    assert (0.5,) == metrics.series("share").where(high=2).values


# Numbers


@every_way
@pytest.mark.parametrize("schema", [ListMetrics, None])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array(0.5), 0.5),
        (np.array(7), 7),
        (True, True),
        (1, 1),
        (1.0, 1.0),
        (10**40, 10**40),
    ],
)
def test_numpy_scalars_become_python_numbers(
    way: Way, schema: type[MetricSchema] | None, given: Any, expected: object
) -> None:
    """numpy's scalars and arrays of no dimension are kept as the Python number that they hold, by its type."""
    metrics = FrozenMetrics(schema)
    way(metrics, "any", given, None)
    assert expected == metrics["any"][0]
    assert type(expected) is type(metrics["any"][0])


class StrictTags(TypedDict):
    epoch: StrictInt


class StrictlyTagged(MetricSchema):
    loss = Metric(float, tags=StrictTags)


@every_way
@pytest.mark.parametrize("schema", [StrictlyTagged, None])
def test_numpy_scalars_become_python_numbers_in_tags(way: Way, schema: type[MetricSchema] | None) -> None:
    """numpy's scalars are Python numbers as tags too."""
    metrics = FrozenMetrics(schema)
    way(metrics, "loss", 0.5, {"epoch": np.int64(3)})
    way(metrics, "loss", 0.5, {"epoch": np.array(3)})
    assert ({"epoch": 3},) * 2 == metrics.get_tags("loss")
    assert {int} == {type(tags["epoch"]) for tags in metrics.get_tags("loss")}


def test_arrays_as_tags_are_told_apart() -> None:
    """A part of a series is found by arrays, by what holds them, and by numpy's numbers; an array is no number."""
    metrics = FrozenMetrics()
    left, right = np.zeros(2), np.array([0.0, 1.0])
    for at, tag in enumerate((left, right, {"a": left}, {"a": right}, 0, "x")):
        metrics.add("loss", at, {"tag": tag})
    loss = metrics.series("loss")
    found = [loss.where(tag=tag).values for tag in (left, right, {"a": left}, {"a": right}, np.int64(0), "x")]
    assert [(0,), (1,), (2,), (3,), (4,), (5,)] == found


class StrictMetrics(MetricSchema):
    count = Metric(StrictInt)
    share = Metric(StrictFloat)


@every_way
@pytest.mark.parametrize(("metric", "value"), [("count", True), ("count", 1.0), ("count", "1"), ("share", True)])
def test_strict_metrics_take_no_other_type(way: Way, metric: str, value: Any) -> None:
    """A strict metric refuses what would have to be converted, a bool for a number too."""
    metrics = FrozenMetrics(StrictMetrics)
    with pytest.raises(InvalidMetricError, match=f"{type(value).__name__}"):
        way(metrics, metric, value, None)
    assert () == metrics[metric]


@every_way
@pytest.mark.parametrize(
    ("metric", "given", "expected"),
    [("count", np.int16(3), 3), ("share", np.float64(0.5), 0.5), ("share", np.array(0.5, np.float32), 0.5)],
)
def test_strict_metrics_take_numpys_numbers(way: Way, metric: str, given: Any, expected: float) -> None:
    """numpy's scalars become Python numbers before they are validated, so a strict metric takes them."""
    metrics = FrozenMetrics(StrictMetrics)
    way(metrics, metric, given, None)
    assert (expected,) == metrics[metric]


# Times

duration: Any = np.timedelta64
instant: Any = np.datetime64
"""Without NumPy's own types, whose overloads know no unit that is a variable."""

TIMES = [
    *(duration(5, unit) for unit in ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")),
    *(instant("2024", unit) for unit in ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns")),
    *(instant(5, unit) for unit in ("ps", "fs", "as")),
    *(duration(5), duration(5, "25s"), duration("NaT"), duration("NaT", "ns")),
    *(instant("NaT"), instant("NaT", "ns"), instant(10**18, "s"), np.array(instant(5, "ns"))),
    *(pd.Timestamp("2024-01-01 00:00:00.000000001"), pd.Timestamp("2024-01-01", tz="Asia/Tokyo")),
    *(pd.Timedelta(5, "ns"), pd.NaT, pd.NA),
]


class AnyTags(TypedDict):
    at: Any


class AnyTimes(MetricSchema):
    loss = Metric(Any, tags=AnyTags)


@every_way
@pytest.mark.parametrize("schema", [AnyTimes, None])
@pytest.mark.parametrize("time", TIMES, ids=repr)
def test_times_are_kept_as_they_are(way: Way, schema: type[MetricSchema] | None, time: Any) -> None:
    """The times of NumPy and pandas are no numbers: as values and tags they keep their type, their unit and NaT."""
    metrics = FrozenMetrics(schema)
    way(metrics, "loss", time, {"at": time})

    assert same(time, metrics["loss"][0])
    assert same(time, metrics.get_tags("loss")[0]["at"])
    assert (time is not pd.NaT) == len(metrics.series("loss").where(at=time))
    assert 0 == len(metrics.series("loss").where(at=5))


class TimeTags(TypedDict):
    at: datetime
    note: NotRequired[str]


class TypedTimes(MetricSchema):
    took = Metric(timedelta, tags=TimeTags)
    day = Metric(date)
    count = Metric(int)


@every_way
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "25s"])
def test_times_of_numpy_under_a_type_of_python(way: Way, unit: str) -> None:
    """A metric of Python's times accepts NumPy's that are exactly equal, as values, as tags and in a search."""
    metrics = FrozenMetrics(TypedTimes)
    at = instant("2024-01-02T03:04:10", unit)
    way(metrics, "took", duration(6000, unit), {"at": at, "note": "x"})
    way(metrics, "day", instant("2024-01-02"), None)

    first = metrics["took"][0]
    assert (timedelta, duration(6000, unit)) == (type(first), duration(first))  # of equal length
    assert ({"at": datetime(2024, 1, 2, 3, 4, 10), "note": "x"},) == metrics.get_tags("took")
    assert 1 == len(metrics.series("took").where(at=at))
    assert (date(2024, 1, 2),) == metrics["day"]


@every_way
@pytest.mark.parametrize(
    ("metric", "given"),
    [
        *(("took", duration(5, unit)) for unit in ("Y", "M", "ns", "as")),
        *(("took", time) for time in (duration(5), duration("NaT"), instant("2024-01-01", "s"), pd.NaT)),
        *(("day", time) for time in (instant("2024"), instant("NaT"), instant(10**18, "s"))),
        *(("count", time) for time in (duration(5, "s"), instant("NaT"), pd.NaT)),
    ],
)
def test_times_that_no_type_of_python_has(way: Way, metric: str, given: Any) -> None:
    """A time that would change when it becomes one of Python, or a number, is refused by name, and none is recorded."""
    metrics = FrozenMetrics(TypedTimes)
    with pytest.raises(InvalidMetricError, match=f"cannot record '{metric}': should be a"):
        way(metrics, metric, given, {"at": datetime(2024, 1, 2)} if metric == "took" else None)
    with pytest.raises(InvalidTagError, match="'at' should be a"):
        way(metrics, "took", timedelta(1), {"at": instant("2024-01-01T00:00:00.000000001")})
    assert () == metrics[metric]


class Half:
    """A number of half precision, as `ml_dtypes.bfloat16` is one."""

    ndim = 0

    def __init__(self, value: float) -> None:
        self._value = value

    def item(self) -> float:
        return self._value


Half.__module__ = "ml_dtypes"


def halves() -> list[tuple[Any, float]]:
    """Return scalars of ml_dtypes, real ones if it is installed, with the number that each is."""
    found: list[tuple[Any, float]] = [(Half(0.5), 0.5)]
    if find_spec("ml_dtypes") is not None:
        ml_dtypes: Any = import_module("ml_dtypes")
        found += [(ml_dtypes.bfloat16(0.375), 0.375), (ml_dtypes.float8_e4m3fn(0.5), 0.5), (ml_dtypes.int4(-3), -3)]
        found += [(np.array([0.5, 0.25], ml_dtypes.bfloat16).mean(), 0.375)]
    return found


@every_way
@pytest.mark.parametrize("schema", [ListMetrics, None])
@pytest.mark.parametrize(("given", "expected"), halves())
def test_scalars_of_ml_dtypes_become_numbers(
    way: Way, schema: type[MetricSchema] | None, given: Any, expected: float
) -> None:
    """A bfloat16, a float8 or an int4 is kept as the Python number that is equal to it, as a value and as a tag."""
    metrics = FrozenMetrics(schema)
    way(metrics, "any", given, None)
    if schema is None:
        way(metrics, "loss", 0.5, {"scale": given})
        assert ({"scale": expected},) == metrics.get_tags("loss")

    assert (expected,) == metrics["any"]
    assert type(expected) is type(metrics["any"][0])


# Isolation


@every_way
@pytest.mark.parametrize("schema", [ListMetrics, None])
def test_what_was_passed_in_may_change_afterwards(way: Way, schema: type[MetricSchema] | None) -> None:
    """Changing a value or tags after recording them changes nothing that is kept."""
    metrics = FrozenMetrics(schema)
    value, tags = [1, {"deep": [2]}], {"path": ["a"], "size": 1}
    way(metrics, "boxes", value, tags)
    value[1]["deep"].append("changed")  # type: ignore[index]
    tags["path"].append("changed")  # type: ignore[attr-defined]
    tags["more"] = 1
    assert ([1, {"deep": [2]}],) == metrics["boxes"]
    assert ({"path": ["a"], "size": 1},) == metrics.get_tags("boxes")


def test_an_instance_passed_as_tags_may_change_afterwards() -> None:
    """Changing a model instance after it served as tags changes nothing that is kept."""
    metrics = FrozenMetrics(ListMetrics)
    tags = ImageTags(path=["a"])
    metrics.add(ListMetrics.boxes, [1], tags)
    bound = metrics.series(ListMetrics.boxes).bind(tags)
    tags.path.append("changed")
    bound([2])
    assert (["a"], ["a"]) == tuple(read.path for read in metrics.series(ListMetrics.boxes).tags)


READS: list[Callable[[FrozenMetrics], Any]] = [
    lambda metrics: metrics["boxes"][0],
    lambda metrics: metrics.as_dict()["boxes"][0],
    lambda metrics: metrics.series("boxes").last,
    lambda metrics: metrics.series("boxes").values[0],
    lambda metrics: next(iter(metrics.series("boxes"))).value,
    lambda metrics: dict(metrics.get_tags("boxes")[0])["path"],
    lambda metrics: dict(metrics.series("boxes").tags[0])["path"],
    lambda metrics: dict(next(iter(metrics.series("boxes"))).tags)["path"],
]


@every_way
@pytest.mark.parametrize("schema", [ListMetrics, None])
@pytest.mark.parametrize("read", READS)
def test_what_is_read_may_be_changed(
    way: Way, schema: type[MetricSchema] | None, read: Callable[[FrozenMetrics], Any]
) -> None:
    """Changing what was handed out changes nothing that is kept."""
    metrics = FrozenMetrics(schema)
    way(metrics, "boxes", [1], {"path": ["a"], "size": 3})
    read(metrics).append("changed")
    assert ([1],) == metrics["boxes"]
    assert ({"path": ["a"], "size": 3},) == metrics.get_tags("boxes")


def test_tags_that_were_read_may_be_changed() -> None:
    """The dicts of tags that are handed out are the reader's own."""
    metrics = FrozenMetrics()
    metrics.add("loss", 1.0, {"a": 1})
    metrics.get_tags("loss")[0]["a"] = 2
    metrics.series("loss").tags[0]["b"] = 2
    assert ({"a": 1},) == metrics.get_tags("loss")


class Stubborn:
    def __deepcopy__(self, memo: object) -> "Stubborn":
        raise RuntimeError("never")


@every_way
@pytest.mark.parametrize("schema", [ListMetrics, None])
def test_a_value_that_cannot_be_copied_is_refused(way: Way, schema: type[MetricSchema] | None) -> None:
    """A value that cannot be kept apart from its writer is an error that names its metric; nothing is recorded."""
    metrics = FrozenMetrics(schema)
    with pytest.raises(UncopyableValueError, match="a value of metric 'any'"):
        way(metrics, "any", Stubborn(), None)
    assert () == metrics["any"]


# Without a schema


def test_as_published() -> None:
    """`FrozenMetrics()` by itself takes any name, value and tags, and hands out tuples and a read-only mapping."""
    metrics = FrozenMetrics()
    metrics.add("loss", 0.5)
    metrics.add("loss", 0.25, {"split": "val"})
    metrics.add(key="note", value="done", tags={"by": "me"})
    assert {"loss": (0.5, 0.25), "note": ("done",)} == metrics.as_dict()
    assert ({}, {"split": "val"}) == metrics.get_tags("loss")
    assert (0.5, 0.25) == metrics["loss"]
    with pytest.raises(TypeError):
        metrics.as_dict()["loss"] = ()  # type: ignore[index]


def test_looking_never_creates() -> None:
    """Asking after a metric that was never recorded gives nothing and creates nothing."""
    metrics = FrozenMetrics()
    series = metrics.series("loss")
    assert () == metrics["loss"]
    assert () == metrics.get_tags("loss")
    assert ((), (), 0, [], None) == (series.values, series.tags, len(series), list(series), series.metric)
    assert () == series.where(split="val").values
    with pytest.raises(NoPointsError):
        series.last
    assert "loss" not in metrics
    assert ([], {}, 0) == (list(metrics), dict(metrics.as_dict()), len(metrics))


@every_way
@pytest.mark.parametrize("tags", [5, "split", [("a", 1)], {5: 1}])
def test_tags_are_a_mapping_by_name(way: Way, tags: Any) -> None:
    """Without a schema tags are still a mapping from names."""
    metrics = FrozenMetrics()
    with pytest.raises(InvalidTagError, match=r"cannot tag 'loss': .*should be a "):
        way(metrics, "loss", 0.5, tags)
    assert {} == metrics.as_dict()


@every_way
@pytest.mark.parametrize("name", ["", "a\nb", "x" * 256, "\ud800"])
def test_a_metrics_name_is_a_key(way: Way, name: str) -> None:
    """Without a schema a metric's name is held to what a key is held to."""
    metrics = FrozenMetrics()
    with pytest.raises(InvalidKeyError):
        way(metrics, name, 0.5, None)
    assert [] == list(metrics)


class Odd(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 7


class Names(StrEnum):
    LOSS = "loss"


@every_way
@pytest.mark.parametrize("name", [Odd("loss"), Names.LOSS])
@pytest.mark.parametrize("schema", [OtherMetrics, None])
def test_a_name_is_the_plain_text_that_it_holds(way: Way, name: str, schema: type[MetricSchema] | None) -> None:
    """A subclass of `str` names the metric that its text names, whatever it says of its own equality."""
    metrics = FrozenMetrics(schema)
    way(metrics, name, 1.0, None)
    way(metrics, name, 2.0, None)
    way(metrics, "loss", 3.0, None)
    assert {"loss": (1.0, 2.0, 3.0)} == metrics.as_dict()
    assert (1.0, 2.0, 3.0) == metrics[name]
    assert str is type(next(iter(metrics)))


@every_way
def test_the_first_use_of_a_name_fixes_it(way: Way) -> None:
    """Without a schema a name stands for what was first recorded under it: a metric, or none declared."""
    metrics = FrozenMetrics()
    way(metrics, TrainMetrics.loss, 0.5, TRAIN)
    with pytest.raises(ForeignMetricError, match=r"first recorded as Metric\(.*TrainMetrics.loss\)"):
        way(metrics, OtherMetrics.loss, 0.5, None)
    with pytest.raises(InvalidTagError):
        way(metrics, "loss", 0.5, {"epoch": 1, "split": "trian"})
    way(metrics, "free", 0.5, None)

    class Free(MetricSchema):
        free = Metric(float)

    with pytest.raises(ForeignMetricError, match="first recorded without a declaration"):
        way(metrics, Free.free, 0.5, None)
    assert {"loss": (0.5,), "free": (0.5,)} == metrics.as_dict()


@every_way
def test_a_point_that_fails_takes_no_name(way: Way) -> None:
    """Without a schema a point that was refused leaves its name free."""
    metrics = FrozenMetrics()
    with pytest.raises(InvalidTagError):
        way(metrics, "loss", 0.5, 7)
    with pytest.raises(MetricError):
        way(metrics, OtherMetrics.loss, 0.5, {"takes": "none"})
    way(metrics, TrainMetrics.loss, 0.5, TRAIN)
    assert (0.5,) == metrics[TrainMetrics.loss]


def test_a_series_of_a_metric_is_held_to_it_before_its_first_point() -> None:
    """Without a schema a series made by a metric knows that metric, and checks a lookup by it."""
    series = FrozenMetrics().series(TrainMetrics.loss)
    assert series.metric is TrainMetrics.loss
    with pytest.raises(NoPointsError, match="metric 'loss' has no points"):
        series.best
    with pytest.raises(InvalidTagError):
        series.where(split="trian")


class FilteredMetrics(MetricSchema):
    loss = Metric(float, tags=EpochTags, goal="minimize")
    pixels = Metric(int, tags=ImageTags)
    seconds = Metric(float)


def test_a_series_is_filtered_by_a_function_of_the_tags() -> None:
    """The function gets the tags of each point, and narrows any other filter."""
    metrics = FrozenMetrics(FilteredMetrics)
    loss = metrics.series(FilteredMetrics.loss)
    late = loss.where(lambda tags: tags["epoch"] > 0)
    for epoch in range(3):
        loss.add(1 - epoch / 4, {"epoch": epoch, "split": "train"})
        loss.add(2 - epoch / 4, {"epoch": epoch, "split": "val"})
    assert (0.75, 1.75, 0.5, 1.5) == late.values
    assert (0.75, 0.5, 0.5) == late.where(split="train").values + late.where(lambda tags: tags["epoch"] > 1).values[:1]
    assert (0.5,) == loss.where(lambda tags: tags["epoch"] > 1, split="train").values
    assert (4, 0.75, 1.5, 0.5, "loss") == (len(late), late.first, late.last, late.best, late.name)
    assert all(point.tags["epoch"] > 0 for point in late)


def test_a_function_gets_the_tags_that_readers_get() -> None:
    """It gets an instance of the tags' model, a dict of undeclared tags, and None for a metric without tags."""
    metrics = FrozenMetrics(FilteredMetrics)
    metrics.add(FilteredMetrics.pixels, 9, ImageTags(path=["a"]))
    metrics.add(FilteredMetrics.seconds, 0.5)
    assert (9,) == metrics.series(FilteredMetrics.pixels).where(lambda tags: tags.path == ["a"]).values
    assert () == metrics.series(FilteredMetrics.pixels).where(lambda tags: tags.size > 3).values
    assert (0.5,) == metrics.series(FilteredMetrics.seconds).where(lambda tags: tags is None).values
    free = FrozenMetrics()
    free.add("loss", 0.5, {"host": "a"})
    assert (0.5,) == free.series("loss").where(lambda tags: tags.pop("host") == "a").values
    assert ({"host": "a"},) == free.get_tags("loss")
    assert () == free.series("other").where(lambda tags: tags["none"]).values


def test_a_series_names_its_filters() -> None:
    """Its text and its errors name the functions and the tags that it was filtered by."""

    def is_late(tags: EpochTags) -> bool:
        return tags["epoch"] > 3

    series = FrozenMetrics(FilteredMetrics).series(FilteredMetrics.loss).where(is_late, split="val")
    assert "Series('loss', is_late, split='val'; 0 points)" == repr(series)
    assert "Series('loss', a function; 0 points)" == repr(FrozenMetrics().series("loss").where(partial(is_late)))
    with pytest.raises(NoPointsError, match="is_late, split='val'"):
        series.last


def test_a_filter_is_a_function_or_tags() -> None:
    """Anything else in place of the function is refused, and the error shows how to filter by a tag."""
    free: Any = FrozenMetrics().series("loss")
    with pytest.raises(InvalidTagError, match=r"should be a function of the tags, or tags by name.*got 'train'"):
        free.where("train")


@pytest.mark.parametrize("sinks", [(), (MemorySink(),)])
def test_recorders_have_docstrings(sinks: tuple[Sink, ...]) -> None:
    """`help` and IPython describe the functions of a series, whichever recorder it has."""
    ctx = FrozenContext(metrics=FilteredMetrics, sinks=sinks)
    seconds, pixels = ctx.metrics.series(FilteredMetrics.seconds), ctx.metrics.series(FilteredMetrics.pixels)
    for add in (seconds.add, pixels.add, FrozenMetrics().series("loss").add):
        assert "Record a point." == (add.__doc__ or "").partition("\n")[0]
        assert ["value", "tags"] == [*inspect.signature(add).parameters]
    assert "InvalidTagError" in (inspect.getdoc(type(seconds).add) or "")
    for note in (seconds.bind(), pixels.bind(ImageTags(path=["a"]))):
        assert "Record a value with the tags of `bind`." == note.__doc__


def test_a_series_knows_the_metric_recorded_under_its_name() -> None:
    """A series made by name knows the metric once one was recorded under it."""
    metrics = FrozenMetrics()
    series = metrics.series("loss")
    metrics.add(TrainMetrics.loss, 0.5, TRAIN)
    assert series.metric is TrainMetrics.loss
    assert 0.5 == series.best


# Series


def filled(schema: type[MetricSchema] | None = TrainMetrics) -> FrozenMetrics:
    metrics = FrozenMetrics(schema)
    for epoch, (train, val) in enumerate([(0.9, 0.8), (0.5, 0.4), (0.3, 0.6)]):
        for metric in (TrainMetrics.loss, TrainMetrics.accuracy):
            metrics.series(metric).add(train, {"epoch": epoch, "split": "train"})
            metrics.series(metric).add(val, {"epoch": epoch, "split": "val"})
    return metrics


@pytest.mark.parametrize("schema", [TrainMetrics, None])
def test_a_series_reads_what_was_recorded(schema: type[MetricSchema] | None) -> None:
    """A series has values, tags, the last and the best by its goal, a length, and iterates over points."""
    loss = filled(schema).series(TrainMetrics.loss)
    assert (0.9, 0.8, 0.5, 0.4, 0.3, 0.6) == loss.values
    assert ({"epoch": 2, "split": "val"}, 6) == (loss.tags[-1], len(loss))
    assert (0.6, 0.3) == (loss.last, loss.best)
    assert 0.9 == filled(schema).series(TrainMetrics.accuracy).best
    assert Point(0.9, {"epoch": 0, "split": "train"}, None) == next(iter(loss))
    assert ("loss", TrainMetrics.loss) == (loss.name, loss.metric)


@pytest.mark.parametrize("schema", [TrainMetrics, None])
def test_where_narrows_a_series(schema: type[MetricSchema] | None) -> None:
    """`where` gives the points with these tags, is a live view, and chains."""
    metrics = filled(schema)
    val = metrics.series(TrainMetrics.loss).where(split="val")
    assert ((0.8, 0.4, 0.6), 3, 0.6, 0.4) == (val.values, len(val), val.last, val.best)
    part = val.where(epoch=1)
    assert ((0.4,), part.values) == (part.values, val.where(epoch="1" if schema else 1).values)
    metrics.add("loss", 0.1, {"epoch": 3, "split": "val"})
    assert 0.1 == val.last
    val.add(0.7, {"epoch": 4, "split": "train"})
    assert 0.1 == val.last
    assert (8, 4) == (len(metrics.series("loss")), len(val))
    assert "Series('loss', split='val'; 4 points)" == repr(val)


def test_where_on_nothing_found() -> None:
    """The last and the best of a narrowed series without points say by which tags it was narrowed."""
    none = filled().series(TrainMetrics.loss).where(epoch=9, split="val")
    assert ((), 0, []) == (none.values, len(none), list(none))
    looks: list[Callable[[], object]] = [lambda: none.last, lambda: none.best]
    for look in looks:
        with pytest.raises(NoPointsError, match="metric 'loss' has no points where epoch=9, split='val'"):
            look()


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"splt": "val"}, "'splt' is not a tag of this metric; did you mean 'split'?"),
        ({"split": "trian"}, "'split' should be 'train' or 'val', got 'trian' (str)"),
        ({"epoch": -1}, "'epoch' should be greater than or equal to 0"),
    ],
)
def test_where_checks_tags(tags: dict[str, Any], words: str) -> None:
    """`where` by a tag that is not declared, or a value that is not allowed, is an error."""
    with pytest.raises(InvalidTagError) as caught:
        filled().series(TrainMetrics.loss).where(**tags)
    assert words in str(caught.value)


def test_where_without_a_schema() -> None:
    """Without a declaration `where` goes by equality, in which a bool is no number."""
    metrics = FrozenMetrics()
    metrics.add("loss", 0.1, {"a": 1, "path": ["x"]})
    metrics.add("loss", 0.2, {"a": True})
    metrics.add("loss", 0.3, {"a": 1.0})
    metrics.add("loss", 0.4)
    series = metrics.series("loss")
    assert (0.1, 0.3) == series.where(a=1).values
    assert (0.2,) == series.where(a=True).values
    assert (0.1,) == series.where(path=["x"]).values
    assert () == series.where(b=1).values


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([math.nan, 2.0, 1.0, math.nan, 3.0], 1.0, 3.0),
        ([math.nan, math.inf], math.inf, math.inf),
        ([-math.inf, 0.0, math.nan], -math.inf, 0.0),
    ],
)
def test_nan_is_never_the_best(goal: Any, values: list[float], low: float, high: float) -> None:
    """NaN is never better than a number, whichever way the goal points."""
    schema = type("Any", (MetricSchema,), {"m": Metric(float, goal=goal)})
    metrics = FrozenMetrics(schema)
    for value in values:
        metrics.add("m", value)
    assert (low if goal == "minimize" else high) == metrics.series("m").best


def test_the_best_of_nan_alone_is_nan() -> None:
    """Where there is no number, the best is NaN."""
    metrics = FrozenMetrics(TrainMetrics)
    metrics.add(TrainMetrics.accuracy, math.nan, TRAIN)
    assert math.isnan(metrics.series(TrainMetrics.accuracy).best)


def test_the_best_is_the_first_of_equals() -> None:
    """Of equal values the first is the best."""

    class Goals(MetricSchema):
        up = Metric(int | float, goal="maximize")
        down = Metric(int | float, goal="minimize")

    metrics = FrozenMetrics(Goals)
    for value in (1, 1.0):
        metrics.add("up", value)
        metrics.add("down", value)
    assert (int, int) == (type(metrics.series("up").best), type(metrics.series("down").best))


def test_none_is_never_the_best() -> None:
    """A metric that may be None has its best among its numbers."""

    class Maybe(MetricSchema):
        score = Metric(float | None, goal="maximize")

    metrics = FrozenMetrics(Maybe)
    for value in (None, 1.0, 2.0, None):
        metrics.add("score", value)
    assert 2.0 == metrics.series("score").best


@pytest.mark.parametrize("schema", [TrainMetrics, None])
def test_no_goal_no_best(schema: type[MetricSchema] | None) -> None:
    """The best of a metric without a goal is an error that says how to declare one."""
    metrics = FrozenMetrics(schema)
    metrics.add("seconds", 1.0)
    with pytest.raises(NoGoalError, match=r"metric 'seconds' has no goal.*goal=.minimize"):
        metrics.series("seconds").best


def test_the_best_of_nothing() -> None:
    """The best and the last of a series without points are errors."""
    loss = FrozenMetrics(TrainMetrics).series(TrainMetrics.loss)
    looks: list[Callable[[], object]] = [lambda: loss.best, lambda: loss.last]
    for look in looks:
        with pytest.raises(NoPointsError, match=r"(?m)metric 'loss' has no points$"):
            look()


def test_metrics_iterate_and_print() -> None:
    """Metrics iterate over the names recorded, and print how many points each has."""
    metrics = FrozenMetrics(TrainMetrics)
    assert "FrozenMetrics(no points)" == repr(metrics)
    assert ["loss", "accuracy", "seconds"] == metrics._ipython_key_completions_()
    metrics.add(TrainMetrics.seconds, 1.0)
    metrics.add(TrainMetrics.loss, 1.0, TRAIN)
    metrics.add(TrainMetrics.seconds, 2.0)
    assert ({"loss", "seconds"}, 2) == (set(metrics), len(metrics))
    assert "seconds: 2" in repr(metrics)
    assert metrics.schema is TrainMetrics


def test_in_asks_what_was_recorded() -> None:
    """`in` says whether a metric, or one of a name, was recorded; it never raises."""
    metrics = FrozenMetrics(TrainMetrics)
    metrics.add(TrainMetrics.seconds, 1.0)
    found = [
        metric in metrics for metric in ("seconds", TrainMetrics.seconds, "loss", TrainMetrics.loss, "zzz", 5, None)
    ]
    assert [True, True, False, False, False, False, False] == found


def test_another_schemas_metric_is_not_in() -> None:
    """A metric of another schema was not recorded, though one of its name was."""
    metrics = FrozenMetrics()
    metrics.add(TrainMetrics.loss, 1.0, TRAIN)
    assert OtherMetrics.loss not in metrics


# Secrets


@every_way
@pytest.mark.parametrize("schema", [ListMetrics, None])
@pytest.mark.parametrize("value", [SecretStr("hunter2"), [SecretStr("hunter2")], {"a": SecretBytes(b"hunter2")}])
def test_a_secret_is_not_recorded(way: Way, schema: type[MetricSchema] | None, value: Any) -> None:
    """A value with a secret in it is refused, also by a metric that takes any value."""
    metrics = FrozenMetrics(schema)
    with pytest.raises(InvalidMetricError, match="should be no secret"):
        way(metrics, "any", value, None)
    assert () == metrics["any"]


@every_way
def test_a_secret_is_no_tag(way: Way) -> None:
    """A tag with a secret in it is refused."""
    metrics = FrozenMetrics()
    with pytest.raises(InvalidTagError, match="'token' should be no secret, got SecretStr"):
        way(metrics, "loss", 1.0, {"token": SecretStr("hunter2")})
    assert {} == metrics.as_dict()


@every_way
def test_a_secret_is_no_undeclared_tag(way: Way) -> None:
    """A tag with a secret in it is refused, also where the tags' model allows undeclared ones."""

    class Open(MetricSchema):
        loss = Metric(float, tags=OpenTags)

    metrics = FrozenMetrics(Open)
    with pytest.raises(InvalidTagError, match="should be no secret"):
        way(metrics, "loss", 1.0, {"epoch": 1, "token": SecretStr("hunter2")})
    assert {} == metrics.as_dict()


# Copies


VALUES: list[Any] = [1, 1.5, math.pi, "text", None, [1, [2]], {"a": {"b": [1]}}, (1, [2]), {1, 2}, Decimal("1.5")]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda metrics: pickle.loads(pickle.dumps(metrics))])
def test_copies_of_metrics_are_independent(copied: Callable[[FrozenMetrics], FrozenMetrics]) -> None:
    """A copy or pickle of metrics has the same points, of every kind of value, and goes its own way from there."""
    metrics = FrozenMetrics()
    metrics.add(TrainMetrics.loss, 0.5, TRAIN)
    for value in VALUES:
        metrics.add("free", value, {"tag": [value]})
    other = copied(metrics)
    assert metrics.as_dict() == other.as_dict()
    assert metrics.get_tags("free") == other.get_tags("free")
    other.add("free", "more")
    metrics.add(TrainMetrics.loss, 0.25, VAL)
    assert (len(VALUES), len(VALUES) + 1) == (len(metrics["free"]), len(other["free"]))
    assert ((0.5, 0.25), (0.5,)) == (metrics["loss"], other[TrainMetrics.loss])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda metrics: pickle.loads(pickle.dumps(metrics))])
def test_copies_of_metrics_keep_their_schema(copied: Callable[[FrozenMetrics], FrozenMetrics]) -> None:
    """A copy of metrics with a schema is held to that schema."""
    metrics = FrozenMetrics(TrainMetrics)
    metrics.add(TrainMetrics.loss, 0.5, TRAIN)
    other = copied(metrics)
    assert other.schema is TrainMetrics
    assert (0.5,) == other[TrainMetrics.loss]
    with pytest.raises(UnknownMetricError):
        other.add("losss", 1.0)


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda metric: pickle.loads(pickle.dumps(metric)),
        lambda metric: cloudpickle.loads(cloudpickle.dumps(metric)),
    ],
)
def test_an_importable_metric_is_found_again(copied: Callable[[object], object]) -> None:
    """A metric of a schema that can be imported stays that very metric through a copy or a pickle."""
    assert copied(TrainMetrics.loss) is TrainMetrics.loss


def local_schema() -> type[MetricSchema]:
    class Local(MetricSchema):
        loss = Metric(float, tags=EpochTags, unit="nats", goal="minimize", description="Words.")

    return Local


def test_a_metric_that_cannot_be_imported_pickles_by_value() -> None:
    """A metric of a local schema comes back from a pickle by its name, and records as the original does."""
    schema = local_schema()
    loss = schema.metrics["loss"]
    again = pickle.loads(pickle.dumps(loss))
    facts = [(metric.name, metric.owner, metric.unit, metric.goal, metric.description) for metric in (loss, again)]
    assert facts[0] == facts[1]
    metrics = FrozenMetrics(schema)
    metrics.add(again, 0.5, TRAIN)
    assert (0.5,) == metrics[loss]
    free = FrozenMetrics()
    free.add(loss, 0.5, TRAIN)
    free.add(again, 0.25, TRAIN)
    assert (0.5, 0.25) == free[loss]


def test_a_pickled_metric_of_another_schema_stays_foreign() -> None:
    """A metric that came by pickle is still refused where another schema is in use."""
    again = pickle.loads(pickle.dumps(local_schema().metrics["loss"]))
    with pytest.raises(ForeignMetricError):
        FrozenMetrics(TrainMetrics).add(again, 0.5, TRAIN)


def test_an_unnamed_metric_pickles() -> None:
    """A metric that is in no schema pickles too, and is as little to be recorded afterwards."""
    again = pickle.loads(pickle.dumps(Metric(float, unit="s")))
    assert ("Metric(unnamed)", "s") == (repr(again), again.unit)


def run(code: str, data: bytes = b"") -> bytes:
    done = subprocess.run([sys.executable, "-c", dedent(code)], input=data, capture_output=True, check=False)
    assert b"" == done.stderr
    return done.stdout


DECLARED_IN_MAIN = """
    import sys, cloudpickle
    from typing_extensions import TypedDict
    from crystallize import FrozenContext, Metric, MetricSchema
    class Tags(TypedDict):
        epoch: int
    class Mine(MetricSchema):
        loss = Metric(float, tags=Tags, goal="minimize")
    ctx = FrozenContext({}, metrics=Mine)
    ctx.record(Mine.loss, 0.5, {"epoch": 1})
"""


@pytest.mark.slow
def test_a_schema_in_main_travels_by_cloudpickle() -> None:
    """A metric, its schema and a context of it, declared in `__main__`, work in another process."""
    sent = run(DECLARED_IN_MAIN + "    sys.stdout.buffer.write(cloudpickle.dumps((Mine.loss, Mine, ctx)))\n")
    got = run(
        """
        import sys, cloudpickle
        from crystallize import FrozenContext, InvalidTagError
        loss, Mine, ctx = cloudpickle.loads(sys.stdin.buffer.read())
        ctx.record(loss, 0.25, {"epoch": 2})
        ctx.record(Mine.loss, 0.125, {"epoch": 3})
        try:
            ctx.record("loss", 0.1, {"epok": 3})
        except InvalidTagError:
            pass
        fresh = FrozenContext({}, metrics=Mine)
        fresh.record(loss, 1.0, {"epoch": 1})
        print(ctx.metrics["loss"], ctx.metrics.series(loss).best, fresh.metrics["loss"], list(Mine.metrics))
        """,
        sent,
    )
    assert "(0.5, 0.25, 0.125) 0.125 (1.0,) ['loss']" == got.decode().strip()


@pytest.mark.slow
def test_a_metric_in_main_comes_back_to_its_process() -> None:
    """A metric of `__main__` that went through another process is found again by name at home."""
    got = run(
        DECLARED_IN_MAIN
        + "    again = cloudpickle.loads(cloudpickle.dumps(Mine.loss))\n"
        + "    ctx.record(again, 0.25, {'epoch': 2})\n"
        + "    print(ctx.metrics[Mine.loss])\n"
    )
    assert "(0.5, 0.25)" == got.decode().strip()


def test_first_value() -> None:
    """A series knows its oldest value, of all points and of those with given tags."""
    series = FrozenContext({}, metrics=TrainMetrics).metrics.series(TrainMetrics.loss)
    with pytest.raises(NoPointsError, match="metric 'loss' has no points"):
        series.first
    series.add(0.0, {"epoch": 0, "split": "train"})
    series.add(1.0, {"epoch": 1, "split": "val"})
    series.add(2.0, {"epoch": 2, "split": "train"})

    assert 0.0 == series.first
    assert 1.0 == series.where(split="val").first


def test_tags_of_a_larger_model_are_refused() -> None:
    """An instance of a subclass of the tag model that declares more is refused, and the tag too many is named."""

    class Tags(BaseModel):
        epoch: int

    class More(Tags):
        fold: int = 0

    class Schema(MetricSchema):
        loss = Metric(float, tags=Tags)

    ctx = FrozenContext({}, metrics=Schema)
    with pytest.raises(InvalidTagError, match="'fold' is not a tag of this metric"):
        ctx.record(Schema.loss, 0.5, More(epoch=1))

    assert () == ctx.metrics[Schema.loss]


def test_a_metric_stays_as_declared() -> None:
    """No attribute of a metric can be assigned or deleted after its declaration."""
    loss: Any = TrainMetrics.loss  # checkers report the assignment
    with pytest.raises(ContextMutationError, match=r"Cannot assign .goal. of .*: a metric stays as declared"):
        loss.goal = "maximize"
    with pytest.raises(ContextMutationError, match=r"Cannot delete .goal. of .*: a metric stays as declared"):
        del loss.goal
    assert "minimize" == TrainMetrics.loss.goal


@pytest.mark.parametrize("annotation", [float, Metric[float, Any], "NotDefined"])
def test_what_is_only_annotated_in_a_schema(annotation: Any) -> None:
    """A name that is only annotated, as in a model, is refused: it would be no metric."""
    with pytest.raises(SchemaError, match="'loss' is annotated alone; declare it as loss = Metric"):
        new_class("Fit", (MetricSchema,), exec_body=lambda body: body.update(__annotations__={"loss": annotation}))


def test_what_may_be_annotated_in_a_schema() -> None:
    """A metric may be annotated, and what is private or of the class may be so alone."""

    class Fit(MetricSchema):
        loss: Metric[float, Any] = Metric(float)
        _note: str
        labels: ClassVar[list[str]]

    assert ["loss"] == [*Fit.metrics]


@pytest.mark.parametrize("value", [3, "loss", float])
def test_what_is_no_metric_in_a_schema(value: object) -> None:
    """A public attribute that is no metric is refused, since a Metric(...) around it was probably forgotten."""
    with pytest.raises(SchemaError, match="'loss' is no metric; declare it as Metric"):
        type("Forgotten", (MetricSchema,), {"loss": value})


def test_what_else_a_schema_may_hold() -> None:
    """A schema may hold methods, private attributes, and the types of its tags."""

    class Schema(MetricSchema):
        class Tags(BaseModel):
            epoch: int

        _note = "for people"
        loss = Metric(float, tags=Tags)

        @staticmethod
        def helper() -> int:
            return 1

    assert ["loss"] == list(Schema.metrics)


def test_one_metric_under_two_names() -> None:
    """One Metric cannot stand under two names."""
    metric = Metric(float)
    with pytest.raises(SchemaError, match="'b' is declared already"):
        type("Twice", (MetricSchema,), {"a": metric, "b": metric})


def test_bound_without_tags() -> None:
    """The recorder of a metric without tags is bound without any."""
    ctx = FrozenContext({}, metrics=TrainMetrics)
    note = ctx.metrics.series(TrainMetrics.seconds).bind()
    note(1.5)
    assert (1.5,) == ctx.metrics[TrainMetrics.seconds]


def test_a_tag_may_be_called_self() -> None:
    """Points can be looked up by a tag of any name."""
    ctx = FrozenContext()
    ctx.record("loss", 0.5, {"self": 1})
    ctx.record("loss", 0.4, {"self": 2})
    assert (0.4,) == ctx.metrics.series("loss").where(**{"self": 2}).values


@pytest.mark.parametrize("count", [10, 10_000])
def test_a_bound_recorder_keeps_its_tags(count: int) -> None:
    """However many points a bound recorder records, each has the tags that it was bound to."""
    ctx = FrozenContext({}, metrics=TrainMetrics)
    note = ctx.metrics.series(TrainMetrics.loss).bind({"epoch": 3, "split": "val"})
    for n in range(count):
        note(float(n))

    assert tuple(map(float, range(count))) == ctx.metrics[TrainMetrics.loss]
    assert ({"epoch": 3, "split": "val"},) * count == ctx.metrics.get_tags(TrainMetrics.loss)


def test_model_tags_that_nobody_validated() -> None:
    """A list in tags that were made without validation is kept apart from whoever made them."""

    class PlainTags(BaseModel):
        epoch: int

    class PlainMetrics(MetricSchema):
        loss = Metric(float, tags=PlainTags)

    metrics = FrozenMetrics(PlainMetrics)
    epochs = [1]
    metrics.series("loss").add(0.5, PlainTags.model_construct(epoch=epochs))
    metrics.series("loss").bind(PlainTags.model_construct(epoch=epochs))(0.25)
    epochs.append(2)

    assert ({"epoch": [1]},) * 2 == metrics.get_tags("loss")


class Tensor:
    """Stands for one of PyTorch with its graph: its conversion to a number warns."""

    requires_grad = True

    def __init__(self, number: float) -> None:
        self.number = number

    def __float__(self) -> float:
        if self.requires_grad:
            warnings.warn("Converting a tensor with requires_grad=True to a scalar may lead", UserWarning, stacklevel=2)
        return self.number

    def detach(self) -> "Tensor":
        detached = Tensor(self.number)
        detached.requires_grad = False
        return detached


class GraphTags(TypedDict):
    epoch: int


class EpochModel(BaseModel):
    epoch: int


class GraphMetrics(MetricSchema):
    loss = Metric(float)
    by_epoch = Metric(float, tags=GraphTags)
    by_model = Metric(float, tags=EpochModel)


@pytest.mark.parametrize("sinks", [(), (MemorySink(),)], ids=["without sinks", "with a sink"])
@pytest.mark.parametrize("action", ["default", "error", "always"])
def test_a_loss_with_its_graph(
    action: Literal["default", "error", "always"], sinks: Sequence[Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tensor with its graph is recorded as its number, and nothing warns, whatever the filters are."""
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    ctx = FrozenContext(metrics=GraphMetrics, sinks=sinks)
    value: Any = Tensor(0.5)
    with warnings.catch_warnings(record=True) as told:
        if action != "default":
            warnings.simplefilter(action)
        numbers: list[Any] = [value, 0.25, np.float32(0.75)]
        for number in numbers:
            ctx.record(GraphMetrics.loss, number)
            ctx.metrics.series(GraphMetrics.loss).add(number)
            ctx.record(GraphMetrics.by_epoch, number, GraphTags(epoch=1))
            ctx.record(GraphMetrics.by_model, number, EpochModel(epoch=1))
            ctx.metrics.series(GraphMetrics.by_epoch).bind({"epoch": 1})(number)
    assert not told
    assert ctx.metrics["loss"] == (0.5, 0.5, 0.25, 0.25, 0.75, 0.75)
    assert ctx.metrics["by_epoch"] == (0.5, 0.5, 0.25, 0.25, 0.75, 0.75)
    assert ctx.metrics["by_model"] == (0.5, 0.25, 0.75)


def test_a_loss_in_a_program_that_imports_pytorch_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """If PyTorch is imported after the first point of a metric, the usual filters let nothing warn."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    ctx = FrozenContext(metrics=GraphMetrics)
    ctx.record(GraphMetrics.loss, 0.25)
    value: Any = Tensor(0.5)
    with warnings.catch_warnings(record=True) as told:
        ctx.record(GraphMetrics.loss, value)
    assert not told
    assert ctx.metrics["loss"] == (0.25, 0.5)
