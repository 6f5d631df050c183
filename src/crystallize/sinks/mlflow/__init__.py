"""Report a context to MLflow: `rules` names and checks the data, `requests` sends it, `sink` receives the events."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .sink import MLflowSink

__all__ = ["MLflowSink"]


def __getattr__(name: str) -> Any:
    # Imported late, so that `rules` can be used without MLflow.
    if name != "MLflowSink":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .sink import MLflowSink

    return MLflowSink
