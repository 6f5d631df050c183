"""The published module path, with the names that it published."""

from .._core.context import FrozenContext
from .._core.logging_context import LoggingContext
from .._core.metrics import FrozenMetrics
from ..errors import ContextMutationError

__all__ = ["ContextMutationError", "FrozenContext", "FrozenMetrics", "LoggingContext"]
