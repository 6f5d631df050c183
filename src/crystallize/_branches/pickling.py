"""Pickle objects for other processes, with errors that name the part that cannot be pickled."""

import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from types import FunctionType
from typing import Any

from .._base.text import type_name
from ..errors import TravelError


def dumped(whole: Any, branch: str, parts: Callable[[], Iterable[tuple[str, Any]]]) -> bytes:
    """Pickle an object, with cloudpickle if pickle fails and cloudpickle is installed.

    If it cannot be pickled, TravelError names the first such part; `parts` returns the parts, each with its name.
    """
    try:
        return _pickled(whole)
    except Exception as error:  # a type's own pickling may raise anything
        failure = error
    for name, part in parts():
        try:
            _pickled(part)
        except Exception as error:  # as above
            what = f"a {type_name(type(part))} does not pickle ({error})"
            is_declared = isinstance(part, type | FunctionType)
            if is_declared and "<locals>" in part.__qualname__:
                what = f"{part.__qualname__} is declared in a function; declare it at the top of a module"
            elif isinstance(part, Iterator):
                what += "; make a list of it"
            raise TravelError(branch, f"{name} cannot be sent to another process: {what}") from failure
    raise TravelError(branch, f"it cannot be sent to another process ({failure})") from failure


def _pickled(value: Any) -> bytes:
    # Many executors use cloudpickle themselves. Only Ray's own copy of it knows the classes that Ray has sent.
    name = "ray.cloudpickle" if "ray" in sys.modules else "cloudpickle"
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:  # as above
        if find_spec(name) is None:
            raise
    content: bytes = import_module(name).dumps(value)
    return content


def loaded(content: bytes, branch: str, what: str) -> Any:
    """Return the unpickled object, or raise TravelError, in which `what` names the object."""
    try:
        return pickle.loads(content)
    except Exception as error:  # a type's own unpickling may raise anything
        reason = f"{what} cannot be read in this process ({type(error).__name__}: {error})"
        raise TravelError(branch, reason) from error
