"""A call of a task by `ctx.run`: the name of its step, and the digest of its arguments."""

import re
from collections.abc import Awaitable, Mapping
from enum import Enum
from functools import partial
from inspect import isawaitable, signature
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, Literal

from .._base.signal_handlers import reraise_from_handler
from .._base.text import nearest, short, type_name
from ..errors import InvalidStepError
from ..events import TaskInputs
from .call_arguments import atoms_of_call, digest_of_arguments, digest_of_atoms
from .code_digest import digest_call, digest_simple_call
from .schema import Schema
from .step_options import StepOptions, options_of
from .task import checked_task, is_plain_function, parameters_of, task_name

NOT_REUSED: Final = "its task has @step(reuse=False)"
"""Why a step is never taken over."""

_LONGEST: Final = 40
"""Maximum characters of a text that becomes a part of a step's name."""


_NOT_RUN: Final = frozenset({CoroutineType, GeneratorType, AsyncGeneratorType})
"""The types of objects that are the result of a call that has run nothing of its function."""
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")


class TaskCall:
    """A call of a task, as `ctx.run` makes it.

    Attributes:
        args: Its arguments after the context.
        kwargs: Its named arguments.
        options: The options that `@step` has set.
    """

    __slots__ = ("_given", "_known_atoms", "args", "kwargs", "options", "task")

    def __init__(self, task: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: StepOptions) -> None:
        self.task: Any = task
        self.args: tuple[Any, ...] = args
        self.kwargs: Mapping[str, Any] = kwargs
        self.options: StepOptions = options
        self._given: Mapping[str, str] | None = None
        self._known_atoms: dict[str, bytes] | Literal[False] | None = False  # not looked for yet

    @classmethod
    def checked(
        cls, task: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, is_async: bool = False
    ) -> "TaskCall":
        """Return a call; raise InvalidStepError if the task is none that this can run."""
        if not is_plain_function(task):
            checked_task(task, partial(_refusal, task), runs_it=None if is_async else "write await ctx.arun(...)")
        return cls(task, args, kwargs, options_of(task))

    @property
    def step(self) -> str:
        """The name of the step that it runs in."""
        template = self.options.name
        if template is not None:
            return self._filled(template)
        # By position and by name give the same step.
        arguments = self._arguments() if self.kwargs else self.args
        name = task_name(self.task)
        parts = [text for argument in arguments if (text := _part_of_name(argument)) is not None]
        return "-".join([name, *parts]) if parts else name

    def check_ignored(self, schema: Schema) -> None:
        """Raise InvalidStepError if `@step(ignore=)` has a key that the schema does not declare."""
        for name in self.options.ignore:
            if schema.others is None and name not in schema.keys:
                near = nearest(name, schema.keys)
                advice = f"did you mean {near!r}?" if near else "take it out of ignore"
                reason = f"@step(ignore=...) has the key {short(name)}, which {schema.name} does not declare; {advice}"
                raise InvalidStepError(task_name(self.task), reason)

    def called(self, ctx: Any) -> Any:
        """Call the task, and return its result."""
        result = self.task(ctx, *self.args, **self.kwargs) if self.kwargs else self.task(ctx, *self.args)
        if type(result) in _NOT_RUN:
            if isinstance(result, CoroutineType):
                result.close()  # or Python would warn of it, too
            advice = "let it return a list" if isinstance(result, GeneratorType) else "call ctx.arun"
            raise InvalidStepError(
                task_name(self.task), f"its call gave a {type_name(type(result))}, which has run nothing yet; {advice}"
            )
        return result

    def awaitable(self, ctx: Any) -> Awaitable[Any]:
        """Call the task, and return its awaitable."""
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
            name = template.format(**bound.arguments)
        except Exception as error:  # the format of an argument's own type may raise anything
            reraise_from_handler(error)
            raise InvalidStepError(short(template), f"it cannot be filled ({type(error).__name__}: {error})") from error
        if _ADDRESS.search(name):
            reason = f"it gives {name}, with an address that differs in each process; name a part, as {{cfg.size}}"
            raise InvalidStepError(short(template), reason)
        return name

    def inputs(self) -> TaskInputs:
        """Return digests of the code and the arguments; none of a task that `@step(reuse=False)` keeps from reuse."""
        version = self.options.version
        if not self.options.reuse:
            return TaskInputs({}, {}, (NOT_REUSED,), version)
        atoms = self._atoms()
        if atoms is not None:
            return TaskInputs(*digest_simple_call(self.task, atoms), version)
        found = digest_call(self.task, self.args, self.kwargs)
        self._given = found.arguments
        return TaskInputs(*found, version)

    def _atoms(self) -> dict[str, bytes] | None:
        """Return the forms of the arguments of a call that uses nothing that its task could change; see there."""
        if self._known_atoms is False:
            self._known_atoms = atoms_of_call(self.task, self.args, self.kwargs)
        return self._known_atoms

    def changes(self) -> list[str]:
        """Return in words the arguments and the like that the task has changed since `inputs` was called.

        A step that does so cannot be taken over, since the changes would be missing.
        """
        if self._given is None:
            return []
        now = digest_call(self.task, self.args, self.kwargs).arguments
        return [f"it changed {argument_in_words(name)}" for name, form in self._given.items() if now.get(name) != form]

    def digest(self) -> str:
        """Return a digest of the arguments; see `digest_of_arguments`."""
        atoms = self._atoms()
        return digest_of_arguments(self.task, self.args, self.kwargs) if atoms is None else digest_of_atoms(atoms)


def argument_in_words(name: str) -> str:
    """Return the words for an argument by its name in the digests of a call."""
    kind, _, variable = name.partition(".")
    if kind == "closure" and variable:
        return f"the variable {variable} of its closure"
    return "the object of its method" if name == "self" else f"its argument {name}"


def _refusal(task: Any, reason: str) -> InvalidStepError:
    return InvalidStepError(task_name(task) if callable(task) else short(task), reason)


def _part_of_name(argument: Any) -> str | None:
    """Return an argument as a part of a step's name; None if it is none."""
    kind = type(argument)
    if kind is str:
        is_part = 0 < len(argument) <= _LONGEST and argument.isprintable() and not ("/" in argument or "#" in argument)
        return argument if is_part else None
    if kind is bool or (kind is int and argument.bit_length() < 100):
        return str(argument)
    return argument.name if isinstance(argument, Enum) else None
