"""The schemas that modules declare: what a stub has to know of each key and each metric."""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, NamedTuple, TypeVar, get_origin

from pydantic import BaseModel
from typing_extensions import get_type_hints, is_typeddict

from .errors import SchemaError, StubsError
from .metrics import Metric, MetricSchema
from .schema import Schema, shape_name
from .spelling import Place, Spelling, free
from .text import nearest, one_line

__all__ = ["ListedMetric", "ListedSchema", "Listing", "Refused", "listed"]


class ListedSchema(NamedTuple):
    """A schema, as a stub writes it."""

    name: str
    """Its name, which no other one in the stub has."""
    full_name: str
    """Its name with that of its module."""
    shape: ast.expr
    """How the class is written, without what is in its brackets."""
    parameters: dict[str, ast.expr]
    """The names of its type variables, and what declares each."""
    keys: dict[str, ast.expr]
    """The type of each key."""
    takes_others: bool
    """Whether it allows keys that it does not declare."""


class ListedMetric(NamedTuple):
    """What is known of a metric's name: what each declaration of it says."""

    name: str
    values: list[ast.expr]
    tags: list[ast.expr]
    """The types of the tags that are given; None where it takes none."""
    kept: list[ast.expr]
    """The types of the tags that are read."""


class Refused(NamedTuple):
    """A schema that no stub can be written of."""

    schema: str
    reason: str


class Listing(NamedTuple):
    """All that some modules declare."""

    schemas: list[ListedSchema]
    """Those of subclasses before those of their bases."""
    metrics: list[ListedMetric]
    refused: list[Refused]
    imports: dict[str, str]
    """The modules that it needs, each with the name that stands for it."""


def listed(modules: Sequence[str]) -> Listing:
    """Import modules, and list the schemas that they declare.

    Args:
        modules: Their names.

    Raises:
        StubsError: One of them cannot be imported, or declares no schema.
    """
    found = [_imported(name) for name in dict.fromkeys(modules)]
    shapes: list[type] = []
    measures: list[type[MetricSchema]] = []
    for module in found:
        own = [*_shapes_in(module)]
        if not own:
            raise StubsError(module.__name__, "it declares no Pydantic model, TypedDict, dataclass or MetricSchema")
        shapes += [one for one in own if not issubclass(one, MetricSchema)]
        measures += [one for one in own if issubclass(one, MetricSchema)]
    lister = _Lister()
    # What tags are made of is no schema of a context.
    tags = {id(metric.tags) for schema in measures for metric in schema.metrics.values()}
    shapes = [shape for shape in shapes if id(shape) not in tags]
    schemas = [one for shape in sorted(dict.fromkeys(shapes), key=_rank) if (one := lister.schema(shape)) is not None]
    metrics = lister.metrics(sorted(dict.fromkeys(measures), key=_rank))
    if not schemas and not metrics and lister.refused:
        told = "; ".join(f"{one.schema}: {one.reason}" for one in lister.refused)
        raise StubsError(", ".join(modules), f"no stub can be written of any schema there: {told}")
    return Listing(schemas, metrics, lister.refused, lister.spelling.imports())


def _imported(name: str) -> ModuleType:
    """Import a module.

    Raises:
        StubsError: There is none of that name, or it raises.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise StubsError(name, _not_found(name, error.name)) from None
        raise StubsError(name, f"its import fails: {one_line(str(error))}") from error
    except (Exception, SystemExit) as error:  # whatever a module of a user's does when it is imported
        raise StubsError(name, f"its import fails: {type(error).__name__}: {one_line(str(error))}") from error


def _not_found(name: str, missing: str) -> str:
    """Say that there is no such module, and which one was probably meant."""
    parent, _, last = missing.rpartition(".")
    try:
        where = None if not parent else list(sys.modules[parent].__path__)
        near = nearest(last or missing, [one.name for one in iter_modules(where)])
    except (KeyError, AttributeError):  # what it would be in is no package
        near = None
    meant = f"{parent}.{near}" if parent and near else near
    if meant is not None:
        return f"there is no module {missing!r}; did you mean {meant!r}?"
    if any(sign in name for sign in "/\\") or name.endswith(".py"):
        return "there is no such module; write its name, as in an import, and not its path"
    return f"there is no module {missing!r}; run this where `import {missing}` works, or set PYTHONPATH"


def _shapes_in(module: ModuleType) -> Iterator[type]:
    """Return the schemas that a module declares; a package's those of its modules too, where it hands them on."""
    rest = list(vars(module).values())
    met: set[int] = set()
    for held in rest:
        if not isinstance(held, type) or id(held) in met:
            continue
        met.add(id(held))
        # A class that was made by hand may have None for a module.
        if f"{held.__module__}.".startswith(f"{module.__name__}."):
            if _is_shape(held):
                yield held
            rest += [inner for inner in vars(held).values() if isinstance(inner, type)]


def _is_shape(cls: type) -> bool:
    if issubclass(cls, BaseModel):
        # Box[int] is a class too, and is listed as Box.
        is_whole = (cls.__pydantic_generic_metadata__ or {}).get("origin") is None
        return is_whole and not cls.__pydantic_root_model__
    return is_typeddict(cls) or is_dataclass(cls) or issubclass(cls, MetricSchema)


def _rank(cls: Any) -> tuple[int, int, str, str]:
    """Sort subclasses before their bases, since the first that fits is taken, and larger TypedDicts before smaller."""
    keys = len(cls.__required_keys__ | cls.__optional_keys__) if is_typeddict(cls) else 0
    return -len(cls.__mro__), -keys, cls.__module__, cls.__qualname__


class _Lister:
    """Lists schemas one after another."""

    def __init__(self) -> None:
        self.spelling = Spelling()
        self.refused: list[Refused] = []
        self._names: set[str] = set()

    def schema(self, cls: Any) -> ListedSchema | None:
        """List a schema; None of one that has no keys of its own, or of which no stub can be written."""
        try:
            schema = Schema.of(cls)
            if not schema.keys:
                return None
            modules = _modules_of(cls)
            place = self.spelling.place(cls)
            name = free(place.name.replace(".", "_"), self._names)
            names = {variable: f"_{name}_{variable.__name__}" for variable in _parameters(cls)}
            types = _types_of(cls)
            keys = {key: self._type(types[key], key, modules, names) for key in schema.keys}
            declared = {name: self._declared(variable, name, modules) for variable, name in names.items()}
            self._names.add(name)
            full_name, shape = ".".join(place), self.spelling.name(place)
            return ListedSchema(name, full_name, shape, declared, keys, schema.others is not None)
        except SchemaError as error:
            self._refuse(cls, error)
        except Exception as error:  # whatever the annotations of a user's class raise when they are looked at
            self._refuse(cls, SchemaError(shape_name(cls), f"{type(error).__name__}: {one_line(str(error))}"))
        return None

    def metrics(self, schemas: Iterable[type[MetricSchema]]) -> list[ListedMetric]:
        """List the metrics of some schemas by their names."""
        found: dict[str, ListedMetric] = {}
        met: set[int] = set()
        for schema in schemas:
            for name, metric in schema.metrics.items():
                if id(metric) in met:  # one that a subclass has from its base
                    continue
                met.add(id(metric))
                try:
                    self._take(found.setdefault(name, ListedMetric(name, [], [], [])), metric, schema)
                except SchemaError as error:
                    self.refused.append(Refused(f"{shape_name(schema)}.{name}", error.reason))
        return [found[name] for name in sorted(found) if found[name].values]

    def _take(self, found: ListedMetric, metric: Metric[Any, Any], schema: type[MetricSchema]) -> None:
        modules = _modules_of(schema)
        value = self.spelling.of(metric.type, modules)
        tags = self.spelling.of(metric.tags, modules)
        known = [(ast.unparse(one), ast.unparse(other)) for one, other in zip(found.values, found.tags, strict=True)]
        if (ast.unparse(value), ast.unparse(tags)) not in known:
            found.values.append(value)
            found.tags.append(tags)
            # What a model was made of is kept by name.
            found.kept.append(tags if is_typeddict(get_origin(metric.tags) or metric.tags) else _ANY_TAGS)

    def _type(self, shape: Any, key: str, modules: list[ModuleType], names: Mapping[Any, str]) -> ast.expr:
        try:
            return self.spelling.of(shape, modules, names)
        except SchemaError as error:
            raise SchemaError(key, f"of the type of {key!r}, {error}") from error

    def _declared(self, variable: Any, name: str, modules: list[ModuleType]) -> ast.expr:
        """Return what declares a type variable with the bounds that one of a schema has."""
        bounds = () if variable.__bound__ is None else (variable.__bound__,)
        choices = [self.spelling.of(one, modules) for one in variable.__constraints__]
        words = [ast.keyword("bound", self.spelling.of(one, modules)) for one in bounds]
        return ast.Call(
            self.spelling.name(Place("typing_extensions", "TypeVar")), [ast.Constant(name), *choices], words
        )

    def _refuse(self, shape: Any, error: SchemaError) -> None:
        self.refused.append(Refused(f"{shape.__module__}.{shape.__qualname__}", error.reason))


_ANY_TAGS = ast.Subscript(ast.Name("dict"), ast.Tuple([ast.Name("str"), ast.Name("Any")]))


def _modules_of(shape: Any) -> list[ModuleType]:
    """Return the modules in which a class, and those that it is made of, were written."""
    bases = [*shape.__mro__, *(get_origin(base) or base for base in getattr(shape, "__orig_bases__", ()))]
    names = dict.fromkeys(getattr(base, "__module__", "") for base in bases)
    return [sys.modules[name] for name in names if name in sys.modules and name.partition(".")[0] not in _NO_ONES]


_NO_ONES = ("abc", "builtins", "crystallize", "pydantic", "typing", "typing_extensions")
"""Packages whose classes others are made of, and which declare no key."""


def _parameters(shape: Any) -> tuple[TypeVar, ...]:
    """Return the type variables of a schema.

    Raises:
        SchemaError: One of them is of another kind.
    """
    found: tuple[Any, ...] = getattr(shape, "__parameters__", ())
    for one in found:
        if not isinstance(one, TypeVar):
            raise SchemaError(shape_name(shape), f"it is generic in {one}, which is no TypeVar")
    return found


def _types_of(shape: Any) -> dict[str, Any]:
    """Return the type of each key as it was written, names in quotes looked up."""
    if issubclass(shape, BaseModel):
        # Names in quotes of what stood below it were not known when the class was made.
        shape.model_rebuild()
        return {name: field.annotation for name, field in shape.__pydantic_fields__.items()}
    hints: dict[str, Any] = get_type_hints(shape)
    return hints
