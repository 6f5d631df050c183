"""A step that reads one key and writes one, beside the same step of LangGraph, Burr and DBOS, in one run.

In memory, and durable: when a step has ended, its work is on disk. All take turns in one process, in an environment
that has the peers, where `make bench` has made it.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from .results import Result
from .rounds import Contestant, play

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-peers" / "bin" / "python"
"""An environment with LangGraph, Burr and DBOS, which have many dependencies that nothing else needs."""
STEPS = 50
"""How many steps a round has."""
_MEMORY = {"Burr": 0.4, "LangGraph": 0.08}
"""The targets of a step in memory, beside each peer."""
_BEST_PEER, _COMMIT = 0.25, 0.8
"""The targets of a durable step, beside the fastest peer and beside one commit of SQLite."""
_COMMIT_NAME = "one SQLite commit, synchronous=FULL"

Pipeline = Callable[[], object]


def add_one(ctx: Any, index: int) -> None:
    """Read one key, and write the next one."""
    ctx[f"k{index + 1}"] = ctx[f"k{index}"] + 1


def run_all(ctx: Any) -> None:
    """Run all steps."""
    for index in range(STEPS):
        ctx.run(add_one, index)
    assert STEPS == ctx[f"k{STEPS}"]


_journals: list[Any] = []
"""The journal of the round before."""


def _close_journals() -> None:
    while _journals:
        _journals.pop().close()


def ours(folder: Path | None) -> Pipeline:
    """Return a pipeline of `ctx.run`, with a journal in a folder or without one."""
    from crystallize import FrozenContext, Journal

    _close_journals()
    if folder is None:
        return partial(run_all, FrozenContext[dict[str, int]]({"k0": 0}))
    journal = Journal.start(folder / "runs", "bench")
    _journals.append(journal)
    return partial(run_all, journal.context(FrozenContext[dict[str, int]], {"k0": 0}))


def langgraph(folder: Path | None) -> Pipeline:
    """Return a graph of nodes in a row, with a SqliteSaver or without one."""
    import sqlite3

    from langgraph.checkpoint.sqlite import SqliteSaver  # type: ignore[import-not-found]  # not where mypy runs
    from langgraph.graph import START, StateGraph  # type: ignore[import-not-found]  # not where mypy runs
    from pydantic import BaseModel

    class State(BaseModel):
        k: int = 0

    def node(state: State) -> dict[str, int]:
        return {"k": state.k + 1}

    graph: Any = StateGraph(State)
    before = START
    for index in range(STEPS):
        graph.add_node(f"step-{index}", node)
        graph.add_edge(before, f"step-{index}")
        before = f"step-{index}"
    options: dict[str, Any] = {}
    saver = None
    if folder is not None:
        saver = SqliteSaver(sqlite3.connect(folder / f"{uuid4()}.db", check_same_thread=False))
        saver.setup()
        options["durability"] = "sync"
    app = graph.compile(checkpointer=saver)
    config = {"configurable": {"thread_id": "1"}, "recursion_limit": 10 * STEPS}

    def run() -> None:
        assert STEPS == app.invoke({"k": 0}, config, **options)["k"]

    return run


def burr(folder: Path | None) -> Pipeline:
    """Return an application with one action, with a SQLitePersister or without one."""
    from burr.core import ApplicationBuilder, action, expr  # type: ignore[import-not-found]  # not where mypy runs
    from burr.core.persistence import SQLitePersister  # type: ignore[import-not-found]  # not where mypy runs

    def increase(state: Any) -> Any:
        return state.update(k=state["k"] + 1)

    builder = ApplicationBuilder().with_actions(increase=action(reads=["k"], writes=["k"])(increase))
    builder = builder.with_transitions(("increase", "increase", expr("k >= 0")))
    if folder is None:
        builder = builder.with_entrypoint("increase").with_state(k=0)
    else:
        persister = SQLitePersister(db_path=str(folder / f"{uuid4()}.db"), table_name="states")
        persister.initialize()
        builder = builder.with_identifiers(app_id="1").with_state_persister(persister)
        builder = builder.initialize_from(
            persister, resume_at_next_action=True, default_state={"k": 0}, default_entrypoint="increase"
        )
    app = builder.build()

    def run() -> None:
        for _ in range(STEPS):
            app.step()
        assert STEPS == app.state["k"]

    return run


def launch_dbos(folder: Path) -> Pipeline:
    """Return a workflow of DBOS on SQLite; a process has only one DBOS."""
    from dbos import DBOS  # type: ignore[import-not-found]  # not where mypy runs

    database = f"sqlite:///{folder / 'dbos.sqlite'}"
    DBOS(config={"name": "bench", "system_database_url": database, "run_admin_server": False, "log_level": "ERROR"})

    def add(k: int) -> int:
        return k + 1

    increase = DBOS.step()(add)

    def run() -> None:
        k = 0
        for _ in range(STEPS):
            k = increase(k)
        assert STEPS == k

    workflow: Pipeline = DBOS.workflow()(run)
    DBOS.launch()
    return workflow


def commits(folder: Path) -> Pipeline:
    """Return as many commits of one small row each, which are on disk when they return."""
    import sqlite3

    connection = sqlite3.connect(folder / f"{uuid4()}.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE facts (content TEXT)")

    def run() -> None:
        for index in range(STEPS):
            connection.execute("INSERT INTO facts VALUES (?)", (f"k{index}",))

    return run


def time_here(rounds: int) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the fastest and the median seconds of a step, in memory and durable, by the names of the contestants."""
    logging.disable()
    os.environ.setdefault("BURR_TELEMETRY_ENABLED", "false")
    # Not in a folder for temporary files, which may lie in memory.
    with TemporaryDirectory(dir=ROOT, prefix=".bench-") as made:
        folder = Path(made)
        makers: dict[str, Any] = {"crystallize": ours, "Burr": burr, "LangGraph": langgraph}
        dbos = launch_dbos(folder)
        durable: dict[str, Any] = {name: partial(make, folder) for name, make in makers.items()}
        durable |= {"DBOS": lambda: dbos, _COMMIT_NAME: partial(commits, folder)}
        memory = {name: partial(make, None) for name, make in makers.items()}
        found = {"memory": _play(memory, rounds), "durable": _play(durable, rounds)}
        _close_journals()
        return found


def _play(makers: Mapping[str, Callable[[], Pipeline]], rounds: int) -> dict[str, tuple[float, float]]:
    contestants = [Contestant(name, "run()", f"run = makers[{name!r}]()", per=STEPS) for name in makers]
    found = play(contestants, {"makers": makers}, number=STEPS, rounds=rounds)
    return {name: (timing.least, timing.middle) for name, timing in found.items()}


def time_peers(rounds: int) -> list[Result]:
    """Time steps beside those of peers, in their environment, where `make bench` has made it."""
    if not PEERS.exists():
        return []
    command = [str(PEERS), "-m", "tests.benchmarks.peers", str(rounds)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    found = json.loads(printed.splitlines()[-1])
    memory, durable = found["memory"], found["durable"]
    path = "a step that reads a key and writes one"
    results = [_result(path, memory, name, target) for name, target in _MEMORY.items()]
    peers = [name for name in durable if name not in ("crystallize", _COMMIT_NAME)]
    best = min(peers, key=lambda name: durable[name][0])
    targets = {name: _BEST_PEER if name == best else None for name in peers} | {_COMMIT_NAME: _COMMIT}
    return results + [_result(f"{path}, on disk when it ends", durable, name, targets[name]) for name in targets]


def _result(path: str, found: dict[str, list[float]], name: str, target: float | None) -> Result:
    """Return the line of one peer; the targets of a durable step are for the fastest peer, and for a commit."""
    (least, middle), (other, other_middle) = found["crystallize"], found[name]
    ratio = least / other
    shown = "" if target is None else f"≤ {target:g} x"
    microseconds = [f"{seconds * 1e6:,.0f} µs" for seconds in (least, other)]
    met = target is None or ratio <= target
    return Result(path, microseconds[0], name, microseconds[1], ratio, middle / other_middle, shown, met)


if __name__ == "__main__":
    print(json.dumps(time_here(int(sys.argv[1]))))
