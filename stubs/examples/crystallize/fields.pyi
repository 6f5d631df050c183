# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""The typed views behind `ctx.fields`: attributes for a model or dataclass, items for a TypedDict or dict."""

from collections.abc import Callable, Iterator, KeysView, MutableMapping
from typing import Any, NoReturn, Protocol, TypeAlias
from .schema import Schema

__all__ = ["AttributeFields", "ItemFields", "fields_of", "noting_fields_of"]

class _Owner(Protocol):
    def __getitem__(self, key: str) -> Any: ...
    def __setitem__(self, key: str, value: Any) -> None: ...
    def __contains__(self, key: object) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def get(self, key: str, default: Any = None) -> Any: ...
    def keys(self) -> KeysView[str]: ...

class ItemFields(MutableMapping[str, Any]):
    """The view of a context over a `TypedDict` or `dict`: items that can be written once."""

    __slots__ = ("_crystallize_owner",)

    def __init__(self, owner: _Owner) -> None: ...
    def __getitem__(self, key: str) -> Any: ...
    def __setitem__(self, key: str, value: Any) -> None: ...
    def __getattr__(self, name: str) -> NoReturn: ...
    def __delitem__(self, key: str) -> NoReturn: ...
    def get(self, key: str, default: Any = None, /) -> Any:
        """Return the value of a key, or a default if it is not written; one that is not declared raises."""

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Write a key if it is not written, and return what it holds."""

    def pop(self, key: str, *default: Any) -> NoReturn:
        """Refuse: what a context holds it keeps."""

    def popitem(self) -> NoReturn:
        """Refuse: what a context holds it keeps."""

    def clear(self) -> NoReturn:
        """Refuse: what a context holds it keeps."""

    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def copy(self) -> dict[str, Any]:
        """Return what is held as a plain dict."""

    def __repr__(self) -> str: ...

class _View:
    __slots__ = ("__dict__", "__weakref__")

class AttributeFields(_View):
    """The view of a context over a model or dataclass: attributes that can be written once.

    The shape's own properties and methods run on it, as far as they use neither `super()` nor private
    attributes. It is no instance of the shape; `ctx.snapshot()` is.
    """

    __slots__ = ("_crystallize_owner", "_crystallize_schema")

    def __init__(self, owner: _Owner, schema: Schema, shared: dict[str, Any] | None = None) -> None:
        """Make the view.

        Args:
            owner: The context.
            schema: Its schema.
            shared: The dict in which the context keeps what needs no copying. It becomes the view's own
                attributes, so that reading one costs no more than that. None: every read goes by the owner.
        """

    @property
    def __dict__(self) -> dict[str, Any]: ...
    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: Any) -> None: ...
    def __delattr__(self, name: str) -> NoReturn: ...
    def __dir__(self) -> list[str]: ...
    def __repr__(self) -> str: ...

_Reader: TypeAlias = Callable[[AttributeFields], Any]

def fields_of(owner: _Owner, schema: Schema, shared: dict[str, Any]) -> Any:
    """Return the view of a context's keys that fits its schema.

    Args:
        owner: The context.
        schema: Its schema.
        shared: Where it keeps what needs no copying, to be read past it.
    """

def noting_fields_of(owner: _Owner, schema: Schema, reader: Callable[[str], _Reader]) -> Any:
    """Return the same for a context that wants to know of every read.

    Args:
        owner: The context.
        schema: Its schema.
        reader: Makes, for a key, what reads it and notes that; the same for every owner.
    """
