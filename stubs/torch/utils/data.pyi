from typing import Any

from .. import Tensor

class TensorDataset:
    def __init__(self, *tensors: Tensor) -> None: ...

class DataLoader:
    def __init__(self, dataset: Any, batch_size: int = ...) -> None: ...
