"""A loss of PyTorch is recorded with its graph, as training loops have it."""

import warnings
from typing import Any, Literal

import pytest
from pydantic import FiniteFloat

from crystallize import FrozenContext, Metric, MetricSchema

torch: Any = pytest.importorskip("torch")


class LossMetrics(MetricSchema):
    loss = Metric(FiniteFloat)


@pytest.mark.parametrize("action", ["default", "always", "error"])
def test_a_loss_with_its_graph(action: Literal["default", "always", "error"]) -> None:
    """The loss is recorded as its number, and nothing warns, whatever the filters are."""
    loss = (torch.ones(2, requires_grad=True) * 0.25).sum()
    # Otherwise PyTorch would warn once in a process.
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter(action)
            ctx = FrozenContext(metrics=LossMetrics)
            ctx.record(LossMetrics.loss, loss)
            ctx.metrics.series(LossMetrics.loss).add(loss)
            ctx.record("loss", loss)
    finally:
        torch.set_warn_always(before)
    assert not told
    assert ctx.metrics["loss"] == (0.5, 0.5, 0.5)
    assert loss.requires_grad
