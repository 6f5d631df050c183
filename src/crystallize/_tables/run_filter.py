"""Conditions on runs, as text: "lr < 0.1 and status == 'finished'".

The language is a part of Python's expressions: names of columns, also with dots; literals, lists and tuples of them;
comparisons, also chained; `and`, `or`, `not`, `in`, `is`. Python parses it, and this file evaluates it: the text is
never executed.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from pydantic_core import to_json

from .._base.text import short
from ..errors import FrameError
from .column_names import ColumnNames

_Row: TypeAlias = Mapping[str, Any]
_Value: TypeAlias = Callable[[_Row], Any]

UNKNOWN: Final[object] = object()
"""The result of a comparison of values that have no order, such as a number and None."""

_COMPARISONS: Final[dict[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
_ALLOWED: Final = "write names of columns, literals, comparisons, and, or, not, in"
_ONE_SIGN: Final = re.compile(r"(?<![=<>!])=(?!=)")
_LONGEST: Final = 10_000
"""Characters of a condition."""


def condition(text: str, columns: ColumnNames) -> Callable[[_Row], bool]:
    """Return the function that tells whether a row fulfils a condition.

    A comparison of values that have no order is neither true nor false: if the condition depends on it, the row does
    not fulfil the condition. Times are compared as texts, as ISO 8601 has them.
    """
    subject = f"where={short(text)}"
    if len(text) > _LONGEST:
        raise FrameError(subject, f"it has more than {_LONGEST:,} characters")
    try:
        value = _Compiler(subject, text, columns).compiled(_parsed(subject, text, columns))
    except (RecursionError, MemoryError) as error:
        raise FrameError(subject, "it has too many levels") from error

    def is_fulfilled(row: _Row) -> bool:
        found = value(row)
        return found is not UNKNOWN and bool(found)

    return is_fulfilled


def _parsed(subject: str, text: str, columns: ColumnNames) -> ast.expr:
    try:
        return ast.parse(text.replace("\n", " ").strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        advice = "write == to compare" if _ONE_SIGN.search(text) else _advice(text, columns)
        raise FrameError(subject, f"this is no condition ({reason}); {advice}") from error


def _advice(text: str, columns: ColumnNames) -> str:
    """Return the way to write a column whose name is no identifier if the text has its name; else all that is allowed.

    Python parses `learning-rate` as a difference.
    """
    for name in columns.full:
        kind, _, rest = name.partition(".")
        if rest and rest in text and not all(map(str.isidentifier, rest.split("."))):
            return f"write {kind}[{to_json(rest).decode()}] for this column"
    return _ALLOWED


class _Compiler:
    """Turns the tree of a condition into functions of a row."""

    def __init__(self, subject: str, text: str, columns: ColumnNames) -> None:
        self._subject = subject
        self._text = text
        self._columns = columns

    def compiled(self, node: ast.expr) -> _Value:
        """Return the function that evaluates a part of the condition."""
        if isinstance(node, ast.BoolOp):
            parts = [self.compiled(part) for part in node.values]
            return _junction(parts, decides=isinstance(node.op, ast.Or))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return _negation(self.compiled(node.operand))
        if isinstance(node, ast.Compare):
            sides = (node.left, *node.comparators)
            self._check_tags(sides, node.ops)
            values = [self.compiled(sides[0]), *map(self._compared_with, sides[1:])]
            return _chain(values, [_COMPARISONS[type(sign)] for sign in node.ops])
        if (name := _name_in(node)) is not None:
            return _column(self._columns.resolve(name, self._subject))
        try:
            literal = ast.literal_eval(node)
        except (ValueError, TypeError) as error:
            advice = _advice(self._text, self._columns)
            raise FrameError(self._subject, f"{short(ast.unparse(node))} is not allowed; {advice}") from error
        return lambda row: literal

    def _compared_with(self, node: ast.expr) -> _Value:
        """Return the function that evaluates the right side of a comparison, where a text may lack its quotes."""
        try:
            return self.compiled(node)
        except FrameError as error:
            if not isinstance(node, ast.Name):
                raise
            raise FrameError(self._subject, f"{error.reason}; a text is written in quotes: {node.id!r}") from error

    def _check_tags(self, sides: Sequence[ast.expr], signs: Sequence[ast.cmpop]) -> None:
        """Raise FrameError if the tags of runs are compared with anything: no comparison but `in` can be fulfilled."""
        for left, sign, right in zip(sides, signs, sides[1:], strict=False):
            is_membership = isinstance(sign, ast.In | ast.NotIn) and _name_in(left) != "tags"
            if "tags" in (_name_in(left), _name_in(right)) and not is_membership:
                raise FrameError(self._subject, "a run has any number of tags; write 'paper' in tags")


def _name_in(node: ast.expr) -> str | None:
    """Return the name of a column, as `cfg.depth`, or `cfg["max-depth"]`; None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = _name_in(node.value)
        return None if owner is None else f"{owner}.{node.attr}"
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        owner = _name_in(node.value)
        return None if owner is None else f"{owner}.{node.slice.value}"
    return None


def _column(name: str) -> _Value:
    def value(row: _Row) -> Any:
        found = row.get(name)
        return found.isoformat() if isinstance(found, datetime) else found

    return value


def _junction(parts: list[_Value], *, decides: bool) -> _Value:
    """Return the function of `and`, which a false part decides, or of `or`, which a true one decides.

    If no part decides and one is unknown, the result is unknown.
    """

    def value(row: _Row) -> Any:
        result: Any = not decides
        for part in parts:
            found = part(row)
            if found is not UNKNOWN and bool(found) is decides:
                return found
            if found is UNKNOWN or result is not UNKNOWN:
                result = found
        return result

    return value


def _negation(part: _Value) -> _Value:
    def value(row: _Row) -> Any:
        found = part(row)
        return UNKNOWN if found is UNKNOWN else not found

    return value


def _chain(values: list[_Value], signs: list[Callable[[Any, Any], Any]]) -> _Value:
    def value(row: _Row) -> Any:
        left = values[0](row)
        is_known = True
        for sign, part in zip(signs, values[1:], strict=True):
            right = part(row)
            found = UNKNOWN if UNKNOWN in (left, right) else _compared(sign, left, right)
            if found is UNKNOWN:
                is_known = False
            elif not found:
                return False
            left = right
        return True if is_known else UNKNOWN

    return value


def _compared(sign: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    try:
        return sign(left, right)
    except TypeError:
        return UNKNOWN
