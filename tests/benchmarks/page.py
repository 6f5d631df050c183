"""What a page costs: to write, and to open, beside what plotly alone makes of all points."""

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from plotly.graph_objects import Figure

from crystallize import FrozenContext, Journal, load_run
from crystallize.report import write_report

from .core import TrainMetrics
from .journal import folder
from .results import Result

POINTS = 100_000
RUNS, POINTS_OF_EACH = 60, 5_000
CHROMIUM = shutil.which("chromium") or "chromium"
ALONE = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
"""Chromium as root, which asks nobody for anything."""
DRAWN = ".main-svg .trace"


def time_page(rounds: int) -> list[Result]:
    """Time the page of a long run: loaded and written, and opened in a browser, beside what plotly makes of it."""
    with folder() as where:
        run, page, bare = _record(where, POINTS), where / "page.html", where / "bare.html"
        written = [
            (_timed(lambda: write_report(load_run(run), page)), _timed(lambda: _write_all([run], bare)))
            for _ in range(rounds + 1)
        ]
        with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=ALONE) as it:
            opened = [(*_open(it, page), _open_bare(it, bare)) for _ in range(rounds + 1)]
    # After one to warm up.
    ours, theirs = (min(seconds) for seconds in zip(*written[1:], strict=True))
    usable, told, drawn, bare_drawn = (min(seconds) for seconds in zip(*opened[1:], strict=True))
    return [
        _row(f"the page of {POINTS:,} points, loaded and written", ours, theirs, 2.0),
        _row("the same opened, until it is there and can be used", usable, bare_drawn, 1.5),
        _row("the same opened, until a curve shows the value under the pointer", told, bare_drawn, 1.5),
        _row("from a click on the curves until plotly has drawn them", drawn, bare_drawn, None),
    ]


def time_page_of_runs(rounds: int) -> list[Result]:
    """Time the page of many runs: loaded and written, and opened in a browser, beside plotly with all their points."""
    with folder() as where:
        page, bare = where / "page.html", where / "bare.html"
        runs = [_record(where, POINTS_OF_EACH, lr=0.1 * 1.1**number) for number in range(RUNS)]
        written = [
            (_timed(lambda: _compare(runs, page)), _timed(lambda: _write_all(runs, bare))) for _ in range(rounds + 1)
        ]
        with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=ALONE) as it:
            opened = [(*_open(it, page), _open_bare(it, bare)) for _ in range(rounds + 1)]
    ours, theirs = (min(seconds) for seconds in zip(*written[1:], strict=True))
    usable, told, _, bare_drawn = (min(seconds) for seconds in zip(*opened[1:], strict=True))
    return [
        _row(f"the page of {RUNS} runs of {POINTS_OF_EACH:,} points, loaded and written", ours, theirs, 5.0),
        _row("the same opened, until it is there and can be used", usable, bare_drawn, 1.5),
        _row("the same opened, until a curve shows the value under the pointer", told, bare_drawn, 1.5),
    ]


def _compare(runs: list[Path], page: Path) -> None:
    first, *others = (load_run(run) for run in runs)
    write_report(first, page, beside=others)


def _timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _record(where: Path, points: int, lr: float = 0.1) -> Path:
    with Journal.start(where, "bench") as journal:
        ctx = journal.context(FrozenContext, {"lr": lr}, metrics=TrainMetrics)
        with ctx.step("fit") as fit:
            loss = fit.metrics.series(TrainMetrics.loss)
            for epoch in range(points // 2):
                value = lr * math.exp(-epoch / 9000) + epoch * 7919 % 1000 / 5000
                loss.add(value, {"epoch": epoch, "split": "train"})
                loss.add(value + 0.1, {"epoch": epoch, "split": "val"})
    return journal.path


def _write_all(runs: list[Path], page: Path) -> None:
    all_series = [load_run(run).metrics.series("loss") for run in runs]
    parts = (loss.where(split=split) for loss in all_series for split in ("train", "val"))
    columns = (([point.tags["epoch"] for point in part], list(part.values)) for part in parts)
    page.write_text(Figure([{"type": "scatter", "x": x, "y": y} for x, y in columns]).to_html())


def _open(browser: Browser, page: Path) -> tuple[float, float, float]:
    """Open the page of a run, point at its curves, and click on them.

    Returns:
        After how long it was there and ready, by its own clock; after how long it told what is under the pointer; and
        how long it took from the click until plotly had drawn.
    """
    opened = browser.new_page(viewport={"width": 1400, "height": 900})
    started = time.perf_counter()
    opened.goto(page.as_uri(), wait_until="commit")
    opened.wait_for_selector("html[data-ready]", state="attached")
    opened.locator(".still").first.hover()
    opened.wait_for_selector(".told p", state="attached")
    told = time.perf_counter()
    opened.mouse.down()
    opened.mouse.up()
    opened.wait_for_selector(DRAWN, state="attached")
    drawn = time.perf_counter()
    marks = opened.evaluate(
        "[...performance.getEntriesByName('first-contentful-paint'), ...performance.getEntriesByName('ready')]"
        ".map((mark) => mark.startTime)"
    )
    opened.close()
    return max(marks) / 1000, told - started, drawn - told


def _open_bare(browser: Browser, page: Path) -> float:
    """Return after how long what plotly alone makes was drawn."""
    opened = browser.new_page(viewport={"width": 1400, "height": 900})
    started = time.perf_counter()
    opened.goto(page.as_uri(), wait_until="commit")
    opened.wait_for_selector(DRAWN, state="attached")
    drawn = time.perf_counter() - started
    opened.close()
    return drawn


def _row(path: str, ours: float, theirs: float, target: float | None) -> Result:
    shown = (f"{ours:.2f} s", "plotly, all points", f"{theirs:.2f} s")
    said = "" if target is None else f"≤ {target:g} s"
    return Result(path, *shown, ours / theirs, None, said, target is None or ours <= target)
