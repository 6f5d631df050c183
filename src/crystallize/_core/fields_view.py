"""The typed views behind `ctx.fields`: attributes for a model or dataclass, items for a TypedDict or dict."""

from collections.abc import Callable, Iterator, KeysView, MutableMapping
from functools import cached_property
from inspect import getattr_static
from typing import Any, NoReturn, Protocol, TypeAlias
from weakref import ref

from pydantic import BaseModel

from ..errors import ContextMutationError, ItemFieldsError, ModelMethodError
from .schema import Schema


class _Owner(Protocol):
    """The context behind a view."""

    def __getitem__(self, key: str) -> Any: ...
    def __setitem__(self, key: str, value: Any) -> None: ...
    def __contains__(self, key: object) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def get(self, key: str, default: Any = None) -> Any: ...
    def keys(self) -> KeysView[str]: ...
    def _ipython_key_completions_(self) -> list[str]: ...


def _refuse_to_delete(key: str) -> NoReturn:
    raise ContextMutationError(key, f"Cannot delete key: {key!r}; a context keeps its values")


class ItemFields(MutableMapping[str, Any]):
    """The view of a context over a `TypedDict` or `dict`: items that can be written once."""

    __slots__ = ("crystallize_owner",)

    def __init__(self, owner: _Owner) -> None:
        self.crystallize_owner = owner

    def __getitem__(self, key: str) -> Any:
        return self.crystallize_owner[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.crystallize_owner[key] = value

    def __getattr__(self, name: str) -> NoReturn:
        # Tools look up such names on any object.
        raise AttributeError(name) if name.startswith("_") else ItemFieldsError(name)

    def __delitem__(self, key: str) -> NoReturn:
        _refuse_to_delete(key)

    def get(self, key: str, default: Any = None, /) -> Any:  # ty: ignore[incompatible-method-override]  # no overloads
        """Return the value of a key, or a default if it is not written; raise if the key is not declared."""
        return self.crystallize_owner.get(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Write a key if it is not written, and return its value."""
        if key not in self.crystallize_owner:
            self[key] = default
        return self[key]

    def pop(self, key: str, *default: Any) -> NoReturn:
        """Raise ContextMutationError: keys cannot be deleted."""
        _refuse_to_delete(key)

    def popitem(self) -> NoReturn:
        """Raise ContextMutationError: keys cannot be deleted."""
        _refuse_to_delete("the last one")

    def clear(self) -> NoReturn:
        """Raise ContextMutationError: keys cannot be deleted."""
        _refuse_to_delete("all of them")

    def __iter__(self) -> Iterator[str]:
        return iter(self.crystallize_owner)

    def __len__(self) -> int:
        return len(self.crystallize_owner)

    def copy(self) -> dict[str, Any]:
        """Return all values as a plain dict."""
        return dict(self)

    def __repr__(self) -> str:
        return repr(self.crystallize_owner)

    def _ipython_key_completions_(self) -> list[str]:
        return self.crystallize_owner._ipython_key_completions_()


class _View:
    """The base with the real `__dict__`, which the subclass covers by a property."""

    __slots__ = ("__dict__", "__weakref__")


class AttributeFields(_View):
    """The view of a context over a model or dataclass: attributes that can be written once.

    The shape's own properties and methods work on it, unless they use `super()` or private attributes. It is not an
    instance of the shape; `ctx.snapshot()` is.
    """

    # Prefixed, so that no field has these names.
    __slots__ = ("crystallize_owner", "crystallize_schema")
    crystallize_owner: _Owner
    crystallize_schema: Schema

    def __init__(self, owner: _Owner, schema: Schema, shared: dict[str, Any] | None = None) -> None:
        """Make the view of a context.

        `shared` is the dict of the values that need no copying. It becomes the `__dict__` of the view, so that reading
        such a value is as fast as reading an attribute. If it is None, every read goes through the context.
        """
        object.__setattr__(self, "crystallize_owner", owner)
        object.__setattr__(self, "crystallize_schema", schema)
        if shared is not None:
            _attributes_of.__set__(self, shared)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]  # covers the real one, which must not be changed
        return dict(self.crystallize_owner)

    def __getattr__(self, name: str) -> Any:
        if name in self.crystallize_schema.keys:
            return self.crystallize_owner[name]
        shape = self.crystallize_schema.cls
        own = getattr_static(shape, name, _NOTHING)
        if own is _NOTHING:
            # Tools look up dunder names on every object. As a key, the name would be noted as absent.
            if name.startswith("__"):
                raise AttributeError(name)
            return self.crystallize_owner[name]
        if getattr_static(BaseModel, name, _NOTHING) is not _NOTHING and issubclass(shape, BaseModel):
            raise ModelMethodError(name, self.crystallize_schema.name)
        return _on_view(self, shape, name, own)

    def __setattr__(self, name: str, value: Any) -> None:
        if self.crystallize_schema.frozen:
            reason = (
                f"Cannot assign {name!r}: {self.crystallize_schema.name} is frozen; write through ctx[{name!r}] = ..."
            )
            raise ContextMutationError(name, reason)
        self.crystallize_owner[name] = value

    def __delattr__(self, name: str) -> NoReturn:
        _refuse_to_delete(name)

    def __dir__(self) -> list[str]:
        shape = self.crystallize_schema.cls
        machinery = {*dir(BaseModel), *dir(object)}
        own = {name for name in dir(shape) if not name.startswith("_") and name not in machinery}
        return sorted({*self.crystallize_schema.keys, *self.crystallize_owner, *own})

    def __repr__(self) -> str:
        return repr(self.crystallize_owner)


_attributes_of: Any = vars(_View)["__dict__"]
_NOTHING = object()


def _on_view(view: AttributeFields, shape: type, name: str, own: Any) -> Any:
    """Return an attribute of the shape other than a field, bound to a view."""
    if isinstance(own, cached_property):
        # Not cached, because the cache would be in the dict of the keys.
        return own.func(view)
    if hasattr(own, "__get__") and not isinstance(own, (classmethod, staticmethod)):
        return own.__get__(view, shape)
    return getattr(shape, name)


_Reader: TypeAlias = Callable[[AttributeFields], Any]
_noting: dict[ref[Schema], type[AttributeFields]] = {}
"""Not a `WeakKeyDictionary`, for the reason that `weak_objects` gives."""


def _noting_fields(schema: Schema, reader: Callable[[str], _Reader]) -> type[AttributeFields]:
    """Return the class of the views that note each read; it has a property for each key, which is fastest."""
    found = _noting.get(ref(schema))
    if found is None:
        readers = {name: property(reader(name)) for name in schema.keys}
        found = type("AttributeFields", (AttributeFields,), {"__slots__": (), **readers})
        _noting[ref(schema, _noting.pop)] = found
    return found


def fields_of(owner: _Owner, schema: Schema, shared: dict[str, Any]) -> Any:
    """Return the view of a context's keys that suits its schema; see `AttributeFields` for `shared`."""
    return ItemFields(owner) if schema.by_items else AttributeFields(owner, schema, shared)


def noting_fields_of(owner: _Owner, schema: Schema, reader: Callable[[str], _Reader]) -> Any:
    """Return a view that notes every read; `reader` returns the function that reads a key, for all contexts."""
    return ItemFields(owner) if schema.by_items else _noting_fields(schema, reader)(owner, schema)
