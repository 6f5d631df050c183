"""Pickle what travels to other processes, with errors that name the part that does not pickle."""

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
    """Pickle an object, by cloudpickle where it is installed and pickle fails.

    Args:
        whole: The object.
        branch: The branch that it belongs to, for the error.
        parts: Returns the parts of the object, each with its name, to find the part that does not pickle.

    Raises:
        TravelError: It cannot be pickled. The error names the part.
    """
    try:
        return _pickled(whole)
    except Exception as error:  # whatever a type's own way to be pickled raises
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
    # Many engines use cloudpickle themselves. Ray has a copy of it, which alone knows the classes that Ray has sent.
    name = "ray.cloudpickle" if "ray" in sys.modules else "cloudpickle"
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:  # as above
        if find_spec(name) is None:
            raise
    content: bytes = import_module(name).dumps(value)
    return content


def loaded(content: bytes, branch: str, what: str) -> Any:
    """Return an unpickled object, or raise TravelError."""
    try:
        return pickle.loads(content)
    except Exception as error:  # whatever a type's own way to be unpickled raises
        reason = f"{what} cannot be read in this process ({type(error).__name__}: {error})"
        raise TravelError(branch, reason) from error
