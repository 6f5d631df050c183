"""What can happen to a context. A sink is told each of these, in the order in which they took effect."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

__all__ = ["ArtifactAdded", "Event", "KeyWritten", "MetricRecorded", "StepFinished", "StepStarted"]


class KeyWritten(NamedTuple):
    """A key was written."""

    key: str
    value: Any
    """As a reader would get it; where it may hold a secret, the mask."""
    step: str | None
    """The step that wrote it; None outside any step."""
    is_input: bool = False
    """Whether it was there when the context was made."""


class MetricRecorded(NamedTuple):
    """A point was recorded."""

    metric: str
    value: Any
    tags: Mapping[str, Any]
    step: str | None
    """The step that recorded it; None outside any step."""
    position: int
    """Its place in the series of its metric, from 0."""


class ArtifactAdded(NamedTuple):
    """An artifact was added."""

    name: str
    data: bytes
    step: str | None
    """The step that made it; None outside any step."""


class StepStarted(NamedTuple):
    """A step was opened."""

    step: str
    started: datetime
    """When, in UTC."""


class StepFinished(NamedTuple):
    """A step was closed. What it read, wrote and recorded is here; its points were told one by one."""

    step: str
    reads: tuple[str, ...]
    absent: tuple[str, ...]
    writes: tuple[str, ...]
    points: Mapping[str, int]
    """How many points it recorded, by metric."""
    artifacts: tuple[str, ...]
    started: datetime
    ended: datetime
    error: str | None
    """What ended it, if an exception did."""


Event: TypeAlias = KeyWritten | MetricRecorded | ArtifactAdded | StepStarted | StepFinished
"""Anything that a sink may be told."""
