"""The outline of a module: the signatures and annotations that type checkers and editors need."""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from typing import TypeAlias

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_Group: TypeAlias = list[ast.stmt]
"""A statement, and the docstring below it if it has one."""
_ReduceAssignment: TypeAlias = Callable[[ast.Assign | ast.AnnAssign], ast.stmt | None]
"""Returns the part of an assignment that a stub needs, or None."""

ELLIPSIS = ast.Expr(ast.Constant(...))
"""The body of a function or class without a docstring."""
_FIELDED = {"Enum", "Flag", "IntEnum", "IntFlag", "NamedTuple", "StrEnum", "TypedDict"}
"""Bases of classes whose attributes are fields: private attributes and values are part of the type."""
_DECLARING = {"NewType", "ParamSpec", "TypeVar", "TypeVarTuple"}
_ALIASES = (ast.Name, ast.Attribute, ast.Subscript, ast.BinOp)


def outline(source: str) -> ast.Module:
    """Return the syntax tree of a module's stub: public names, annotations without quotes, overloads, no bodies."""
    body = ast.parse(source).body
    docs = [body.pop(0)] if body and _is_text(body[0]) else []
    return ast.Module([*docs, *_needed([*_outlined(body, _module_assignment)])], [])


def names_in(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names that some nodes look up."""
    return {part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)}


def _needed(groups: list[_Group]) -> list[ast.stmt]:
    """Return the public statements, the private statements that they need, and the imports of both."""
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
    """Reduce an import to the wanted names; return any other statement as it is."""
    if not isinstance(statement, _IMPORTS):
        return statement
    names = [alias for alias in statement.names if (alias.asname or alias.name).partition(".")[0] in wanted]
    if not names:
        return None
    if isinstance(statement, ast.Import):
        return ast.Import(names)
    return ast.ImportFrom(statement.module, names, statement.level)


def _exported(groups: Iterable[_Group]) -> set[str]:
    """Return the names in `__all__`."""
    return {name for group in groups if _name_of(group[0]) == "__all__" for name in _texts(group[0])}


def _name_of(statement: ast.stmt) -> str:
    """Return the name that a statement defines; an empty text if it defines no name, or imports."""
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        return statement.name
    target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
    return target.id if isinstance(target, ast.Name) else ""


def _is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is only a text, as a docstring is."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _unfolded(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Return the statements of a block, those under `if TYPE_CHECKING:` included, and those of any other `if` not."""
    for statement in body:
        if not isinstance(statement, ast.If):
            yield statement
        elif ast.unparse(statement.test) == "TYPE_CHECKING":
            yield from _unfolded(statement.body)


def _outlined(body: Iterable[ast.stmt], reduce_assignment: _ReduceAssignment) -> Iterator[_Group]:
    """Return the outline of each statement of a module or class that has an outline."""
    group: _Group = []
    overloads: dict[str, _Function] = {}
    for statement in _unfolded(body):
        if _is_text(statement):
            if group and isinstance(group[0], ast.Assign | ast.AnnAssign) and not _is_private(_name_of(group[0])):
                group.append(statement)
            continue
        if group:
            yield group
        reduced = _reduced(statement, reduce_assignment, overloads)
        group = [] if reduced is None else [reduced]
    if group:
        yield group


def _reduced(
    statement: ast.stmt, reduce_assignment: _ReduceAssignment, overloads: dict[str, _Function]
) -> ast.stmt | None:
    if isinstance(statement, _FUNCTIONS):
        return _of_function(statement, overloads)
    if isinstance(statement, ast.ClassDef):
        return _of_class(statement)
    if isinstance(statement, ast.Assign | ast.AnnAssign) and _name_of(statement):
        return reduce_assignment(statement)
    return statement if isinstance(statement, _IMPORTS) else None


def _of_function(function: _Function, overloads: dict[str, _Function]) -> ast.stmt | None:
    """Return a signature. The implementation of overloads has none: its docstring moves to the first overload."""
    if "overload" in map(ast.unparse, function.decorator_list):
        signature = _signature(function)
        overloads.setdefault(function.name, signature)
        return signature
    if function.name in overloads:
        overloads.pop(function.name).body = _docs(function) or [ELLIPSIS]
        return None
    return _signature(function)


def _signature(function: _Function) -> _Function:
    args = deepcopy(function.args)
    for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg):
        if arg is not None and arg.annotation is not None:
            arg.annotation = _unquoted(arg.annotation)
    args.defaults = [_plain(default) for default in args.defaults]
    args.kw_defaults = [None if default is None else _plain(default) for default in args.kw_defaults]
    returns = None if function.returns is None else _unquoted(function.returns)
    # A cached function is called like any other function.
    cached = {mark for mark in function.decorator_list if _called(mark) in ("cache", "lru_cache")}
    marks = [mark for mark in function.decorator_list if mark not in cached]
    return type(function)(function.name, args, _docs(function) or [ELLIPSIS], marks, returns, None, lineno=0)


def _called(decorator: ast.expr) -> str:
    return ast.unparse(decorator).partition("(")[0]


def _docs(block: _Function | ast.ClassDef) -> list[ast.stmt]:
    """Return the docstring of a public block that has one."""
    return block.body[:1] if _is_text(block.body[0]) and not _is_private(block.name) else []


def _plain(default: ast.expr) -> ast.expr:
    """Return a default that is a literal; an ellipsis in place of any other default."""
    is_empty = isinstance(default, ast.Tuple) and not default.elts
    return default if is_empty or isinstance(default, ast.Constant | ast.UnaryOp) else ELLIPSIS.value


def _of_class(cls: ast.ClassDef) -> ast.ClassDef:
    bases = [_unquoted(base) for base in cls.bases]
    base_names = {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in bases}
    is_fielded = bool(base_names & _FIELDED) or "dataclass" in map(_called, cls.decorator_list)
    groups = [*_outlined(cls.body, _field if is_fielded else _attribute)]
    fields = (ast.Assign, ast.AnnAssign) if is_fielded else ()
    kept = [group for group in groups if isinstance(group[0], fields) or not _is_private(_name_of(group[0]))]
    declared = {_name_of(group[0]) for group in groups}
    made = [group for group in _attributes_set(cls) if _name_of(group[0]) not in declared]
    body = [*_docs(cls), *(part for group in (*made, *kept) for part in group)]
    return ast.ClassDef(cls.name, bases, cls.keywords, body or [ELLIPSIS], cls.decorator_list)


def _module_assignment(statement: ast.Assign | ast.AnnAssign) -> ast.stmt | None:
    if isinstance(statement, ast.AnnAssign):
        return _annotated(statement, keeps_value=False)
    value = statement.value
    if _name_of(statement) == "__all__":
        return ast.Assign(statement.targets, ast.List([ast.Constant(name) for name in _texts(value)]), lineno=0)
    is_declared = isinstance(value, ast.Call) and ast.unparse(value.func) in _DECLARING
    return statement if is_declared else _constant(statement.targets[0], value)


def _constant(target: ast.expr, value: ast.expr | None) -> ast.stmt | None:
    """Return the type of a constant, or the assignment itself if it is an alias; None if the type is not known."""
    if not isinstance(target, ast.Name) or value is None:
        return None
    found = _inferred(value, {})
    if found is not None:
        return ast.AnnAssign(target, found, None, 1)
    return ast.Assign([target], value, lineno=0) if isinstance(value, _ALIASES) else None


def _attribute(statement: ast.Assign | ast.AnnAssign) -> ast.stmt | None:
    """Reduce an assignment in a class."""
    if isinstance(statement, ast.AnnAssign):
        return _annotated(statement, keeps_value=False)
    if _name_of(statement) == "__slots__":
        has_docs = isinstance(statement.value, ast.Dict)
        names = ast.Tuple([ast.Constant(name) for name in _texts(statement.value)])
        return statement if has_docs else ast.Assign(statement.targets, names, lineno=0)
    return _constant(statement.targets[0], statement.value)


def _field(statement: ast.Assign | ast.AnnAssign) -> ast.stmt | None:
    """Reduce an assignment in a class whose attributes are fields."""
    if isinstance(statement, ast.AnnAssign):
        return _annotated(statement, keeps_value=True)
    if _name_of(statement) == "__slots__":
        return _attribute(statement)
    return ast.Assign(statement.targets, _plain(statement.value), lineno=0)


def _annotated(statement: ast.AnnAssign, *, keeps_value: bool) -> ast.stmt | None:
    annotation, value = ast.unparse(statement.annotation), statement.value
    if annotation == "TypeAlias" and value is not None:
        value = _unquoted(value)
    elif annotation == "Final":
        return _constant(statement.target, value)
    elif not keeps_value:
        value = None
    elif value is not None and not (isinstance(value, ast.Call) and ast.unparse(value.func) == "field"):
        value = _plain(value)
    return ast.AnnAssign(statement.target, _unquoted(statement.annotation), value, statement.simple)


def _texts(node: ast.AST) -> list[str]:
    """Return the texts of a list, tuple, set or dict display in their order, those of unpacked displays included."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    children: Iterable[ast.AST | None] = node.keys if isinstance(node, ast.Dict) else ast.iter_child_nodes(node)
    return [text for child in children if child is not None for text in _texts(child)]


def _attributes_set(cls: ast.ClassDef) -> Iterator[_Group]:
    """Return annotations for the public attributes that methods of a class set, if their types are plain."""
    met: set[str] = set()
    for method in _unfolded(cls.body):
        if not isinstance(method, _FUNCTIONS):
            continue
        parameters = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs]
        known = {arg.arg: arg.annotation for arg in parameters if arg.annotation is not None}
        for index, statement in enumerate(method.body):
            name, found = _set_on_self(statement, known)
            if found is None or name in met or _is_private(name):
                continue
            met.add(name)
            docs = [below for below in method.body[index + 1 : index + 2] if _is_text(below)]
            yield [ast.AnnAssign(ast.Name(name), _unquoted(found), None, 1), *docs]


def _set_on_self(statement: ast.stmt, known: Mapping[str, ast.expr]) -> tuple[str, ast.expr | None]:
    """Return the attribute that a statement sets on `self`, and its type if the type is plain."""
    if isinstance(statement, ast.Assign):
        target, found = statement.targets[0], _inferred(statement.value, known)
    elif isinstance(statement, ast.AnnAssign):
        target, found = statement.target, statement.annotation
    else:
        return "", None
    is_own = isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self"
    return (target.attr, found) if isinstance(target, ast.Attribute) and is_own else ("", None)


def _inferred(value: ast.expr, known: Mapping[str, ast.expr]) -> ast.expr | None:
    """Return the type of an expression that is a parameter, a literal, or a call of a class."""
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
        is_same = left is not None and right is not None and ast.unparse(left) == ast.unparse(right)
        return left if is_same else None
    if isinstance(value, ast.Tuple) and value.elts and all(isinstance(item, ast.Constant) for item in value.elts):
        kinds = {type(item.value).__name__ for item in value.elts if isinstance(item, ast.Constant)}
        return ast.parse(f"tuple[{kinds.pop()}, ...]", mode="eval").body if len(kinds) == 1 else None
    return None


class _Unquoting(ast.NodeTransformer):
    """Removes the quotes around types in an annotation."""

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
