"""The linter of words finds sentences that are hard to read."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def words() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        yield import_module("plain_words")
    sys.modules.pop("plain_words", None)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("The step keeps what it read.", "'what' as a noun"),
        ("What is stored survives.", "'what' as a noun"),
        ("A list, of which one is kept.", "'of which'"),
        ("The file is to be closed.", "'is to be'"),
        ("The sink is told of it.", "'told'"),
        ("The least of both.", "'the least'"),
        (" ".join(["word"] * 31) + ".", "31 words"),
        ("state: The state.", "argument that repeats its name"),
    ],
)
def test_hit(words: Any, text: str, rule: str) -> None:
    (hit,) = words.hits_in(words.Text(ROOT / "README.md", 3, text))
    assert (hit.path, hit.line, hit.rule) == ("README.md", 3, rule)
    assert str(hit).startswith(f"README.md:3: {rule}: ")


@pytest.mark.parametrize(
    "text",
    [
        "What does a step read?",
        "The key with the most similar name.",
        "state: The state before the merge.",
        "`what it read` is code.",
        " ".join(["word"] * 20) + ": " + " ".join(["word"] * 20) + ".",
    ],
)
def test_no_hit(words: Any, text: str) -> None:
    assert list(words.hits_in(words.Text(ROOT / "README.md", 1, text))) == []


def test_texts_of_a_page(words: Any, tmp_path: Path) -> None:
    """Code, tables, headings and directives are left out; paragraphs and list items are texts of their own."""
    page = tmp_path / "page.md"
    page.write_text(
        "# What it is\n\nOne\ntwo.\n\n```python\nwhat = 1\n```\n\n| what it is |\n\n- three\n  four\n- five\n"
    )
    assert [(text.line, text.text) for text in words.texts_of_page(page)] == [
        (3, "One two."),
        (12, "three four"),
        (14, "five"),
    ]


def test_texts_of_a_module(words: Any, tmp_path: Path) -> None:
    """Docstrings, comments over several lines, and texts of errors are read; examples and SQL are not."""
    module = tmp_path / "module.py"
    module.write_text(
        '"""A module.\n\nSecond paragraph.\n\nExample:\n    >>> what = 1\n"""\n\n# A comment\n# of two lines.\n'
        'TEXT = f"the {TEXT} failed"\nSQL = "SELECT what FROM table"\n'
    )
    found = [(text.line, text.text) for text in words.texts_of_source(module)]
    assert sorted(found) == [
        (1, "A module."),
        (3, "Second paragraph."),
        (5, "Example:"),
        (9, "A comment of two lines."),
        (11, "failed"),
        (11, "the"),
    ]


def test_exceptions(
    words: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exception allows its sentence, and is reported when nothing needs it any more."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("Show what it was.\n")
    (tmp_path / "docs/plain_words.txt").write_text("# a comment\nShow what it was. -- a quotation\nOld one. -- gone\n")
    monkeypatch.setattr(words, "ROOT", tmp_path)
    assert [str(hit) for hit in words.all_hits()] == ["docs/plain_words.txt:0: exception without a hit: Old one."]
    assert words.main() == 1
    assert capsys.readouterr().out.startswith("docs/plain_words.txt:0: ")


def test_draw(words: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The same seed draws the same sentences, each with its place; another seed draws others."""
    known = [f"Sentence number {number}: it has words." for number in range(40)]
    (tmp_path / "README.md").write_text("\n\n".join([*known, "Too short."]))
    monkeypatch.setattr(words, "ROOT", tmp_path)
    drawn = words.draw(20, 1)
    assert drawn == words.draw(20, 1) != words.draw(20, 2)
    assert len({*drawn} & {words.Text(tmp_path / "README.md", 2 * at + 1, text) for at, text in enumerate(known)}) == 20
    assert words.main(["--draw", "1", "--seed", "1"]) == 0
    assert capsys.readouterr().out.startswith("README.md:")
