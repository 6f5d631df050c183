"""`crystallize show`."""

import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from crystallize import FrozenContext, Journal, load_run, register
from crystallize._cli.live_run import Follower
from crystallize._core.registered_codecs import CODECS
from crystallize._journal.database import update

from .command_runs import Opaque, Train, call, came_from, died, document_of, made, opened, printed, section


def test_shows_run(tmp_path: Path) -> None:
    """All that a run was, did and made is shown."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext[Train], {"lr": 0.1, "token": "hunter2", "model": Opaque()})
        with ctx.step("fit") as fit:
            fit.fields.lr
            assert "accuracy" not in fit
            for loss in (0.5, float("nan"), 0.25):
                fit.record("loss", loss)
            fit.fields.accuracy = 0.9
            fit.artifacts.add("model.bin", b"12345")
    text = printed("show", "1", "--dir", tmp_path)
    why = load_run(tmp_path / "digits-0001.db").entries["model"].why

    assert [["status", "finished"]] == section(text, "digits-0001")[:1]
    assert [
        ["key", "type", "value"],
        ["lr", "float", "0.1"],
        ["token", "**********"],
        [
            "model",
            "Opaque",
            f"cannot be restored: {why}",
        ],
    ] == section(text, "inputs")
    assert [["key", "type", "step", "value"], ["accuracy", "float", "fit", "0.9"]] == section(text, "values")
    assert [
        ["metric", "points", "first", "last", "min", "max"],
        ["loss", "3", "0.5", "0.25", "0.25", "0.5"],
    ] == section(text, "metrics")
    assert [["artifact", "size", "step"], ["model.bin", "5 bytes", "fit"]] == section(text, "artifacts")
    header, step = section(text, "steps")
    assert [
        *("step", "outcome", "started", "took", "read", "not found", "wrote", "points", "artifacts"),
    ] == header
    assert ["fit", "finished"] == step[:2]
    assert ["lr", "accuracy", "accuracy", "loss: 3", "model.bin"] == step[4:]
    assert "hunter2" not in text
    assert "dead attempts" not in text


def fail(content: bytes) -> Opaque:
    raise ZeroDivisionError("by zero")


def test_shows_the_rest_of_a_run_with_a_value_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the `load` of one value raises, all others are shown and exported, and the reason is in its place."""
    monkeypatch.setattr(CODECS, "_by_type", {})
    register(Opaque, dump=lambda value: b"", load=lambda content: Opaque(), equal=lambda left, right: True)
    journal = Journal.start(tmp_path, "digits")
    ctx = journal.context(FrozenContext)
    ctx["odd"], ctx["last"] = Opaque(), 5
    journal.flush()
    register(Opaque, dump=lambda value: b"", load=fail)
    why = "raised ZeroDivisionError: by zero; see to that function"
    for _ in range(2):
        _, *rows = section(printed("show", journal.path), "values")
        assert ["odd", "last"] == [row[0] for row in rows]
        assert "5" == rows[1][-1]
        assert rows[0][-1].startswith("cannot be restored: ")
        assert rows[0][-1].endswith(why)
        odd, last = document_of("export", journal.path)["values"]
        assert [("odd", None), ("last", 5)] == [(row["key"], row["value"]) for row in (odd, last)]
        assert odd["why"].endswith(why)
        assert [None, 5] == [row.value for row in Follower(journal.path).look().run.values]
        journal.close()
    assert "odd" in printed("export", journal.path, "--format", "csv", "--what", "values")


def test_shows_what_repeats_it(tmp_path: Path) -> None:
    """A run says which code, packages and machine made it, and how it was called."""
    path = came_from(
        made(tmp_path),
        **{"commit": "abc123", "dirty": False, "host": "node7", "pid": 42, "folder": "/work", "python": "3.11.9"},
        **{"system": "Linux", "arguments": ["train.py", "two words"], "packages": {"numpy": "2.4", "torch": "3.0"}},
        unread={"host": "OSError: odd\x1b", "dirty": "git is not installed"},
    )
    facts = dict(section(printed("show", path, "--origin"), "session 1"))

    assert {
        **{"commit": "abc123", "Python": "3.11.9", "packages": "numpy 2.4, torch 3.0", "host": "node7"},
        **{"system": "Linux", "process": "42", "folder": "/work", "arguments": "train.py 'two words'"},
        "not read": "host: OSError: odd\\x1b; dirty: git is not installed",
    }.items() <= facts.items()


@pytest.mark.parametrize(
    ("commit", "dirty", "shown"),
    [("abc", True, "abc, and tracked files differed from it"), ("abc", None, "abc"), (None, None, None)],
    ids=["dirty", "unknown", "none"],
)
def test_shows_commit(tmp_path: Path, commit: str | None, dirty: bool | None, shown: str | None) -> None:
    """Whether tracked files differed stands beside the commit; where there is none, nothing does."""
    path = came_from(made(tmp_path), commit=commit, dirty=dirty)

    assert shown == dict(section(printed("show", path), "session 1")).get("commit")


@pytest.mark.slow
def test_shows_dead_attempts(tmp_path: Path) -> None:
    """What died, and what failed, stands apart from what counts, and each process has its part."""
    path = died(tmp_path)
    with Journal.resume(path) as journal:
        ctx = journal.context(FrozenContext)
        with suppress(OSError), ctx.step("fit"):
            raise OSError("full")
    text = printed("show", path)

    assert [["load", "1", "finished"]] == [line[:3] for line in section(text, "steps")[1:]]
    assert [["fit", "1", "died"], ["fit", "2", "failed"]] == [line[:3] for line in section(text, "dead attempts")[1:]]
    assert "OSError: full" in section(text, "dead attempts")[2]
    assert [["outcome", "died"]] == section(text, "session 1")[:1]
    assert [["outcome", "finished"]] == section(text, "session 2")[:1]


def test_shows_how_long(tmp_path: Path) -> None:
    """How long it took is told in the unit that fits it, and in at most one more."""
    path = made(tmp_path)
    with opened(path) as connection:
        update(
            *(connection, "sessions", "session = 1"),
            started="2026-01-02T03:04:05+00:00",
            ended="2026-01-02T04:04:06.6+00:00",
        )
    facts = dict(section(printed("show", path), "digits-0001"))

    assert ("2026-01-02 03:04:05", "1 h") == (facts["started"], facts["took"])


def test_shows_metric_without_finite_numbers(tmp_path: Path) -> None:
    """A series of texts has a first and a last, and no least."""
    with Journal.start(tmp_path, "digits") as journal:
        journal.context(FrozenContext).record("note", "fine")

    assert [
        ["metric", "points", "first", "last"],
        ["note", "1", "'fine'", "'fine'"],
    ] == section(printed("show", journal.path), "metrics")


def test_shows_as_json(tmp_path: Path) -> None:
    """As JSON there is one object, with numbers that are not finite by their names."""
    run = document_of("show", made(tmp_path, weights=np.array([1.0, np.inf])))

    assert ("digits-0001", "finished") == (run["name"], run["status"])
    assert [0.1, [1.0, "Infinity"]] == [row["value"] for row in run["inputs"]]
    ends = {"first": 0.5, "last": "NaN", "min": 0.5, "max": 0.5}
    assert [{"metric": "loss", "count": 2, **ends, "missing": 0}] == run["metrics"]
    assert sys.version.split()[0] == run["sessions"][0]["origin"]["python"]


def test_lists_packages_if_asked(tmp_path: Path) -> None:
    """The packages are listed with `--origin`, and counted without."""
    path = came_from(made(tmp_path), packages={"numpy": "2.4", "torch": "3.0"})

    assert "2, which --origin lists" == dict(section(printed("show", path), "session 1"))["packages"]
    assert "numpy 2.4, torch 3.0" == dict(section(printed("show", path, "--origin"), "session 1"))["packages"]
    facts = dict(section(printed("show", came_from(path, packages={})), "session 1"))
    assert "packages" not in facts


def test_shows_traceback(tmp_path: Path) -> None:
    """A run that failed is shown with its traceback, line by line."""
    with suppress(OSError), Journal.start(tmp_path, "digits") as journal:
        journal.context(FrozenContext)
        raise OSError("full")
    text = call("show", journal.path).stdout

    assert "\ntraceback\nTraceback (most recent call last):\n" in text
    assert '\n    raise OSError("full")\nOSError: full\n' in text
    assert document_of("show", journal.path)["traceback"] == load_run(journal.path).traceback


def test_watches_in_no_document(tmp_path: Path) -> None:
    """What is watched comes bit by bit, and is no document."""
    result = call("show", made(tmp_path), "--watch", "--json")

    assert (2, "") == (result.exit_code, result.stdout)
    assert "--json is one document" in result.stderr


def test_shows_artifacts_that_were_read(tmp_path: Path) -> None:
    """What a step read and missed of artifacts stands beside the keys; in JSON it has keys of its own."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        with ctx.step("load") as load:
            load.artifacts.add("raw.bin", bytes(2_000_000))
        with ctx.step("fit") as fit:
            fit["score"] = fit["lr"] * fit.artifacts["raw.bin"].size
            assert "best.bin" not in fit.artifacts
    step = section(printed("show", journal.path), "steps")[-1]
    document = document_of("show", journal.path)

    assert ["lr, artifact:raw.bin", "artifact:best.bin", "score"] == step[4:]
    assert (["raw.bin"], ["best.bin"]) == tuple(
        document["steps"][1][key] for key in ("artifact_reads", "absent_artifacts")
    )
    assert [{"name": "raw.bin", "size": 2_000_000, "step": "load"}] == document["artifacts"]
