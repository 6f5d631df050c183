"""Report a run to MLflow."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .sink import MLflowSink

__all__ = ["MLflowSink"]


def __getattr__(name: str) -> Any:
    # The rules of MLflow's names are of use where MLflow is not installed.
    if name != "MLflowSink":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .sink import MLflowSink

    return MLflowSink
