"""Types as text: how a stub writes a type, and the imports that this text needs."""

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

_ANY_TUPLE: Any = typing.Tuple  # noqa: UP006  # as older code has it
_QUALIFIERS = frozenset(
    getattr(owner, name)
    for owner in (typing, typing_extensions)
    for name in ("Annotated", "ClassVar", "Final", "NotRequired", "ReadOnly", "Required")
    if hasattr(owner, name)
)
"""Wrappers that describe a type without being part of it."""


class ImportPath(NamedTuple):
    """The module that something is imported from, and its name there."""

    module: str
    name: str
    """Contains dots if the thing is nested in a class."""


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name that is not taken: the given name, or the name with a number."""
    return next(free for free in chain([name], (f"{name}_{number}" for number in count(2))) if free not in taken)


def subscripted(name: str, arguments: Collection[str]) -> str:
    """Return a name with arguments in brackets, or the name alone if there are no arguments."""
    return f"{name}[{', '.join(arguments)}]" if arguments else name


class TypeNames:
    """Write types as text, and collect the modules that the text refers to.

    Example:
        >>> TypeNames().of(dict[str, int | None])
        'dict[str, int | None]'
    """

    def __init__(self) -> None:
        self._modules: dict[str, str] = {}
        self._imports: dict[str, dict[int, ImportPath]] = {}

    def imports(self) -> dict[str, str]:
        """Return each module that was needed so far, with its alias in the stub."""
        return dict(self._modules)

    def name(self, path: ImportPath) -> str:
        """Return the dotted name under which a stub refers to an import path."""
        if path.module == "builtins":
            return path.name
        if path.module not in self._modules:
            self._modules[path.module] = free_name(f"_{path.module.replace('.', '_')}", self._modules.values())
        return f"{self._modules[path.module]}.{path.name}"

    def of(self, shape: Any, modules: Iterable[ModuleType] = (), names: Mapping[Any, str] | None = None) -> str:
        """Return a type as text, or raise SchemaError if no stub can import it.

        Classes are imported as `modules`, the code that uses the type, import them. `names` contains the text of type
        variables and of `Self`.
        """
        return _TypeWriter(self, [*modules], names or {}).write(shape)

    def path(self, found: Any, modules: Iterable[ModuleType] = ()) -> ImportPath:
        """Return the path from which a named object can be imported, or raise SchemaError if there is none."""
        for module in modules:
            if module.__name__ not in self._imports:
                self._imports[module.__name__] = _imports_of(module)
            if id(found) in self._imports[module.__name__]:
                return self._imports[module.__name__][id(found)]
        owner, name = getattr(found, "__module__", ""), getattr(found, "__qualname__", getattr(found, "__name__", ""))
        is_hidden = any(part.startswith("_") for part in owner.split("."))
        candidates = [*_packages(owner), owner] if is_hidden else [owner]
        path = next((ImportPath(module, name) for module in candidates if name and _at(module, name) is found), None)
        if path is None and owner == "builtins":
            # A builtin without a name in `builtins` has a name in `types`.
            path = next((ImportPath("types", name) for name, value in vars(types).items() if value is found), None)
        if path is None:
            subject = type_name(found) if isinstance(found, type) else short(found)
            where = "it is made in a function" if "<locals>" in str(name) else "its module has no such name"
            raise SchemaError(subject, f"no stub can import it: {where}; define it at the top of a module")
        return path


def _packages(module: str) -> list[str]:
    """Return the packages that contain a module, the outermost first."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _at(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def classes_in(module: ModuleType) -> set[str]:
    """Return the names of a module's classes as type checkers see them, nested classes with dots.

    A class is made by a class statement, or by a call of `TypedDict` that lists all keys. The result of any other call
    is a variable to type checkers.
    """
    return {*_classes_of(_tree_of(module).body)}


def _classes_of(body: Iterable[ast.AST]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            yield statement.name
            yield from (f"{statement.name}.{name}" for name in _classes_of(statement.body))
        elif isinstance(statement, ast.Assign):
            if _is_typed_dict(statement.value):
                yield from (target.id for target in statement.targets if isinstance(target, ast.Name))
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            # A class statement may be inside an `if`.
            yield from _classes_of(ast.iter_child_nodes(statement))


def _is_typed_dict(value: ast.expr) -> bool:
    """Whether an expression is a call of `TypedDict` in the form that type checkers require."""
    if not isinstance(value, ast.Call) or ast.unparse(value.func).rpartition(".")[2] != "TypedDict":
        return False
    keys = [argument.keys for argument in value.args[1:] if isinstance(argument, ast.Dict)]
    return len(keys) == 1 and all(isinstance(key, ast.Constant) for key in keys[0])


def _tree_of(module: ModuleType) -> ast.Module:
    """Return the syntax tree of a module; an empty tree if it has no source, as code typed at a prompt."""
    try:
        return ast.parse(getsource(module))
    except (OSError, TypeError, SyntaxError):
        return ast.Module([], [])


def _imports_of(module: ModuleType) -> dict[int, ImportPath]:
    """Return the import path of each object that a module imports by name, by the object's identity."""
    package = getattr(module, "__package__", None) or ""
    found: dict[int, ImportPath] = {}
    for node in ast.walk(_tree_of(module)):
        if isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            source = resolve_name(f"{dots}{node.module or ''}", package) if dots else str(node.module)
            for alias in node.names:
                value = getattr(module, alias.asname or alias.name, None)
                if value is not None and value is _at(source, alias.name):
                    found.setdefault(id(value), ImportPath(source, alias.name))
    return found


class _TypeWriter:
    """Writes a single type."""

    def __init__(self, type_names: TypeNames, modules: list[ModuleType], names: Mapping[Any, str]) -> None:
        self._type_names = type_names
        self._modules = modules
        self._names = names

    def write(self, shape: Any) -> str:
        """Return the text of a type, or of an argument in its brackets."""
        if shape is None or shape is NoneType:
            return "None"
        if shape is ... or shape is Any:
            return "..." if shape is ... else "Any"
        if isinstance(shape, list):
            return f"[{', '.join(map(self.write, shape))}]"
        if isinstance(shape, TypeVar):
            return self._variable(shape)
        if shape is Self:
            return self._names.get(Self) or self._named(Self)
        if isinstance(shape, ParamSpec | TypeVarTuple):
            raise SchemaError(short(shape), f"no stub can write a {type(shape).__name__}; write the types, or `...`")
        if isinstance(shape, ForwardRef | str):
            text = shape if isinstance(shape, str) else shape.__forward_arg__
            raise SchemaError(repr(text), "no stub can write it: it is a text in place of a type; write the type")
        return self._composed(shape)

    def _composed(self, shape: Any) -> str:
        origin, args = get_origin(shape), get_args(shape)
        generic = getattr(shape, "__pydantic_generic_metadata__", None) or {}
        if generic.get("origin") is not None:
            origin, args = generic["origin"], generic["args"]
        if origin is None and any(variable in self._names for variable in generic.get("parameters", ())):
            # Pydantic reduces a model with its own type variables in brackets to the model.
            origin, args = shape, generic["parameters"]
        if origin is None:
            return self._named(shape)
        if origin is Literal:
            return subscripted("Literal", [self._choice(arg) for arg in args])
        if origin in (Union, UnionType):
            return " | ".join(map(self.write, args))
        if origin in _QUALIFIERS:
            return self.write(args[0])
        # `tuple[()]` is the empty tuple, and any other type without arguments is written without brackets.
        is_empty = origin is tuple and not args and shape is not _ANY_TUPLE
        return "tuple[()]" if is_empty else subscripted(self._named(origin), [self.write(arg) for arg in args])

    def _choice(self, value: Any) -> str:
        return f"{self._named(type(value))}.{value.name}" if isinstance(value, enum.Enum) else repr(value)

    def _variable(self, shape: TypeVar) -> str:
        if shape in self._names:
            return self._names[shape]
        bound = getattr(shape, "__bound__", None)
        return "Any" if bound is None else self.write(bound)

    def _named(self, shape: Any) -> str:
        """Write a class, or a special form of `typing`."""
        special = getattr(shape, "_name", None) or getattr(shape, "__name__", None)
        if isinstance(special, str) and not isinstance(shape, type):
            for owner in (typing, typing_extensions):
                if getattr(owner, special, None) is shape:
                    return self._type_names.name(ImportPath(owner.__name__, special))
        try:
            return self._type_names.name(self._type_names.path(shape, self._modules))
        except SchemaError:
            if isinstance(shape, TypeAliasType):
                return self.write(shape.__value__)
            raise
