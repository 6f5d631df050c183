"""The values that a call of a task uses besides the context: arguments, defaults, closure, the object of a method."""

from collections.abc import Mapping
from functools import lru_cache, partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, Final, NamedTuple

from .value_forms import NoDigest, ValueForms, atom_form, joined

CONTEXT: Final[object] = object()
"""In place of the context, the first argument."""
PARTIAL: Final = "?"
"""The first character of a digest that leaves out a value, such as an executor."""


class HiddenValue(NamedTuple):
    """A value that is not an argument: the object of a method, or a variable of a closure."""

    value: Any


def unwrapped_call(
    task: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Any, list[Any], dict[str, Any]]:
    """Return the innermost function of a task, and its positional and named arguments with the context."""
    positional, named = [CONTEXT, *args], dict(kwargs)
    while not isinstance(task, FunctionType | type):
        if isinstance(task, partial):
            positional, named, task = [*task.args, *positional], {**task.keywords, **named}, task.func
        elif isinstance(task, MethodType):
            positional, task = [HiddenValue(task.__self__), *positional], task.__func__
        elif isinstance(called := type(task).__call__, FunctionType):
            positional, task = [HiddenValue(task), *positional], called
        else:
            break
    return task, positional, named


def digest_of_arguments(task: object, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
    """Return a digest of the values of a call, the same in every process, by position or by name.

    A function or class counts by its name. A value without a digest does not count. Neither does the object of a
    method, or a variable of a closure, that may change: another process need not repeat the calls that changed it.
    """
    forms = {name: _form(value) for name, value in _values(*unwrapped_call(task, args, kwargs)).items()}
    return ("" if None not in forms.values() else PARTIAL) + _digest_of_forms(forms)


def atoms_of_call(task: object, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, bytes] | None:
    """Return the forms of the arguments by their parameters, if they are all that a call uses and have atom forms.

    None for all other calls. Most calls of a loop are of this kind, and each takes these forms alone.
    """
    if type(task) is not FunctionType or task.__closure__ or len(args) >= task.__code__.co_argcount:
        return None
    names = task.__code__.co_varnames[: task.__code__.co_argcount]
    given: dict[str, Any] = dict(zip(names[1:], args, strict=False))
    if not given.keys().isdisjoint(kwargs):  # a positional-only parameter has the same name
        return None
    given |= kwargs
    if defaults := task.__defaults__:
        given = {**dict(zip(reversed(names), reversed(defaults), strict=False)), **given}
    if task.__kwdefaults__:
        given = {**task.__kwdefaults__, **given}
    found = {}
    for name, value in given.items():
        if (atom := atom_form(value)) is None:
            return None
        found[name] = atom
    return found


def digest_of_atoms(atoms: Mapping[str, bytes]) -> str:
    """Return what `digest_of_arguments` returns for a call with the forms that `atoms_of_call` has returned."""
    return _digest_of_forms({name: _ATOM + atom for name, atom in atoms.items()})


def _digest_of_forms(forms: Mapping[str, bytes | None]) -> str:
    parts = (part for name in sorted(forms) for part in (name.encode(), forms[name] or b""))
    return joined("arguments", parts).hex()


_ATOM: Final = b"atom "


def _form(value: Any) -> bytes | None:
    """Return the form of a value; None if it does not count."""
    found = value.value if isinstance(value, HiddenValue) else value
    if (atom := atom_form(found)) is not None:
        return _ATOM + atom
    values = ValueForms()
    try:
        form = values.form(found)
    except NoDigest:
        return None
    if found is not value and not values.is_stable:
        return None
    names = [f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', '')}" for named in values.referred]
    # Many functions may be made at one place, with other closures.
    if any("<locals>" in name or "<lambda>" in name for name in names):
        return None
    return joined("value", [form, *(name.replace("__mp_main__", "__main__").encode() for name in names)])


def _values(function: Any, positional: list[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by the names of their parameters, and those of a closure."""
    code = getattr(function, "__code__", None)
    names = () if code is None else code.co_varnames[: code.co_argcount]
    pairs = zip(names, positional, strict=False)
    given: dict[str, Any] = {name: value for name, value in pairs if value is not CONTEXT}
    # A positional-only parameter may have the same name.
    given |= {f"**{name}" if name in given else name: value for name, value in named.items()}
    if more := [value for value in positional[len(names) :] if value is not CONTEXT]:
        given["*"] = more
    if code is not None:
        defaults = function.__defaults__ or ()
        # From the last one on, as the code of a function may be replaced by some with fewer parameters.
        by_default = dict(zip(reversed(names), reversed(defaults), strict=False))
        given = {**(function.__kwdefaults__ or {}), **by_default, **given}
        if code.co_freevars:
            cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
            changed = _changed_by(code)
            given |= {f"closure {name}": HiddenValue([] if name in changed else _content(cell)) for name, cell in cells}
    return given


@lru_cache(maxsize=256)
def _changed_by(code: CodeType) -> frozenset[str]:
    """Return the variables of a closure that a function, or one within it, assigns."""
    import dis  # here, to keep the import of the package fast

    own = {str(found.argval) for found in dis.get_instructions(code) if found.opname == "STORE_DEREF"}
    within = (_changed_by(part) for part in code.co_consts if isinstance(part, CodeType))
    return frozenset(code.co_freevars) & own.union(*within)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the variable is assigned later
        return None
