"""The published module path, with the names that it published."""

from .._core.context import FrozenContext, LoggingContext
from .._core.series import FrozenMetrics
from ..errors import ContextMutationError

__all__ = ["ContextMutationError", "FrozenContext", "FrozenMetrics", "LoggingContext"]
