"""A view of a context for its sinks."""

import threading

from .provenance import Provenance
from .schema import Schema
from .secrets import without
from .series import FrozenMetrics
from .state import State
from .steps import error_text


class ContextView:
    """A context as a sink sees it that is attached to it; see `AttachedSink`.

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
        """The metrics; `metrics.schema` are the declared ones."""
        return self._state.metrics

    @property
    def provenance(self) -> Provenance:
        """Who read, missed and wrote which keys."""
        return self._state.provenance

    @property
    def lock(self) -> threading.RLock:
        """The lock over effect and event: while a sink holds it, nothing takes effect in other threads."""
        return self._state.dispatcher.lock

    def mask(self, text: str) -> str:
        """Return a text with a mask in place of every secret in the context."""
        return without(text, self._state.secrets())

    def error_text(self, raised: BaseException) -> str:
        """Return the type and the text of an exception, with a mask in place of every secret in the context."""
        return error_text(raised, self._state.secrets())
