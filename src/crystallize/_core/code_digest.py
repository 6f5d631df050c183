"""Digests of all that decides about a call of a task, except for the context: its code and its arguments.

The code comprises the task, and the functions and classes of the user that it names, directly or through others.
Modules of the standard library, of installed packages and of this one are not followed. A global counts by its value if
it is immutable or its name is in capitals, else by its type. Closures, defaults and arguments count by their values.

A code graph that was followed once is kept with all the names that were looked up for it. If each of them still refers
to the same object, and the constants among these that can be changed have the same content, nothing is followed again.
"""

from collections.abc import Mapping
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple

from .call_arguments import CONTEXT, HiddenValue, unwrapped_call
from .code_graph import CLOSURE, CodeGraph, settings_of
from .code_names import Parameters, parameters_in
from .digest import digest
from .value_forms import CACHED_FUNCTION, NoDigest, ValueForms, atom_form, joined


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
_graphs: dict[tuple[int, ...], CodeGraph] = {}
"""The graphs that were followed last, by the identities of their roots, which they keep alive."""


def digest_call(task: object, args: tuple[object, ...], kwargs: Mapping[str, object]) -> CallDigest:
    """Return the digests of a call of a task with these arguments after the context."""
    function, positional, named = unwrapped_call(task, args, kwargs)
    roots: list[Any] = [function]
    forms: dict[str, tuple[bytes, list[Any]]] = {}
    unknown: list[str] = []
    is_light = True
    for label, name, value in _values(function, positional, named):
        entry = f"closure.{name}" if label == CLOSURE else name
        if (atom := atom_form(value)) is not None:
            forms[entry] = atom, []
            continue
        values = ValueForms()
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


def digest_simple_call(task: object, atoms: Mapping[str, bytes]) -> CallDigest:
    """Return what `digest_call` returns for a call with the forms that `atoms_of_call` has returned."""
    graph = _graph([task], is_light=True)
    return CallDigest(graph.digests, {name: digest(atom) for name, atom in atoms.items()}, tuple(graph.unknown))


def _graph(roots: list[Any], *, is_light: bool) -> CodeGraph:
    """Return the graph of the code from these roots; keep it if no arrays and the like are kept alive by that."""
    key = tuple(map(id, roots))
    graph = _graphs.get(key)
    if graph is not None and graph.is_current():
        return graph
    graph = CodeGraph(roots, task=roots[0])
    if len(_graphs) >= _MOST_GRAPHS:
        _graphs.clear()
    if graph.is_stable and is_light:
        _graphs[key] = graph
    return graph


def _shown(value: Any) -> Any:
    return value.value if type(value) is HiddenValue else value


def _values(function: Any, positional: list[Any], named: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Return all values that a call uses, each after its kind and its name."""
    inner = getattr(function, "__wrapped__", None) if isinstance(function, CACHED_FUNCTION) else function
    code: CodeType | None = getattr(inner, "__code__", None)
    names, _, rest, _ = _NO_PARAMETERS if code is None else parameters_in(code)
    given = {name: _shown(value) for name, value in zip(names, positional, strict=False) if value is not CONTEXT}
    if named:  # a positional-only parameter may have the same name
        given |= {f"**{name}" if name in given else name: value for name, value in named.items()}
    if more := tuple(_shown(value) for value in positional[len(names) :] if value is not CONTEXT):
        given[rest or "args"] = more
    found = [(_ARGUMENT, name, value) for name, value in given.items()]
    if type(function) is FunctionType and (function.__defaults__ or function.__kwdefaults__ or function.__closure__):
        found += [setting for setting in settings_of(function) if setting[0] == CLOSURE or setting[1] not in given]
    return found
