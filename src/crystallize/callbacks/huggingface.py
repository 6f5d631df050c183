"""A callback of the trainer of Hugging Face's transformers."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from .._base.optional import OptionalModule
from .._core.context import FrozenContext
from .fit_recorder import FitOptions, FitRecorder
from .metric_names import Measurement

if TYPE_CHECKING:
    import transformers
else:
    transformers = OptionalModule("transformers", "huggingface")

__all__ = ["HuggingFaceCallback"]

_EXTRA = frozenset({"grad_norm", "learning_rate", "total_flos", "train_loss"})
"""The figures that the trainer logs unasked, besides those of time."""


class HuggingFaceCallback(transformers.TrainerCallback):
    """Records the metrics that a `Trainer` logs. In distributed training, the process of rank 0 does.

    The tags are `step`, `epoch` (a fraction), and `split`, which is "train" or "eval".

    Example:
        >>> from transformers import TrainerControl, TrainerState, TrainingArguments
        >>> ctx, state, control = FrozenContext(), TrainerState(global_step=5, epoch=0.5), TrainerControl()
        >>> callback = HuggingFaceCallback(ctx)
        >>> callback.on_train_begin(TrainingArguments(report_to=[]), state, control)
        >>> callback.on_log(TrainingArguments(report_to=[]), state, control, logs={"eval_loss": 0.5})
        >>> list(ctx.metrics.series("loss"))
        [Point(value=0.5, tags={'step': 5, 'epoch': 0.5, 'split': 'eval'}, step='fit')]
    """

    def __init__(self, ctx: FrozenContext[Any], **options: Unpack[FitOptions]) -> None:
        """Make a callback; see `FitRecorder`."""
        self._recorder = FitRecorder(ctx, **options)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin a training. After a checkpoint, the state contains the earlier logs."""
        if state.is_world_process_zero:
            self._recorder.begin(args.to_dict())
            expected = {"loss": 0.0, **({} if args.eval_strategy == "no" else {"eval_loss": 0.0})}
            self._recorder.check(_measured(expected), step=0, epoch=0.5)
            tags = ("step", "epoch")
            self._recorder.replay((_measured(logs), {tag: logs.get(tag) for tag in tags}) for logs in state.log_history)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """Record the metrics of a log or an evaluation."""
        if state.is_world_process_zero:
            is_alone = not self._recorder.is_open
            if is_alone:
                self._recorder.begin(step="evaluate")
            self._recorder.record(_measured(logs or {}), step=state.global_step, epoch=state.epoch)
            if is_alone:
                self._recorder.end()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the training."""
        facts = ("global_step", "best_metric", "best_global_step", "best_model_checkpoint")
        self._recorder.end(result={fact: getattr(state, fact, None) for fact in facts})


def _measured(logs: Mapping[str, Any]) -> Iterator[Measurement]:
    for name, value in logs.items():
        is_extra = name in _EXTRA or name.endswith(("_runtime", "_per_second"))
        split = "eval" if name.startswith("eval_") else "train"
        if name not in ("epoch", "step"):
            yield Measurement(name, value, name.removeprefix("eval_"), split, is_extra)
