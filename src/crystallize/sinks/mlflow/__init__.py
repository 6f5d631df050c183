"""Report a run to MLflow.

Events become items (`sink.py`), which go through a delivery queue to a sender that makes the requests (`requests.py`).
The rules of MLflow for names and lengths are in `rules.py`, which does not need MLflow.
"""

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
