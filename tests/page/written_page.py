"""A page as its reader finds it."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from crystallize import load_run
from crystallize.report import write_report

__all__ = ["Page", "page_of"]


class Page(HTMLParser):
    """A page as a reader finds it: its tags, its texts, what its scripts and tables hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.html = text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.lines: list[str] = []
        self._script: dict[str, str | None] | None = None
        self._quiet = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs)
            self.scripts.append((self._script, ""))
        if tag in ("p", "tr", "dt", "dd", "h1", "h2", "h3", "summary", "li", "div", "figcaption"):
            self.lines.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[-1] = (self._script, self.scripts[-1][1] + data)
        elif self.lines:
            self.lines[-1] = " ".join(f"{self.lines[-1]} {data}".split())

    @property
    def text(self) -> str:
        """What can be read, a line a block, with signs as they are on a keyboard."""
        return "\n".join(line for line in self.lines if line).translate(_SIGNS)

    @property
    def data(self) -> Any:
        (text,) = (text for attrs, text in self.scripts if attrs.get("id") == "data")
        return json.loads(text)

    @property
    def policy(self) -> str:
        (policy,) = (attrs["content"] for _, attrs in self.tags if attrs.get("http-equiv") == "Content-Security-Policy")
        return str(policy)


_SIGNS = str.maketrans({"\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "\N{MULTIPLICATION SIGN}": "x"})


def page_of(path: Path, *beside: Path) -> Page:
    """Write the page of a run, beside others, and read it."""
    page = path.with_suffix(".html")
    write_report(load_run(path), page, beside=[load_run(other) for other in beside])
    return Page(page.read_text(encoding="utf-8"))
