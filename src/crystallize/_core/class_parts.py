"""The parts of a class that decide about its behavior: its bases, attributes, fields and validators."""

from collections.abc import Iterator, Mapping
from enum import Enum
from inspect import unwrap
from types import FunctionType
from typing import Any, Final, NamedTuple

_SILENT: Final = frozenset(
    {
        *("__dict__", "__weakref__", "__module__", "__qualname__", "__firstlineno__", "__static_attributes__"),
        *("__annotations__", "__annotations_cache__", "__annotate__", "__annotate_func__", "__abstractmethods__"),
        *(
            "_abc_impl",
            "__signature__",
            "__slotnames__",
            "__dataclass_fields__",
            "__dataclass_params__",
            "__private_attributes__",
            "__class_vars__",
        ),
        *("__parameters__", "__orig_bases__", "__annotate_classmethod__", "__classdictcell__", "model_fields"),
    }
)
"""Attributes that follow from others, are made when they are first read, or are in no certain order."""
_STRICT: Final = frozenset({"model_config", "_field_defaults"})
"""Dicts that nobody changes, of Pydantic models and of named tuples."""
_FIELD_OF_DATACLASS: Final = (
    "name",
    "type",
    "default",
    "default_factory",
    "init",
    "repr",
    "hash",
    "compare",
    "kw_only",
    "metadata",
)
_OF_DATACLASS: Final = ("init", "repr", "eq", "order", "unsafe_hash", "frozen", "match_args", "kw_only", "slots")
"""The options of `dataclass`."""


class ClassPart(NamedTuple):
    """A named part of a class."""

    name: str
    value: Any
    is_strict: bool = False
    """Whether a mutable value counts by its content, as a default does."""


def parts_of_class(cls: type) -> Iterator[ClassPart]:
    """Yield the parts of a class, in the same order in every process."""
    yield ClassPart("bases of", tuple(cls.__bases__))
    yield ClassPart("metaclass of", type(cls))
    for name in sorted(own := vars(cls)):
        if name not in _SILENT and not name.startswith("__pydantic_") and not _is_generated(own[name]):
            yield ClassPart(name, own[name], name in _STRICT)
    if issubclass(cls, Enum):
        yield from (ClassPart(name, member.value, True) for name, member in cls.__members__.items())
    yield from _annotations(cls)
    yield from _fields(own)


def _annotations(cls: type) -> Iterator[ClassPart]:
    """Yield the annotations of a class."""
    annotate = vars(cls).get("__annotate_func__")
    if annotate is not None:  # from Python 3.14 on; it is not called, as it may fail
        yield ClassPart("annotations of", annotate)
    else:
        yield from (ClassPart(name, kind) for name, kind in sorted(vars(cls).get("__annotations__", {}).items()))


def _fields(own: Mapping[str, Any]) -> Iterator[ClassPart]:
    """Yield the fields and validators of a Pydantic model and the fields of a dataclass."""
    for name, field in own.get("__pydantic_fields__", {}).items():
        for slot in type(field).__slots__:
            if not slot.startswith("_"):
                yield ClassPart(f"{slot} of {name} of", getattr(field, slot, None), True)
    for name, private in own.get("__private_attributes__", {}).items():
        yield ClassPart(f"default of {name} of", (private.default, private.default_factory), True)
    decorators = own.get("__pydantic_decorators__")
    for kind in getattr(decorators, "__slots__", ()):
        for name, decorator in getattr(decorators, kind).items():
            yield ClassPart(f"{kind} {name} of", (decorator.cls_var_name, decorator.info), True)
    if (options := own.get("__dataclass_params__")) is not None:
        yield ClassPart("options of", tuple(getattr(options, name, None) for name in _OF_DATACLASS), True)
    for name, item in own.get("__dataclass_fields__", {}).items():
        for attribute in _FIELD_OF_DATACLASS:
            yield ClassPart(f"{attribute} of {name} of", getattr(item, attribute), attribute != "type")


def _is_generated(value: Any) -> bool:
    """Return whether an attribute is a method that `dataclass` or `NamedTuple` has made from the fields."""
    function = unwrap(value) if isinstance(value, FunctionType) else getattr(value, "__func__", None)
    if not isinstance(function, FunctionType):
        return False
    module = str(function.__globals__.get("__name__"))
    return function.__code__.co_qualname.startswith(("__create_fn__.", "namedtuple.")) or module.startswith(
        "namedtuple_"
    )
