"""What runs the examples of the docs: it notices what is wrong with them."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.examples import CHECKED, ROOT, Command, add_piece, commands, printed, run_commands


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
