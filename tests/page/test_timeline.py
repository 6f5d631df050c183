"""The steps of a run on a time axis."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize._page.timeline import timeline_layout

from .descriptions import run, step


def test_steps_stand_where_they_ran() -> None:
    """A step begins and ends where it did in time; what is within it follows it, deeper, by its own name."""
    steps = [step("fit", 5, 10), step("load", 0, 5), step("fit/b", 8, 9), step("fit/a", 6, 8), step("fit/a/x", 6, 7)]
    (span,) = timeline_layout(run(*steps)).spans

    assert [("load", 0), ("fit", 0), ("a", 1), ("x", 2), ("b", 1)] == [(bar.label, bar.depth) for bar in span.bars]
    assert [(0, 50), (50, 50), (60, 20), (60, 10), (80, 10)] == [(bar.left, bar.width) for bar in span.bars]


def test_step_without_the_one_around_it() -> None:
    """A step of which the one around it is of another process goes by its whole name."""
    (span,) = timeline_layout(run(step("tune/fold-0"))).spans

    assert ["tune/fold-0"] == [bar.label for bar in span.bars]


def test_a_run_that_goes_on() -> None:
    """The time axis of a run that goes on reaches to the moment at which it was looked at, and so do its open steps."""
    ended = run(step("load", 0, 5), step("fit", 5, None, outcome="running"), spans=[(0, None)])
    (session,) = ended.sessions
    facts = replace(ended, seconds=20.0, sessions=(replace(session, outcome="running", seconds=20.0),))
    (span,) = timeline_layout(facts).spans

    assert [(0, 25), (25, 75)] == [(bar.left, bar.width) for bar in span.bars]


def test_a_branch_that_failed_and_was_merged_later() -> None:
    """What is within a branch stands below the attempt that was merged, once."""
    merged = [step("fold-0", 4, 6), step("fold-0/inner", 5, 6)]
    (span,) = timeline_layout(run(*merged, dead=[step("fold-0", 0, 1), step("fold-0", 2, 3)])).spans

    assert [("fold-0", True), ("fold-0", True), ("fold-0", False), ("inner", False)] == [
        (bar.label, bar.is_dead) for bar in span.bars
    ]


def test_no_time_between_processes() -> None:
    """Each process follows on the one before; one that died lived as long as anything is known of it."""
    facts = run(
        step("load", 0, 5),
        step("fit", 1005, 1010, session=2),
        dead=[step("fit", 5, None)],
        spans=[(0, None), (1000, 1010)],
    )
    found = timeline_layout(facts)

    assert [0, pytest.approx(100 / 3)] == [span.left for span in found.spans]
    assert [("load", False), ("fit", True)] == [(bar.label, bar.is_dead) for bar in found.spans[0].bars]
    (fit,) = found.spans[1].bars
    assert [pytest.approx(200 / 3), pytest.approx(100 / 3)] == [fit.left, fit.width]


@given(st.lists(st.tuples(st.floats(-100, 1e5), st.none() | st.floats(0, 1e5)), max_size=5), st.floats(0, 1e6))
def test_whatever_the_clock_says(spans: list[tuple[float, float | None]], end: float) -> None:
    """Whatever was done to the clock, a bar is within the time axis."""
    steps = [step(f"s{at}", begin, None if took is None else begin + took) for at, (begin, took) in enumerate(spans)]
    (span,) = timeline_layout(run(*steps, spans=[(0, end)])).spans

    for bar in span.bars:
        assert 0 <= bar.left <= 100 + 1e-9
        assert 0 <= bar.width
        assert bar.left + bar.width <= 100 + 1e-9


def test_many_steps() -> None:
    """Of very many steps the first are shown, and of the others those that did not finish."""
    steps = [step(f"s{n}", outcome="failed" if n == 900 else "finished") for n in range(1000)]
    found = timeline_layout(run(*steps))

    assert (401, 599, 0) == (len(found.spans[0].bars), found.left_out, found.unfinished_left_out)
    assert "s900" == found.spans[0].bars[-1].label


def test_many_failures() -> None:
    """Of very many steps that did not finish the first and the last are shown, whichever process they were in."""
    facts = run(
        *(step(f"s{n}", outcome="finished" if n == 1000 else "failed") for n in range(1500)),
        *(step(f"t{n}", 20, 21, session=2, outcome="failed") for n in range(60)),
        spans=[(0, 10), (20, 30)],
    )
    first, second = (tuple(bar.label for bar in span.bars) for span in timeline_layout(facts).spans)

    assert (*(f"s{n}" for n in range(450)),) == first
    assert (*(f"t{n}" for n in range(10, 60)),) == second
    assert (1060, 1059) == (timeline_layout(facts).left_out, timeline_layout(facts).unfinished_left_out)
