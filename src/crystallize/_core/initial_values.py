"""Write the initial values of a context, and the defaults of its schema."""

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import partial
from operator import contains
from types import SimpleNamespace
from typing import Any, NamedTuple

from .._base.signal_handlers import reraise_from_handler
from .._base.text import nearest, short, type_name
from ..errors import (
    AbsentKeyError,
    CrystallizeError,
    InvalidInitialError,
    InvalidValueError,
    KeyLookupError,
    Problem,
    SchemaError,
    UnknownKeyError,
)
from .dataclass_outputs import initial_outputs
from .equality import same
from .inputs_model import InputsModel, given_inputs
from .key import plain_key, shape_name
from .pydantic_core_schema import is_model
from .schema import Schema
from .state import State
from .steps import StepToken
from .validation_problems import DEFINED_AGAIN

_NOBODY = StepToken()
_NOTHING = object()


class Baseline(NamedTuple):
    """Work of another process, with which a context starts.

    Extension point: a folder above the core makes a baseline for a run that is resumed or loaded, and applies it to a
    blank state. Then it fills the logs of the state with the rest of the work.
    """

    values: Mapping[str, tuple[Any, str | None, bool]]
    """Each value, which the schema accepts and which may be `Unread`, with the step that wrote it and whether it is an
    input. Initial values for these keys must be the same. Sinks have already received these keys."""
    steps: Sequence[str | None]
    """The steps that were opened, after None for no step."""
    finished_steps: Collection[str]
    """The steps that cannot be opened again."""
    label: str
    """The name of the work in errors."""

    def apply(self, state: State) -> None:
        """Write the values to a state without values, and restore the steps."""
        state.registry.restore(self.steps, self.finished_steps)
        state.write_all(self.values)


def take_initial(state: State, initial: Any, label: str, baseline: Baseline | None = None) -> None:
    """Write initial values, a mapping or an instance of the shape, and the defaults, and collect all problems.

    `label` is the name of the context in the InvalidInitialError that names all problems.
    """
    schema = state.schema
    given, problems, trusted = _given(schema, initial, label)
    failed: CrystallizeError | None = None
    refused: set[str] = set()
    for name in [*schema.keys, *(name for name in given if name not in schema.keys)]:
        try:
            if name not in state.values:
                _take(state, name, given, name in trusted)
            elif name in given and baseline is not None:
                _check_same(state, name, given[name], name in trusted, baseline)
        except AbsentKeyError as error:
            if error.key not in refused:
                problems.append(Problem((name,), error.complaint, "", None))
            refused.add(name)
        except CrystallizeError as error:
            found = getattr(error, "problems", None)
            complaint = getattr(error, "complaint", str(error))
            problems += found if found is not None else [Problem((name,), complaint, "", None)]
            refused.add(name)
            failed = error
    if problems:
        if _is_namespace(initial):
            problems = [_advised(problem, vars(initial), schema) for problem in problems]
        raise InvalidInitialError(label, tuple(problems)) from (failed.__cause__ if failed is not None else None)


def emit_inputs(state: State, known: Iterable[str] = ()) -> None:
    """Emit the events of the initial values, except for `known` keys, which the sinks have already received."""
    keys = [key for key in state.values if key not in known]
    state.dispatcher.emit(*map(state.key_event, keys))


def schema_of_instance(initial: Any) -> Schema:
    """Return the schema of a context without a shape: of the class of its initial values, if it declares keys."""
    cls = type(initial)
    declares = is_model(cls) or is_dataclass(cls)
    if not declares or isinstance(initial, Mapping | InputsModel):
        return Schema.untyped()
    shape = getattr(initial, "__orig_class__", cls)
    if getattr(shape, "__parameters__", ()):
        name = shape_name(shape)
        raise SchemaError(name, f"an instance does not tell its type arguments; write FrozenContext[{name}[...]](...)")
    return Schema.of(shape)


def is_given_in(initial: Any) -> Callable[[str], bool]:
    """Return a function that says whether a key is among initial values."""
    if isinstance(initial, InputsModel) or _is_namespace(initial):
        return partial(contains, vars(initial))
    return partial(contains, initial) if _has_items(initial) else partial(hasattr, initial)


def _has_items(initial: Any) -> bool:
    # A context has the method too, and is no Mapping.
    return isinstance(initial, Mapping) or (not isinstance(initial, type) and callable(getattr(initial, "keys", None)))


def _is_namespace(initial: Any) -> bool:
    # If nobody has imported argparse, there are no instances.
    found: Any = getattr(sys.modules.get("argparse"), "Namespace", SimpleNamespace)
    return isinstance(initial, SimpleNamespace | found)


def _advised(problem: Problem, namespace: Mapping[str, Any], schema: Schema) -> Problem:
    """Return a problem, with a remedy if it is about an option that is no input or was not given."""
    name = problem.location[0] if len(problem.location) == 1 else None
    if not isinstance(name, str) or name not in namespace:
        return problem
    if name not in schema.keys and schema.others is None:
        advice = f"take an option that is no input out first, as by vars(args).pop({name!r})"
    elif namespace[name] is None:
        advice = "an option that is not given is None, unless it is made by ArgumentParser(argument_default=SUPPRESS)"
    else:
        return problem
    return problem._replace(allowed=f"{problem.allowed} ({advice})")


def _given(schema: Schema, initial: Any, label: str) -> tuple[dict[str, Any], list[Problem], Collection[str]]:
    """Return initial values by key, their problems, and the keys whose values are already valid."""
    shape = schema.cls
    if not schema.by_items and isinstance(initial, shape):
        given = _of_instance(schema, initial)
        return given, [], given
    if (inputs := given_inputs(initial, schema)) is not None:
        values, others = inputs
        return {**others, **values}, _given_twice(schema, others), schema.keys
    if _is_namespace(initial):
        return *_by_key(schema, vars(initial)), ()
    if _has_items(initial):
        return *_by_key(schema, initial), ()
    wanted = "a mapping or a namespace"
    wanted = wanted if schema.by_items else f"a mapping, a namespace or an instance of {schema.name}"
    shown = None if any(key.secret for key in schema.keys.values()) else short(initial)
    of = getattr(initial, "crystallize_schema", None) if isinstance(initial, InputsModel) else None
    if type_name(type(initial)) == type_name(shape) or (of is not None and type_name(of.cls) == type_name(shape)):
        wanted += DEFINED_AGAIN
    elif of is not None:
        wanted += f"; these are the inputs of FrozenContext[{of.name}](...)"
    if isinstance(initial, type):
        wanted += f"; a schema goes in brackets, FrozenContext[{shape_name(initial)}](...)"
    problem = Problem((), f"the initial values should be {wanted}", type(initial).__name__, shown)
    raise InvalidInitialError(label, (problem,))


def _take(state: State, name: str, given: Mapping[str, Any], is_trusted: bool) -> None:
    declared = state.schema.keys.get(name)
    if name in given:
        state.write(name, given[name], _NOBODY, is_input=True, trusted=is_trusted)
    elif declared is not None and declared.is_input:
        state.write(name, declared.make_default(state.held), _NOBODY, is_input=True, trusted=True)


def _check_same(state: State, name: str, given: Any, is_trusted: bool, baseline: Baseline) -> None:
    """Check that an initial value equals the value in the baseline; raise InvalidValueError if not."""
    declared = state.schema.key(name)
    valid = given if is_trusted else declared.check(name, given, state.held)
    held = state.read(name)
    if not same(valid, held):
        value = "another value" if declared.secret else short(held)
        shown = None if declared.secret else short(given)
        allowed = f"is {value} in {baseline.label} (leave it out, or start another)"
        raise InvalidValueError(name, (Problem((name,), allowed, type(given).__name__, shown),))


def _of_instance(schema: Schema, initial: Any) -> dict[str, Any]:
    """Return the values of an instance of the shape, without output keys that it did not set."""
    written = getattr(initial, "__pydantic_fields_set__", None)
    untouched = initial_outputs(initial)
    given = {}
    for name, key in schema.keys.items():
        if hasattr(initial, name):
            value = getattr(initial, name)
            default = (key.default or {}).get("default", _NOTHING)
            unset = value is default if written is None else name not in written
            unset = unset or (name in untouched and _is_surely_same(untouched[name], value))
            if not (key.output and unset):
                given[name] = value
    own = _fields_of(type(initial)) - _fields_of(schema.cls)
    beyond = {name: getattr(initial, name) for name in own}
    return {**given, **beyond, **(getattr(initial, "__pydantic_extra__", None) or {})}


def _is_surely_same(left: Any, right: Any) -> bool:
    try:
        return same(left, right)
    except Exception as error:  # a value's own `==` may raise anything; it is then a value that was given
        reraise_from_handler(error)
        return False


def _fields_of(cls: type) -> set[str]:
    return {*getattr(cls, "__pydantic_fields__", ()), *getattr(cls, "__dataclass_fields__", ())}


def _by_key(schema: Schema, initial: Any) -> tuple[dict[str, Any], list[Problem]]:
    """Return initial values by key, with aliases replaced by their keys, and the problems."""
    # A subclass of str may define its own equality, and a dict would use it.
    keys = {key: str.__str__(key) if isinstance(key, str) else key for key in initial.keys()}  # noqa: SIM118 - a context has keys() and is no Mapping
    rest = {plain: initial[key] for key, plain in keys.items()}
    given: dict[str, Any] = {}
    problems: list[Problem] = []
    used: set[Any] = set()
    aliased = {way[0] for key in schema.keys.values() for way in key.aliases}
    for name, key in schema.keys.items():
        own = () if name in aliased and (name,) not in key.aliases else ((name,),)
        ways = [way for way in dict.fromkeys((*key.aliases, *own)) if _follow(rest, way) is not _NOTHING]
        if ways:
            given[name] = _follow(rest, ways[0])
            used |= {way[0] for way in ways}
        if len({way[0] for way in ways}) > 1:
            twice = " and as ".join(repr(way[0]) for way in ways)
            problems.append(Problem((name,), f"is given twice, as {twice}; give it once", "", None))
    for key_, value in rest.items():
        if key_ in used:
            continue
        try:
            schema.key(key_)
            given[plain_key(key_)] = value
        except UnknownKeyError as error:
            near = nearest(error.key, [*schema.keys, *map(str, aliased)])
            problem = UnknownKeyError(error.key, error.schema, near, error.declared)
            problems.append(Problem((error.key,), problem.complaint, "", None))
        except KeyLookupError as error:
            problems.append(Problem((), str(error), "", None))
    return given, problems


def _given_twice(schema: Schema, others: Mapping[str, Any]) -> list[Problem]:
    """Return the problems of keys that are also among undeclared ones, by another of their names."""
    return [
        Problem((name,), f"is given twice, once as {way[0]!r}; give it once", "", None)
        for name, key in schema.keys.items()
        for way in ((name,), *key.aliases)
        if _follow(others, way) is not _NOTHING
    ]


def _follow(values: Any, way: tuple[str | int, ...]) -> Any:
    """Return the value at the path of an alias; `_NOTHING` if there is none."""
    for part in way:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return _NOTHING
    return values
