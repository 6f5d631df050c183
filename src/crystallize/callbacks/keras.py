"""A callback of Keras that records each epoch."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from .._base.optional import OptionalModule
from .._core.context import FrozenContext
from .fit_recorder import FitOptions, FitRecorder
from .metric_names import Measurement

if TYPE_CHECKING:
    import keras
else:
    keras = OptionalModule("keras", "keras")

__all__ = ["KerasCallback"]


class KerasCallback(keras.callbacks.Callback):
    """Records the metrics of each epoch, with the tags `epoch` and `split`, which is "train", "val" or "test".

    Example:
        >>> ctx = FrozenContext()
        >>> with ctx.step("fit") as step:
        ...     callback = KerasCallback(step)
        ...     callback.on_train_begin()
        ...     callback.on_epoch_end(0, {"loss": 0.7, "val_loss": 0.8})
        >>> ctx.metrics["loss"], ctx.metrics.get_tags("loss")[1]
        ((0.7, 0.8), {'epoch': 0, 'split': 'val'})
    """

    def __init__(self, ctx: FrozenContext[Any], **options: Unpack[FitOptions]) -> None:
        """Make a callback; see `FitRecorder`."""
        super().__init__()
        self._recorder = FitRecorder(ctx, **options)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin a fit."""
        optimizer = getattr(self.model, "optimizer", None)
        settings = {**(self.params or {}), "optimizer": optimizer.get_config()} if optimizer is not None else None
        self._recorder.begin(settings)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Check the names of the metrics after the first batch, and not only at the end of the epoch."""
        self._recorder.check(_measured(logs), epoch=0)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Record an epoch."""
        self._recorder.record(_measured(logs), epoch=epoch)
        self._recorder.keep_points()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """End the fit."""
        self._recorder.end()

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Record an evaluation, unless it is part of a fit, which reports it at the end of the epoch."""
        if not self._recorder.is_open:
            self._recorder.begin(step="evaluate")
            self._recorder.record([found._replace(split="test") for found in _measured(logs)])
            self._recorder.end()


def _measured(logs: Mapping[str, Any] | None) -> Iterator[Measurement]:
    for name, value in (logs or {}).items():
        # Callbacks that change the learning rate add it.
        is_extra = name == "learning_rate"
        is_validation = name.startswith("val_")
        yield Measurement(name, value, name.removeprefix("val_"), "val" if is_validation else "train", is_extra)
