"""The ways in which a branch reaches a worker, and its delta the parent, for tests in one process."""

import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from crystallize import Branch
from crystallize._branches import base_file, packed_work
from crystallize._branches.base_file import BaseWriter, address_of
from crystallize._branches.branch import base_of, opened_with, redirected
from crystallize._branches.fork_base import ForkBase
from crystallize._branches.packed_base import ParcelToken, pack
from crystallize._branches.sending import base_in_folder

Way: TypeAlias = Callable[[Any], Any]
"""Returns a branch, or a delta, as it arrives."""


def as_it_is(value: Any) -> Any:
    """What threads do."""
    return value


def pickled(value: Any) -> Any:
    """What an unknown executor does: all goes along."""
    return pickle.loads(pickle.dumps(value))


@contextmanager
def by_file(folder: Path) -> Iterator[Way]:
    """What processes on one machine do, of any size."""
    bases: dict[int, tuple[ForkBase, Any]] = {}
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(base_file, "SMALL", -1)
        patch.setattr(packed_work, "LARGE", 0)

        def way(value: Any) -> Any:
            base = base_of(value) if isinstance(value, Branch) else None
            if base is None:
                return pickled(value)
            if id(base) not in bases:
                found = stack.enter_context(base_in_folder(base, folder, value.name, by_value=False))
                bases[id(base)] = base, found
            return pickled(redirected(value, bases[id(base)][1]))

        yield way


class Brought:
    """A branch in a worker, to which the executor brings the parent's values."""

    def __init__(self, branch: Branch[Any], bring: Any) -> None:
        self.name = branch.name
        self.open = partial(opened_with, branch, bring)


@contextmanager
def by_broadcast(*, is_kept: bool) -> Iterator[Way]:
    """What Ray does, of any size: a worker asks the executor for the base; or Dask, which keeps it in the worker."""
    parcels: dict[int, tuple[ForkBase, Any]] = {}

    def way(value: Any) -> Any:
        base = base_of(value) if isinstance(value, Branch) else None
        if base is None:
            return pickled(value)
        if id(base) not in parcels:
            writer = BaseWriter()
            parcel = writer.parcel(pack(base, value.name, writer.add, by_value=False))
            parcels[id(base)] = base, pickled(parcel) if is_kept else parcel
        parcel = parcels[id(base)][1]
        sent = pickled(redirected(value, address_of(ParcelToken(parcel.token))))
        return Brought(sent, parcel if is_kept else partial(pickled, parcel))

    yield way


@contextmanager
def opened_way(name: str, folder: Path) -> Iterator[Way]:
    """Yield a way by its name."""
    if name == "file":
        with by_file(folder) as way:
            yield way
    elif name in ("broadcast", "kept"):
        with by_broadcast(is_kept=name == "kept") as way:
            yield way
    else:
        yield {"memory": as_it_is, "pickle": pickled}[name]


WAYS = ("memory", "pickle", "file", "broadcast", "kept")
