from collections.abc import Iterable

from . import Tensor

class SGD:
    def __init__(self, params: Iterable[Tensor], lr: float = ...) -> None: ...
