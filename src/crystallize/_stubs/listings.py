"""The schemas that modules declare: what a stub has to know of each key and each metric."""

import ast
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
from .._core.key import shape_name
from .._core.metrics import Metric, MetricSchema
from .._core.schema import Schema
from ..errors import SchemaError, StubsError
from .type_names import Place, Spelling, classes_in, free, subscripted

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
    shapes: dict[type, str] = {}
    measures: list[type[MetricSchema]] = []
    for module in found:
        own = [*_shapes_in(module)]
        if not own:
            raise StubsError(module.__name__, "it declares no Pydantic model, TypedDict, dataclass or MetricSchema")
        for shape in own:
            if not issubclass(shape, MetricSchema):
                shapes.setdefault(shape, module.__name__)
        measures += [one for one in own if issubclass(one, MetricSchema)]
    lister = _Lister()
    # What tags are made of is no schema of a context.
    tags = {id(metric.tags) for schema in measures for metric in schema.metrics.values()}
    ranked = sorted((shape for shape in shapes if id(shape) not in tags), key=_rank)
    schemas = [one for shape in ranked if (one := lister.schema(shape, shapes[shape])) is not None]
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
    """Return the schemas that a module declares; a package's also those that it hands on."""
    rest = list(vars(module).values())
    exported = {id(getattr(module, name, None)) for name in getattr(module, "__all__", ())}
    met: set[int] = set()
    for held in rest:
        if not isinstance(held, type) or id(held) in met:
            continue
        met.add(id(held))
        if _is_of(held, module) or (
            hasattr(module, "__path__") and id(held) in exported and not _is_no_ones(held.__module__)
        ):
            if _is_shape(held):
                yield held
            rest += [inner for inner in vars(held).values() if isinstance(inner, type)]


def _is_of(cls: type, module: ModuleType) -> bool:
    """Whether a class is one of a module's own; of a package's, one of its modules or of those beside it."""
    name = module.__name__
    # A class that was made by hand may have None for a module.
    if f"{cls.__module__}.".startswith(f"{name.partition('.')[0] if hasattr(module, '__path__') else name}."):
        return True
    return cls.__module__ == "types" and is_dataclass(cls)  # `make_dataclass` says so of its own, before Python 3.12


def _is_shape(cls: type) -> bool:
    if issubclass(cls, BaseModel):
        # Box[int] is a class too, and is listed as Box.
        is_whole = (cls.__pydantic_generic_metadata__ or {}).get("origin") is None
        return is_whole and not cls.__pydantic_root_model__
    return is_typeddict(cls) or is_dataclass(cls) or issubclass(cls, MetricSchema)


def _is_base(cls: Any) -> bool:
    """Whether a schema without keys is there for others to be made of it; every TypedDict passes for an empty one."""
    return is_typeddict(cls) or bool(cls.__subclasses__())


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
        self._classes: dict[str, set[str]] = {}

    def schema(self, cls: Any, module: str) -> ListedSchema | None:
        """List a schema that a module holds; None of one that is only a base, or that no stub can be written of."""
        try:
            schema = Schema.of(cls)
            if not schema.keys and _is_base(cls):
                return None
            return self._listed(cls, schema)
        except SchemaError as error:
            reason = error.reason
        except Exception as error:  # whatever the annotations of a user's class raise when they are looked at
            reason = f"{type(error).__name__}: {one_line(str(error))}"
        owner = module if cls.__module__ == "types" else cls.__module__
        self.refused.append(Refused(f"{owner}.{cls.__qualname__}", reason))
        return None

    def _listed(self, cls: Any, schema: Schema) -> ListedSchema:
        """List a schema.

        Raises:
            SchemaError: No stub can be written of it.
        """
        self._check_statement(cls)
        modules = _modules_of(cls)
        place = self.spelling.place(cls)
        name = free(place.name.replace(".", "_"), self._names)
        variables = {variable: f"_{name}_{variable.__name__}" for variable in _parameters(cls)}
        types, names = _types_of(cls), {variable: ast.Name(one) for variable, one in variables.items()}
        shape = self.spelling.name(place)
        me = subscripted(shape, [*names.values()])
        keys = {key: self._type(types[key], key, modules, {**names, Self: me}) for key in schema.keys}
        declared = {one: self._declared(variable, one, modules) for variable, one in variables.items()}
        self._names.add(name)
        return ListedSchema(name, ".".join(place), shape, declared, keys, schema.others is not None)

    def _check_statement(self, cls: Any) -> None:
        """Check that type checkers take a schema for a class: to them it would else be any, and the first that fits.

        Raises:
            SchemaError: They do not.
        """
        owner = sys.modules.get(cls.__module__)
        if owner is None or "<locals>" in cls.__qualname__:
            return  # nothing can import it, as is said of it
        if owner.__name__ not in self._classes:
            self._classes[owner.__name__] = classes_in(owner)
        if cls.__qualname__ not in self._classes[owner.__name__]:
            told = "to type checkers it is no class: no `class` statement in its module makes it; write one in place of"
            call = "the call, or its keys in the call" if is_typeddict(cls) else "`create_model` or the like"
            raise SchemaError(shape_name(cls), f"{told} {call}")

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

    def _type(self, shape: Any, key: str, modules: list[ModuleType], names: Mapping[Any, ast.expr]) -> ast.expr:
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


_ANY_TAGS = ast.Subscript(ast.Name("dict"), ast.Tuple([ast.Name("str"), ast.Name("Any")]))


def _modules_of(shape: Any) -> list[ModuleType]:
    """Return the modules in which a class, and those that it is made of, were written."""
    bases = [*shape.__mro__, *(get_origin(base) or base for base in getattr(shape, "__orig_bases__", ()))]
    names = dict.fromkeys(getattr(base, "__module__", "") for base in bases)
    return [sys.modules[name] for name in names if name in sys.modules and not _is_no_ones(name)]


def _is_no_ones(module: str) -> bool:
    return module.partition(".")[0] in _NO_ONES


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
