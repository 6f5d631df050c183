"""What a sink's backend did not get: told at once, counted, and told again at the end."""

import logging
import threading
import warnings
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ..errors import UndeliveredWarning

__all__ = ["Undelivered"]

REASONS: Final = 100
"""Reasons that are kept apart, at the most; there may be one a point."""

_log = logging.getLogger("crystallize")


class Undelivered:
    """Counts what is not delivered.

    Example:
        >>> undelivered = Undelivered("Printer")
        >>> undelivered.note("point", "the paper is out")
        >>> undelivered.counts
        Counter({('point', 'the paper is out'): 1})

    Attributes:
        sink: The sink's name.
        counts: How many, by what they are and why.
    """

    def __init__(self, sink: str) -> None:
        self.sink = sink
        self.counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def note(self, kind: str, reason: str, count: int = 1) -> None:
        """Note that something is not delivered, and say so in the log, for each reason once.

        Args:
            kind: What it is, in one word, as "point".
            reason: Why it is not, in one line.
            count: How many there are.
        """
        with self._lock:
            if len(self.counts) >= REASONS and (kind, reason) not in self.counts:
                reason = "other reasons"
            is_new = (kind, reason) not in self.counts
            self.counts[kind, reason] += count
        if is_new:
            _log.warning("%s: %s not delivered: %s", self.sink, kind, reason)

    def warn(self, last: Mapping[tuple[str, str], int] = MappingProxyType({})) -> None:
        """Say at the end how much there is.

        Args:
            last: What was found undelivered just now, counted in the same way.

        Warns:
            UndeliveredWarning: There is something.
        """
        with self._lock:
            self.counts.update(last)
            told = tuple((count, kind, reason) for (kind, reason), count in self.counts.items())
        if told:
            warnings.warn(UndeliveredWarning(self.sink, told), stacklevel=2)
