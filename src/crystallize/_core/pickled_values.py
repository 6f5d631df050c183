"""Say which value of a context pickle refuses because it does not find the class of the value.

Pydantic's class for `Box[int]` is found by its name only if it was made at the top of a module.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, SupportsIndex

from .._base.signal_handlers import reraise_from_handler
from .._base.text import type_name
from ..errors import UnpicklableValueError

_arguments_given: set[type] = set()
"""The generic models with arguments that were frozen. In a program without them, a pickle is not tried before."""

_BY_VALUE: Final = frozenset({"cloudpickle", "dill"})
"""Libraries that pickle a class which is not found by its name."""


def note_class(cls: type) -> None:
    """Note a class whose instances a context may have."""
    if getattr(cls, "__pydantic_generic_metadata__", {}).get("args"):
        _arguments_given.add(cls)


def check_classes(values: Iterable[tuple[str, Callable[[], Any]]], protocol: SupportsIndex, caller: str) -> None:
    """Raise UnpicklableValueError for the first value with a class that pickle does not find by its name.

    `caller` is the module that pickles. Whatever else pickle refuses, it says itself.
    """
    unnamed = [cls for cls in _arguments_given if _is_unnamed(cls)]
    if not unnamed or not _BY_VALUE.isdisjoint(caller.split(".")):
        return
    import pickle  # here, to keep the import of the package fast

    for key, read in values:
        try:
            pickle.Pickler(_Nowhere(), int(protocol)).dump(read())
        except Exception as error:  # a type's own pickling may raise anything
            reraise_from_handler(error)
            for cls in unnamed:
                if repr(cls) in str(error):
                    raise UnpicklableValueError(key, type_name(cls)) from error


def _is_unnamed(cls: type) -> bool:
    return getattr(sys.modules.get(cls.__module__), cls.__qualname__, None) is not cls


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, content: Any, /) -> int:
        return len(content)
