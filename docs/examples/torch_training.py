"""A model that PyTorch trains epoch by epoch. Killed and started again, it goes on after the last whole epoch."""

import os
from signal import SIGKILL
from typing import Annotated, Any

import torch
from pydantic import BaseModel, FiniteFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn
from typing_extensions import TypedDict

from crystallize import FrozenContext, Journal, LoggingContext, Metric, MetricSchema, RunNotFoundError, Shared, step
from crystallize.runs import find_run


class Train(BaseModel, arbitrary_types_allowed=True, extra="allow"):
    lr: PositiveFloat
    epochs: PositiveInt
    x: torch.Tensor
    y: torch.Tensor
    model: Annotated[nn.Module, Shared]
    optimizer: Annotated[torch.optim.Optimizer, Shared]
    # Besides, by extra="allow": "after-0", "after-1", ..., the state after each epoch.


class EpochTags(TypedDict):
    epoch: NonNegativeInt


class TrainMetrics(MetricSchema):
    loss = Metric(FiniteFloat, tags=EpochTags, goal="minimize")


@step("epoch-{epoch}")
def train_epoch(ctx: LoggingContext[Train], epoch: int) -> None:
    """Train one epoch, and keep the state after it."""
    x, y, model, optimizer = ctx.fields.x, ctx.fields.y, ctx.fields.model, ctx.fields.optimizer
    losses = ctx.metrics.series(TrainMetrics.loss)
    for batch in torch.randperm(len(x)).split(16):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x[batch]), y[batch])
        loss.backward()
        optimizer.step()
        losses.add(loss.item(), {"epoch": epoch})
    ctx[f"after-{epoch}"] = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": torch.get_rng_state(),
    }


def finished_epochs(ctx: FrozenContext[Train]) -> int:
    return sum(ctx.provenance.finished(f"fit/epoch-{epoch}") for epoch in range(ctx.fields.epochs))


def restore(ctx: FrozenContext[Train]) -> None:
    """Load the state after the last finished epoch into the model, the optimizer and the random number generator."""
    epochs = finished_epochs(ctx)
    if epochs == 0:
        return
    state = ctx[f"after-{epochs - 1}"]
    ctx.fields.model.load_state_dict(state["model"])
    ctx.fields.optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["generator"])


def fit(ctx: LoggingContext[Train]) -> None:
    for epoch in range(finished_epochs(ctx), ctx.fields.epochs):
        ctx.run(train_epoch, epoch)
        print(f"epoch {epoch}", flush=True)
        if os.environ.get("DIE_AFTER") == str(epoch):
            os.kill(os.getpid(), SIGKILL)


def run(journal: Journal, lr: float = 0.05, epochs: int = 5) -> FrozenContext[Train]:
    torch.manual_seed(0)
    x = torch.randn(64, 3)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]])
    model = nn.Linear(3, 1)
    given: dict[str, Any] = {"lr": lr, "epochs": epochs, "x": x, "y": y, "model": model}
    given["optimizer"] = torch.optim.SGD(model.parameters(), lr, momentum=0.9)
    ctx = journal.context(FrozenContext[Train], given, metrics=TrainMetrics)
    restore(ctx)  # before any step, since a later step uses the model as well
    ctx.run(fit)
    return ctx


def open_journal() -> Journal:
    """Go on with the newest run, or start the first one."""
    try:
        path = find_run("runs", "train")
    except RunNotFoundError:
        return Journal.start("runs", "train")
    return Journal.resume(path)


if __name__ == "__main__":
    with open_journal() as journal:
        ctx = run(journal)
        print(f"{journal.name}: {ctx.metrics['loss'][-1]:.9f}")
