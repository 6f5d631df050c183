"""A task: a function of a context, such as one that `ctx.run` runs as a step."""

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from functools import lru_cache, partial
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, isawaitable, signature
from string import Formatter
from typing import Any, Final, NamedTuple, TypeVar, get_type_hints, overload

from .._base.signal_handlers import reraise_from_handler
from .._base.text import nearest, short, type_name
from ..errors import InvalidStepError
from .codec import digest_of
from .digest import digest

_F = TypeVar("_F", bound=Callable[..., Any])

_LONGEST: Final = 40
"""Maximum characters of a text that becomes a part of a step's name."""
_LAMBDA: Final = "<lambda>"
_OPTIONS: Final = "__crystallize_step__"
"""The attribute of a function that has its options."""


class StepOptions(NamedTuple):
    """How `ctx.run` runs a function as a step."""

    name: str | None = None
    """The template of the step's name; None for a name from the function and its arguments."""


_DEFAULT: Final = StepOptions()


@overload
def step(task: _F, /) -> _F: ...
@overload
def step(name: str | None = None, /) -> Callable[[_F], _F]: ...
def step(name: Any = None, /) -> Any:
    """Set how `ctx.run` runs a function as a step. The function itself does not change, and can be called as before.

    Args:
        name: A template of the step's name with parameters of the function in braces, as in "epoch-{epoch}". By default
            the name is that of the function, followed by each argument that is a short text, an int, a bool or an enum.

    Returns:
        A decorator that returns the function unchanged.

    Raises:
        InvalidStepError: The template is not a text, or has a name in braces that is not a parameter.

    Example:
        >>> @step("epoch-{epoch}")
        ... def train(ctx, epoch):
        ...     return 1 / epoch
        >>> ctx = FrozenContext()
        >>> ctx.run(train, 2), ctx.provenance.steps[0].name
        (0.5, 'epoch-2')
    """
    if callable(name):
        return _with_options(name, _DEFAULT)
    if name is not None and not isinstance(name, str):
        raise InvalidStepError(short(name), 'the template of a name is a str, as in @step("epoch-{epoch}")')
    return partial(_with_options, options=StepOptions(name))


def _with_options(task: Any, options: StepOptions) -> Any:
    function = function_of(task)
    if not callable(function):
        raise InvalidStepError(short(task), "@step takes a function of a context")
    if options.name is not None:
        _check_template(function, options.name)
    try:
        setattr(task, _OPTIONS, options)
    except AttributeError as error:
        reason = f"a {type_name(type(task))} takes no options; put @step above its def"
        raise InvalidStepError(short(task), reason) from error
    return task


def _check_template(function: Any, template: str) -> None:
    """Raise InvalidStepError if a template is not one, or has a field that is not a parameter of a function."""
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise InvalidStepError(short(template), f"it is not a template ({error})") from error
    for field in fields:
        name = field.partition(".")[0].partition("[")[0]
        if name not in (known := parameters_of(function)):
            guess = nearest(name, [*known])
            hint = f"; did you mean {{{guess}}}?" if guess else f"; it has {', '.join(known) or 'none'}"
            raise InvalidStepError(
                short(template), f"{{{field}}} is not a parameter of {function.__qualname__} after the context{hint}"
            )


class TaskCall(NamedTuple):
    """A call of a task, as `ctx.run` makes it."""

    task: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @classmethod
    def checked(
        cls, task: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, is_async: bool = False
    ) -> "TaskCall":
        """Return a call; raise InvalidStepError if the task is none that this can run."""

        def refuse(reason: str) -> Exception:
            return InvalidStepError(task_name(task) if callable(task) else short(task), reason)

        return cls(checked_task(task, refuse, runs_it=None if is_async else "write await ctx.arun(...)"), args, kwargs)

    @property
    def is_lambda(self) -> bool:
        """Whether the task is a lambda, which has no name of its own."""
        return getattr(function_of(self.task), "__name__", None) == _LAMBDA

    @property
    def step(self) -> str:
        """The name of the step that it runs in."""
        options: StepOptions = getattr(self.task, _OPTIONS, _DEFAULT)
        if options.name is not None:
            return self._filled(options.name)
        # By position and by name give the same step.
        arguments = self._arguments() if self.kwargs else self.args
        parts = [text for argument in arguments if (text := _part_of_name(argument)) is not None]
        return "-".join([task_name(self.task), *parts])

    def awaitable(self, ctx: Any) -> Awaitable[Any]:
        """Call the task, and return what is to be awaited."""
        made = self.task(ctx, *self.args, **self.kwargs)
        if not isawaitable(made):
            reason = f"its call gave a {type_name(type(made))}, which cannot be awaited; call ctx.run"
            raise InvalidStepError(task_name(self.task), reason)
        return made

    def _arguments(self) -> tuple[Any, ...]:
        """Return the arguments in the order of the parameters."""
        names = parameters_of(self.task)
        named = [self.kwargs[name] for name in names[len(self.args) :] if name in self.kwargs]
        return (*self.args, *named, *(value for name, value in self.kwargs.items() if name not in names))

    def _filled(self, template: str) -> str:
        bound = signature(self.task).bind(None, *self.args, **self.kwargs)
        bound.apply_defaults()
        try:
            return template.format(**bound.arguments)
        except Exception as error:  # the format of an argument's own type may raise anything
            reraise_from_handler(error)
            raise InvalidStepError(short(template), f"it cannot be filled ({type(error).__name__}: {error})") from error

    def digest(self) -> str:
        """Return a digest of the arguments, equal for equal ones; one without a digest counts by its type alone."""
        positional, named = self.args, dict(self.kwargs)
        task = self.task
        while isinstance(task, partial):
            positional, named, task = (*task.args, *positional), {**task.keywords, **named}, task.func
        told = [(digest_of(value) or type_name(type(value))) for value in positional]
        told += [f"{name}={(digest_of(value) or type_name(type(value)))}" for name, value in sorted(named.items())]
        return digest("\0".join(told).encode())


def _part_of_name(argument: Any) -> str | None:
    """Return an argument as a part of a step's name; None if it is none."""
    if isinstance(argument, Enum):
        return argument.name
    if type(argument) is bool or (type(argument) is int and argument.bit_length() < 100):
        return str(argument)
    if type(argument) is str and 0 < len(argument) <= _LONGEST and argument.isprintable():
        return None if "/" in argument or "#" in argument else argument
    return None


def checked_task(task: Any, refuse: Callable[[str], Exception], *, runs_it: str | None) -> Any:
    """Return a task; raise the error that `refuse` makes if a call does not do the work, as that of a generator.

    `runs_it`: the advice for a coroutine; None if its call is awaited, so that it may be one.
    """
    function = function_of(task)
    if not callable(function):
        raise refuse(f"a task is a function of a context, not {short(task)}")
    flags = _flags_of(function)
    if flags & (CO_GENERATOR | CO_ASYNC_GENERATOR):
        raise refuse(f"calling {task_name(task)!r} runs nothing, as it is a generator; let it return a list")
    if runs_it is not None and flags & CO_COROUTINE:
        raise refuse(f"calling {task_name(task)!r} runs nothing, as it is a coroutine; {runs_it}")
    return task


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
    function = function_of(task)
    name = getattr(function, "__name__", type(function).__name__)
    return of_lambda if name == _LAMBDA else str(name)


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
            found = get_type_hints(source).get("return", _NOTHING)
        except Exception:  # an annotation has an undefined name, or this is not a function: the type is unknown
            continue
        if found is not _NOTHING:
            return found
    return Any


_NOTHING: Final = object()
