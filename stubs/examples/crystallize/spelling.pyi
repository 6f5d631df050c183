# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""How a type is written in a stub: as an expression, with the imports that it needs."""

import ast
from collections.abc import Collection, Iterable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

__all__ = ["Place", "Spelling", "classes_in", "free", "subscripted"]

class Place(NamedTuple):
    """Where something can be imported from."""

    module: str
    name: str
    """Its name in the module, with dots where it is within a class."""

def free(name: str, taken: Collection[str]) -> str:
    """Return a name that is not taken: this one, or it with a number."""

class Spelling:
    """Writes types, and keeps which modules what it has written needs.

    Example:
        >>> ast.unparse(Spelling().of(dict[str, int | None]))
        'dict[str, int | None]'
    """

    def __init__(self) -> None: ...
    def imports(self) -> dict[str, str]:
        """Return the modules that were needed so far, each with the name that stands for it."""

    def name(self, place: Place) -> ast.expr:
        """Return how something at a place is written."""

    def of(
        self,
        shape: Any,
        modules: Iterable[ModuleType] = (),
        names: Mapping[Any, ast.expr] | None = None,
    ) -> ast.expr:
        """Return how a type is written.

        Args:
            shape: The type.
            modules: Those in which it was written: what they import by a name is imported by that one.
            names: What to write for type variables, and for `Self`.

        Raises:
            SchemaError: It cannot be written, since nothing can import it.
        """

    def place(self, found: Any, modules: Iterable[ModuleType] = ()) -> Place:
        """Return where a class, or anything else that has a name, can be imported from.

        Raises:
            SchemaError: Nowhere.
        """

def classes_in(module: ModuleType) -> set[str]:
    """Return what type checkers take for a class in a module, by its name there, with dots where it is within a class.

    That is what a class statement makes, or a call of `TypedDict` with all its keys written out. What any other call
    makes is a variable to them.
    """

def subscripted(written: ast.expr, parts: list[ast.expr]) -> ast.expr:
    """Return an expression with others in brackets; without any, alone."""
