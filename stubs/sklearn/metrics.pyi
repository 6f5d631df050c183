from numpy import int64
from numpy.typing import ArrayLike, NDArray

def accuracy_score(y_true: ArrayLike, y_pred: ArrayLike, *, normalize: bool = True) -> float: ...
def confusion_matrix(
    y_true: ArrayLike, y_pred: ArrayLike, *, labels: ArrayLike | None = None
) -> NDArray[int64]: ...
def log_loss(
    y_true: ArrayLike, y_pred: ArrayLike, *, normalize: bool = True, labels: ArrayLike | None = None
) -> float: ...
