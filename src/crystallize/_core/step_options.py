"""`@step`: how `ctx.run` runs a function as a step."""

from collections.abc import Callable, Iterable
from functools import partial
from math import isfinite
from string import Formatter
from typing import Any, Final, NamedTuple, TypeVar, overload

from .._base.text import nearest, short, type_name
from ..errors import InvalidStepError
from .steps import StepToken, step_path
from .task import function_of, parameters_of

_F = TypeVar("_F", bound=Callable[..., Any])

OPTIONS: Final = "__crystallize_step__"
"""The attribute of a function that has its options."""


class StepOptions(NamedTuple):
    """How `ctx.run` runs a function as a step; see `step` for each option."""

    name: str | None = None
    """The template of the step's name; None for a name from the function and its arguments."""
    retries: int = 0
    """How often the function is called again after a failure."""
    wait: float | Callable[[int], float] = 0.0
    """The seconds between two attempts, or a function of the number of attempts that have failed."""
    on: tuple[type[Exception], ...] = (Exception,)
    """The exceptions after which it is called again."""
    version: str | int | None = None
    """A mark of the function's code, for changes that its source does not show."""
    reuse: bool = True
    """Whether the step may be taken over from an earlier run."""
    ignore: tuple[str, ...] = ()
    """The keys that do not count when it is decided whether to take the step over."""

    def pause(self, failed: int) -> float:
        """Return the seconds to wait after this number of attempts has failed."""
        if isinstance(self.wait, int | float):
            return float(self.wait)
        seconds = self.wait(failed)
        _check_seconds(seconds, f"wait({failed}) returned")
        return float(seconds)


DEFAULT: Final = StepOptions()
"""The options of a function without `@step`."""


@overload
def step(task: _F, /) -> _F: ...
@overload
def step(
    name: str | None = None,
    *,
    retries: int = 0,
    wait: float | Callable[[int], float] = 0.0,
    on: type[Exception] | tuple[type[Exception], ...] = (Exception,),
    version: str | int | None = None,
    reuse: bool = True,
    ignore: Iterable[str] = (),
) -> Callable[[_F], _F]: ...
def step(
    name: Any = None,
    *,
    retries: int = 0,
    wait: float | Callable[[int], float] = 0.0,
    on: Any = (Exception,),
    version: str | int | None = None,
    reuse: bool = True,
    ignore: Iterable[str] = (),
) -> Any:
    """Set how `ctx.run` runs a function as a step. The function itself does not change, and can be called as before.

    Args:
        name: A template of the step's name with parameters of the function in braces, as in "epoch-{epoch}". By default
            the name is the function's name, followed by each argument that is a short text, an int, a bool or an enum.
        retries: How often the function is called again if it fails. Each attempt has a record, as "fit/attempt-1". The
            context receives the work of the attempt that succeeds; of a failed one only the record stays.
        wait: The seconds between two attempts, or a function that returns them for the number of attempts that have
            failed, as `lambda failed: 2.0**failed`. `arun` waits without blocking the event loop.
        on: The exceptions after which the function is called again; any other ends the step at once.
        version: A text or a number. Change it when the function gives other results though its code is the same.
        reuse: Whether the step may be taken over from an earlier run.
        ignore: Keys that do not count when it is decided whether to take the step over, as a password.

    Returns:
        A decorator that returns the function unchanged.

    Raises:
        InvalidStepError: An option is of another type or out of its range, `wait` or `on` has no effect without
            `retries`, or the template has a name in braces that is not a parameter.

    Example:
        >>> @step("epoch-{epoch}", retries=2, on=TimeoutError)
        ... def train(ctx, epoch):
        ...     return 1 / epoch
        >>> ctx = FrozenContext()
        >>> ctx.run(train, 2), ctx.provenance.finished("epoch-2")
        (0.5, True)
    """
    if callable(name):
        return _with_options(name, DEFAULT)
    if name is not None and not isinstance(name, str):
        raise InvalidStepError(short(name), 'the template of a name is a str, as in @step("epoch-{epoch}")')
    kinds = (on,) if isinstance(on, type) else on
    options = StepOptions(name, retries, wait, kinds, version, reuse, _names(ignore))
    _check(options)
    return partial(_with_options, options=options)


def options_of(task: Any) -> StepOptions:
    """Return the options of a task."""
    while (found := getattr(task, OPTIONS, None)) is None and isinstance(task, partial):
        task = task.func
    options: StepOptions = found or DEFAULT
    return options


def _with_options(task: Any, options: StepOptions) -> Any:
    function = function_of(task)
    if not callable(function):
        raise InvalidStepError(short(task), "@step takes a function of a context")
    if options.name is not None:
        _check_template(function, options.name)
    try:
        setattr(task, OPTIONS, options)
    except AttributeError as error:
        reason = f"a {type_name(type(task))} takes no options; put @step above its def"
        raise InvalidStepError(short(task), reason) from error
    return task


def _names(ignore: Any) -> tuple[str, ...]:
    """Return the names of keys; raise InvalidStepError if they are none. A text would be taken for its letters."""
    if isinstance(ignore, Iterable) and not isinstance(ignore, str):
        names = tuple(ignore)
        if all(isinstance(name, str) for name in names):
            return names
    raise InvalidStepError("(@step)", f'ignore has the names of keys, as ("api_key",), not {short(ignore)}')


def _check(options: StepOptions) -> None:
    """Raise InvalidStepError for an option that is of another type or out of its range."""
    retries, on, version = options.retries, options.on, options.version
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise _refusal(options, f"retries is a whole number from 0 on, not {short(retries)}")
    if not callable(options.wait):
        _check_seconds(options.wait, "wait is")
    if not isinstance(on, tuple) or not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in on):
        raise _refusal(options, f"on is a class of exceptions or a tuple of them, as (TimeoutError,), not {short(on)}")
    if not on:
        raise _refusal(options, "on is (), so no exception lets the function run again; name a class, or leave it out")
    for name in ("wait", "on") if not retries else ():
        if getattr(options, name) != getattr(DEFAULT, name):
            raise _refusal(options, f"{name} is given, and retries is 0; add retries=1, or leave {name} out")
    if isinstance(version, bool) or not isinstance(version, str | int | None):
        raise _refusal(options, f"version is a str or an int, not {short(version)}")
    if not isinstance(options.reuse, bool):
        raise _refusal(options, f"reuse is True or False, not {short(options.reuse)}")


def _refusal(options: StepOptions, reason: str) -> InvalidStepError:
    return InvalidStepError("(@step)" if options.name is None else short(options.name), reason)


def _check_seconds(seconds: object, found: str) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not (isfinite(seconds) and seconds >= 0):
        reason = f"{found} {short(seconds)}; it is a number of seconds from 0 on, or a function that returns one"
        raise InvalidStepError("(@step)", reason)


def _check_template(function: Any, template: str) -> None:
    """Raise InvalidStepError if a template is not one, or has a field that is not a parameter of a function."""
    try:
        parts = [*Formatter().parse(template)]
    except ValueError as error:
        raise InvalidStepError(short(template), f"it is not a template ({error})") from error
    # The whole name is checked when it is filled.
    step_path(StepToken(), "".join(f"{text}{'x' if field is not None else ''}" for text, field, *_ in parts))
    for field in (field for _, field, _, _ in parts if field is not None):
        name = field.partition(".")[0].partition("[")[0]
        if name not in (known := parameters_of(function)):
            guess = nearest(name, [*known])
            hint = f"; did you mean {{{guess}}}?" if guess else f"; it has {', '.join(known) or 'none'}"
            raise InvalidStepError(
                short(template), f"{{{field}}} is not a parameter of {function.__qualname__} after the context{hint}"
            )
