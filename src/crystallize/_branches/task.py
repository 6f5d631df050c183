"""The task of a `fan_out`: its name, the names of its branches, the type of its results."""

from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, get_type_hints

from .._base.text import short
from .._core.codec import Stored, any_key, decode, key_of, revalidate
from .._core.digest import digest
from ..errors import BranchError
from .delta import content_of


def runnable(task: Any) -> Any:
    """Return a task; raise BranchError if it is not callable, or if a call only returns a coroutine or a generator."""
    function = _function_of(task)
    if not callable(function):
        raise BranchError("fan_out", f"a task is a function of a context and an item, not {short(task)}")
    if iscoroutinefunction(function) or isasyncgenfunction(function) or isgeneratorfunction(function):
        advice = "wrap it in a function that runs it to its end, as by asyncio.run(...) or list(...)"
        raise BranchError(
            "fan_out", f"calling {task_name(task)!r} runs nothing yet, as it is a coroutine or a generator; {advice}"
        )
    return task


def _function_of(task: Any) -> Any:
    while isinstance(task, partial):
        task = task.func
    return task


def task_name(task: Any) -> str:
    """Return the name of a task, which branches are named after."""
    function = _function_of(task)
    name = getattr(function, "__name__", type(function).__name__)
    return "branch" if name == "<lambda>" else str(name)


def return_type(task: Any) -> Any:
    """Return the return annotation of a task; `Any` if it has none."""
    function = _function_of(task)
    for source in (function, getattr(function, "__call__", None)):  # noqa: B004 - the method, for its annotations
        try:
            found = get_type_hints(source).get("return", _NOTHING)
        except Exception:  # an annotation has an undefined name, or this is not a function: the type is unknown
            continue
        if found is not _NOTHING:
            return found
    return Any


_NOTHING = object()


def item_digest(item: Any) -> str | None:
    """Return the digest of an item; None if it has no content that can be encoded."""
    content = content_of(any_key(), item)
    return None if content is None else digest(content)


def restored_result(branch: str, result: Any, returns: Any) -> Any:
    """Return the result of a task, decoded if it comes from a file."""
    if not isinstance(result, Stored):
        return result
    try:
        key = key_of(returns)
        if result.fingerprint in (None, key.fingerprint()):
            return decode(result, key)
        return revalidate(result, key)
    except Exception as error:  # a user's validator may raise anything
        reason = f"its result is in the file as {result.type}, and the task's return type does not take that back"
        raise BranchError(branch, f"{reason} ({error})") from error
