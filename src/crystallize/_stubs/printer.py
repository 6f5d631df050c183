"""The text of a stub: a syntax tree without bodies, in lines as a formatter would lay them out."""

import ast
import io
import tokenize
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import TypeAlias

__all__ = ["doc_of", "printed"]

_WIDTH = 120
_INDENT = "    "
_Block: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = (ast.ClassDef, *_FUNCTIONS)
_IMPORTS = (ast.Import, ast.ImportFrom)
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign)


def printed(module: ast.Module) -> str:
    """Return a stub as text.

    Args:
        module: Its imports, assignments, docstrings, classes and functions. The body of a function is its docstring,
            or empty, as that of a class may be.
    """
    return "\n".join(_body(module.body, "")) + "\n"


def doc_of(statement: ast.stmt) -> str | None:
    """Return the text of a statement that is nothing but a text, as a docstring is."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        text = statement.value.value
        return text if isinstance(text, str) else None
    return None


def _body(body: list[ast.stmt], indent: str) -> Iterator[str]:
    before: ast.stmt | None = None
    for statement in body:
        if before is not None and _is_apart(before, statement, indent):
            yield ""
        yield from _statement(statement, indent)
        before = statement


def _is_apart(before: ast.stmt, after: ast.stmt, indent: str) -> bool:
    """Whether a line is left free between two statements."""
    if doc_of(after) is not None:
        return not isinstance(before, _ASSIGNMENTS)
    if isinstance(before, _BLOCKS) or isinstance(after, _BLOCKS):
        return not (isinstance(before, _FUNCTIONS) and isinstance(after, _FUNCTIONS) and not before.body)
    if doc_of(before) is not None:
        return True
    return not indent and isinstance(before, _IMPORTS) != isinstance(after, _IMPORTS)


def _statement(statement: ast.stmt, indent: str) -> Iterator[str]:
    text = doc_of(statement)
    if text is not None:
        yield from _docstring(text, indent)
    elif isinstance(statement, _BLOCKS):
        for decorator in statement.decorator_list:
            yield from _fitted(f"@{_quoted(ast.unparse(decorator))}", indent)
        yield from _with_body(statement, indent)
    else:
        line = _quoted(ast.unparse(statement))
        if isinstance(statement, ast.ImportFrom) and len(indent) + len(line) > _WIDTH:
            source, _, names = line.partition(" import ")
            line = f"{source} import ({names})"
        value = statement.value if isinstance(statement, _ASSIGNMENTS) else None
        is_long = len(indent) + len(line) > _WIDTH
        if is_long and value is not None and (isinstance(value, ast.BinOp) or len(_apart(line)[1]) < 2):
            yield f"{indent}{line.partition(' = ')[0]} = ("
            yield from _in_brackets(value, indent + _INDENT)
            yield f"{indent})"
        else:
            yield from _fitted(line, indent)


def _in_brackets(value: ast.expr, indent: str) -> Iterator[str]:
    """Lay a value out that has brackets around it: in one line or, if it is too long, each alternative in its own."""
    line = _quoted(ast.unparse(value))
    if len(indent) + len(line) <= _WIDTH:
        yield indent + line
        return
    rest: list[ast.expr] = []
    while isinstance(value, ast.BinOp):
        rest.append(value.right)
        value = value.left
    yield indent + _quoted(ast.unparse(value))
    yield from (f"{indent}| {_quoted(ast.unparse(one))}" for one in reversed(rest))


def _with_body(block: _Block, indent: str) -> Iterator[str]:
    head = _quoted(_head(block))
    if not block.body:
        yield from _fitted(f"{head} ...", indent)
        return
    yield from _fitted(head, indent)
    yield from _body(block.body, indent + _INDENT)


def _head(block: _Block) -> str:
    if isinstance(block, ast.ClassDef):
        empty = ast.ClassDef(block.name, block.bases, block.keywords, [ast.Expr(ast.Constant(...))], [])
        return ast.unparse(empty).partition("\n")[0]
    word = "async def" if isinstance(block, ast.AsyncFunctionDef) else "def"
    returns = "" if block.returns is None else f" -> {ast.unparse(block.returns)}"
    return f"{word} {block.name}({', '.join(_parameters(block.args))}){returns}:"


def _parameters(args: ast.arguments) -> Iterator[str]:
    positional = [*args.posonlyargs, *args.args]
    defaults = [*[None] * (len(positional) - len(args.defaults)), *args.defaults]
    for at, (arg, default) in enumerate(zip(positional, defaults, strict=True), start=1):
        yield _parameter(arg, default)
        if at == len(args.posonlyargs):
            yield "/"
    if args.vararg is not None:
        yield f"*{_parameter(args.vararg)}"
    elif args.kwonlyargs:
        yield "*"
    yield from map(_parameter, args.kwonlyargs, args.kw_defaults)
    if args.kwarg is not None:
        yield f"**{_parameter(args.kwarg)}"


def _parameter(arg: ast.arg, default: ast.expr | None = None) -> str:
    """Return a parameter; where one has a type there are spaces around the sign before its default."""
    typed = arg.arg if arg.annotation is None else f"{arg.arg}: {ast.unparse(arg.annotation)}"
    if default is None:
        return typed
    return f"{typed}{'=' if arg.annotation is None else ' = '}{ast.unparse(default)}"


def _docstring(text: str, indent: str) -> Iterator[str]:
    plain = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    first, *rest = (plain + " " if plain.endswith('"') else plain).split("\n")
    lines = [f'{indent}"""{first}', *(f"{indent}{line}" if line.strip() else "" for line in rest)]
    if rest:
        yield from lines
        yield f'{indent}"""'
    else:
        yield f'{lines[0]}"""'


def _quoted(code: str) -> str:
    """Return code with double quotes around its texts, where these hold none."""
    parts: list[str] = []
    at = 0
    for token in _tokens(code):
        start, end = token.start[1], token.end[1]
        if token.type == tokenize.STRING and token.string.endswith("'") and '"' not in token.string:
            prefix, _, text = token.string[:-1].partition("'")
            parts += [code[at:start], f'{prefix}"{text}"']
            at = end
    return "".join([*parts, code[at:]])


def _tokens(line: str) -> list[tokenize.TokenInfo]:
    """Return the tokens of a line, which need not be a whole statement."""
    found: list[tokenize.TokenInfo] = []
    with suppress(tokenize.TokenError):
        found.extend(tokenize.generate_tokens(io.StringIO(line).readline))
    return found


def _fitted(line: str, indent: str) -> Iterator[str]:
    """Lay a line out: if it is too long, what stands in its first brackets goes on lines of its own."""
    if len(indent) + len(line) <= _WIDTH:
        yield indent + line
        return
    head, parts, tail = _apart(line)
    if len(parts) < 2:
        yield indent + line
        return
    yield indent + head
    for part in parts:
        yield from _fitted(f"{part},", indent + _INDENT)
    yield indent + tail


def _apart(line: str) -> tuple[str, list[str], str]:
    """Take a line apart at its first brackets: what stands before, between the commas in them, and after."""
    depth = 0
    cuts: list[int] = []
    for token in _tokens(line):
        depth += token.string in ("(", "[", "{")
        if depth == 1 and token.string in ("(", "[", "{", ","):
            cuts.append(token.end[1])
        depth -= token.string in (")", "]", "}")
        if token.string in (")", "]", "}") and depth == 0:
            cuts.append(token.end[1])
            break
    parts = [line[start:end].strip().rstrip(",") for start, end in pairwise([*cuts[:-1], cuts[-1] - 1])] if cuts else []
    return line[: cuts[0]] if cuts else line, parts, line[cuts[-1] - 1 :] if cuts else ""
