"""The typed views behind `ctx.fields`: attributes for a model or dataclass, items for a TypedDict or dict."""

from collections.abc import Iterator, KeysView, MutableMapping
from functools import cached_property
from inspect import getattr_static
from types import FunctionType
from typing import Any, NoReturn, Protocol, get_origin

from pydantic import BaseModel

from .errors import ContextMutationError, ModelMethodError
from .schema import Schema

__all__ = ["AttributeFields", "ItemFields", "fields_of"]


class _Owner(Protocol):
    """The context that a view is a view of."""

    def __getitem__(self, key: str) -> Any: ...
    def __setitem__(self, key: str, value: Any) -> None: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def keys(self) -> KeysView[str]: ...
    def _described(self) -> str: ...


def _refuse_to_delete(key: str) -> NoReturn:
    raise ContextMutationError(key, f"Cannot delete key: {key!r}; what a context holds it keeps")


class ItemFields(MutableMapping[str, Any]):
    """The view of a context over a `TypedDict` or `dict`: items that can be written once."""

    __slots__ = ("__owner",)

    def __init__(self, owner: _Owner) -> None:
        self.__owner = owner

    def __getitem__(self, key: str) -> Any:
        return self.__owner[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.__owner[key] = value

    def __delitem__(self, key: str) -> NoReturn:
        _refuse_to_delete(key)

    def pop(self, key: str, *default: Any) -> NoReturn:
        """Refuse: what a context holds it keeps."""
        _refuse_to_delete(key)

    def popitem(self) -> NoReturn:
        """Refuse: what a context holds it keeps."""
        _refuse_to_delete("the last one")

    def clear(self) -> NoReturn:
        """Refuse: what a context holds it keeps."""
        _refuse_to_delete("all of them")

    def __iter__(self) -> Iterator[str]:
        return iter(self.__owner)

    def __len__(self) -> int:
        return len(self.__owner)

    def copy(self) -> dict[str, Any]:
        """Return what is held as a plain dict."""
        return dict(self)

    def __repr__(self) -> str:
        return self.__owner._described()

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)


class _View:
    """A place for attributes, which a subclass may cover."""

    __slots__ = ("__dict__", "__weakref__")


class AttributeFields(_View):
    """The view of a context over a model or dataclass: attributes that can be written once.

    The shape's own properties and methods run on it, as far as they use neither `super()` nor private
    attributes. It is no instance of the shape; `ctx.snapshot()` is.
    """

    __slots__ = ("__owner", "__schema")
    __owner: _Owner
    __schema: Schema

    def __init__(self, owner: _Owner, schema: Schema, shared: dict[str, Any] | None = None) -> None:
        """Make the view.

        Args:
            owner: The context.
            schema: Its schema.
            shared: The dict in which the context keeps what needs no copying. It becomes the view's own
                attributes, so that reading one costs no more than that. None: every read goes by the owner.
        """
        _set = object.__setattr__
        _set(self, "_AttributeFields__owner", owner)
        _set(self, "_AttributeFields__schema", schema)
        if shared is not None:
            _attributes_of.__set__(self, shared)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]  # covers the real one, which must not be changed
        return dict(self.__owner)

    def __getattr__(self, name: str) -> Any:
        if name in self.__schema.keys:
            return self.__owner[name]
        shape = get_origin(self.__schema.shape) or self.__schema.shape
        own = getattr_static(shape, name, _NOTHING)
        if own is _NOTHING:
            # Asked by tools of every object, and no key: it would be noted as one that was looked for.
            if name.startswith("__"):
                raise AttributeError(name)
            return self.__owner[name]
        if getattr_static(BaseModel, name, _NOTHING) is not _NOTHING and issubclass(shape, BaseModel):
            raise ModelMethodError(name, self.__schema.name)
        return _on_view(self, shape, name, own)

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__schema.frozen:
            reason = f"Cannot assign {name!r}: {self.__schema.name} is frozen; write through ctx[{name!r}] = ..."
            raise ContextMutationError(name, reason)
        self.__owner[name] = value

    def __delattr__(self, name: str) -> NoReturn:
        _refuse_to_delete(name)

    def __dir__(self) -> list[str]:
        shape = get_origin(self.__schema.shape) or self.__schema.shape
        machinery = {*dir(BaseModel), *dir(object)}
        own = {name for name in dir(shape) if not name.startswith("_") and name not in machinery}
        return sorted({*self.__schema.keys, *self.__owner, *own})

    def __repr__(self) -> str:
        return self.__owner._described()


_attributes_of: Any = vars(_View)["__dict__"]
_NOTHING = object()


def _on_view(view: AttributeFields, shape: type, name: str, own: Any) -> Any:
    """Run what a shape defines besides its fields, on a view of it."""
    if isinstance(own, property) and own.fget is not None:
        return own.fget(view)
    if isinstance(own, cached_property):
        # Uncached: it would be kept beside the keys.
        return own.func(view)
    if isinstance(own, FunctionType):
        return own.__get__(view)
    return getattr(shape, name)


def fields_of(owner: _Owner, schema: Schema, shared: dict[str, Any] | None = None) -> Any:
    """Return the view of a context's keys that fits its schema."""
    return ItemFields(owner) if schema.by_items else AttributeFields(owner, schema, shared)
