"""Write the initial values of a context, and the defaults of its schema."""

from collections.abc import Collection, Iterable, Mapping, Sequence
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
    UnknownKeyError,
)
from .dataclass_outputs import initial_outputs
from .equality import same
from .key import plain_key, shape_name
from .schema import Schema
from .state import State
from .steps import StepToken
from .validation_problems import DEFINED_AGAIN

_NOBODY = StepToken()
_NOTHING = object()


class Baseline(NamedTuple):
    """Work of another process, with which a context starts.

    Extension point: a folder above the core makes a baseline for a run that is resumed or loaded, applies it to a blank
    state, and fills the logs of the state with the rest of the work.
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
    given, problems, is_trusted = _given(schema, initial, label)
    failed: CrystallizeError | None = None
    refused: set[str] = set()
    for name in [*schema.keys, *(name for name in given if name not in schema.keys)]:
        try:
            if name not in state.values:
                _take(state, name, given, is_trusted)
            elif name in given and baseline is not None:
                _check_same(state, name, given[name], is_trusted, baseline)
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
        raise InvalidInitialError(label, tuple(problems)) from (failed.__cause__ if failed is not None else None)


def emit_inputs(state: State, known: Iterable[str] = ()) -> None:
    """Emit the events of the initial values, except for `known` keys, which the sinks have already received."""
    keys = [key for key in state.values if key not in known]
    state.dispatcher.emit(*map(state.key_event, keys))


def _given(schema: Schema, initial: Any, label: str) -> tuple[dict[str, Any], list[Problem], bool]:
    """Return initial values by key, their problems, and whether they are already valid."""
    shape = schema.cls
    if not schema.by_items and isinstance(initial, shape):
        return _of_instance(schema, initial), [], True
    if isinstance(initial, Mapping) or hasattr(initial, "keys"):
        return *_by_key(schema, initial), False
    wanted = "a mapping" if schema.by_items else f"a mapping or an instance of {schema.name}"
    shown = None if any(key.secret for key in schema.keys.values()) else short(initial)
    if type_name(type(initial)) == type_name(shape):
        wanted += DEFINED_AGAIN
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


def _follow(values: Any, way: tuple[str | int, ...]) -> Any:
    """Return the value at the path of an alias; `_NOTHING` if there is none."""
    for part in way:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return _NOTHING
    return values
