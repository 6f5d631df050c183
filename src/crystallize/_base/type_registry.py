"""What is registered for types, by the type itself or by its name, so that its library need not be imported."""

import sys
from functools import partial
from typing import Generic, TypeVar

from .locks import make_lock
from .text import type_name

T = TypeVar("T")


class TypeRegistry(Generic[T]):
    """Facts about types and their subclasses. The latest registration of a type, or of a name, counts."""

    def __init__(self, built_in: dict[str, T]) -> None:
        """Begin with the facts that the package has itself, by full names as in an import."""
        self._by_name: dict[str, T] = built_in
        self._by_type: dict[type, T] = {}
        self._lock = make_lock()

    def add(self, kind: type | str, fact: T) -> None:
        """Register a fact about a type, or about the type of a full name, as in an import."""
        self._lock.run(partial(self._add, kind, fact))

    def _add(self, kind: type | str, fact: T) -> None:
        if isinstance(kind, type):
            self._by_type[kind] = fact
        else:
            # Popped first, so that it also comes before the built-in registrations.
            self._by_name.pop(kind, None)
            self._by_name[kind] = fact

    def find(self, cls: type) -> T | None:
        """Return the fact about the nearest registered base of a type; None if no base is registered."""
        for base in cls.__mro__:
            found = self._by_type.get(base) or self._named(base)
            if found is not None:
                return found
        return None

    def _named(self, cls: type) -> T | None:
        """Return the fact under the full name of a type, or under a name that it can be imported by."""
        package = str(cls.__module__).partition(".")[0]
        names: list[str] = self._lock.run(partial(list, self._by_name))
        for name in reversed(names):
            module, _, attribute = name.rpartition(".")
            imported = name.partition(".")[0] == package and getattr(sys.modules.get(module), attribute, None) is cls
            if imported or name == type_name(cls):
                return self._by_name[name]
        return None
