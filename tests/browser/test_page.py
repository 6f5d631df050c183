"""The page of a run in a browser; run by `make test-page` alone."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from crystallize import FrozenContext, Journal, Metric, MetricSchema, load_run
from crystallize.plots import plot
from crystallize.report import write_report
from tests.page.page_runs import HOSTILE, hostile, made, resumed, swept

from .accessibility import assert_accessible

READY = "html[data-ready]"
DRAWN = ".canvas .main-svg .trace"


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def plain_page(plain_run: Path) -> Path:
    return page_of(plain_run)


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open pages; when the test ends, none of them has complained, or asked for anything."""
    complaints: list[str] = []
    contexts = []

    def asked(url: str) -> None:
        if not url.startswith(("file:", "data:")):
            complaints.append(f"asked for {url}")

    def open_page(path: Path, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: asked(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector(READY, state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [] == complaints


def page_of(path: Path, *beside: Path) -> Path:
    page = path.with_suffix(".html")
    write_report(load_run(path), page, beside=[load_run(other) for other in beside])
    return page


def drawn(page: Page) -> None:
    """Have plotly draw the first curves."""
    page.locator(".still").first.click()
    page.wait_for_selector(DRAWN, state="attached")


def curves_of(page: Page) -> list[dict[str, Any]]:
    """Return what plotly has drawn of the first metric."""
    found: list[dict[str, Any]] = page.evaluate(
        "document.querySelector('.canvas')._fullData.map((one) => ({name: one.name, visible: one.visible, "
        "colour: one.line?.color, dash: one.line?.dash, x: [...(one.x ?? [])]}))"
    )
    return found


def scales_of(page: Page) -> Any:
    layout = "document.querySelector('.canvas')._fullLayout"
    return page.evaluate(f"[{layout}.xaxis.type, {layout}.yaxis.type]")


def hover(page: Page) -> str:
    """Point at the middle of the first plot, and return what it says."""
    page.evaluate("document.querySelector('.canvas').scrollIntoView({block: 'center'})")
    box = page.locator(".canvas .nsewdrag").first.bounding_box()
    assert box is not None
    labels = page.locator(".hoverlayer text")
    for more in range(100):
        # Again, as plotly listens a moment after it has drawn.
        page.mouse.move(box["x"] + box["width"] / 2 + more % 3, box["y"] + box["height"] / 2)
        page.wait_for_timeout(100)
        if labels.count():
            break
    return "\n".join(labels.all_text_contents())


def point_at(page: Page, share: float) -> None:
    """Point at some share of the axis of the first plot, which plotly has not drawn."""
    page.locator(".still").first.scroll_into_view_if_needed()
    box = page.locator(".still .box").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)


def test_still_curve_is_hovered(plain_page: Path, opened: Callable[..., Page]) -> None:
    """Before plotly draws it, and without starting it, a plot tells the values under the pointer."""
    page = opened(plain_page)
    told, spike = page.locator(".told"), page.locator(".still s")
    for share, epoch in ((0, 0), (0.49, 9), (1, 19)):
        point_at(page, share)
        rows = [" ".join(row.split()) for row in told.locator("p").all_inner_texts()]
        value = f"{0.1 / (epoch + 1):.6g}"
        assert [f"epoch {epoch}", f"train {value}", f"val {value}"] == rows
        assert spike.evaluate("(one) => !one.hidden")
    page.mouse.move(0, 0)
    assert (0, 0) == (page.locator(".told:visible").count(), page.locator(".still s:visible").count())
    assert page.evaluate("window.Plotly === undefined")


def test_many_curves_under_the_pointer(tmp_path: Path, opened: Callable[..., Page]) -> None:
    """Of more curves than there is room for, those nearest to the pointer are told, in the order of the legend."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext)
        for seed in range(12):
            for n in range(5):
                ctx.record("loss", seed, tags={"n": n, "seed": f"s{seed}"})
    page = opened(page_of(journal.path))
    point_at(page, 0.1)
    told = [row.split() for row in page.locator(".told p").all_inner_texts()]
    assert [["n", "0"], *([f"s{at}", str(at)] for at in range(2, 10))] == told


def test_part_of_a_still_curve(plain_page: Path, opened: Callable[..., Page]) -> None:
    """Dragging over a part of a plot that plotly has not drawn yet has it draw that part."""
    page = opened(plain_page)
    point_at(page, 0.75)
    page.mouse.down()
    point_at(page, 0.25)
    width = page.evaluate(
        "document.querySelector('.still s').offsetWidth / document.querySelector('.still .box').offsetWidth"
    )
    assert width == pytest.approx(0.5, abs=0.01)
    page.mouse.up()
    page.wait_for_selector(DRAWN, state="attached")

    left, right = page.evaluate("document.querySelector('.canvas')._fullLayout.xaxis.range")
    assert (left, right) == (pytest.approx(19 / 4, abs=0.1), pytest.approx(19 * 3 / 4, abs=0.1))


def test_gap_under_the_pointer(tmp_path: Path, opened: Callable[..., Page]) -> None:
    """Where a curve has a gap the nearest value is told; of a single point that is told everywhere."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext)
        for n in range(101):
            ctx.record("loss", float("nan") if 40 < n < 60 else -n / 10)
        ctx.record("once", 2.5)
    page = opened(page_of(journal.path))
    point_at(page, 0.45)
    assert ["position 40", "\u22124"] == [row.strip() for row in page.locator(".told p").all_inner_texts()]
    once = page.locator(".still").nth(1)
    once.hover()
    assert ["position 0", "2.5"] == [row.strip() for row in once.locator(".told p").all_inner_texts()]
    assert 1 == once.locator(".dots").count()


def test_curve_is_hovered(plain_page: Path, opened: Callable[..., Page]) -> None:
    """Pointing at a curve tells the values there, of each curve by its name."""
    page = opened(plain_page)
    drawn(page)
    told = hover(page)

    assert "epoch" in told
    assert "train : 0.0" in told
    assert "val : 0.0" in told


def test_other_axis_and_scale(plain_page: Path, opened: Callable[..., Page]) -> None:
    """Another axis and a logarithmic scale can be chosen."""
    page = opened(plain_page)
    drawn(page)
    assert list(range(20)) == curves_of(page)[0]["x"]

    page.locator(".over").first.select_option(label="position")
    page.locator(".log-y").first.check()

    assert list(range(0, 40, 2)) == curves_of(page)[0]["x"]
    layout = page.evaluate(
        "(({xaxis, yaxis}) => [xaxis.type, yaxis.type])(document.querySelector('.canvas')._fullLayout)"
    )
    assert ["linear", "log"] == layout
    page.locator(".log-x").first.check()
    assert "log" == page.evaluate("document.querySelector('.canvas')._fullLayout.xaxis.type")


def test_without_scripts(plain_page: Path, browser: Browser) -> None:
    """Where no scripts run, the curves are there all the same."""
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(plain_page.as_uri())

    assert 2 == page.locator(".still path:not(.dots)").count()
    assert page.locator(".still svg").first.is_visible()
    assert ["0", "5", "10", "15"] == page.locator(".still .across").all_inner_texts()
    page.context.close()


def test_curve_is_hidden(plain_page: Path, opened: Callable[..., Page]) -> None:
    """A curve is hidden and shown again by its name in the legend, by keyboard too."""
    page = opened(plain_page)
    drawn(page)
    button = page.get_by_role("button", name="train")

    button.press("Enter")
    assert [False, True] == [curve["visible"] for curve in curves_of(page)]
    assert "false" == button.get_attribute("aria-pressed")
    button.press("Space")
    assert [True, True] == [curve["visible"] for curve in curves_of(page)]


def test_smoothing(tmp_path: Path, opened: Callable[..., Page]) -> None:
    """A dense curve can be smoothed: a smooth line is drawn over it, which stays visible; other curves cannot be."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext)
        for n in range(5000):
            ctx.record("loss", n % 2 + n / 1000)
        ctx.record("once", 1.0)
        ctx.record("once", 2.0)
    page = opened(page_of(journal.path))
    assert 1 == page.locator(".smooth").count()
    page.get_by_label("smooth").fill("50")
    page.wait_for_selector(DRAWN, state="attached")
    rough, smooth = page.evaluate(
        "document.querySelector('.canvas')._fullData.map((one) => ({y: [...one.y], opacity: one.opacity}))"
    )

    assert (0.25, 1) == (rough["opacity"], smooth["opacity"])
    assert 0 == rough["y"][0]
    inner = smooth["y"][100:-100]
    assert all(value == pytest.approx(0.5 + (at + 100) * 0.005, abs=0.05) for at, value in enumerate(inner))
    page.get_by_label("smooth").fill("0")
    assert 1 == len(curves_of(page))


def test_runs_are_compared(tmp_path: Path, opened: Callable[..., Page]) -> None:
    """A few runs are in one plot: a colour for each run, a dash for each part."""
    page = opened(page_of(made(tmp_path), made(tmp_path, lr=0.05)))
    drawn(page)
    found = {curve["name"]: (curve["colour"], curve["dash"]) for curve in curves_of(page)}

    assert ["lr 0.1, train", "lr 0.1, val", "lr 0.05, train", "lr 0.05, val"] == list(found)
    assert ["solid", "dash", "solid", "dash"] == [dash for _, dash in found.values()]
    assert found["lr 0.1, train"][0] == found["lr 0.1, val"][0] != found["lr 0.05, val"][0]
    assert "lr 0.05, val" in hover(page)
    page.get_by_role("link", name="Differences").click()
    assert page.get_by_text("0.05", exact=True).first.is_visible()


@pytest.fixture(scope="module")
def dozen_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(*swept(tmp_path_factory.mktemp("dozen"), 12))


def column_of(page: Page, name: str) -> list[str]:
    """Return the texts of a column of the table of runs."""
    headings = page.locator(".runs thead th").all_inner_texts()
    at = next(at for at, heading in enumerate(headings, 1) if heading.split()[0] == name)
    return [
        text.removeprefix("\u2605").split("(")[0].strip()
        for text in page.locator(f".runs tbody tr > :nth-child({at})").all_inner_texts()
    ]


def test_runs_are_sorted(dozen_page: Path, opened: Callable[..., Page]) -> None:
    """A click on a heading sorts the runs, the best of a metric first; a second click reverses the order."""
    page = opened(dozen_page)
    lr = page.locator(".runs").get_by_role("columnheader", name="lr")
    accuracies = [f"{1 / (n + 1):.6g}" for n in range(12)]
    page.locator(".runs").get_by_role("button", name="lr").press("Enter")
    assert sorted(column_of(page, "lr"), key=float) == column_of(page, "lr")
    assert "ascending" == lr.get_attribute("aria-sort")
    for expected in (accuracies, accuracies[::-1]):
        page.locator(".runs").get_by_role("button", name="accuracy").click()
        assert expected == column_of(page, "accuracy")
    assert "none" == lr.get_attribute("aria-sort")
    page.locator(".runs").get_by_role("button", name="score").click()
    assert ["0", "1", "5.5", "\u2013"] == [column_of(page, "score")[at] for at in (0, 1, 10, 11)]
    page.locator(".runs").get_by_role("button", name="score").click()
    assert ["5.5", "\u2013"] == [column_of(page, "score")[at] for at in (0, 11)]


def test_result_is_chosen(dozen_page: Path, opened: Callable[..., Page]) -> None:
    """The plot of inputs is shown for the chosen result; a line that is pointed at tells its run, and marks its row."""
    page = opened(dozen_page)
    (plot,) = page.locator(".parallel-scroll:visible").all()
    assert "Inputs and loss" == plot.get_attribute("aria-label")
    page.locator(".result").select_option(label="score")
    (plot,) = page.locator(".parallel-scroll:visible").all()
    assert "Inputs and score" == plot.get_attribute("aria-label")
    plot.locator(".hit[data-run='7']").dispatch_event("pointerenter")
    assert page.locator(".pointed").inner_text().startswith("grid-0008, status \u2713 finished, lr 0.01, depth 3, ")
    assert ["grid-0008"] == page.locator(".runs tr.on th").all_inner_texts()
    plot.locator(".hit[data-run='7']").dispatch_event("pointerleave")
    assert 0 == page.locator(".on[data-run]").count()


@pytest.mark.parametrize("how", ["pointer", "keyboard"])
def test_key_of_the_lineage(plain_page: Path, opened: Callable[..., Page], how: str) -> None:
    """A key that is pointed at, or focused, shows its type, its value, who wrote and who read it, until Escape."""
    page = opened(plain_page)
    key = page.get_by_role("button", name="lr")
    if how == "pointer":
        key.hover()
    else:
        page.get_by_role("region", name="Drawing of the lineage").focus()
        page.keyboard.press("Tab")
    card = page.locator(".card:visible")

    assert ["lr float", "0.1", "written by nobody: an input read by fit"] == [
        " ".join(text.split()) for text in card.locator("p, dl").all_inner_texts()
    ]
    assert "true" == key.get_attribute("aria-expanded")
    page.keyboard.press("Escape")
    assert 0 == card.count()


def test_key_of_the_lineage_by_enter(plain_page: Path, opened: Callable[..., Page]) -> None:
    """Enter hides what a focused key shows, and shows it again; leaving it hides it."""
    page = opened(plain_page)
    key = page.get_by_role("button", name="accuracy")
    key.focus()

    for shown in (0, 1):
        key.press("Enter")
        assert shown == page.locator(".card:visible").count()
    page.keyboard.press("Tab")
    assert 0 == page.locator(".card:visible").count()


def test_hostile_names_are_inert(tmp_path: Path, opened: Callable[..., Page]) -> None:
    """Names that are markup, script, templates or formulas are shown as they are, and do nothing."""
    page = opened(page_of(hostile(tmp_path)))
    still = page.locator(".still").first
    still.hover()
    assert "n " in still.locator(".told").inner_text()
    for canvas in page.locator(".canvas").all():
        canvas.click()
        canvas.locator(".main-svg .trace").first.wait_for(state="attached")
    told = hover(page)

    assert page.evaluate("window.hacked === undefined && Object.prototype.x === undefined && ({}).name === undefined")
    assert ["RUN", "hostile-0001"] == [page.locator(".kind").inner_text().upper(), page.locator("h1").inner_text()]
    assert set(HOSTILE) <= {name.inner_text() for name in page.locator(".results .metric").all()}
    assert "n " in told
    assert 2 == page.locator("script:not([type])").count()
    assert 0 == page.locator("main b:not(.ticks b), main a, .canvas a").count()


def test_names_in_a_plot(tmp_path: Path, opened: Callable[..., Page]) -> None:
    """In the plot too, what a tag says is shown as it is."""
    names = ["<b>bold</b>", "%{x}", "<a href='x'>y</a>", "&lt;", "$x^2$"]
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext)
        for name in names:
            for n in range(9):
                ctx.record("loss", n, tags={"<i>n</i>": n, "name": name})
    page = opened(page_of(journal.path))
    page.locator(".still").hover()
    told = page.locator(".told").inner_text()
    assert [] == [name for name in ("<i>n</i> 4", *names) if name not in told]
    drawn(page)
    told = hover(page)

    assert [] == [name for name in names if f"{name} : " not in told]
    assert "<i>n</i> 4" in told
    assert "<i>n</i>" == page.locator(".canvas .xtitle").first.text_content()


def test_long_series(tmp_path: Path, opened: Callable[..., Page]) -> None:
    """A long series is thinned, and beneath the plot it says so."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext)
        for n in range(20_000):
            ctx.record("loss", 9.0 if n == 777 else n % 7 / 7)
    page = opened(page_of(journal.path))
    drawn(page)

    assert "of 20,000 points" in page.locator(".thinned").inner_text()
    assert page.evaluate("Math.max(...document.querySelector('.canvas')._fullData[0].y)") == 9


def test_dark(plain_page: Path, opened: Callable[..., Page]) -> None:
    """The page, its plots too, is dark where that is preferred, and turns when the preference does."""
    page = opened(plain_page, color_scheme="dark")
    drawn(page)
    dark = curves_of(page)[0]["colour"]
    assert "rgb(21, 24, 28)" == page.evaluate("getComputedStyle(document.body).backgroundColor")

    page.emulate_media(color_scheme="light")
    while dark == curves_of(page)[0]["colour"]:
        page.wait_for_timeout(50)
    assert "rgb(255, 255, 255)" == page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_print(plain_page: Path, opened: Callable[..., Page]) -> None:
    """On paper all is drawn, open and light, and afterwards as it was."""
    page = opened(plain_page, color_scheme="dark", viewport={"width": 1400, "height": 300})

    assert page.pdf(format="A4").startswith(b"%PDF")
    assert page.evaluate("window.Plotly === undefined")
    drawn(page)
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert 0 == page.locator("details:not([open])").count()
    assert page.locator(DRAWN).count() > 0
    assert "#0067a5" == curves_of(page)[0]["colour"]
    assert "rgb(255, 255, 255)" == page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0
    assert "#6cb6ee" == curves_of(page)[0]["colour"]


LONG = "validation_mean_absolute_percentage_error_of_the_calibrated_ensemble_over_all_regions"


class Measured(MetricSchema):
    locals()[LONG] = Metric(float, unit="percent", goal="minimize")
    loss = Metric(float, goal="minimize")
    norm = Metric(object)


def large(folder: Path) -> Path:
    """Make a run with a long name of a metric, large numbers, long errors, and steps at the end of the time axis."""
    with Journal.start(folder, "large") as journal:
        ctx = journal.context(FrozenContext, metrics=Measured)
        for value in (-1234567.0, -0.000012345, math.inf):
            ctx.record(LONG, value)
            ctx.record("loss", value)
        ctx.record("norm", 10**400)
        for at in range(4):
            with suppress(ValueError), ctx.step(f"fold-{at}"):
                time.sleep(0.02)
                raise ValueError("no rows:\n\n" + "the column is empty\n\n" * 50)
        with ctx.step("last"):
            pass
    return journal.path


@pytest.mark.parametrize("width", [400, 1280])
def test_numbers_can_be_seen(tmp_path: Path, opened: Callable[..., Page], width: int) -> None:
    """A long name of a metric wraps, and pushes no number of it or of another out of sight."""
    page = opened(page_of(large(tmp_path)), viewport={"width": width, "height": 900})
    out = page.evaluate(
        "[...document.querySelectorAll('.results')].map((one) => one.getBoundingClientRect().right "
        "- one.parentElement.getBoundingClientRect().right)"
    )
    assert width == page.evaluate("document.documentElement.scrollWidth")
    assert [0, 0] == [max(0, round(more)) for more in out]


@pytest.fixture(scope="module")
def sixty_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(*swept(tmp_path_factory.mktemp("sixty"), 60))


OVERLAPPING = """
[...document.querySelectorAll('.parallel-scroll:not([hidden]) .pole')].map((pole) =>
  [...pole.querySelectorAll('i')].map((tick) => tick.getBoundingClientRect())
    .filter((box, at, all) => at && box.bottom > all[at - 1].top + 2).length)
"""
"""How many ticks of each axis overlap the one below."""


@pytest.mark.parametrize("width", [400, 1280])
def test_many_runs_can_be_read(sixty_page: Path, opened: Callable[..., Page], width: int) -> None:
    """Of 60 runs, nothing is wider than the window but tables, whose headings and names of runs stay in sight."""
    page = opened(sixty_page, viewport={"width": width, "height": 900})
    assert width == page.evaluate("document.documentElement.scrollWidth")
    for table in page.locator(".runs, .matrix-of-runs").all():
        region = table.locator("..")
        assert region.evaluate("(one) => one.clientHeight") <= 720
        region.evaluate("(one) => { one.scrollLeft = one.scrollTop = 9999; }")
        parts = (region, table.locator("thead th").first, table.locator("tbody tr:last-child th"))
        box, heading, name = (part.evaluate("(one) => one.getBoundingClientRect().toJSON()") for part in parts)
        assert box["x"] == pytest.approx(name["x"], abs=1)
        assert box["y"] == pytest.approx(heading["y"], abs=2)
    legend = page.locator(".legend").first
    assert 24 == legend.locator("button").count()
    assert legend.evaluate("(one) => one.getBoundingClientRect().right") <= width
    assert {0} == set(page.evaluate(OVERLAPPING))


@pytest.mark.parametrize("width", [400, 1280])
def test_steps_that_failed(tmp_path: Path, opened: Callable[..., Page], width: int) -> None:
    """Dead attempts are marked, long errors take a line until they are opened, and no bar leaves its axis."""
    page = opened(page_of(large(tmp_path)), viewport={"width": width, "height": 900})
    tags, errors = page.locator(".timeline .tag"), page.locator(".timeline .rest")
    assert ["dead attempt"] * 4 == tags.all_inner_texts()
    boxes = [tag.bounding_box() for tag in tags.all()]
    assert all(box is not None and box["width"] > 40 and box["x"] + box["width"] < width for box in boxes)
    for error in errors.all():
        box = error.bounding_box()
        assert box is not None
        assert box["height"] < 60
    errors.first.locator("summary").click()
    opened_box = errors.first.bounding_box()
    assert opened_box is not None
    assert opened_box["height"] > 600
    out = page.evaluate(
        "[...document.querySelectorAll('.timeline td.axis')].filter((one) => one.querySelector('s')"
        ".getBoundingClientRect().right > one.getBoundingClientRect().right + 0.01).length"
    )
    assert (5, 0) == (page.locator(".timeline td.axis s").count(), out)


def compared(folder: Path) -> tuple[Path, ...]:
    return made(folder), made(folder, lr=0.05)


@pytest.fixture(scope="module", params=[compared, resumed, hostile, large], ids=lambda make: make.__name__)
def any_page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = request.param(tmp_path_factory.mktemp("any"))
    return page_of(*(runs if isinstance(runs, tuple) else (runs,)))


@pytest.mark.parametrize("width", [1400, 400])
def test_accessible(any_page: Path, opened: Callable[..., Page], width: int) -> None:
    """axe-core finds nothing serious, light or dark, closed or open, and nothing is wider than the window."""
    page = opened(any_page, viewport={"width": width, "height": 900})
    page.locator(".still").first.hover()
    assert_accessible(page)
    drawn(page)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert_accessible(page)
    assert width == page.evaluate("document.documentElement.scrollWidth")


@pytest.mark.parametrize("many_page", ["dozen_page", "sixty_page"])
def test_many_runs_are_accessible(request: pytest.FixtureRequest, opened: Callable[..., Page], many_page: str) -> None:
    """axe-core finds nothing serious on the page of many runs, on a wide and on a narrow screen."""
    page = opened(request.getfixturevalue(many_page))
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        assert_accessible(page)


def test_figure_of_a_notebook(tmp_path: Path, plain_run: Path, opened: Callable[..., Page]) -> None:
    """The figure of a series can be shown by plotly itself."""
    path = tmp_path / "figure.html"
    figure = plot(load_run(plain_run).metrics.series("loss"))
    path.write_text(f"<html data-ready>{figure.to_html()}</html>", encoding="utf-8")
    page = opened(path)
    page.wait_for_selector(".main-svg .trace", state="attached")

    assert ["train", "val"] == page.locator(".legendtext").all_text_contents()
