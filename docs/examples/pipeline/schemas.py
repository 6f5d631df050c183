"""What the steps of a pipeline share, and what they measure: schemas of each kind."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, Literal, NamedTuple, NotRequired, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, PositiveFloat
from typing_extensions import TypedDict

from crystallize import Metric, MetricSchema, Output, Shared

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Split: TypeAlias = Literal["train", "val"]


class Sizes(NamedTuple):
    train: int
    val: int


class Tokenizer:
    """Something that no checker of values knows: it is handed on as it is."""

    def __call__(self, text: str) -> list[str]:
        return text.split()


class Train(BaseModel, arbitrary_types_allowed=True):
    lr: PositiveFloat
    epochs: int = 3
    folder: Path = Path("data")
    accuracy: Share
    tokenizer: Annotated[Tokenizer, Shared]
    best_epoch: Annotated[int | None, Output] = None
    sizes: dict[Split, list[int]]
    tree: "Node"


class FineTune(Train):
    """A schema made of another one: it has the keys of both."""

    base: Literal["small", "large"] = "small"


class Node(BaseModel):
    value: float
    children: "list[Node]" = []
    above: Self | None = None


class Address(TypedDict):
    host: str
    port: int


class Service(TypedDict):
    address: Address
    mirrors: NotRequired[list[Address]]


@dataclass
class Scores:
    mean: float
    parts: Sizes


Item = TypeVar("Item")


class Batch(BaseModel, Generic[Item]):
    first: Item
    rest: list[Item]
    next: "Batch[Item] | None" = None


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")

    seed: int


class Nothing(BaseModel):
    """Of a run that only measures."""


class EpochTags(TypedDict):
    epoch: NonNegativeInt
    split: Split


class FoldTags(BaseModel):
    fold: NonNegativeInt


class BaseMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=EpochTags, unit="nats", goal="minimize")


class TrainMetrics(BaseMetrics):
    """What a pipeline measures, with what every pipeline measures."""

    accuracy = Metric(Share, tags=FoldTags, goal="maximize")
    rows = Metric(int)
