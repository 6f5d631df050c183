"""A task: a function of a context, such as one that `ctx.run` runs as a step."""

from collections.abc import Callable
from functools import lru_cache, partial
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, signature
from types import FunctionType, NoneType
from typing import Any, Final, get_type_hints

from .._base.text import short

_LAMBDA: Final = "<lambda>"
"""The name that Python gives to a lambda."""


_RUNS_NOTHING: Final = CO_GENERATOR | CO_ASYNC_GENERATOR | CO_COROUTINE
"""The flags of code whose call does not do the work."""


def checked_task(task: Any, refuse: Callable[[str], Exception], *, runs_it: str | None) -> Any:
    """Return a task; raise the error that `refuse` makes if a call does not do the work, as with a generator.

    `runs_it`: the advice for a coroutine; None if its call is awaited, so that it may be one.
    """
    if is_plain_function(task):
        return task
    function = function_of(task)
    if not callable(function):
        raise refuse(f"a task is a function of a context, not {short(task)}")
    flags = _flags_of(function)
    if flags & (CO_GENERATOR | CO_ASYNC_GENERATOR):
        raise refuse(f"calling {task_name(task)!r} runs nothing, as it is a generator; let it return a list")
    if runs_it is not None and flags & CO_COROUTINE:
        raise refuse(f"calling {task_name(task)!r} runs nothing, as it is a coroutine; {runs_it}")
    return task


def is_plain_function(task: Any) -> bool:
    """Whether a task is a function whose call does the work; nearly every task is one."""
    return type(task) is FunctionType and not task.__code__.co_flags & _RUNS_NOTHING


def _flags_of(function: Any) -> int:
    """Return the flags of the code that a call runs; 0 if it is not Python's. `inspect` takes 15 times as long."""
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return 0 if code is None else int(code.co_flags)


def function_of(task: Any) -> Any:
    """Return the function of a task, without the arguments that `functools.partial` has set."""
    while isinstance(task, partial):
        task = task.func
    return task


def task_name(task: Any, *, of_lambda: str = "lambda") -> str:
    """Return the name of a task."""
    if type(task) is FunctionType and task.__name__ != _LAMBDA:
        return task.__name__
    function = function_of(task)
    name = getattr(function, "__name__", type(function).__name__)
    return of_lambda if name == _LAMBDA else str(name)


def is_lambda(task: Any) -> bool:
    """Whether a task is a lambda, which has no name of its own."""
    return getattr(function_of(task), "__name__", None) == _LAMBDA


def parameters_of(task: Any) -> tuple[str, ...]:
    """Return the names of the parameters of a task after the context."""
    try:
        return _parameters_of(task)
    except TypeError:  # a callable object that has no hash
        return _parameters_of.__wrapped__(task)


@lru_cache(maxsize=256)
def _parameters_of(task: Any) -> tuple[str, ...]:
    try:
        return tuple(signature(task).parameters)[1:]
    except ValueError:  # a function in C that does not say
        return ()


def return_type(task: Any) -> Any:
    """Return the return annotation of a task; `Any` if it has none."""
    function = function_of(task)
    for source in (function, getattr(function, "__call__", None)):  # noqa: B004 - the method, for its annotations
        try:
            found = _hint_of(source)
        except Exception:  # an annotation has an undefined name, or this is not a function: the type is unknown
            continue
        if found is not _NOTHING:
            return found
    return Any


def _hint_of(source: Any) -> Any:
    """Return the return annotation of a function; `_NOTHING` if it has none."""
    # Most are a class or None. Then the other annotations, which `get_type_hints` evaluates as well, do not matter.
    found = source.__annotations__.get("return", _NOTHING)
    if found is None:
        return NoneType
    return found if type(found) is type or found is _NOTHING else get_type_hints(source)["return"]


_NOTHING: Final = object()
