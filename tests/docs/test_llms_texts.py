"""The documentation as two texts for language models."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def texts() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        yield import_module("llms_texts")
    sys.modules.pop("llms_texts", None)


def test_each_page_is_listed_once(texts: Any) -> None:
    """Each page of the documentation has one line, with a sentence about it."""
    lines = texts.llms_text(DOCS).splitlines()
    pages = {
        str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md") if "_" not in str(path.parent.name)
    }
    listed = [line.partition("](")[2].partition(".html)")[0] for line in lines if line.startswith("- [")]
    assert sorted(listed) == sorted(pages - {"index"})
    assert lines[:3] == [
        "# crystallize",
        "",
        f"> {texts.first_sentence((DOCS / 'index.md').read_text(encoding='utf-8'))}",
    ]
    assert all(line.endswith((".", "!", "?")) for line in lines if line.startswith("- ["))


def test_full_text(texts: Any) -> None:
    """It has the text of each page, included files as well, but no tables of contents."""
    full = texts.llms_full_text(DOCS)
    for name in texts.pages_of(DOCS):
        assert f"<!-- {name}.html -->" in full
    assert "# Contributing" in full
    assert "{toctree}" not in full
    assert "\n% invisible" not in full


def test_files(texts: Any, tmp_path: Path) -> None:
    texts.write_llms_texts(DOCS, tmp_path)
    assert (tmp_path / "llms.txt").read_text(encoding="utf-8") == texts.llms_text(DOCS)
    assert (tmp_path / "llms-full.txt").read_text(encoding="utf-8") == texts.llms_full_text(DOCS)
