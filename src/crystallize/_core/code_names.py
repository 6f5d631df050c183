"""The instructions of a code object in a form that is the same in every process, and the names that it refers to.

Line numbers, names of files, comments and format do not count. Docstrings count, as programs read them: some describe
a tool or a task to a language model.
"""

from dis import Instruction, get_instructions, hasconst, hasfree, hasjabs, hasjrel, haslocal, hasname
from functools import lru_cache
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import CodeType
from typing import Any, Final, NamedTuple

from .value_forms import ValueForms, joined

_NAMED: Final = frozenset({*hasname, *haslocal, *hasfree, *hasjrel, *hasjabs})
"""Operations whose argument is a number that depends on other code, and whose `argval` is the thing it refers to."""
_GLOBAL: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_FREE: Final = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
_ATTRIBUTE: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_DEPENDS_ON_FORMAT: Final = frozenset({"__firstlineno__", "__static_attributes__"})
"""Attributes of a class that Python 3.13 sets: a line number, and a tuple in no certain order."""


class Import(NamedTuple):
    """An import that a function does while it runs."""

    module: str
    level: int
    names: tuple[str, ...]
    """The names after `from ... import`."""


class Parameters(NamedTuple):
    """The names of the parameters of a function."""

    positional: tuple[str, ...]
    only_named: tuple[str, ...]
    rest: str | None
    """The name after `*`."""
    named_rest: str | None
    """The name after `**`."""


class CodeFacts(NamedTuple):
    """All that digests need of a code object."""

    form: bytes
    """The instructions and constants, those of inner functions included."""
    globals: tuple[tuple[str, ...], ...]
    """The global names that it loads, each followed by the attributes that it loads from it: `("utils", "helper")`."""
    free: tuple[tuple[str, ...], ...]
    """The same for the variables of enclosing functions."""
    imports: tuple[Import, ...]
    names: frozenset[str]
    """All names of globals and attributes in it."""


@lru_cache(maxsize=4096)
def code_facts(code: CodeType) -> CodeFacts:
    """Return the facts of a code object."""
    parts: list[bytes] = [_head(code)]
    found = _Names()
    for instruction in _stable_instructions(code):
        argument: Any = instruction.arg
        if instruction.opcode in hasconst and instruction.arg is not None:
            # Not `argval`: `dis` looks up the constant of LOAD_CONST only, and not the names of keyword arguments.
            argument = code.co_consts[instruction.arg]
        elif instruction.opcode in _NAMED:
            argument = instruction.argval if isinstance(instruction.argval, int) else str(instruction.argval)
        if isinstance(argument, CodeType):
            inner = code_facts(argument)
            found.add_inner(inner, code)
            form = inner.form
        else:
            form = _constant(argument)
            found.add(instruction)
        parts += (instruction.opname.encode(), form)
    return found.facts(joined("code", parts), frozenset(code.co_names))


@lru_cache(maxsize=4096)
def parameters_in(code: CodeType) -> Parameters:
    """Return the names of the parameters of a function's code."""
    names, count = code.co_varnames, code.co_argcount
    end = count + code.co_kwonlyargcount
    has_rest = bool(code.co_flags & CO_VARARGS)
    rest = names[end] if has_rest else None
    named_rest = names[end + has_rest] if code.co_flags & CO_VARKEYWORDS else None
    return Parameters(names[:count], names[count:end], rest, named_rest)


def _head(code: CodeType) -> bytes:
    """Return the form of all of a code object except for its instructions."""
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    # A docstring is the first constant, which no instruction loads.
    first = code.co_consts[0] if code.co_consts and isinstance(code.co_consts[0], str) else None
    variables = code.co_varnames[: sum(counts[::2]) + 2]
    return _constant((counts, first, code.co_name, variables, code.co_exceptiontable))


def _stable_instructions(code: CodeType) -> list[Instruction]:
    """Return the instructions of a code object without those that only store line numbers and the like."""
    found: list[Instruction] = []
    for instruction in get_instructions(code):
        if instruction.opname == "STORE_NAME" and instruction.argval in _DEPENDS_ON_FORMAT:
            found.pop()
        elif instruction.opname != "EXTENDED_ARG":
            found.append(instruction)
    return found


def _constant(value: object) -> bytes:
    return ValueForms().form(value)


class _Names:
    """Collects the names that instructions refer to."""

    def __init__(self) -> None:
        # Dicts, since sets have no order.
        self._globals: dict[tuple[str, ...], None] = {}
        self._free: dict[tuple[str, ...], None] = {}
        self._imports: dict[Import, None] = {}
        self._inner_names: set[str] = set()
        self._path: tuple[str, ...] = ()
        self._kind: dict[tuple[str, ...], None] | None = None
        self._constants: list[Any] = [None, None]

    def add(self, instruction: Instruction) -> None:
        """Add an instruction."""
        name, value = instruction.opname, instruction.argval
        if name in _ATTRIBUTE and self._kind is not None:
            self._path += (value,)
            return
        self._end_path()
        if name in _GLOBAL:
            self._kind, self._path = self._globals, (value,)
        elif name in _FREE:
            self._kind, self._path = self._free, (value,)
        elif name == "IMPORT_NAME":
            level, names = self._constants
            self._imports[Import(value, level, tuple(names or ()))] = None
        elif name in ("LOAD_CONST", "LOAD_SMALL_INT"):
            self._constants = [self._constants[1], value]

    def add_inner(self, inner: CodeFacts, outer: CodeType) -> None:
        """Add the names of an inner function; its free variables that are local to the outer one are not free here."""
        self._end_path()
        self._globals.update(dict.fromkeys(inner.globals))
        self._free.update(dict.fromkeys(path for path in inner.free if path[0] in outer.co_freevars))
        self._imports.update(dict.fromkeys(inner.imports))
        self._inner_names |= inner.names

    def facts(self, form: bytes, names: frozenset[str]) -> CodeFacts:
        """Return all that was added."""
        self._end_path()
        return CodeFacts(form, (*self._globals,), (*self._free,), (*self._imports,), names | self._inner_names)

    def _end_path(self) -> None:
        if self._kind is not None:
            self._kind[self._path] = None
            self._kind = None
