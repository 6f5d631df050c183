"""The page of several runs: one table, the differences as one matrix, and curves that can be told apart."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from crystallize import FrozenContext, Journal, Run, load_run
from crystallize.report import write_report

from .page_runs import HOSTILE, hostile, made, swept
from .written_page import Page, page_of


@pytest.fixture(scope="module")
def dozen(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of twelve runs with six curves of a metric each."""
    return page_of(*swept(tmp_path_factory.mktemp("dozen"), 12, heads=3))


def test_styles_of_twelve_runs(dozen: Page) -> None:
    """At most 24 curves are drawn at once, no two in the same style, each named by the inputs of its run."""
    (loss,) = (chart for chart in dozen.data if chart["name"] == "loss")

    assert 3 * 6 == len(loss["axes"])  # the splits and heads over each axis
    for view in loss["axes"]:
        styles = {(line["colour"], line["dash"]) for line in view["lines"]}
        assert 12 == len(view["lines"]) == len(styles)
        assert 12 == len({line["name"] for line in view["lines"]})
    assert "lr 0.01, depth 4" in {line["name"] for line in loss["axes"][0]["lines"]}
    drawn = re.findall(r'<path data-run="(\d+)" d="[^"]*" stroke="([^"]*)" stroke-dasharray="([^"]*)"', dozen.html)
    assert (12, 12, 12) == (len(drawn), len({run for run, *_ in drawn}), len({tuple(look) for _, *look in drawn}))


def test_table_of_twelve_runs(dozen: Page) -> None:
    """The title says what the runs share; a row of the table has the inputs, results and outcome of a run."""
    text = dozen.text

    assert text.startswith("Runs, compared\n12 runs of grid\nThey differ in lr , depth , marks .")
    assert "Lowest loss\n0.166667\ngrid-0001: lr 1, depth 2\n" in text
    assert 12 == len(re.findall(r'<tr data-run="\d+">', dozen.html))
    assert re.search(r"grid-0001 ✓ finished 1 2 \[\] ★? ?0.166667 \(the best\) 1 \(the best\) 0 [\d.]+ m?s ", text)
    assert re.search(r"grid-0002 ✕ failed 1 3 \[\"x\"\] 1.16667 0.5 - ", text)
    assert "RuntimeError: no memory, and a sente…" in text
    assert "The same in all\nkind\nmlp" in text


def test_differences_of_twelve_runs(dozen: Page) -> None:
    """The differences are one matrix, a row a run."""
    assert "run input value metric step\nlr cfg marks score loss accuracy fit\n" in dozen.text
    assert "grid-0003 1.0 {'depth': 4, 'kind': 'mlp'} ['x', 'x'] 1.0 36 points, the last 2.16667" in dozen.text


def test_one_plot_a_result(dozen: Page) -> None:
    """Inputs and a result are one plot, with a line a run; another result can be chosen."""
    plots = dozen.html.partition('class="controls parallel-controls"')[2].partition("</section>")[0]

    assert ["loss", "accuracy", "score"] == re.findall(r"<option>(.*?)</option>", plots)
    assert 3 * 12 == len(re.findall(r'class="hit"', plots))
    assert [False, True, True] == [
        " hidden>" in tag for tag in re.findall(r'<div class="scroll parallel-scroll"[^>]*>', plots)
    ]


def test_two_runs(tmp_path: Path) -> None:
    """Two runs have their differences beside each other, and curves in one plot."""
    first, second = made(tmp_path, lr=0.1), made(tmp_path, lr=0.05)
    page = page_of(first, second)

    assert "2 runs of digits" in page.text
    assert "Kind Name digits-0001 digits-0002\ninput lr 0.1 0.05\n" in page.text
    names = ["lr 0.1, train", "lr 0.1, val", "lr 0.05, train", "lr 0.05, val"]
    assert names == [line["name"] for line in page.data[0]["axes"][0]["lines"]]
    assert "Inputs and result" not in page.text


def test_equal_runs(tmp_path: Path) -> None:
    """Runs that differ in nothing but their times say so."""
    page = page_of(made(tmp_path), made(tmp_path))

    assert "All have the same inputs." in page.text
    assert "None, except for times." in page.text


def test_runs_of_several_folders(tmp_path: Path) -> None:
    """Runs of the same name in other folders go by their files."""
    paths = made(tmp_path / "a"), made(tmp_path / "b")
    page = page_of(*paths)

    assert {f"{path}, train" for path in paths} < {line["name"] for line in page.data[0]["axes"][0]["lines"]}
    assert all(str(path) in page.text.splitlines()[-1] for path in paths)


def test_hostile_names_of_many_runs(tmp_path: Path) -> None:
    """Whatever the names and values in runs are, the page that compares them has no other tags, and no secret."""
    pages = []
    for name, other in (("plain", made(tmp_path / "plain")), ("hostile", hostile(tmp_path / "hostile"))):
        paths = [other]
        for n, text in enumerate(HOSTILE[:4]):
            with suppress(RuntimeError), Journal.start(tmp_path / name, "run") as journal:
                inputs = {"lr": n, "token": SecretStr("hunter2"), **({text: text} if name == "hostile" else {})}
                journal.context(FrozenContext, inputs).record("loss" if name == "plain" else text, n)
                raise RuntimeError(text if name == "hostile" else "no memory")
            paths.append(journal.path)
        pages.append(page_of(*paths))
    plain, page = pages
    kinds = [{tag for tag, _ in found.tags} for found in pages]

    assert kinds[1] - kinds[0] <= {"details", "summary"}
    assert len(plain.scripts) == len(page.scripts)
    assert not any(attribute.startswith("on") for _, attributes in page.tags for attribute in attributes)
    assert all(" ".join(text.split()) in page.text for text in HOSTILE[:4])
    assert "hunter2" not in page.html


def test_damaged_afterwards(tmp_path: Path) -> None:
    """A run whose file was lost after it had been loaded is on the page as unreadable, with what was loaded."""
    paths = made(tmp_path), made(tmp_path)
    runs: list[Run[Any]] = [load_run(path) for path in paths]
    first, second = runs
    assert 40 == len(second.metrics["loss"])
    assert 0.9 == second.context["accuracy"]
    paths[1].unlink()
    write_report(first, tmp_path / "page.html", beside=second)

    assert "unreadable" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_left_out(tmp_path: Path) -> None:
    """The page says how much it leaves out of many inputs and many differences."""
    paths = []
    for n in range(5):
        with Journal.start(tmp_path, "wide") as journal:
            ctx = journal.context(FrozenContext, {f"i{at}": at + n for at in range(70)})
            ctx["score"] = n
        paths.append(journal.path)
    text = page_of(*paths).text

    assert "i11 and 58 more inputs." in text
    assert "Left out: 62 more inputs." in text
    assert "Left out: 11 more." in text
