"""The installed sinks: those of crystallize, and those of other packages."""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from .._base.text import nearest, short
from .._core.protocols import Sink
from ..errors import SinkLoadError, UnknownSinkError

__all__ = ["GROUP", "find_sink", "sink_names"]

GROUP: Final = "crystallize.sinks"
"""The group of entry points in which a package lists its sinks."""


def sink_names() -> list[str]:
    """Return the names of the installed sinks, sorted.

    Example:
        >>> "memory" in sink_names()
        True
    """
    return sorted(entry_points(group=GROUP).names)


def find_sink(name: str) -> Callable[..., Sink]:
    """Return the class of a sink, or another callable that makes it, by the name that its package gave it.

    Raises:
        UnknownSinkError: No installed package has a sink of that name.
        SinkLoadError: The sink cannot be imported, for example because a library is not installed.

    Example:
        >>> find_sink("memory")().events
        []
    """
    found = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    if not found:
        names = sink_names()
        raise UnknownSinkError(short(name), nearest(name, names) if isinstance(name, str) else None, tuple(names))
    owners = sorted({_owner(entry) for entry in found})
    if len(owners) > 1:
        raise SinkLoadError(name, f"{' and '.join(owners)} both have one of that name; uninstall all but one")
    try:
        made: Callable[..., Sink] = found[0].load()
    except (ImportError, AttributeError) as error:
        advice = f"pip install '{owners[0]}[{name}]' installs its libraries, if one of them is missing"
        raise SinkLoadError(name, f"{type(error).__name__}: {error}; {advice}") from error
    if not callable(made):
        raise SinkLoadError(name, f"{owners[0]} gives {short(made)} for it, which is nothing to call")
    return made


def _owner(entry: EntryPoint) -> str:
    return str(entry.dist and entry.dist.name)
