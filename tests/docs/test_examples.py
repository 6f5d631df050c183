"""What runs the examples of the docs: it notices what is wrong with them."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import SkipTest

import pytest
from sybil.parsers.myst import CodeBlockParser

from tests.examples import (
    CHECKED,
    ROOT,
    SKIPS,
    Command,
    Page,
    PythonParser,
    add_piece,
    commands,
    enter_folder,
    keep_file,
    leave_folder,
    printed,
    run_commands,
)


def difference(block: str, page: str = CHECKED[0]) -> str | None:
    """Say what is wrong with a block on a page."""
    example: Any = SimpleNamespace(path=str(ROOT / page), parsed=block)
    return run_commands(example)


def test_commands() -> None:
    """A block is parted at each line that begins with `$`."""
    assert [Command("a b", ""), Command("c", "d\n\ne\n")] == list(commands("$ a b\n$ c\nd\n\ne\n"))


def test_right_output() -> None:
    """Output may differ in its blanks, its times and what `...` stands for."""
    assert difference("$ echo 'a   b'\na b\n") is None
    assert difference("$ echo 'took 0.25 s, at 09:48:17'\ntook 12 s, at 23:59:59\n") is None
    assert difference("$ printf 'a\\nb\\nc\\n'\na\n...\nc\n$ true\n") is None


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("$ echo a\nb\n", "Got:\n    a\n"),
        ("$ echo a\n", "Expected nothing"),
        ("$ true\na\n", "Got nothing"),
        ("$ false\n", "exit status 1"),
        ("$ echo a >&2\n", "Got:\n    a\n"),
        ("$ echo a\na\nb\nKilled\n", "Expected:\n    a\n    b\n    Killed\n"),
    ],
)
def test_wrong_output(block: str, expected: str) -> None:
    """Anything else is told, also what goes to stderr, and a failure that says nothing."""
    found = difference(block)

    assert found is not None
    assert found.startswith(block.partition("\n")[0])
    assert expected in found


def test_other_pages() -> None:
    """On other pages commands are not run."""
    assert difference("$ false\n", "docs/command.md") is None


def test_killed() -> None:
    """A command is killed once it has printed what is expected before that."""
    assert "a\nKilled\n" == printed(Command("echo a; exec sleep 600", "a\nKilled\n"))
    assert "Killed\n" == printed(Command("kill -KILL $$", "Killed\n"))


def test_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece goes to the end of its file, two lines below what is there."""
    monkeypatch.chdir(tmp_path)
    for piece in ("a = 1\n", "b = 2\n"):
        add_piece(Path("it.py"), piece)

    assert ["it.py"] == os.listdir()
    assert "a = 1\n\n\nb = 2\n" == Path("it.py").read_text(encoding="utf-8")


def test_files_of_other_languages(tmp_path: Path) -> None:
    """A block of another language with a caption goes to its file too; one without a caption goes nowhere."""
    file = tmp_path / "page.md"
    file.write_text("```{code-block} toml\n:caption: it.toml\n\na = 1\n```\n\n```toml\nb = 2\n```\n")
    page = Page.parse(str(file), CodeBlockParser("toml", keep_file))
    enter_folder(page.namespace)
    for example in page.examples():
        example.evaluate()
    assert ["it.toml"] == os.listdir()
    assert "a = 1\n" == Path("it.toml").read_text(encoding="utf-8")
    leave_folder(page.namespace)


BLOCK = "```python\n{}\n```\n\n"
SKIPPED = "% skip: next if(True, reason='not here')\n\n" + BLOCK.format("raise OSError")


@pytest.mark.parametrize("visits", [[[0, 1, 2]], [[2], [1]], [[2, 1, 0]], [[0], [2], [1, 2]], [[1, 1]]])
def test_any_order(tmp_path: Path, visits: list[list[int]]) -> None:
    """An example runs once in a visit of its page, after those above it; a visit begins with nothing."""
    file = tmp_path / "page.md"
    file.write_text("".join(map(BLOCK.format, ["ran = [0]", "ran.append(1)", "ran.append(2)"])))
    page = Page.parse(str(file), PythonParser())
    examples = list(page.examples())
    for visit in visits:
        enter_folder(page.namespace)
        for end, index in enumerate(visit, 1):
            examples[index].evaluate()
            assert list(range(max(visit[:end]) + 1)) == page.namespace["ran"]
        leave_folder(page.namespace)


def test_skip_above(tmp_path: Path) -> None:
    """A skipped example is skipped by itself, and those below it run; also where a visit ended just before it."""
    file = tmp_path / "page.md"
    file.write_text(SKIPPED + BLOCK.format("ran = 1"))
    page = Page.parse(str(file), PythonParser(), SKIPS)
    skip, skipped, last = page.examples()
    for first in (skip, last, skip):
        enter_folder(page.namespace)
        first.evaluate()
        leave_folder(page.namespace)
    enter_folder(page.namespace)
    with pytest.raises(SkipTest, match="not here"):
        skipped.evaluate()
    last.evaluate()
    assert 1 == page.namespace["ran"]
    leave_folder(page.namespace)
