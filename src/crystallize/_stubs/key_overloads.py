"""The overloads by which stubs type keys and metrics: an overload for each key, and for each metric's name.

Type checkers match the schema of a context first, and then a key of that schema. In a single step, a misspelt key would
match the last overload, which takes any text so that contexts of other schemas stay as they are. So a method that takes
a key is a descriptor: its `__get__` has an overload for each schema, and returns an object whose `__call__` has an
overload for each key.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any

from ..errors import StubsError
from .class_outline import ELLIPSIS, names_in
from .schema_list import ListedMetric, ListedSchema, SchemaList
from .type_names import subscripted

_KEY_METHODS = {"__getitem__": "_Getitem", "__setitem__": "_Setitem", "add": "_Setitem", "get": "_Get"}
"""The methods that take a key, with the descriptors that type them."""
_METRIC_METHODS = {
    "FrozenContext": ("record",),
    "Context": ("record",),
    "FrozenMetrics": ("add", "series", "__getitem__", "get_tags"),
}
"""The methods that take a metric's name, by class."""
_IMPORTS = {
    **dict.fromkeys(("Any", "Generic", "Literal", "Never", "Protocol", "overload"), "typing"),
    "Callable": "collections.abc",
}
_PACKAGE_IMPORTS = ("Context", "FrozenContext", "Series")
"""The classes of this package that overloads refer to."""


def with_overloads(outlines: Mapping[str, ast.Module], schemas: SchemaList) -> dict[str, ast.Module]:
    """Return the outlines of the package's modules with the overloads added. The classes may be in any module."""
    package = _PackageClasses(outlines)
    if schemas.metrics:
        for name, methods in _METRIC_METHODS.items():
            for method in methods:
                package.add_metrics(name, method, schemas.metrics)
    if schemas.schemas:
        package.add_descriptors()
    found = {}
    for name, module in outlines.items():
        body = [package.replaced(statement) for statement in module.body]
        if schemas.schemas and name == package.modules["Context"]:
            first = next(index for index, statement in enumerate(body) if isinstance(statement, ast.ClassDef))
            body[first:first] = _key_types(schemas.schemas)
        if body != module.body:
            body = _with_imports(body, {**schemas.imports, "typing_extensions": "_typing_extensions"}, package.modules)
        found[name] = ast.Module(body, [])
    return found


def _with_imports(
    body: list[ast.stmt], aliases: Mapping[str, str], package_modules: Mapping[str, str]
) -> list[ast.stmt]:
    """Add the imports that are missing."""
    imports = [statement for statement in body if isinstance(statement, ast.Import | ast.ImportFrom)]
    bound = {alias.asname or alias.name for statement in imports for alias in statement.names}
    bound |= {statement.name for statement in body if isinstance(statement, ast.ClassDef)}
    used = names_in(body) - bound
    sources = _IMPORTS | {name: f"crystallize.{package_modules[name].replace('/', '.')}" for name in _PACKAGE_IMPORTS}
    lines = [f"import {module} as {alias}\n" for module, alias in sorted(aliases.items()) if alias in used]
    lines += [f"from {sources[name]} import {name}\n" for name in sorted(used & sources.keys())]
    first = body.index(imports[0])
    return [*body[:first], *ast.parse("".join(lines)).body, *body[first:]]


class _PackageClasses:
    """The classes of the package by name, with the overloads that were added so far."""

    def __init__(self, outlines: Mapping[str, ast.Module]) -> None:
        found = {
            statement.name: (name, statement)
            for name, module in outlines.items()
            for statement in module.body
            if isinstance(statement, ast.ClassDef)
        }
        self.modules = {name: module for name, (module, _) in found.items()}
        self._originals = {name: cls for name, (_, cls) in found.items()}
        self._classes = dict(self._originals)

    def replaced(self, statement: ast.stmt) -> ast.stmt:
        """Return the class with overloads in place of an original class; any other statement as it is."""
        if isinstance(statement, ast.ClassDef) and statement is self._originals[statement.name]:
            return self._classes[statement.name]
        return statement

    def _lineage(self, name: str) -> list[str]:
        """Return a class and its bases within the package, the nearest first."""
        bases = [base for base in map(_head, self._classes[name].bases) if base in self._classes and base != "Context"]
        return [name, *(ancestor for base in bases for ancestor in self._lineage(base))]

    def _change(self, name: str, **changes: Any) -> None:
        self._classes[name] = copy(self._classes[name])
        for field, value in changes.items():
            setattr(self._classes[name], field, value)

    def add_metrics(self, name: str, method: str, metrics: Iterable[ListedMetric]) -> None:
        """Put an overload for each metric before the signature of a method that takes any name.

        The signature may be in a base of the class. Raises StubsError unless there is exactly one.
        """
        owners = [owner for owner in self._lineage(name) if any(self._signatures(owner, method))]
        signatures = [*self._signatures(owners[0], method)] if owners else []
        texts = [signature for signature in signatures if _takes_text(signature)]
        if len(texts) != 1:
            problem = f"{len(texts)} signatures of {method!r} take a metric's name as a text, and not 1"
            raise StubsError(f"crystallize's {name}", f"{problem}; this is a mistake in crystallize, please report it")
        named = [overload for metric in metrics for overload in _metric_overloads(method, metric)]
        last = copy(texts[0])
        last.decorator_list = [ast.Name("overload")]
        body = self._classes[owners[0]].body
        index = body.index(texts[0])
        added = ast.parse("".join(f"@overload\n{overload}\n" for overload in named)).body
        self._change(owners[0], body=[*body[:index], *added, last, *body[index + 1 :]])

    def _signatures(self, cls: str, method: str) -> Iterator[ast.FunctionDef]:
        for statement in self._classes[cls].body:
            if isinstance(statement, ast.FunctionDef) and statement.name == method:
                yield statement

    def add_descriptors(self) -> None:
        """Make the key methods of `Context` descriptors, and let all contexts inherit them.

        So each overload is written once. Contexts are `FrozenContext`, its bases in the package, and its subclasses.
        """
        context = self._classes["Context"]
        parameter = _parameter(context)
        self._change("Context", body=[_described(statement, parameter) for statement in context.body])
        family = self._lineage("FrozenContext")
        contexts = [name for name in self._classes if name in family or "FrozenContext" in self._lineage(name)]
        for name in contexts:
            body = self._classes[name].body
            kept = [part for part in body if not (isinstance(part, ast.FunctionDef) and part.name in _KEY_METHODS)]
            self._change(name, body=kept or [ELLIPSIS])
        # There is no such class if a context is a `Context` by name already.
        for root in [name for name in family if "Generic" in map(_head, self._classes[name].bases)]:
            bases = self._classes[root].bases
            index = [*map(_head, bases)].index("Generic")
            self._change(root, bases=[*bases[:index], _context_of(_parameter(self._classes[root])), *bases[index:]])


def _head(base: ast.expr) -> str:
    """Return the name of a base class without its arguments."""
    return ast.unparse(base).partition("[")[0]


def _parameter(cls: ast.ClassDef) -> ast.expr:
    """Return the type variable of a class that is generic in a single one."""
    bases = [base for base in cls.bases if _head(base) in ("Generic", "Protocol")]
    return next(base.slice for base in bases if isinstance(base, ast.Subscript))


def _context_of(parameter: ast.expr) -> ast.expr:
    return ast.Subscript(ast.Name("Context"), parameter)


def _takes_text(function: ast.FunctionDef) -> bool:
    annotation = function.args.args[1].annotation if len(function.args.args) > 1 else None
    return annotation is not None and "str" in ast.unparse(annotation).split(" | ")


def _described(statement: ast.stmt, parameter: ast.expr) -> ast.stmt:
    """Make a method of the protocol a descriptor if it takes a key."""
    if not isinstance(statement, ast.FunctionDef) or statement.name not in _KEY_METHODS:
        return statement
    made = copy(statement)
    made.args = copy(statement.args)
    first, *others = statement.args.args
    made.args.args = [ast.arg(first.arg, _context_of(parameter)), *others]
    made.decorator_list = [ast.Name(f"_as{_KEY_METHODS[statement.name].lower()}")]
    return made


# `typing_extensions.TypeVar` accepts a default; `typing.TypeVar` does so only from Python 3.13.
_TYPES_BEFORE = '''
_Default = _typing_extensions.TypeVar("_Default", default=None)
_Value = _typing_extensions.TypeVar("_Value")
_Value_co = _typing_extensions.TypeVar("_Value_co", covariant=True)
class _Unlisted:
    """No schema: only the schema of a context of `Any` passes for it."""
'''
_TYPES_AFTER = """
class _FreeGetitem(Protocol[_Value_co]):
    def __call__(self, key: str) -> _Value_co: ...
class _FreeSetitem(Protocol):
    def __call__(self, key: str, value: Any) -> None: ...
class _FreeGet(Protocol):
    def __call__(self, key: str, default: Any = None) -> Any: ...
class _DictGet(Protocol[_Value_co]):
    @overload
    def __call__(self, key: str) -> _Value_co | None: ...
    @overload
    def __call__(self, key: str, default: _Default) -> _Value_co | _Default: ...
def _as_getitem(method: Callable[[Context[_Value], str], Any]) -> _Getitem[_Value]: ...
def _as_setitem(method: Callable[[Context[_Value], str, Any], None]) -> _Setitem[_Value]: ...
def _as_get(method: Callable[[Context[_Value], str], Any]) -> _Get[_Value]: ...
"""
"""The types of contexts whose schemas are not listed, and the decorators that make methods descriptors."""
_CALLS = {
    "_Getitem": "def __call__(self, key: {key}) -> {type}: ...",
    "_Setitem": "def __call__(self, key: {key}, value: {type}) -> None: ...",
    "_Get": "def __call__(self, key: {key}, default: _Default = ...) -> {type} | _Default: ...",
}
"""The call of a method for a single key, by descriptor."""


def _key_types(schemas: Sequence[ListedSchema]) -> list[ast.stmt]:
    """Return the types of keys: for each schema a class per descriptor that takes its keys, then the descriptors."""
    variables = {name: call for schema in schemas for name, call in schema.parameters.items()}
    lines = [f"{name} = {call}\n" for name, call in variables.items()]
    takers = [_taker(kind, schema) for schema in schemas for kind in _CALLS]
    descriptors = [_descriptor(kind, schemas) for kind in _CALLS]
    return ast.parse("".join([*lines, _TYPES_BEFORE, *takers, *descriptors, _TYPES_AFTER])).body


def _overloaded(signatures: Sequence[str]) -> str:
    """Return the text of methods of a single name, marked as overloads if there are several."""
    mark = "    @overload\n" if len(signatures) > 1 else ""
    return "".join(f"{mark}    {signature}\n" for signature in signatures)


def _taker(kind: str, schema: ListedSchema) -> str:
    """Return the class that takes the keys of a schema."""
    keys = {_literal([key]): type for key, type in schema.keys.items()}
    if schema.takes_others or not schema.keys:
        # Without any key, every key is an error.
        keys["str" if schema.takes_others else "Never"] = "Any"
    bases = f"(Generic[{', '.join(schema.parameters)}])" if schema.parameters else ""
    calls = [_CALLS[kind].format(key=key, type=type) for key, type in keys.items()]
    return f"class _{schema.name}{kind.lower()}{bases}:\n{_overloaded(calls)}"


def _literal(choices: Iterable[str]) -> str:
    return subscripted("Literal", [*map(repr, choices)])


def _descriptor(kind: str, schemas: Sequence[ListedSchema]) -> str:
    """Return the descriptor of a method: it returns the class that takes the keys of the context's schema."""
    free = "_FreeGetitem[Any]" if kind == "_Getitem" else f"_Free{kind.removeprefix('_')}"
    get = f"def __get__(self: {kind}[%s], ctx: %s, owner: Any) -> %s: ..."
    gets = [get % ("_Unlisted", "object", free)]
    for schema in schemas:
        taker = subscripted(f"_{schema.name}{kind.lower()}", schema.parameters)
        gets.append(get % (schema.type, "object", taker))
    of_dict = {"_Getitem": "_FreeGetitem[_Value]", "_Get": "_DictGet[_Value]"}
    if kind in of_dict:
        gets.append(get % ("dict[str, _Value]", "FrozenContext[Any]", of_dict[kind]))
    gets.append(f"def __get__(self, ctx: object, owner: Any) -> {free}: ...")
    # Editors do not call `__get__`, and ask this for the keys to complete.
    call = "def __call__(self: _Getitem[%s], key: %s) -> Any: ..."
    completed = [call % (schema.type, _literal(schema.keys)) for schema in schemas if schema.keys]
    calls = completed if kind == "_Getitem" else []
    return f"class {kind}(Generic[_Value_co]):\n{_overloaded(gets)}{_overloaded(calls)}"


def _metric_overloads(method: str, metric: ListedMetric) -> list[str]:
    """Return the signatures of a method for a single metric's name."""
    name = _literal([metric.name])
    if method == "series":
        series = _union(f"Series[{value}, {tags}]" for value, tags in zip(metric.values, metric.tags, strict=True))
        return [f"def series(self, metric: {name}) -> {series}: ..."]
    if method in ("record", "add"):
        parameter = "metric_name" if method == "record" else "key"
        return [
            f"def {method}(self, {parameter}: {name}, value: {value}, tags: {tags}{_default(tags)}) -> None: ..."
            for value, tags in zip(metric.values, metric.tags, strict=True)
        ]
    items = _union(metric.values if method == "__getitem__" else metric.kept)
    return [f"def {method}(self, key: {name}) -> tuple[{items}, ...]: ..."]


def _default(tags: str) -> str:
    return " = None" if tags == "None" else ""


def _union(types: Iterable[str]) -> str:
    """Return the union of types without duplicates."""
    return " | ".join(dict.fromkeys(types))
