"""The filters of the templates: values, numbers, sizes and errors as text."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .._base.optional import OptionalModule
from .._base.text import MASK, counted, lasted, printable, short, short_type
from .._core.provenance import nodes_missed, nodes_read
from .._tables.export import ValueRow
from .._tables.run_description import item_text
from .artifact_previews import MAX_TEXT

if TYPE_CHECKING:
    import markupsafe
else:
    markupsafe = OptionalModule("markupsafe", "report")

_MAX_FIRST_LINE: Final = 200
"""Characters of an error that are shown before it is opened."""
_MAX_LINES: Final = 3
"""Lines of an error that is shown whole."""


def _error(text: str) -> tuple["markupsafe.Markup", "markupsafe.Markup", int]:
    """Return the first line of an error, the rest that can be opened, and the number of characters left out.

    A short error has no rest.
    """
    text = "\n".join(line.rstrip() for line in text.splitlines() if line.strip())
    if len(text) <= _MAX_FIRST_LINE and text.count("\n") < _MAX_LINES:
        return _escaped_lines(text), _escaped_lines(""), 0
    first = text[:_MAX_FIRST_LINE].partition("\n")[0]
    rest = text[len(first) :].removeprefix("\n")
    return _escaped_lines(first), _escaped_lines(rest[:MAX_TEXT]), max(0, len(rest) - MAX_TEXT)


def _escaped_lines(text: str) -> "markupsafe.Markup":
    return markupsafe.Markup("\n").join(map(printable, text.splitlines()))


def _row_value(row: ValueRow) -> str:
    """Return the value of a key as short text, or the reason why there is none."""
    return {None: _value(row.value), "secret": MASK, "not restorable": "not in the file"}[row.missing]


def _value(value: Any) -> str:
    """Return a value as short text; an array as its shape and type."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{_TIMES.join(map(str, value.shape)) or 'one'} of {value.dtype}"
    if isinstance(value, list) and any(hasattr(item, "dtype") for item in value):
        more = ", …" if len(value) > _MAX_ITEMS else ""
        return f"[{', '.join(map(_value, value[:_MAX_ITEMS]))}{more}]"
    return short(value)


_MAX_ITEMS: Final = 4
_TIMES: Final = " \N{MULTIPLICATION SIGN} "


def _matrix(value: Any) -> list[list[str]] | None:
    """Return the cells of a small array of two dimensions; None for anything else."""
    if getattr(value, "ndim", None) != 2 or not 0 < max(value.shape) <= _MAX_SIDE:
        return None
    return [[_number(item) if isinstance(item, float) else short(item) for item in row] for row in value.tolist()]


_MAX_SIDE: Final = 16
"""Rows and columns of an array that is shown whole."""


def _number(value: float) -> str:
    """Return a number as text: as an integer, or with four significant digits."""
    text = f"{value:,.0f}" if value == round(value) and abs(value) < _MAX_INTEGER else f"{value:#.4g}"
    return text.removesuffix(".").replace("-", "\N{MINUS SIGN}")


_MAX_INTEGER: Final = 1e9


def _size(size: int) -> str:
    for unit, of_bytes in (("MB", 1e6), ("kB", 1e3)):
        if size >= of_bytes:
            return f"{size / of_bytes:.3g} {unit}"
    return counted(size, "byte")


TEMPLATE_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "counted": counted,
    "duration": lasted,
    "error": _error,
    "item_text": item_text,
    "matrix": _matrix,
    "nodes_missed": nodes_missed,
    "nodes_read": nodes_read,
    "number": _number,
    "row_value": _row_value,
    "size": _size,
    "type_name": short_type,
}
"""The filters by the names that the templates use."""
