"""The steps of the example as a pipeline of Kedro's; run by `make test-flows` alone."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import kedro_nodes
import pytest
from kedro.runner import ThreadRunner

from crystallize import InvalidInitialError

from .runs import EXAMPLES, NAMES, Attempts, check_complete, finished, killed, run_number


def test_runs(attempts: Attempts) -> None:
    """Each node runs once, in the order of the graph, and is in the file."""
    assert pytest.approx(2.64947) == kedro_nodes.main()
    assert NAMES[:-1] == attempts.names
    check_complete(run_number(1))


@pytest.mark.parametrize("name", NAMES[:-1])
def test_goes_on_after_a_failure(attempts: Attempts, name: str) -> None:
    """Kedro stops at a node that fails; called again, it runs that node anew, and those that had not run."""
    attempts.failing[name] = 1
    with pytest.raises(OSError, match=f"{name} timed out"):
        kedro_nodes.main()
    assert "failed" == run_number(1).status
    assert NAMES[: NAMES.index(name)] == finished(run_number(1))

    kedro_nodes.main()
    assert [*NAMES[: NAMES.index(name) + 1], *NAMES[NAMES.index(name) : -1]] == attempts.names
    check_complete(run_number(1))


def test_goes_on_after_a_death(attempts: Attempts) -> None:
    """What was merged when the process died is not run again."""
    killed("import kedro_nodes; kedro_nodes.main()")
    assert ["load", "fold-0", "fold-1"] == finished(run_number(1))

    kedro_nodes.main()
    assert ["fold-2", "fold-3"] == attempts.names
    check_complete(run_number(1))


def test_goes_on_with_the_same_inputs(attempts: Attempts) -> None:
    """A run that is not complete is not gone on with under other inputs."""
    attempts.failing["fold-1"] = 1
    with pytest.raises(OSError, match="fold-1 timed out"):
        kedro_nodes.main(lr=0.1)
    with pytest.raises(InvalidInitialError, match="lr"):
        kedro_nodes.main(lr=0.2)


def test_a_complete_run_is_followed_by_another(attempts: Attempts) -> None:
    """When all has run, the next call is a new run."""
    kedro_nodes.main()
    kedro_nodes.main(lr=0.2)
    assert 2 * NAMES[:-1] == attempts.names
    assert (0.1, 0.2) == (run_number(1).inputs["lr"], run_number(2).inputs["lr"])


def test_runs_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kedro's runner on threads runs the folds side by side, and each is merged once."""
    monkeypatch.setattr(kedro_nodes, "SequentialRunner", ThreadRunner)
    kedro_nodes.main()
    check_complete(run_number(1))


PROJECT = {
    "pyproject.toml": """
        [tool.kedro]
        package_name = "project"
        project_name = "project"
        kedro_init_version = "1.7.0"
    """,
    "conf/base/parameters.yml": "lr: 0.1",
    "conf/base/catalog.yml": "{}",
    "conf/local/.keep": "",
    "src/project/__init__.py": "",
    "src/project/settings.py": """
        from kedro_hooks import RunHooks

        HOOKS = (RunHooks(),)
    """,
    "src/project/pipeline_registry.py": """
        import os

        import folds
        import kedro_nodes

        validate = folds.validate

        def unsteady(ctx, fold):
            validate(ctx, fold)
            if fold == 2 and "UNSTEADY" in os.environ:
                raise OSError("timed out")

        folds.validate = unsteady

        def register_pipelines():
            return {"__default__": kedro_nodes.make_pipeline()}
    """,
}
"""The files of a project, with a node that fails where the environment says so."""


def kedro_run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call `kedro run` in the project."""
    command = [sys.executable, "-m", "kedro", "run", "--only-missing-outputs", *options]
    variables = {**os.environ, "PYTHONPATH": str(EXAMPLES), **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture
def _project(_own_folder: None) -> None:
    """A project in the folder of the test."""
    for name, content in PROJECT.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(content), encoding="utf-8")


@pytest.mark.usefixtures("_project")
def test_runs_in_a_project() -> None:
    """By hooks, `kedro run` opens the run; a second one goes on where the first has failed."""
    failed = kedro_run(UNSTEADY="1")
    assert 0 != failed.returncode
    assert "OSError: timed out" in failed.stderr
    assert "failed" == run_number(1).status
    assert ["load", "fold-0", "fold-1"] == finished(run_number(1))

    ended = kedro_run()
    assert 0 == ended.returncode, ended.stdout + ended.stderr
    check_complete(run_number(1))


@pytest.mark.usefixtures("_project")
def test_is_not_run_in_parallel() -> None:
    """Kedro's runner on processes refuses the datasets, as each process would merge into a context of its own."""
    refused = kedro_run("--runner", "ParallelRunner")
    assert 0 != refused.returncode
    assert "cannot be used with multiprocessing" in " ".join(refused.stderr.split())
    assert [] == finished(run_number(1))
