"""Codecs: how values of a type that JSON lacks become bytes, and values again.

The codecs of a library are in a module of their own, which is imported when a value of that library comes.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from operator import eq
from typing import Any, Final, NamedTuple, TypeVar

from .._base.signal_handlers import reraise_from_handler
from .._base.text import type_name
from .._base.type_registry import TypeRegistry
from .registered_codecs import CODECS, RegisteredCodec
from .value_parts import Blob, PartContent

T = TypeVar("T")


class ValueCodec(NamedTuple):
    """How values of a type become a simpler value, and values again. Decoding runs no code of the bytes."""

    name: str
    """The name by which a file refers to the codec."""
    dump: Callable[[Any], Any]
    """Returns a value that consists of JSON, of other values with codecs, and of `Blob`."""
    load: Callable[[Any], Any]
    """Returns the value; each `Blob` comes back as a `PartContent`. Content that makes no sense raises an error."""
    equal: Callable[[Any, Any], bool]
    """Whether two values of the type are the same."""
    is_exact: bool = False
    """Whether each value is known to come back equal, so that this is not checked when it is stored."""
    peek: Callable[[Any], Any] | None = None
    """A faster `load`, whose value is only compared: it may lie in the bytes, and nobody may write to it."""
    advice: str = ""
    """What helps if a value of the type cannot be stored."""
    gather: Callable[[list[Any]], Blob] | None = None
    """Returns one part for many values; `load` then gets the part and the index of the value, before all else."""
    difference: Callable[[Any, Any], str] | None = None
    """Names the part in which a value, given second, differs from the restored one, given first."""


class Named(NamedTuple):
    """A part of the output of a codec, with the words by which an error names it."""

    name: str
    value: Any


class CannotStore(TypeError):
    """A value that no codec turns into bytes; its text says why."""

    def __init__(self, why: str, advice: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.advice = advice


class NotRegistered(LookupError):
    """A value of a type whose codec was registered where it was written, and is not registered here."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no functions are registered for {name}")
        self.name = name

    @property
    def advice(self) -> str:
        """A remedy."""
        return f'call register("{self.name}", dump=..., load=...) before, as the program did that wrote the run'


class RegisteredFailed(Exception):
    """A registered function has raised an exception, which is the cause of this one."""

    advice: Final = "see to that function"

    def __init__(self, function: str, error: Exception) -> None:
        super().__init__(f"{function} raised {type(error).__name__}: {error}")


def library(name: str) -> Any:
    """Import a library, which is done when a value of it comes: a run without such values is read without it."""
    return import_module(name)


_MODULES: Final = {
    "numpy": "array_codecs",
    "ml_dtypes": "array_codecs",
    "scipy": "array_codecs",
    "pandas": "pandas_codecs",
    "polars": "arrow_codecs",
    "pyarrow": "arrow_codecs",
    "torch": "tensor_codecs",
    "PIL": "image_codecs",
}
"""The module with the codecs for the types of a package, by the name of the package."""


def _codecs_of(package: str) -> TypeRegistry[ValueCodec] | None:
    module = _MODULES.get(package)
    if module is None:
        return None
    found: TypeRegistry[ValueCodec] = import_module(f".{module}", __package__).VALUE_CODECS
    return found


def codec_of(cls: type) -> ValueCodec | None:
    """Return the codec for values of a type: the registered one, else the built-in one; None if there is none."""
    if (registered := CODECS.find_named(cls)) is not None:
        return _as_codec(*registered)
    for base in cls.__mro__[:-1]:
        codecs = _codecs_of(str(base.__module__).partition(".")[0])
        if codecs is not None and (found := codecs.find(cls)) is not None:
            return found
    return None


def codec_named(name: str) -> ValueCodec:
    """Return the built-in codec of a name in a file; raise ValueError if there is none."""
    codecs = _codecs_of(name.partition(".")[0]) if isinstance(name, str) else None
    found = None if codecs is None else codecs.named(name)
    if found is None:
        raise ValueError(f"no codec has the name {name!r}")
    return found


def registered_load(name: str) -> Callable[[PartContent], Any]:
    """Return the function that restores values of a registered type; raise NotRegistered if there is none."""
    found = CODECS.named(name) if isinstance(name, str) else None
    if found is None:
        raise NotRegistered(str(name))
    return partial(_load_registered, name, found)


REGISTERED: Final = "registered:"
"""How the name of a codec begins that a user has registered."""


def _as_codec(name: str, registered: RegisteredCodec) -> ValueCodec:
    def dump(value: Any) -> Blob:
        content = _called(f"the registered dump of {name}", registered.dump, value)
        if not isinstance(content, (bytes, bytearray, memoryview)):
            raise CannotStore(f"the registered dump of {name} returned a {type_name(type(content))}, not bytes")
        return Blob(content)

    compare, label = registered.equal or eq, "the registered equal" if registered.equal else "the =="

    def equal(left: Any, right: Any) -> bool:
        is_like = registered.equal is not None or type(left) is type(right)
        return is_like and _called(f"{label} of {name}", lambda: bool(compare(left, right)))

    if registered.equal is None:
        advice = "define __eq__, or give equal= to register"
    else:
        advice = "so says the registered equal; see to it, and to the registered dump and load"
    return ValueCodec(REGISTERED + name, dump, partial(_load_registered, name, registered), equal, advice=advice)


def _load_registered(name: str, registered: RegisteredCodec, content: PartContent) -> Any:
    held = content.as_bytes()
    return _called(f"the registered load of {name}", registered.load, held)


def _called(function: str, call: Callable[..., T], *arguments: Any) -> T:
    """Call a function of the user; raise RegisteredFailed if it raises, unless it lacks a library."""
    try:
        return call(*arguments)
    except Exception as error:
        reraise_from_handler(error)
        if isinstance(error, ImportError) and error.name:
            raise
        raise RegisteredFailed(function, error) from error
