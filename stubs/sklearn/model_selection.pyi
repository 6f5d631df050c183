from typing import TypeVar

from numpy import generic
from numpy.typing import ArrayLike, NDArray

_X = TypeVar("_X", bound=generic)
_Y = TypeVar("_Y", bound=generic)

# Of two arrays alone, as the examples split them: the train and the test part of each, in turn.
def train_test_split(
    x: NDArray[_X],
    y: NDArray[_Y],
    /,
    *,
    test_size: float | None = None,
    train_size: float | None = None,
    random_state: int | None = None,
    shuffle: bool = True,
    stratify: ArrayLike | None = None,
) -> tuple[NDArray[_X], NDArray[_X], NDArray[_Y], NDArray[_Y]]: ...
