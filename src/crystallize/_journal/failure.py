"""The exception that ended a run, as texts."""

from traceback import format_exception
from typing import Final, NamedTuple, TypeGuard

from .._base.signal_handlers import reraise_from_handler
from .._base.text import legible
from .._core.context_view import ContextView
from .._core.steps import error_text

_LONGEST: Final = 200_000
"""Maximum characters of a traceback."""


class Failure(NamedTuple):
    """The exception that ended a run."""

    error: str
    """Its type and text."""
    traceback: str
    """Its traceback, with those of the exceptions that caused it."""


def means_failure(raised: BaseException | None) -> TypeGuard[BaseException]:
    """Return whether an exception that ends a run means that the run has failed."""
    is_success = isinstance(raised, SystemExit) and raised.code in (None, 0)
    return raised is not None and not is_success and not isinstance(raised, GeneratorExit)


def failure_of(raised: BaseException, view: ContextView | None) -> Failure:
    """Return an exception as texts, with the secrets masked of the context of a view, if there is one."""
    if view is None:
        return Failure(error_text(raised, ()), _shortened(_traceback(raised)))
    # Masked before it is shortened, or a part of a secret could be left at the cut.
    return Failure(view.error_text(raised), _shortened(view.mask(_traceback(raised))))


def _traceback(raised: BaseException) -> str:
    try:
        return legible("".join(format_exception(raised)))
    except Exception as error:  # of the exception's own methods; the run has to end all the same
        reraise_from_handler(error)
        return f"the traceback cannot be shown: {type(error).__name__} was raised\n"


def _shortened(text: str) -> str:
    """Return a text without its middle if it is long: the ends of a traceback say most."""
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]}\n... {len(text) - 2 * half:,} characters are left out ...\n{text[-half:]}"
