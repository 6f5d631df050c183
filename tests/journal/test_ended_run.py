"""The fast reading of runs that have ended, which agrees with SQLite or leaves the run to it."""

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crystallize import FrozenContext, Journal, Metric, MetricSchema, fork, merge
from crystallize._journal import ended_run
from crystallize._journal.curation import note_run, tag_run
from crystallize._journal.ended_run import summary_of_ended
from crystallize._journal.run_summary import summary_of


class Goals(MetricSchema):
    loss = Metric(float, goal="minimize")
    other = Metric(float)


def plain(folder: Path) -> Path:
    with Journal.start(folder, "run") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1, "cfg": {"depth": -3, "ratio": 2.5}}, metrics=Goals)
        with ctx.step("fit") as fit:
            fit.record("loss", 0.5)
            fit.record("other", 1.5)
            fit["accuracy"] = 0.9
    return journal.path


def full(folder: Path) -> Path:
    with Journal.start(folder, "run") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1, "day": (1, 2), "text": "x" * 9000}, metrics=Goals)
        for number in range(300):
            ctx[f"value-{number}"] = number * 1000
            with suppress(OSError), ctx.step(f"step-{number}") as step:
                step.record("loss", 1 / (number + 1))
                if number % 100 == 7:
                    raise OSError(f"number {number}")
        ctx["score"] = np.float64(0.25)
        ctx["scores"] = {"array": np.zeros(2000), "first": np.float64(0.25)}
        ctx.artifacts.add("model.bin", b"12345")
        ctx.artifacts.add("large.bin", bytes(1 << 21))
    return journal.path


def failed(folder: Path) -> Path:
    with suppress(OSError), Journal.start(folder, "run") as journal, journal.context(FrozenContext).step("fit"):
        raise OSError("no space")
    return journal.path


def without_metrics(folder: Path) -> Path:
    with Journal.start(folder, "run") as journal:
        journal.context(FrozenContext).record("loss", 0.5)
    return journal.path


def curated(folder: Path) -> Path:
    path = plain(folder)
    note_run(path, "the baseline")
    tag_run(path, "paper", "new", "last")
    return path


@pytest.mark.parametrize("make", [plain, full, failed, without_metrics, curated], ids=lambda make: make.__name__)
def test_equals_sqlite(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Of a run that one process wrote and ended, the fast path reads the same as SQLite."""
    path = make(tmp_path)
    expected = summary_of(path)

    assert expected == summary_of_ended(path)
    assert expected.status in ("finished", "failed")


def resumed(folder: Path) -> Path:
    path = plain(folder)
    with Journal.resume(path) as journal:
        journal.context(FrozenContext, metrics=Goals)
    return path


def branched(folder: Path) -> Path:
    with Journal.start(folder, "run") as journal:
        ctx = journal.context(FrozenContext)
        merge(ctx, fork(ctx, "fold").open().delta())
    return journal.path


def without_context(folder: Path) -> Path:
    with Journal.start(folder, "run") as journal:
        pass
    return journal.path


def large(folder: Path) -> Path:
    with Journal.start(folder, "run") as journal:
        journal.context(FrozenContext, {"text": "x" * 2_000_000})
    return journal.path


def absent(folder: Path) -> Path:
    return folder / "run-0001.db"


def no_database(folder: Path) -> Path:
    (folder / "run-0001.db").write_bytes(bytes(5000))
    return folder / "run-0001.db"


@pytest.mark.parametrize(
    "make", [resumed, branched, without_context, large, absent, no_database], ids=lambda make: make.__name__
)
def test_leaves_others_alone(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Any other run, and anything that is no run, is left to SQLite."""
    path = make(tmp_path)

    assert summary_of_ended(path) is None


def test_running(tmp_path: Path) -> None:
    """A run that has not ended is left to SQLite."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext, {"lr": 0.1})
        journal.flush()
        assert summary_of_ended(journal.path) is None


def changed(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET json = '0.2' WHERE key = 'lr'",
        "UPDATE run SET identity = zeroblob(16)",
        "DELETE FROM points",
        "DELETE FROM entries WHERE key = 'lr'",
        "CREATE TABLE more (x)",
        "CREATE VIEW more AS SELECT 1",
        "PRAGMA user_version = 99",
        "PRAGMA application_id = 1",
    ],
)
def test_damage(tmp_path: Path, statement: str) -> None:
    """A run that was changed is left to SQLite, which lists its problems."""
    path = plain(tmp_path)
    assert summary_of_ended(path) is not None
    changed(path, statement)

    assert summary_of_ended(path) is None
    assert "finished" != summary_of(path).status


def test_flipped_bytes(tmp_path: Path) -> None:
    """Whatever byte of a file is changed, the fast path reads what was written, or leaves the run to SQLite."""
    path = plain(tmp_path)
    content, expected = path.read_bytes(), summary_of(path)
    used = [at for at, byte in enumerate(content) if byte]
    source = random.Random(0)
    for at in [*range(100), *source.sample(used, 400)]:
        damaged = bytearray(content)
        damaged[at] ^= source.randrange(1, 256)
        path.write_bytes(damaged)
        assert summary_of_ended(path) in (None, expected), at


@pytest.mark.parametrize("length", [0, 50, 100, 5000, 40_000])
def test_cut_short(tmp_path: Path, length: int) -> None:
    """A file that is cut short is left to SQLite."""
    path = plain(tmp_path)
    path.write_bytes(path.read_bytes()[:length])

    assert summary_of_ended(path) is None


def test_few_schemas_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The places of the tables are found once for all files that define them alike, and kept of a few."""
    first, second = plain(tmp_path), plain(tmp_path)
    known: dict[Any, Any] = {}
    monkeypatch.setattr(ended_run, "_known", known)
    monkeypatch.setattr(ended_run, "_MOST_KNOWN", 0)
    assert summary_of_ended(first) is not None
    assert {} == known

    monkeypatch.setattr(ended_run, "_MOST_KNOWN", 2)
    assert summary_of_ended(first) is not None
    monkeypatch.setattr(ended_run, "connect", lambda path: pytest.fail("SQLite was asked again"))
    assert summary_of_ended(second) is not None
    assert 1 == len(known)


def test_older_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of an older version lacks some tables."""
    path = plain(tmp_path)
    roots = ended_run._roots_in(path)
    older = {table: root for table, root in roots.items() if table not in ("failures", "files")}
    monkeypatch.setattr(ended_run, "_known", {})
    monkeypatch.setattr(ended_run, "_roots_in", lambda path: older)

    assert summary_of(path) == summary_of_ended(path)
