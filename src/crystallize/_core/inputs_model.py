"""The model of the inputs of a shape alone, for libraries that read them from a file or the command line."""

import dataclasses
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    NotRequired,
    Required,
    SupportsIndex,
    TypeVar,
    get_args,
    get_origin,
)

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    WrapValidator,
    create_model,
    field_serializer,
    field_validator,
)
from pydantic.fields import FieldInfo
from typing_extensions import ReadOnly, TypeForm, get_type_hints

from .._base.caller_namespace import caller_namespace
from ..errors import SchemaError
from .dataclass_outputs import filled_type
from .schema import Schema

_T = TypeVar("_T")

_OF_THE_CLASS: Final = frozenset({"model_title_generator", "populate_by_name", "title", "use_attribute_docstrings"})
"""Settings that are about the class of the shape and not about its fields."""


class _NotGiven:
    """The value of an attribute for a key of a TypedDict that is not required, and not given."""

    def __repr__(self) -> str:
        return "<not given>"

    def __reduce__(self) -> str:
        return "_NOT_GIVEN"


_NOT_GIVEN: Final = _NotGiven()


def not_given() -> Any:
    """Return the default of a key that is not required. As the result of a factory, it is in no JSON schema."""
    return _NOT_GIVEN


class InputsModel(BaseModel, Generic[_T]):
    """The base of the models that `inputs_of` returns, for annotations.

    To a type checker, each attribute is `Any`, since the fields are known only when the program runs.

    Example:
        >>> from pydantic import BaseModel
        >>> class Train(BaseModel):
        ...     lr: float
        >>> def start(inputs: InputsModel[Train]) -> FrozenContext[Train]:
        ...     return FrozenContext[Train](inputs)
        >>> start(inputs_of(Train)(lr=0.1))
        FrozenContext[Train](lr=0.1)
    """

    # Else Pydantic would look for its plugins when the package is imported.
    model_config: ClassVar[ConfigDict] = ConfigDict(defer_build=True)
    crystallize_schema: ClassVar[Schema]

    if TYPE_CHECKING:
        # Pydantic would call a real one in place of validating JSON as JSON.
        def __init__(self, /, **data: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        """Return the mark of a key that is not required, and not given."""
        if name in type(self).__pydantic_fields__:
            return _NOT_GIVEN
        inherited: Callable[[Any, str], Any] = getattr(BaseModel, "__getattr__")  # noqa: B009 - hidden from checkers
        return inherited(self, name)

    def model_post_init(self, context: Any, /) -> None:
        """Leave out the keys that are not required, and not given."""
        for name in [name for name, value in vars(self).items() if value is _NOT_GIVEN]:
            del vars(self)[name]
            self.__pydantic_fields_set__.discard(name)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        # No module has a class that `inputs_of` made. A subclass of it is found by its name.
        made = vars(type(self)).get("crystallize_schema")
        return super().__reduce_ex__(protocol) if made is None else (_restored, (made, self.__getstate__()))


def inputs_of(shape: TypeForm[_T]) -> type[InputsModel[_T]]:
    """Return a Pydantic model of the inputs of a shape: its keys without those that are marked `Output`.

    The model validates the inputs as `FrozenContext[Train]` does: by the types, constraints, defaults, aliases and
    field validators of the shape. It requires every input that has no default, and rejects undeclared keys. Validators
    of the whole shape are left out, since they may need outputs.

    Args:
        shape: A Pydantic model, a `TypedDict` or a dataclass.

    Returns:
        A class named after the shape, such as `TrainInputs`; the same one each time. Its instances are immutable. They
        can be passed to `FrozenContext[Train]`, which does not validate them again.

    Raises:
        SchemaError: The shape declares no keys, or a key that cannot be a field of a model.

    Example:
        >>> from typing import Annotated
        >>> from typing_extensions import TypedDict
        >>> Train = TypedDict("Train", {"lr": float, "accuracy": Annotated[float, Output]})
        >>> inputs = inputs_of(Train).model_validate_json('{"lr": 0.1}')
        >>> inputs, FrozenContext[Train](inputs)
        (TrainInputs(lr=0.1), FrozenContext[Train](lr=0.1))
    """
    return _inputs_of(_ShapeKey.of(Schema.of(shape)))


def given_inputs(initial: object, schema: Schema) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the declared and the undeclared values of an instance of a schema's model of inputs.

    If it is any other object, return None.
    """
    if not isinstance(initial, InputsModel):
        return None
    own = getattr(initial, "crystallize_schema", None)
    if own is None or _ShapeKey.of(own) != _ShapeKey.of(schema):
        return None
    return vars(initial), initial.__pydantic_extra__ or {}


def _restored(schema: Schema, state: Any) -> "InputsModel[Any]":
    cls = _inputs_of(_ShapeKey.of(schema))
    inputs: InputsModel[Any] = object.__new__(cls)
    inputs.__setstate__(state)
    return inputs


@dataclass(frozen=True)
class _ShapeKey:
    """A shape as a key of the cache. It is hashed by its name, since metadata in it may have no hash."""

    name: str
    plain: Any = dataclasses.field(hash=False)
    schema: Schema = dataclasses.field(compare=False)

    @classmethod
    def of(cls, schema: Schema) -> "_ShapeKey":
        return cls(schema.name, schema.plain, schema)


@lru_cache(maxsize=256)
def _inputs_of(key: _ShapeKey) -> "type[InputsModel[Any]]":  # quoted: Pydantic would make a class of it
    schema = key.schema
    if schema.by_items and not schema.keys and schema.others is not None:
        reason = "it declares no keys, and so no inputs; declare them in a Pydantic model, a TypedDict or a dataclass"
        raise SchemaError(schema.name, reason)
    names = [name for name, key in schema.keys.items() if not key.output]
    for name in names:
        if name.startswith("_") or name == "model_config":
            reason = f"a Pydantic model cannot have a field {name!r}, so the inputs have no model; rename the key"
            raise SchemaError(schema.name, reason)
    make: Callable[..., type[InputsModel[Any]]] = create_model
    with warnings.catch_warnings():
        # A key may have the name of a method of all models, such as `copy`.
        warnings.filterwarnings("ignore", "Field name .* shadows an attribute in parent", UserWarning)
        made = make(
            re.sub(r"\W+", "_", schema.name).strip("_") + "Inputs",
            __base__=InputsModel,
            __module__=schema.cls.__module__,
            __doc__=schema.cls.__doc__,
            __validators__=dict(_decorated(schema, names)),
            __cls_kwargs__=_config(schema),
            **_fields(schema, names),
        )
    made.crystallize_schema = schema
    return made


def _config(schema: Schema) -> dict[str, Any]:
    """Return the settings of a shape as they apply to its inputs."""
    own: Mapping[str, Any] = getattr(schema.cls, "model_config", getattr(schema.cls, "__pydantic_config__", {}))
    kept = {name: own[name] for name in own if name in ConfigDict.__annotations__ and name not in _OF_THE_CLASS}
    aliased = {way[0] for key in schema.keys.values() for way in key.aliases}
    by_name = not any(name in aliased and (name,) not in key.aliases for name, key in schema.keys.items())
    extra = "forbid" if schema.others is None else "allow"
    # A name that is the alias of another key would be read as both.
    changed = {"extra": extra, "frozen": True, "validate_by_alias": True, "validate_by_name": by_name}
    return {**kept, **changed, "defer_build": False, "protected_namespaces": ()}


def _fields(schema: Schema, names: Iterable[str]) -> dict[str, Any]:
    """Return the fields of some keys, each as a type and a default, or as a type and a `FieldInfo` with all else."""
    cls = schema.cls
    filled = dict(zip(getattr(cls, "__parameters__", ()), get_args(schema.plain), strict=False))
    known: Mapping[str, FieldInfo] | None = getattr(cls, "__pydantic_fields__", None)
    if known is not None:
        return {name: (filled_type(known[name].annotation, filled), known[name]) for name in names}
    hints = get_type_hints(cls, localns=caller_namespace(), include_extras=True)
    own = {field.name: field for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
    found: dict[str, Any] = {}
    marked: Any = Annotated
    for name in names:
        hint = filled_type(_unqualified(hints[name]), filled)
        if name in own:
            found[name] = (hint, own[name].default if isinstance(own[name].default, FieldInfo) else own[name])
        elif schema.keys[name].required or schema.keys[name].default is not None:
            found[name] = (hint, Field())
        else:
            found[name] = (marked[hint, WrapValidator(_if_given)], Field(default_factory=not_given))
    return found


def _if_given(value: Any, validate: Callable[[Any], Any]) -> Any:
    return value if value is _NOT_GIVEN else validate(value)


def _unqualified(hint: Any) -> Any:
    """Return the type of a key of a TypedDict without `Required`, `NotRequired` and `ReadOnly`."""
    if get_origin(hint) in (Required, NotRequired, ReadOnly):
        return _unqualified(get_args(hint)[0])
    if get_origin(hint) is Annotated:
        marked: Any = Annotated
        inner, *metadata = get_args(hint)
        return marked[_unqualified(inner), *metadata]
    return hint


def _decorated(schema: Schema, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield the decorated validators and serializers of some fields, by the names of the methods."""
    found = getattr(schema.cls, "__pydantic_decorators__", None)
    if found is None:
        return
    if found.validators:
        method = next(iter(found.validators))
        raise SchemaError(schema.name, f"{method!r} is a validator of Pydantic 1; decorate it with @field_validator")
    for method, item in {**found.field_validators, **found.field_serializers}.items():
        known, info = [name for name in names if name in item.info.fields or "*" in item.info.fields], item.info
        if known and method in found.field_validators:
            kept: Any = field_validator(*known, mode=info.mode, json_schema_input_type=info.json_schema_input_type)
            yield method, kept(staticmethod(item.func))  # it is bound to the shape
        elif known:
            kept = field_serializer(*known, mode=info.mode, return_type=info.return_type, when_used=info.when_used)
            yield method, kept(item.func)
