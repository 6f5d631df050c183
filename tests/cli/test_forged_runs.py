"""Forged and damaged files of runs: every command reads one within bounds, or says why not, and `verify` knows."""

import multiprocessing
import multiprocessing.connection
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystallize import CrystallizeError, DamagedRunError, FrozenContext, Journal, load_run
from crystallize._base.file_lock import lock
from crystallize._cli.live_run import Follower
from crystallize._journal import frame_writer, read_run, run_files
from crystallize._journal.event_bytes import KEY
from crystallize._journal.spool_format import spooled
from crystallize._journal.untrusted_file import check_files
from crystallize.frames import runs_frame, to_reader
from crystallize.runs import verify_run

from ..journal.forged_runs import FOREIGN, add_foreign, circle, copied_file, forge, make_runs
from ..journal.journal_runs import SMALL, no_environment
from ..journal.test_journal_damage import mutation
from ..profiles import examples
from .command_runs import call

READS = (
    *(
        ("show",),
        ("show", "--json"),
        ("show", "--watch"),
        ("export",),
        ("export", "--json"),
        ("export", "--what", "values"),
    ),
    *(("export", "--format", "csv"), ("export", "--format", "csv", "--what", "values")),
)
"""The commands that print a run, without its file."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Runs before they are forged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_files, "current_environment", no_environment)
        patch.setattr(frame_writer, "CAPACITY", SMALL)
        yield make_runs(tmp_path_factory.mktemp("whole"))


def resume(path: Path) -> None:
    with Journal.resume(path) as journal:
        journal.context(FrozenContext).record("loss", 1.0)


def load(path: Path) -> None:
    run = load_run(path)
    _ = run.context, run.so_far, run.declared, run.unwritten, run.entries, run.attempts, run.dead_attempts, repr(run)
    _ = run.values, run.inputs, [*run.metrics.series("loss")], [*run.artifacts], run.provenance.steps
    run._repr_html_()


def make_frames(path: Path) -> None:
    """Read the points of a run in batches, and as a frame of runs."""
    to_reader(path).read_all()
    runs_frame([path])


def follow(path: Path) -> None:
    """Look at a run as if it had a writer."""
    held = path.with_suffix(".spool")
    check_files(path)
    if not held.exists():
        held.touch()
    descriptor = os.open(held, os.O_RDWR)
    try:
        assert lock(descriptor)
        Follower(path).look()
    finally:
        os.close(descriptor)


def printed_safely(name: str, *arguments: object) -> tuple[int, str]:
    """Return the status of a call, and what is wrong with it."""
    result = call(name, *arguments)
    if not isinstance(result.exception, SystemExit | None):
        return 2, f"{name} {arguments}: {result.exception!r}"
    if "--format" not in arguments and "export" != name and any(char in result.output for char in "\x1b\x07\0"):
        return result.exit_code, f"{name} {arguments}: prints control characters"
    return result.exit_code, ""


def wrong(path: Path, beside: Path, folder: Path) -> list[str]:
    """Have every command read a file, and return what is wrong with that."""
    found: list[str] = []
    failed: list[str] = []
    acts: list[tuple[str, Callable[[Path], None]]] = [("load_run", load), ("frames", make_frames)]
    last: list[tuple[str, Callable[[Path], None]]] = [("Follower", follow), ("resume", resume)]
    problems = verify_run(path)
    page, table = folder / "page.html", folder / "points.parquet"
    calls: list[tuple[Any, ...]] = [
        *((name, path, *options) for name, *options in READS),
        ("export", path, "--format", "parquet", "--output", table),
        ("report", path, "--output", page),
        ("diff", path, beside),
        ("diff", beside, path, "--json"),
        ("runs", "--dir", path.parent),
        ("verify", path),
    ]
    for name, *arguments in calls:
        status, trouble = printed_safely(name, *arguments)
        found += filter(None, [trouble])
        if status == 2:
            failed.append(f"{name} {arguments[1:]}")
        if name == "verify" and (status == 0) != (not problems):
            found.append(f"verify ends with {status}, and has {problems}")
    for name, act in (*acts, *last):
        own = path if (name, act) in acts else copied_file(path, folder / name)
        try:
            act(own)
        except CrystallizeError as error:
            failed.append(f"{name}: {error}")
            if any(not char.isprintable() for char in str(error).replace("\n", "")):
                found.append(f"{name}: {str(error)!r} has control characters")
        except Exception as error:
            found.append(f"{name}: {type(error).__name__}: {error}")
    if failed and not problems:
        found.append(f"verified, and yet fails: {failed}")
    return found


def forged(whole: dict[str, Path], folder: Path, seed: int, *, by_bytes: bool = False) -> list[str]:
    """Forge or damage a run, and return what is wrong when every command reads it."""
    random = Random(seed)
    kind = random.choice([*whole])
    shutil.rmtree(folder, ignore_errors=True)
    path = copied_file(whole[kind], folder / "forged")
    if by_bytes:
        how, act = mutation(random, path, whole["finished" if kind == "died" else "died"])
        with suppress(shutil.SameFileError):  # where the other run has no such file
            act()
    else:
        how = forge(random, path)
    return [f"seed {seed}, {kind}, {how}: {text}" for text in wrong(path, whole["finished"], folder)]


def _read_many(
    pipe: multiprocessing.connection.Connection, whole: dict[str, Path], folder: Path, seeds: range, by_bytes: bool
) -> None:
    """Read forged files, and send what is wrong, the longest time of one file, and the memory they took."""
    import resource  # Windows has none

    found: list[str] = []
    vars(frame_writer)["CAPACITY"] = SMALL
    wrong(copied_file(whole["finished"], folder / "warm"), whole["died"], folder)
    before, longest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, (0.0, 0)
    for seed in seeds:
        began = time.monotonic()
        found += forged(whole, folder, seed, by_bytes=by_bytes)
        longest = max(longest, (time.monotonic() - began, seed))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    pipe.send((found, longest, grown))


Read = tuple[list[str], tuple[float, int], int]
"""What is wrong; the longest time that a file took, with its seed; and by how many MiB the process grew."""


def read_many(whole: dict[str, Path], folder: Path, seeds: range, *, by_bytes: bool) -> Read:
    """Do `_read_many` in a process of its own, whose memory is its own."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_read_many, args=(there, whole, folder, seeds, by_bytes), daemon=True
    )
    process.start()
    there.close()
    found: Read = here.recv()
    process.join()
    return found


@pytest.mark.long
@pytest.mark.parametrize("by_bytes", [False, True], ids=["forged", "damaged"])
@pytest.mark.parametrize("start", range(0, 2_000, 100))
def test_every_command_reads_2000_files_or_says_why_not(
    whole: dict[str, Path], tmp_path: Path, start: int, by_bytes: bool
) -> None:
    """Whatever is in a file, nothing but an error of ours comes out, and `verify` knows of what fails."""
    found, (longest, seed), grown = read_many(whole, tmp_path, range(start, start + 100), by_bytes=by_bytes)
    assert [] == found
    assert grown < 200, f"the files took {grown} MiB"
    assert longest < 60, f"seed {seed}"


@pytest.mark.slow
@given(seed=st.integers(0, 2**32), by_bytes=st.booleans())
@settings(max_examples=examples(12))
def test_every_command_reads_a_file_or_says_why_not(
    whole: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, seed: int, by_bytes: bool
) -> None:
    """As above, in a few of all the ways."""
    assert [] == forged(whole, tmp_path_factory.mktemp("forged"), seed, by_bytes=by_bytes)


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_tables_are_refused(whole: dict[str, Path], tmp_path: Path, what: str) -> None:
    """Nothing is read of a file that has a table, view, trigger, index or column of somebody else's."""
    path = copied_file(whole["finished"], tmp_path / "forged")
    add_foreign(path, what)
    before = path.read_bytes()

    problems = verify_run(path)
    assert problems
    assert all(map(str.isprintable, problems))
    for act in (load_run, Journal.resume, follow):
        with pytest.raises(DamagedRunError) as raised:
            act(path)
        assert str(path) in str(raised.value)
        path.with_suffix(".spool").unlink(missing_ok=True)
    assert before == path.read_bytes()
    for arguments in (("show", path), ("runs", "--dir", path.parent), ("verify", path)):
        assert "\x1b" not in call(*arguments).output


def test_pages_in_a_circle(whole: dict[str, Path], tmp_path: Path) -> None:
    """A table whose pages lead to one another, so that its rows have no end, is damage and read no further."""
    path = copied_file(whole["finished"], tmp_path / "forged")
    circle(path)

    assert () != verify_run(path)
    for act in (load_run, Journal.resume):
        with pytest.raises(DamagedRunError):
            act(path)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=examples(20))
def test_forged_facts_in_a_spool(whole: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Facts of a spool that are none, and whose checks are right, are damage, and `verify` says so."""
    random = Random(seed)
    path = copied_file(whole["died"], tmp_path_factory.mktemp("forged"))
    data = load_run(path)._data

    def forged_facts(*arguments: Any) -> Iterator[bytes]:
        facts = [*spooled(*arguments)]
        at = random.randrange(len(facts))
        byte = random.randrange(len(facts[at]))
        noise = random.choice((b"", random.randbytes(1), b"{", b"\xff" * 4, b"null", b"\0"))
        facts[at] = facts[at][:byte] + noise + facts[at][byte + random.randrange(4) :]
        return iter(facts)

    assert data.drained
    with pytest.MonkeyPatch.context() as patch:
        state = random.getstate()
        patch.setattr(read_run, "spooled", forged_facts)
        problems = verify_run(path)
        for act in (load, resume):
            random.setstate(state)
            try:
                act(copied_file(path, path.parent.parent / f"{path.parent.name}-{act.__name__}"))
            except CrystallizeError:
                assert () != problems


def test_a_spool_whose_facts_belong_to_no_step(whole: dict[str, Path], tmp_path: Path) -> None:
    """A value in a spool whose step never began is damage to whoever loads, verifies or resumes the run."""
    path = copied_file(whole["died"], tmp_path / "forged")

    def forged_facts(*arguments: Any) -> Iterator[bytes]:
        for fact in spooled(*arguments):
            yield fact.replace(b'"fit"', b'"fix"') if fact.startswith(KEY) else fact

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read_run, "spooled", forged_facts)
        assert "FOREIGN KEY constraint failed" in str(verify_run(path))
        for act in (load, resume):
            with pytest.raises(DamagedRunError, match="FOREIGN KEY constraint failed"):
                act(path)
