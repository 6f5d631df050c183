"""The artifacts of a run on its page."""

import base64
from pathlib import Path

import pytest

from crystallize import FrozenContext, Journal
from crystallize._page import artifact_previews

from .page_runs import picture
from .written_page import Page, page_of


def test_artifacts(resumed_page: Page) -> None:
    """Pictures are shown, texts can be opened, and of others it says what they are."""
    (shown,) = (attrs for tag, attrs in resumed_page.tags if tag == "img")

    assert f"data:image/png;base64,{base64.b64encode(picture()).decode()}" == shown["src"]
    assert "picture.png, a picture made by fit" == shown["alt"]
    assert "notes.txt 20 bytes, made by fit\nText one line another one" in resumed_page.text
    assert "model.bin 256 bytes, made by fit\nNeither a picture nor a text." in resumed_page.text
    assert "empty 0 bytes, made by fit\nIt is empty." in resumed_page.text


KINDS = [
    ("image/png", b"\x89PNG\r\n\x1a\n..."),
    ("image/jpeg", b"\xff\xd8\xff..."),
    ("image/gif", b"GIF89a..."),
    ("image/webp", b"RIFF\0\0\0\0WEBP..."),
    ("image/svg+xml", b"<?xml version='1.0'?><svg/>"),
    ("image/svg+xml", b"<svg/>"),
    (None, b"<?xml version='1.0'?><html/>"),
    (None, b"RIFF\0\0\0\0WAVE"),
    (None, b""),
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The sources of the pictures on a page of all these artifacts, by the names of the artifacts."""
    with Journal.start(tmp_path_factory.mktemp("kinds"), "digits") as journal:
        artifacts = journal.context(FrozenContext).artifacts
        for index, (_, data) in enumerate(KINDS):
            artifacts.add(f"file{index}", data)
    return {str(attrs["alt"]): str(attrs["src"]) for tag, attrs in page_of(journal.path).tags if tag == "img"}


@pytest.mark.parametrize("index", range(len(KINDS)))
def test_kind_of_a_picture(pictures: dict[str, str], index: int) -> None:
    """A picture is known by how it begins, whatever it is called."""
    source = pictures.get(f"file{index}")

    assert KINDS[index][0] == (source and source[5:].partition(";")[0])


def test_large_artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that is too large is left out, and of a long text the beginning is there."""
    monkeypatch.setattr(artifact_previews, "_MAX_PICTURE_BYTES", 100)
    with Journal.start(tmp_path, "digits") as journal:
        artifacts = journal.context(FrozenContext).artifacts
        artifacts.add("a.png", picture())
        artifacts.add("b.png", picture() + bytes(2_000_000))
        artifacts.add("long.txt", "ä".encode() * 60_000)
    page = page_of(journal.path)

    assert ["a.png, a picture"[:5]] == [str(attrs["alt"]) for tag, attrs in page.tags if tag == "img"]
    assert "b.png 2 MB\nA picture that is too large to be shown here." in page.text
    assert "long.txt 120 kB\nThe beginning of the text" in page.text
    assert "ä" * 4000 in page.text
    assert "ä" * 4001 not in page.text


def test_objects(tmp_path: Path) -> None:
    """A large artifact is shown as a small one is; one that is missing says so, and so does its row in the lineage."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext)
        with ctx.step("draw") as draw:
            draw.artifacts.add("a.png", picture() + bytes(2_000_000))
            draw.artifacts.add("long.txt", b"a" * 2_000_000)
            draw.artifacts.add("gone.txt", b"b" * 2_000_000)
        with ctx.step("look") as look:
            look["size"] = look.artifacts["long.txt"].size
            assert "other.txt" not in look.artifacts
        ctx.artifacts["gone.txt"].path.unlink()
    page = page_of(journal.path)

    assert ["a.png, a picture made by draw"] == [str(attrs["alt"]) for tag, attrs in page.tags if tag == "img"]
    assert "long.txt 2 MB, made by draw\nThe beginning of the text" in page.text
    assert "gone.txt 2 MB, made by draw\nIt cannot be shown: the object is missing." in page.text
    assert "artifact:long.txt 2 MB\nwritten by\ndraw\nread by\nlook" in page.text
    assert "artifact:other.txt" in page.text
