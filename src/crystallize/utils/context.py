"""The published module path, with the names that it published."""

from ..context import FrozenContext
from ..errors import ContextMutationError
from ..logging_context import LoggingContext
from ..metrics import FrozenMetrics

__all__ = ["ContextMutationError", "FrozenContext", "FrozenMetrics", "LoggingContext"]
