"""Take the events of a context into a journal: encode each as a fact, and append it."""

from collections.abc import Callable

from .._base.signal_handlers import is_raised_by_handler
from .._branches.merge import MergedWork
from ..events import BranchForked, Event, StepFinished
from .event_bytes import Encoder
from .run_writer import RunWriter


class EventIntake:
    """Takes events in, each once, whatever interrupts that.

    When an event comes, the context has its change already. So if a signal's handler raises in the middle, the event is
    taken in all the same, and then the exception goes on.

    Attributes:
        taken: Its only item is the last event, or work of a branch, that was taken in.
    """

    def __init__(self, writer: RunWriter, encoder: Encoder) -> None:
        """Encode with an encoder, and append to a writer."""
        self._writer = writer
        self._encoder = encoder
        self.taken: list[object] = [None]

    def take(self, event: Event) -> None:
        """Take an event in."""
        if not _is_in_failure(event):
            self._append(event, lambda: self._encoder.fact(event))

    def make_durable(self) -> None:
        """Make all that was taken in survive a crash of the machine."""
        self._writer.sync()

    def take_batch(self, work: MergedWork) -> None:
        """Take the work of a branch in, as one fact."""
        self._append(work, lambda: self._encoder.merge(work))

    def settle(self, event: Event) -> None:
        """Take an event in, unless that was done before it was interrupted."""
        if self.taken[0] is not event:
            self.take(event)

    def settle_batch(self, work: MergedWork) -> None:
        """Take the work of a branch in, unless that was done before it was interrupted."""
        if self.taken[0] is not work:
            self.take_batch(work)

    def _append(self, item: Event | MergedWork, encode: Callable[[], bytes]) -> None:
        writer = self._writer
        if not writer.takes:
            raise writer.refusal()
        fact = b""
        try:
            fact = encode()
            writer.append(fact)
            self.taken[0] = item
            if len(writer.spool.pending) == writer.batch:
                writer.wake()
        except BaseException as error:
            if isinstance(error, Exception) and not is_raised_by_handler(error):
                # The context has the change, and the file does not: it takes nothing more, since that would be a hole.
                writer.fail(error)
            else:
                self._complete(item, fact, encode, error)
            raise

    def _complete(
        self, item: Event | MergedWork, fact: bytes, encode: Callable[[], bytes], interruption: BaseException
    ) -> None:
        """Append a fact whose appending was interrupted, unless it is in the spool."""
        writer = self._writer
        try:
            if not fact or writer.spool.frames.newest is not fact:
                writer.append(fact or encode())
            self.taken[0] = item
        except BaseException as error:
            writer.fail(error)
            interruption.add_note(f"Besides, the journal has failed: {error}")


def _is_in_failure(event: Event) -> bool:
    """Whether the last event of a failed branch has all that this event says."""
    if type(event) is BranchForked or (type(event) is StepFinished and event.is_of_failed_branch):
        return False
    return getattr(event, "branch", None) is not None
