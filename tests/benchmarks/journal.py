"""What a journal costs: a point that survives its process, beside one that does not and beside other trackers."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel

from crystallize import FrozenContext, Journal, load_run

from .core import NAMES, TrainMetrics
from .results import Result
from .rounds import Contestant, play

ROOT = Path(__file__).parents[2]
TRACKERS = ROOT / ".venv-trackers" / "bin" / "python"
"""An environment with MLflow and DVCLive, whose own dependencies do not go together with the pinned ones."""


class One(BaseModel):
    lr: float


class Journalled:
    """Contexts with a journal each, in a folder that goes away; a new one ends the one before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal: Journal | None = None

    def __call__(self) -> FrozenContext[One]:
        self.close()
        self.journal = Journal.start(self.folder, "bench")
        return self.journal.context(FrozenContext[One], {"lr": 0.1}, metrics=TrainMetrics)

    def close(self) -> None:
        if self.journal is not None:
            self.journal.close()


@contextmanager
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as made:
        yield Path(made)


@contextmanager
def busy() -> Iterator[None]:
    """Beside a thread that computes in Python all the time."""
    done = False

    def compute() -> None:
        while not done:
            sum(range(100))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        done = True
        thread.join()


RECORD = 'ctx.record("loss", 0.5, {"epoch": e, "split": "train"})'


def time_record(rounds: int) -> list[Result]:
    """Time a point with a journal beside one without, alone and beside a busy thread."""
    with folder() as where:
        journalled = Journalled(where)
        names: dict[str, Any] = {**NAMES, "journalled": journalled, "One": One}
        contestants = [
            Contestant("with", RECORD, "ctx = journalled(); e = 3"),
            Contestant("without", RECORD, "ctx = FrozenContext[One]({'lr': 0.1}, metrics=TrainMetrics); e = 3"),
        ]
        alone = play(contestants, names, number=20_000, rounds=rounds)
        with busy():
            beside = play(contestants, names, number=20_000, rounds=max(3, rounds // 3))
        journalled.close()
    more = alone["with"].least - alone["without"].least
    more_beside = beside["with"].least - beside["without"].least
    shown = [f"{seconds * 1e9:,.0f} ns" for seconds in (more, alone["without"].least, more_beside)]
    path = "a point in a journal, acknowledged"
    twice = more_beside <= 2 * more
    return [
        Result(path, f"+ {shown[0]}", "no journal", shown[1], None, None, "≤ + 2,500 ns", more <= 2500e-9),
        Result(
            f"{path}, beside a busy thread",
            f"+ {shown[2]}",
            "alone",
            f"+ {shown[0]}",
            more_beside / more,
            None,
            "≤ 2 x",
            twice,
        ),
    ]


_TRACKERS = """
import os, sys, tempfile, time, logging
sys.path.insert(0, {root!r})
os.chdir(tempfile.mkdtemp())
import mlflow
from dvclive import Live
from tests.benchmarks.journal import Journalled
from pathlib import Path
logging.disable()
mlflow.set_tracking_uri("sqlite:///runs.db")
mlflow.set_experiment("bench")
def least(record, number):
    best = 1e9
    for _ in range(5):
        start = time.perf_counter()
        for step in range(number):
            record(step)
        best = min(best, (time.perf_counter() - start) / number)
    return best
journalled = Journalled(Path("runs"))
ctx = journalled()
with mlflow.start_run(), Live(dir="live", save_dvc_exp=False, dvcyaml=None, report=None) as live:
    ours = least(lambda e: ctx.record("loss", 0.5, {{"epoch": e, "split": "train"}}), 5000)
    dvclive = least(lambda e: live.log_metric("loss", 0.5), 500)
    mlflow_ = least(lambda e: mlflow.log_metric("loss", 0.5, step=e), 50)
journalled.close()
print(ours, dvclive, mlflow_)
"""


def time_trackers() -> list[Result]:
    """Time a point beside those of other trackers, in their environment, where `make bench` has made it."""
    if not TRACKERS.exists():
        return []
    code = _TRACKERS.format(root=str(ROOT))
    found = subprocess.run([TRACKERS, "-c", code], check=True, capture_output=True, text=True).stdout.split("\n")[-2]
    ours, dvclive, mlflow = map(float, found.split())
    return [
        Result(
            "a point in a journal, acknowledged",
            f"{ours * 1e6:.1f} µs",
            what,
            f"{theirs * 1e6:,.0f} µs",
            ours / theirs,
            None,
            f"≤ {target} x",
            ours / theirs <= target,
        )
        for what, theirs, target in (("DVCLive log_metric", dvclive, 0.1), ("MLflow log_metric, SQLite", mlflow, 0.002))
    ]


_SUSTAINED = """
import gc, os, sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.benchmarks.journal import Journalled, resident
journalled = Journalled(Path({folder!r}))
add = journalled().metrics.series("loss").add
for n in range(100_000):
    add(n / 7, {{"epoch": n // 100, "split": "train"}})
before = resident()
start = time.perf_counter()
for n in range({points}):
    add(n / 7, {{"epoch": n // 100, "split": "train"}})
journalled.journal.flush()
took = time.perf_counter() - start
print({points} / took, resident() - before)
journalled.close()
"""


def resident() -> int:
    """Return the bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure_runs() -> list[Result]:
    """Measure many points: how many a second, in how much memory, on disk, and loaded again."""
    with folder() as where:
        points = 5_000_000
        code = _SUSTAINED.format(root=str(ROOT), folder=str(where), points=points)
        out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        rate, memory = map(float, out.split())
    with folder() as where:
        journalled = Journalled(where)
        add = journalled().metrics.series("loss").add
        for n in range(1_000_000):
            add(n / 7, {"epoch": n // 100, "split": "train" if n % 2 else "val"})
        journalled.close()
        assert journalled.journal is not None
        path = journalled.journal.path
        size = path.stat().st_size / 1e6
        start = time.perf_counter()
        assert len(load_run(path, One, metrics=TrainMetrics).metrics["loss"]) == 1_000_000
        load = time.perf_counter() - start
        slowest = _poll(Path(where))
    own = memory / points

    def alone(path: str, ours: str, target: str, *, met: bool) -> Result:
        return Result(path, ours, "", "", None, None, target, met)

    return [
        alone("sustained, 5,000,000 points", f"{rate:,.0f} a second", "≥ 250,000", met=rate >= 250_000),
        alone("memory of those, a point", f"{own:.1f} bytes", "≤ 20 bytes", met=own <= 20),
        alone("1,000,000 points on disk, a point", f"{size:.1f} bytes", "≤ 40 bytes", met=size <= 40),
        alone("load 1,000,000 points", f"{load:.2f} s", "≤ 2 s", met=load <= 2),
        alone("slowest poll beside a writer", f"{slowest * 1e3:.0f} ms", "≤ 50 ms", met=slowest <= 0.05),
    ]


_POLL = """
import sys, time
sys.path.insert(0, {root!r})
from crystallize._journal.read_run import read
slowest = 0.0
print("ready", flush=True)
while True:
    start = time.perf_counter()
    content = read({path!r})
    slowest = max(slowest, time.perf_counter() - start)
    if not content.running:
        break
    time.sleep(0.005)
print(slowest)
"""


def _poll(where: Path) -> float:
    """Return the longest time that a reader of a run needs while 100,000 points are written to it."""
    journalled = Journalled(where)
    add = journalled().metrics.series("loss").add
    assert journalled.journal is not None
    code = _POLL.format(root=str(ROOT), path=journalled.journal.path).replace("PosixPath", "__import__('pathlib').Path")
    reader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    reader.stdout.readline()
    for n in range(100_000):
        add(n / 7, {"epoch": n // 100, "split": "train"})
    journalled.close()
    return float(reader.communicate()[0])
