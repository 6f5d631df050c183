"""Series drawn with plotly."""

import math
from typing import Any

import pytest
from typing_extensions import TypedDict

from crystallize import FrameError, FrozenMetrics, Metric, MetricSchema, NoAxisError, Series
from crystallize._page.curve_styles import COLOURS
from crystallize._page.series_figure import plot, plotly_text


class Tags(TypedDict):
    epoch: int
    split: str


class Measured(MetricSchema):
    loss = Metric(float, tags=Tags, unit="nats", goal="minimize")


def recorded(count: int = 3) -> Series[float, Tags]:
    series = FrozenMetrics(Measured).series(Measured.loss)
    for epoch in range(count):
        for split in ("train", "val"):
            series.add(1 / (epoch + 1), {"epoch": epoch, "split": split})
    return series


def figure(series: Series[Any, Any], **options: Any) -> dict[str, Any]:
    return plot(series, **options).to_dict()


def title(of: dict[str, Any]) -> str:
    text: str = of["layout"]["title"]["text"]
    return text


def test_a_curve_a_tag() -> None:
    """A series is drawn over the tag that changes most, a curve of its own colour for each value of the others."""
    drawn = figure(recorded())

    assert ["train", "val"] == [trace["name"] for trace in drawn["data"]]
    assert list(COLOURS[:2]) == [trace["line"]["color"] for trace in drawn["data"]]
    assert [0, 1, 2] == list(drawn["data"][0]["x"])
    assert "epoch" == drawn["layout"]["xaxis"]["title"]["text"]
    assert ("loss (nats)", "split") == (title(drawn), drawn["layout"]["legend"]["title"]["text"])


def test_part_of_a_series() -> None:
    """A part of a series is drawn as a series is."""
    (trace,) = figure(recorded().where(split="val"))["data"]

    assert (3, False) == (len(trace["x"]), figure(recorded().where(split="val"))["layout"]["showlegend"])


def test_choices() -> None:
    """Another axis may be asked for, and a logarithmic scale."""
    drawn = figure(recorded(), x="position", log=True)

    assert [0, 2, 4] == list(drawn["data"][0]["x"])
    assert ("position", "log") == (drawn["layout"]["xaxis"]["title"]["text"], drawn["layout"]["yaxis"]["type"])


def test_no_axis() -> None:
    """An axis that there is not is an error, which names those that there are."""
    with pytest.raises(NoAxisError, match="over 'epok', which is no tag of it; did you mean 'epoch'"):
        plot(recorded(), x="epok")
    told = "which is no number in all of its points; it can be plotted over: epoch, position"
    with pytest.raises(NoAxisError, match=told):
        plot(recorded(), x="split")
    with pytest.raises(NoAxisError, match="over 'epoch', which is 0 in all of its points; it can be plotted over"):
        plot(recorded(1), x="epoch")


def test_long_series_is_thinned() -> None:
    """A long series is thinned without losing what stands out, and the plot says so."""
    series = FrozenMetrics().series("loss")
    for n in range(20_000):
        series.add(9.0 if n == 777 else math.nan if n == 888 else 0.5)
    drawn = figure(series)
    (curve,) = drawn["data"]

    assert 9.0 in list(curve["y"])
    assert len(curve["x"]) < 5000
    assert ("lines", True) == (curve["mode"], "of 20,000 points" in title(drawn))
    assert "1 of 20,000 points is no number that can be drawn, and a gap." in title(drawn)


def test_value_alone_between_gaps() -> None:
    """A value through which no line goes is marked."""
    series = FrozenMetrics().series("loss")
    for n in range(100):
        series.add(math.nan if n in (49, 51) else 0.5)
    _, lone = figure(series)["data"]

    assert ("markers", [50], [0.5]) == (lone["mode"], list(lone["x"]), list(lone["y"]))


def test_many_curves() -> None:
    """Of many curves each has its colour and dash, and the label of a point tells of that alone."""
    series = FrozenMetrics().series("loss")
    for n in range(60):
        series.add(n, {"epoch": n, "layer": f"layer {n % 20}"})
    drawn = figure(series)

    looks = {(trace["line"]["color"], trace["line"]["dash"]) for trace in drawn["data"]}
    assert (20, 20) == (len(drawn["data"]), len(looks))
    assert "closest" == drawn["layout"]["hovermode"]


def test_nothing() -> None:
    """A figure of a series without points says so, also of a part of one, and over whatever it is asked for."""
    for empty in (FrozenMetrics(Measured).series("loss"), recorded().where(split="test")):
        for x in (None, "epoch"):
            drawn = figure(empty, x=x)
            assert ([], ["No points"]) == (
                list(drawn["data"]),
                [note["text"] for note in drawn["layout"]["annotations"]],
            )
    assert "annotations" not in figure(recorded())["layout"]


@pytest.mark.parametrize(
    ("told", "names"),
    [
        ("did you mean 'loss'", ["loss", "norm"]),
        ("recorded are 'a', 'b'$", ["a", "b"]),
        (r"recorded are 'm0', .*'m7', \.\.\.$", [f"m{at}" for at in range(9)]),
        ("recorded are no metrics at all", []),
    ],
)
def test_no_such_metric(told: str, names: list[str]) -> None:
    """A series of a name under which nothing is declared or recorded is an error, which names what there is."""
    metrics = FrozenMetrics()
    for name in names:
        metrics.add(name, 1.0)
    with pytest.raises(FrameError, match=f"(?m)'lss': no metric of this name is declared or recorded; {told}"):
        plot(metrics.series("lss"))


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("loss", "loss"),
        ("&#60;b&#62;x&#60;/b&#62;", "<b>x</b>"),
        ("&amp;lt;", "&lt;"),
        ("%&#123;x&#125;", "%{x}"),
        ("&#36;x&#36;", "$x$"),
        ("\\u202ex", "\u202ex"),
    ],
)
def test_text_is_no_markup(expected: str, text: str) -> None:
    """A text is shown as it is: as no markup, no template and no formula of plotly's."""
    assert expected == plotly_text(text)


def test_draws_a_series() -> None:
    """What is no series is not drawn, and what gives one is said."""
    every: list[Any] = [FrozenMetrics(), (1, 2)]
    for wrong in every:
        with pytest.raises(FrameError, match=r"plot a series, such as metrics\.series\(name\)"):
            plot(wrong)
