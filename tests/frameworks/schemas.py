"""What the tests of the callbacks declare and look at."""

import json
from typing import Any, Literal, NotRequired

from pydantic import FiniteFloat
from typing_extensions import TypedDict

from crystallize import FrozenContext, Metric, MetricSchema


class FitTags(TypedDict):
    """The tags that the callbacks give, of which each framework gives some."""

    split: NotRequired[Literal["train", "val", "eval", "test"]]
    epoch: NotRequired[float]
    step: NotRequired[int]


class FitMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=FitTags, goal="minimize")


class BrokenSink:
    """A sink that fails at the first point."""

    def handle(self, event: object, /) -> None:
        if type(event).__name__ == "MetricRecorded":
            raise OSError("disk full")

    def close(self) -> None:
        pass


def typed() -> FrozenContext[Any]:
    return FrozenContext(metrics=FitMetrics)


def steps(ctx: FrozenContext[Any]) -> list[tuple[str, str | None]]:
    """Return the names and errors of the steps."""
    return [(record.name, record.error) for record in ctx.provenance.steps]


def facts(ctx: FrozenContext[Any], name: str) -> Any:
    """Return what an artifact holds."""
    return json.loads(ctx.artifacts[name].data)
