"""The schemas that a project's modules declare, with the facts that a stub needs about each key and each metric."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, NamedTuple, Self, TypeVar, get_origin

from pydantic import BaseModel
from typing_extensions import get_type_hints, is_typeddict

from .._base.text import nearest, one_line
from .._core.inputs_model import InputsModel
from .._core.key import shape_name
from .._core.metrics import Metric, MetricSchema
from .._core.schema import Schema
from ..errors import SchemaError, StubsError
from .type_names import ImportPath, TypeNames, classes_in, free_name, subscripted


class ListedSchema(NamedTuple):
    """A schema whose keys get types in the stubs. Types are text."""

    name: str
    """Unique in the stubs."""
    full_name: str
    """The name with its module."""
    type: str
    """The class, with its type variables in brackets."""
    parameters: dict[str, str]
    """The names of its type variables, and the calls that declare them."""
    keys: dict[str, str]
    """The type of each key."""
    takes_others: bool
    """Whether the schema allows undeclared keys."""


class ListedMetric(NamedTuple):
    """A metric's name, and the types from each declaration of that name as text."""

    name: str
    values: list[str]
    tags: list[str]
    """The types of tags that are given; `None` if the metric takes no tags."""
    kept: list[str]
    """The types of tags that are read."""


class Refused(NamedTuple):
    """A schema that no stub can be written of."""

    schema: str
    reason: str


class SchemaList(NamedTuple):
    """All schemas and metrics that some modules declare."""

    schemas: list[ListedSchema]
    """Subclasses come before their bases."""
    metrics: list[ListedMetric]
    refused: list[Refused]
    imports: dict[str, str]
    """The modules that the types refer to, each with its alias."""


def list_schemas(modules: Sequence[str]) -> SchemaList:
    """Import modules and list their schemas, or raise StubsError if an import fails or a module declares no schema."""
    shapes: dict[type, str] = {}
    metric_schemas: list[type[MetricSchema]] = []
    for module in [_import(name) for name in dict.fromkeys(modules)]:
        declared = [*_shapes_in(module)]
        if not declared:
            raise StubsError(module.__name__, "it declares no Pydantic model, TypedDict, dataclass or MetricSchema")
        for shape in declared:
            if issubclass(shape, MetricSchema):
                metric_schemas.append(shape)
            else:
                shapes.setdefault(shape, module.__name__)
    reader = _SchemaReader()
    # The shape of tags is not the schema of a context.
    tags = {id(metric.tags) for schema in metric_schemas for metric in schema.metrics.values()}
    ranked = sorted((shape for shape in shapes if id(shape) not in tags), key=_rank)
    schemas = [schema for shape in ranked if (schema := reader.schema(shape, shapes[shape])) is not None]
    metrics = reader.metrics(sorted(dict.fromkeys(metric_schemas), key=_rank))
    if not schemas and not metrics and reader.refused:
        reasons = "; ".join(f"{schema}: {reason}" for schema, reason in reader.refused)
        raise StubsError(", ".join(modules), f"no stub can be written of any schema there: {reasons}")
    return SchemaList(schemas, metrics, reader.refused, reader.type_names.imports())


def _import(name: str) -> ModuleType:
    """Import a module, or raise StubsError."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise StubsError(name, _not_found(name, error.name)) from None
        raise StubsError(name, f"its import fails: {one_line(str(error))}") from error
    except (Exception, SystemExit) as error:  # a user's module may raise anything when it is imported
        raise StubsError(name, f"its import fails: {type(error).__name__}: {one_line(str(error))}") from error


def _not_found(name: str, missing: str) -> str:
    """Explain that a module does not exist, and name the module that was probably meant."""
    parent, _, last = missing.rpartition(".")
    try:
        where = None if not parent else list(sys.modules[parent].__path__)
        near = nearest(last or missing, [module.name for module in iter_modules(where)])
    except (KeyError, AttributeError):  # the parent is not a package
        near = None
    meant = f"{parent}.{near}" if parent and near else near
    if meant is not None:
        return f"there is no module {missing!r}; did you mean {meant!r}?"
    if any(sign in name for sign in "/\\") or name.endswith(".py"):
        return "there is no such module; write its name, as in an import, and not its path"
    return f"there is no module {missing!r}; run this where `import {missing}` works, or set PYTHONPATH"


def _shapes_in(module: ModuleType) -> Iterator[type]:
    """Return the schemas that a module declares, and those that a package exports."""
    values = list(vars(module).values())
    is_package = hasattr(module, "__path__")
    exported = {id(getattr(module, name, None)) for name in getattr(module, "__all__", ()) if is_package}
    met: set[int] = set()
    for value in values:
        if not isinstance(value, type) or id(value) in met:
            continue
        met.add(id(value))
        if _is_declared_in(value, module) or (id(value) in exported and not _declares_no_keys(value.__module__)):
            if _is_shape(value):
                yield value
            values += [inner for inner in vars(value).values() if isinstance(inner, type)]


def _is_declared_in(cls: type, module: ModuleType) -> bool:
    """Whether a module declares a class; for a package, whether a module of its outermost package does."""
    name = module.__name__
    # `__module__` may be None if the class was made by hand.
    if f"{cls.__module__}.".startswith(f"{name.partition('.')[0] if hasattr(module, '__path__') else name}."):
        return True
    return cls.__module__ == "types" and is_dataclass(cls)  # `make_dataclass` sets this before Python 3.12


def _is_shape(cls: type) -> bool:
    if issubclass(cls, BaseModel):
        # Box[int] is a class too, and is listed as Box. The inputs of a schema have no contexts of their own.
        is_whole = (cls.__pydantic_generic_metadata__ or {}).get("origin") is None
        return is_whole and not cls.__pydantic_root_model__ and not issubclass(cls, InputsModel)
    return is_typeddict(cls) or is_dataclass(cls) or issubclass(cls, MetricSchema)


def _is_base(cls: Any) -> bool:
    """Whether a schema without keys is only a base. An empty TypedDict is: every TypedDict is assignable to it."""
    return is_typeddict(cls) or bool(cls.__subclasses__())


def _rank(cls: Any) -> tuple[int, int, str, str]:
    """Sort subclasses before bases, since the first overload that fits wins, and large TypedDicts before small ones."""
    keys = len(cls.__required_keys__ | cls.__optional_keys__) if is_typeddict(cls) else 0
    return -len(cls.__mro__), -keys, cls.__module__, cls.__qualname__


class _SchemaReader:
    """Reads schemas, and collects the refused ones."""

    def __init__(self) -> None:
        self.type_names = TypeNames()
        self.refused: list[Refused] = []
        self._names: set[str] = set()
        self._classes: dict[str, set[str]] = {}

    def schema(self, cls: Any, module: str) -> ListedSchema | None:
        """Read a schema of a module. Return None for a mere base, and for a schema that is refused."""
        try:
            schema = Schema.of(cls)
            if not schema.keys and _is_base(cls):
                return None
            return self._listed(cls, schema)
        except SchemaError as error:
            reason = error.reason
        except Exception as error:  # a user's annotations may raise anything when they are evaluated
            reason = f"{type(error).__name__}: {one_line(str(error))}"
        owner = module if cls.__module__ == "types" else cls.__module__
        self.refused.append(Refused(f"{owner}.{cls.__qualname__}", reason))
        return None

    def _listed(self, cls: Any, schema: Schema) -> ListedSchema:
        """Read a schema, or raise SchemaError if no stub can be written of it."""
        self._check_statement(cls)
        modules = _modules_of(cls)
        path = self.type_names.path(cls)
        name = free_name(path.name.replace(".", "_"), self._names)
        names: dict[Any, str] = {variable: f"_{name}_{variable.__name__}" for variable in _parameters(cls)}
        parameters = {names[variable]: self._declaration(variable, names[variable], modules) for variable in names}
        written = subscripted(self.type_names.name(path), [*names.values()])
        types = _types_of(cls)
        keys = {key: self._type(types[key], key, modules, {**names, Self: written}) for key in schema.keys}
        self._names.add(name)
        return ListedSchema(name, ".".join(path), written, parameters, keys, schema.others is not None)

    def _check_statement(self, cls: Any) -> None:
        """Raise SchemaError if type checkers see no class: the schema would be `Any`, which fits every context."""
        owner = sys.modules.get(cls.__module__)
        if owner is None or "<locals>" in cls.__qualname__:
            return  # nothing can import the class, which `TypeNames.path` reports
        if owner.__name__ not in self._classes:
            self._classes[owner.__name__] = classes_in(owner)
        if cls.__qualname__ not in self._classes[owner.__name__]:
            problem = "to type checkers it is no class: no `class` statement in its module makes it"
            call = "the call, or its keys in the call" if is_typeddict(cls) else "`create_model` or the like"
            raise SchemaError(shape_name(cls), f"{problem}; write one in place of {call}")

    def metrics(self, schemas: Iterable[type[MetricSchema]]) -> list[ListedMetric]:
        """Read the metrics of some schemas, sorted by name."""
        found: dict[str, ListedMetric] = {}
        met: set[int] = set()
        for schema in schemas:
            for name, metric in schema.metrics.items():
                if id(metric) in met:  # inherited from a base
                    continue
                met.add(id(metric))
                try:
                    self._add_types(found.setdefault(name, ListedMetric(name, [], [], [])), metric, schema)
                except SchemaError as error:
                    self.refused.append(Refused(f"{shape_name(schema)}.{name}", error.reason))
        return [found[name] for name in sorted(found) if found[name].values]

    def _add_types(self, found: ListedMetric, metric: Metric[Any, Any], schema: type[MetricSchema]) -> None:
        modules = _modules_of(schema)
        value, tags = self.type_names.of(metric.type, modules), self.type_names.of(metric.tags, modules)
        if (value, tags) not in zip(found.values, found.tags, strict=True):
            found.values.append(value)
            found.tags.append(tags)
            # The fields of a model are kept as a dict.
            found.kept.append(tags if is_typeddict(get_origin(metric.tags) or metric.tags) else "dict[str, Any]")

    def _type(self, shape: Any, key: str, modules: list[ModuleType], names: Mapping[Any, str]) -> str:
        try:
            return self.type_names.of(shape, modules, names)
        except SchemaError as error:
            raise SchemaError(key, f"of the type of {key!r}, {error}") from error

    def _declaration(self, variable: Any, name: str, modules: list[ModuleType]) -> str:
        """Return the call that declares a type variable with the bound or the constraints of a schema's variable."""
        arguments = [repr(name), *(self.type_names.of(choice, modules) for choice in variable.__constraints__)]
        if variable.__bound__ is not None:
            arguments.append(f"bound={self.type_names.of(variable.__bound__, modules)}")
        return f"{self.type_names.name(ImportPath('typing_extensions', 'TypeVar'))}({', '.join(arguments)})"


def _modules_of(shape: Any) -> list[ModuleType]:
    """Return the modules that define a class and its bases."""
    bases = [*shape.__mro__, *(get_origin(base) or base for base in getattr(shape, "__orig_bases__", ()))]
    names = dict.fromkeys(getattr(base, "__module__", "") for base in bases)
    return [sys.modules[name] for name in names if name in sys.modules and not _declares_no_keys(name)]


def _declares_no_keys(module: str) -> bool:
    return module.partition(".")[0] in _FRAMEWORKS


_FRAMEWORKS = ("abc", "builtins", "crystallize", "pydantic", "typing", "typing_extensions")
"""Packages whose classes are bases of schemas, and declare no keys themselves."""


def _parameters(shape: Any) -> tuple[TypeVar, ...]:
    """Return the type variables of a schema, or raise SchemaError if a parameter is a ParamSpec or a TypeVarTuple."""
    found: tuple[Any, ...] = getattr(shape, "__parameters__", ())
    for parameter in found:
        if not isinstance(parameter, TypeVar):
            raise SchemaError(shape_name(shape), f"it is generic in {parameter}, which is no TypeVar")
    return found


def _types_of(shape: Any) -> dict[str, Any]:
    """Return the type of each key as it was written, with quoted names resolved."""
    if issubclass(shape, BaseModel):
        # Quoted names of classes that are defined below the model were not known when it was made.
        shape.model_rebuild()
        return {name: field.annotation for name, field in shape.__pydantic_fields__.items()}
    hints: dict[str, Any] = get_type_hints(shape)
    return hints
