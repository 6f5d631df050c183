"""The explanation of an error: a section of the page about errors, which is part of the package."""

import re
from functools import cache
from importlib.resources import files
from pathlib import Path

from .._base.text import nearest, short
from ..errors import CrystallizeError


def explanation_of(name: str) -> str:
    """Return the section about an error, as Markdown without links.

    Raises:
        CrystallizeError: There is no error of this name.
    """
    sections = _sections()
    wanted = name.rpartition(".")[2]
    if wanted not in sections:
        similar = nearest(wanted, sections)
        hint = f"did you mean {similar!r}?" if similar else "a traceback ends with the name of its error"
        raise CrystallizeError(f"no error is named {short(name)}; {hint}")
    return sections[wanted]


@cache
def _sections() -> dict[str, str]:
    """Return the sections by the names of the errors."""
    shipped = files("crystallize") / "_cli" / "errors.md"
    # An editable installation reads the page of the documentation.
    page = shipped if shipped.is_file() else Path(__file__).parents[3] / "docs" / "errors.md"
    _, *parts = re.split(r"^### (\w+)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: _plain(name, text) for name, text in zip(parts[::2], parts[1::2], strict=True)}


def _plain(name: str, text: str) -> str:
    text = re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0]
    # Lines that only the tests of the page read.
    text = re.sub(r"^%.*\n+", "", text, flags=re.MULTILINE)
    # Links to pages and sections; a call such as `FrozenContext[Train](...)` is none.
    text = re.sub(r"\[([^\[\]]*)\]\((?=[^)\s]*(?:\.md|#))[^)\s]*\)", r"\1", text)
    return f"{name}\n\n{text.strip()}"
