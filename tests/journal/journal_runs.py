"""Runs for the tests of the journal: writers in processes of their own, and what is to be found of them afterwards.

A writer does the acts of an endless program that only depends on a seed and a session. Each act is one fact, and is
acknowledged through a pipe when it has returned. So of each session the file has to hold a beginning of its program:
all acts that were acknowledged, and one more at the most, which was done and not yet acknowledged.
"""

import multiprocessing
import os
import select
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from itertools import accumulate
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, NamedTuple

from typing_extensions import TypedDict

from crystallize import FrozenContext, Metric, MetricSchema
from crystallize._core.codec import decode_untyped
from crystallize._journal import drainer, frame_writer, run_files, run_writer
from crystallize._journal.environment import Origin
from crystallize._journal.journal import Journal
from crystallize._journal.loaded_run import load_run
from crystallize._journal.migrations import LATER
from crystallize._journal.packed_points import points_of
from crystallize._journal.read_run import RunData, read
from crystallize._journal.verify import verify_run

__all__ = [
    *(
        "SMALL",
        "Act",
        "Died",
        "Expected",
        "Facts",
        "Plan",
        "RunMetrics",
        "acts",
        "copied",
        "die",
        "facts_in",
        "facts_of",
        "files_of",
    ),
    *("killed", "no_environment", "perform", "processes", "whole"),
]

processes = multiprocessing.get_context("forkserver")
"""A server that has imported all this forks the writers, which takes a fraction of an import."""
processes.set_forkserver_preload(["tests.journal.journal_runs"])

SMALL = 64 * 1024
"""Bytes of a spool that wraps often."""


class Tags(TypedDict):
    """The tags of `RunMetrics`."""

    session: int
    text: str


class RunMetrics(MetricSchema):
    """What a writer measures, if it says so: points of these go the shortest way."""

    loss = Metric(int, tags=Tags)


class Act(NamedTuple):
    """Something that a program does, and that is one fact."""

    what: str
    """"point", "key", "artifact", "open" or "close"."""
    name: str
    value: Any = None
    step: str | None = None
    """In which step it is done; for "open" and "close" the step itself, with the steps around it."""


def acts(seed: int, session: int, count: int) -> Iterator[Act]:
    """Return the first acts of the program of a session."""
    random = Random(f"{seed}/{session}")
    open_: list[str] = []
    for at in range(count):
        within = open_[-1] if open_ else None
        choice = random.random()
        if choice < 0.9:
            text = "x" * random.choice((0, 10, 300))
            yield Act("point", "loss", (at, {"session": session, "text": text}), within)
        elif choice < 0.94:
            yield Act("key", f"k{session}.{at}", [at, "v" * random.randrange(50), {"n": at / 7}], within)
        elif choice < 0.95:
            size = random.choice((0, 10, 5_000, SMALL + 100))
            yield Act("artifact", f"a{session}.{at}", bytes([at % 256]) * size, within)
        elif open_ and (choice < 0.975 or len(open_) == 3):
            open_.pop()
            yield Act("close", str(within), None, within)
        else:
            name = f"s{session}.{at}"
            open_.append(name if within is None else f"{within}/{name}")
            yield Act("open", name, None, open_[-1])


def whole(program: Iterable[Act]) -> list[Act]:
    """Return as much of the beginning of a program as leaves no step open."""
    done = list(program)
    depths = [0, *accumulate((act.what == "open") - (act.what == "close") for act in done)]
    return done[: max(at for at, depth in enumerate(depths) if depth == 0)]


def perform(ctx: FrozenContext[Any], program: Iterable[Act], done: Callable[[], object]) -> None:
    """Do all acts of a program; tell of each when it has returned."""
    steps: list[tuple[AbstractContextManager[Any], FrozenContext[Any]]] = []
    for act in program:
        handle = steps[-1][1] if steps else ctx
        if act.what == "point":
            handle.record(act.name, *act.value)
        elif act.what == "key":
            handle[act.name] = act.value
        elif act.what == "artifact":
            handle.artifacts.add(act.name, act.value)
        elif act.what == "open":
            opened = handle.step(act.name)
            steps.append((opened, opened.__enter__()))
        else:
            steps.pop()[0].__exit__(None, None, None)
        done()


def no_environment() -> Origin:
    """In place of `current_environment`, which asks git each time."""
    return {
        "arguments": [],
        "folder": "",
        "commit": None,
        "dirty": None,
        "python": "",
        "system": "",
        "host": "",
        "pid": os.getpid(),
        "packages": {},
    }


class Plan(NamedTuple):
    """How a writer writes."""

    seed: int
    path: Path
    """The run to resume; or the folder where to start one."""
    capacity: int = SMALL
    batch: int = 1000
    delay: float = 0.1
    acts: int = 1_000_000
    metrics: type[MetricSchema] | None = None


def _write_on(pipe: Connection, plan: Plan) -> None:
    """Write a run until somebody kills this process."""
    frame_writer.CAPACITY = plan.capacity
    drainer.BATCH = plan.batch  # type: ignore[misc]  # final elsewhere
    drainer.TOGETHER = plan.batch  # type: ignore[misc]  # as above
    drainer.DELAY = plan.delay  # type: ignore[misc]  # as above
    run_files.current_environment = no_environment  # type: ignore[attr-defined]  # imported there
    tell = pipe.fileno()
    os.write(tell, b"\n")
    opened = Journal.resume(plan.path) if plan.path.is_file() else Journal.start(plan.path, "run")
    session = len(load_run(opened.path).sessions)
    os.write(tell, f"{opened.path}\t{session}\n".encode())
    ctx = opened.context(FrozenContext, {"seed": plan.seed} if session == 1 else None, metrics=plan.metrics)
    os.write(tell, b".")
    perform(ctx, acts(plan.seed, session, plan.acts), lambda: os.write(tell, b"."))
    os.write(tell, b"!")
    os.read(tell, 1)


class Died(NamedTuple):
    """What a writer said before it was killed."""

    path: Path | None
    """Its run; None if it had not opened it."""
    session: int
    acknowledged: int
    """The acts that had returned; the making of the context is one as well."""


def killed(plan: Plan, *, after: float = 60, acknowledged: int = 1_000_000) -> Died:
    """Run a writer and kill it.

    Args:
        plan: What it does.
        after: So many seconds after it has begun to open the run, at the latest.
        acknowledged: As soon as it has acknowledged so many acts.
    """
    here, there = processes.Pipe(duplex=True)
    writer = processes.Process(target=_write_on, args=(there, plan), daemon=True)
    writer.start()
    there.close()
    said = b""
    end = None
    try:
        while end is None or monotonic() < end:
            wait = 30.0 if end is None else max(0, end - monotonic())
            if select.select([here], [], [], wait)[0]:
                more = os.read(here.fileno(), 1 << 16)
                said += more
                end = monotonic() + after if end is None and more else end
                if not more or more.endswith(b"!") or len(said.split(b"\n")[-1]) >= acknowledged:
                    break
    finally:
        writer.kill()
        writer.join()
    while more := os.read(here.fileno(), 1 << 16):
        said += more
    here.close()
    assert said, "the writer could not even begin"
    lines = said.split(b"\n")
    if len(lines) < 3:
        return Died(None, 0, 0)
    path, session = lines[1].decode().split("\t")
    return Died(Path(path), int(session), lines[2].count(b"."))


class Facts(NamedTuple):
    """What one session did, by kinds; each in order."""

    points: list[tuple[str, Any, Any, str | None]]
    keys: list[tuple[str, Any, str | None]]
    artifacts: list[tuple[str, bytes, str | None]]
    opened: list[str]
    closed: list[str]
    """Sorted, since a file has them in the order in which they were opened."""

    @property
    def total(self) -> int:
        """How many facts these are."""
        return sum(len(facts) for facts in (self.points, self.keys, self.artifacts, self.opened, self.closed))

    def without(self, steps: set[str]) -> "Facts":
        """These without what some steps did."""
        points = [point for point in self.points if point[-1] not in steps]
        keys = [key for key in self.keys if key[-1] not in steps]
        artifacts = [artifact for artifact in self.artifacts if artifact[-1] not in steps]
        return Facts(points, keys, artifacts, [step for step in self.opened if step not in steps], self.closed)


def facts_of(program: Iterable[Act]) -> Facts:
    """Return what a session does by its program."""
    done = Facts([], [], [], [], [])
    for what, name, value, step in program:
        if what == "point":
            done.points.append((name, *value, step))
        elif what == "key":
            done.keys.append((name, value, step))
        elif what == "artifact":
            done.artifacts.append((name, value, step))
        else:
            (done.opened if what == "open" else done.closed).append(str(step))
    done.closed.sort()
    return done


def facts_in(content: RunData, session: int) -> Facts:
    """Return what a session did by the file, except for the inputs."""
    packed = [row for row in content.points if row.process == session]
    points = [point for row in packed for point in points_of(content.path, row)]
    values = [value for value in content.values if value.session == session and not value.is_input]
    attempts = [attempt for attempt in content.attempts if attempt.session == session]
    return Facts(
        [(name, value, tags, step) for name, value, tags, step in points],
        [(value.key, decode_untyped(value.stored), value.step) for value in values],
        [(artifact.name, artifact.data, artifact.step) for _, of, artifact in content.artifacts if of == session],
        [attempt.step for attempt in attempts],
        sorted(attempt.step for attempt in attempts if attempt.record is not None),
    )


@dataclass
class Expected:
    """What has to be in a file, by what its writers acknowledged."""

    seed: int
    acknowledged: dict[int, int] = field(default_factory=dict)
    """By session, how many acts it acknowledged, with the making of the context."""

    def take(self, died: Died) -> None:
        """Note what a writer acknowledged."""
        if died.path is not None:
            self.acknowledged[died.session] = died.acknowledged

    def check(self, path: Path) -> None:
        """Check that a file holds all that was acknowledged, whole, once and in order, and that it can be loaded."""
        assert () == verify_run(path)
        content = read(path)
        last = content.sessions[-1].number
        found: dict[int, Facts] = {}
        for session in range(1, last + 1):
            found[session] = facts_in(content, session)
            inputs = sum(value.is_input for value in content.values) if session == 1 else 1
            told = self.acknowledged.get(session, 0)
            count = found[session].total
            assert told <= count + inputs <= max(told, 1) + 1, f"session {session} told {told}, has {count} + {inputs}"
            assert facts_of(acts(self.seed, session, count)) == found[session]
        self._check_loaded(path, found, last)

    def _check_loaded(self, path: Path, found: dict[int, Facts], last: int) -> None:
        run = load_run(path)
        seen = [
            facts if session == last else facts.without({*facts.opened} - {*facts.closed})
            for session, facts in found.items()
        ]
        inputs = {"seed": self.seed} if "seed" in run.provenance.inputs else {}
        assert inputs | {key: value for facts in seen for key, value, _ in facts.keys} == run.values
        points = [(value, tags) for facts in seen for _, value, tags, _ in facts.points]
        assert points == [(point.value, dict(point.tags)) for point in run.metrics.series("loss")]
        assert [artifact for facts in seen for artifact in facts.artifacts] == [
            (artifact.name, artifact.data, artifact.step) for artifact in run.artifacts
        ]
        assert [step for facts in seen for step in facts.closed] == sorted(
            (attempt.step for attempt in run.attempts if attempt.finished),
            key=lambda step: (int(step[1:].split(".")[0]), step),
        )
        assert {step for facts in found.values() for step in facts.closed} == {
            record.name for record in run.provenance.steps
        }


def die(dying: Journal) -> None:
    """Do to a journal what the death of its process does: nothing more is drained, and the files stay as they are."""
    # git is started in a process that has a copy of the descriptor of the lock until git runs.
    dying._writer.probe.wait(60)
    # First, so that the drainer takes nothing in when it wakes to end.
    dying._writer.closed = "its process died"
    dying._writer.refuse()
    dying._writer._drainer.is_closed = True
    dying._writer.wake()
    dying._writer._drainer._thread.join()
    dying._writer._finalizer()
    run_writer._open_here.discard(dying._writer)


def copied(dying: Journal, folder: Path) -> Path:
    """Copy the files of a run as they would be if its process died now; return the path of the copy."""
    folder.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(dying.path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")  # so that nothing is drained meanwhile
        for file in files_of(dying.path):
            shutil.copy(file, folder)
    return folder / dying.path.name


def older(version: int) -> str:
    """Return the statements that make the database of a run one of an older version."""
    later = [f"DROP TABLE {table}" for table, since in LATER.items() if since > version]
    return "; ".join((*later, f"PRAGMA user_version = {version}"))


def files_of(path: Path) -> list[Path]:
    """Return the files of a run that are there, but for SQLite's shared memory, which each process can make anew."""
    names = (path.name, f"{path.name}-wal", path.with_suffix(".spool").name)
    return [file for name in names if (file := path.parent / name).exists()]
