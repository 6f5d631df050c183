from typing import Any

from numpy import float64, int64
from numpy.typing import NDArray
from sklearn.utils import Bunch

class _Digits(Bunch):
    data: NDArray[float64]
    images: NDArray[float64]
    target: NDArray[int64]
    target_names: NDArray[int64]
    feature_names: list[str]
    DESCR: str

def load_digits(*, n_class: int = 10, as_frame: bool = False) -> _Digits: ...
def make_classification(
    n_samples: int = 100,
    n_features: int = 20,
    *,
    n_informative: int = 2,
    n_redundant: int = 2,
    n_classes: int = 2,
    random_state: int | None = None,
    **options: Any,
) -> tuple[NDArray[float64], NDArray[int64]]: ...
