from typing import Any, Self

from numpy import float64
from numpy.typing import ArrayLike, NDArray

class SGDClassifier:
    classes_: NDArray[Any]
    coef_: NDArray[float64]
    intercept_: NDArray[float64]

    def __init__(
        self,
        loss: str = "hinge",
        *,
        penalty: str | None = "l2",
        alpha: float = 0.0001,
        learning_rate: str = "optimal",
        eta0: float = 0.01,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        random_state: int | None = None,
        average: bool | int = False,
        warm_start: bool = False,
    ) -> None: ...
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self: ...
    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self: ...
    def predict(self, X: ArrayLike) -> NDArray[Any]: ...
    def predict_proba(self, X: ArrayLike) -> NDArray[float64]: ...
    def score(self, X: ArrayLike, y: ArrayLike) -> float: ...
