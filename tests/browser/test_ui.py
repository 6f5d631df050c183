"""`crystallize ui` in a browser; run by `make test-page` alone."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from crystallize import FrozenContext, Journal, Metric, MetricSchema
from tests.page.page_runs import hostile

from .accessibility import assert_accessible


class Metrics(MetricSchema):
    loss = Metric(float, goal="minimize")


def made(folder: Path, lr: float) -> None:
    with Journal.start(folder, "grid") as journal:
        ctx = journal.context(FrozenContext, {"lr": lr, "depth": 3}, metrics=Metrics)
        for epoch in range(5):
            ctx.record("loss", lr / (epoch + 1))
        ctx["accuracy"] = 1 - lr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    for lr in (0.1, 0.2, 0.05):
        made(folder, lr)
    hostile(folder)
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Start the server, and end it by Ctrl-C."""
    command = [sys.executable, "-m", "crystallize", "ui", "--dir", os.fspath(folder), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Open pages; when the test ends, none of them has complained, or asked another server."""
    complaints: list[str] = []
    contexts = []

    def asked(url: str) -> None:
        if not url.startswith((address, "data:")):
            complaints.append(f"asked for {url}")

    def open_page(path: str = "", width: int = 1280) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked(request.url))
        page.goto(f"{address}{path}")
        expect(page.locator(".live")).to_have_text("live")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [] == complaints


def names(page: Page) -> list[str]:
    return page.locator("table.runs tbody th a").all_inner_texts()


def wait_for_points(page: Page, count: int) -> None:
    """Wait until plotly has drawn so many points of the first curve."""
    # Not `wait_for_function`, which the policy of the page forbids.
    for _ in range(300):
        if page.evaluate("document.querySelector('.canvas')._fullData?.[0].x.length") == count:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"plotly does not draw {count} points")


def test_a_run_appears_and_grows_by_itself(folder: Path, opened: Callable[..., Page]) -> None:
    """A run that starts after the page was opened appears; its page shows each new point and its end."""
    page = opened()
    with Journal.start(folder, "late") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.3}, metrics=Metrics)
        row = page.locator("tr", has_text="late-0001")
        expect(row).to_contain_text("running")
        row.locator("a").click()
        expect(page.locator("h1")).to_have_text("late-0001")
        expect(page.locator("#curves ~ p.none")).to_be_visible()
        ctx.record("loss", 3.5)
        ctx.record("loss", 2.5)
        expect(page.locator(".results td.best")).to_have_text("2.500")
        page.locator(".charts summary").click()
        page.locator(".log-y").check()
        ctx.record("loss", 1.25)
        expect(page.locator(".results td.best")).to_have_text("1.250")
        # The state of the page stays.
        expect(page.locator(".charts details")).to_have_attribute("open", "")
        expect(page.locator(".log-y")).to_be_checked()
        expect(page.locator(".charts tbody td").first).to_have_text("3")
    expect(page.locator(".status")).to_contain_text("finished")


def test_a_drawn_curve_goes_on(folder: Path, opened: Callable[..., Page]) -> None:
    """A plot that plotly has drawn gets the new points, and keeps the part that is enlarged."""
    with Journal.start(folder, "drawn") as journal:
        ctx = journal.context(FrozenContext, metrics=Metrics)
        for value in range(10):
            ctx.record("loss", value)
        page = opened("run/drawn-0001")
        page.locator(".still").click()
        wait_for_points(page, 10)
        page.evaluate("Plotly.relayout(document.querySelector('.canvas'), {'xaxis.range': [2, 4]})")
        ctx.record("loss", 10)
        wait_for_points(page, 11)
        assert page.evaluate("document.querySelector('.canvas').layout.xaxis.range") == [2, 4]


def test_filter_sort_tick_and_compare(opened: Callable[..., Page]) -> None:
    """The table is filtered and sorted; ticked runs stay ticked, and are compared."""
    page = opened()
    page.get_by_label("Filter").fill("lr < 0.15")
    page.get_by_label("Filter").press("Enter")
    assert names(page) == ["grid-0003", "grid-0001"]
    page.locator("thead button", has_text="lr").click()
    assert names(page) == ["grid-0003", "grid-0001"]
    page.get_by_label("compare grid-0001").check()
    page.locator("thead button", has_text="lr").click()
    assert names(page) == ["grid-0001", "grid-0003"]
    assert page.locator("th[aria-sort=descending]").inner_text().strip("▴▾ ") == "lr"
    expect(page.get_by_label("compare grid-0001")).to_be_checked()
    page.get_by_label("compare grid-0003").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("h1")).to_have_text("2 runs of grid")
    assert page.locator("table.runs tbody th").all_inner_texts() == ["grid-0001", "grid-0003"]
    page.get_by_role("link", name="All runs").click()
    expect(page.locator("h1")).to_be_visible()


def test_ticks_stay_while_the_table_changes(folder: Path, opened: Callable[..., Page]) -> None:
    """A new run replaces the table; ticks and the focus stay."""
    page = opened()
    tick = page.get_by_label("compare grid-0002")
    tick.check()
    made(folder, 0.7)
    expect(page.locator("tr", has_text="grid-0004")).to_be_visible()
    expect(tick).to_be_checked()
    expect(tick).to_be_focused()


def test_compared_runs_are_sorted_still_when_one_changes(folder: Path, opened: Callable[..., Page]) -> None:
    """The script of the comparison works after an update, too."""
    with Journal.start(folder, "other") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.01}, metrics=Metrics)
        ctx.record("loss", 0.5)
        page = opened("compare?run=grid-0001&run=grid-0002&run=other-0001")
        rows = page.locator("table.runs tbody th")
        page.locator("thead button", has_text="lr").click()
        assert rows.all_inner_texts() == ["other-0001", "grid-0001", "grid-0002"]
        ctx["accuracy"] = 0.25
        expect(page.locator(".runs tbody tr", has_text="other-0001")).to_contain_text("0.25")
        assert rows.all_inner_texts() == ["other-0001", "grid-0001", "grid-0002"]
        page.locator("thead button", has_text="lr").click()
        assert rows.all_inner_texts() == ["grid-0002", "grid-0001", "other-0001"]


def test_hostile_names(opened: Callable[..., Page]) -> None:
    """Names and values of a run are text, never markup."""
    for path in ("", "run/hostile-0001", "compare?run=hostile-0001&run=grid-0001"):
        page = opened(path)
        assert page.evaluate("window.hacked === undefined")


@pytest.mark.parametrize("width", [1280, 400])
def test_accessible(opened: Callable[..., Page], width: int) -> None:
    """axe-core finds nothing serious on any page, and none is wider than the window."""
    for path in ("", "run/grid-0001", "compare?run=grid-0001&run=grid-0002"):
        page = opened(path, width)
        assert_accessible(page)
        assert width == page.evaluate("document.documentElement.scrollWidth")
