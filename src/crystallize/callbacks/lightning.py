"""A logger of Lightning that records the metrics in a context."""

import sys
import weakref
from argparse import Namespace
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from .._base.optional import OptionalModule
from .._core.context import FrozenContext
from .fit_recorder import FitOptions, FitRecorder
from .metric_names import Measurement

if TYPE_CHECKING:
    from lightning.pytorch import loggers, utilities
else:
    loggers = OptionalModule("lightning.pytorch.loggers", "lightning")
    utilities = OptionalModule("lightning.pytorch.utilities", "lightning")

__all__ = ["LightningLogger"]


class LightningLogger(loggers.Logger):
    """Records the metrics that a module logs, with the tags `epoch` and `step`. In distributed training, rank 0 does.

    Example:
        >>> ctx = FrozenContext()
        >>> logger = LightningLogger(ctx)
        >>> logger.log_metrics({"train/loss": 0.5, "epoch": 0}, step=49)
        >>> logger.finalize("success")
        >>> list(ctx.metrics.series("train/loss"))
        [Point(value=0.5, tags={'epoch': 0, 'step': 49}, step='fit')]
    """

    def __init__(self, ctx: FrozenContext[Any], **options: Unpack[FitOptions]) -> None:
        """Make a callback; see `FitRecorder`."""
        super().__init__()
        self._recorder = FitRecorder(ctx, **options)
        self._version = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
        self._best: dict[str, Any] = {}
        self._settings: dict[str, Any] = {}
        self._trainer: Callable[[], Any] = lambda: None
        self._saved = 0
        """The number of steps before the last checkpoint."""

    @property
    def name(self) -> str:
        """The folder of checkpoints for which no folder is given."""
        return "crystallize"

    @property
    def version(self) -> str:
        """The folder in that folder: the time at which the logger was made."""
        return self._version

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Store the hyperparameters, which become the artifact "fit-settings.json"."""
        self._settings = dict(vars(params) if isinstance(params, Namespace) else params)

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Begin a fit: the trainer calls this when it starts."""
        self._trainer = weakref.ref(model.trainer)
        call = model.trainer.state.fn.value
        self._begin(None if call == "fit" else call)

    def _begin(self, step: str | None = None) -> None:
        if utilities.rank_zero_only.rank == 0:
            self._best = {}
            self._saved = 0
            self._recorder.begin(self._settings, step=step)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record metrics."""
        if not self._recorder.is_open:  # by hand, or in a trainer that does not log hyperparameters
            self._begin()
        if self._recorder.is_open:
            found = [Measurement(name, value) for name, value in metrics.items() if name != "epoch"]
            self._recorder.record(found, epoch=metrics.get("epoch"), step=step)
            if step is not None and step < self._saved:  # the metrics of a step are logged after its checkpoint
                self._recorder.keep_points()

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Keep the points so far, and which checkpoint is the best, which becomes the artifact "fit-result.json"."""
        score = checkpoint_callback.best_model_score  # a tensor
        self._best = {
            "best_model_path": checkpoint_callback.best_model_path,
            "monitor": checkpoint_callback.monitor,
            "best_model_score": None if score is None else float(score),
        }
        self._saved = getattr(self._trainer(), "global_step", 0)
        self._recorder.keep_points()

    def finalize(self, status: str) -> None:
        """End the fit."""
        self._recorder.end(sys.exception() if status == "failed" else None, self._best)
