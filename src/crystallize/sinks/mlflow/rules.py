"""The names, numbers, texts and files that MLflow accepts."""

import re
from math import isinf, isnan
from posixpath import normpath
from typing import Any, Final
from urllib.parse import unquote

from ..._base.text import short
from ..naming import Backend

__all__ = ["LONGEST_NAME", "LONGEST_TEXT", "MLFLOW", "unfit_file", "unfit_name", "unfit_number", "unfit_text"]

LONGEST_NAME: Final = 250
LONGEST_TEXT: Final = 6_000
_NAME = re.compile(r"[/\w.\- :]*")
_UNFIT = re.compile(r"[^/\w.\- :]")


def unfit_name(name: str) -> str | None:
    """Return why MLflow would reject the name of a param or metric, or None."""
    if not isinstance(name, str):
        return f"is no text but {short(name)}"
    if not name:
        return "is empty"
    if len(name) > LONGEST_NAME:
        return f"has {len(name)} characters, and MLflow takes {LONGEST_NAME}"
    if unfit := _UNFIT.search(name):
        return f"has {unfit[0]!r}; MLflow takes letters, digits, and any of '_-./: '"
    if normpath(name) != name or name.startswith(("..", "/")) or name == ".":
        return "is no plain path, as MLflow wants it; it would be read as " + repr(normpath(name))
    return None


def unfit_number(value: Any) -> str | None:
    """Return why MLflow would not store a value as it is, or None."""
    if not isinstance(value, int | float):
        return f"it is a {type(value).__name__}, and MLflow takes numbers"
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if isnan(number):
        return "it is NaN, which MLflow would spoil"
    if isinf(number) and isinstance(value, float):
        return "it is infinite, which MLflow would make 1.797e308"
    return None if number == value else "it is an int that no float holds, and MLflow keeps floats"


def unfit_file(name: str) -> str | None:
    """Return why MLflow would not store a file under its name, or None."""
    if "#" in name or unquote(name) != name:
        return "MLflow would read its name as part of an address, and another name out of it"
    return None


def unfit_text(text: str) -> str | None:
    """Return why MLflow would not store the text of a param as it is, or None."""
    if len(text) > LONGEST_TEXT:
        return f"it has {len(text):,} characters as a text, and MLflow would cut it after {LONGEST_TEXT:,}"
    return None


MLFLOW: Final = Backend("MLflow", "param", unfit_name, unfit_name)
