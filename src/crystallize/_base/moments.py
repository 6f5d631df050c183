"""Moments that are computed from others, also while the process ends."""

from datetime import UTC, datetime
from typing import Final

_START: Final = datetime.fromtimestamp(0, UTC)


def after(moment: datetime, seconds: float) -> datetime:
    """Return the moment that is some seconds after another.

    In destructors that run as the process ends, `timedelta` raises ImportError on Python 3.14, and crashes Python 3.13.
    The difference of two moments is a `timedelta` that can be computed there, too.
    """
    return moment + (datetime.fromtimestamp(seconds, UTC) - _START)
