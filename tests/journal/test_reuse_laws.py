"""Laws of reuse over random programs, and mistakes that these laws catch."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crystallize import FrozenContext
from crystallize._journal import reuse_check
from crystallize._journal.earlier_run import EarlierRun
from crystallize._journal.kept_steps import _Judge
from crystallize._journal.reuse_check import StepCheck

from ..profiles import examples
from .reuse_programs import THEMES, Program, ran, ran_in_file

Mistake = Callable[[pytest.MonkeyPatch], None]

_folders = count()


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[], Path]:
    """Return a function that returns a new folder."""
    return lambda: tmp_path / f"runs{next(_folders)}"


def holds(program: Program, folder: Path) -> bool:
    """Return whether a run that takes over steps of the first version ends as a run that does not."""
    ran_in_file(program.first, folder, reuse=False)
    taken, _ = ran_in_file(program.second, folder, reuse=True)
    return ran(program.second, FrozenContext(program.second.inputs))[0] == taken


relaxed = settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@relaxed
@given(seed=st.integers(0, 10**9), theme=st.sampled_from(THEMES))
def test_a_run_that_takes_steps_over_ends_as_one_that_does_not(
    folder: Callable[[], Path], seed: int, theme: str
) -> None:
    """Same values, series, artifacts, results and records, whatever changed between the two versions."""
    assert holds(Program(seed, theme=theme), folder())


@relaxed
@given(seed=st.integers(0, 10**9))
def test_if_nothing_changed_no_step_runs(folder: Callable[[], Path], seed: int) -> None:
    """Also in a run that takes over steps that were taken over."""
    program, runs = Program(seed, is_plain=True), folder()
    first, called = ran_in_file(program.first, runs, reuse=False)
    assert [(first, []), (first, [])] == [ran_in_file(program.first, runs, reuse=True) for _ in range(2)]
    assert called or not first.results


def nothing(*_: Any) -> Iterator[str]:
    """Find no difference."""
    return iter(())


def of_check(name: str) -> Mistake:
    """Return the mistake of leaving out a part of the check."""
    return lambda patch: patch.setattr(StepCheck, name, nothing)


def of_value(patch: pytest.MonkeyPatch) -> None:
    """Compare no values of keys."""
    patch.setattr(StepCheck, "_key", lambda *_: None)


def of_inputs(part: str) -> Mistake:
    """Return the mistake of not comparing a part of the digests of a call."""
    compare = reuse_check.difference_of_inputs

    def blind(before: Any, now: Any, module: str) -> str | None:
        return compare(before._replace(**{part: getattr(now, part)}), now, module)

    return lambda patch: patch.setattr(reuse_check, "difference_of_inputs", blind)


def of_reads(part: str) -> Mistake:
    """Return the mistake of not comparing one kind of reads."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        check = StepCheck._keys

        def without(self: StepCheck, attempt: Any) -> Iterator[str | None]:
            return check(self, attempt._replace(record=attempt.record._replace(**{part: ()})))

        patch.setattr(StepCheck, "_keys", without)

    return plant


def root_alone(patch: pytest.MonkeyPatch) -> None:
    """Compare only the outer step, and not its inner steps."""
    find = StepCheck._differences

    def differences(self: StepCheck) -> Iterator[str | None]:
        return find(self._replace(tree=self.tree._replace(attempts=(self.tree.root,))))

    patch.setattr(StepCheck, "_differences", differences)


def failed_inner(patch: pytest.MonkeyPatch) -> None:
    """Take over a step without the work of an inner step that failed."""
    patch.setattr(EarlierRun, "_lost_in", nothing)
    patch.setattr(_Judge, "_is_whole", lambda self, attempt: attempt.finished)


def whole_series(patch: pytest.MonkeyPatch) -> None:
    """Compare only the number of the points that a step read."""
    patch.setattr(EarlierRun, "json_of", lambda run, point: b"")
    patch.setattr(reuse_check.Present, "points", lambda self, metric: [b""] * self.count(metric))


MISTAKES: dict[str, tuple[str, Mistake]] = {
    "metric reads ignored": ("points", of_check("_metrics")),
    "values of points ignored": ("points", whole_series),
    "artifact reads ignored": ("files", of_check("_artifacts")),
    "key digests ignored": ("keys", of_value),
    "absent keys ignored": ("keys", of_reads("absent")),
    "keys that were found ignored": ("presence", of_reads("present")),
    "blindness ignored": ("inner", of_check("_blind")),
    "code ignored": ("code", of_inputs("code")),
    "arguments ignored": ("code", of_inputs("arguments")),
    "outer step only": ("inner", root_alone),
    "failed inner step taken over": ("inner", failed_inner),
}
"""Each with the theme of the programs that catch it soonest."""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_caught(folder: Callable[[], Path], mistake: str) -> None:
    """The law fails if the check leaves out any of its parts; so the programs are of all kinds that matter."""
    theme, plant = MISTAKES[mistake]
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        assert any(not holds(Program(seed, theme=theme), folder()) for seed in range(500))
