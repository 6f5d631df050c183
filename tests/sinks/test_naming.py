"""The names that metrics have in backends, and the parts of a schema that a backend would reject; without a backend."""

import json
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal, NotRequired

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, FiniteFloat, NonNegativeInt
from typing_extensions import TypedDict

from crystallize import DeclaredKey, Metric, MetricSchema
from crystallize.sinks.mlflow.rules import MLFLOW
from crystallize.sinks.naming import (
    Naming,
    PointNames,
    Template,
    as_text,
    named,
    problems_of,
    unfit_step,
)
from crystallize.sinks.undelivered import Undelivered


class Side(Enum):
    LEFT = "left"
    RIGHT = "a=b"


class EpochTags(TypedDict):
    epoch: NonNegativeInt
    split: Literal["train", "val"]


class TrainMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=EpochTags)
    seen = Metric(int)


def problems(
    metrics: type[MetricSchema] | None = None,
    *,
    keys: Mapping[str, bool] | None = None,
    step_tag: str | None = None,
    template: Template = named,
) -> list[str]:
    schema = {key: DeclaredKey(float, is_input) for key, is_input in (keys or {}).items()}
    return list(problems_of(schema, metrics, Naming(MLFLOW, template, step_tag)))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0, None),
        (-5, None),
        (2**63 - 1, None),
        (2**63, "does not go into 64 bits, as MLflow's step has to"),
        (1.0, "is a float, and MLflow's step is an int"),
        (True, "is a bool, and MLflow's step is an int"),
        ("1", "is a str, and MLflow's step is an int"),
    ],
)
def test_steps(value: Any, reason: str | None) -> None:
    """A step is an int of 64 bits."""
    assert reason == unfit_step(value, "MLflow")


class Nested(BaseModel):
    size: int


class Odd:
    def __repr__(self) -> str:
        return "Odd()"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (0.1, "0.1"),
        (3, "3"),
        (True, "True"),
        (None, "None"),
        ([64, 10], "[64,10]"),
        ({"a": (1, 2)}, '{"a":[1,2]}'),
        (Nested(size=3), '{"size":3}'),
        (Side.LEFT, '"left"'),
        (Odd(), "Odd()"),
        (np.zeros(2), "array([0., 0.])"),
        ("a\ud800", "a\\ud800"),
    ],
)
def test_texts(value: Any, expected: str) -> None:
    """Numbers and texts are written as they are, others as JSON, and what has no JSON in short."""
    assert expected == as_text(value)


SCALARS = st.none() | st.booleans() | st.text(max_size=5)


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=5))
def test_any_text_can_be_sent(value: Any) -> None:
    """Whatever a value holds, its text is one that can be encoded; that of a list or dict is JSON."""
    text = as_text(value)

    assert text == text.encode().decode()
    assert not isinstance(value, list | dict) or isinstance(json.loads(text), list | dict)


@pytest.mark.parametrize(
    ("template", "tags", "expected"),
    [
        (named, {"epoch": 1, "split": "train"}, "loss/split-train"),
        (named, {"epoch": 1, "split": "train", "fold": 3}, "loss/fold-3/split-train"),
        (named, {"epoch": 1, "split": None}, "loss"),
        (named, {}, "loss"),
        (named, {"side": Side.LEFT}, "loss/side-left"),
        ("{metric}/{split}", {"epoch": 1, "split": "train"}, "loss/train"),
        ("{split}_{metric}_{fold:02d}", {"split": "train", "fold": 3}, "train_loss_03"),
        ("{metric}", {"metric": "other"}, "loss"),
        (lambda metric, tags: f"{metric}:{len(tags)}", {"epoch": 1, "split": "a"}, "loss:1"),
    ],
)
def test_naming(template: Template, tags: dict[str, Any], expected: str) -> None:
    """A metric is named by its tags, without the one that is the step."""
    assert expected == Naming(MLFLOW, template, "epoch").name("loss", tags)


def test_a_tag_that_is_not_there() -> None:
    """A template that asks for a tag that a point has not is an error that says so."""
    with pytest.raises(ValueError, match=re.escape("it has no tag 'split', which the template '{split}' asks for")):
        Naming(MLFLOW, "{split}", None).name("loss", {"split": None})


def test_no_problems() -> None:
    """A schema that goes well with MLflow has no problems, whatever is no input."""
    assert [] == problems(TrainMetrics, keys={"lr": True, "a=b": False}, step_tag="epoch")
    assert [] == problems(None, step_tag="epoch")
    assert [] == problems(TrainMetrics)


def test_keys() -> None:
    """Each input that cannot be a param is named."""
    characters, length = problems(keys={"a=b": True, "x" * 255: True})

    why = "has '='; MLflow takes letters, digits, and any of '_-./: '"
    assert f"the name of key 'a=b', which would be a param, {why}" == characters
    assert "the name of key 'xxx" in length
    assert "which would be a param, has 255 characters, and MLflow takes 250" in length


class OddTags(TypedDict):
    epoch: float
    side: Side


class OddMetrics(MetricSchema):
    text = Metric(str)
    listed = Metric(list[float])
    odd = Metric(float | None, tags=OddTags)
    anything = Metric(Any)


def test_metrics() -> None:
    """Each metric is named that holds no numbers, has no int as its step, or would have a name that is refused."""
    assert [
        "the values of metric 'text' are of type str, and MLflow takes numbers",
        "the values of metric 'listed' are of type list, and MLflow takes numbers",
        "tag 'epoch' of metric 'odd' is of type float, and MLflow's step is an int",
        "the name of metric 'odd', 'odd/side-a=b', has '='; MLflow takes letters, digits, and any of '_-./: '",
    ] == problems(OddMetrics, step_tag="epoch")


def test_step_tag_that_no_metric_has() -> None:
    """A step that is misspelt is said to be, with the nearest tag."""
    assert ["no metric has a tag 'epcoh' to be MLflow's step; did you mean 'epoch'?"] == problems(
        TrainMetrics, step_tag="epcoh"
    )
    assert ["no metric has a tag 'x' to be MLflow's step"] == problems(TrainMetrics, step_tag="x")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{metric}/{split}", ["metric 'seen' has no name in MLflow: it has no tag 'split', which the template "]),
        ("{metric", ["the template '{metric' is none (expected '}' before end of string)"]),
        ("{metric.name}", ["the template '{metric.name}' may ask for the metric and for tags by their names, not"]),
        ("{}", ["the template '{}' may ask for the metric and for tags by their names, not ''"]),
        ("all", ["metrics 'loss' and 'seen' would both be named 'all'"]),
        (lambda metric, tags: 1 / 0, ["metric 'loss' has no name in MLflow: division by zero", "metric 'seen' has no"]),
        (lambda metric, tags: 3, ["the name of metric 'loss', 3, is no text but 3", "metrics 'loss' and 'seen' would"]),
    ],
)
def test_templates(template: Template, expected: list[str]) -> None:
    """What is wrong with a template is said before the run, once for each metric."""
    found = problems(TrainMetrics, step_tag="epoch", template=template)

    assert len(expected) == len(found)
    assert all(told.startswith(start) for told, start in zip(found, expected, strict=True))


class ManyTags(TypedDict):
    fold: int
    share: float
    last: bool
    name: str
    odd: NotRequired[Any]


def test_tags_of_every_type() -> None:
    """A tag whose values cannot be listed is looked at by an example, which goes into a template as its values will."""

    class Tagged(MetricSchema):
        score = Metric(float, tags=ManyTags)

    template = "{metric}/{fold:02d}-{share:.1f}-{last:d}-{name:>3}"
    assert [] == problems(Tagged, template=template)
    assert ["metric 'score' has no name in MLflow: Unknown format code 'd' for object of type 'str'"] == problems(
        Tagged, template="{metric}/{name:d}"
    )


def test_names_of_points() -> None:
    """Points are named by their tags, also by tags that are not hashable. A point without a name is noted."""
    undelivered = Undelivered("Printer")
    names = PointNames(Naming(MLFLOW, "{metric}/{split}", "epoch"), undelivered)

    assert "loss/train" == names.of("loss", {"split": "train", "epoch": 1}) == names.of("loss", {"split": "train"})
    assert "loss/1" == names.of("loss", {"split": 1})
    assert "loss/True" == names.of("loss", {"split": True})
    assert names.of("loss", {"split": [1]}) is None
    assert names.of("loss", {}) is None
    assert [
        "the name of metric 'loss', 'loss/[1]', has '['; MLflow takes letters, digits, and any of '_-./: '",
        "metric 'loss' has no name: ValueError: it has no tag 'split', which the template '{metric}/{split}' asks for",
    ] == [reason for _, reason in undelivered.counts]
    assert (3, 7) == (names.step_of({"epoch": 3}, 7), names.step_of({}, 7))


def test_tags_that_are_not_hashable() -> None:
    """A tag that is not hashable is part of the name all the same."""
    names = PointNames(Naming(MLFLOW, lambda metric, tags: metric, None), Undelivered("Printer"))

    assert "loss" == names.of("loss", {"sizes": [1]})
