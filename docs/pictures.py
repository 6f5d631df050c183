"""The pictures of the documentation: the runs that `scenes` makes, drawn as SVG.

They have the colours of the page that contains them, light or dark.
"""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import groupby
from math import floor, log10
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from scenes import Cost, Deeds, Folds, costs, deeds, demo_page, folds_run, killed_run, lineage_run

from crystallize._base.text import lasted
from crystallize._page.lineage import lineage_layout
from crystallize._page.timeline import StepBar, Timeline, timeline_layout
from crystallize._tables.run_description import Description, describe

WIDTH: Final = 720
MADE: Final = Path(__file__).parent / "_made"
"""The folder that the build writes the pictures to; the files in its folder `site` are copied as they are."""

_STYLE: Final = """
.picture { display: block; width: 100%; min-width: 34rem; height: auto; }
.picture text { font: 13px var(--font-stack, system-ui, sans-serif); fill: var(--color-foreground-primary, #1d2127); }
.picture .code { font-family: var(--font-stack--monospace, ui-monospace, monospace); font-size: 12px; }
.picture .soft { fill: var(--color-foreground-secondary, #565f6b); }
.picture .inside { fill: #fff; font-size: 11px; font-weight: 600; }
.picture .rail { stroke: var(--color-background-border, #dfe2e6); }
.picture .flow { stroke: var(--color-foreground-muted, #6b7480); stroke-width: 1.5; }
.picture .life, .picture .read { stroke: var(--color-brand-content, #0067a5); stroke-width: 2; }
.picture .read { fill: var(--color-background-primary, #fff); }
.picture .write { fill: var(--color-brand-content, #0067a5); }
.picture .refused { fill: none; stroke: #d3622c; stroke-width: 2.5; }
.picture .faint { fill: var(--color-foreground-muted, #6b7480); opacity: 0.55; }
.picture .finished, .picture .c2 { fill: #24806a; }
.picture .dead { fill: url(#picture-dead); stroke: #d3622c; }
.picture .c0 { fill: #1f77b4; }
.picture .c1 { fill: #b5501b; }
.picture .c3 { fill: #93458a; }
"""

_DEAD: Final = (
    '<defs><pattern id="picture-dead" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><path d="M1.5 0V6" stroke="#d3622c" stroke-width="3"/></pattern></defs>'
)


class Drawing:
    """An SVG that is being drawn."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._behind: list[str] = []

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        escaped = escape(text)
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escaped}</text>')

    def line(self, x: float, y: float, to_x: float, to_y: float, kind: str = "rail") -> None:
        self._behind.append(f'<line class="{kind}" x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"/>')

    def box(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        self._parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"/>'
        )

    def written(self, x: float, y: float) -> None:
        self.box(x - 5, y - 5, 10, 10, "write")

    def read(self, x: float, y: float) -> None:
        self._parts.append(f'<circle class="read" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>')

    def refused(self, x: float, y: float) -> None:
        self._parts.append(f'<path class="refused" d="M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10"/>')

    def svg(self, height: float) -> str:
        head = f'<svg xmlns="http://www.w3.org/2000/svg" class="picture" viewBox="0 0 {WIDTH} {height:.0f}">'
        return "\n".join((head, f"<style>{_STYLE}</style>", _DEAD, *self._behind, *self._parts, "</svg>\n"))


def draw_deeds(lines: Sequence[Deeds]) -> str:
    """Draw lines of code, a row each, and the effect of each on the keys, a column each."""
    drawing = Drawing()
    keys = list(dict.fromkeys(key for line in lines for key in line.deeds))
    columns = {key: 350 + 80 * index for index, key in enumerate(keys)}
    row = 28
    height = 30 + row * len(lines)
    for key, x in columns.items():
        drawing.text(x, 14, key, "code", "middle")
        drawing.line(x, 24, x, height)
        writer = next(index for index, line in enumerate(lines) if line.deeds.get(key) == "written")
        drawing.line(x, 30 + row * (writer + 0.5), x, height, "life")
    for index, line in enumerate(lines):
        y = 30 + row * (index + 0.5)
        drawing.text(0, y + 4, line.code, "code")
        for key, deed in line.deeds.items():
            getattr(drawing, deed)(columns[key], y)
        drawing.text(WIDTH, y + 4, line.error, "code soft", "end")
    return _with_signs(drawing, height, "written", "read", "refused")


def _with_signs(drawing: Drawing, height: float, *signs: str) -> str:
    """Return a drawing with a legend of its signs beneath it."""
    for index, sign in enumerate(signs):
        x = 10 + 90 * index
        getattr(drawing, sign)(x, height + 20)
        drawing.text(x + 12, height + 24, sign, "soft")
    return drawing.svg(height + 34)


def draw_costs(found: Sequence[Cost]) -> str:
    """Draw how long values take to write and to read, on a logarithmic axis."""
    drawing = Drawing()
    left, right, row = 190, WIDTH - 70, 40
    seconds = [duration for cost in found for duration in (cost.write, cost.read)]
    low, high = floor(log10(min(seconds) / 2)), log10(max(seconds))

    def position(value: float) -> float:
        return left + (log10(value) - low) / (high - low) * (right - left)

    height = 30 + row * len(found)
    for power in range(low, floor(high) + 1):
        x = position(10**power)
        drawing.line(x, 22, x, height)
        drawing.text(x, 14, _scale(power), "soft", "middle")
    for index, cost in enumerate(found):
        y = 30 + row * index
        drawing.text(left - 12, y + 21, cost.kind, "", "end")
        for value, top, kind in ((cost.write, y + 3, "faint"), (cost.read, y + 18, "write")):
            drawing.box(left, top, max(position(value) - left, 1), 12, kind)
            drawing.text(position(value) + 6, top + 10, _scale(log10(value)), "soft")
    for x, kind, name in ((left, "faint", "one write"), (left + 110, "write", "one read")):
        drawing.box(x, height + 12, 12, 12, kind)
        drawing.text(x + 18, height + 22, name, "soft")
    return drawing.svg(height + 32)


def _scale(power: float) -> str:
    """Return 10 to a power, in seconds, as text; below a microsecond in nanoseconds."""
    return lasted(10**power) if power >= -6 else f"{10 ** (power + 9):.0f} ns"


def draw_lineage(run: Description) -> str:
    """Draw which keys went into which step, and which came out: a row for each key, a column for each step."""
    drawing = Drawing()
    lineage = lineage_layout(run)
    left, head, row = 130, 36, 30
    width = (WIDTH - left - 40) / len(lineage.columns)
    height = head + row * len(lineage.rows)
    columns = [left + (index + 0.5) * width for index in range(len(lineage.columns))]
    for x, step in zip(columns, lineage.columns, strict=True):
        drawing.text(x, 14, step.label, "", "middle")
        drawing.line(x, 24, x, height)
        drawing.line(x, head + (step.first + 0.5) * row, x, head + (step.last + 0.5) * row, "flow")
    for index, key_row in enumerate(lineage.rows):
        y = head + (index + 0.5) * row
        start = left if key_row.writer is None else columns[key_row.writer]
        end = max((columns[reader] for reader in key_row.readers), default=start)
        drawing.text(left - 14, y + 4, key_row.key, "code" if key_row.readers else "code soft", "end")
        drawing.line(start, y, end, y, "life")
        for reader in key_row.readers:
            drawing.read(columns[reader], y)
        if key_row.writer is not None:
            drawing.written(start, y)
    return _with_signs(drawing, height, "written", "read")


_LEFT, _RIGHT, _ROW = 150, 590, 28


def draw_killed(run: Description) -> str:
    """Draw the steps of a run on a time axis, grouped by the process that ran them."""
    drawing = Drawing()
    layout = timeline_layout(run)
    y = 30.0
    for span, process in zip(layout.spans, run.sessions, strict=True):
        drawing.text(0, y + 18, f"Process {span.number}: {process.outcome}", "soft")
        y = _steps(drawing, span.bars, y + _ROW, _outcome)
    return _on_axis(drawing, layout, y)


def _outcome(bar: StepBar) -> tuple[str, str]:
    """Return the class of a step's bar, and the text beside it."""
    outcome = bar.attempt.outcome
    if not bar.is_dead:
        return outcome, outcome
    return "dead", outcome if outcome == "done again" else "dead attempt"


def draw_folds(folds: Folds) -> str:
    """Draw branches on a time axis, in their order, and the points of their series."""
    drawing = Drawing()
    run = describe(folds.run)
    branches = [step.name for step in run.steps]

    def colour(bar: StepBar) -> tuple[str, str]:
        name = bar.attempt.name
        return f"c{branches.index(name)}", f"merged {_ORDINALS[folds.arrived.index(name)]}"

    layout = timeline_layout(run)
    y = _steps(drawing, [bar for span in layout.spans for bar in span.bars], 30.0, colour)
    steps = [point.step for point in folds.run.metrics.series("loss")]
    drawing.text(0, y + 42, 'ctx.metrics["loss"]', "code")
    x = float(_LEFT)
    for name, points in groupby(steps):
        for _ in points:
            drawing.box(x, y + 26, 24, 24, f"c{branches.index(name or '')}")
            drawing.text(x + 12, y + 42, (name or "").rpartition("-")[2], "inside", "middle")
            x += 28
        x += 10
    return _on_axis(drawing, layout, y, y + 60)


_ORDINALS: Final = ("first", "second", "third", "fourth")


def _steps(drawing: Drawing, bars: Sequence[StepBar], y: float, look: Callable[[StepBar], tuple[str, str]]) -> float:
    """Draw steps beneath one another, each with a text beside it; return the bottom of the last."""
    for bar in bars:
        kind, text = look(bar)
        left, width = (share / 100 * (_RIGHT - _LEFT) for share in (bar.left, bar.width))
        drawing.text(14 * (bar.depth + 1), y + 18, bar.label, "code")
        drawing.box(_LEFT + left, y + 7, max(width, 3), 14, kind)
        drawing.text(_RIGHT + 10, y + 18, text, "soft")
        y += _ROW
    return y


def _on_axis(drawing: Drawing, layout: Timeline, end: float, height: float | None = None) -> str:
    """Draw the ticks of the time axis, and return the finished drawing."""
    for tick in layout.ticks:
        x = _LEFT + tick.percent / 100 * (_RIGHT - _LEFT)
        drawing.line(x, 22, x, end)
        drawing.text(x, 14, tick.text, "soft", "middle")
    return drawing.svg((height or end) + 6)


def pictures() -> Iterator[tuple[str, str]]:
    """Run the scenes; return the name of each picture, and the picture as SVG."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        yield "write-once", draw_deeds(deeds())
        yield "freezing", draw_costs(costs())
        yield "steps", draw_lineage(describe(lineage_run(folder)))
        yield "durability", draw_killed(describe(killed_run(folder)))
        yield "branches", draw_folds(folds_run(folder))


def write_all(made: Path = MADE) -> None:
    """Write the pictures, and the page of the demo's run."""
    site = made / "site"
    site.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures():
        (made / f"{name}.svg").write_text(picture, encoding="utf-8")
    with TemporaryDirectory() as scratch:
        (site / "demo.html").write_bytes(demo_page(Path(scratch)).read_bytes())
