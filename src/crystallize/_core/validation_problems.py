"""Translate Pydantic's validation errors into problems, without secrets."""

from collections.abc import Collection, Iterator
from itertools import takewhile
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticKnownError

from .._base.text import short
from ..errors import Problem

MISSING = "is missing"

DEFINED_AGAIN = ", which was defined again after this object was made (make the object again)"
"""The text for an object whose class has a newer namesake, since a module was reloaded or a cell run again."""


def raised_in(error: ValidationError) -> BaseException | None:
    """Return the exception of a user's own validator, for its traceback; None if there is none."""
    cause = error.errors(include_url=False)[0].get("ctx", {}).get("error")
    # For dates, UUIDs and similar types it is a text from Pydantic.
    return cause if isinstance(cause, BaseException) else None


def _fixed_message(kind: Any) -> str:
    """Return Pydantic's message for a kind of error, if the message cannot contain the input."""
    try:
        return PydanticKnownError(kind).message()
    except (KeyError, TypeError):  # an unknown kind, or a message with a placeholder for the input
        return f"is not allowed ({kind})"


def problems_of(
    error: ValidationError,
    at: tuple[str, ...],
    given: tuple[str, ...] = (),
    harmless: Collection[str] | None = None,
) -> Iterator[Problem]:
    """Return the problems in a validation error, with locations that begin with `at`.

    `given` is the beginning of each location in the error, if the error itself names the key. If a secret may be in the
    input, `harmless` are the names that may be shown in locations. Then no value, dict key or validator message of the
    input is shown. If it is None, everything is shown.
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
        asked = detail.get("ctx", {}).get("class_name") or detail.get("ctx", {}).get("class")
        if asked in (type(value).__name__, type(value).__qualname__):
            message += DEFINED_AGAIN
        text = None if missing or detail["type"] == "extra_forbidden" else short(value)
        yield Problem((*at, *within), message, kind, text)
