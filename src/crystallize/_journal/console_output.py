"""The console output of a process: the texts that its Python code writes to `sys.stdout` and `sys.stderr`.

Each stream gets another method `write`, which keeps the text and passes it on. So the streams stay the objects that
they were, handlers of `logging` that have one of them are captured too, and the terminal shows all as before. Output of
child processes and of libraries in C does not go through these objects, and is not captured.
"""

import logging
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from .._base.text import short
from .._core.context_view import ContextView

_log = logging.getLogger("crystallize")

_HALF: Final = 8 << 20
"""Characters that are kept of the start of the output, and of its end."""
_MARGIN: Final = 1 << 16
"""Characters beside the part that is left out, in which a part of a secret could not be recognized."""


class ConsoleOutput:
    """Captures the console output of this process from its creation until `stop`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._start: list[str] = []
        self._end: deque[str] = deque()
        self._sizes = [0, 0]
        self._left_out = 0
        self._is_active = True
        streams: dict[int, Any] = {id(stream): stream for stream in (sys.stdout, sys.stderr) if stream is not None}
        self._undo = [self._captured(stream) for stream in streams.values()]

    def _captured(self, stream: Any) -> Callable[[], None]:
        """Capture a stream; return a function that undoes that."""
        if not hasattr(stream, "__dict__"):
            _log.warning("the console output cannot be captured: %s takes no other method", short(stream))
            return lambda: None
        write, before = stream.write, vars(stream).get("write")

        def write_and_keep(text: str) -> Any:
            written = write(text)
            if self._is_active:
                self._keep(text)
            return written

        def undo() -> None:
            if vars(stream).get("write") is not write_and_keep:
                return  # somebody else has replaced it since, and passes the texts on
            if before is None:
                del stream.write
            else:
                stream.write = before

        stream.write = write_and_keep
        return undo

    def _keep(self, text: str) -> None:
        with self._lock:
            room = _HALF - self._sizes[0]
            if room > 0:
                self._start.append(text[:room])
                self._sizes[0] += len(text[:room])
            rest = text[max(room, 0) :]
            if rest:
                self._end.append(rest[-_HALF:])
                self._left_out += len(rest[:-_HALF])
                self._sizes[1] += len(self._end[-1])
            while self._sizes[1] > 2 * _HALF:
                dropped = len(self._end.popleft())
                self._sizes[1] -= dropped
                self._left_out += dropped

    def stop(self) -> None:
        """Capture nothing more. Stopping again does nothing."""
        self._is_active = False
        while self._undo:
            self._undo.pop()()

    def text(self, mask: Callable[[str], str]) -> str:
        """Return the output, with secrets masked; without its middle if it is long."""
        start, end = "".join(self._start), "".join(self._end)
        if not self._left_out:
            return mask(start + end)
        left_out = f"\n... {self._left_out + 2 * _MARGIN:,} characters are left out ...\n"
        return f"{mask(start)[:-_MARGIN]}{left_out}{mask(end)[_MARGIN:]}"

    def finish(self, view: ContextView | None) -> None:
        """Stop, and add the output to a context as the artifact "console.txt", or "console-2.txt" if there is one.

        It is lost if there is no context, which would know the secrets in it.
        """
        self.stop()
        if view is not None and (text := self.text(view.mask)):
            name, number = "console.txt", 1
            while name in view.artifacts:
                number += 1
                name = f"console-{number}.txt"
            view.artifacts.add(name, text.encode("utf-8", "backslashreplace"))


def captured_output(is_wanted: bool) -> ConsoleOutput | None:
    """Return the console output from now on, if it is wanted."""
    return ConsoleOutput() if is_wanted else None
