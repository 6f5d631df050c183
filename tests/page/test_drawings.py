"""Where things stand in the drawings of a page."""

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize import FrozenMetrics
from crystallize._page.drawings import Bounds, Weave, bounds, dots, marks, spark, timeline, weave
from crystallize._page.metric_curves import At, Curve, curves, points_of
from crystallize._tables.export import ValueRow
from crystallize._tables.run_description import Description, RunProcess, StepAttempt

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def step(name: str, begin: float = 0, end: float | None = 1, **facts: Any) -> StepAttempt:
    """Return an opening of a step, from one second to another."""
    known: dict[str, Any] = {"reads": (), "absent": (), "writes": (), "points": {}, "artifacts": (), "error": None}
    outcome = "died" if end is None else "finished"
    seconds = None if end is None else end - begin
    known |= {"session": 1, "outcome": outcome, "started": at(begin), "seconds": seconds}
    return StepAttempt(**{"name": name, "ended": None if end is None else at(end), **known, **facts})


def run(
    *steps: StepAttempt,
    dead: Iterable[StepAttempt] = (),
    spans: Iterable[tuple[float, float | None]] = ((0, 10),),
    inputs: Iterable[str] = (),
    values: Iterable[str] = (),
) -> Description:
    """Return what is said of a run with these steps and keys, whose processes lived in these spans."""
    origin: Any = {}
    sessions = tuple(
        RunProcess(number, at(begin), None if end is None else at(end), "finished", None, origin)
        for number, (begin, end) in enumerate(spans, start=1)
    )
    rows = {key: ValueRow(key, "int", key in inputs, None, None, 1) for key in (*inputs, *values)}
    return Description(
        name="digits-0001",
        number=1,
        path="digits-0001.db",
        status="finished",
        started=START,
        ended=None,
        seconds=None,
        error=None,
        sessions=sessions,
        inputs=tuple(rows[key] for key in inputs),
        values=tuple(rows[key] for key in values),
        steps=steps,
        dead_attempts=tuple(dead),
        metrics=(),
        artifacts=(),
    )


def test_steps_stand_where_they_ran() -> None:
    """A step begins and ends where it did in time; what is within it follows it, deeper, by its own name."""
    steps = [step("fit", 5, 10), step("load", 0, 5), step("fit/b", 8, 9), step("fit/a", 6, 8), step("fit/a/x", 6, 7)]
    (span,) = timeline(run(*steps)).spans

    assert [("load", 0), ("fit", 0), ("a", 1), ("x", 2), ("b", 1)] == [(bar.label, bar.depth) for bar in span.bars]
    assert [(0, 50), (50, 50), (60, 20), (60, 10), (80, 10)] == [(bar.left, bar.width) for bar in span.bars]


def test_step_without_the_one_around_it() -> None:
    """A step of which the one around it is of another process goes by its whole name."""
    (span,) = timeline(run(step("tune/fold-0"))).spans

    assert ["tune/fold-0"] == [bar.label for bar in span.bars]


def test_a_run_that_goes_on() -> None:
    """The time axis of a run that goes on reaches to the moment at which it was looked at, and so do its open steps."""
    ended = run(step("load", 0, 5), step("fit", 5, None, outcome="running"), spans=[(0, None)])
    (session,) = ended.sessions
    facts = replace(ended, seconds=20.0, sessions=(replace(session, outcome="running"),))
    (span,) = timeline(facts).spans

    assert [(0, 25), (25, 75)] == [(bar.left, bar.width) for bar in span.bars]


def test_a_branch_that_failed_and_was_merged_later() -> None:
    """What is within a branch stands below the attempt that was merged, once."""
    merged = [step("fold-0", 4, 6), step("fold-0/inner", 5, 6)]
    (span,) = timeline(run(*merged, dead=[step("fold-0", 0, 1), step("fold-0", 2, 3)])).spans

    assert [("fold-0", True), ("fold-0", True), ("fold-0", False), ("inner", False)] == [
        (bar.label, bar.is_dead) for bar in span.bars
    ]


@pytest.mark.parametrize(
    ("expected", "low", "high"),
    [
        ("0 0.2 0.4 0.6 0.8 1.0", 0, 1),
        ("0.5 1.0", 0.004, 1.29),
        ("0 10,000 20,000 30,000 40,000", 0, 49999),
        ("-4 -2 0 2 4", -5, 5),
        ("0 5e-7", -3e-7, 9e-7),
        ("1.0e-9 1.5e-9 2.0e-9 2.5e-9 3.0e-9", 1e-9, 3e-9),
        ("0 5.0e7 1.0e8 1.5e8 2.0e8 2.5e8", 0, 2.5e8),
        ("3", 3, 3),
        ("0", 0, 0),
        ("-1e+308 1e+308", -1e308, 1e308),
        ("4.94066e-324 9.88131e-324", 5e-324, 1e-323),
        ("1e+16 1e+16", 1e16, 1e16 + 2),
    ],
)
def test_marks_of_an_axis(expected: str, low: float, high: float) -> None:
    """An axis has marks at round numbers, or, where these would be too long, at its ends."""
    found = marks(low, high)

    assert expected == " ".join(mark.text.replace("\N{MINUS SIGN}", "-") for mark in found)
    assert all(0 <= mark.left <= 100 + 1e-6 for mark in found)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_any_axis_has_marks(one: float, other: float) -> None:
    """Whatever an axis reaches over, it has up to six marks, within it."""
    found = marks(min(one, other), max(one, other))

    assert 1 <= len(found) <= 6
    assert all(-1e-4 <= mark.left <= 100 + 1e-4 for mark in found)


def test_no_time_between_processes() -> None:
    """Each process follows on the one before; one that died lived as long as anything is known of it."""
    facts = run(
        step("load", 0, 5),
        step("fit", 1005, 1010, session=2),
        dead=[step("fit", 5, None)],
        spans=[(0, None), (1000, 1010)],
    )
    found = timeline(facts)

    assert [0, pytest.approx(100 / 3)] == [span.left for span in found.spans]
    assert [("load", False), ("fit", True)] == [(bar.label, bar.is_dead) for bar in found.spans[0].bars]
    (fit,) = found.spans[1].bars
    assert [pytest.approx(200 / 3), pytest.approx(100 / 3)] == [fit.left, fit.width]


@given(st.lists(st.tuples(st.floats(-100, 1e5), st.none() | st.floats(0, 1e5)), max_size=5), st.floats(0, 1e6))
def test_whatever_the_clock_says(spans: list[tuple[float, float | None]], end: float) -> None:
    """Whatever was done to the clock, a bar is within the time axis."""
    steps = [step(f"s{at}", begin, None if took is None else begin + took) for at, (begin, took) in enumerate(spans)]
    (span,) = timeline(run(*steps, spans=[(0, end)])).spans

    for bar in span.bars:
        assert 0 <= bar.left <= 100 + 1e-9
        assert 0 <= bar.width
        assert bar.left + bar.width <= 100 + 1e-9


def test_many_steps() -> None:
    """Of very many steps the first are shown, and of the others those that did not finish."""
    steps = [step(f"s{n}", outcome="failed" if n == 900 else "finished") for n in range(1000)]
    found = timeline(run(*steps))

    assert (401, 599, 0) == (len(found.spans[0].bars), found.left_out, found.unfinished_left_out)
    assert "s900" == found.spans[0].bars[-1].label


def test_many_failures() -> None:
    """Of very many steps that did not finish the first and the last are shown, whichever process they were in."""
    facts = run(
        *(step(f"s{n}", outcome="finished" if n == 1000 else "failed") for n in range(1500)),
        *(step(f"t{n}", 20, 21, session=2, outcome="failed") for n in range(60)),
        spans=[(0, 10), (20, 30)],
    )
    first, second = (tuple(bar.label for bar in span.bars) for span in timeline(facts).spans)

    assert (*(f"s{n}" for n in range(450)),) == first
    assert (*(f"t{n}" for n in range(10, 60)),) == second
    assert (1060, 1059) == (timeline(facts).left_out, timeline(facts).unfinished_left_out)


@pytest.mark.parametrize(
    ("expected", "seconds"),
    [
        (["0", "1 µs"], 0),
        (["0", "100 ms", "200 ms", "300 ms", "400 ms", "500 ms"], 0.5),
        (["0", "5 s", "10 s", "15 s", "20 s"], 23),
        (["0", "20 s", "40 s", "1 min", "1 min 20 s", "1 min 40 s"], 100),
        (["0", "1 h", "2 h", "3 h"], 3.9 * 3600),
        (["0", "12 h", "1 d", "1 d 12 h", "2 d"], 2 * 86400),
        (["0", "20 d", "40 d", "60 d", "80 d", "100 d"], 100 * 86400),
    ],
)
def test_marks_of_the_time_axis(expected: list[str], seconds: float) -> None:
    """The time axis has at most five marks after the first, at round times."""
    found = timeline(run(spans=[(0, seconds)])).ticks

    assert expected == [tick.text for tick in found]
    assert all(0 <= tick.left <= 100 + 1e-6 for tick in found)


def test_points_as_dots() -> None:
    """Points stand where their curve does; a gap has none."""
    curve = Curve((), [0, 1, 2], [0, None, 1], 3, 1, At(0, 0), At(2, 1), 1)

    assert "M0.0 10.0h0M30.0 0.0h0" == dots(curve, range(3), Bounds(0, 2, 0, 1), 30, 10)


def woven(*steps: StepAttempt, inputs: Iterable[str] = (), values: Iterable[str] = ()) -> Weave:
    return weave(run(*steps, inputs=inputs, values=values))


def test_lineage_from_key_to_step_to_key() -> None:
    """A key has the step that wrote it and those that read it, and its kin over any number of steps."""
    load = step("load", 0, 1, reads=("path",), writes=("rows",))
    fit = step("fit", 1, 2, reads=("rows", "lr"), writes=("model",))
    found = woven(load, fit, inputs=("path", "lr", "note"), values=("rows", "model"))

    assert ["load", "fit"] == [column.label for column in found.columns]
    assert [(0, 3), (1, 4)] == [(column.first, column.last) for column in found.columns]
    lives = {life.key: (life.writer, life.readers, life.kin) for life in found.lives}
    assert {
        "path": (None, (0,), (3, 4)),
        "lr": (None, (1,), (4,)),
        "note": (None, (), ()),
        "rows": (0, (1,), (0, 4)),
        "model": (1, (), (0, 1, 3)),
    } == lives


def test_steps_that_did_alike() -> None:
    """Steps that differ by a number alone are one column; by what they read, they are not."""
    folds = [step(f"tune/fold-{n}", 0, n + 1, reads=("lr",)) for n in range(12)]
    odd = step("tune/fold-12", 0, 20, reads=("seed",))

    assert ["tune/fold-0…11", "tune/fold-12"] == [
        one.label for one in woven(*folds, odd, inputs=("lr", "seed")).columns
    ]


def test_step_around_others() -> None:
    """What a step within another one has read may be in what that wrote."""
    inner, outer = step("tune/fold", 0, 1, reads=("lr",)), step("tune", 0, 2, writes=("score",))
    lr, score = woven(inner, outer, inputs=("lr",), values=("score",)).lives

    assert ((0,), (1,), (0, 1)) == (lr.readers, lr.passed, lr.steps)
    assert (1, (0,)) == (score.writer, score.kin)


def test_key_that_is_not_in_the_run() -> None:
    """A step may have read a key that the run does not hold, as it was done again; it has no row."""
    found = woven(step("fit", reads=("gone",)), inputs=("lr",))

    assert [(0, 0)] == [(column.first, column.last) for column in found.columns]
    assert [()] == [life.readers for life in found.lives]


def test_large_lineage() -> None:
    """A lineage too large to be seen is cut, and says by how much."""
    steps = [step(f"{n}.", n, n + 1, reads=(f"k{n}",), writes=(f"k{n + 1}",)) for n in range(200)]
    found = woven(*steps, inputs=("k0",), values=[f"k{n + 1}" for n in range(200)])

    assert (60, 120, 140 + 81) == (len(found.columns), len(found.lives), found.left_out)


def path(*values: float) -> str:
    series = FrozenMetrics().series("loss")
    for value in values:
        series.add(value)
    (curve,) = curves(points_of(series)).shown
    within = bounds([curve])
    assert within is not None
    return spark(curve, within, 100, 20)


@pytest.mark.parametrize(
    ("expected", "values"),
    [
        ("M0.0 20.0L50.0 0.0L100.0 10.0", (0, 2, 1)),
        ("M0.0 20.0M100.0 0.0", (0, math.nan, 1)),
        ("M50.0 10.0", (5,)),
        ("M0.0 10.0L100.0 10.0", (5, 5)),
        ("M0.0 20.0L100.0 0.0", (-1.7e308, 1.7e308)),
    ],
)
def test_curve_in_a_line(expected: str, values: tuple[float, ...]) -> None:
    """A curve goes from left to right and from bottom to top of its box, with gaps."""
    assert expected == path(*values)


def test_what_curves_lie_within() -> None:
    """Curves lie within the least and the most of all, those without a number aside; without any there is nothing."""
    series = FrozenMetrics().series("loss")
    for epoch, (train, val) in enumerate([(3.0, math.nan), (1.0, math.nan), (2.0, math.nan)]):
        series.add(train, {"epoch": epoch + 5, "split": "train"})
        series.add(val, {"epoch": epoch, "split": "val"})
    train_, val_ = curves(points_of(series)).shown

    assert Bounds(5, 7, 1.0, 3.0) == bounds([train_, val_])
    assert bounds([val_]) is None
