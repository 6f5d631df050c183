"""The outline of a module: what type checkers and editors need of its source."""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from inspect import cleandoc
from typing import TypeAlias

from .printer import doc_of

__all__ = ["names_in", "outline"]

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_Group: TypeAlias = list[ast.stmt]
"""A statement, with the text below it that says what it is, if there is one."""
_OfAssignment: TypeAlias = Callable[[ast.Assign | ast.AnnAssign], ast.stmt | None]
"""Returns what is left of an assignment, if anything is."""

_FIELDED = {"Enum", "Flag", "IntEnum", "IntFlag", "NamedTuple", "StrEnum", "TypedDict"}
"""Bases of classes whose attributes all count, private ones too, with what they are set to."""
_DECLARING = {"NewType", "ParamSpec", "TypeVar", "TypeVarTuple"}
_ALIASES = (ast.Name, ast.Attribute, ast.Subscript, ast.BinOp)


def outline(source: str) -> ast.Module:
    """Return the outline of a module: its signatures and annotations, without bodies and without what is private.

    Args:
        source: The text of the module.

    Returns:
        A tree for `printed`: annotations have no quotes, of an overloaded function the overloads alone are left.
    """
    body = ast.parse(source).body
    head = [_text(body.pop(0))] if body and doc_of(body[0]) is not None else []
    groups = [*_outlined(body, _module_assignment)]
    return ast.Module([*head, *_needed(groups)], [])


def names_in(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names that are looked up in some nodes."""
    return {part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)}


def _needed(groups: list[_Group]) -> list[ast.stmt]:
    """Return what is public, the private names that this needs, and the imports of both."""
    wanted: set[str] = set()
    while True:
        kept = [group for group in groups if _is_wanted(group[0], wanted)]
        found = names_in(part for group in kept for part in group) | _exported(kept)
        if found <= wanted:
            break
        wanted |= found
    return [part for group in kept for part in (_only(group[0], wanted), *group[1:]) if part is not None]


def _is_wanted(statement: ast.stmt, wanted: set[str]) -> bool:
    return isinstance(statement, _IMPORTS) or not _is_private(_name_of(statement)) or _name_of(statement) in wanted


def _only(statement: ast.stmt, wanted: set[str]) -> ast.stmt | None:
    """Return an import of what is wanted alone; any other statement as it is."""
    if not isinstance(statement, _IMPORTS):
        return statement
    names = [one for one in statement.names if (one.asname or one.name).partition(".")[0] in wanted]
    if not names:
        return None
    if isinstance(statement, ast.Import):
        return ast.Import(names)
    return ast.ImportFrom(statement.module, names, statement.level)


def _exported(groups: Iterable[_Group]) -> set[str]:
    """Return the names that `__all__` lists."""
    lists = [group[0] for group in groups if _name_of(group[0]) == "__all__"]
    return {name for one in lists for name in _flat(one)}


def _name_of(statement: ast.stmt) -> str:
    """Return the name that a statement sets; empty where it sets none, or imports."""
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        return statement.name
    target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
    return target.id if isinstance(target, ast.Name) else ""


def _is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def _text(statement: ast.stmt) -> ast.stmt:
    """Return a docstring without the indentation that it has in its source."""
    return ast.Expr(ast.Constant(cleandoc(doc_of(statement) or "")))


def _unfolded(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Put what is there for type checkers alone in the place of the `if` around it."""
    for statement in body:
        if isinstance(statement, ast.If):
            if ast.unparse(statement.test) == "TYPE_CHECKING":
                yield from _unfolded(statement.body)
        else:
            yield statement


def _outlined(body: Iterable[ast.stmt], assignment: _OfAssignment) -> Iterator[_Group]:
    """Return the outline of each statement that has one.

    Args:
        body: The statements of a module or class.
        assignment: Returns what is left of an assignment there.
    """
    group: _Group = []
    overloads: dict[str, _Function] = {}
    for statement in _unfolded(body):
        if doc_of(statement) is not None:
            if group and isinstance(group[0], ast.Assign | ast.AnnAssign) and not _is_private(_name_of(group[0])):
                group.append(_text(statement))
            continue
        if group:
            yield group
        made = _statement(statement, assignment, overloads)
        group = [] if made is None else [made]
    if group:
        yield group


def _statement(statement: ast.stmt, assignment: _OfAssignment, overloads: dict[str, _Function]) -> ast.stmt | None:
    if isinstance(statement, _FUNCTIONS):
        return _of_function(statement, overloads)
    if isinstance(statement, ast.ClassDef):
        return _of_class(statement)
    if isinstance(statement, ast.Assign | ast.AnnAssign) and _name_of(statement):
        return assignment(statement)
    return statement if isinstance(statement, _IMPORTS) else None


def _of_function(function: _Function, overloads: dict[str, _Function]) -> ast.stmt | None:
    """Return a signature; None for an implementation, whose text goes to the first of its overloads."""
    if "overload" not in map(ast.unparse, function.decorator_list):
        if function.name in overloads:
            overloads.pop(function.name).body = _docs(function)
            return None
        return _signature(function)
    made = _signature(function)
    overloads.setdefault(function.name, made)
    return made


def _signature(function: _Function) -> _Function:
    args = deepcopy(function.args)
    for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg):
        if arg is not None and arg.annotation is not None:
            arg.annotation = _unquoted(arg.annotation)
    args.defaults = [_plain(default) for default in args.defaults]
    args.kw_defaults = [None if default is None else _plain(default) for default in args.kw_defaults]
    returns = None if function.returns is None else _unquoted(function.returns)
    # A function whose results are kept is called like any other.
    others = [
        one for one in function.decorator_list if ast.unparse(one).partition("(")[0] not in ("cache", "lru_cache")
    ]
    return type(function)(function.name, args, _docs(function), others, returns, None, lineno=0)


def _docs(block: _Function | ast.ClassDef) -> list[ast.stmt]:
    """Return the docstring of a block, if it is public and has one."""
    is_told = bool(block.body) and doc_of(block.body[0]) is not None and not _is_private(block.name)
    return [_text(block.body[0])] if is_told else []


_DOTS = ast.Constant(...)


def _plain(default: ast.expr) -> ast.expr:
    """Return a default that says something by itself; of any other that there is one."""
    says = isinstance(default, ast.Constant | ast.UnaryOp) or (isinstance(default, ast.Tuple) and not default.elts)
    return default if says else _DOTS


def _of_class(cls: ast.ClassDef) -> ast.ClassDef:
    bases = [_unquoted(base) for base in cls.bases]
    heads = {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in bases}
    decorators = {ast.unparse(one).partition("(")[0] for one in cls.decorator_list}
    is_fielded = bool(heads & _FIELDED) or "dataclass" in decorators
    rest = cls.body[1:] if cls.body and doc_of(cls.body[0]) is not None else cls.body
    groups = [*_outlined(rest, _field if is_fielded else _attribute)]
    counts = (ast.Assign, ast.AnnAssign) if is_fielded else ()
    kept = [group for group in groups if isinstance(group[0], counts) or not _is_private(_name_of(group[0]))]
    named = {_name_of(group[0]) for group in groups}
    made = [group for group in _attributes_made(cls) if _name_of(group[0]) not in named]
    body = [part for group in (*made, *kept) for part in group]
    return ast.ClassDef(cls.name, bases, cls.keywords, [*_docs(cls), *body], cls.decorator_list)


def _module_assignment(statement: ast.Assign | ast.AnnAssign) -> ast.stmt | None:
    if isinstance(statement, ast.AnnAssign):
        return _annotated(statement, keeps=False)
    value = statement.value
    if _name_of(statement) == "__all__":
        listed: list[ast.expr] = [ast.Constant(name) for name in _flat(value)]
        return ast.Assign(statement.targets, ast.List(listed), lineno=0)
    is_declared = isinstance(value, ast.Call) and ast.unparse(value.func) in _DECLARING
    return statement if is_declared else _constant(statement.targets[0], value)


def _constant(target: ast.expr, value: ast.expr | None) -> ast.stmt | None:
    """Return what is left of a name that is set to a value: its type, or whose other name it is; None: not known."""
    if not isinstance(target, ast.Name) or value is None:
        return None
    found = _inferred(value, {})
    if found is not None:
        return ast.AnnAssign(target, found, None, 1)
    return ast.Assign([target], value, lineno=0) if isinstance(value, _ALIASES) else None


def _attribute(statement: ast.Assign | ast.AnnAssign) -> ast.stmt | None:
    """Return what is left of an assignment in a class."""
    if isinstance(statement, ast.AnnAssign):
        return _annotated(statement, keeps=False)
    if _name_of(statement) == "__slots__":
        is_whole = isinstance(statement.value, ast.Dict)
        names = ast.Tuple([ast.Constant(name) for name in _flat(statement.value)])
        return statement if is_whole else ast.Assign(statement.targets, names, lineno=0)
    return _constant(statement.targets[0], statement.value)


def _field(statement: ast.Assign | ast.AnnAssign) -> ast.stmt | None:
    """Return what is left of an assignment in a class whose attributes are its fields."""
    if isinstance(statement, ast.Assign):
        is_listed = _name_of(statement) == "__slots__"
        return _attribute(statement) if is_listed else ast.Assign(statement.targets, _plain(statement.value), lineno=0)
    return _annotated(statement, keeps=True)


def _annotated(statement: ast.AnnAssign, *, keeps: bool) -> ast.stmt | None:
    annotation, value = ast.unparse(statement.annotation), statement.value
    if annotation == "TypeAlias" and value is not None:
        value = _unquoted(value)
    elif annotation == "Final":
        return _constant(statement.target, value)
    elif not keeps:
        value = None
    elif value is not None and not (isinstance(value, ast.Call) and ast.unparse(value.func) == "field"):
        value = _plain(value)
    return ast.AnnAssign(statement.target, _unquoted(statement.annotation), value, statement.simple)


def _flat(value: ast.AST) -> list[str]:
    """Return the texts of a display of texts, in which others may be unpacked."""
    return [part.value for part in _in_order(value) if isinstance(part.value, str)]


def _in_order(node: ast.AST) -> Iterator[ast.Constant]:
    if isinstance(node, ast.Constant):
        yield node
    elif isinstance(node, ast.Dict):
        yield from (key for key in node.keys if isinstance(key, ast.Constant))
    else:
        for child in ast.iter_child_nodes(node):
            yield from _in_order(child)


def _attributes_made(cls: ast.ClassDef) -> Iterator[_Group]:
    """Return the annotations of the public attributes that methods of a class set, where their types are plain."""
    met: set[str] = set()
    for method in _unfolded(cls.body):
        if not isinstance(method, _FUNCTIONS):
            continue
        every = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs]
        known = {arg.arg: arg.annotation for arg in every if arg.annotation is not None}
        for at, statement in enumerate(method.body):
            name, found = _set_on_self(statement, known)
            if found is None or name in met or _is_private(name):
                continue
            met.add(name)
            below = method.body[at + 1 : at + 2]
            texts = [_text(one) for one in below if doc_of(one) is not None]
            yield [ast.AnnAssign(ast.Name(name), _unquoted(found), None, 1), *texts]


def _set_on_self(statement: ast.stmt, known: Mapping[str, ast.expr]) -> tuple[str, ast.expr | None]:
    """Return the attribute that a statement sets, and its type where that is plain."""
    if isinstance(statement, ast.Assign):
        target, found = statement.targets[0], _inferred(statement.value, known)
    elif isinstance(statement, ast.AnnAssign):
        target, found = statement.target, statement.annotation
    else:
        return "", None
    is_own = isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self"
    return (target.attr, found) if isinstance(target, ast.Attribute) and is_own else ("", None)


def _inferred(value: ast.expr, known: Mapping[str, ast.expr]) -> ast.expr | None:
    """Return the type of an expression: of a parameter, a literal, or a call of a class."""
    if isinstance(value, ast.Name):
        return known.get(value.id)
    if isinstance(value, ast.Constant) and value.value is not None:
        return ast.Name(type(value.value).__name__)
    if isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2].lstrip("_")[:1].isupper():
        return None if ast.unparse(value.func) in _DECLARING else value.func
    if isinstance(value, ast.UnaryOp):
        return _inferred(value.operand, known)
    if isinstance(value, ast.BinOp):
        left, right = _inferred(value.left, known), _inferred(value.right, known)
        is_one = left is not None and right is not None and ast.unparse(left) == ast.unparse(right)
        return left if is_one else None
    if isinstance(value, ast.Tuple) and value.elts and all(isinstance(one, ast.Constant) for one in value.elts):
        kinds = {type(one.value).__name__ for one in value.elts if isinstance(one, ast.Constant)}
        return ast.parse(f"tuple[{kinds.pop()}, ...]", mode="eval").body if len(kinds) == 1 else None
    return None


class _Unquoting(ast.NodeTransformer):
    """Takes the quotes off the types in an annotation."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, str):
            return node
        found: ast.expr = self.visit(ast.parse(node.value, mode="eval").body)
        return found

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        # Their arguments contain texts that are not types.
        if ast.unparse(node.value) in ("Literal", "Annotated"):
            return node
        return ast.Subscript(node.value, self.visit(node.slice))


def _unquoted(annotation: ast.expr) -> ast.expr:
    found: ast.expr = _Unquoting().visit(deepcopy(annotation))
    return found
