from typing import Any

from torch import nn

from . import callbacks as callbacks
from . import loggers as loggers
from . import utilities as utilities

class LightningModule(nn.Module):
    global_step: int
    hparams: Any
    def log(self, name: str, value: Any) -> None: ...
    def save_hyperparameters(self, *, ignore: list[str] = ...) -> None: ...

# The tests read many parts of a trainer.
def Trainer(**options: Any) -> Any: ...
