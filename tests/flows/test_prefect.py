"""The steps of the example as a flow of Prefect's; run by `make test-flows` alone."""

from collections.abc import Iterator

import pytest
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import ProcessPoolTaskRunner
from prefect.testing.utilities import prefect_test_harness
from prefect_flow import cross_validate

from .runs import NAMES, Attempts, check_complete, finished, killed, run_number


@pytest.fixture(scope="session", autouse=True)
def _server() -> Iterator[None]:
    """A server on this machine that forgets all."""
    with prefect_test_harness(server_startup_timeout=120):
        yield


def test_runs(attempts: Attempts) -> None:
    """Each task runs once, and is in the file."""
    assert pytest.approx(2.64947) == cross_validate()
    assert sorted(NAMES[:-1]) == sorted(attempts.names)
    check_complete(run_number(1))


@pytest.mark.parametrize("name", ["load", "fold-1"])
def test_tries_a_task_again(attempts: Attempts, name: str) -> None:
    """An attempt that fails leaves nothing: Prefect's next one meets none of it, and all is there once."""
    attempts.failing[name] = 2
    cross_validate()
    assert 3 == attempts.names.count(name)
    check_complete(run_number(1))


def test_goes_on_after_a_failure(attempts: Attempts) -> None:
    """When a task fails for good, the others are kept; called again, the flow runs what is missing."""
    attempts.failing["fold-1"] = 3
    with pytest.raises(OSError, match="fold-1 timed out"):
        cross_validate()
    assert ["load", "fold-0", "fold-2", "fold-3"] == finished(run_number(1))

    attempts.names.clear()
    cross_validate()
    assert ["fold-1"] == attempts.names
    check_complete(run_number(1))


def test_tries_a_flow_again(attempts: Attempts) -> None:
    """Where Prefect tries the flow itself again, its second attempt goes on with the run of the first."""
    attempts.failing["fold-1"] = 3
    cross_validate.with_options(retries=1)()
    assert sorted([*NAMES[:-1], *3 * ["fold-1"]]) == sorted(attempts.names)
    check_complete(run_number(1))


def test_runs_in_processes() -> None:
    """Branches and deltas travel between processes."""
    cross_validate.with_options(task_runner=ProcessPoolTaskRunner(max_workers=2))()
    check_complete(run_number(1))


def test_goes_on_after_a_death(attempts: Attempts) -> None:
    """What was merged when the process died is not run again."""
    killed("import prefect_flow; prefect_flow.cross_validate()", PREFECT_API_URL=PREFECT_API_URL.value())
    merged = finished(run_number(1))
    assert ["load", "fold-0", "fold-1", "fold-3"] == merged

    cross_validate()
    assert ["fold-2"] == attempts.names
    check_complete(run_number(1))


def test_a_complete_run_is_followed_by_another() -> None:
    """When all has run, the next call is a new run."""
    cross_validate()
    cross_validate(lr=0.2)
    assert (0.1, 0.2) == (run_number(1).inputs["lr"], run_number(2).inputs["lr"])
