"""Large values of a run: they are written to files first and stay there, and nobody can tell the difference."""

import mmap
import os
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import AfterValidator, BaseModel, Field, SecretStr

from crystallize import FrozenContext, Journal, KeyWritten, ObjectError, Shared, load_run
from crystallize._base.object_folder import ObjectFolder
from crystallize._core import placed_values
from crystallize._core.context import state_of
from crystallize._core.equality import same
from crystallize._core.stored_value import Deferred
from crystallize._core.value_parts import MappedPart
from crystallize._journal.verify import verify_run
from crystallize.sinks.memory import MemorySink

pytestmark = [pytest.mark.usefixtures("without_environment"), pytest.mark.usefixtures("small")]

SIZE = 300_000
VALUES: dict[str, Callable[[], Any]] = {
    "array": lambda: np.arange(SIZE, dtype=float),
    "array in the order of Fortran": lambda: np.asfortranarray(np.arange(SIZE, dtype=float).reshape(3, -1)),
    "array with gaps": lambda: np.arange(2 * SIZE, dtype=float)[::2],
    "array of records": lambda: np.zeros(SIZE, [("a", "i4"), ("b", "f8")]),
    "dict of arrays": lambda: {"a": np.arange(SIZE), "b": [np.ones(SIZE), 3], "c": ("x", None)},
    "pandas frame": lambda: pd.DataFrame({"a": np.arange(SIZE), "b": np.ones(SIZE)}),
    "polars frame": lambda: pl.DataFrame({"a": np.arange(SIZE), "b": np.ones(SIZE)}),
    "arrow table": lambda: pa.table({"a": pa.array(np.arange(SIZE)), "b": pa.array(np.ones(SIZE))}),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count values of 1 MB as large."""
    monkeypatch.setattr(placed_values, "LARGE", 1_000_000)


def is_placed(ctx: FrozenContext[Any], key: str) -> bool:
    """Return whether a context keeps the value of a key in a file."""
    return isinstance(state_of(ctx).stored(key).thaw, Deferred)


@pytest.mark.parametrize("kind", VALUES)
def test_is_what_was_written(runs: Path, kind: str) -> None:
    value, expected = VALUES[kind](), VALUES[kind]()
    with Journal.start(runs, "run") as journal:
        ctx = journal.context(FrozenContext)
        with ctx.step("load") as step:
            step["data"] = value
            assert is_placed(ctx, "data")
            assert same(step["data"], expected)
        assert same(ctx["data"], expected)
        assert type(ctx["data"]) is type(expected)
        assert ctx.provenance.writer("data") == "load"
    assert same(ctx["data"], expected)
    assert same(load_run(journal.path).values["data"], expected)
    with Journal.resume(journal.path) as resumed:
        assert same(resumed.context(FrozenContext)["data"], expected)
    assert () == verify_run(journal.path)


def test_the_writer_cannot_change_it(runs: Path) -> None:
    value = np.zeros(SIZE)
    with Journal.start(runs, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx["data"] = value
        value[:] = 1
        assert not ctx["data"].any()


def test_a_reader_cannot_change_it(runs: Path) -> None:
    with Journal.start(runs, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx["data"] = np.zeros(SIZE)
        read = ctx["data"]
        with pytest.raises(ValueError, match="read-only"):
            read[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            read.flags.writeable = True
        base = read
        while isinstance(base, np.ndarray):
            assert not base.flags.writeable
            base = base.base
        memory = memoryview(base)
        assert memory.readonly
        with pytest.raises(TypeError):
            memory.obj[0:1] = b"x"  # type: ignore[index]  # on purpose: the mapped file
        with pytest.raises(BufferError):
            memory.obj.close()  # type: ignore[attr-defined]  # as above
        read.shape = (SIZE // 2, 2)
        assert (SIZE,) == ctx["data"].shape


def test_is_not_copied(runs: Path) -> None:
    """An array that is read lies in the mapped file."""
    with Journal.start(runs, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx["data"] = np.zeros(SIZE)
        first, second = ctx["data"], ctx["data"]
    assert np.shares_memory(first, second)
    base = first
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(memoryview(base).obj, mmap.mmap)


@pytest.mark.skipif(os.name == "nt", reason="Windows deletes no file that is mapped")
def test_stays_when_its_file_is_deleted(runs: Path) -> None:
    with Journal.start(runs, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx["data"] = np.arange(SIZE)
        ctx["frame"] = VALUES["pandas frame"]()
        for file in (runs / "objects").rglob("*"):
            if file.is_file():
                file.unlink()
        assert np.array_equal(ctx["data"], np.arange(SIZE))
        assert same(ctx["frame"], VALUES["pandas frame"]())


def test_another_thread_changes_the_value_meanwhile(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and the context have the same, whatever that is, and the file is not taken for damaged."""
    value = np.zeros(SIZE)
    write = os.write

    def write_and_change(descriptor: int, data: Any) -> int:
        written = write(descriptor, data)
        if written > SIZE:  # not the header
            value[:] = 1
        return written

    with Journal.start(runs, "run") as journal:
        ctx = journal.context(FrozenContext)
        with monkeypatch.context() as patch:
            patch.setattr("crystallize._base.object_folder.os.write", write_and_change)
            ctx["data"] = value
        assert not ctx["data"].any()
    assert () == verify_run(journal.path)
    assert not load_run(journal.path).values["data"].any()


def test_equal_values_share_a_file(runs: Path) -> None:
    with Journal.start(runs, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx["first"], ctx["second"] = np.zeros(SIZE), np.zeros(SIZE)
        assert np.array_equal(ctx["first"], ctx["second"])
    assert 1 == sum(file.is_file() for file in (runs / "objects").rglob("*"))


def test_another_sink_gets_the_value(runs: Path) -> None:
    with Journal.start(runs, "run") as journal:
        sink = MemorySink()
        ctx = journal.context(FrozenContext, sinks=[sink])
        ctx["data"] = np.zeros(SIZE)
        assert not is_placed(ctx, "data")
    (event,) = sink.events
    assert isinstance(event, KeyWritten)
    assert np.array_equal(event.value, np.zeros(SIZE))


def test_without_a_journal() -> None:
    ctx = FrozenContext()
    ctx["data"] = np.zeros(SIZE)
    assert not is_placed(ctx, "data")


def _with_secret() -> Any:
    return {"token": SecretStr("hunter22"), "data": np.zeros(SIZE)}


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.zeros(10),
        lambda: np.array([object()] * SIZE),
        lambda: [float(number) for number in range(SIZE)],
        lambda: {"data": np.zeros(SIZE), "why": object()},
        _with_secret,
    ],
)
def test_what_is_copied_as_before(runs: Path, make: Callable[[], Any]) -> None:
    with Journal.start(runs, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx["data"] = make()
        assert not is_placed(ctx, "data")
    assert "hunter22" not in (journal.path.read_bytes()).decode(errors="replace")


def _doubled(value: Any) -> Any:
    return value * 2


class Declared(BaseModel, arbitrary_types_allowed=True):
    doubled: Annotated[np.ndarray, AfterValidator(_doubled)]
    shared: Annotated[np.ndarray, Shared]
    left_out: np.ndarray = Field(exclude=True)


def test_declared_keys(runs: Path) -> None:
    """A validator does its work once; what is shared, and what no file has, is not in a file."""
    shared = np.zeros(SIZE)
    with Journal.start(runs, "run") as journal:
        ctx: FrozenContext[Any] = journal.context(FrozenContext[Declared])
        ctx["doubled"], ctx["shared"], ctx["left_out"] = np.ones(SIZE), shared, np.ones(SIZE)
        assert [True, False, False] == [is_placed(ctx, key) for key in ("doubled", "shared", "left_out")]
        assert 2 == ctx["doubled"].max()
        assert ctx["shared"] is shared


def test_a_full_disk(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written then, and the run goes on."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with Journal.start(runs, "run") as journal:
        ctx = journal.context(FrozenContext)
        with monkeypatch.context() as patch:
            patch.setattr("crystallize._base.object_folder.os.fsync", full)
            with pytest.raises(ObjectError, match=r"No space left on device.*of key 'data'.*nothing was added"):
                ctx["data"] = np.zeros(SIZE)
        assert "data" not in ctx
        ctx["data"] = np.zeros(SIZE)
    assert [] == [*(runs / "objects").rglob("*.new")]
    assert not load_run(journal.path).values["data"].any()


@pytest.mark.parametrize("what", ["map", "file system"])
def test_where_a_file_cannot_be_mapped(runs: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The value is copied then."""

    class NoMap(mmap.mmap):
        def __new__(cls, *args: Any, **kwargs: Any) -> Self:
            raise OSError(12, "Cannot allocate memory")

    with Journal.start(runs, "run") as journal:
        ctx = journal.context(FrozenContext)
        if what == "map":
            monkeypatch.setattr(mmap, "mmap", NoMap)
        else:
            monkeypatch.setattr(placed_values, "is_network", lambda path: True)
        ctx["data"] = np.zeros(SIZE)
        monkeypatch.undo()
        assert not is_placed(ctx, "data")
        assert not ctx["data"].any()
    assert () == verify_run(journal.path)


def test_a_key_that_is_written_already(runs: Path) -> None:
    with Journal.start(runs, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx["data"] = 1
        with pytest.raises(Exception, match="Cannot mutate existing key"):
            ctx["data"] = np.zeros(SIZE)
    assert not (runs / "objects").exists()


def test_containers_that_are_not_looked_through(runs: Path) -> None:
    """A value that contains itself, or more items than are looked at, is copied as before."""
    endless: list[Any] = [np.zeros(SIZE)]
    endless.append(endless)

    def many() -> Iterator[Any]:
        yield from range(20_000)

    with Journal.start(runs, "run") as journal:
        ctx = journal.context(FrozenContext)
        ctx["endless"], ctx["many"] = endless, [*many()]
        assert not is_placed(ctx, "endless")
        assert not is_placed(ctx, "many")


class Tensor:
    """Stands in for a tensor of PyTorch, of 1 MB."""

    __module__ = "torch"

    def __init__(self, storage: int, layout: str = "strided") -> None:
        self.layout = layout
        self._storage = storage

    def element_size(self) -> int:
        return 4

    def nelement(self) -> int:
        return 250_000

    def untyped_storage(self) -> Any:
        assert self.layout == "strided", "PyTorch raises NotImplementedError for other layouts"
        return SimpleNamespace(data_ptr=lambda: self._storage)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([Tensor(1)], True),
        ({"a": Tensor(1), "b": (Tensor(2),)}, True),
        ({"a": Tensor(1), "b": Tensor(1)}, False),
        ([Tensor(1, "sparse")], False),
    ],
)
def test_tensors_that_share_memory(monkeypatch: pytest.MonkeyPatch, value: Any, expected: bool) -> None:
    """They are copied as before: a file would have two tensors where the value has two names of one."""
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(strided="strided"))
    assert expected is placed_values._is_large(value)


def test_a_mapped_part_has_the_name_of_its_object(tmp_path: Path) -> None:
    folder = ObjectFolder(tmp_path)
    found = folder.put_mapped([b"con", b"tent"], 7)
    assert found is not None
    part = MappedPart(folder, *found)
    assert (7, sha256(b"content").hexdigest(), b"content") == (part.size, part.digest, part.content())
