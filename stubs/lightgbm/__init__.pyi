from collections.abc import Callable
from typing import Any

from . import callback as callback

class Dataset:
    def __init__(self, data: Any, label: Any = ..., reference: Dataset | None = ...) -> None: ...

class Booster:
    best_iteration: int
    best_score: dict[str, dict[str, float]]

class LGBMRegressor:
    def __init__(self, **params: Any) -> None: ...
    def fit(self, X: Any, y: Any, **options: Any) -> LGBMRegressor: ...

def early_stopping(stopping_rounds: int, verbose: bool = ...) -> Callable[[callback.CallbackEnv], None]: ...
def train(params: dict[str, Any], train_set: Dataset, num_boost_round: int = ..., **options: Any) -> Booster: ...
def cv(
    params: dict[str, Any], train_set: Dataset, num_boost_round: int = ..., **options: Any
) -> dict[str, list[float]]: ...
