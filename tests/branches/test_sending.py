"""A parent's values reach the workers once, and large values come back without a detour: by files."""

import errno
import gc
import os
import pickle
import re
import signal
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from crystallize import (
    BranchContext,
    BranchError,
    FrozenContext,
    Journal,
    Shared,
    TravelError,
    fan_out,
    fork,
    load_run,
    merge,
    shared_base,
)
from crystallize._base.buffer_file import BufferFile
from crystallize._base.scratch_folder import scratch_folder
from crystallize._branches import base_file
from crystallize._branches.engines import broadcaster
from crystallize._core.buffer_pickle import split_pickle
from crystallize._core.context import state_of
from crystallize.runs import verify_run

from ..core.nested_values import PARTS, WRAPS, Recipe, built, recipes, shown, spoil
from ..profiles import examples
from .sending_ways import WAYS, by_file, opened_way

LARGE = np.arange(100_000.0)
"""800 kB: more than is sent with a branch, or in the pickle of a delta."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the temporary folder of this test."""
    made = tmp_path / "temporary"
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    return made


def left_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("crystallize-branches-*"))


class Sending(Executor):
    """An executor that pickles what it is given, and what comes back, as one of processes does."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.back: list[int] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            sent = pickle.dumps((fn, args, kwargs))
            self.sizes.append(len(sent))
            fn, args, kwargs = pickle.loads(sent)
            back = pickle.dumps(fn(*args, **kwargs))
            self.back.append(len(back))
            future.set_result(pickle.loads(back))
        except BaseException as error:
            future.set_exception(error)
        return future


def local() -> Any:
    """Return an executor whose workers are taken for processes on this machine."""
    return type("LocalExecutor", (Sending,), {"__module__": "loky.process_executor"})()


class Broadcasting(Sending):
    """An executor that brings an object to its workers once."""

    def __init__(self) -> None:
        super().__init__()
        self.brought: list[bytes] = []

    def broadcast(self, value: Any) -> "Brought":
        self.brought.append(pickle.dumps(value, protocol=5))
        return Brought(len(HANDLES))

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        HANDLES[:] = self.brought
        return super().submit(fn, *args, **kwargs)


HANDLES: list[bytes] = []


class Brought:
    """Stands for what was brought."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __call__(self) -> Any:
        return pickle.loads(HANDLES[self.at])


def reads_one(child: BranchContext[Any], at: int) -> float:
    return float(child["rows"][at])


# Once for all branches.


@pytest.mark.parametrize("make", [local, Broadcasting])
def test_large_values_are_not_in_the_branches(folder: Path, make: Callable[[], Any]) -> None:
    """The parent's values are sent once, and is gone at the end."""
    ctx = FrozenContext({"rows": LARGE})
    executor = make()
    assert [0.0, 1.0, 2.0] == fan_out(ctx, reads_one, range(3), executor=executor)
    assert 1000 > max(executor.sizes)
    assert [] == left_in(folder)
    if make is Broadcasting:
        assert [True] == [len(LARGE.tobytes()) < len(brought) for brought in executor.brought]


class Forgetful(Broadcasting):
    """Brings nothing to its workers."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(fn, *args[:-1], **kwargs)


def test_an_executor_that_does_not_bring_it() -> None:
    """A branch whose executor has lost the parent's values says so."""
    with pytest.raises(TravelError, match="its executor has not sent the parent's values to the worker"):
        fan_out(FrozenContext({"rows": LARGE}), reads_one, [0], executor=Forgetful())


@pytest.mark.parametrize("make", [local, Broadcasting, Sending])
def test_small_values_are_in_the_branches(folder: Path, make: Callable[[], Any]) -> None:
    """What is small is sent with each branch, which takes less time than a file."""
    executor = make()
    ctx = FrozenContext({"rows": [1.0, 2.0]})
    assert [1.0, 2.0] == fan_out(ctx, reads_one, range(2), executor=executor)
    assert [] == getattr(executor, "brought", [])
    assert 3000 > max(executor.sizes)


def test_executors_that_nobody_knows() -> None:
    """To workers of an unknown executor, each branch takes all along."""
    executor = Sending()
    assert [0.0] == fan_out(FrozenContext({"rows": LARGE}), reads_one, [0], executor=executor)
    assert [True] == [size > len(LARGE.tobytes()) for size in executor.sizes]
    assert broadcaster(executor) is None
    assert broadcaster(type("ClientExecutor", (Sending,), {"__module__": "distributed.cfexecutor"})()) is None


def test_a_base_of_another_moment() -> None:
    """A branch that was forked from other keys than those that were sent takes its own along."""
    ctx = FrozenContext({"rows": LARGE})
    early = fork(ctx, "early")
    ctx["more"] = 1
    with shared_base(ctx) as base:
        late = fork(ctx, "late", base=base)
        assert len(LARGE.tobytes()) < len(pickle.dumps(early))
        assert 1000 > len(pickle.dumps(late))
        assert ["rows"] == list(pickle.loads(pickle.dumps(early)).open())
        assert ["rows", "more"] == list(pickle.loads(pickle.dumps(late)).open())


class Counted:
    """Counts how often it is unpickled."""

    loads: list[int] = []  # noqa: RUF012 - shared on purpose

    def __init__(self, at: int) -> None:
        self.at = at

    def __deepcopy__(self, memo: object) -> "Counted":
        return Counted(self.at)

    def __reduce__(self) -> Any:
        return _counted, (self.at,)


def _counted(at: int) -> Counted:
    Counted.loads.append(at)
    return Counted(at)


@pytest.mark.parametrize("way", WAYS[1:])
def test_a_key_is_opened_when_it_is_read(folder: Path, way: str) -> None:
    """A branch that reads one key unpickles one, once for all branches that the worker opens."""
    ctx = FrozenContext({f"k{at}": Counted(at) for at in range(10)})
    Counted.loads.clear()
    with opened_way(way, folder) as sent:
        branches = [sent(fork(ctx, f"b{at}")) for at in range(2)]
        assert [] == Counted.loads
        for branch in branches:
            assert 3 == branch.open()["k3"].at
        assert [3] == Counted.loads
        assert [f"k{at}" for at in range(10)] == list(branches[0].open())


@pytest.mark.parametrize("way", WAYS)
def test_shared_values_stay_one_object(folder: Path, way: str) -> None:
    """Readers of a shared value get one object, and shared values refer to the same objects as before."""
    words = {"a": list(range(1000))}
    ctx = FrozenContext[dict[str, Annotated[Any, Shared]]]({"words": words, "more": [words]})
    with opened_way(way, folder) as sent:
        child = sent(fork(ctx, "a")).open()
        assert child["words"] is child["words"] is child["more"][0]
        assert (child["words"] is words) == (way == "memory")


# As immutable as ever.


def check_reads_alike(value: Any, sent: Callable[[Any], Any]) -> None:
    """Check that a child reads what its parent has, whatever readers do to it."""
    ctx = FrozenContext({"x": value, "y": [value]})
    expected = shown(ctx["x"])
    try:
        survives = expected == shown(pickle.loads(pickle.dumps(ctx["x"])))
    except Exception:  # a type's own pickling may raise anything
        survives = False
    if not survives:  # some types do not pickle, or lose a part
        return
    branch = sent(fork(ctx, "a"))
    for _ in range(2):
        child = branch.open()
        assert expected == shown(child["x"]) == shown(child["y"][0])
        spoil(child["x"])
        spoil(child["y"])
        assert expected == shown(child["x"]) == shown(child["y"][0])
    child["copy"] = child["x"]
    spoil(child["copy"])
    assert expected == shown(child["copy"])
    merge(ctx, sent(child.delta()))
    spoil(ctx["copy"])
    assert expected == shown(ctx["copy"]) == shown(ctx["x"])


@pytest.mark.parametrize("way", WAYS)
def test_any_value_reads_alike(folder: Path, way: str) -> None:
    """What a child reads equals the parent's values and is as immutable, by whichever way it was sent."""
    with opened_way(way, folder) as sent:

        @settings(deadline=None, max_examples=examples(30))
        @given(recipes(*PARTS))
        def check(recipe: Recipe) -> None:
            check_reads_alike(built(recipe), sent)

        check()


@pytest.mark.slow
@pytest.mark.parametrize("share", [25, pytest.param(5, marks=pytest.mark.long)])
@pytest.mark.parametrize("way", WAYS[1:])
def test_each_kind_reads_alike(folder: Path, way: str, share: int) -> None:
    """The same holds of each kind of value alone, and of one in so many in each container."""
    with opened_way(way, folder) as sent:

        @settings(deadline=None, max_examples=1)
        @given(st.none())
        def check(_: None) -> None:
            for make in made:
                check_reads_alike(make(), sent)

        for make in PARTS.values():
            made = [make]
            check()
        for at, wrap in enumerate(WRAPS.values()):
            made = [partial(_wrapped, wrap, make) for make in [*PARTS.values()][at % share :: share]]
            check()


def _wrapped(wrap: Callable[[Any], Any], make: Callable[[], Any]) -> Any:
    return wrap(make())


def addresses(value: Any) -> Iterator[int]:
    """Return where the memory of a value begins."""
    if isinstance(value, pl.DataFrame):
        value = value.to_arrow()
    if isinstance(value, pa.Table):
        columns: list[Any] = value.columns
        yield from (column.chunk(0).buffers()[1].address for column in columns)
    elif isinstance(value, pd.DataFrame):
        yield from (value[name].to_numpy().__array_interface__["data"][0] for name in value)
    else:
        yield value.__array_interface__["data"][0]


TABLES: dict[str, Callable[[], Any]] = {
    "array": LARGE.copy,
    "array in the order of Fortran": lambda: np.asfortranarray(LARGE.reshape(100, -1)),
    "records": lambda: np.zeros(10_000, dtype=[("a", "i8"), ("b", "f8")]),
    "pyarrow": lambda: pa.table({"a": pa.array(LARGE), "b": pa.array(LARGE)}),
    "pandas": lambda: pd.DataFrame({"a": LARGE, "b": LARGE}),
    "polars": lambda: pl.DataFrame({"a": LARGE, "b": LARGE}),
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_values_over_a_file_are_not_copied(folder: Path, make: Callable[[], Any], monkeypatch: Any) -> None:
    """Arrays, tables and frames that a worker reads lie in the mapped file."""
    mapped: list[memoryview] = []
    opened = BufferFile.opened

    def remember(self: BufferFile) -> memoryview:
        mapped.append(opened(self))
        return mapped[-1]

    monkeypatch.setattr(BufferFile, "opened", remember)
    ctx = FrozenContext({"rows": make()})
    with by_file(folder) as sent:
        child = sent(fork(ctx, "a")).open()
        found = [*addresses(child["rows"])]
        assert found == [*addresses(child["rows"])]
    start = np.frombuffer(mapped[0], "u1").__array_interface__["data"][0]
    assert all(start <= address < start + len(mapped[0]) for address in found)
    assert all((address - start) % 64 == 0 for address in found)


@pytest.mark.parametrize("absent", ["numpy", "polars"])
def test_libraries_that_are_not_there(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What libraries are not imported need not be sent."""
    monkeypatch.delitem(sys.modules, absent)
    chunks, buffers = split_pickle([1, b"a"])
    assert ([1, b"a"], []) == (pickle.loads(b"".join(chunks)), buffers)


def test_strided_memory() -> None:
    """What has no memory of its own is sent as well."""
    ctx = FrozenContext[dict[str, Annotated[Any, Shared]]]({"rows": np.arange(200_000.0)[::2]})
    assert [4.0] == fan_out(ctx, reads_one, [2], executor=local())


# What comes back.


def makes_rows(child: BranchContext[Any], at: int) -> Any:
    child[f"rows{at}"] = LARGE * at
    child[f"frame{at}"] = pd.DataFrame({"a": LARGE})
    return LARGE + at


def test_large_values_come_back_by_files(folder: Path) -> None:
    """Large keys and results are not in what the executor sends back, and their files are gone once merged."""
    ctx = FrozenContext()
    executor = local()
    results = fan_out(ctx, makes_rows, range(2), executor=executor)
    assert 3000 > max(executor.back)
    for at in range(2):
        assert (LARGE * at == ctx[f"rows{at}"]).all()
        assert (LARGE == ctx[f"frame{at}"]["a"]).all()
        assert (LARGE + at == results[at]).all()
        assert not ctx[f"rows{at}"].flags.writeable
        results[at][0] = -1
    assert [] == left_in(folder)


def test_files_go_as_branches_are_merged() -> None:
    """The file of a delta is removed when the delta is merged, also when it comes twice."""
    ctx = FrozenContext()
    with shared_base(ctx) as base:
        branch = pickle.loads(pickle.dumps(fork(ctx, "a", base=base)))
        deltas = []
        for _ in range(2):
            child = branch.open()
            child["rows"] = LARGE
            deltas.append(pickle.dumps(child.delta()))
        (folder,) = left_in(Path(tempfile.gettempdir()))
        assert 2 == len(list(folder.glob("*.delta")))
        assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in folder.glob("*.delta")}
        for left, delta in zip((1, 0), deltas, strict=True):
            merge(ctx, pickle.loads(delta))
            assert left == len(list(folder.glob("*.delta")))
        assert (LARGE == ctx["rows"]).all()


def test_a_delta_whose_file_is_gone() -> None:
    """A delta that is merged too late, or whose file was damaged, says so, and nothing of it is merged."""
    ctx = FrozenContext()
    with shared_base(ctx) as base:
        child = pickle.loads(pickle.dumps(fork(ctx, "a", base=base))).open()
        child["rows"] = LARGE
        delta = pickle.loads(pickle.dumps(child.delta()))
        (path,) = left_in(Path(tempfile.gettempdir()))[0].glob("*.delta")
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(TravelError, match=r"its large values, .*delta, cannot be read .*was truncated"):
            merge(ctx, delta)
        path.write_bytes(content)
        assert delta.branch == pickle.loads(pickle.dumps(delta)).branch
    with pytest.raises(TravelError, match=r"its large values, .*, is gone; merge its delta before fan_out ends"):
        merge(ctx, delta)
    assert [] == list(ctx)


def adds_artifacts(child: BranchContext[Any], at: int) -> None:
    child.artifacts.add("small", b"a")
    child.artifacts.add("large", bytes(range(256)) * 8192)
    source = Path(tempfile.gettempdir()) / "source.bin"
    source.write_bytes(bytes(range(255)) * 8192)
    child.artifacts.add_file(source)


def test_large_artifacts_of_a_parent_without_a_journal() -> None:
    """An artifact of more than 1 MiB is written to the temporary folder of the parent at once, and sent by its name."""
    ctx = FrozenContext()
    executor = local()
    fan_out(ctx, adds_artifacts, [0], executor=executor)
    assert 3000 > max(executor.back)
    assert bytes(range(256)) * 8192 == ctx.artifacts["large"].data
    for name in ("large", "source.bin"):
        assert ctx.artifacts[name].path.is_relative_to(scratch_folder().path)
    # No other process may rely on that folder.
    assert 4_000_000 < len(pickle.dumps(ctx))


def test_large_artifacts_of_a_parent_with_a_journal(tmp_path: Path) -> None:
    """An artifact is written to the folder `objects` at once; base and deltas are in the folder of the run."""
    with Journal.start(tmp_path / "runs", "run") as journal:
        ctx = journal.context(FrozenContext, {"rows": LARGE})
        executor = local()
        fan_out(ctx, adds_artifacts, [0], executor=executor)
        assert 3000 > max(executor.back)
        fan_out(ctx, sees_its_folder, [str(tmp_path / "runs")], executor=executor)
        assert [] == left_in(tmp_path / "runs")
    assert () == verify_run(journal.path)
    run = load_run(journal.path)
    assert bytes(range(256)) * 8192 == run.context.artifacts["large"].data


def sees_its_folder(child: BranchContext[Any], runs: str) -> None:
    (made,) = left_in(Path(runs))
    assert ["base", "owner"] == sorted(os.listdir(made))


# What goes wrong.


def sees_modes(child: BranchContext[Any], folder: str) -> str:
    (made,) = left_in(Path(folder))
    assert 0o700 == stat.S_IMODE(made.stat().st_mode)
    assert 0o600 == stat.S_IMODE((made / "base").stat().st_mode)
    assert b"hush" in (made / "base").read_bytes()
    token: SecretStr = child["token"]
    return token.get_secret_value()


def test_secrets_are_in_no_file_that_others_can_read(folder: Path) -> None:
    """Folder and file are of their owner alone, and are gone at the end."""
    ctx = FrozenContext({"rows": LARGE, "token": SecretStr("hush")})
    assert ["hush"] == fan_out(ctx, sees_modes, [str(folder)], executor=local())
    assert [] == list(folder.glob("crystallize-branches-*"))


def test_a_base_file_that_is_not_as_it_was() -> None:
    """A file of a base that is deleted, truncated or of another call is an error of the branch that says so."""
    ctx = FrozenContext({"rows": LARGE})
    with shared_base(ctx) as base:
        branch = pickle.loads(pickle.dumps(fork(ctx, "a", base=base)))
        (folder,) = left_in(Path(tempfile.gettempdir()))
        path = folder / "base"
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(TravelError, match=r"the parent's values, .*, cannot be read .*was truncated or replaced"):
            branch.open()
        path.write_bytes(bytes(len(content)))
        with pytest.raises(
            TravelError, match=r"cannot be read \(it is a file of another call\); fork the branch again"
        ):
            branch.open()
        path.write_bytes(content)
        assert 2.0 == branch.open()["rows"][2]
    child = branch.open()
    assert 3.0 == child["rows"][3]  # a worker keeps what it has mapped
    fork(FrozenContext({"other": LARGE}), "b").open()
    pickle.loads(pickle.dumps(fork(FrozenContext({"other": [1]}), "b"))).open()
    with pytest.raises(TravelError, match=r"is gone; it is removed when fan_out has ended, or the `with` block"):
        branch.open()


def test_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If there is no room for the base, the error says so before anything runs, and nothing is left."""
    write = os.write

    def fill(descriptor: int, data: Any) -> int:
        if len(data) > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    ctx = FrozenContext({"rows": LARGE})
    with Journal.start(tmp_path / "runs", "run") as journal, monkeypatch.context() as patch:
        patch.setattr(os, "write", fill)
        advice = "make room there, or set TMPDIR to another folder"
        with pytest.raises(TravelError, match=rf"cannot be written to a file in {folder} .*No space left.*; {advice}"):
            fan_out(ctx, reads_one, [0], executor=local())
        run = journal.context(FrozenContext, {"rows": LARGE})
        with pytest.raises(
            TravelError, match=rf"in {tmp_path / 'runs'} .*No space left on device\); make room there\n"
        ):
            fan_out(run, reads_one, [0], executor=local())
        assert () == run.provenance.steps
        # What is small, and what comes back, is sent through the executor.
        small = FrozenContext()
        assert (LARGE == fan_out(small, makes_rows, [0], executor=local())[0]).all()
        assert (small["frame0"]["a"] == LARGE).all()
        assert [] == left_in(folder) == left_in(tmp_path / "runs")
    assert [0.0] == fan_out(ctx, reads_one, [0], executor=local())


def test_a_temporary_folder_that_cannot_be_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is small needs no folder; what is large cannot be sent without one."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "absent"))
    assert [1.0] == fan_out(FrozenContext({"rows": [1.0]}), reads_one, [0], executor=local())
    with pytest.raises(
        TravelError, match=r"to a file in .*absent \(.*No such file or directory.*; see to that folder, or set TMPDIR"
    ):
        fan_out(FrozenContext({"rows": LARGE}), reads_one, [0], executor=local())


def test_ctrl_c_removes_the_files(folder: Path) -> None:
    """Ctrl-C while the file is written, or while the branches run, leaves no file."""

    class Interrupting(Counted):
        def __reduce__(self) -> Any:
            signal.raise_signal(signal.SIGINT)
            return super().__reduce__()

        def __deepcopy__(self, memo: object) -> "Interrupting":
            return self

    ctx = FrozenContext({"rows": LARGE, "stop": Interrupting(0)})
    with pytest.raises(KeyboardInterrupt):
        fan_out(ctx, reads_one, [0], executor=local())
    assert [] == left_in(folder)


# By hand.


def test_a_shared_base_by_hand(folder: Path, tmp_path: Path) -> None:
    """Branches that are forked with a shared base are small, and their files are where the caller says."""
    ctx = FrozenContext({"rows": LARGE})
    with shared_base(ctx, tmp_path) as base:
        assert "SharedBase(dict)" == repr(base) or repr(base).startswith("SharedBase(")
        assert 1 == len(left_in(tmp_path))
        sent = [pickle.dumps(fork(ctx, f"b{at}", base=base)) for at in range(3)]
        assert 1000 > max(map(len, sent))
        for at, content in enumerate(sent):
            child = pickle.loads(content).open()
            child[f"sum{at}"] = float(child["rows"].sum()) + at
            merge(ctx, pickle.loads(pickle.dumps(child.delta())))
    assert [] == left_in(tmp_path)
    assert [LARGE.sum() + at for at in range(3)] == [ctx[f"sum{at}"] for at in range(3)]


def test_a_shared_base_that_does_not_fit() -> None:
    """A shared base is of one context at one moment, within its block."""
    ctx = FrozenContext({"rows": LARGE})
    with shared_base(ctx) as base:
        with pytest.raises(BranchError, match=r"base= contains other keys than the context has now; create anoth"):
            fork(FrozenContext({"rows": LARGE}), "a", base=base)
        ctx["more"] = 1
        with pytest.raises(BranchError, match="other keys than the context has now"):
            fork(ctx, "a", base=base)
    with shared_base(ctx) as base:
        # The merge of a branch was undone, and another key was written: there are as many keys as before.
        state_of(ctx).release({"more": state_of(ctx).values["more"]})
        ctx["other"] = 1
        with pytest.raises(BranchError, match="other keys than the context has now"):
            fork(ctx, "a", base=base)
    with pytest.raises(BranchError, match="its shared base is closed; fork it inside of the `with` block"):
        fork(ctx, "a", base=base)
    wrong: Any = ctx
    with pytest.raises(BranchError, match=r"base= is what shared_base\(ctx\) returns, not a .*FrozenContext"):
        fork(ctx, "a", base=wrong)
    assert () == ctx.provenance.steps


def test_a_shared_base_of_what_is_small() -> None:
    """A small base is in the branches, and large values come back by a file all the same."""
    ctx = FrozenContext({"lr": 0.1})
    with shared_base(ctx) as base:
        child = pickle.loads(pickle.dumps(fork(ctx, "a", base=base))).open()
        child["rows"] = LARGE
        sent = pickle.dumps(child.delta())
        assert 3000 > len(sent)
        merge(ctx, pickle.loads(sent))
    assert (0.1, 1.0) == (ctx["lr"], ctx["rows"][1])


def test_a_branch_within_a_branch() -> None:
    """A worker forks branches of its own, and sends them on, by whichever way it got its own."""
    ctx = FrozenContext({"rows": LARGE})
    with shared_base(ctx) as base:
        child = pickle.loads(pickle.dumps(fork(ctx, "a", base=base))).open()
        assert [2.0] == fan_out(child, reads_one, [2], executor=local())
        inner = pickle.loads(pickle.dumps(fork(child, "inner"))).open()
        inner["rows2"] = inner["rows"]
        merge(child, inner.delta())
        merge(ctx, pickle.loads(pickle.dumps(child.delta())))
    assert (LARGE == ctx["rows2"]).all()


def test_nothing_stays_mapped() -> None:
    """When a worker opens another base, the last one is let go."""
    ctx = FrozenContext({"rows": LARGE})
    with shared_base(ctx) as base:
        path = re.escape(str(left_in(Path(tempfile.gettempdir()))[0]))
        child: Any = pickle.loads(pickle.dumps(fork(ctx, "a", base=base))).open()
        assert re.search(path, Path("/proc/self/maps").read_text())
        del child
        pickle.loads(pickle.dumps(fork(FrozenContext({"other": [1]}), "b"))).open()
        gc.collect()
        assert not re.search(path, Path("/proc/self/maps").read_text())


def test_sizes_are_sensible() -> None:
    """A base that is sent with each branch fits into a pipe."""
    assert 64 * 1024 >= base_file.SMALL


def test_a_large_base_that_an_executor_drops(folder: Path) -> None:
    """When an executor drops the values that it kept in a worker, their memory is free at once."""
    rows = np.zeros(2 << 20)
    with opened_way("kept", folder) as way:
        sent = way(fork(FrozenContext({"rows": rows}), "a"))
        child = sent.open()
        assert 0.0 == child["rows"][7]
        del child, sent
        gc.disable()
        try:
            before = _mapped_like(rows)
            del way
        finally:
            gc.enable()
    assert _mapped_like(rows) < before


def _mapped_like(rows: Any) -> int:
    """Return how many views in memory have the size of an array."""
    views = [found for found in gc.get_objects() if isinstance(found, memoryview)]
    return sum(1 for view in views if view.nbytes >= rows.nbytes)
