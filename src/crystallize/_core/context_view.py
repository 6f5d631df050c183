"""A view of a context for its sinks."""

import threading

from .._base.masking import without
from .artifacts import ArtifactLog
from .provenance import Provenance
from .schema import Schema
from .series import FrozenMetrics
from .state import Extension, State
from .steps import error_text


class ContextView:
    """The view of a context that a sink receives when it is attached; see `AttachedSink`.

    Example:
        >>> from pydantic import SecretStr
        >>> from crystallize.sinks.memory import MemorySink
        >>> class Masking(MemorySink):
        ...     def attach(self, view, /):
        ...         self.view = view
        >>> ctx = FrozenContext({"token": SecretStr("hunter2")}, sinks=[sink := Masking()])
        >>> sink.view.mask("the token is hunter2")
        'the token is **********'
    """

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def schema(self) -> Schema:
        """The declared keys."""
        return self._state.schema

    @property
    def metrics(self) -> FrozenMetrics:
        """The metrics; `metrics.schema` is the class that declares them.

        A point that is recorded through them reaches all sinks, like any other.
        """
        return self._state.metrics

    @property
    def artifacts(self) -> ArtifactLog:
        """The artifacts. One that is added through them reaches all sinks, like any other."""
        return self._state.artifacts

    @property
    def provenance(self) -> Provenance:
        """Who read, missed and wrote which keys."""
        return self._state.provenance

    @property
    def lock(self) -> threading.RLock:
        """The context's lock. While a sink holds it, no other thread can change the context or emit an event."""
        return self._state.dispatcher.lock

    def deliver_waiting(self) -> None:
        """Deliver the events that wait because a signal handler interrupted the delivery of another event.

        A sink that a handler may flush or close calls this first.

        Raises:
            SinkError: At least one sink raised.
        """
        self._state.dispatcher.deliver_waiting()

    def mask(self, text: str) -> str:
        """Return a text in which every secret of the context is masked."""
        return without(text, self._state.secrets())

    def error_text(self, raised: BaseException) -> str:
        """Return the type and the text of an exception, with every secret of the context masked."""
        return error_text(raised, self._state.secrets())


def extend(view: ContextView, extension: Extension) -> None:
    """Keep data in the context of a view, by its class."""
    view._state.extensions[type(extension)] = extension
