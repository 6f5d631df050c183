"""Runs and pages that several tests only read, made once a file."""

from pathlib import Path

import pytest

from .page_runs import died_in_a_step, hostile, made, resumed
from .written_page import Page, page_of


@pytest.fixture(scope="module")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def made_page(made_run: Path) -> Page:
    return page_of(made_run)


@pytest.fixture(scope="module")
def died_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return died_in_a_step(tmp_path_factory.mktemp("died"))


@pytest.fixture(scope="module")
def died_page(died_run: Path) -> Page:
    return page_of(died_run)


@pytest.fixture(scope="module")
def resumed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return resumed(tmp_path_factory.mktemp("resumed"))


@pytest.fixture(scope="module")
def resumed_page(resumed_run: Path) -> Page:
    return page_of(resumed_run)


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(hostile(tmp_path_factory.mktemp("hostile")))
