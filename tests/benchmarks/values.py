"""What it takes to store large values: an array, a frame and a checkpoint in a journal, beside plain files of them.

All of them are synced, since a step that has ended survives a crash of the machine.
"""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from crystallize import FrozenContext, Journal

from .results import Result

ARRAY = 25_000_000
"""Numbers in the array, which has 200 MB."""
ROWS = 1_250_000
"""Rows of a frame of 10 columns, or numbers of each of 20 tensors: 100 MB."""


def _stored(folder: Path, value: Any) -> float:
    """Return the seconds that a step takes in which a value is written."""
    with Journal.start(folder, "bench") as journal:
        ctx = journal.context(FrozenContext)
        # The folder of large values is made once.
        with ctx.step("begin") as step:
            step["first"] = np.random.default_rng().bytes(1 << 21)
        start = perf_counter()
        with ctx.step("write") as step:
            step["value"] = value
        return perf_counter() - start


def _written(path: Path, value: Any, write: Callable[[Path, Any], None]) -> float:
    """Return the seconds that it takes to write a value to a plain file, and to sync it."""
    start = perf_counter()
    write(path, value)
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)
    return perf_counter() - start


def _compared(
    path: str, target: float, make: Callable[[int], Any], other: str, write: Callable[[Path, Any], None], rounds: int
) -> Result:
    ours, theirs = [], []
    # One more, whose memory is not there yet.
    for number in range(rounds + 1):
        # Another value each time, as an object that is there already is written again all the same.
        value = make(number)
        # Each in turn, since on a virtual machine the second may get memory that the machine below has to make first.
        for is_ours in (number % 2 == 0, number % 2 == 1):
            with TemporaryDirectory() as made:
                if is_ours:
                    ours.append(_stored(Path(made), value))
                else:
                    theirs.append(_written(Path(made) / "file", value, write))
    best, least = min(ours[1:]), min(theirs[1:])
    middle = sorted(ours[1:])[rounds // 2] / sorted(theirs[1:])[rounds // 2]
    shown = f"{best:.2f} s", other, f"{least:.2f} s"
    return Result(path, *shown, best / least, middle, f"≤ {target:g} x", best / least <= target)


def _save_array(path: Path, array: Any) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def _save_frame(path: Path, frame: Any) -> None:
    import pyarrow as pa

    table = pa.Table.from_pandas(frame)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _save_tensors(path: Path, tensors: Any) -> None:
    from safetensors.torch import save_file

    save_file(tensors, path)


def _frame(number: int) -> Any:
    import pandas as pd

    return pd.DataFrame({f"column {at}": np.random.default_rng(number + at).random(ROWS) for at in range(10)})


def _tensors(number: int) -> Any:
    torch: Any = import_module("torch")
    return {f"layer {at}": torch.full((ROWS,), float(number + at)) for at in range(20)}


def _peak() -> int:
    """Return the largest number of bytes that the process has had in memory since the last call of `_forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _memory_of_array() -> Result:
    """Measure the memory of a write, with the private copy that the context keeps."""
    array = np.random.default_rng(0).random(ARRAY)
    with TemporaryDirectory() as made:
        _stored(Path(made), np.zeros(1 << 18))
        Path("/proc/self/clear_refs").write_text("5")
        before = _peak()
        _stored(Path(made), array)
        ratio = (_peak() - before) / array.nbytes
    shown = f"{ratio:.2f} x", "the array", "1 x"
    return Result("memory of an array of 200 MB, in a step", *shown, ratio, None, "≤ 1.3 x", ratio <= 1.3)


def time_values(rounds: int) -> list[Result]:
    """Time large values, each beside a plain file of it."""

    def array(number: int) -> Any:
        return np.random.default_rng(number).random(ARRAY)

    results = [
        _compared("an array of 200 MB, in a step", 1.5, array, "np.save and fsync", _save_array, rounds),
        _memory_of_array(),
        _compared("a frame of 100 MB, in a step", 2, _frame, "Arrow IPC file and fsync", _save_frame, rounds),
    ]
    if find_spec("torch") is None or find_spec("safetensors") is None:
        print("a state_dict is not timed: PyTorch and safetensors are not installed", file=sys.stderr)
    else:
        other = "safetensors save_file and fsync"
        results.append(_compared("a state_dict of 100 MB, in a step", 2, _tensors, other, _save_tensors, rounds))
    return results


if __name__ == "__main__":
    for result in time_values(5):
        print(result)
