"""What pages say of the code that no example shows: it is so."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

import crystallize

ROOT = Path(__file__).parents[2]
PACKAGE = Path(crystallize.__file__).parent


def text_of(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def pieces(page: str, file: str) -> list[str]:
    """Return the blocks of a page that are headed by a file's name."""
    return re.findall(rf"^```{{code-block}} python\n:caption: {file}\n\n(.*?)```$", page, re.MULTILINE | re.DOTALL)


def test_first_run_is_the_file() -> None:
    """Whoever adds each block to the end of the file, two lines below what is there, has the example."""
    found = pieces(text_of("docs/first-run.md"), "first_run.py")

    assert 6 == len(found)
    assert text_of("docs/examples/first_run.py") == "\n\n".join(found)


def test_security_names_its_tests() -> None:
    """Each test that the page about security names is there."""
    named = set(re.findall(r"`(test_\w+)`", text_of("docs/security.md")))
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }

    assert len(named) > 10
    assert set() == named - there


def test_contributing_lists_the_house() -> None:
    """The tree of the house names each folder of the package, and nothing that is not there."""
    folders = {f"{path.parent.relative_to(PACKAGE)}/" for path in PACKAGE.glob("*/__init__.py")}
    house = text_of("CONTRIBUTING.md").partition("## The house")[2].partition("## The words")[0]
    named = set(re.findall(r"^  (\w+/)", house, re.MULTILINE))

    assert folders - {"utils/"} == named


def test_contributing_lists_the_tasks() -> None:
    """Each task of the Makefile has its row, and no row is of a task that is not there."""
    tasks = set(re.findall(r"^([a-z-]+):.*## ", text_of("Makefile"), re.MULTILINE))
    rows = set(re.findall(r"^\| `make ([a-z-]+)(?: \w+=1)?` \|", text_of("CONTRIBUTING.md"), re.MULTILINE))

    assert tasks - {"help"} == rows


@pytest.mark.parametrize("name", ["compared", "published"])
def test_comparison_has_sources(name: str) -> None:
    """Each footnote is named in a table and has a link, and each name has its footnote."""
    page = text_of(f"docs/{name}.md")
    links = re.findall(r"^\[\^([\w-]+)\]: .*\(https://\S+\)", page, re.MULTILINE)

    assert len(set(links)) == len(links)
    assert set(links) == set(re.findall(r"\[\^([\w-]+)\](?!:)", page))


def test_one_version() -> None:
    """The package says of itself the version that it is installed as."""
    assert version("crystallize-context") == crystallize.__version__
