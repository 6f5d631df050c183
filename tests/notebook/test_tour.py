"""The notebook of the docs, run from top to bottom; by `make test-notebook` alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOUR = Path(__file__).parents[2] / "docs/examples/tour.ipynb"
BREAKS = {
    "overwrite": "ContextMutationError",
    "misspell": "UnknownKeyError",
    "mistag": "InvalidTagError",
    "mistype": "InvalidValueError",
    "edited": "InvalidStepError",
}
"""What the cells that break something raise."""
TABLES = ("context", "metrics", "series", "provenance", "artifacts", "run")
"""The cells that show a table."""


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The outputs of each cell of code, by its name, after the notebook was run."""
    copy = Path(shutil.copy(TOUR, tmp_path_factory.mktemp("notebook")))
    command = [sys.executable, "-m", "pytest", "--nbmake", "--overwrite", "-p", "no:cacheprovider", str(copy)]
    process = subprocess.run(command, cwd=copy.parent, capture_output=True, text=True, check=False)
    assert 0 == process.returncode, process.stdout + process.stderr
    return {cell["id"]: cell["outputs"] for cell in of_code(copy)}


def of_code(notebook: Path) -> list[dict[str, Any]]:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def shown(outputs: list[dict[str, Any]], kind: str) -> str:
    """Return what a cell shows of some kind of content."""
    (data,) = [output["data"] for output in outputs if output["output_type"] in ("execute_result", "display_data")]
    content = data[kind]
    return "".join(content) if isinstance(content, list) else json.dumps(content)


def test_breaks_what_it_says(cells: dict[str, list[dict[str, Any]]]) -> None:
    """The cells that break something raise what they are about, and no others do."""
    raised = {
        name: output["ename"]
        for name, outputs in cells.items()
        for output in outputs
        if output["output_type"] == "error"
    }

    assert BREAKS == raised


@pytest.mark.parametrize("name", TABLES)
def test_shows_tables(cells: dict[str, list[dict[str, Any]]], name: str) -> None:
    """What there is to look at is shown as tables, and as a line of text where there are none."""
    assert shown(cells[name], "text/html").startswith("<table>")
    assert shown(cells[name], "text/plain")


def test_runs_a_changed_step_again(cells: dict[str, list[dict[str, Any]]]) -> None:
    """A step that was changed says how to go on, and so it runs."""
    (refused,) = cells["edited"]
    assert "To run it again, make a new context" in refused["evalue"]
    assert "2.0" == shown(cells["again"], "text/plain")


def test_plots(cells: dict[str, list[dict[str, Any]]]) -> None:
    """The plot is a figure of Plotly's."""
    assert '"data"' in shown(cells["plot"], "application/vnd.plotly.v1+json")


def test_shows_no_secret(cells: dict[str, list[dict[str, Any]]]) -> None:
    """The secret is in the code, and in nothing that is shown."""
    assert "hunter2" in TOUR.read_text(encoding="utf-8")
    assert "hunter2" not in json.dumps(cells)
    assert "**********" in shown(cells["context"], "text/html")


def test_is_kept_without_outputs() -> None:
    """The notebook in the repository has not been run, so that a change of it is a change of what it says."""
    assert [(None, [])] * len(of_code(TOUR)) == [(cell["execution_count"], cell["outputs"]) for cell in of_code(TOUR)]
