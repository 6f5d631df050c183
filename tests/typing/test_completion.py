"""Editors complete keys and metrics with the stubs of the examples, which `make typing` writes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.typing.language_server import LanguageServer, started

FOLDER = Path(__file__).parent / "keys"
SCRIPTS = Path(sys.executable).parent
SETTINGS = {"python": {"pythonPath": sys.executable}}
KEYS = ["lr", "epochs", "folder", "accuracy", "tokenizer", "best_epoch", "sizes", "tree"]
HEAD = """
from crystallize import Context, FrozenContext, LoggingContext
from pipeline import schemas, tuning

def step(
    ctx: FrozenContext[schemas.Train],
    needs: Context[schemas.Train],
    log: LoggingContext[schemas.Train],
    other: FrozenContext[tuning.Train],
    batch: FrozenContext[schemas.Batch[int]],
    anything: FrozenContext,
) -> None:
    """


@pytest.fixture(scope="module")
def pyright() -> Iterator[LanguageServer]:
    with started([str(SCRIPTS / "pyright-langserver"), "--stdio"], FOLDER, SETTINGS) as server:
        yield server


@pytest.fixture(scope="module")
def ty() -> Iterator[LanguageServer]:
    with started([str(SCRIPTS / "ty"), "server"], FOLDER, SETTINGS) as server:
        yield server


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


@pytest.mark.parametrize("line", ['ctx.get("|")', 'ctx["|"] = 1', 'needs.add("|", 1)'])
def test_ty_offers_the_keys(ty: LanguageServer, line: str) -> None:
    """ty offers the keys where they are arguments, and where one is written."""
    assert {*KEYS} <= {*ty.completions(HEAD + line)}


def test_ty_offers_nothing_between_brackets(ty: LanguageServer) -> None:
    """What ty does not do yet the documentation says; once this fails it is to say something else."""
    assert [] == ty.completions(HEAD + 'ctx["|"]')


@pytest.mark.parametrize("server", ["pyright", "ty"])
def test_offers_fields(request: pytest.FixtureRequest, server: str) -> None:
    """After `ctx.fields.` there are the keys, and after the name of a metric schema its metrics, without any stub."""
    asked: LanguageServer = request.getfixturevalue(server)

    assert {*KEYS} <= {*asked.completions(HEAD + "ctx.fields.|")}
    assert {"loss", "accuracy", "rows"} <= {*asked.completions(HEAD + "schemas.TrainMetrics.|")}
