"""How a stub is laid out."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from crystallize._stubs.class_outline import outline
from crystallize._stubs.printer import doc_of, printed
from crystallize.stubs import make_stubs

LONG = "a_rather_long_name_of_something"


def laid_out(source: str) -> str:
    """Return the outline of some source as text."""
    return printed(outline(dedent(source)))


@pytest.mark.parametrize(
    "line",
    [
        "import os\n\nx: os.PathLike[str]",
        "def f(a: int, /, b: int = 3, *rest: str, c: bool = False, **more: float) -> None: ...",
        "def f(*, a: int) -> None: ...",
        "def f(a, b=3): ...",
        "async def f() -> int: ...",
        "class A(dict[str, int], metaclass=type): ...",
        "class A: ...",
        "class A:\n    x: int\n\n    def f(self) -> None: ...",
        "class A:\n    @property\n    def f(self) -> int: ...",
        "def f() -> None: ...\ndef g() -> None: ...",
        "class A: ...\n\nclass B: ...",
        'from typing import Literal\n\nx: Literal["a", \'say "no"\']',
    ],
)
def test_stays_as_it_is(line: str) -> None:
    """What is laid out as a formatter would lay it out stays so."""
    assert f"{line}\n" == laid_out(line)


def test_docstrings() -> None:
    """Docstrings keep their lines, what is in them cannot end them, and a line is free below."""
    text = laid_out(
        r'''
        """Of the module."""

        class A:
            """Of the class.

            More of it, with a \\ in it.
            """

            x: int
            """Of the attribute."""

            def f(self) -> None:
                'Of the method, which says "so"'
        '''
    )

    assert (
        r'''"""Of the module."""

class A:
    """Of the class.

    More of it, with a \\ in it.
    """

    x: int
    """Of the attribute."""

    def f(self) -> None:
        """Of the method, which says "so" """
'''
        == text
    )
    assert "Of the module." == doc_of(ast.parse(text).body[0])
    assert doc_of(ast.parse("3").body[0]) is None


def test_long_lines_are_taken_apart() -> None:
    """What does not fit in a line goes on lines of its own, one a part, at as many levels as it takes."""
    names = ", ".join(f"{LONG}_{n}" for n in range(4))
    choices = ", ".join(f'"{LONG}_{n}"' for n in range(5))
    text = laid_out(f"from os import {names}\n__all__ = [{choices}]\ndef f(a: Literal[{choices}]) -> None: ...")

    lines = "".join(f"    {LONG}_{n},\n" for n in range(4))
    quoted = [f'"{LONG}_{n}",\n' for n in range(5)]
    deep = "".join(f"        {one}" for one in quoted)
    assert "__all__ = [\n" + "".join(f"    {one}" for one in quoted) + "]\n" in text
    assert f"def f(a: Literal[{choices}]) -> None: ...\n" in text  # one part is not taken apart
    text = printed(ast.parse(f"from os import {names}"))
    assert f"from os import (\n{lines})\n" == text
    assert f"    a: Literal[\n{deep}    ],\n    b: int,\n) -> None: ...\n" in laid_out(
        f"def f(a: Literal[{choices}], b: int) -> None: ..."
    )


def test_long_alternatives() -> None:
    """A long type is put in brackets, each alternative in a line of its own if it does not fit in one."""
    types = " | ".join(f"{LONG}_{n}" for n in range(3))
    assert f"A_NAME_OF_MORE = (\n    {types}\n)\n" == printed(ast.parse(f"A_NAME_OF_MORE = {types}"))

    assert f"X = (\n    dict[A, B]\n    | {LONG}\n    | {LONG * 3}\n    | C[D]\n)\n" == printed(
        ast.parse(f"X = dict[A, B] | {LONG} | {LONG * 3} | C[D]")
    )


def test_long_annotation() -> None:
    """A long type without a value stays in its line."""
    line = f"x: {LONG * 4}\n"

    assert line == printed(ast.parse(line))


def test_is_formatted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A formatter finds nothing to change in what is written, of the whole package."""
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent))
    if ruff is None:
        pytest.skip("ruff is installed by make lint")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "docs/examples"))
    make_stubs(["pipeline.schemas", "pipeline.tuning"]).write(tmp_path)

    command = [ruff, "format", "--check", "--line-length=120", "--isolated", str(tmp_path)]
    assert 0 == subprocess.run(command, check=False, capture_output=True).returncode
