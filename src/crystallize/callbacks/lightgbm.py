"""A callback of LightGBM that records each boosting round."""

from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from .._core.context import FrozenContext, token_of
from ..errors import SchemaError
from .fit_recorder import FitOptions, FitRecorder
from .metric_names import Measurement

if TYPE_CHECKING:
    import lightgbm as lgb

__all__ = ["LightGBMCallback"]


class LightGBMCallback:
    """Records the metrics of each boosting round in a step, with the tags `step` and `split`.

    It takes part in `lightgbm.train`, in `lightgbm.cv`, and in the `fit` of the estimators.

    Example:
        >>> import numpy, lightgbm
        >>> ctx = FrozenContext()
        >>> data = lightgbm.Dataset(numpy.eye(4), label=numpy.arange(4))
        >>> with ctx.step("fit") as step:
        ...     callback = LightGBMCallback(step)
        ...     model = lightgbm.train({"verbose": -1}, data, 3, valid_sets=[data], callbacks=[callback])
        >>> ctx.metrics.get_tags("l2")[-1]
        {'step': 2, 'split': 'training'}
    """

    before_iteration = False
    order = 10  # before the callback of early stopping, which ends the round for all that come after it

    def __init__(self, ctx: FrozenContext[Any], **options: Unpack[FitOptions]) -> None:
        """Make a callback; see `FitRecorder`. It takes a step, since LightGBM does not tell when a fit ends.

        Raises:
            SchemaError: A context was given, and no step.
        """
        self._recorder = FitRecorder(ctx, **options)
        if token_of(ctx).step is None:
            reason = "LightGBM does not tell a callback when a fit ends, so open the step of the fit around it"
            write = 'with ctx.step("fit") as step: lightgbm.train(..., callbacks=[LightGBMCallback(step)])'
            raise SchemaError(type(self).__name__, f"it takes a step, not a context; {reason}: {write}")

    def __call__(self, env: "lgb.callback.CallbackEnv") -> None:
        """Record a round."""
        if env.iteration == env.begin_iteration:
            self._recorder.begin(env.params)
        found: list[Measurement] = []
        for split, metric, value, _, *deviation in env.evaluation_result_list or ():
            found += Measurement.of_round(split, metric, value, *deviation)
        self._recorder.record(found, step=env.iteration)
