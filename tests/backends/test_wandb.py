"""The W&B sink against the real package, offline, and against a run that fails on purpose."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import inf, isnan, nan
from pathlib import Path
from time import time
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from pydantic import BaseModel, SecretStr

from crystallize import FrozenContext, Journal, Metric, MetricSchema, SinkCheckError, UndeliveredWarning, fan_out
from crystallize.sinks import delivery_queue as delivery
from crystallize.sinks.entry_points import find_sink
from crystallize.sinks.wandb import WandbSink

from ..examples import example_of, what_fails
from .offline_run import OfflineRun


class Config(BaseModel):
    depth: int = 3


class Train(BaseModel):
    lr: float
    config: Config = Config()
    password: SecretStr = SecretStr("hunter2")
    other: Any = None


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name, seconds in {"DELAY": 0.02, "FIRST_PAUSE": 0.02, "LONGEST_PAUSE": 0.05, "LAST_PAUSE": 0.05}.items():
        monkeypatch.setattr(delivery, name, seconds)


def task(ctx: FrozenContext[Train], fold: int) -> None:
    ctx.record("score", fold / 10, {"fold": fold})


def test_an_offline_run(tmp_path: Path) -> None:
    """Inputs, points, artifacts and the work of branches are in the file of an offline run; no secret is."""
    (tmp_path / "weights").write_bytes(bytes(2_000_000))
    before = time()
    with wandb.init(project="digits", mode="offline", dir=tmp_path) as run, WandbSink(run, step_tag="epoch") as sink:
        ctx = FrozenContext[Train]({"lr": 0.1}, sinks=[sink])
        with ctx.step("fit") as fit:
            for epoch in range(3):
                for split in ("train", "val"):
                    fit.record("loss", 0.5 / (epoch + 1), {"epoch": epoch, "split": split})
                fit.record("seen", 100)
            for value in (nan, inf):
                fit.record("odd", value)
            fit.artifacts.add("notes [1].md", b"# hunter2")
            fit.artifacts.add_file(tmp_path / "weights", "model.bin")
        with ctx.step("tune") as tune, ThreadPoolExecutor(2) as pool:
            fan_out(tune, task, range(3), executor=pool)
        assert sink.flush(60)
        assert repr(sink).startswith("WandbSink(")
    found = OfflineRun(tmp_path)

    assert {"lr": 0.1, "config": {"depth": 3}, "password": "**********"}.items() <= found.config.items()
    for split in ("train", "val"):
        assert [(0, 0.5), (1, 0.25), (2, 0.5 / 3)] == found.points(f"loss/split-{split}", "epoch")
        assert "epoch" == found.axes[f"loss/split-{split}"]
    assert [100] * 3 == [value for _, value in found.points("seen")]
    assert "seen" not in found.axes
    assert isnan(found.points("odd")[0][1])
    assert inf == found.points("odd")[1][1]
    assert [[fold / 10] for fold in range(3)] == [
        [value for _, value in found.points(f"score/fold-{fold}")] for fold in range(3)
    ]
    times = [row["_timestamp"] for row in found.history]
    assert sorted(times) == times
    assert before <= times[0] <= times[-1] <= time()
    assert b"# hunter2" == (found.folder / "artifacts" / "notes [1].md").read_bytes()
    assert bytes(2_000_000) == (found.folder / "artifacts" / "model.bin").read_bytes()
    assert {"artifacts/model.bin"} <= found.files
    assert 0 == found.exit_code


def test_a_failed_and_resumed_run(tmp_path: Path) -> None:
    """A run that fails is marked as failed. When it is resumed, the new points alone are sent."""
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()

    def fail() -> None:
        with (
            wandb.init(project="digits", mode="offline", dir=tmp_path / "first") as run,
            Journal.start(tmp_path / "runs", "digits") as journal,
            WandbSink(run) as sink,
        ):
            ctx = journal.context(FrozenContext, {"lr": 0.1}, sinks=[sink])
            with ctx.step("load") as load:
                load.record("loss", 0.5)
            raise ValueError("no entry")

    with pytest.raises(ValueError, match="no entry"):
        fail()
    with (
        wandb.init(project="digits", mode="offline", dir=tmp_path / "second") as run,
        Journal.resume(tmp_path / "runs" / "digits-0001.db") as journal,
        WandbSink(run) as sink,
    ):
        journal.context(FrozenContext, sinks=[sink]).record("loss", 0.25)

    first, second = OfflineRun(tmp_path / "first"), OfflineRun(tmp_path / "second")
    assert (1, [0.5]) == (first.exit_code, [value for _, value in first.points("loss")])
    assert (0, [0.25]) == (second.exit_code, [value for _, value in second.points("loss")])


class FailingRun:
    """Fails as often as it is told to, and stores the rows."""

    def __init__(self, folder: Path, *errors: Exception) -> None:
        self.dir = str(folder)
        self.config: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []
        self._errors: Iterator[Exception] = iter(errors)

    def log(self, data: dict[str, Any], /) -> None:
        for error in self._errors:
            raise error
        self.rows.append(data)

    def define_metric(self, name: str, /, *, step_metric: str) -> None:
        pass

    def save(self, glob_str: str, /, *, base_path: str, policy: Any) -> None:
        pass


def test_a_service_that_fails(tmp_path: Path) -> None:
    """A point is sent again after an error of the connection, and noted after any other error."""
    run = FailingRun(tmp_path, ConnectionError("down"), TimeoutError("slow"), ValueError("refused"))
    sink = find_sink("wandb")(run, patience=5)
    ctx = FrozenContext({"lr": 0.1}, sinks=[sink])
    for number in range(3):
        ctx.record("loss", number)
    with pytest.warns(UndeliveredWarning, match="1 input: AttributeError.*1 point: ValueError: refused|1 point.*"):
        sink.close()

    assert [1, 2] == [row["loss"] for row in run.rows]


def test_values_that_wandb_would_refuse(tmp_path: Path) -> None:
    """Values that W&B would not take are not sent, and the end says how many there were."""
    run = FailingRun(tmp_path)
    run.config = type("Config", (), {"update": lambda *_, **__: None})()
    sink = WandbSink(run, step_tag="epoch", name=lambda metric, tags: metric)
    ctx = FrozenContext({"odd": object}, sinks=[sink])
    for value in ("text", 2**63, 2**63 - 1):
        ctx.record("loss", value, {"epoch": 1})
    ctx.record("loss", 0.5, {"epoch": "one"})
    ctx.record("epoch", 0.5, {"epoch": 1})
    ctx.record("_step", 0.5)
    ctx.record("late", 0.5, {"epoch": None})
    with pytest.warns(UndeliveredWarning) as caught:
        sink.close()

    assert [2**63 - 1, 0.5] == [row.get("loss", row.get("late")) for row in run.rows]
    for expected in (
        "'loss': it is a str, and W&B takes numbers",
        "'loss': it does not go into 64 bits",
        "'loss': is a str, and W&B's step is an int",
        "the name of metric 'epoch', 'epoch', is the name of the tag 'epoch', the axis",
        "the name of metric '_step', '_step', begins with '_', as W&B's own names do",
    ):
        assert expected in str(caught[0].message)


def test_check(tmp_path: Path) -> None:
    """Names that W&B would refuse, and a second context, are errors before anything runs."""

    class Metrics(MetricSchema):
        loss = Metric(float)

    for name, expected in (("", "is empty"), (3, "is no text but 3")):
        sink = WandbSink(FailingRun(tmp_path), name=lambda *_, name=name: name)
        with pytest.raises(SinkCheckError, match=expected):
            FrozenContext({"lr": 1}, metrics=Metrics, sinks=[sink])
        sink.close()
    with WandbSink(FailingRun(tmp_path)) as sink:
        FrozenContext(sinks=[sink])
        with pytest.raises(SinkCheckError, match="it reports one context, and has one already"):
            FrozenContext(sinks=[sink])


def test_example_runs(tmp_path: Path) -> None:
    """The example of the sink's docstring sends a point."""
    names = {
        "FrozenContext": FrozenContext,
        "WandbSink": WandbSink,
        "wandb": SimpleNamespace(init=partial(wandb.init, dir=tmp_path)),
    }

    assert "" == what_fails(example_of(WandbSink), names)
    assert [(1, 0.5)] == OfflineRun(tmp_path).points("loss/split-train", "epoch")
