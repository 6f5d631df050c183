"""The sinks that are installed: those of crystallize, and those that other packages bring."""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from .._base.text import nearest, short
from .._core.protocols import Sink
from ..errors import SinkLoadError, UnknownSinkError

__all__ = ["GROUP", "find_sink", "sink_names"]

GROUP: Final = "crystallize.sinks"
"""The group of entry points by which a package makes its sinks known."""


def sink_names() -> list[str]:
    """Return the names of the sinks that are installed, sorted.

    Example:
        >>> "memory" in sink_names()
        True
    """
    return sorted(entry_points(group=GROUP).names)


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
    found = [one for one in entry_points(group=GROUP) if one.name == name]
    if not found:
        names = sink_names()
        raise UnknownSinkError(short(name), nearest(name, names) if isinstance(name, str) else None, tuple(names))
    owners = sorted({_owner(one) for one in found})
    if len(owners) > 1:
        raise SinkLoadError(name, f"{' and '.join(owners)} both have one of that name; uninstall all but one")
    try:
        made: Callable[..., Sink] = found[0].load()
    except (ImportError, AttributeError) as error:
        advice = f"pip install '{owners[0]}[{name}]' brings what it needs, if that is what is missing"
        raise SinkLoadError(name, f"{type(error).__name__}: {error}; {advice}") from error
    if not callable(made):
        raise SinkLoadError(name, f"{owners[0]} gives {short(made)} for it, which is nothing to call")
    return made


def _owner(entry: EntryPoint) -> str:
    return str(entry.dist and entry.dist.name)
