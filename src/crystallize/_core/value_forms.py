"""Forms of values: short bytes, the same in every process, that differ where the values differ in type or content.

Functions and classes are not in a form. It refers to them by their number, and whoever made it follows their code.
"""

import functools
import logging
import operator
import re
import sys
import types
import typing
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import to_json

from .._base.signal_handlers import reraise_from_handler
from .._base.text import type_name
from .digest import pandas_time
from .secrets import is_secret
from .tagged_json import Tagger
from .user_modules import foreign_name, is_foreign
from .value_codecs import CannotStore, codec_of
from .value_parts import contents_for_digest

CACHED_FUNCTION: Final[type] = type(functools.cache(len))
"""The type of what `functools.lru_cache` returns."""

FOLLOWED: Final[tuple[type, ...]] = (type, types.FunctionType, CACHED_FUNCTION)
"""The types of objects whose code is followed."""


class NoDigest(Exception):
    """A value, or a part of it, has no digest; the text says why."""


def joined(tag: str, parts: Iterable[bytes]) -> bytes:
    """Return a short form that contains other forms."""
    made = blake2b(tag.encode(), digest_size=16)
    for part in parts:
        # With its length, so that no two lists of parts have the same bytes.
        made.update(b"%d:" % len(part))
        made.update(part)
    return made.digest()


def _text(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


_ATOMS: Final[dict[type, Callable[[Any], bytes]]] = {
    types.NoneType: lambda value: b"None",
    # A sentinel, as `_MISSING = object()`.
    object: lambda value: b"object",
    types.EllipsisType: lambda value: b"...",
    types.NotImplementedType: lambda value: b"NotImplemented",
    bool: lambda value: b"True" if value else b"False",
    # Python refuses to print an int of thousands of digits in decimal.
    int: lambda value: b"i%x" % value,
    float: lambda value: b"f" + value.hex().encode(),
    complex: lambda value: f"c{value.real.hex()},{value.imag.hex()}".encode(),
    str: lambda value: b"s" + _text(value),
    bytes: lambda value: b"b" + value,
    range: lambda value: b"r" + repr(value).encode(),
    date: lambda value: b"d" + value.isoformat().encode(),
    timedelta: lambda value: b"t" + repr(value).encode(),
    timezone: lambda value: b"z" + repr(value).encode(),
    Decimal: lambda value: b"D" + str(value).encode(),
    Fraction: lambda value: b"F%x/%x" % (value.numerator, value.denominator),
    UUID: lambda value: b"U" + value.bytes,
}
"""Functions that return the form of a value of these very types, which are immutable."""


def atom_form(value: Any) -> bytes | None:
    """Return the form that `ValueForms` gives a value of one of the types of `_ATOMS`; None for all other values."""
    atom = _ATOMS.get(type(value))
    return None if atom is None else atom(value)


_PLAIN: Final[dict[type, Callable[[Any], Any]]] = {
    int: int.__int__,
    float: float.__float__,
    complex: complex.__complex__,
    str: str.__str__,
    bytes: bytes.__bytes__,
}
"""Functions that return an instance of a subclass as one of the type itself, whatever the subclass overrides."""
_SENTINELS: Final = frozenset({"dataclasses._MISSING_TYPE", "pydantic_core._pydantic_core.PydanticUndefinedType"})
"""Types with one instance only."""

_NAMED: Final = (
    *(types.BuiltinFunctionType, types.WrapperDescriptorType, types.MethodDescriptorType, types.MethodWrapperType),
    *(types.ClassMethodDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType),
)
"""Types of functions and attributes in C, which a name describes."""
_WRAPPERS: Final[dict[type, tuple[str, ...]]] = {
    functools.partial: ("func", "args", "keywords"),
    functools.partialmethod: ("func", "args", "keywords"),
    functools.cached_property: ("func",),
    functools.singledispatchmethod: ("func", "dispatcher"),
    types.MethodType: ("__func__", "__self__"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    property: ("fget", "fset", "fdel"),
    re.Pattern: ("pattern", "flags"),
    slice: ("start", "stop", "step"),
}
"""Types of objects that wrap others, and the attributes with these."""
_REDUCED: Final = (operator.itemgetter, operator.attrgetter, operator.methodcaller)
_BY_REPR: Final = frozenset({"torch.dtype", "torch.device"})
"""Types of other libraries whose instances are immutable, and which their text describes."""
_OPEN: Final = frozenset({"pydantic", "annotated_types"})
"""Packages whose instances have their whole state in attributes: the constraints and validators of fields."""
_CONTAINERS: Final = (dict, types.MappingProxyType, list, tuple, deque, set, bytearray, memoryview)
_TYPE_PARAMETERS: Final = (typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple)


_MOST_OF_GLOBAL: Final = 10_000
"""Parts of a global that count by their values."""


class _TooLarge(Exception):
    """A global has too many parts to be looked at before each step."""


class ValueForms:
    """Makes forms of the values of one owner, such as the closure of a function.

    Attributes:
        referred: The functions, classes and modules in the values, in the order of their numbers.
        is_stable: Whether the forms are the same as long as the objects are.
        holds_context: Whether a context is in the values.
    """

    def __init__(self, *, is_loose: bool = False) -> None:
        """Begin without values; `is_loose`: arrays and things without a form count by their types, as in globals."""
        self.referred: list[Any] = []
        self.is_stable = True
        self.holds_context = False
        self._is_loose = is_loose
        self._left = _MOST_OF_GLOBAL
        self._is_constant = True
        self._numbers: dict[int, int] = {}
        self._within: dict[int, int] = {}
        self._done: dict[int, tuple[Any, bytes]] = {}

    def form(self, value: Any) -> bytes:
        """Return the form of a value; raise NoDigest if it has none."""
        atom = _ATOMS.get(type(value))
        if atom is not None:
            return atom(value)
        if isinstance(value, FOLLOWED):
            return self.refer(value)
        if id(value) in self._done:
            return self._done[id(value)][1]
        if id(value) in self._within:
            return b"within%d" % self._within[id(value)]
        self._within[id(value)] = len(self._within)
        try:
            self._count()
            made = self._made(value)
        except RecursionError as error:
            raise NoDigest("is nested too deeply for a digest") from error
        finally:
            del self._within[id(value)]
        # With the value, so that no other one gets its id.
        self._done[id(value)] = value, made
        return made

    def global_form(self, value: Any, *, is_constant: bool) -> bytes:
        """Return the form of a global, or of an attribute of a class; a very large one counts by its type alone.

        `is_constant`: whether it counts by its value though its type is mutable.
        """
        self._left, self._is_constant = _MOST_OF_GLOBAL, is_constant
        try:
            return self.form(value)
        except (_TooLarge, NoDigest):
            return self._type_form(value)

    def _count(self, parts: int = 1) -> None:
        self._left -= parts
        if self._is_loose and self._left < 0:
            raise _TooLarge

    def _type_form(self, value: Any) -> bytes:
        """Return the form of a value that counts by its type, and by the functions and classes directly in it."""
        held = [getattr(value, "__wrapped__", None), *getattr(value, "__dict__", {}).values()]
        if isinstance(value, (dict, list)):
            held += value.values() if isinstance(value, dict) else value
        return joined("type", map(self.form, (type(value), *(part for part in held if isinstance(part, FOLLOWED)))))

    def refer(self, followed: Any) -> bytes:
        """Return the form of a function or a class."""
        number = self._numbers.setdefault(id(followed), len(self.referred))
        if number == len(self.referred):
            self.referred.append(followed)
        return b"&%d" % number

    def _made(self, value: Any) -> bytes:
        cls = type(value)
        if is_secret(cls):
            return self._unknown(value, "a secret, and secrets have no digest")
        if type_name(cls) in _SENTINELS:
            return joined(type_name(cls), [])
        is_plain = cls is dict or cls is list  # most values are, and need no further questions
        for make in () if is_plain else (self._of_function, self._of_immutable, self._of_annotation):
            if (made := make(value, cls)) is not None:
                return made
        if hasattr(cls, "arun") and hasattr(cls, "provenance"):  # the class of contexts imports this file
            self.holds_context = True
            return self._unknown(value, "a context, whose reads by the step are not on record")
        self.is_stable = False
        if self._is_loose and not self._is_constant and len(self._within) == 1:
            return self._type_form(value)
        made = self._of_container(value, cls) or self._of_object(value, cls)
        if made is None and not self._is_loose:
            made = self._of_codec(value, cls)
        return made or self._unknown(value, f"a {type_name(cls)}, which has no digest")

    def _unknown(self, value: Any, what: str) -> bytes:
        if self._is_loose:
            return self._type_form(value)
        raise NoDigest(f"{'contains' if len(self._within) > 1 else 'is'} {what}")

    def _joined(self, tag: str, values: Iterable[Any]) -> bytes:
        return joined(tag, map(self.form, values))

    def _of_function(self, value: Any, cls: type) -> bytes | None:
        """Return the form of a function that is no Python function, of a method, a descriptor or a module."""
        if (names := _WRAPPERS.get(cls)) is not None:
            return self._joined(type_name(cls), (_fixed(getattr(value, name)) for name in names))
        if isinstance(value, _NAMED):
            owner = getattr(value, "__self__", None)
            name = f"{getattr(value, '__module__', None)}.{value.__qualname__}"
            return joined(name, [] if owner is None or isinstance(owner, types.ModuleType) else [self.form(owner)])
        if isinstance(value, types.ModuleType):
            if is_foreign(value.__name__):
                return joined("module", [_text(value.__name__)])
            if self._is_loose:
                return self.refer(value)
            return self._unknown(value, "a module, which has no digest")
        if isinstance(value, _REDUCED):
            return self._joined(type_name(cls), value.__reduce__()[1:])
        if isinstance(value, logging.Logger):
            return joined("logger", [_text(value.name)])
        imported = foreign_name(value) if callable(value) else None
        return None if imported is None else joined("foreign", [_text(imported)])

    def _of_immutable(self, value: Any, cls: type) -> bytes | None:
        """Return the form of an enum, a tuple, a frozenset, a number, a time, a path or a frozen model."""
        if isinstance(value, Enum):
            return joined("enum", [self.form(cls), _text(str(value.name)), self.form(value.value)])
        if cls in (datetime, time):
            zone = value.tzinfo
            return joined(cls.__name__, [_text(value.isoformat()), b"%d" % value.fold, self.form(zone)])
        if type_name(cls) == "zoneinfo.ZoneInfo" and value.key is not None:
            return joined("zone", [_text(value.key)])
        if cls is tuple:
            return self._joined("tuple", value)
        if type_name(cls) == "pydantic.type_adapter.TypeAdapter":  # its core schema has addresses in it
            return joined("adapter", [self.form(getattr(value, "_type", None))])
        if isinstance(value, PurePath) and is_foreign(cls.__module__):
            return joined(type_name(cls), [_text(str(value))])
        if isinstance(value, frozenset):
            return joined("frozenset", [self.form(cls), *sorted(map(self.form, value))])
        if isinstance(value, tuple) and not hasattr(value, "__dict__"):
            return joined("named tuple", [self.form(cls), *map(self.form, value)])
        if _is_frozen(cls):
            return joined("frozen", [self.form(cls), self._state(value)])
        return self._of_library(value, cls) or self._of_subclass(value, cls)

    def _of_library(self, value: Any, cls: type) -> bytes | None:
        """Return the form of a scalar, a type or a time of NumPy, PyTorch or pandas."""
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.generic) and not value.dtype.hasobject:
            return joined("scalar", [repr(value.dtype.descr).encode(), value.tobytes()])
        if type_name(cls) in _BY_REPR or (numpy is not None and isinstance(value, numpy.dtype)):
            return joined(type_name(cls), [repr(value).encode()])
        return None if (text := pandas_time(value)) is None else joined(type_name(cls), [text.encode()])

    def _of_annotation(self, value: Any, cls: type) -> bytes | None:
        """Return the form of a type annotation."""
        if (origin := typing.get_origin(value)) is not None:
            metadata = getattr(value, "__metadata__", ())
            return self._joined("annotation", [origin, *map(_fixed, typing.get_args(value)), *metadata])
        if isinstance(value, _TYPE_PARAMETERS):
            return joined(cls.__name__, [_text(value.__name__)])
        if isinstance(value, typing.ForwardRef):
            return joined("forward", [_text(value.__forward_arg__)])
        return joined("typing", [repr(value).encode()]) if cls.__module__ in ("typing", "typing_extensions") else None

    def _of_container(self, value: Any, cls: type) -> bytes | None:
        """Return the form of a list, a dict or the like, with the attributes that a subclass adds."""
        if isinstance(value, _CONTAINERS):
            self._count(len(value))
        if isinstance(value, (dict, types.MappingProxyType)):
            parts: list[bytes] = [self.form(part) for item in value.items() for part in item]
            parts.append(self.form(getattr(value, "default_factory", None)))
        elif isinstance(value, (list, tuple, deque)):
            parts = [*map(self.form, value), self.form(getattr(value, "maxlen", None))]
        elif isinstance(value, set):
            parts = sorted(map(self.form, value))
        elif isinstance(value, (bytearray, memoryview)):
            parts = [bytes(value)]
        else:
            return None
        return joined("items", [self.form(cls), self._state(value), *parts])

    def _of_subclass(self, value: Any, cls: type) -> bytes | None:
        """Return the form of an instance of a class of the user that derives from a number, a text or bytes."""
        for base, plain in _PLAIN.items():
            if isinstance(value, base) and _is_own(cls, base):
                return joined("subclass", [self.form(cls), self._state(value), _ATOMS[base](plain(value))])
        return None

    def _of_object(self, value: Any, cls: type) -> bytes | None:
        """Return the form of a model, a dataclass, or an instance of a class whose whole state is in attributes."""
        if isinstance(value, BaseModel):
            names = ("__dict__", "__pydantic_extra__", "__pydantic_private__", "__pydantic_fields_set__")
            return joined("model", [self.form(cls), *(self.form(getattr(value, name, None)) for name in names)])
        if is_dataclass(value):
            content = (self.form(getattr(value, field.name, MISSING)) for field in fields(value))
            return joined("dataclass", [self.form(cls), self._state(value), *content])
        is_open = cls.__module__.partition(".")[0] in _OPEN or _is_own(cls, object)
        return joined("object", [self.form(cls), self._state(value)]) if is_open else None

    def _of_codec(self, value: Any, cls: type) -> bytes | None:
        """Return the form of an array, a frame, a tensor or the like; None if no codec stores it."""
        array = getattr(sys.modules.get("numpy"), "ndarray", None)
        if cls is array and not value.dtype.hasobject:
            order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
            return joined("array", [repr((value.dtype.descr, value.shape, order)).encode(), value.tobytes()])
        if codec_of(cls) is None:
            return None
        tagger = Tagger()
        try:
            content = to_json(tagger.tag(value))
        except (CannotStore, TypeError, ValueError, RecursionError) as error:
            reraise_from_handler(error)
            return None
        return joined("codec", [content, *contents_for_digest(tagger.parts())])

    def _state(self, value: Any) -> bytes:
        """Return the form of the attributes of an instance."""
        cls: Any = type(value)
        held = [*getattr(value, "__dict__", {}).items()]
        held += [(name, getattr(value, name)) for name in _slots(cls) if hasattr(value, name)]
        return self._joined("state", (part for item in sorted(held, key=_name) for part in item))


@lru_cache(maxsize=256)
def _is_frozen(cls: Any) -> bool:
    """Return whether a class is a frozen dataclass or model."""
    if issubclass(cls, BaseModel):
        return bool(cls.model_config.get("frozen"))
    return is_dataclass(cls) and bool(getattr(cls, "__dataclass_params__").frozen)  # noqa: B009 - unknown to checkers


def _fixed(value: Any) -> Any:
    """Return a dict or list as a tuple, as nobody changes the keywords of a partial or the list in an annotation."""
    if type(value) is dict:
        return tuple(value.items())
    return tuple(value) if type(value) is list else value


def _name(item: tuple[str, Any]) -> str:
    return item[0]


@lru_cache(maxsize=256)
def _slots(cls: Any) -> tuple[str, ...]:
    return tuple(
        name
        for base in cls.__mro__
        for name, attribute in vars(base).items()
        if isinstance(attribute, types.MemberDescriptorType) and base.__module__ != "builtins"
    )


@lru_cache(maxsize=256)
def _is_own(cls: Any, root: Any) -> bool:
    """Return whether a class and its bases, down to `root`, are the user's: then attributes are all of an instance."""
    return not is_foreign(cls.__module__) and all(
        base is root or base is object or not is_foreign(base.__module__) or base.__module__ in ("abc", "typing")
        for base in cls.__mro__
    )
