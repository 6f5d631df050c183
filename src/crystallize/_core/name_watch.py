"""The names that were looked up to follow code, and whether each still refers to the same object."""

from collections.abc import Callable, Mapping
from types import CellType, CodeType, FunctionType
from typing import Any, Final

ABSENT: Final[object] = object()
"""The value of a name that is not defined."""


class NameWatch:
    """Remembers lookups."""

    def __init__(self) -> None:
        self._values: list[tuple[Mapping[Any, Any], Any, Any]] = []
        self._forms: list[tuple[Callable[[], Any], Any]] = []
        self._functions: list[tuple[FunctionType, CodeType, Any]] = []
        self._cells: list[tuple[CellType, Any]] = []
        self._bases: list[tuple[type, tuple[type, ...]]] = []
        self._sizes: list[tuple[Mapping[Any, Any], int]] = []
        self._seen: set[tuple[int, Any]] = set()

    def add_name(self, mapping: Mapping[Any, Any], name: Any, value: Any) -> None:
        """Add a name that was looked up in a namespace."""
        if (id(mapping), name) not in self._seen:
            self._seen.add((id(mapping), name))
            self._values.append((mapping, name, value))

    def add_form(self, form: Callable[[], Any]) -> None:
        """Add a value that can change without an assignment to its name, by the function that returns its form."""
        self._forms.append((form, form()))

    def add_function(self, function: FunctionType) -> None:
        """Add a function with its code and its defaults."""
        self._functions.append((function, function.__code__, function.__defaults__))
        for name, value in (named := function.__kwdefaults__ or {}).items():
            self.add_name(named, name, value)

    def add_cell(self, cell: CellType) -> None:
        """Add a variable of an enclosing function."""
        self._cells.append((cell, content_of(cell)))

    def add_class(self, cls: type) -> None:
        """Add a class with its bases and the number of its attributes."""
        self._bases.append((cls, cls.__bases__))
        self.add_size(vars(cls))

    def add_size(self, mapping: Mapping[Any, Any]) -> None:
        """Add the number of names in a namespace."""
        self._sizes.append((mapping, len(mapping)))

    def is_current(self) -> bool:
        """Return whether a lookup of each name would find the same."""
        for mapping, name, value in self._values:
            if mapping.get(name, ABSENT) is not value:
                return False
        for function, code, defaults in self._functions:
            if function.__code__ is not code or function.__defaults__ is not defaults:
                return False
        for mapping, size in self._sizes:
            if len(mapping) != size:
                return False
        return not (self._cells or self._bases or self._forms) or self._are_rest_current()

    def _are_rest_current(self) -> bool:
        """Return the same for the things that few functions refer to."""
        are_cells_current = all(content_of(cell) is value for cell, value in self._cells)
        are_bases_current = all(cls.__bases__ is bases for cls, bases in self._bases)
        return are_cells_current and are_bases_current and all(form() == before for form, before in self._forms)


def content_of(cell: CellType) -> Any:
    """Return the value of a variable of an enclosing function; `ABSENT` if it has none yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return ABSENT
