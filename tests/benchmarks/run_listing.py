"""How long the table of many runs takes: read, beside `mlflow.search_runs` over the same runs, and in a browser."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from crystallize import FrozenContext, Journal, Metric, MetricSchema
from crystallize._journal.run_index import INDEX
from crystallize._tables.run_rows import read_runs

from .journal import ROOT, TRACKERS, folder
from .page import ALONE, CHROMIUM
from .results import Result

_MADE = 100
"""Runs that are really made; the others are copies of them."""
_LIMITS = {1_000: (0.2, 0.1), 10_000: (2.0, 0.5)}
"""Seconds without and with an index, by the number of runs."""


class Goals(MetricSchema):
    loss = Metric(float, goal="minimize")


def make_runs(where: Path, count: int) -> None:
    """Make so many runs with three inputs, a result and ten points."""
    for number in range(_MADE):
        with Journal.start(where, "grid") as journal:
            inputs = {"lr": number / _MADE, "depth": number % 3, "seed": 1}
            ctx = journal.context(FrozenContext, inputs, metrics=Goals)
            with ctx.step("fit") as step:
                for epoch in range(10):
                    step.record("loss", 1 / (epoch + 1))
                step["accuracy"] = number / _MADE
    old = time.time() - 60
    for number in range(1, count + 1):
        path = where / f"grid-{number:04d}.db"
        if number > _MADE:
            shutil.copyfile(where / f"grid-{number % _MADE + 1:04d}.db", path)
        os.utime(path, (old, old))
    time.sleep(2.5)  # as files that have just changed are not in the index


_MLFLOW = """
import json, logging, os, sqlite3, sys, tempfile, time
os.chdir(tempfile.mkdtemp())
import mlflow
logging.disable()
mlflow.set_tracking_uri("sqlite:///runs.db")
mlflow.set_experiment("bench")
for number in range({made}):
    with mlflow.start_run():
        mlflow.log_params({{"lr": number / {made}, "depth": number % 3, "seed": 1}})
        for epoch in range(10):
            mlflow.log_metric("loss", 1 / (epoch + 1), step=epoch)
        mlflow.log_metric("accuracy", number / {made})
def multiply(count):
    connection = sqlite3.connect("runs.db")
    for table in ("runs", "params", "latest_metrics", "tags"):
        names = [row[1] for row in connection.execute(f"PRAGMA table_info({{table}})")]
        for copy in range(1, count // {made}):
            values = ", ".join("run_uuid || '-" + str(copy) + "'" if name == "run_uuid" else name for name in names)
            of = "length(run_uuid) = 32"
            connection.execute(f"INSERT OR IGNORE INTO {{table}} SELECT {{values}} FROM {{table}} WHERE {{of}}")
    connection.commit()
    connection.close()
found = {{}}
for count in {counts}:
    multiply(count)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        assert len(mlflow.search_runs(experiment_names=["bench"])) == count
        times.append(time.perf_counter() - start)
    found[count] = min(times)
print(json.dumps(found))
"""


def time_mlflow() -> dict[str, float]:
    """Return the seconds of `mlflow.search_runs`, by the number of runs; empty where there is no MLflow."""
    if not TRACKERS.exists():
        return {}
    code = _MLFLOW.format(made=_MADE, counts=[*_LIMITS])
    lines = subprocess.run([TRACKERS, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    found: dict[str, float] = json.loads(lines[-1])
    return found


def time_run_listing() -> list[Result]:
    """Time the table of a thousand and ten thousand runs, without an index and with one."""
    theirs = time_mlflow()
    results = []
    for count, limits in _LIMITS.items():
        with folder() as where:
            make_runs(where, count)
            seconds: dict[str, list[float]] = {"without an index": [], "with an index": []}
            for _ in range(3):
                (where / INDEX).unlink(missing_ok=True)
                for way in seconds:
                    start = time.perf_counter()
                    assert len(read_runs(where).rows) == count
                    seconds[way].append(time.perf_counter() - start)
        other = theirs.get(str(count))
        for way, limit in zip(seconds, limits, strict=True):
            ours = min(seconds[way])
            name, shown = ("mlflow.search_runs", f"{other:.2f} s") if other else ("", "")
            ratio = ours / other if other else None
            target, met = f"≤ {limit:g} s", ours <= limit
            if ratio is not None and way == "with an index":
                target, met = f"{target}, ≤ 0.1 x", met and ratio <= 0.1
            results.append(
                Result(f"table of {count:,} runs, {way}", f"{ours:.2f} s", name, shown, ratio, None, target, met)
            )
    return results


_LISTED = 1_000
"""Runs in the table in the browser."""


def time_ui() -> list[Result]:
    """Time the table of a thousand runs in a browser, from the request to the last row, cold and warm."""
    with folder() as where:
        make_runs(where, _LISTED)
        command = [sys.executable, "-m", "crystallize", "ui", "--dir", str(where), "--no-browser"]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
            sync_playwright() as playwright,
            playwright.chromium.launch(executable_path=CHROMIUM, args=ALONE) as browser,
        ):
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1]
            seconds = []
            for _ in range(4):
                page = browser.new_page()
                start = time.perf_counter()
                page.goto(address)
                page.wait_for_selector(f".runs tbody tr:nth-child({_LISTED})", state="attached")
                seconds.append(time.perf_counter() - start)
                page.close()
            server.send_signal(signal.SIGINT)
    path = f"{_LISTED:,} runs opened in a browser"
    rows = (("for the first time", seconds[0]), ("again", min(seconds[1:])))
    return [Result(f"{path}, {when}", f"{took:.2f} s", "", "", None, None, "≤ 1 s", took <= 1) for when, took in rows]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    for result in (*time_run_listing(), *time_ui()):
        print(result)
