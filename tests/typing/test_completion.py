"""Editors complete keys, metrics and tags as the tables of the docs say, with the stubs that `make typing` writes."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.typing.language_server import LanguageServer, started

FOLDER = Path(__file__).parent / "keys"
PAGE = Path(__file__).parents[2] / "docs/how-to/string-keys.md"
SCRIPTS = Path(sys.executable).parent
SETTINGS = {"python": {"pythonPath": sys.executable}}
COMMANDS = {
    "pyright": ["pyright-langserver", "--stdio"],
    "ty": ["ty", "server"],
    "pyrefly": ["pyrefly", "lsp"],
    "zuban": ["zuban", "server"],
}
KEYS = ["lr", "epochs", "folder", "accuracy", "tokenizer", "best_epoch", "sizes", "tree"]
OFFERED = {
    "nothing": [],
    "the keys": KEYS,
    "the metrics": ["loss", "accuracy", "rows", "score"],
    "those without tags": ["loss", "rows"],
    "the tags": ["epoch", "split"],
    "the choices": ["train", "val"],
}
HEAD = """
from crystallize import Context, FrozenContext, LoggingContext
from pipeline import schemas, tuning
from pipeline.schemas import TrainMetrics

def step(
    ctx: FrozenContext[schemas.Train],
    needs: Context[schemas.Train],
    log: LoggingContext[schemas.Train],
    other: FrozenContext[tuning.Train],
    batch: FrozenContext[schemas.Batch[int]],
    anything: FrozenContext,
    tags: schemas.EpochTags,
) -> None:
    series = ctx.metrics.series(TrainMetrics.loss)
    """


class Cell(NamedTuple):
    """A cell of the tables of the docs."""

    server: str
    code: str
    offered: str


def cells() -> Iterator[Cell]:
    """Read the tables that say which server offers what."""
    servers: list[str] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        first, *rest = [part.strip() for part in line.strip("|").split(" | ")]
        if first == "at":
            servers = rest
        elif servers and first.startswith("`"):
            yield from (Cell(server, first.strip("`"), offered) for server, offered in zip(servers, rest, strict=True))
        elif not first:
            servers = []


@pytest.fixture(scope="module")
def server() -> Iterator[Callable[[str], LanguageServer]]:
    """Start each server once."""
    with ExitStack() as stack:

        @cache
        def start(name: str) -> LanguageServer:
            program, *rest = COMMANDS[name]
            return stack.enter_context(started([str(SCRIPTS / program), *rest], FOLDER, SETTINGS))

        yield start


@pytest.fixture
def pyright(server: Callable[[str], LanguageServer]) -> LanguageServer:
    return server("pyright")


def test_the_tables_name_each_server() -> None:
    """A test of no cells would pass."""
    assert {cell.server for cell in cells()} == {*COMMANDS}
    assert len([*cells()]) == 14 * len(COMMANDS)


@pytest.mark.parametrize("cell", [*cells()], ids=str)
def test_server_offers_what_the_docs_say(server: Callable[[str], LanguageServer], cell: Cell) -> None:
    """Each cell of the tables is true; `…`, or the end, is where one types."""
    code = cell.code.replace("…", "|") if "…" in cell.code else f"{cell.code}|"
    found = server(cell.server).completions(HEAD + code)
    if cell.offered == "one key":
        assert len(found) == 1
        assert found[0] in KEYS
    elif code.endswith(".|"):
        # There are methods, too, and of a metric schema those of other schemas are not there.
        assert {*OFFERED[cell.offered]} - {"score"} <= {*found}
    else:
        assert sorted(OFFERED[cell.offered]) == sorted({*found})


@pytest.mark.parametrize("line", ['ctx["|"]', 'ctx["|', 'needs["|"]', 'log["|"]', 'ctx["|"] = 1', 'ctx.get("|")'])
def test_pyright_offers_the_keys(pyright: LanguageServer, line: str) -> None:
    """Between quotes pyright, and so Pylance, offers the keys of the context's schema and nothing else."""
    assert sorted(KEYS) == sorted(pyright.completions(HEAD + line))


def test_pyright_tells_schemas_apart(pyright: LanguageServer) -> None:
    """Each context has the keys of its own schema, of a generic one too; one without a schema has none."""
    assert ["lr", "trials"] == sorted(pyright.completions(HEAD + 'other["|"]'))
    assert ["first", "next", "rest"] == sorted(pyright.completions(HEAD + 'batch["|"]'))
    assert not {*KEYS} & {*pyright.completions(HEAD + 'anything["|"]')}


@pytest.mark.parametrize("line", ['ctx.record("|")', 'needs.metrics.series("|")', 'ctx.metrics.get_tags("|")'])
def test_pyright_offers_metrics(pyright: LanguageServer, line: str) -> None:
    """Between the quotes of an argument pyright offers the names of the metrics that any schema declares."""
    assert {"loss", "accuracy", "rows"} <= {*pyright.completions(HEAD + line)}
