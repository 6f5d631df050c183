"""A callback of XGBoost that records each boosting round."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from .._base.optional import OptionalModule
from .._core.context import FrozenContext
from .fit_recorder import FitOptions, FitRecorder
from .metric_names import Measurement

if TYPE_CHECKING:
    import xgboost as xgb
else:
    xgb = OptionalModule("xgboost", "xgboost")

__all__ = ["XGBoostCallback"]

_NO_ROUNDS: Mapping[str, Mapping[str, Sequence[Any]]] = {}


class XGBoostCallback(xgb.callback.TrainingCallback):
    """Records the metrics of each boosting round, with the tags `step` and `split`.

    It takes part in `xgboost.train`, in `xgboost.cv`, and in the estimators: `XGBClassifier(callbacks=[...])`.

    Example:
        >>> import numpy, xgboost
        >>> ctx = FrozenContext()
        >>> data = xgboost.DMatrix(numpy.eye(4), label=numpy.arange(4))
        >>> with ctx.step("fit") as step:
        ...     callback = XGBoostCallback(step)
        ...     model = xgboost.train({}, data, 3, evals=[(data, "train")], callbacks=[callback], verbose_eval=False)
        >>> ctx.metrics.get_tags("rmse")[-1]
        {'step': 2, 'split': 'train'}
    """

    def __init__(self, ctx: FrozenContext[Any], **options: Unpack[FitOptions]) -> None:
        """Make a callback; see `FitRecorder`."""
        super().__init__()
        self._recorder = FitRecorder(ctx, **options)
        self._log = _NO_ROUNDS
        self._first = self._rounds = 0

    def before_training(self, model: Any) -> Any:
        """Begin a fit."""
        is_booster = isinstance(model, xgb.Booster)  # in `cv` there are several
        self._log, self._rounds = _NO_ROUNDS, 0
        self._first = model.num_boosted_rounds() if is_booster else 0
        if xgb.collective.get_rank() == 0:
            self._recorder.begin(json.loads(model.save_config()) if is_booster else None)
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Record the round."""
        self._log = evals_log
        self._record_rounds()
        return False

    def after_training(self, model: Any) -> Any:
        """End the fit."""
        # This callback does not receive the last round if another callback before it has ended the fit.
        self._record_rounds()
        is_booster = isinstance(model, xgb.Booster)
        self._recorder.end(result={"rounds": model.num_boosted_rounds(), **model.attributes()} if is_booster else None)
        return model

    def _record_rounds(self) -> None:
        """Record the rounds that are not on record yet."""
        count = max((len(values) for metrics in self._log.values() for values in metrics.values()), default=0)
        while self._recorder.is_open and self._rounds < count:
            found = [
                measured
                for split, metrics in self._log.items()
                for metric, values in metrics.items()
                for measured in Measurement.of_round(split, metric, *_parts(values[self._rounds]))
            ]
            self._recorder.record(found, step=self._first + self._rounds)
            self._rounds += 1


def _parts(value: Any) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
