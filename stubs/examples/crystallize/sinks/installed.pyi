# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""The sinks that are installed: those of crystallize, and those that other packages bring."""

from collections.abc import Callable
from ..protocols import Sink

__all__ = ["GROUP", "find_sink", "sink_names"]
GROUP: str
"""The group of entry points by which a package makes its sinks known."""

def sink_names() -> list[str]:
    """Return the names of the sinks that are installed, sorted.

    Example:
        >>> "memory" in sink_names()
        True
    """

def find_sink(name: str) -> Callable[..., Sink]:
    """Return what makes a sink, by its name, as a configuration has it.

    Args:
        name: What the sink's package calls it.

    Returns:
        Its class, or whatever else the package gives to be called.

    Raises:
        UnknownSinkError: No package installed here has a sink of that name.
        SinkLoadError: It cannot be imported, as where what it needs is not installed.

    Example:
        >>> find_sink("memory")().events
        []
    """
