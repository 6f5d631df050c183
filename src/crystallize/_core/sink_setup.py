"""Prepare sinks for a context: check that they are sinks, ask them for problems, attach them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from .._base.object_folder import ObjectFolder
from .._base.text import short
from .._base.type_hints import key_types
from ..errors import SchemaError, SinkCheckError
from .context_view import ContextView
from .protocols import AttachedSink, CheckingSink, DeclaredKey, Sink
from .state import State


def sinks_in(sinks: Any) -> tuple[Sink, ...]:
    """Return the sinks in a sequence; raise SchemaError if an item is not a sink."""
    if not isinstance(sinks, Iterable):
        raise SchemaError("sinks", f"they are a sequence of sinks, not {short(sinks)}")
    found = tuple(sinks)
    for sink in found:
        if isinstance(sink, type):
            raise SchemaError(sink.__name__, f"this is a class; give a sink that is made of it, {sink.__name__}(...)")
        if not isinstance(sink, Sink):
            missing = " and ".join(name for name in ("handle", "close") if not callable(getattr(sink, name, None)))
            problem = f"a sink has the methods handle(event) and close(), and this has no method {missing}"
            raise SchemaError(type(sink).__name__, problem)
    return found


def check_sinks(sinks: Iterable[Sink], state: State, label: str) -> None:
    """Raise SinkCheckError with all problems that the sinks report."""
    checking = [sink for sink in sinks if isinstance(sink, CheckingSink)]
    if not checking:
        return
    keys = dict.fromkeys([*state.schema.keys, *state.values])
    types = key_types(state.schema.plain, keys)
    schema = {key: DeclaredKey(kind, key in state.values and state.stored(key).is_input) for key, kind in types.items()}
    metrics = state.metric_store.schema
    refused: list[tuple[str, str]] = []
    for sink in checking:
        with _named(sink, "check"):
            refused += [(type(sink).__name__, problem) for problem in sink.check(schema, metrics)]
    if refused:
        raise SinkCheckError(label, tuple(refused))


def attach_sinks(sinks: Iterable[Sink], state: State) -> None:
    """Pass a view of the context to each sink that has the method `attach`, and take the folder of one that has one."""
    for sink in sinks:
        folder = getattr(sink, "object_folder", None)
        if isinstance(folder, ObjectFolder):
            state.artifact_store.objects = folder
        if isinstance(sink, AttachedSink):
            with _named(sink, "attach"):
                sink.attach(ContextView(state))


@contextmanager
def _named(sink: Sink, method: str) -> Iterator[None]:
    """Add a note to an exception that the sink raises: its text need not say where it comes from."""
    try:
        yield
    except Exception as error:
        error.add_note(f"{type(sink).__name__}.{method} raised this, so that the context was not made")
        raise
