"""What a run promises, and whether its file keeps it after a power cut, a kill or a fault of the disk.

Each process of a run does the acts of an endless program that depends only on a seed and the number of the process. So
after any accident, each process must have left a beginning of its program: all acts up to the last one that was
promised to survive, perhaps more, and never one without those before it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count, islice
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any, Final, Literal, NamedTuple

from typing_extensions import TypedDict

from crystallize import FrozenContext, Journal, Metric, MetricSchema, fork, load_run, merge
from crystallize.runs import Run, verify_run

Kind = Literal["point", "key", "artifact", "open", "close", "branch", "flush"]
DURABLE: Final = ("close", "flush")
"""The acts that promise, when they return, that everything so far survives the machine."""


class Tags(TypedDict):
    """The tags of `Losses`."""

    process: int
    act: int


class Losses(MetricSchema):
    """What each process measures."""

    loss = Metric(float, tags=Tags)


class Act(NamedTuple):
    """One act of a program."""

    kind: Kind
    number: int
    step: str | None
    """The step in which it is done. Acts of the kinds "open", "close" and "branch" have the path of that step."""
    size: int = 0
    """Bytes of a value or an artifact; points of a branch."""


class Profile(NamedTuple):
    """How a program is composed."""

    sizes: tuple[int, ...] = (0, 10, 5000, 300_000)
    """The sizes of its values and artifacts."""
    burst: int = 200
    """Maximum number of points in a row."""


ORDINARY: Final = Profile()
LARGE: Final = Profile((0, 10, 5000, 300_000, 1_100_000))
"""With artifacts that are objects. If the disk is full for one of these, the journal goes on without it."""
SMALL: Final = Profile((0, 10, 400), 12)


def acts(seed: int, process: int, profile: Profile = ORDINARY) -> Iterator[Act]:
    """Return the program of a process, which never ends."""
    random = Random(f"{seed}/{process}")
    numbers = count()
    open_: list[str] = []
    while True:
        within = open_[-1] if open_ else None
        choice = random.random()
        if choice < 0.4:
            for _ in range(random.choice((1, 3, profile.burst))):
                yield Act("point", next(numbers), within)
        elif choice < 0.55:
            yield Act("key", next(numbers), within, random.choice(profile.sizes))
        elif choice < 0.62:
            yield Act("artifact", next(numbers), within, random.choice(profile.sizes))
        elif choice < 0.68:
            yield Act("flush", next(numbers), within)
        elif choice < 0.76:
            number = next(numbers)
            yield Act("branch", number, _path(within, f"branch-{process}-{number}"), random.choice((1, 40)))
        elif len(open_) == 2 or (open_ and choice < 0.88):
            yield Act("close", next(numbers), open_.pop())
        else:
            number = next(numbers)
            open_.append(_path(within, f"step-{process}-{number}"))
            yield Act("open", number, open_[-1])


def _path(within: str | None, name: str) -> str:
    return name if within is None else f"{within}/{name}"


@lru_cache(64)
def _bytes(seed: int, process: int, number: int, size: int) -> bytes:
    return Random(f"{seed}/{process}/{number}").randbytes(size)


class Program:
    """Does the acts of a process on a context.

    Attributes:
        done: The number of acts that have returned.
    """

    def __init__(self, seed: int, process: int, profile: Profile = ORDINARY) -> None:
        """Begin before the first act."""
        self.done = 0
        self._seed, self._process = seed, process
        self._acts = acts(seed, process, profile)
        self._steps: list[tuple[ExitStack, FrozenContext[Any]]] = []

    def do(self, journal: Journal, ctx: FrozenContext[Any]) -> Act:
        """Do the next act, and return it."""
        act = next(self._acts)
        handle = self._steps[-1][1] if self._steps else ctx
        if act.kind == "flush":
            journal.flush()
        elif act.kind == "open":
            stack = ExitStack()
            self._steps.append((stack, stack.enter_context(handle.step(_name(act)))))
        elif act.kind == "close":
            self._steps.pop()[0].close()
        elif act.kind == "branch":
            branch = fork(handle, _name(act)).open()
            self._write(branch, act)
            merge(handle, branch.delta())
        else:
            self._write(handle, act)
        self.done += 1
        return act

    def do_whole(self, journal: Journal, ctx: FrozenContext[Any], least: int) -> None:
        """Do at least so many acts, and go on until no step is open."""
        while self.done < least or self._steps:
            self.do(journal, ctx)

    def _write(self, handle: FrozenContext[Any], act: Act) -> None:
        number, process = act.number, self._process
        if act.kind == "key":
            handle[f"key-{process}-{number}"] = _bytes(self._seed, process, number, act.size).hex()
        elif act.kind == "artifact":
            handle.artifacts.add(f"artifact-{process}-{number}", _bytes(self._seed, process, number, act.size))
        else:
            for _ in range(act.size or 1):
                handle.record(Losses.loss, number / 2, Tags(process=process, act=number))


def _name(act: Act) -> str:
    return str(act.step).rpartition("/")[2]


class Work(NamedTuple):
    """The work of one process, as a file has it or as its program does it."""

    points: list[tuple[float, int, str | None]]
    """Value, act and step."""
    keys: dict[str, tuple[Any, str | None]]
    artifacts: dict[str, tuple[bytes, str | None]]
    opened: set[str]
    finished: set[str]

    @property
    def effects(self) -> int:
        """How many effects of acts these are."""
        return len(self.points) + len(self.keys) + len(self.artifacts) + len(self.opened) + len(self.finished)

    def without_dead(self) -> "Work":
        """Return the work without that of steps that never finished: so another process finds it."""
        dead = self.opened - self.finished
        points = [point for point in self.points if point[2] not in dead]
        keys = {key: found for key, found in self.keys.items() if found[1] not in dead}
        artifacts = {name: found for name, found in self.artifacts.items() if found[1] not in dead}
        return Work(points, keys, artifacts, self.opened, self.finished)


def blank() -> Work:
    """Return no work."""
    return Work([], {}, {}, set(), set())


def add(work: Work, act: Act, seed: int, process: int) -> None:
    """Add the effects of an act."""
    number, step = act.number, act.step
    if act.kind == "point":
        work.points.append((number / 2, number, step))
    elif act.kind == "branch":
        work.points.extend([(number / 2, number, step)] * act.size)
        work.opened.add(str(step))
        work.finished.add(str(step))
    elif act.kind == "key":
        work.keys[f"key-{process}-{number}"] = (_bytes(seed, process, number, act.size).hex(), step)
    elif act.kind == "artifact":
        work.artifacts[f"artifact-{process}-{number}"] = (_bytes(seed, process, number, act.size), step)
    elif act.kind == "open":
        work.opened.add(str(step))
    elif act.kind == "close":
        work.finished.add(str(step))


def work_of(seed: int, process: int, done: int, profile: Profile) -> Work:
    """Return the work of the first acts of a program."""
    work = blank()
    for act in islice(acts(seed, process, profile), done):
        add(work, act, seed, process)
    return work


def works_in(run: Run[Any]) -> dict[int, Work]:
    """Return the work of each process by a loaded run."""
    works = {session.number: blank() for session in run.sessions}
    if "loss" in run.metrics:
        for point in run.metrics.series(Losses.loss):
            works[point.tags["process"]].points.append((point.value, point.tags["act"], point.step))
    for key, entry in run.entries.items():
        if not entry.is_input:
            works[entry.session].keys[key] = (run.values[key], entry.step)
    for artifact in run.artifacts:
        works[int(artifact.name.split("-")[1])].artifacts[artifact.name] = (artifact.data, artifact.step)
    for attempt in run.attempts:
        works[attempt.session].opened.add(attempt.step)
        if attempt.finished:
            works[attempt.session].finished.add(attempt.step)
    return works


def load_dead(path: Path) -> Run[Any]:
    """Load a run whose writers have ended.

    A program that a writer was about to start when it was killed, such as git, may have its lock for a moment longer.
    """
    end = monotonic() + 10
    while (run := load_run(path, metrics=Losses)).status == "running":
        assert monotonic() < end, f"something has the lock of {path}"
        sleep(0.01)
    return run


def acts_in(work: Work, seed: int, process: int, profile: Profile) -> int:
    """Return how many acts of its program left this work, and check that they left exactly that.

    Acts without an effect, such as flushes, count as done if they come before the first act that left none.
    """
    made, done, whole = blank(), 0, work.effects
    for act in acts(seed, process, profile):
        if act.kind != "flush" and made.effects >= whole:
            break
        add(made, act, seed, process)
        done += 1
    check_equal(made, work, f"process {process}, {done} acts")
    return done


def check_equal(expected: Work, found: Work, of: str) -> None:
    """Check that two works are equal; name the first difference."""
    for name, wanted, got in zip(Work._fields, expected, found, strict=True):
        if wanted != got:
            raise AssertionError(f"{of}: {name} differ: {_difference(wanted, got)}")


def _difference(wanted: Any, got: Any) -> str:
    if isinstance(wanted, list):
        at = next((at for at, (left, right) in enumerate(zip(wanted, got, strict=False)) if left != right), None)
        at = min(len(wanted), len(got)) if at is None else at
        return f"{len(wanted)} are expected and {len(got)} found; at {at}: {wanted[at : at + 1]} and {got[at : at + 1]}"
    missing, more = set(wanted) - set(got), set(got) - set(wanted)
    return f"missing: {sorted(missing)[:3]}, not expected: {sorted(more)[:3]}"


@dataclass
class Promises:
    """What the writers of a run were promised.

    Attributes:
        seed: The seed of their programs.
        profile: The composition of their programs.
        least: For each process, the number of acts that must survive.
        found: For each process, the number of its acts that the next process found.
        ended: The last process that was closed; 0 if none was.
    """

    seed: int
    profile: Profile = ORDINARY
    least: dict[int, int] = field(default_factory=dict)
    found: dict[int, int] = field(default_factory=dict)
    ended: int = 0

    def take(self, said: Mapping[str, int]) -> None:
        """Take in what a writer said, as `line` has it."""
        process = said["process"]
        if "least" in said:
            self.least[process] = said["least"]
        if "found" in said:
            self.found[process] = said["found"]
        if said.get("ended"):
            self.ended = process

    def check(self, path: Path) -> dict[int, int]:
        """Check that a run keeps its promises; return how many acts of each process it has."""
        assert path.exists(), f"the run is gone; beside it are {sorted(file.name for file in path.parent.iterdir())}"
        run = load_dead(path)
        problems = verify_run(path)
        assert problems == (), f"verify_run: {problems[:3]}"
        works = works_in(run)
        last = max(works)
        assert last >= max(self.least, default=0), f"process {max(self.least)} is gone; the last one is {last}"
        survived: dict[int, int] = {}
        for process, work in works.items():
            survived[process] = self._check_process(process, work, is_last=process == last)
        if self.ended == last:
            assert run.status == "finished", f"the run was closed, and its status is {run.status}"
        return survived

    def _check_process(self, process: int, work: Work, *, is_last: bool) -> int:
        if is_last:
            done = acts_in(work, self.seed, process, self.profile)
        else:
            done = self.found[process]
            expected = work_of(self.seed, process, done, self.profile)
            check_equal(expected.without_dead(), work, f"process {process}, {done} acts, which was resumed")
        least = self.least.get(process, 0)
        assert done >= least, f"process {process}: {least} acts were promised, and {done} survived"
        return done

    def check_resuming(self, path: Path) -> None:
        """Check a run, resume it, and check that it has the same again and more; then start another beside it."""
        survived = self.check(path)
        with Journal.resume(path) as journal:
            ctx = journal.context(FrozenContext, metrics=Losses)
            process = max(survived) + 1
            program = Program(self.seed, process, self.profile)
            program.do_whole(journal, ctx, 20)
        later = Promises(self.seed, self.profile, {process: program.done}, {**self.found, **survived}, process)
        assert later.check(path)[process] >= program.done
        with Journal.start(path.parent, path.stem.rpartition("-")[0]) as beside:
            beside.context(FrozenContext, {"seed": self.seed})
        assert verify_run(beside.path) == (), "the run beside it cannot be verified"
        assert load_run(beside.path).status == "finished"


def line(run: str, seed: int, process: int, **said: int) -> bytes:
    """Return what a writer says of a run, as a line for `promises_in`."""
    # A process that is killed may leave a part of a line, after which the next one begins on its own.
    return b"\n" + json.dumps({"run": run, "seed": seed, "process": process, **said}).encode() + b"\n"


def promises_in(said: Iterable[bytes], profile: Profile = ORDINARY) -> dict[str, Promises]:
    """Return what writers said was promised of each run; nothing survives the machine of one with an empty `least`."""
    found: dict[str, Promises] = {}
    for text in b"".join(said).splitlines():
        if not text.endswith(b"}"):
            continue
        spoken = json.loads(text)
        found.setdefault(spoken["run"], Promises(spoken["seed"], profile)).take(spoken)
    return found
