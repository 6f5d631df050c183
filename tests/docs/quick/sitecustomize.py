"""Shortens the pauses of an example: Python imports a module of this name when it starts.

An example that is to be killed after some lines hangs in the pause after them, so that it never prints another one.
"""

import builtins
import os
import time
from itertools import count
from typing import Any

_print, _sleep = builtins.print, time.sleep
_lines = count(1)
_last = int(os.environ.get("STOP_AFTER_LINES", "0"))
_stops = False


def print(*given: Any, **options: Any) -> None:
    global _stops
    _stops = next(_lines) == _last
    _print(*given, **options)


def sleep(seconds: Any) -> None:
    _sleep(600 if _stops else seconds / 50)


builtins.print, time.sleep = print, sleep
