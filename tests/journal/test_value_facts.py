"""Values in the file of a run: large parts beside it, and the reason of each that is not restorable."""

import pickle
import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pydantic import BaseModel, SecretStr

from crystallize import (
    DamagedRunError,
    FrozenContext,
    Journal,
    JournalError,
    LostKeyError,
    Metric,
    MetricSchema,
    NotRestorable,
    ObjectError,
    ResumeError,
    SinkError,
    TooLargeError,
    fan_out,
    fork,
    load_run,
    register,
)
from crystallize._base.object_folder import ObjectFolder, ObjectName
from crystallize._base.text import short
from crystallize._core.equality import same
from crystallize._core.registered_codecs import CODECS
from crystallize._journal import database
from crystallize._journal.diff import compared
from crystallize._journal.value_facts import names_in
from crystallize._tables.export import value_rows
from crystallize._tables.run_description import describe
from crystallize.runs import diff_runs, verify_run

LARGE = np.arange(1 << 18, dtype=np.float64)
SMALL = np.arange(3)


def objects_in(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "objects").rglob("*") if path.is_file())


def written(folder: Path, value: Any = LARGE, kind: Any = FrozenContext) -> Path:
    """Return the file of a run that wrote a value."""
    with Journal.start(folder, "run") as journal, journal.context(kind).step("load") as step:
        step["data"] = value
    return journal.path


def test_a_large_part_is_beside_the_run(tmp_path: Path) -> None:
    """A part of more than 1 MiB is an object, once for all runs of a folder, and comes back with the value."""
    value = {"a": [LARGE, SMALL], "b": pd.DataFrame({"n": LARGE, "m": LARGE})}
    paths = [written(tmp_path, value) for _ in range(2)]

    assert 2 == len(objects_in(tmp_path))
    assert all(path.stat().st_size < 1 << 18 for path in paths)
    for path in paths:
        assert same(value, load_run(path).values["data"])
        assert () == verify_run(path)
    with Journal.resume(paths[0]) as journal:
        assert same(value, journal.context(FrozenContext)["data"])


def double(ctx: Any, item: int) -> Any:
    return LARGE * item


def test_a_large_result_of_a_branch_comes_back(tmp_path: Path) -> None:
    """A large result of a task is an object too, and is not computed again when the run is resumed."""
    with ThreadPoolExecutor(1) as pool, Journal.start(tmp_path, "run") as journal:
        fan_out(journal.context(FrozenContext), double, [2], executor=pool)
    with ThreadPoolExecutor(1) as pool, Journal.resume(journal.path) as resumed:
        (result,) = fan_out(resumed.context(FrozenContext), double, [2], executor=pool)

    assert 1 == len(objects_in(tmp_path))
    assert same(LARGE * 2, result)
    assert () == verify_run(journal.path)


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a large part cannot be stored, the error says that the file lacks the value, and that the run goes on."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    advice = r"the file of the run does not have this value, .*; make room, .* then go on with Journal.resume"
    text = rf"'data' took effect in the context, .*No space left.*; {advice}"
    journal = Journal.start(tmp_path, "run")
    ctx = journal.context(FrozenContext)
    ctx["before"] = 1
    with monkeypatch.context() as patch:
        patch.setattr("crystallize._base.object_folder.os.fsync", full)
        with pytest.raises(SinkError, match=text) as caught:
            ctx["data"] = LARGE
    assert "nothing was added" not in str(caught.value)
    with pytest.raises(SinkError, match=advice):
        ctx["after"] = 1
    with pytest.raises(JournalError, match=advice):
        journal.close()
    with Journal.resume(journal.path) as journal:
        resumed = journal.context(FrozenContext)
        assert ["before"] == [*resumed]
        resumed["data"] = LARGE
    assert same(LARGE, load_run(journal.path).values["data"])


def change(file: Path) -> None:
    """Change a byte of an object."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)


def shorten(file: Path) -> None:
    """Truncate an object."""
    file.chmod(0o644)
    file.write_bytes(b"")


def with_a_lost_object(folder: Path, harm: Callable[[Path], object], kind: Any = FrozenContext) -> Path:
    """Return the file of a run whose step "load" wrote a value whose object is then harmed."""
    with Journal.start(folder, "run") as journal:
        ctx = journal.context(kind, {"lr": 0.1})
        with ctx.step("load") as step:
            step["data"] = LARGE
            step.record("loss", 0.5)
        with ctx.step("use") as step:
            step["sum"] = float(step["data"].sum())
    (file,) = objects_in(folder)
    harm(file)
    return journal.path


HARMS = pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (Path.unlink, "the object is missing"),
        (shorten, "the object was changed: it has 0 bytes"),
        (change, "the object was changed: its content"),
    ],
)


@HARMS
def test_an_object_that_is_changed_or_missing(tmp_path: Path, harm: Callable[[Path], object], reason: str) -> None:
    """Of a value whose object was changed or is missing, only reading the key fails; the error names the file."""
    path = with_a_lost_object(tmp_path, harm)
    run = load_run(path)

    assert ((0.5,), 0.1, 2) == (run.metrics["loss"], run.values["lr"], len(run.provenance.steps))
    for values in (run.values, run.context, run.context.fields):
        with pytest.raises(ObjectError, match=f"objects.*{reason}.* it has the value of key 'data'; put the file back"):
            values["data"]
    assert any(reason in problem for problem in verify_run(path))
    (row,) = (row for row in value_rows(run) if row.key == "data")
    assert ("not restorable", None) == (row.missing, row.value)
    assert reason in str(row.why)
    assert reason in repr(run.__notebook_tables__()) or harm is not change
    (difference,) = diff_runs(run, load_run(written(tmp_path / "other", LARGE + 1)))[1:2]
    assert "data" == difference.name


@HARMS
def test_resuming_without_an_object(
    tmp_path: Path, harm: Callable[[Path], object], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A step whose value was lost with its object is done again, which puts the object back."""
    path = with_a_lost_object(tmp_path, harm)
    with Journal.resume(path) as journal:
        ctx = journal.context(FrozenContext)
        assert [True, False] == [ctx.provenance.finished(name) for name in ("use", "load")]
        assert "data" not in ctx
        with pytest.raises(ObjectError, match=reason):
            ctx["data"]
        with ctx.step("load") as step:
            step["data"] = LARGE
    assert "step 'use' finished, and had read 'data', which must be written again" in caplog.text
    assert same(LARGE, load_run(path).values["data"])
    assert () == verify_run(path)


@pytest.mark.parametrize("harm", [Path.unlink, shorten])
def test_a_key_without_its_object_is_not_there(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    """A run without an object has no such key, says why, and is compared by the name of the object."""
    path = with_a_lost_object(tmp_path, harm)
    run = load_run(path)

    assert "data" not in run.values
    assert 0 == run.values.get("data", 0)
    assert {"data": "numpy.ndarray"} == run.unrestorable
    assert "put the file back from a copy" in run.entries["data"].why
    whole = load_run(with_a_lost_object(tmp_path / "whole", lambda file: None))
    assert ((), ()) == compared(run, whole)
    assert "ndarray" in run.__notebook_tables__()[1].rows[1]


def test_an_input_without_its_object_is_given_again(tmp_path: Path) -> None:
    """An input that was lost with its object has to be given again, which puts the object back."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext, {"data": LARGE})
    (file,) = objects_in(tmp_path)
    file.unlink()
    with (
        Journal.resume(journal.path) as resumed,
        pytest.raises(ResumeError, match=r"give again 'data' \(not restorable: .*objects.*: the object is missing"),
    ):
        resumed.context(FrozenContext)
    with Journal.resume(journal.path) as resumed:
        resumed.context(FrozenContext, {"data": LARGE})
    assert same(LARGE, load_run(journal.path).inputs["data"])


def test_a_result_without_its_object_is_made_again(tmp_path: Path) -> None:
    """A branch whose result was lost with its object runs again when the run is resumed."""
    with ThreadPoolExecutor(1) as pool, Journal.start(tmp_path, "run") as journal:
        fan_out(journal.context(FrozenContext), double, [2], executor=pool)
    (file,) = objects_in(tmp_path)
    file.unlink()
    with ThreadPoolExecutor(1) as pool, Journal.resume(journal.path) as resumed:
        (result,) = fan_out(resumed.context(FrozenContext), double, [2], executor=pool)
    assert same(LARGE * 2, result)
    assert () == verify_run(journal.path)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[ObjectName]:
    """The names of the objects that are read."""
    names: list[ObjectName] = []
    read = ObjectFolder.read

    def counted(self: ObjectFolder, name: ObjectName) -> bytes:
        names.append(name)
        return read(self, name)

    monkeypatch.setattr(ObjectFolder, "read", counted)
    return names


class Loaded(BaseModel, arbitrary_types_allowed=True):
    lr: float
    data: np.ndarray
    sum: float


class WrongType(BaseModel):
    lr: float
    data: int
    sum: float


@pytest.mark.parametrize("shape", [None, Loaded])
def test_a_large_value_is_read_when_it_is_asked_for(tmp_path: Path, shape: Any, opened: list[ObjectName]) -> None:
    """All else of a run, also the error of a step, needs no large value; one that was read is in memory."""
    path = with_a_lost_object(tmp_path, lambda file: None, FrozenContext if shape is None else FrozenContext[shape])
    run = load_run(path, shape)
    ctx = run.context
    assert ((0.5,), 0.1, 2) == (run.metrics["loss"], run.inputs["lr"], len(run.provenance.steps))
    assert ["lr", "data", "sum"] == [*run.values]
    assert 3 == len(run.values)
    assert () == diff_runs(run, load_run(path))
    assert "load" == run.provenance.writer("data")
    with pytest.raises(ZeroDivisionError), ctx.step("failing"):
        _ = 1 / 0
    with pytest.raises(ZeroDivisionError), fork(ctx, "branch").open().step("failing"):
        _ = 1 / 0
    assert [] == opened

    assert same(LARGE, run.values["data"])
    assert same(LARGE, run.values.get("data"))
    assert same(LARGE, ctx["data"])
    assert same(LARGE, pickle.loads(pickle.dumps(run.values))["data"])
    assert "data" in repr(run.values)
    assert 1 == len(opened)


def test_showing_keeps_no_large_value(tmp_path: Path, opened: list[ObjectName]) -> None:
    """A table has the text of a large value, which is read for it and not kept."""
    run = load_run(with_a_lost_object(tmp_path, lambda file: None))
    whole = describe(run).values[0].value
    shown = describe(run, in_short=True).values[0].value
    assert same(LARGE, whole)
    assert short(whole) == short(shown)
    assert type(shown) is not type(whole)
    assert short(whole) in repr(run.__notebook_tables__())
    assert 3 == len(opened)


def test_a_changed_object_in_another_schema(tmp_path: Path) -> None:
    """A value of another type is validated at once, unless its object was changed: then reading the key says so."""
    path = with_a_lost_object(tmp_path, lambda file: None, FrozenContext[Loaded])
    with pytest.raises(JournalError, match="does not take that back"):
        load_run(path, WrongType).context
    (file,) = objects_in(tmp_path)
    change(file)
    run = load_run(path, WrongType)
    assert 0.1 == run.values["lr"]
    with pytest.raises(ObjectError, match="the object was changed"):
        run.values["data"]


def test_a_forged_name_of_an_object(tmp_path: Path) -> None:
    """A name of an object that would lead out of its folder is damage."""
    path = written(tmp_path)
    with sqlite3.connect(path, isolation_level=None) as connection:
        database.update(connection, "value_objects", "place = ?", 0, digest="../../etc/passwd")
    with pytest.raises(JournalError, match="is not the digest of an object"):
        load_run(path)


class Opaque:
    """An object that no codec stores."""


class Held(BaseModel, arbitrary_types_allowed=True):
    data: Opaque
    token: SecretStr
    other: int = 0


def test_reading_a_value_that_was_lost(tmp_path: Path) -> None:
    """A key that was written and cannot be restored says so wherever it is read: its type, why, and what helps."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext[Held], {"token": "hunter2", "data": Opaque()})
    run = load_run(journal.path, Held)
    name = f"{__name__}.Opaque"
    text = f"'data' was written outside any step as a {name}, and cannot be restored from the file: no codec stores a"
    for read in (
        lambda: run.context["data"],
        lambda: run.context.fields.data,
        lambda: run.values["data"],
        lambda: run.inputs["data"],
        lambda: load_run(journal.path).values["data"],
    ):
        with pytest.raises(LostKeyError, match=text) as caught:
            read()
        assert f'call register("{name}", dump=..., load=...)' in caught.value.why
    with pytest.raises(LostKeyError, match=r"'token' was written outside any step, and .*: it is a secret"):
        run.values["token"]
    assert "data" not in run.values
    assert {"data": name} == run.unrestorable
    assert "no codec stores a" in run.entries["data"].why
    assert "" == run.entries["other"].why
    assert () == run.unwritten


def test_a_key_that_nobody_wrote_is_no_bare_error(tmp_path: Path) -> None:
    """The values of a run say of a name that is wrong what a context says, and are a dict in all else."""
    values = load_run(written(tmp_path, 1)).values
    with pytest.raises(KeyError, match="'dat' is not written; did you mean 'data'"):
        values["dat"]

    assert {"data": 1} == values


def test_a_type_that_is_registered_only_where_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without the codec of a type loads the run without the value; to resume it, it must register that."""
    monkeypatch.setattr(CODECS, "_by_type", {})
    register(Opaque, dump=lambda value: b"", load=lambda content: Opaque(), equal=lambda left, right: True)
    path = written(tmp_path, Opaque())
    assert Opaque is type(load_run(path).values["data"])
    monkeypatch.setattr(CODECS, "_by_type", {})
    run = load_run(path)

    assert {"data": f"{__name__}.Opaque"} == run.unrestorable
    with pytest.raises(LostKeyError, match=r"no functions are registered for .*Opaque; call register"):
        run.values["data"]
    assert () == verify_run(path)
    with Journal.resume(path) as journal, pytest.raises(JournalError, match=r"key 'data' holds .*; call register"):
        journal.context(FrozenContext)


def fail(content: bytes) -> Any:
    raise ZeroDivisionError("by zero")


def beside_lr(folder: Path, value: Any) -> Path:
    """Return the file of a run with a value and an input."""
    with Journal.start(folder, "run") as journal:
        journal.context(FrozenContext, {"lr": 0.1})["data"] = value
    return journal.path


def test_a_registered_load_that_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the load of the reader raises, its exception is named, and the run does not count as damaged."""
    monkeypatch.setattr(CODECS, "_by_type", {})
    register(Opaque, dump=lambda value: b"", load=lambda content: Opaque(), equal=lambda left, right: True)
    path = beside_lr(tmp_path, Opaque())
    register(Opaque, dump=lambda value: b"", load=fail)
    text = r"'data' is not damaged, but the registered load of .*Opaque raised ZeroDivisionError: by zero; see to that"
    run = load_run(path)
    for values in (run.values, run.context):
        with pytest.raises(JournalError, match=text) as caught:
            values["data"]
        assert not isinstance(caught.value, DamagedRunError)
    assert 0.1 == run.values["lr"]
    assert "raised ZeroDivisionError" in repr(run.__notebook_tables__())
    with Journal.resume(path) as journal, pytest.raises(JournalError, match=text):
        journal.context(FrozenContext)
    assert () == verify_run(path)


def test_rows_of_a_value_whose_load_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of all values are there, and that of the value says why it is not."""
    monkeypatch.setattr(CODECS, "_by_type", {})
    register(Opaque, dump=lambda value: b"", load=lambda content: Opaque(), equal=lambda left, right: True)
    path = beside_lr(tmp_path, Opaque())
    register(Opaque, dump=lambda value: b"", load=fail)
    rows = {row.key: row for row in value_rows(load_run(path))}
    assert (None, "not restorable") == (rows["data"].value, rows["data"].missing)
    assert "raised ZeroDivisionError: by zero; see to that function" in str(rows["data"].why)
    assert 0.1 == rows["lr"].value


@pytest.mark.parametrize("value", [pa.table({"a": [1]}), pa.table({"a": pa.array(LARGE)})])
def test_a_value_whose_library_is_not_installed(tmp_path: Path, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library of a value all other values can be read, and reading it says what to install."""
    path = beside_lr(tmp_path, value)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    run = load_run(path)
    rows = {row.key: row for row in value_rows(run)}
    assert 0.1 == run.values["lr"] == rows["lr"].value
    assert "pip install pyarrow" in str(rows["data"].why)
    with pytest.raises(JournalError, match=r"key 'data' holds a .*Table, and pyarrow is not installed; pip"):
        run.values["data"]


class Sizes(MetricSchema):
    size = Metric(Any)


def test_a_point_of_a_registered_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A point without its codec is read as lost, and one whose load raises names that; neither is damage."""
    monkeypatch.setattr(CODECS, "_by_type", {})
    register(Opaque, dump=lambda value: b"", load=lambda content: Opaque(), equal=lambda left, right: True)
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext, metrics=Sizes).record(Sizes.size, Opaque())
    path = journal.path
    assert Opaque is type(load_run(path, metrics=Sizes).metrics["size"][0])
    register(Opaque, dump=lambda value: b"", load=fail)
    with pytest.raises(
        JournalError, match=r"a point of metric 'size' is not damaged, but the .* raised Zero"
    ) as caught:
        _ = load_run(path, metrics=Sizes).metrics
    assert not isinstance(caught.value, DamagedRunError)
    assert () == verify_run(path)
    monkeypatch.setattr(CODECS, "_by_type", {})
    assert [f"{__name__}.Opaque"] == [value.type for value in load_run(path, metrics=Sizes).metrics["size"]]
    assert () == verify_run(path)


def test_points_of_a_type_that_is_registered_only_where_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program without the codec of a type loads the run, with the reason in place of the value and of the tag."""
    monkeypatch.setattr(CODECS, "_by_type", {})
    register(Opaque, dump=lambda value: b"", load=lambda content: Opaque(), equal=lambda left, right: True)
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx.record("odd", Opaque(), {"of": Opaque(), "epoch": 1})
        ctx.record("odd", [Opaque(), object()])
        ctx.record("loss", 0.5)
    assert Opaque is type(load_run(journal.path).metrics["odd"][0])
    monkeypatch.setattr(CODECS, "_by_type", {})
    run = load_run(journal.path)

    (value, whole), (tags, _) = run.metrics["odd"], run.metrics.get_tags("odd")
    name = f"{__name__}.Opaque"
    advice = f'call register("{name}", dump=..., load=...) before, as the program did that wrote the run'
    lost = NotRestorable(name, "null", f"no functions are registered for {name}; {advice}")
    assert (lost, {"of": lost, "epoch": 1}) == (value, tags)
    assert "list" == whole.type
    assert {"odd": 2} == run.unrestorable_points
    assert (0.5,) == run.metrics["loss"]
    assert () == verify_run(journal.path)
    with Journal.resume(journal.path) as resumed:
        assert value == resumed.context(FrozenContext).metrics["odd"][0]


class Dated(BaseModel, arbitrary_types_allowed=True):
    at: datetime
    table: pd.DataFrame


def test_a_resumed_run_has_the_same_types(tmp_path: Path) -> None:
    """Dates keep their zones, and frames their dtypes and categories, when a run is loaded or resumed."""
    at = datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    table = pd.DataFrame({"c": pd.Categorical(["x", "y"]), "t": [pd.Timestamp(at)] * 2, "n": pd.array([1, None])})
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext[Dated])
        ctx["at"], ctx["table"] = at, table
        ctx.record("loss", 0.5, {"after": np.timedelta64(5, "ns")})
    with Journal.resume(journal.path) as resumed:
        for found in (load_run(journal.path, Dated).context, resumed.context(FrozenContext[Dated])):
            assert same([at, table], [found["at"], found["table"]])
            assert same({"after": np.timedelta64(5, "ns")}, found.metrics.get_tags("loss")[0])


@pytest.mark.parametrize("head", [[5, ""], [[], 5]])
def test_a_damaged_head(head: list[Any]) -> None:
    """A head that has no places, or no reason, is an error."""
    with pytest.raises(ValueError, match="are damaged"):
        names_in(head, [])


def test_values_larger_than_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of a row applies to the JSON of a value, and not to its large parts."""
    monkeypatch.setattr(Journal, "largest", 1 << 20)
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx["data"] = LARGE
        with pytest.raises(TooLargeError, match="'text'"):
            ctx["text"] = "a" * (1 << 21)
    assert same(LARGE, load_run(journal.path).values["data"])


def test_a_part_that_is_gone(tmp_path: Path) -> None:
    """A value of which one part is not in the file is damage that names the key."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext, {"both": [np.arange(3), np.arange(4)]})
    with closing(sqlite3.connect(journal.path)) as connection, connection:
        connection.execute("DELETE FROM arrays WHERE place = 0")
    with pytest.raises(DamagedRunError, match="the value of key 'both' lacks a part"):
        load_run(journal.path)


def test_rows_of_a_large_value_whose_json_is_damaged(tmp_path: Path) -> None:
    """A large value with JSON that nobody wrote is damage, which ends the rows of a run."""
    path = written(tmp_path)
    forged = load_run(path).entries["data"].stored._replace(json=b'{"crystallize.npy":7}')
    with sqlite3.connect(path, isolation_level=None) as connection:
        database.update(connection, "entries", "key = ?", "data", json=forged.json.decode(), digest=forged.digest)
    with pytest.raises(DamagedRunError, match="the value of key 'data' cannot be restored"):
        list(value_rows(load_run(path)))


def test_the_values_of_a_run_are_pickled_as_a_dict(tmp_path: Path) -> None:
    """The values of a run are sent to another process without the run."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext, {"lr": 0.5})
    copied = pickle.loads(pickle.dumps(load_run(journal.path).values))
    assert (dict, {"lr": 0.5}) == (type(copied), copied)
