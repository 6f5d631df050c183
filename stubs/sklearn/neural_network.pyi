from typing import Any, Self

from numpy import float64
from numpy.typing import ArrayLike, NDArray

class MLPClassifier:
    coefs_: list[NDArray[float64]]

    def __init__(
        self,
        hidden_layer_sizes: tuple[int, ...] = (100,),
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        learning_rate_init: float = 0.001,
        random_state: int | None = None,
    ) -> None: ...
    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self: ...
    def predict_proba(self, X: ArrayLike) -> NDArray[Any]: ...
    def score(self, X: ArrayLike, y: ArrayLike) -> float: ...
