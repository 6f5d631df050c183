"""`crystallize import mlflow` against real stores: SQLite, a folder of files, and a server."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import isnan, nan
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner, Result

from crystallize import Run, load_run
from crystallize._cli import mlflow_store
from crystallize._cli.app import commands
from crystallize.runs import list_runs, verify_run

from .servers import MLflowServer

# MLflow uses a part of SQLAlchemy that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")

APP = commands(["import"])
START = 1_700_000_000_000


def call(*arguments: object) -> Result:
    return CliRunner(env={"CRYSTALLIZE_RUNS": None}).invoke(APP, [str(part) for part in arguments])


def names_of(run: Run[Any]) -> set[str]:
    return {artifact.name for artifact in run.artifacts}


class Store:
    """An MLflow store with a sweep: a parent, a child that failed, and a run that goes on."""

    def __init__(self, uri: str, artifacts: Path | None) -> None:
        self.uri = uri
        self.client = MlflowClient(uri)
        self.artifacts = artifacts
        self.experiment = self.client.create_experiment("sweep: a/b", artifacts.as_uri() if artifacts else None)
        tags = {"team": "x", "list": "a,b", "mlflow.note.content": "the baseline", "mlflow.source.name": "train.py"}
        self.parent = self.run("parent", START, tags | {"mlflow.source.git.commit": "abc"})
        for key, text in {"lr": "0.1", "model/depth": "3", "code": "007", "fast": "True", "odd": "nan"}.items():
            self.client.log_param(self.parent, key, text)
        for step in range(3):
            self.client.log_metric(self.parent, "loss/val", 1 / (step + 1), START + step, step)
        self.client.log_metric(self.parent, "odd", nan, START, 0)
        for path in ("notes.txt", "model/MLmodel", "model__MLmodel", "a/b c/ü.txt"):
            self.client.log_text(self.parent, path, path)
        self.client.set_terminated(self.parent, "FINISHED", START + 3_600_000)
        self.child = self.run("child", START + 1, {"mlflow.parentRunId": self.parent})
        self.client.set_terminated(self.child, "FAILED", START + 2)
        self.running = self.run("running", START + 2, {})

    def run(self, name: str, start: int, tags: dict[str, str]) -> str:
        return self.client.create_run(self.experiment, start_time=start, tags=tags, run_name=name).info.run_id


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("sqlite")
    return Store(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")


@pytest.fixture(params=["sqlite", "folder", "server"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite")
    elif request.param == "folder":
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        (tmp_path / "mlruns").mkdir()
        yield Store(str(tmp_path / "mlruns"), None)
    else:
        server: MLflowServer = request.getfixturevalue("server")
        made = Store(server.address, None)
        yield made
        made.client.delete_experiment(made.experiment)


def test_runs_are_imported_once(store: Store, tmp_path: Path) -> None:
    """Inputs, history, tags, artifacts, times and status are kept. A second import adds nothing."""
    folder = tmp_path / "runs"
    result = call("import", "mlflow", store.uri, "-e", "sweep: a/b", "--dir", folder)

    names = ["sweep_ a_b-0001", "sweep_ a_b-0002"]
    assert f"imported {store.parent} as {names[0]}\nimported {store.child} as {names[1]}\nimported 2 runs\n" == (
        result.stdout
    )
    assert f"run {store.running} of MLflow: {store.running}: MLflow has this run as RUNNING; import it" in result.stderr
    assert (1, names) == (result.exit_code, [path.stem for path in list_runs(folder)])
    run, child = [load_run(path) for path in list_runs(folder)]
    assert () == verify_run(run.path)
    assert {"lr": 0.1, "model/depth": 3, "code": "007", "fast": True, "odd": "nan"} == dict(run.inputs)
    assert [(1.0, 0, START), (0.5, 1, START + 1), (1 / 3, 2, START + 2)] == [
        (point.value, point.tags["step"], point.tags["timestamp"]) for point in run.metrics.series("loss/val")
    ]
    assert isnan(run.metrics["odd"][0])
    started = datetime.fromtimestamp(START / 1000, UTC)
    assert (started, timedelta(hours=1), "finished") == (run.started, run.took, run.status)
    assert ("the baseline", "abc") == (run.note, run.sessions[0].origin["commit"])
    assert {f"mlflow.runId={store.parent}", "mlflow.runName=parent", "team=x"} == set(run.tags)
    expected = {"notes.txt", "model__MLmodel", "2-model__MLmodel", "a__b c__ü.txt", "mlflow-run.json"}
    assert expected == names_of(run)
    record: dict[str, Any] = json.loads(run.artifacts["mlflow-run.json"].data)
    for name, path in record["artifacts"].items():
        assert path.encode() == run.artifacts[name].data
    assert ("a,b", "007") == (record["data"]["tags"]["list"], record["data"]["params"]["code"])
    assert ("failed", "the run failed, says MLflow") == (child.status, child.error)
    assert f"mlflow.parentRunId={store.parent}" in child.tags

    again = call("import", "mlflow", store.uri, "-e", "sweep: a/b", "--dir", folder)
    assert "imported 0 runs; 2 were there already\n" == again.stdout
    assert 2 == len(list_runs(folder))


def test_all_experiments(sqlite: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name of an experiment all are imported, from a relative path too; running ones can be ended."""
    monkeypatch.chdir(Path(sqlite.uri.removeprefix("sqlite:///")).parent)
    odd = sqlite.client.create_experiment("???")
    run_id = sqlite.client.create_run(odd, start_time=START).info.run_id
    sqlite.client.set_terminated(run_id, "KILLED", START)
    monkeypatch.setattr(mlflow_store, "_PAGE", 1)
    result = call("import", "mlflow", "sqlite:///mlflow.db", "--dir", tmp_path)
    sqlite.client.delete_experiment(odd)

    assert "imported 3 runs\n" == result.stdout.splitlines(keepends=True)[-1]
    killed = load_run(tmp_path / "___-0001.db")
    assert ("failed", "the run was killed, says MLflow") == (killed.status, killed.error)


def test_parts_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command names artifacts that are lost or refused and goes on."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    (tmp_path / "mlruns").mkdir()
    client = MlflowClient((tmp_path / "mlruns").as_uri())
    experiment = client.create_experiment("con", (tmp_path / "artifacts").as_uri())
    for name in ("first", "second", "third"):
        run_id = client.create_run(experiment, run_name=name, start_time=START).info.run_id
        client.log_text(run_id, name, "con.txt" if name == "first" else "notes.txt")
        client.set_terminated(run_id, end_time=START)
    (refused,) = client.search_runs([experiment], "attributes.run_name = 'second'")
    monkeypatch.setattr(MlflowClient, "list_artifacts", _failing(MlflowClient.list_artifacts, refused.info.run_id))
    result = call("import", "mlflow", (tmp_path / "mlruns").as_uri(), "--dir", tmp_path / "runs")

    line = f"run {refused.info.run_id} of MLflow: artifacts in 'the top folder' are left out (OSError: no bucket)"
    assert line in result.stderr
    assert "imported 3 runs\n" in result.stdout
    assert 1 == result.exit_code
    runs = [load_run(path) for path in list_runs(tmp_path / "runs")]
    assert {"mlflow-0001", "mlflow-0002", "mlflow-0003"} == {run.path.stem for run in runs}
    assert {("artifact.txt", "mlflow-run.json"), ("mlflow-run.json",), ("mlflow-run.json", "notes.txt")} == {
        tuple(sorted(names_of(run))) for run in runs
    }


def _failing(method: Any, run_id: str) -> Any:
    def list_artifacts(self: MlflowClient, run: str, path: str | None = None) -> Any:
        if run == run_id:
            raise OSError("no bucket")
        return method(self, run, path)

    return list_artifacts


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:///none.db", "sqlite:///none.db: there is no such file or folder; give the URI of an existing store"),
        ("none", "none: there is no such file or folder"),
        ("file:///none", "file:///none: there is no such file or folder"),
        ("http://user:hunter2@127.0.0.1:9", "MLflow cannot read this store (MlflowException: API request to"),
        ("bogus://x", "bogus://x: MLflow cannot read this store ("),
    ],
)
def test_store_that_is_not_there(uri: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that cannot be read is an error, and none is created."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    result = call("import", "mlflow", uri, "--dir", tmp_path / "runs")

    assert (2, "") == (result.exit_code, result.stdout)
    assert expected in result.stderr
    assert "hunter2" not in result.stderr
    assert [] == [*tmp_path.iterdir()]


def test_unknown_experiment(sqlite: Store, tmp_path: Path) -> None:
    """An experiment that does not exist is an error with the nearest name, or all names."""
    assert "there is no experiment 'defualt'; did you mean 'Default'?" in (
        call("import", "mlflow", sqlite.uri, "-e", "defualt", "--dir", tmp_path).stderr
    )
    listed = call("import", "mlflow", sqlite.uri, "-e", "x", "--dir", tmp_path).stderr
    assert "there is no experiment 'x'; there are: " in listed
    assert "'sweep: a/b'" in listed


def test_store_without_its_libraries(sqlite: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a library of MLflow is missing, the error says how to install it."""

    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'sqlalchemy'")

    monkeypatch.setattr(MlflowClient, "search_experiments", missing)
    result = call("import", "mlflow", sqlite.uri, "--dir", tmp_path)

    assert "No module named 'sqlalchemy'); pip install mlflow brings all that its stores need" in result.stderr
