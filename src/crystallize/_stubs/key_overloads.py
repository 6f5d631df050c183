"""The overloads by which stubs type keys and metrics: one a key, and one a metric's name.

First a context's schema is matched, and then a key of it. In one step a misspelt key would do for the last overload,
which takes any text so that contexts of other schemas keep what they have. So a method that takes a key is a
descriptor: its `__get__` has an overload a schema, and gives something whose `__call__` has an overload a key.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from ..errors import StubsError
from .class_outline import names_in
from .listings import ListedMetric, ListedSchema, Listing
from .type_names import subscripted

__all__ = ["with_overloads"]

_METHODS = {"__getitem__": "_Getitem", "__setitem__": "_Setitem", "add": "_Setitem", "get": "_Get"}
"""The methods that take a key, each with the descriptor that types it."""
_CONTEXTS = {"FrozenContext", "LoggingContext"}
_Argument: TypeAlias = tuple[str, ast.expr] | tuple[str, ast.expr, ast.expr]
"""The name and the type of a parameter, and perhaps a default."""


def with_overloads(outlines: Mapping[str, ast.Module], listing: Listing) -> dict[str, ast.Module]:
    """Add the overloads to the outlines of the package's modules.

    Args:
        outlines: The outline of each module, by its name within the package.
        listing: What is known of schemas and metrics.

    Returns:
        All outlines; those in which there is nothing to type as they were.
    """
    found = {}
    for name, module in outlines.items():
        body = [_typed(one, listing) if isinstance(one, ast.ClassDef) else one for one in module.body]
        if name == "_core/protocols" and listing.schemas:
            at = next(at for at, one in enumerate(body) if isinstance(one, ast.ClassDef))
            body[at:at] = _keys_typed(listing.schemas)
        found[name] = ast.Module(_with_imports(body, listing), []) if body != module.body else module
    return found


_SOURCES = {
    **dict.fromkeys(("Any", "Generic", "Literal", "Never", "Protocol", "overload"), ("typing", 0)),
    **{
        "Callable": ("collections.abc", 0),
        "FrozenContext": ("crystallize._core.context", 0),
        "Context": ("crystallize._core.protocols", 0),
    },
}
"""What the overloads need besides the types of keys: the module of each, and how many dots are before it."""


def _with_imports(body: list[ast.stmt], listing: Listing) -> list[ast.stmt]:
    """Add the imports that are missing."""
    used = names_in(body)
    imports = [one for one in body if isinstance(one, ast.Import | ast.ImportFrom)]
    bound = {alias.asname or alias.name for one in imports for alias in one.names}
    bound |= {one.name for one in body if isinstance(one, ast.ClassDef)}
    missing: dict[tuple[str, int], list[ast.alias]] = {}
    for name in sorted(used & _SOURCES.keys() - bound):
        missing.setdefault(_SOURCES[name], []).append(ast.alias(name))
    modules = {**listing.imports, "typing_extensions": "_typing_extensions"}
    theirs = [ast.Import([ast.alias(module, name)]) for module, name in sorted(modules.items()) if name in used]
    ours = [ast.ImportFrom(module, names, dots) for (module, dots), names in missing.items()]
    at = body.index(imports[0])
    return [*body[:at], *theirs, *ours, *body[at:]]


def _typed(cls: ast.ClassDef, listing: Listing) -> ast.ClassDef:
    """Type the methods of a class of the package."""
    bases, body = cls.bases, cls.body
    if listing.schemas and cls.name == "Context":
        body = [_described(one) if isinstance(one, ast.FunctionDef) else one for one in body]
    if listing.schemas and (cls.name == "FrozenContext" or _heads(bases) & _CONTEXTS):
        # What is typed they all have from the protocol, where each overload stands once.
        body = [one for one in body if not (isinstance(one, ast.FunctionDef) and one.name in _METHODS)]
    if listing.schemas and cls.name == "FrozenContext":
        bases = [_of("Context", ast.Name("T_co")), *bases]
    if listing.metrics and cls.name in _OF_METRICS:
        body = _with_metrics(cls.name, body, listing.metrics)
    is_typed = bases is not cls.bases or body is not cls.body
    return ast.ClassDef(cls.name, bases, cls.keywords, body, cls.decorator_list) if is_typed else cls


def _heads(bases: Iterable[ast.expr]) -> set[str]:
    return {ast.unparse(base).partition("[")[0] for base in bases}


def _of(name: str, *arguments: ast.expr) -> ast.expr:
    """Return a generic type with its arguments; without any, its name."""
    if not arguments:
        return ast.Name(name)
    return ast.Subscript(ast.Name(name), arguments[0] if len(arguments) == 1 else ast.Tuple([*arguments]))


def _literal(*keys: str) -> ast.expr:
    return _of("Literal", *map(ast.Constant, keys))


def _either(types: Sequence[ast.expr]) -> ast.expr:
    """Return the union of some types, each once."""
    first, *rest = {ast.unparse(one): one for one in types}.values()
    for one in rest:
        first = ast.BinOp(first, ast.BitOr(), one)
    return first


def _function(
    name: str, arguments: Sequence[_Argument], returns: ast.expr, me: ast.expr | None = None
) -> ast.FunctionDef:
    """Return the signature of a method, with the type of its first parameter where that is said."""
    args = [ast.arg("self", me), *(ast.arg(one[0], one[1]) for one in arguments)]
    defaults = [one[2] for one in arguments if len(one) == 3]
    return ast.FunctionDef(name, ast.arguments([], args, None, [], [], None, defaults), [], [], returns, None, lineno=0)


def _overloaded(functions: Sequence[ast.FunctionDef]) -> list[ast.stmt]:
    """Mark functions of one name as overloads, where there are several."""
    for one in functions if len(functions) > 1 else ():
        one.decorator_list = [ast.Name("overload")]
    return [*functions]


def _class(name: str, bases: Sequence[ast.expr], body: Sequence[ast.stmt], doc: str = "") -> ast.ClassDef:
    docs = [ast.Expr(ast.Constant(doc))] if doc else []
    return ast.ClassDef(name, [*bases], [], [*docs, *body], [])


_ANY, _STR, _NONE, _DOTS = ast.Name("Any"), ast.Name("str"), ast.Constant(None), ast.Constant(...)
_DEFAULT = "_Default"
_TYPE_VAR = ast.Attribute(ast.Name("_typing_extensions"), "TypeVar")


# Keys


def _keys_typed(schemas: Sequence[ListedSchema]) -> list[ast.stmt]:
    """Return what types the keys of contexts: for each schema what takes its keys, then the descriptors."""
    variables = {name: call for schema in schemas for name, call in schema.parameters.items()}
    variables |= {
        _DEFAULT: ast.Call(_TYPE_VAR, [ast.Constant(_DEFAULT)], [ast.keyword("default", _NONE)]),
        "_Value": ast.Call(_TYPE_VAR, [ast.Constant("_Value")], []),
        "_Value_co": ast.Call(_TYPE_VAR, [ast.Constant("_Value_co")], [ast.keyword("covariant", ast.Constant(True))]),
    }
    declared = [ast.Assign([ast.Name(name)], call, lineno=0) for name, call in variables.items()]
    takers = [taker for schema in schemas for taker in _takers(schema)]
    unlisted = _class("_Unlisted", [], [], "No schema: only that of a context of `Any` passes for it.")
    descriptors = [_descriptor(kind, schemas) for kind in dict.fromkeys(_METHODS.values())]
    return [*declared, unlisted, *takers, *_free_takers(), *descriptors, *_decorators()]


def _takers(schema: ListedSchema) -> list[ast.ClassDef]:
    """Return what takes the keys of a schema: to read one, to write one, and to read one or a default."""
    bases = [_of("Generic", *map(ast.Name, schema.parameters))] if schema.parameters else []
    reads: list[ast.FunctionDef] = []
    writes: list[ast.FunctionDef] = []
    gets: list[ast.FunctionDef] = []
    for key, type in schema.keys.items():
        reads.append(_reading(_literal(key), type))
        writes.append(_writing(_literal(key), type))
        gets.append(_getting(_literal(key), type))
    if schema.takes_others or not schema.keys:
        # Where there is no key, none will do.
        other = _STR if schema.takes_others else ast.Name("Never")
        reads.append(_reading(other, _ANY))
        writes.append(_writing(other, _ANY))
        gets.append(_getting(other, _ANY))
    made = {"_Getitem": reads, "_Setitem": writes, "_Get": gets}
    return [_class(_taker(kind, schema), bases, _overloaded(calls)) for kind, calls in made.items()]


def _taker(kind: str, schema: ListedSchema) -> str:
    return f"_{schema.name}{kind.lower()}"


def _reading(key: ast.expr, type: ast.expr) -> ast.FunctionDef:
    return _function("__call__", [("key", key)], type)


def _writing(key: ast.expr, type: ast.expr) -> ast.FunctionDef:
    return _function("__call__", [("key", key), ("value", type)], _NONE)


def _getting(key: ast.expr, type: ast.expr) -> ast.FunctionDef:
    default = ast.Name(_DEFAULT)
    return _function("__call__", [("key", key), ("default", default, _DOTS)], _either([type, default]))


def _free_takers() -> list[ast.ClassDef]:
    """Return what takes any key, for contexts of schemas that are not listed."""
    protocol, value = [ast.Name("Protocol")], ast.Name("_Value_co")
    get = _function("__call__", [("key", _STR), ("default", _ANY, _NONE)], _ANY)
    return [
        _class("_FreeGetitem", [_of("Protocol", value)], [_reading(_STR, value)]),
        _class("_FreeSetitem", protocol, [_writing(_STR, _ANY)]),
        _class("_FreeGet", protocol, [get]),
    ]


def _descriptor(kind: str, schemas: Sequence[ListedSchema]) -> ast.ClassDef:
    """Return what a method that takes a key is: on a context of a schema that is listed, what takes its keys."""

    def given(schema: ast.expr | None, taker: ast.expr, ctx: str = "object") -> ast.FunctionDef:
        me = None if schema is None else _of(kind, schema)
        of = ast.Name(ctx) if ctx == "object" else _of(ctx, _ANY)
        return _function("__get__", [("ctx", of), ("owner", _ANY)], taker, me)

    is_read = kind == "_Getitem"
    free = _of(f"_Free{kind.removeprefix('_')}", *([_ANY] if is_read else []))
    gets = [given(ast.Name("_Unlisted"), free)]
    gets += [given(_shape(schema), _of(_taker(kind, schema), *map(ast.Name, schema.parameters))) for schema in schemas]
    if is_read:
        value = ast.Name("_Value")
        gets.append(given(_of("dict", _STR, value), _of("_FreeGetitem", value), "FrozenContext"))
    gets.append(given(None, free))
    # Asked by editors for the keys to complete, which do not call `__get__`.
    keyed = [one for one in schemas if one.keys]
    asked = [_function("__call__", [("key", _literal(*one.keys))], _ANY, _of(kind, _shape(one))) for one in keyed]
    return _class(
        kind, [_of("Generic", ast.Name("T_co"))], [*_overloaded(gets), *_overloaded(asked if is_read else [])]
    )


def _shape(schema: ListedSchema) -> ast.expr:
    """Return how a schema is written, with its type variables."""
    return subscripted(schema.shape, [*map(ast.Name, schema.parameters)])


def _decorators() -> list[ast.stmt]:
    """Return what makes a method such a descriptor."""
    context = _of("Context", ast.Name("_Value"))
    made: list[ast.stmt] = []
    for kind, arguments in {"_Getitem": [_STR], "_Setitem": [_STR, _ANY], "_Get": [_STR]}.items():
        returns = _NONE if kind == "_Setitem" else _ANY
        method = _of("Callable", ast.List([context, *arguments]), returns)
        function = _function(f"_as{kind.lower()}", [], _of(kind, ast.Name("_Value")))
        function.args.args = [ast.arg("method", method)]
        made.append(function)
    return made


def _described(method: ast.FunctionDef) -> ast.FunctionDef:
    """Make a method of the protocol a descriptor, where it takes a key."""
    if method.name not in _METHODS:
        return method
    first, *rest = method.args.args
    mine = ast.arg(first.arg, _of("Context", ast.Name("T_co")))
    args = ast.arguments([], [mine, *rest], None, [], [], None, method.args.defaults)
    decorator = ast.Name(f"_as{_METHODS[method.name].lower()}")
    return ast.FunctionDef(method.name, args, method.body, [decorator], method.returns, None, lineno=0)


# Metrics


_OF_METRICS = {
    **dict.fromkeys(("Context", "FrozenContext"), ("record",)),
    "FrozenMetrics": ("add", "series", "__getitem__", "get_tags"),
}
"""The methods that take a metric's name, by their classes."""


def _with_metrics(cls: str, body: Iterable[ast.stmt], metrics: Iterable[ListedMetric]) -> list[ast.stmt]:
    """Add the overloads of the metrics' names to the methods of a class that take such a name.

    Raises:
        StubsError: One of them has no signature, or several, that the overloads go before.
    """
    made: list[ast.stmt] = []
    typed: list[str] = []
    for statement in body:
        # The one that takes any name is the last.
        if isinstance(statement, ast.FunctionDef) and statement.name in _OF_METRICS[cls] and _takes_text(statement):
            named = (one for metric in metrics for one in _named(statement.name, metric))
            made += _overloaded([*named, statement])
            typed.append(statement.name)
        else:
            made.append(statement)
    if sorted(typed) != sorted(_OF_METRICS[cls]):
        wrong = next(name for name in _OF_METRICS[cls] if typed.count(name) != 1)
        told = f"{typed.count(wrong)} signatures of {wrong!r} take a metric's name as a text, and not 1"
        raise StubsError(f"crystallize's {cls}", f"{told}; this is a mistake in crystallize, please report it")
    return made


def _takes_text(function: ast.FunctionDef) -> bool:
    taken = function.args.args[1].annotation if len(function.args.args) > 1 else None
    return "str" in map(ast.unparse, _alternatives(taken))


def _alternatives(type: ast.expr | None) -> Iterator[ast.expr]:
    """Return the types that a union is of."""
    if isinstance(type, ast.BinOp):
        yield from (*_alternatives(type.left), *_alternatives(type.right))
    elif type is not None:
        yield type


def _named(method: str, metric: ListedMetric) -> list[ast.FunctionDef]:
    """Return the overloads of a method for one metric's name."""
    name, values = _literal(metric.name), _either(metric.values)
    if method == "series":
        series = [_of("Series", *one) for one in zip(metric.values, metric.tags, strict=True)]
        return [_function(method, [("metric", name)], _either(series))]
    if method in ("record", "add"):
        return _recordings(method, ("metric_name" if method == "record" else "key", name), metric)
    found = values if method == "__getitem__" else _either(metric.kept)
    return [_function(method, [("key", name)], _of("tuple", found, _DOTS))]


def _recordings(method: str, name: _Argument, metric: ListedMetric) -> list[ast.FunctionDef]:
    made: list[ast.FunctionDef] = []
    for value, tags in zip(metric.values, metric.tags, strict=True):
        told = ("tags", tags, _NONE) if ast.unparse(tags) == "None" else ("tags", tags)
        made.append(_function(method, [name, ("value", value), told], _NONE))
    return made
