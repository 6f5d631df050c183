"""From a validation error of Pydantic to problems in our words, without secrets."""

from collections.abc import Collection, Iterator
from itertools import takewhile
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticKnownError

from .._base.text import short
from ..errors import Problem

MISSING = "is missing"


def raised_in(error: ValidationError) -> BaseException | None:
    """Return what a user's own validator raised, for its traceback."""
    cause = error.errors(include_url=False)[0].get("ctx", {}).get("error")
    # Of dates, UUIDs and the like it is a text of Pydantic's.
    return cause if isinstance(cause, BaseException) else None


def _fixed_message(kind: Any) -> str:
    """Return Pydantic's own message for a kind of error if nothing that was given can be in it."""
    try:
        return PydanticKnownError(kind).message()
    except (KeyError, TypeError):  # not Pydantic's, or one with a place for what was given
        return f"is not allowed ({kind})"


def problems_of(
    error: ValidationError,
    at: tuple[str, ...],
    given: tuple[str, ...] = (),
    harmless: Collection[str] | None = None,
) -> Iterator[Problem]:
    """Return the problems in a validation error.

    Args:
        error: The error that Pydantic raised.
        at: The key or tag that was validated.
        given: The beginning of each location in the error, if the error itself names the key.
        harmless: The names that may be shown of a location, if a secret may be in the input. Then nothing is shown
            that comes from there: no value, no key of a dict, no message of a validator. None: all may be shown.
    """
    for detail in error.errors(include_url=False):
        missing = detail["type"] in ("missing", "missing_argument")
        value = detail["input"]
        kind = "" if missing else type(value).__name__
        within = detail["loc"][len(given) :]
        if harmless is not None:
            shown = tuple(takewhile(lambda part: part in harmless, within))
            message = MISSING if missing else _fixed_message(detail["type"]).removeprefix("Input ")
            yield Problem((*at, *shown), message if shown == within else f"something within it {message}", kind, None)
            continue
        message = MISSING if missing else detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
        text = None if missing or detail["type"] == "extra_forbidden" else short(value)
        yield Problem((*at, *within), message, kind, text)
