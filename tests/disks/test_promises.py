"""The check of a run's promises: it passes where a process was killed, and fails where anything was lost or changed."""

from pathlib import Path

import pytest

from crystallize import FrozenContext, Journal
from crystallize._journal import run_files

from ..journal.journal_runs import no_environment
from .promises import SMALL, Losses, Program, Promises, acts_in, work_of
from .writer import write_and_kill

# Since Python 3.12, of a fork in a process that has threads, as pytest's workers have.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*use of fork\(\):DeprecationWarning")
SEED = 7


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "current_environment", no_environment)


def write(folder: Path, count: int) -> tuple[Path, int]:
    """Write a run of at least so many acts; return its file and their number."""
    with Journal.start(folder, "run") as journal:
        program = Program(SEED, 1, SMALL)
        program.do_whole(journal, journal.context(FrozenContext, metrics=Losses), count)
    return journal.path, program.done


def test_a_run_keeps_its_promises(tmp_path: Path) -> None:
    """A run that ended has every act of its program."""
    path, done = write(tmp_path, 100)

    Promises(SEED, SMALL, {1: done}, ended=1).check_resuming(path)


@pytest.mark.parametrize(
    ("promises", "error"),
    [
        (Promises(SEED, SMALL, {1: 1000}), "process 1: 1000 acts were promised"),
        (Promises(SEED, SMALL, {2: 1}), "process 2 is gone"),
        (Promises(SEED + 1, SMALL), "process 1, .* differ"),
    ],
    ids=["acts", "process", "content"],
)
def test_a_broken_promise(tmp_path: Path, promises: Promises, error: str) -> None:
    """A missing act, a missing process and other content are each an error."""
    path, _ = write(tmp_path, 100)

    with pytest.raises(AssertionError, match=error):
        promises.check(path)


@pytest.mark.parametrize("field", range(5))
def test_a_hole(field: int) -> None:
    """An effect that is missing in the middle is an error, of whichever kind it is."""
    work = work_of(SEED, 1, 300, SMALL)
    kind = work[field]
    if isinstance(kind, list):
        del kind[len(kind) // 2]
    elif isinstance(kind, dict):
        kind.pop(next(iter(kind)))
    else:
        # A set has no order: one of the first acts, as the last one may be missing.
        first = min(work_of(SEED, 1, 100, SMALL)[field])
        assert isinstance(first, str)
        kind.remove(first)

    with pytest.raises(AssertionError, match="differ"):
        acts_in(work, SEED, 1, SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_is_killed(tmp_path: Path, seed: int) -> None:
    """A run whose processes were killed, one after the other, has all that each of them acknowledged."""
    promises = write_and_kill(tmp_path, tmp_path / "said", seed, SMALL)

    (path,) = tmp_path.rglob("*.db")
    promises.check_resuming(path)
