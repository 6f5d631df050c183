"""Data that a sink's backend did not get: logged at once, counted, and reported again when the sink is closed."""

import logging
import warnings
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .._base.locks import make_lock
from ..errors import UndeliveredWarning

__all__ = ["Undelivered"]

REASONS: Final = 100
"""The maximum number of reasons that are counted separately, as each point could have its own."""

_log = logging.getLogger("crystallize")


class Undelivered:
    """Counts data that is not delivered.

    Example:
        >>> undelivered = Undelivered("Printer")
        >>> undelivered.note("point", "the paper is out")
        >>> undelivered.counts
        Counter({('point', 'the paper is out'): 1})

    """

    def __init__(self, sink: str) -> None:
        self.sink = sink
        """The sink's name."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """The number of items, by their kind and the reason."""
        self._lock = make_lock()

    def note(self, kind: str, reason: str, count: int = 1) -> None:
        """Count items that are not delivered. The first of each kind and reason is logged.

        Args:
            kind: A noun for one item, such as "point".
            reason: The reason, in one line.
            count: The number of items.
        """
        with self._lock:
            if len(self.counts) >= REASONS and (kind, reason) not in self.counts:
                reason = "other reasons"
            is_new = (kind, reason) not in self.counts
            self.counts[kind, reason] += count
        if is_new:
            _log.warning("%s: %s not delivered: %s", self.sink, kind, reason)

    def warn(self, last: Mapping[tuple[str, str], int] = MappingProxyType({})) -> None:
        """Warn if anything was not delivered.

        Args:
            last: More counts, to be added first.

        Warns:
            UndeliveredWarning: At least one item was not delivered.
        """
        with self._lock:
            self.counts.update(last)
            undelivered = tuple((count, kind, reason) for (kind, reason), count in self.counts.items())
        if undelivered:
            warnings.warn(UndeliveredWarning(self.sink, undelivered), stacklevel=2)
