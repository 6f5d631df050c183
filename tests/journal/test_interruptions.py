"""Ctrl-C between any two bytecodes: the file has all that the context has, or the journal says that it has failed."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from crystallize import FrozenContext, Journal, JournalError, KeyWritten, SinkError, load_run
from crystallize.runs import verify_run
from crystallize.sinks.memory import MemorySink
from tests.core.test_interruptions import PROGRAMS, Other, merge_branch, schema_of, seen_in, told_to
from tests.interruption import Stopped, assert_free, count_bytecodes, in_thread, interrupted

# Each of the many runs would start git.
pytestmark = pytest.mark.usefixtures("without_environment")


def check(program: Callable[[FrozenContext[Any]], None], folder: Path, at: int) -> bool:
    """Interrupt a program; return whether its journal has gone on, with all that the context has."""
    sink, other = MemorySink(), Other()
    journal = Journal.start(folder, "run")
    ctx = journal.context(FrozenContext, {"lr": 0.1}, metrics=schema_of(program), sinks=[sink, other])
    with suppress(Stopped), interrupted(at, Stopped()):
        program(ctx)

    failures: list[SinkError] = []

    def use() -> None:
        try:
            ctx["after"] = 1
        except SinkError as error:
            failures.append(error)

    assert_free(use)
    assert seen_in(ctx) == told_to(sink.events)
    if failures:
        with pytest.raises(JournalError, match="interrupted"):
            journal.close()
        return False
    journal.close()
    run = load_run(journal.path)
    assert seen_in(ctx) == {
        "keys": dict(run.values),
        "points": {name: list(zip(run.metrics[name], run.metrics.get_tags(name), strict=True)) for name in run.metrics},
        "artifacts": {artifact.name: artifact.data for artifact in run.artifacts},
        "steps": sorted(
            (step.name, step.error, step.writes, dict(step.points), step.artifacts) for step in run.provenance.steps
        ),
        "finished": {step.name for step in run.provenance.steps if step.error is None},
    }
    return True


def length(program: Callable[[FrozenContext[Any]], None], folder: Path) -> int:
    def run() -> None:
        with Journal.start(folder, "count") as journal:
            program(
                journal.context(FrozenContext, {"lr": 0.1}, metrics=schema_of(program), sinks=[MemorySink(), Other()])
            )

    return count_bytecodes(run)


@pytest.mark.parametrize("program", PROGRAMS)
def test_some_bytecodes(program: Callable[[FrozenContext[Any]], None], tmp_path: Path) -> None:
    """Wherever Ctrl-C comes, the file has all that the context has, or the journal says that it has failed."""
    count = length(program, tmp_path)
    outcomes = {in_thread(partial(check, program, tmp_path, at)) for at in range(1, count + 2, max(count // 10, 1))}

    assert True in outcomes


@pytest.mark.long
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_bytecode(program: Callable[[FrozenContext[Any]], None], tmp_path: Path) -> None:
    """The same at each bytecode."""
    for at in range(1, length(program, tmp_path) + 2):
        in_thread(partial(check, program, tmp_path, at))
        for file in tmp_path.iterdir():
            file.unlink()


def test_the_exception_of_a_step_comes_out_where_the_journal_has_failed(tmp_path: Path) -> None:
    """The program's own exception comes out of a step whose journal has failed, and carries a note."""
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)

    def fail() -> None:
        journal._writer.fail(OSError("disk full"))
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as caught, ctx.step("fit"):
        fail()
    with pytest.raises(JournalError):
        journal.close()

    assert "the journal has failed and takes nothing more: OSError: disk full" in caught.value.__notes__[-1]


def test_interrupted_before_the_journal_has_begun(tmp_path: Path) -> None:
    """An event is written once if Ctrl-C came before `handle` had begun with it, and also if it came afterwards."""
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    work: list[Any] = []
    take = journal.handle_batch
    journal.handle_batch = work.append  # type: ignore[method-assign]  # keeps the merged work
    merge_branch(ctx)
    journal.handle_batch = take  # type: ignore[method-assign]  # as above
    for _ in range(2):
        journal.settle_batch(work[0])
    event = KeyWritten("a", 1, None)
    for _ in range(2):
        journal.settle(event)
    journal.close()
    run = load_run(journal.path)

    assert {"a": 1, "score": 1, "deep": [2]} == dict(run.values)
    assert () == verify_run(journal.path)


@pytest.mark.parametrize(
    ("code", "status"),
    [(0, "finished"), (None, "finished"), (3, "failed"), ("no data", "failed")],
)
def test_sys_exit(code: int | str | None, status: str, tmp_path: Path) -> None:
    """`sys.exit` ends a run as finished if the process then ends without an error; an open step has not finished."""

    def main() -> None:
        with Journal.start(tmp_path, "run") as journal:
            ctx = journal.context(FrozenContext)
            with ctx.step("before"):
                pass
            with ctx.step("within"):
                sys.exit(code)

    with pytest.raises(SystemExit):
        main()
    run = load_run(tmp_path / "run-0001.db")

    assert status == run.status
    assert ["before"] == [step.name for step in run.provenance.steps if step.error is None]


PROGRAM = """
    import random, signal, sys
    from crystallize import FrozenContext, Journal, SinkError, load_run

    signal.signal(signal.SIGALRM, signal.default_int_handler)
    holes = others = 0
    for _ in range(int(sys.argv[2])):
        journal = Journal.start(sys.argv[1], "run")
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.01, 0.03))
            with ctx.step("train") as step:
                for number in range(10_000_000):
                    step.record("loss", float(number))
        except KeyboardInterrupt:
            try:
                ctx.record("final", 1.0)
                journal.close()
                holes += load_run(journal.path).metrics["loss"] != ctx.metrics["loss"]
            except SinkError:
                pass
        except SinkError:
            others += 1
    print(holes, others)
"""


@pytest.mark.long
def test_real_signals(tmp_path: Path) -> None:
    """After 200 real signals in a loop that records, no point is missing, and no other exception has come out."""
    program = textwrap.dedent(PROGRAM)
    done = subprocess.run([sys.executable, "-c", program, tmp_path, "200"], capture_output=True, text=True, check=True)

    assert "0 0" == done.stdout.strip()
