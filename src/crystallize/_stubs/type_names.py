"""How a type is written in a stub: as an expression, with the imports that it needs."""

import ast
import enum
import sys
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.util import resolve_name
from inspect import getsource
from itertools import chain, count
from types import ModuleType, NoneType, UnionType
from typing import Any, ForwardRef, Literal, NamedTuple, Self, TypeVar, Union, get_args, get_origin

import typing_extensions
from typing_extensions import ParamSpec, TypeAliasType, TypeVarTuple

from .._base.text import short, type_name
from ..errors import SchemaError

__all__ = ["Place", "Spelling", "classes_in", "free", "subscripted"]

_ANY_TUPLE: Any = typing.Tuple  # noqa: UP006  # as older code has it
_WRAPPERS = frozenset(
    getattr(owner, name)
    for owner in (typing, typing_extensions)
    for name in ("Annotated", "ClassVar", "Final", "NotRequired", "ReadOnly", "Required")
    if hasattr(owner, name)
)
"""What says something about a type, and is no part of it."""


class Place(NamedTuple):
    """Where something can be imported from."""

    module: str
    name: str
    """Its name in the module, with dots where it is within a class."""


def free(name: str, taken: Collection[str]) -> str:
    """Return a name that is not taken: this one, or it with a number."""
    return next(one for one in chain([name], (f"{name}_{number}" for number in count(2))) if one not in taken)


class Spelling:
    """Writes types, and keeps which modules what it has written needs.

    Example:
        >>> ast.unparse(Spelling().of(dict[str, int | None]))
        'dict[str, int | None]'
    """

    def __init__(self) -> None:
        self._modules: dict[str, str] = {}
        self._places: dict[str, dict[int, Place]] = {}

    def imports(self) -> dict[str, str]:
        """Return the modules that were needed so far, each with the name that stands for it."""
        return dict(self._modules)

    def name(self, place: Place) -> ast.expr:
        """Return how something at a place is written."""
        if place.module == "builtins":
            return ast.Name(place.name)
        if place.module not in self._modules:
            self._modules[place.module] = free(f"_{place.module.replace('.', '_')}", self._modules.values())
        written: ast.expr = ast.Name(self._modules[place.module])
        for part in place.name.split("."):
            written = ast.Attribute(written, part)
        return written

    def of(
        self, shape: Any, modules: Iterable[ModuleType] = (), names: Mapping[Any, ast.expr] | None = None
    ) -> ast.expr:
        """Return how a type is written.

        Args:
            shape: The type.
            modules: Those in which it was written: what they import by a name is imported by that one.
            names: What to write for type variables, and for `Self`.

        Raises:
            SchemaError: It cannot be written, since nothing can import it.
        """
        return _Writer(self, [*modules], names or {}).write(shape)

    def place(self, found: Any, modules: Iterable[ModuleType] = ()) -> Place:
        """Return where a class, or anything else that has a name, can be imported from.

        Raises:
            SchemaError: Nowhere.
        """
        for module in modules:
            if module.__name__ not in self._places:
                self._places[module.__name__] = _imported_by(module)
            if id(found) in self._places[module.__name__]:
                return self._places[module.__name__][id(found)]
        owner, name = getattr(found, "__module__", ""), getattr(found, "__qualname__", getattr(found, "__name__", ""))
        is_hidden = any(part.startswith("_") for part in owner.split("."))
        ways = [*_packages(owner), owner] if is_hidden else [owner]
        place = next((Place(way, name) for way in ways if name and _at(way, name) is found), None)
        if place is None and owner == "builtins":
            # What is built in and has no name there has one in `types`.
            place = next((Place("types", name) for name, held in vars(types).items() if held is found), None)
        if place is None:
            told = type_name(found) if isinstance(found, type) else short(found)
            where = "it is made in a function" if "<locals>" in str(name) else "its module has no such name"
            raise SchemaError(told, f"no stub can import it: {where}; define it at the top of a module")
        return place


def _packages(module: str) -> list[str]:
    """Return the packages that a module is in, the outermost first."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _at(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def classes_in(module: ModuleType) -> set[str]:
    """Return what type checkers take for a class in a module, by its name there, with dots where it is within a class.

    That is what a class statement makes, or a call of `TypedDict` with all its keys written out. What any other call
    makes is a variable to them.
    """
    return {*_classes_of(_tree_of(module).body)}


def _classes_of(body: Iterable[ast.AST]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            yield statement.name
            yield from (f"{statement.name}.{name}" for name in _classes_of(statement.body))
        elif isinstance(statement, ast.Assign):
            yield from (one.id for one in statement.targets if isinstance(one, ast.Name) and _is_items(statement.value))
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            # It may stand under a condition.
            yield from _classes_of(ast.iter_child_nodes(statement))


def _is_items(value: ast.expr) -> bool:
    """Whether an expression is a call of `TypedDict` as checkers ask for it."""
    if not isinstance(value, ast.Call) or ast.unparse(value.func).rpartition(".")[2] != "TypedDict":
        return False
    keys = [one.keys for one in value.args[1:] if isinstance(one, ast.Dict)]
    return len(keys) == 1 and all(isinstance(key, ast.Constant) for key in keys[0])


def _tree_of(module: ModuleType) -> ast.Module:
    """Return the source of a module; nothing where it has none, as what is typed at a prompt."""
    try:
        return ast.parse(getsource(module))
    except (OSError, TypeError, SyntaxError):
        return ast.Module([], [])


def _imported_by(module: ModuleType) -> dict[int, Place]:
    """Return what a module imports by name, and from where, by the identity of each."""
    package = getattr(module, "__package__", None) or ""
    found: dict[int, Place] = {}
    for node in ast.walk(_tree_of(module)):
        if isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            source = resolve_name(f"{dots}{node.module or ''}", package) if dots else str(node.module)
            for one in node.names:
                held = getattr(module, one.asname or one.name, None)
                if held is not None and held is _at(source, one.name):
                    found.setdefault(id(held), Place(source, one.name))
    return found


class _Writer:
    """Writes one type."""

    def __init__(self, spelling: Spelling, modules: list[ModuleType], names: Mapping[Any, ast.expr]) -> None:
        self._spelling = spelling
        self._modules = modules
        self._names = names

    def write(self, shape: Any) -> ast.expr:
        """Return how a type is written, or what stands in the brackets of one."""
        if shape is None or shape is NoneType:
            return ast.Constant(None)
        if shape is ... or shape is Any:
            return ast.Constant(...) if shape is ... else ast.Name("Any")
        if isinstance(shape, list):
            return ast.List([self.write(part) for part in shape])
        if isinstance(shape, TypeVar):
            return self._variable(shape)
        if shape is Self:
            return self._names.get(Self) or self._single(Self)
        if isinstance(shape, ParamSpec | TypeVarTuple):
            raise SchemaError(short(shape), f"no stub can write a {type(shape).__name__}; write the types, or `...`")
        if isinstance(shape, ForwardRef | str):
            told = shape if isinstance(shape, str) else shape.__forward_arg__
            raise SchemaError(repr(told), "no stub can write it: it is a text that stands for a type; write the type")
        return self._composed(shape)

    def _composed(self, shape: Any) -> ast.expr:
        origin, args = get_origin(shape), get_args(shape)
        generic = getattr(shape, "__pydantic_generic_metadata__", None) or {}
        if generic.get("origin") is not None:
            origin, args = generic["origin"], generic["args"]
        if origin is None and any(variable in self._names for variable in generic.get("parameters", ())):
            # Of a model with its own type variables in brackets only the model is left.
            origin, args = shape, generic["parameters"]
        if origin is None:
            return self._single(shape)
        if origin is Literal:
            return ast.Subscript(ast.Name("Literal"), _within([self._choice(arg) for arg in args]))
        if origin in (Union, UnionType):
            return self._union(args)
        if origin in _WRAPPERS:
            return self.write(args[0])
        if args:
            return ast.Subscript(self._single(origin), _within([self.write(arg) for arg in args]))
        # Only `tuple[()]` says by empty brackets that there is nothing in it.
        is_empty = origin is tuple and shape is not _ANY_TUPLE
        return ast.Subscript(ast.Name("tuple"), ast.Tuple([])) if is_empty else self._single(origin)

    def _union(self, args: tuple[Any, ...]) -> ast.expr:
        first, *rest = map(self.write, args)
        for part in rest:
            first = ast.BinOp(first, ast.BitOr(), part)
        return first

    def _choice(self, value: Any) -> ast.expr:
        if isinstance(value, enum.Enum):
            return ast.Attribute(self._single(type(value)), value.name)
        return ast.Constant(value)

    def _variable(self, shape: TypeVar) -> ast.expr:
        if shape in self._names:
            return self._names[shape]
        bound = getattr(shape, "__bound__", None)
        return ast.Name("Any") if bound is None else self.write(bound)

    def _single(self, shape: Any) -> ast.expr:
        """Write what has a name."""
        special = _special_name(shape)
        if special is not None and not isinstance(shape, type):
            owner = next((one for one in (typing, typing_extensions) if getattr(one, special, None) is shape), None)
            if owner is not None:
                return self._spelling.name(Place(owner.__name__, special))
        try:
            return self._spelling.name(self._spelling.place(shape, self._modules))
        except SchemaError:
            if isinstance(shape, TypeAliasType):
                return self.write(shape.__value__)
            raise


def _special_name(shape: Any) -> str | None:
    """Return the name of a class, or of something of typing's that is none."""
    name = getattr(shape, "_name", None) or getattr(shape, "__name__", None)
    return name if isinstance(name, str) else None


def subscripted(written: ast.expr, parts: list[ast.expr]) -> ast.expr:
    """Return an expression with others in brackets; without any, alone."""
    return ast.Subscript(written, _within(parts)) if parts else written


def _within(parts: list[ast.expr]) -> ast.expr:
    return parts[0] if len(parts) == 1 else ast.Tuple(parts)
