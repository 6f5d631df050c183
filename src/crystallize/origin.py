"""The environment of a process that wrote a run; also in `crystallize.runs`."""

from ._journal.environment import Origin

__all__ = ["Origin"]
