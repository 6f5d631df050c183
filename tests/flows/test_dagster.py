"""The steps of the example as a job of Dagster's; run by `make test-flows` alone."""

from pathlib import Path

import pytest
from dagster import (
    JobDefinition,
    ReexecutionOptions,
    execute_job,
    in_process_executor,
    instance_for_test,
    multiprocess_executor,
    reconstructable,
)
from dagster_job import ONE_WRITER, TrainRun, cross_validate

from .runs import NAMES, Attempts, check_complete, finished, killed, run_number


def test_runs(attempts: Attempts) -> None:
    """Each op runs once, and is in the file."""
    result = cross_validate.execute_in_process()
    assert pytest.approx(2.64947) == result.output_for_node("summarize")
    assert NAMES[:-1] == attempts.names
    check_complete(run_number(1))


@pytest.mark.parametrize("name", ["load", "fold-1"])
def test_tries_an_op_again(attempts: Attempts, name: str) -> None:
    """An attempt that fails leaves nothing: Dagster's next one meets none of it, and all is there once."""
    attempts.failing[name] = 2
    cross_validate.execute_in_process()
    assert 3 == attempts.names.count(name)
    check_complete(run_number(1))


def test_goes_on_after_a_failure(attempts: Attempts) -> None:
    """When an op fails for good, the others are kept; launched again, the job runs what is missing."""
    attempts.failing["fold-1"] = 3
    assert not cross_validate.execute_in_process(raise_on_error=False).success
    assert ["load", "fold-0", "fold-2", "fold-3"] == finished(run_number(1))

    attempts.names.clear()
    cross_validate.execute_in_process()
    assert ["fold-1"] == attempts.names
    check_complete(run_number(1))


def test_goes_on_after_a_death(attempts: Attempts) -> None:
    """What was merged when the process died is not run again."""
    killed("import dagster_job; dagster_job.cross_validate.execute_in_process()")
    assert ["load", "fold-0", "fold-1"] == finished(run_number(1))

    cross_validate.execute_in_process()
    assert ["fold-2", "fold-3"] == attempts.names
    check_complete(run_number(1))


def test_a_complete_run_is_followed_by_another() -> None:
    """When all has run, the next launch is a new run, with inputs of its own."""
    cross_validate.execute_in_process()
    cross_validate.execute_in_process(resources={"run": TrainRun(lr=0.2)})
    assert (0.1, 0.2) == (run_number(1).inputs["lr"], run_number(2).inputs["lr"])


def in_process() -> JobDefinition:
    return cross_validate.graph.to_job(resource_defs={"run": TrainRun()}, executor_def=in_process_executor)


def test_is_executed_again_from_a_failure(attempts: Attempts, tmp_path: Path) -> None:
    """Dagster's own second execution takes the branches and deltas of the first out of its storage."""
    attempts.failing["fold-1"] = 3
    with instance_for_test(temp_dir=str(tmp_path)) as instance:
        failed = execute_job(reconstructable(in_process), instance)
        assert not failed.success
        attempts.names.clear()
        options = ReexecutionOptions.from_failure(failed.run_id, instance)
        assert execute_job(reconstructable(in_process), instance, reexecution_options=options).success
    assert ["fold-1"] == attempts.names
    check_complete(run_number(1))


def forking() -> JobDefinition:
    """Return the job with an executor that forks the processes of its ops, which takes them less time to start."""
    executor = multiprocess_executor.configured({**ONE_WRITER, "start_method": {"forkserver": {}}})
    return cross_validate.graph.to_job(resource_defs={"run": TrainRun()}, executor_def=executor)


def test_runs_in_processes(tmp_path: Path) -> None:
    """Each op in a process of its own, several at a time: the run is opened by one after another."""
    with instance_for_test(temp_dir=str(tmp_path)) as instance:
        assert execute_job(reconstructable(forking), instance, raise_on_error=True).success
    check_complete(run_number(1))
