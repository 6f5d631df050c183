"""`crystallize report`: a run is written as a page."""

import json
import sys
from pathlib import Path

import pytest

from crystallize._base.optional import OptionalModule
from crystallize._journal.database import update

from .command_runs import complaint, document_of, made, opened, printed


def test_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is written as a page, by default under its name where one is, and beside others if they are named."""
    monkeypatch.chdir(tmp_path)
    first, second = made(tmp_path), made(tmp_path, lr=0.2)

    assert "wrote digits-0001.html\n" == printed("report", first)
    assert "wrote both.html\n" == printed("report", first, second, "-o", "both.html")
    assert "digits-0002" not in (tmp_path / "digits-0001.html").read_text(encoding="utf-8")
    assert "digits-0002" in (tmp_path / "both.html").read_text(encoding="utf-8")
    document = document_of("report", first, second, "-o", "both.html")
    assert {"page": "both.html", "runs": ["digits-0001", "digits-0002"]} == document


def test_report_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the way of a page is told in a line: no such folder, the file of a run, no Jinja2."""
    path = made(tmp_path)

    assert "No such file or directory" in complaint("report", path, "-o", tmp_path / "none" / "run.html")
    assert "this is the file of a run, and would be overwritten" in complaint("report", path, "-o", path)
    monkeypatch.setattr("crystallize._page.html_page.jinja2", OptionalModule("jinja2", "report"))
    monkeypatch.setitem(sys.modules, "jinja2", None)
    line = complaint("report", path, "-o", tmp_path / "run.html")
    assert line.endswith("needs jinja2, which is not installed: pip install 'crystallize-context[report]'")


def test_reports_run_of_an_earlier_version(tmp_path: Path) -> None:
    """A run that does not say what could not be read of its environment has a page."""
    path = made(tmp_path)
    with opened(path) as connection:
        (text,) = connection.execute("SELECT origin FROM sessions").fetchone()
        origin = {name: fact for name, fact in json.loads(text).items() if name != "unread"}
        update(connection, "sessions", "session = 1", origin=json.dumps(origin))

    assert "wrote" in printed("report", path, "-o", tmp_path / "page.html")
