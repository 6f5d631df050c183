"""The MLflow sink: against a real server on SQLite, and against a client that fails on purpose."""

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import count
from math import inf, nan
from pathlib import Path
from typing import Any, Literal, NotRequired, cast

import digits
import pytest
import reporting
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Metric as Measurement
from mlflow.entities import Param
from mlflow.exceptions import MlflowException
from pydantic import BaseModel, NonNegativeInt, SecretStr
from typing_extensions import TypedDict

from crystallize import (
    CheckingSink,
    FrozenContext,
    Journal,
    Metric,
    MetricSchema,
    SinkCheckError,
    SinkClosedError,
    SinkError,
    UndeliveredWarning,
    fan_out,
)
from crystallize.sinks import delivery_queue as delivery
from crystallize.sinks.entry_points import find_sink
from crystallize.sinks.mlflow import MLflowSink
from crystallize.sinks.mlflow import sink as module

from ..examples import example_of, what_fails
from .servers import MLflowServer


class Train(BaseModel):
    lr: float
    layers: list[int] = [64, 10]
    note: str = "größe, 日本"
    password: SecretStr = SecretStr("hunter2")
    accuracy: float


class EpochTags(TypedDict):
    epoch: NonNegativeInt
    split: Literal["train", "val"]


class FoldTags(TypedDict):
    fold: int


class TrainMetrics(MetricSchema):
    loss = Metric(float, tags=EpochTags)
    score = Metric(float, tags=FoldTags)
    seen = Metric(int)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the sink waits long, nor MLflow's own client, which would otherwise try again by itself for minutes."""
    for name, seconds in {"DELAY": 0.02, "FIRST_PAUSE": 0.02, "LONGEST_PAUSE": 0.2, "LAST_PAUSE": 0.2}.items():
        monkeypatch.setattr(delivery, name, seconds)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")


class Reported:
    """A run on the server.

    Attributes:
        client: What makes requests.
        id: The run's id.
    """

    def __init__(self, address: str) -> None:
        self.client = MlflowClient(address)
        self.id = self.client.create_run("0").info.run_id

    def sink(self, **options: Any) -> MLflowSink:
        return MLflowSink(self.client, self.id, **{"step_tag": "epoch", "patience": 60.0, **options})

    @property
    def params(self) -> dict[str, str]:
        return self.client.get_run(self.id).data.params

    @property
    def names(self) -> set[str]:
        return set(self.client.get_run(self.id).data.metrics)

    def points(self, name: str) -> list[tuple[int, float]]:
        """Return step and value of all points of a name, in order."""
        history = sorted(self.client.get_metric_history(self.id, name), key=lambda point: (point.step, point.timestamp))
        return [(point.step, point.value) for point in history]

    def file(self, path: str, folder: Path) -> bytes:
        """Return the content of an artifact."""
        return Path(self.client.download_artifacts(self.id, path, str(folder))).read_bytes()

    def files(self, folder: str | None = None) -> set[str]:
        return {artifact.path for artifact in self.client.list_artifacts(self.id, folder)}


@pytest.fixture
def reported(server: MLflowServer) -> Reported:
    return Reported(server.address)


def test_the_server_has_what_was_recorded(reported: Reported, tmp_path: Path) -> None:
    """Params, points, artifacts and the lineage are on the server as they were in the context; no secret is."""
    with reported.sink() as sink:
        ctx = FrozenContext[Train]({"lr": 0.1}, metrics=TrainMetrics, sinks=[sink])
        with ctx.step("fit") as fit:
            rate = fit.fields.lr
            for epoch in range(5):
                for split in ("train", "val"):
                    fit.record("loss", rate / (epoch + 3), {"epoch": epoch, "split": split})
                fit.record("seen", 100)
            with fit.step("plot") as plot:
                plot.artifacts.add("plot ü.svg", b"<svg/>\x00")
            (tmp_path / "weights").write_bytes(bytes(2_000_000))
            fit.artifacts.add_file(tmp_path / "weights", "model.bin")
            fit.fields.accuracy = 0.9
        with pytest.raises(ValueError, match="hunter2"), ctx.step("fail"):
            raise ValueError("no entry for hunter2")

    secret = "**********"
    expected = {"lr": "0.1", "layers": "[64,10]", "note": "größe, 日本", "password": secret}
    assert expected == reported.params
    assert {"loss/split-train", "loss/split-val", "seen"} == reported.names
    for split in ("train", "val"):
        series = ctx.metrics.series(TrainMetrics.loss).where(split=split)
        assert [(point.tags["epoch"], point.value) for point in series] == reported.points(f"loss/split-{split}")
    assert [(place, 100.0) for place in range(5)] == reported.points("seen")
    assert {"plot ü.svg", "model.bin", "crystallize"} == reported.files()
    assert bytes(2_000_000) == reported.file("model.bin", tmp_path)
    assert b"<svg/>\x00" == reported.file("plot ü.svg", tmp_path)
    content = reported.file("crystallize/lineage.json", tmp_path)
    lineage = json.loads(content)
    assert [{"key": "lr", "step": "fit"}] == lineage["reads"]
    written = [{"step": "fit", "key": "accuracy"}, {"step": "fit/plot", "key": "artifact:plot ü.svg"}]
    written.append({"step": "fit", "key": "artifact:model.bin"})
    assert written == lineage["writes"]
    assert ["fit/plot", "fit", "fail"] == [step["name"] for step in lineage["steps"]]
    assert {"loss": 10, "seen": 5} == lineage["steps"][1]["points"]
    assert "ValueError: no entry for **********" == lineage["steps"][2]["error"]
    assert ["layers", "note", "password"] == lineage["unread_inputs"]
    assert b"hunter2" not in content


def test_many(reported: Reported) -> None:
    """However much there is, all of it arrives, in requests that MLflow takes, and what is alike as often as it was."""
    inputs = {f"key-{number}": "日" * 6000 for number in range(150)}
    long = "日" * 230
    with reported.sink() as sink:
        ctx = FrozenContext({**inputs, "long": "x" * 6001}, sinks=[sink])
        for number in range(1500):
            ctx.record("loss", 0.5, {"epoch": 3})
            ctx.record(long, float(number), {"epoch": number})
        with pytest.warns(UndeliveredWarning, match="1 param: 'long': it has 6,001 characters as a text"):
            sink.close()

    assert inputs == reported.params
    assert [(3, 0.5)] * 1500 == reported.points("loss")
    assert [(number, float(number)) for number in range(1500)] == reported.points(long)


def test_what_mlflow_would_spoil(reported: Reported, tmp_path: Path) -> None:
    """What MLflow would change or refuse is not sent, and the end tells how much there was of what."""
    sink = reported.sink()
    ctx = FrozenContext({"lr": 0.1}, sinks=[sink])
    for value in (0.5, inf, -inf, nan, "text", 2**53 + 1, 10**400, True, 5e-324):
        ctx.record("loss", value, {"epoch": 1})
    for epoch in (2**63, 1.5, "two"):
        ctx.record("loss", 0.25, {"epoch": epoch})
    for epoch in (-5, 2**63 - 1):
        ctx.record("loss", 0.25, {"epoch": epoch})
    ctx.record("loss", 0.5, {"split": "a=b"})
    ctx.record("layers", 0.5, {"epoch": 1, "sizes": [64, 10]})
    ctx.artifacts.add("a#b", b"1")
    ctx.artifacts.add("a%20b", b"2")
    ctx.artifacts.add("100%", b"3")
    with pytest.warns(UndeliveredWarning) as caught:
        sink.close()

    assert [(-5, 0.25), (1, 5e-324), (1, 0.5), (1, 1.0), (2**63 - 1, 0.25)] == sorted(reported.points("loss"))
    assert {"loss"} == reported.names
    assert {"100%", "crystallize"} == reported.files()
    told = str(caught[0].message)
    for expected in (
        "2 points: 'loss': it is infinite, which MLflow would make 1.797e308",
        "1 point: 'loss': it is NaN, which MLflow would spoil",
        "1 point: 'loss': it is a str, and MLflow takes numbers",
        "2 points: 'loss': it is an int that no float holds, and MLflow keeps floats",
        "1 point: 'loss': does not go into 64 bits, as MLflow's step has to",
        "1 point: 'loss': is a float, and MLflow's step is an int",
        "1 point: 'loss': is a str, and MLflow's step is an int",
        "1 point: the name of metric 'loss', 'loss/split-a=b', has '='; MLflow takes letters, digits, and",
        "1 point: the name of metric 'layers', 'layers/sizes-[64, 10]', has '['; MLflow takes",
        "1 artifact: 'a#b': MLflow would read its name as part of an address",
        "1 artifact: 'a%20b': MLflow would read its name as part of an address",
    ):
        assert expected in told


def test_nothing_is_refused_after_the_check(reported: Reported) -> None:
    """Names of every character that the check lets through, and of every length, the server takes."""
    names = ["x" * 250, "a/b.c d:e-f_g", "größe", "日本", "a.b"]
    with reported.sink() as sink:
        ctx = FrozenContext(dict.fromkeys(names, 1), sinks=[sink])
        for name in names:
            ctx.record(name, 0.5)

    assert dict.fromkeys(names, "1") == reported.params
    assert set(names) == reported.names


def task(ctx: FrozenContext[Train], fold: int) -> float:
    with ctx.step("inner") as step:
        for number in range(3):
            step.record("score", fold + number / 10, {"fold": fold})
        step.artifacts.add(f"fold-{fold}.txt", str(fold).encode())
    return fold / 10


def test_branches(reported: Reported, tmp_path: Path) -> None:
    """What branches did arrives when they are merged, counted within each; the lineage has their steps."""
    with reported.sink(name="{metric}-of-fold-{fold}", step_tag=None) as sink:
        ctx = FrozenContext[Train]({"lr": 0.1}, sinks=[sink])
        with ctx.step("tune") as tune, ThreadPoolExecutor(2) as pool:
            fan_out(tune, task, range(3), executor=pool)

    for fold in range(3):
        assert [(n, fold + n / 10) for n in range(3)] == reported.points(f"score-of-fold-{fold}")
        assert str(fold).encode() == reported.file(f"fold-{fold}.txt", tmp_path)
    steps = json.loads(reported.file("crystallize/lineage.json", tmp_path))["steps"]
    assert [step.name for step in ctx.provenance.steps] == [step["name"] for step in steps]


def test_a_resumed_run(reported: Reported, tmp_path: Path) -> None:
    """A run that goes on in another process reports on: what came before is not sent again, and is in the lineage."""
    with Journal.start(tmp_path, "run") as journal, reported.sink() as sink:
        ctx = journal.context(FrozenContext[Train], {"lr": 0.1}, metrics=TrainMetrics, sinks=[sink])
        with ctx.step("fit") as fit:
            fit.record("seen", 1)
    with Journal.resume(journal.path) as journal, reported.sink() as sink:
        again = {"password": SecretStr("hunter2")}
        ctx = journal.context(FrozenContext[Train], again, metrics=TrainMetrics, sinks=[sink])
        with ctx.step("evaluate") as evaluate:
            evaluate.record("seen", 2)

    assert [(0, 1.0), (1, 2.0)] == reported.points("seen")
    steps = json.loads(reported.file("crystallize/lineage.json", tmp_path))["steps"]
    assert ["fit", "evaluate"] == [step["name"] for step in steps]


def test_the_example(reported: Reported) -> None:
    """The example of the documentation reports what it says."""
    reported.id = reporting.report_to_mlflow(reported.client)

    assert {"lr": "0.1", "epochs": "3"} == reported.params
    assert [(epoch, 0.1 / (epoch + 1)) for epoch in range(3)] == reported.points("loss/split-train")


def test_the_demo(server: MLflowServer, tmp_path: Path) -> None:
    """The demo reports a run that is named as its own, with all points of each metric, and ends it."""
    client = MlflowClient(server.address)
    with (
        Journal.start(tmp_path, "digits") as journal,
        digits.reported(server.address, journal.name) as sinks,
        ThreadPoolExecutor(2) as executor,
    ):
        inputs = {"seed": 1, "learning_rate": 0.03, "epochs": 2, "limit": 300}
        ctx = digits.run(journal, inputs, executor, sinks)
    with digits.reported(None, "none") as sinks:
        assert () == sinks
    with pytest.raises(ZeroDivisionError), digits.reported(server.address, "failing"):
        1 / 0

    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    failed, run = client.search_runs([experiment.experiment_id])
    assert ("digits-0001", "FINISHED") == (run.info.run_name, run.info.status)
    assert ("failing", "FAILED") == (failed.info.run_name, failed.info.status)
    assert {"seed": "1", "learning_rate": "0.03", "epochs": "2", "limit": "300", "held_out": "0.2"}.items() <= (
        run.data.params.items()
    )
    for metric, kept in ctx.metrics.as_dict().items():
        names = [name for name in run.data.metrics if name.startswith(f"{metric}/")]
        points = [point.value for name in names for point in client.get_metric_history(run.info.run_id, name)]
        assert sorted(kept) == sorted(points)
    assert "curve.svg" in {artifact.path for artifact in client.list_artifacts(run.info.run_id)}


def test_what_the_server_refuses(reported: Reported, caplog: pytest.LogCaptureFixture) -> None:
    """What the server refuses for good is told, and does not hold up what comes after it."""
    reported.client.log_batch(reported.id, params=[Param("lr", "0.5")])
    sink = reported.sink()
    ctx = FrozenContext({"lr": 0.1}, sinks=[sink])
    ctx.record("loss", 0.5)
    assert sink.flush(60)
    assert [(0, 0.5)] == reported.points("loss")
    reported.client.delete_run(reported.id)
    ctx.record("loss", 0.25)
    ctx.record("loss", 0.125)
    assert sink.flush(60)
    with pytest.warns(UndeliveredWarning) as caught:
        sink.close()

    told = str(caught[0].message)
    assert "1 param: RestException: INVALID_PARAMETER_VALUE: Changing param values is not allowed" in told
    assert "2 points: RestException: INVALID_PARAMETER_VALUE: The run" in told
    assert "param not delivered: RestException" in caplog.records[0].getMessage()


def test_a_run_that_is_not_there(server: MLflowServer) -> None:
    """A run that the server does not know is told."""
    sink = MLflowSink(MlflowClient(server.address), "nope", patience=60)
    ctx = FrozenContext(sinks=[sink])
    ctx.record("loss", 0.5)
    with pytest.warns(UndeliveredWarning, match="1 point: RestException: RESOURCE_DOES_NOT_EXIST"):
        sink.close()


def test_a_server_that_dies_and_comes_back(reported: Reported, server: MLflowServer, tmp_path: Path) -> None:
    """What is recorded while the server is killed and started again is there in the end, each point once."""
    sink = reported.sink()
    ctx = FrozenContext[Train]({"lr": 0.1}, metrics=TrainMetrics, sinks=[sink])
    add = ctx.metrics.series(TrainMetrics.loss).add
    for epoch in range(3000):
        add(0.5, {"epoch": epoch // 2, "split": "train"})
        if epoch == 1500:
            sink.flush(0.3)  # so that it is killed while a request is under way, or some have been answered
            server.kill()
    ctx.artifacts.add("plot.svg", b"<svg/>")
    assert not sink.flush(0.5)
    server.start()
    add(0.25, {"epoch": 3000, "split": "train"})
    sink.close()
    server.wait()

    assert [(epoch // 2, 0.5) for epoch in range(3000)] + [(3000, 0.25)] == reported.points("loss/split-train")
    assert {"lr", "layers", "note", "password"} == set(reported.params)
    assert b"<svg/>" == reported.file("plot.svg", tmp_path)
    assert {"crystallize/lineage.json"} == reported.files("crystallize")


class Client:
    """Keeps what it is told as MLflow does, where points that are alike are one; fails as it is told to.

    Attributes:
        fails: Called before and after each request is taken, to raise if it likes.
    """

    def __init__(self, fails: Callable[[], None] = lambda: None) -> None:
        self.fails = fails
        self.points: dict[tuple[str, int, int, float], None] = {}
        self.params: dict[str, str] = {}
        self.artifacts: dict[str, bytes] = {}
        self.sizes: list[int] = []

    def log_batch(
        self, run_id: str, metrics: Sequence[Measurement] = (), params: Sequence[Param] = (), synchronous: bool = False
    ) -> None:
        assert synchronous
        self.fails()
        self.points.update(
            dict.fromkeys(
                (measurement.key, measurement.timestamp, measurement.step, measurement.value) for measurement in metrics
            )
        )
        self.params.update((param.key, param.value) for param in params)
        self.sizes.append(len(metrics))
        self.fails()

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        self.fails()
        path = Path(local_path)
        self.artifacts[path.name if artifact_path is None else f"{artifact_path}/{path.name}"] = path.read_bytes()
        self.fails()

    def sink(self, **options: Any) -> MLflowSink:
        # The methods that the sink calls are all there.
        return MLflowSink(cast(MlflowClient, self), "run", **{"patience": 10.0, **options})


POINTS = st.lists(
    st.tuples(st.sampled_from(["loss", "score"]), st.sampled_from([0.5, 1.0, inf]), st.sampled_from([None, 0, 1])),
    max_size=30,
)


@settings(max_examples=15, deadline=None)
@given(POINTS, st.lists(st.booleans(), max_size=10))
def test_each_point_arrives_once(points: list[tuple[str, float, int | None]], failures: list[bool]) -> None:
    """However often requests fail, before or after they were taken, each point is there as often as it was recorded."""
    rest = iter(failures)

    def fail() -> None:
        if next(rest, False):
            raise ConnectionError("reset by peer")

    client = Client(fail)
    sink = client.sink(step_tag="epoch")
    ctx = FrozenContext({"lr": 0.1}, sinks=[sink])
    for metric, value, epoch in points:
        ctx.record(metric, value, {} if epoch is None else {"epoch": epoch})
    assert sink.flush(10)

    positions: dict[str, Iterator[int]] = {"loss": count(), "score": count()}
    steps = [(metric, next(positions[metric]), value, epoch) for metric, value, epoch in points]
    expected = [(metric, at if epoch is None else epoch, value) for metric, at, value, epoch in steps if value != inf]
    in_time = sorted(client.points, key=lambda point: point[1])
    for name in ("loss", "score"):
        assert [point[1:] for point in expected if point[0] == name] == [
            point[2:] for point in in_time if point[0] == name
        ]
    assert {"lr": "0.1"} == client.params
    # What is left out is told at the end, which is not what this is about.
    sink._undelivered.counts.clear()
    sink.close()


class Answered(OSError):
    """As `requests` has it: an error with the answer, or with None where none came."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"status {status}")
        self.response = None if status is None else cast(Any, type("Response", (), {"status_code": status}))


@pytest.mark.parametrize(
    ("error", "is_passing"),
    [
        (MlflowException("no answer"), True),
        (MlflowException("no such thing", error_code=1000), False),
        (Answered(None), True),
        (Answered(503), True),
        (Answered(401), True),
        (Answered(429), True),
        (Answered(413), False),
        (ConnectionResetError("reset by peer"), True),
        (TimeoutError("timed out"), True),
        (PermissionError("/mlflow"), False),
        (ValueError("too large"), False),
    ],
)
def test_which_failures_pass(error: Exception, is_passing: bool) -> None:
    """What may succeed later is tried again; what will not is told, and the rest goes on."""
    failures = iter([error])

    def fail() -> None:
        for failure in failures:
            raise failure

    client = Client(fail)
    sink = client.sink()
    ctx = FrozenContext(sinks=[sink])
    ctx.artifacts.add("plot.svg", b"<svg/>")
    ctx.record("loss", 0.5)
    assert sink.flush(10)

    assert 1 == len(client.points)
    assert is_passing == ("plot.svg" in client.artifacts)
    assert is_passing == (not sink._undelivered.counts)
    sink._undelivered.counts.clear()
    sink.close()


def test_requests_have_their_limits() -> None:
    """A request has at most 1,000 metrics, and no more than fit into its bytes."""
    started = threading.Event()

    def wait() -> None:
        started.wait()

    client = Client(wait)
    sink = client.sink()
    ctx = FrozenContext(sinks=[sink])
    for number in range(2500):
        ctx.record("loss", float(number))
    for number in range(1000):
        ctx.record("日" * 250, float(number))
    started.set()
    sink.close()

    assert 3500 == len(client.points) == sum(client.sizes)
    assert 1000 == max(client.sizes)
    assert [1000, 1000, 500] != client.sizes
    assert client.sizes[-1] < 1000


def test_a_down_server_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    """While nothing answers the run goes on, and the end tells how much was not delivered, of what."""

    def fail() -> None:
        raise ConnectionError("no route to http://ann:hunter2@host")

    sink = Client(fail).sink(bound=50, patience=0.1)
    ctx = FrozenContext({"lr": 0.1}, sinks=[sink])
    for number in range(100):
        ctx.record("loss", float(number))
    with pytest.warns(UndeliveredWarning) as caught:
        sink.close()

    told = str(caught[0].message)
    assert "1 param: ConnectionError: no route to http://**********@host" in told
    assert "49 points: ConnectionError" in told
    assert "51 points: 50 others were waiting already" in told
    assert "1 artifact: ConnectionError" in told
    assert "hunter2" not in told + caplog.text
    assert 100 == len(ctx.metrics["loss"])


def test_tags_that_are_equal_and_not_the_same() -> None:
    """What is equal and written otherwise has names of its own."""
    client = Client()
    with client.sink() as sink:
        ctx = FrozenContext(sinks=[sink])
        for tag in (1, True, 1.0):
            ctx.record("loss", 0.5, {"odd": tag})

    assert ["loss/odd-1", "loss/odd-True", "loss/odd-1.0"] == [name for name, *_ in client.points]


def test_templates_of_the_user() -> None:
    """What a user's own function makes of the tags is the name; what goes wrong in it is told."""

    def name(metric: str, tags: Mapping[str, Any]) -> str:
        return f"{metric}:{1 / tags['fold']:.1f}"

    client = Client()
    sink = client.sink(name=name)
    ctx = FrozenContext(sinks=[sink])
    ctx.record("score", 0.5, {"fold": 2})
    ctx.record("score", 0.5, {"fold": 0})
    ctx.record("score", 0.5)
    with pytest.warns(UndeliveredWarning) as caught:
        sink.close()

    assert ["score:0.5"] == [name for name, *_ in client.points]
    assert "1 point: metric 'score' has no name: ZeroDivisionError: division by zero" in str(caught[0].message)
    assert "1 point: metric 'score' has no name: KeyError: 'fold'" in str(caught[0].message)


def test_a_clock_that_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points are in the order in which they were recorded, whatever is done to the clock."""
    times = iter([5_000_000, 3_000_000, 3_000_000, 9_000_000])
    monkeypatch.setattr(module, "time_ns", lambda: next(times))
    client = Client()
    sink = client.sink()
    ctx = FrozenContext(sinks=[sink])
    for value in (1.0, 2.0, 2.0, 3.0):
        ctx.record("loss", value, {})
    sink.close()

    assert [(5, 0, 1.0), (5, 1, 2.0), (5, 2, 2.0), (9, 3, 3.0)] == [point[1:] for point in client.points]


class OddTags(TypedDict):
    epoch: float
    split: NotRequired[Literal["a=b"]]


class OddMetrics(MetricSchema):
    loss = Metric(str, tags=OddTags)


def test_check() -> None:
    """All that MLflow would refuse is told before the run, and nothing has been sent."""
    client = Client()
    sink = client.sink(step_tag="epoch")
    with pytest.raises(SinkCheckError) as caught:
        FrozenContext({"a=b": 1}, metrics=OddMetrics, sinks=[sink])
    sink.close()

    assert isinstance(sink, CheckingSink)
    assert 4 == len(caught.value.problems)
    assert {"MLflowSink"} == {name for name, _ in caught.value.problems}
    assert not client.params
    assert not client.artifacts


def test_a_run_in_place_of_its_id() -> None:
    """A run is given by its id; what else is given is told before anything is sent."""
    sink = MLflowSink(cast(MlflowClient, Client()), cast(str, object()))
    with pytest.raises(SinkCheckError, match=r"a run is given by its id, a str as in run.info.run_id, not by a object"):
        FrozenContext(sinks=[sink])
    sink.close()


def test_one_context() -> None:
    """A sink is of one context, as a run of MLflow is."""
    with Client().sink() as sink:
        FrozenContext(sinks=[sink])
        with pytest.raises(SinkCheckError, match="it reports one context, and has one already; make another sink"):
            FrozenContext(sinks=[sink])

    assert "MLflowSink('run')" == repr(sink)


def test_after_the_end() -> None:
    """A sink that is closed takes nothing more, and closing it again sends nothing."""
    client = Client()
    sink = client.sink()
    ctx = FrozenContext(sinks=[sink])
    sink.close()
    sink.close()
    with pytest.raises(SinkError) as caught:
        ctx.record("loss", 0.5)

    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert isinstance(caught.value.__cause__.exceptions[0], SinkClosedError)
    assert ["crystallize/lineage.json"] == list(client.artifacts)


def test_in_a_forked_process() -> None:
    """A forked process reports nothing: the parent has the run."""
    client = Client()
    sink = client.sink()
    ctx = FrozenContext(sinks=[sink])
    child = os.fork()
    if child == 0:
        try:
            ctx.record("loss", 0.5)
        except SinkError:
            sink.close()
            os._exit(0 if not client.points else 1)
        os._exit(2)
    status = os.waitpid(child, 0)[1]
    ctx.record("loss", 0.25)
    sink.close()

    assert 0 == status
    assert [0.25] == [value for *_, value in client.points]


def test_by_name() -> None:
    """It is found by the name of its extra."""
    assert find_sink("mlflow") is MLflowSink


def test_example_runs(server: MLflowServer) -> None:
    """The example of the sink's docstring prints what it says."""
    # The demo has an experiment of that name on the same server.
    example = example_of(MLflowSink).replace("http://localhost:5000", server.address).replace("digits", "example")
    names = {"FrozenContext": FrozenContext, "MLflowSink": MLflowSink, "MlflowClient": MlflowClient}

    assert server.address in example
    assert "" == what_fails(example, names)


def test_the_module_has_no_other_names() -> None:
    """A misspelt import says what is wrong, although the module imports its sink late."""
    package: Any = import_module("crystallize.sinks.mlflow")
    assert MLflowSink is package.MLflowSink
    with pytest.raises(AttributeError, match="has no attribute 'MLFlowSink'"):
        package.MLFlowSink  # the access is what raises
