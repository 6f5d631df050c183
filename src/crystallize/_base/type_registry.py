"""A registry by type. A type can be registered by its name, so that its library need not be imported."""

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
        found = self.find_named(cls)
        return None if found is None else found[1]

    def find_named(self, cls: type) -> tuple[str, T] | None:
        """Return the fact about the nearest registered base of a type, after the full name of that base."""
        for base in cls.__mro__:
            if (fact := self._by_type.get(base)) is not None:
                return type_name(base), fact
            if (name := self._name_of(base)) is not None:
                return name, self._by_name[name]
        return None

    def named(self, name: str) -> T | None:
        """Return the fact about the type of a full name; None if that is not registered."""
        types: list[type] = self._lock.run(partial(list, self._by_type))
        named = [self._by_type[kind] for kind in types if type_name(kind) == name]
        return named[0] if named else self._by_name.get(name)

    def _name_of(self, cls: type) -> str | None:
        """Return the registered name of a type: its full name, or a name that it can be imported by."""
        package = str(cls.__module__).partition(".")[0]
        names: list[str] = self._lock.run(partial(list, self._by_name))
        for name in reversed(names):
            module, _, attribute = name.rpartition(".")
            imported = name.partition(".")[0] == package and getattr(sys.modules.get(module), attribute, None) is cls
            if imported or name == type_name(cls):
                return name
        return None
