"""Digests of all that decides about a call of a task, except for the context: its code and its arguments.

The code is that of the task, and of the functions and classes of the user that it names, followed through. Modules
of the standard library, of installed packages and of this one are not followed. A global counts by its value if it is
immutable, else by its type. Closures, defaults and arguments count by their values.

A code graph that was followed once is kept with all the names that were looked up for it. If each of them still refers
to the same object, nothing is followed again.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any, Final, NamedTuple

from .code_graph import CLOSURE, CodeGraph, settings_of
from .code_names import Parameters, parameters_in
from .digest import digest
from .value_forms import CACHED_FUNCTION, FOLLOWED, NoDigest, ValueForms, joined


class CallDigest(NamedTuple):
    """Digests of all that decides about a call of a task, except for the context."""

    code: Mapping[str, str]
    """The digest of each function, class and global that is followed, by its qualified name; the task comes first."""
    arguments: Mapping[str, str]
    """The digest of each argument and default by its parameter, and of each variable of a closure as "closure.x"."""
    unknown: tuple[str, ...]
    """Why parts have no digest: "the argument model, a Module, has no digest"."""


_ARGUMENT: Final = "argument"
_MOST_GRAPHS: Final = 512
_NO_PARAMETERS: Final = Parameters((), (), None, None)
_CONTEXT: Final = object()
_graphs: dict[tuple[int, ...], CodeGraph] = {}
"""The graphs that were followed last, by the identities of their roots, which they keep alive."""


def digest_call(task: object, args: tuple[object, ...], kwargs: Mapping[str, object]) -> CallDigest:
    """Return the digests of a call of a task with these arguments after the context."""
    call = _FunctionCall.of(task, args, kwargs)
    roots: list[Any] = [call.function]
    forms: dict[str, tuple[bytes, list[Any]]] = {}
    unknown: list[str] = []
    is_light = True
    for label, name, value in call.values():
        values = ValueForms()
        entry = f"closure.{name}" if label == CLOSURE else name
        try:
            forms[entry] = values.form(value), values.referred
        except NoDigest as error:
            unknown.append(f"the {label} {name} {error}")
        else:
            roots += values.referred
            is_light &= values.is_stable or label == _ARGUMENT
    graph = _graph(roots, is_light=is_light)
    arguments = {}
    for name, (form, referred) in forms.items():
        keys = [graph.keys[id(root)].encode() for root in referred]
        arguments[name] = digest(joined("refers", [form, *keys]) if keys else form)
    return CallDigest(graph.digests, arguments, (*unknown, *graph.unknown))


def _graph(roots: list[Any], *, is_light: bool) -> CodeGraph:
    """Return the graph of the code from these roots; keep it if no arrays and the like are kept alive by that."""
    key = tuple(map(id, roots))
    graph = _graphs.get(key)
    if graph is not None and graph.is_current():
        return graph
    graph = CodeGraph(roots)
    if len(_graphs) >= _MOST_GRAPHS:
        _graphs.clear()
    if graph.is_stable and is_light:
        _graphs[key] = graph
    return graph


class _FunctionCall(NamedTuple):
    """A call of a function: a task without its partials, and of a method its function."""

    function: Any
    positional: tuple[Any, ...]
    named: dict[str, Any]

    @classmethod
    def of(cls, task: Any, args: tuple[object, ...], kwargs: Mapping[str, object]) -> "_FunctionCall":
        """Return the call of the innermost function of a task."""
        positional, named = (_CONTEXT, *args), dict(kwargs)
        while not isinstance(task, FOLLOWED):
            if isinstance(task, partial):
                positional, named, task = (*task.args, *positional), {**task.keywords, **named}, task.func
            elif isinstance(task, MethodType):
                positional, task = (task.__self__, *positional), task.__func__
            elif isinstance(called := type(task).__call__, FunctionType):
                positional, task = (task, *positional), called
            else:
                break
        return cls(task, positional, named)

    def values(self) -> Iterator[tuple[str, str, Any]]:
        """Yield all values that the call uses, each after its kind and its name."""
        is_cached = isinstance(self.function, CACHED_FUNCTION)
        function = getattr(self.function, "__wrapped__", None) if is_cached else self.function
        code: CodeType | None = getattr(function, "__code__", None)
        names, _, rest, _ = _NO_PARAMETERS if code is None else parameters_in(code)
        given = {name: value for name, value in zip(names, self.positional, strict=False) if value is not _CONTEXT}
        more = tuple(value for value in self.positional[len(names) :] if value is not _CONTEXT)
        # A name may be that of a positional-only parameter as well.
        given.update({f"**{name}" if name in given else name: value for name, value in self.named.items()})
        if more:
            given[rest or "args"] = more
        yield from ((_ARGUMENT, name, value) for name, value in given.items())
        if isinstance(self.function, FunctionType):
            for label, name, value in settings_of(self.function):
                if label == CLOSURE or name not in given:
                    yield label, name, value
