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
CHROMIUM = shutil.which("chromium") or "chromium"
READY = "html[data-ready]"
DRAWN = ".main-svg .trace"
ALONE = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
"""Chromium as root, which asks nobody for anything."""


def time_page(rounds: int) -> list[Result]:
    """Time the page of a long run: loaded and written, and opened in a browser until its curves are there."""
    with folder() as where:
        run, page, bare = _record(where), where / "page.html", where / "bare.html"
        written = _least(rounds, lambda: write_report(load_run(run), page), lambda: _write_all(run, bare))
        with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=ALONE) as it:
            usable = _least(rounds, lambda: _open(it, page, READY), lambda: _open(it, bare, DRAWN))
            opened = _least(rounds, lambda: _open(it, page, DRAWN), lambda: _open(it, bare, DRAWN))
    return [
        _row(f"the page of {POINTS:,} points, loaded and written", written, 2.0),
        _row("the same opened, until it can be used", usable, 1.5),
        _row("the same opened, until its curves are there", opened, 1.5),
    ]


def _record(where: Path) -> Path:
    with Journal.start(where, "bench") as journal:
        ctx = journal.context(FrozenContext, metrics=TrainMetrics)
        with ctx.step("fit") as fit:
            loss = fit.metrics.series(TrainMetrics.loss)
            for epoch in range(POINTS // 2):
                value = math.exp(-epoch / 9000) + epoch * 7919 % 1000 / 5000
                loss.add(value, {"epoch": epoch, "split": "train"})
                loss.add(value + 0.1, {"epoch": epoch, "split": "val"})
    return journal.path


def _write_all(run: Path, page: Path) -> None:
    loss = load_run(run).metrics.series("loss")
    parts = (loss.where(split=split) for split in ("train", "val"))
    columns = (([point.tags["epoch"] for point in part], list(part.values)) for part in parts)
    page.write_text(Figure([{"type": "scatter", "x": x, "y": y} for x, y in columns]).to_html())


def _open(browser: Browser, page: Path, until: str) -> None:
    opened = browser.new_page(viewport={"width": 1400, "height": 900})
    opened.goto(page.as_uri(), wait_until="commit")
    opened.wait_for_selector(until, state="attached")
    opened.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    opened.close()


def _least(rounds: int, ours: Callable[[], None], theirs: Callable[[], None]) -> tuple[float, float]:
    """Return the fastest of some rounds of each, after one to warm up."""
    found: list[tuple[float, ...]] = []
    for _ in range(rounds + 1):
        moments = [time.perf_counter()]
        for act in (ours, theirs):
            act()
            moments.append(time.perf_counter())
        found.append((moments[1] - moments[0], moments[2] - moments[1]))
    return min(one for one, _ in found[1:]), min(other for _, other in found[1:])


def _row(path: str, seconds: tuple[float, ...], target: float) -> Result:
    ours, theirs = seconds
    shown = (f"{ours:.2f} s", "plotly, all points", f"{theirs:.2f} s")
    return Result(path, *shown, ours / theirs, None, f"≤ {target:g} s", ours <= target)
