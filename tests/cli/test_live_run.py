"""Followers: each look is at the run as it is, and reads only what is new."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from crystallize import FrozenContext, Journal, RunNotFoundError, SinkError, fan_out, fork, load_run, merge
from crystallize._base.object_folder import name_of
from crystallize._base.text import short
from crystallize._cli.live_run import Follower
from crystallize._journal import drainer, run_files
from crystallize._tables.export import InShort, as_json
from crystallize._tables.run_description import Description, describe

from ..journal.journal_runs import acts, die, no_environment, perform, whole


class Opaque:
    """What no JSON has."""


@pytest.fixture(autouse=True)
def _undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drained unless a test says so, and git is not asked each time."""
    monkeypatch.setattr(run_files, "current_environment", no_environment)
    monkeypatch.setattr(drainer, "DELAY", 1000)


def timeless(run: Description) -> bytes:
    """Return a description in a form in which NaN is equal to NaN, and without how long it has been running."""
    sessions = tuple(replace(process, seconds=0) for process in run.sessions)
    return as_json(replace(run, seconds=None, sessions=sessions))


def check(follower: Follower, opened: Journal) -> None:
    """Check that a look shows what there is to say of the whole run."""
    opened.flush()
    assert timeless(describe(load_run(opened.path))) == timeless(follower.look().run)


@contextmanager
def started(folder: Path) -> Iterator[tuple[Journal, FrozenContext[Any], Follower]]:
    with Journal.start(folder, "run") as opened:
        ctx = opened.context(FrozenContext, {"lr": 0.1})
        yield opened, ctx, Follower(opened.path)


@pytest.mark.parametrize("seed", range(4))
def test_looks_at_a_run(tmp_path: Path, seed: int) -> None:
    """Whenever it looks it sees what whoever loads the run sees, also after that has died and gone on."""
    random = Random(seed)
    opened = Journal.start(tmp_path, "run")
    follower = Follower(opened.path)

    def look_at_times() -> None:
        if random.random() < 0.03:
            check(follower, opened)

    for session in (1, 2, 3):
        ctx = opened.context(FrozenContext, {"seed": seed})
        program = list(acts(seed, session, 200))
        perform(ctx, whole(program) if session == 3 else program, look_at_times)
        if session == 3:
            break
        if random.random() < 0.5:
            check(follower, opened)
        die(opened)
        if random.random() < 0.5:
            assert "died" == follower.look().run.status
        opened = Journal.resume(opened.path)
    check(follower, opened)
    opened.close()
    run = follower.look().run
    assert describe(load_run(opened.path)) == run
    assert "finished" == run.status


def test_looks_at_a_branch_that_fails(tmp_path: Path) -> None:
    """It sees a branch that failed, and one that is merged after that."""
    bad = {1, 2}

    def fold(child: FrozenContext[Any], item: int) -> None:
        if item in bad:
            raise ValueError(f"no {item}")

    with started(tmp_path) as (opened, ctx, follower), ThreadPoolExecutor(1) as pool:
        check(follower, opened)
        for _ in range(3):
            fan_out(ctx, fold, range(3), executor=pool, errors="collect")
            check(follower, opened)
            bad.discard(len(bad))
    assert 3 == len(follower.look().run.dead_attempts)


def test_looks_at_numbers(tmp_path: Path) -> None:
    """The least and the most are those of the finite numbers, and what is no number is none."""
    with started(tmp_path) as (opened, ctx, follower):
        for value in (float("nan"), "text", True, None):
            ctx.record("odd", value)
            check(follower, opened)
        for value in (3, float("inf"), -1.5, 10**400, float("-inf"), float("nan"), 2):
            ctx.record("loss", value)
            check(follower, opened)


class Pair(NamedTuple):
    """A value that only a schema restores."""

    left: int
    right: int


def test_looks_at_what_is_not_restorable(tmp_path: Path) -> None:
    """Of points that a file cannot give back there is what JSON makes of them, and how many they are."""
    with started(tmp_path) as (opened, ctx, follower):
        for value, tags in (
            *((Pair(1, 2), {}), (object(), {}), (1.5, {"t": Pair(1, 2)})),
            *(([1], {"t": [float("nan")]}),),
        ):
            ctx.record("odd", value, tags)
            check(follower, opened)
        (odd,) = follower.look().run.metrics
        assert ([1, 2], [1], 3) == (odd.first, odd.last, odd.missing)


def test_looks_at_values(tmp_path: Path) -> None:
    """A value that the file does not have is told as such; one that is written is there once."""
    with started(tmp_path) as (opened, ctx, follower):
        check(follower, opened)
        ctx["model"] = Opaque()
        check(follower, opened)
        with ctx.step("fit") as fit:
            fit["weights"] = [1, 2, {"a": float("nan")}]
            fit.artifacts.add("a.txt", b"12345")
            check(follower, opened)
        check(follower, opened)


def test_looks_at_large_values(tmp_path: Path) -> None:
    """Of a large value there is the text that shows it; of one whose file is missing or changed there is why."""
    with started(tmp_path) as (opened, ctx, follower):
        for key in ("whole", "missing", "changed"):
            ctx[f"{key} bytes"] = key.encode() * (1 << 18)
        opened.flush()
        for key, harm in (("missing", Path.unlink), ("changed", lambda file: file.write_bytes(bytes(7 << 18)))):
            name = name_of([key.encode() * (1 << 18)])
            file = opened.object_folder.path_of(name.digest)
            file.chmod(0o644)
            harm(file)
        running = follower.look().run
    for run in (running, follower.look().run):
        whole, missing, changed = (row for row in run.values if row.key.endswith("bytes"))
        assert short(b"whole" * (1 << 18)) == short(whole.value)
        assert InShort is type(whole.value)
        assert ("not restorable", None) == (missing.missing, missing.value)
        assert "the object is missing" in str(missing.why)
        assert "the object was changed: its content" in str(changed.why)


def test_looks_at_what_is_done_again(tmp_path: Path) -> None:
    """What a step did that is done again counts no more from when that begins."""
    opened = Journal.start(tmp_path, "run")
    ctx = opened.context(FrozenContext)
    follower = Follower(opened.path)
    with ctx.step("load") as load:
        load["model"] = Opaque()
        load.record("loss", 1)
        load.artifacts.add("a.txt", b"1")
    with suppress(SinkError), ctx.step("fit") as fit:
        fit.record("loss", 2)
        check(follower, opened)
        die(opened)
    opened = Journal.resume(opened.path)
    check(follower, opened)
    ctx = opened.context(FrozenContext)
    with ctx.step("load") as load:
        check(follower, opened)
        load.record("loss", 3)
        check(follower, opened)
    with suppress(ValueError), ctx.step("fit") as fit:
        raise ValueError("no")
    check(follower, opened)
    opened.close()


def test_looks_at_branches(tmp_path: Path) -> None:
    """What a branch brought stands where it was forked, whenever it was merged."""
    with started(tmp_path) as (opened, ctx, follower):
        ctx.record("loss", 0)
        children = [fork(ctx, f"fold-{fold}").open() for fold in range(3)]
        ctx.record("loss", 9)
        check(follower, opened)
        for fold in (2, 0, 1):
            with children[fold].step("fit") as fit:
                fit.record("loss", fold + 0.5)
                fit[f"score-{fold}"] = fold
                fit.artifacts.add(f"{fold}.txt", b"1" * fold)
            merge(ctx, children[fold].delta())
            check(follower, opened)
        ctx["score"] = 1
        ctx.artifacts.add("a.txt", b"")
        ctx.artifacts.add("large.bin", bytes(2_000_000))
        check(follower, opened)


def test_notes_when_points_come(tmp_path: Path) -> None:
    """Of points that came since the first look it says when, and of others that it does not know."""
    with started(tmp_path) as (opened, ctx, follower):
        ctx.record("early", 1)
        ctx.record("late", 1)
        opened.flush()
        first = follower.look()
        ctx.record("late", 2)
        opened.flush()
        second = follower.look()
        third = follower.look()

    assert {} == first.came
    assert ["late"] == list(second.came)
    assert first.began < second.came["late"] == third.came["late"]


def test_reads_only_what_is_new(tmp_path: Path) -> None:
    """What it has read it does not read again, and when nothing is new it has nothing to do."""
    with started(tmp_path) as (opened, ctx, follower):
        with ctx.step("fit") as fit:
            fit.record("loss", 1)
            ctx["key"] = 1
        opened.flush()
        follower.look()
        for table in ("points", "entries", "steps"):
            opened._writer._files.connection.execute(f'UPDATE {table} SET "check" = 0')
        with pytest.raises(Exception, match="was changed"):
            Follower(opened.path).look()
        follower.look()
        ctx.record("loss", 2)
        opened.flush()

        assert [2] == [metric.count for metric in follower.look().run.metrics]


def test_holds_nothing(tmp_path: Path) -> None:
    """Between two looks the file is nobody's but its writer's, who ends it as if nobody had looked."""
    with started(tmp_path) as (opened, ctx, follower):
        ctx.record("loss", 1)
        opened.flush()
        follower.look()

    assert [opened.path] == list(tmp_path.iterdir())


def test_looks_through_a_link(tmp_path: Path) -> None:
    """A link to a run leads to what stands beside the run itself."""
    with started(tmp_path / "runs") as (opened, _, _):
        link = tmp_path / "link.db"
        link.symlink_to(opened.path)
        assert "running" == Follower(link).look().run.status


def test_run_that_is_gone(tmp_path: Path) -> None:
    """A run that was deleted is missed at the next look."""
    with started(tmp_path) as (opened, _, follower):
        follower.look()
    opened.path.unlink()

    with pytest.raises(RunNotFoundError):
        follower.look()
