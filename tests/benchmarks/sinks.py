"""What a point costs a training loop whose sink reports to an MLflow that is down, beside the same with no sink."""

import logging
import os
import socket
import subprocess
import warnings

from .core import NAMES
from .journal import RECORD, ROOT, TRACKERS
from .results import Result
from .rounds import Contestant, play

_CODE = """
import sys
sys.path.insert(0, {root!r})
from tests.benchmarks.sinks import time_down
print(*time_down({rounds}))
"""


def time_sinks(rounds: int) -> list[Result]:
    """Time a point with the MLflow sink, in the environment that has MLflow, where `make bench` has made it."""
    if not TRACKERS.exists():
        return []
    code = _CODE.format(root=str(ROOT), rounds=rounds)
    found = subprocess.run([TRACKERS, "-c", code], check=True, capture_output=True, text=True).stdout.split("\n")[-2]
    without, queued, full = map(float, found.split())
    path = "a point with the MLflow sink, its server down"
    return [
        Result(
            label,
            f"{seconds * 1e9:,.0f} ns",
            "no sink",
            f"{without * 1e9:,.0f} ns",
            seconds / without,
            None,
            "≤ 5 x",
            seconds <= 5 * without,
        )
        for label, seconds in ((path, queued), (f"{path}, its queue full", full))
    ]


def time_down(rounds: int) -> tuple[float, float, float]:
    """Return the seconds that a point takes with no sink, one whose queue has room, and one whose has none."""
    from mlflow import MlflowClient

    from crystallize.sinks.mlflow import MLflowSink

    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    logging.disable()
    warnings.simplefilter("ignore")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    client = MlflowClient(f"http://127.0.0.1:{port}")
    number = 100_000

    def close() -> None:
        """Close the sink of the round before."""
        while made:
            made.pop().close()

    def sink(bound: int) -> MLflowSink:
        made.append(MLflowSink(client, "run", step_tag="epoch", bound=bound, patience=0))
        return made[-1]

    made: list[MLflowSink] = []
    contestants = [
        Contestant("without", RECORD, "close(); ctx = context(); e = 3"),
        Contestant("queued", RECORD, f"close(); ctx = context(sinks=[sink({number})]); e = 3"),
        Contestant("full", RECORD, f"close(); ctx = context(sinks=[sink(1)]); e = 3; {RECORD}"),
    ]
    found = play(contestants, {**NAMES, "sink": sink, "close": close}, number=number, rounds=rounds)
    close()
    return found["without"].least, found["queued"].least, found["full"].least
