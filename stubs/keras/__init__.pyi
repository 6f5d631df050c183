from typing import Any

from . import callbacks as callbacks

layers: Any
optimizers: Any

# A model is built of layers of any kind.
def Sequential(layers: list[Any]) -> Any: ...
