"""The fast path of a journal: from the event of a plain point to the spool.

A program may record hundreds of thousands of points a second, and each has to be in the spool before `record` returns.
So the journal puts the function made here in place of its method `handle`, for as long as it takes events. It is a
closure, in which every name that it needs is bound already: it asks neither the journal nor its writer for anything.

It handles one case: a point of a metric that is declared so that each of its points is JSON and nothing else. The fact
of such a point is the JSON array of the first four fields of its event. Everything else goes to `handle`: other events,
a fact that is too long for readers of JSON, a spool without room, and any exception, which `handle` meets again and
explains. So the fast path decides nothing by itself; it either does what `handle` would do, or calls it.

When the journal fails or ends, the writer has the closure removed, and all events reach `handle`, which refuses them.
"""

from collections.abc import Callable

from pydantic_core import to_json

from .._base.signal_handlers import is_raised_by_handler
from .._core.codec import LONGEST
from ..events import Event, MetricRecorded
from .run_writer import RunWriter


def fast_handler(
    handle: Callable[[Event], None], plain: frozenset[str], writer: RunWriter, taken: list[object]
) -> Callable[[Event], None]:
    """Return a faster `handle`, given the metrics whose points are plain: it only succeeds, or calls `handle`.

    It puts each event that it has taken into `taken[0]`.
    """
    append, pending, frames = writer.spool.append, writer.spool.pending, writer.spool.frames
    batch, longest, wake = writer.batch, LONGEST, writer.wake

    def handle_fast(event: Event, /) -> None:
        if type(event) is MetricRecorded and event[0] in plain:
            if event[5] is not None:
                return  # a branch recorded it, and its merge has all its points
            fact = b""
            try:
                fact = to_json(event[:4])
                done = len(fact) < longest and append(fact)
                if done:
                    taken[0] = event
                    if len(pending) == batch:
                        wake()
            except BaseException as error:
                done = False  # whatever it is, `handle` meets it too
                if not isinstance(error, Exception) or is_raised_by_handler(error):
                    # The context has the point, so the file has to get it all the same.
                    if fact and frames.newest is fact:
                        taken[0] = event
                    else:
                        handle(event)
                    raise
            if done:
                return
        handle(event)

    return handle_fast
