"""Another module, whose schema has the name of one in `schemas`."""

from pydantic import BaseModel, FiniteFloat

from crystallize import Metric, MetricSchema


class Train(BaseModel):
    trials: int
    lr: tuple[float, float]


class Settings(BaseModel):
    """No stubs are asked for this one."""

    depth: int


class TuningMetrics(MetricSchema):
    """A metric of a name that the other module uses too, with other types."""

    loss = Metric(FiniteFloat)
