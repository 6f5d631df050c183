"""Pickle objects for other processes, with errors that name the part that cannot be pickled."""

import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO, IOBase, TextIOWrapper
from types import FunctionType
from typing import Any, TypeAlias

from .._base.text import type_name
from .._core.buffer_pickle import SplitPickle, split_pickle
from ..errors import TravelError

_Parts: TypeAlias = Callable[[], Iterable[tuple[str, Any]]]
"""Returns the parts of an object, each with its name for errors."""


def dumped(whole: Any, branch: str, parts: _Parts, *, by_value: bool = False) -> bytes:
    """Pickle an object, with cloudpickle if pickle fails and cloudpickle is installed.

    If it cannot be pickled, TravelError names the first such part. `by_value`: see `split`.
    """
    try:
        return _pickled(whole, by_value=by_value)
    except Exception as error:  # a type's own pickling may raise anything
        raise failure_to_send(branch, parts, error) from error


def failure_to_send(branch: str, parts: _Parts, failure: Exception) -> TravelError:
    """Return the error of an object that cannot be pickled; it names the first part that cannot."""
    reasons = (reason for name, part in parts() if (reason := unsendable(name, part)) is not None)
    return TravelError(branch, next(reasons, f"it cannot be sent to another process ({failure})"))


def unsendable(name: str, part: Any) -> str | None:
    """Return the reason why an object cannot be pickled, with its name; None if it can."""
    try:
        _pickled(part)
    except Exception as error:  # as above
        return refusal(name, part, error)
    return None


def refusal(name: str, part: Any, error: Exception) -> str:
    """Return the text that says of an object why it cannot be sent."""
    what = f"a {type_name(type(part))} does not pickle ({error})"
    is_declared = isinstance(part, type | FunctionType)
    if is_declared and "<locals>" in part.__qualname__:
        what = f"{part.__qualname__} is declared in a function; declare it at the top of a module"
    elif isinstance(part, IOBase):
        what += "; send its path, and open it in the branch"
    elif isinstance(part, Iterator):
        what += "; make a list of it"
    return f"{name} cannot be sent to another process: {what}"


def _pickled(value: Any, *, by_value: bool = False) -> bytes:
    content = None
    try:
        content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:  # as above
        if _cloudpickle() is None:
            raise
    if content is None or (by_value and names_main(content) and _cloudpickle() is not None):
        file = BytesIO()
        _careful_pickler(_cloudpickle())(file, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
        content = file.getvalue()
    return content


def _cloudpickle() -> Any:
    """Return the module cloudpickle, which many executors use themselves; None if it is not installed."""
    # Only Ray's own copy of it knows the classes that Ray has sent.
    name = "ray.cloudpickle" if "ray" in sys.modules else "cloudpickle"
    return None if find_spec(name) is None else import_module(name)


@lru_cache(maxsize=2)
def _careful_pickler(cloudpickle: Any) -> Any:
    """Return a pickler of cloudpickle that refuses open files. cloudpickle itself would send their content."""

    class CarefulPickler(cloudpickle.CloudPickler):  # type: ignore[misc]  # the module has no types
        def reducer_override(self, value: Any) -> Any:
            return _reduced_file(value) if isinstance(value, TextIOWrapper) else super().reducer_override(value)

    return CarefulPickler


def _reduced_file(file: TextIOWrapper) -> Any:
    for name in ("stdout", "stderr"):
        if file is getattr(sys, name):
            return getattr, (sys, name)
    raise TypeError(f"cannot pickle {type_name(type(file))!r} object")


def split(value: Any, *, by_value: bool = False) -> SplitPickle:
    """Pickle an object with its buffers apart, with cloudpickle if pickle fails and cloudpickle is installed.

    `by_value`: the executor pickles the classes of `__main__`, which its workers do not know by name.
    """
    made = None
    try:
        made = split_pickle(value)
    except Exception:  # as above
        if _cloudpickle() is None:
            raise
    if made is None or (by_value and any(map(names_main, made.chunks)) and _cloudpickle() is not None):
        made = split_pickle(value, _careful_pickler(_cloudpickle()))
    return made


def names_main(content: bytes) -> bool:
    """Whether a pickle may name a class of the script itself."""
    return b"__main__" in content or b"__mp_main__" in content


def loaded(content: bytes | memoryview, branch: str, what: str, buffers: Iterable[Any] = ()) -> Any:
    """Return the unpickled object, or raise TravelError, in which `what` names the object."""
    try:
        return pickle.loads(content, buffers=buffers)
    except Exception as error:  # a type's own unpickling may raise anything
        reason = f"{what} cannot be read in this process ({type(error).__name__}: {error})"
        raise TravelError(branch, reason) from error
