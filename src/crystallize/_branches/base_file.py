"""The packed base of branches in a file, and other data that a parent and its workers on one machine exchange."""

import os
import pickle
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from .._base.buffer_file import ALIGNMENT, BufferFile, BufferWriter
from .._base.folder_address import FolderAddress
from .._base.object_folder import ObjectFolder
from ..errors import TravelError
from .fork_base import ForkBase
from .packed_base import BaseIndex, Chunks, Parcel, ParcelToken, pack
from .pickling import loaded, names_main

SMALL: Final = 1 << 15
"""Bytes up to which the contents of a parent are sent with each branch: a file takes longer."""


class ExchangePlace(NamedTuple):
    """The folder by which a parent and its workers exchange files, as the workers know it."""

    folder: str
    artifacts: FolderAddress | None
    """The parent's temporary folder for large artifacts, if it has no folder of a run."""

    def objects(self) -> ObjectFolder | None:
        """Return the parent's temporary folder for artifacts, if there is one."""
        return None if self.artifacts is None else _lent_folder(self.artifacts)


@lru_cache(maxsize=8)
def _lent_folder(address: FolderAddress) -> ObjectFolder | None:
    return address.folder()


class WholeBase(NamedTuple):
    """A packed base that each of its branches takes along."""

    content: bytes
    place: slice
    """The place of the index in it."""

    def opened(self, branch: str) -> ForkBase:
        """Return the base; errors name a branch."""
        return _opened(memoryview(self.content), self.place, branch)


class BaseFile(NamedTuple):
    """The address of a packed base in a file."""

    file: BufferFile
    place: slice
    """The place of the index in it."""

    def opened(self, branch: str) -> ForkBase:
        """Map the file, and return the base in it; errors name a branch."""
        try:
            whole = self.file.opened()
        except FileNotFoundError as error:
            reason = "is gone; it is removed when fan_out has ended, or the `with` block of shared_base"
            raise TravelError(branch, f"the file of the parent's values, {self.file.path}, {reason}") from error
        except (OSError, ValueError) as error:
            reason = f"the file of the parent's values, {self.file.path}, cannot be read ({error})"
            raise TravelError(branch, f"{reason}; fork the branch again") from error
        return _opened(whole, self.place, branch)


def _opened(whole: memoryview, place: slice, branch: str) -> ForkBase:
    index, places = loaded(whole[place], branch, "the parent's values")
    base: BaseIndex = index
    return base.opened([whole[place] for place in places], branch)


class BaseWriter:
    """Packs a base into memory, as long as that is small, and then into a file."""

    def __init__(self, make_file: Callable[[], BufferWriter] | None = None) -> None:
        """`make_file` makes the file; None if all is to stay in memory."""
        self._make_file = make_file
        self._writer: BufferWriter | None = None
        self._kept: list[Chunks] = []
        self._places: list[slice] = []
        self._size = 0

    @property
    def is_small(self) -> bool:
        """Whether the contents are so small that they are sent with each branch."""
        return self._size <= SMALL

    def add(self, chunks: Chunks) -> None:
        """Take a section."""
        self._size += sum(memoryview(chunk).nbytes for chunk in chunks)
        self._kept.append(chunks)
        if self._make_file is not None and not self.is_small:
            self._writer = self._writer or self._make_file()
            # One after another, so that a copy of a value lives no longer than it has to.
            self._places += map(self._writer.add, self._kept)
            self._kept.clear()

    def finished(self, index: BaseIndex) -> BaseFile | WholeBase:
        """Return the contents, or the address of their file."""
        if self._writer is None:
            return self.whole(index)
        place = self._writer.add((_packed(index, self._places),))
        made = BaseFile(self._writer.finished(), place)
        self._writer = None
        return made

    def whole(self, index: BaseIndex) -> WholeBase:
        """Return the contents for branches that take them along."""
        parts: list[bytes | memoryview] = []
        size = 0
        for chunks in self._kept:
            padding = bytes(-size % ALIGNMENT)
            parts += [padding, *chunks]
            start = size + len(padding)
            size = start + sum(memoryview(chunk).nbytes for chunk in chunks)
            self._places.append(slice(start, size))
        parts.append(_packed(index, self._places))
        content = b"".join(parts)
        return WholeBase(content, slice(size, len(content)))

    def close(self) -> None:
        """Remove a file that was not finished."""
        if self._writer is not None:
            self._writer.abandon()

    def parcel(self, index: BaseIndex) -> Parcel:
        """Return the contents as an object that an executor brings to its workers."""
        return Parcel(os.urandom(16), index, [_joined(chunks) for chunks in self._kept])


def _packed(index: BaseIndex, places: list[slice]) -> bytes:
    return pickle.dumps((index, places), protocol=pickle.HIGHEST_PROTOCOL)


def _joined(chunks: Chunks) -> bytes | memoryview:
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class OpenedBase(NamedTuple):
    """A base in another process than its parent."""

    base: ForkBase
    place: ExchangePlace | None
    """The folder for large values, which the parent shares with this process; None if there is none."""


def address_of(source: BaseFile | WholeBase | ParcelToken, place: ExchangePlace | None = None) -> bytes:
    """Return the form in which each branch has its base: as bytes, which are made and unpickled once for all."""
    return pickle.dumps((source, place), protocol=pickle.HIGHEST_PROTOCOL)


_last_opened: tuple[bytes, OpenedBase] | None = None
"""The base that was opened last: the next branch usually has the same. Only one is kept, since it may be large."""


def opened_base(address: bytes, branch: str, bring: "Parcel | Callable[[], Parcel] | None" = None) -> OpenedBase:
    """Return a base, given its address. It is not opened again if the last branch had the same base.

    `bring` is a parcel that the executor keeps in this process, or a function that returns a parcel; None if the
    executor has brought none. Errors name a branch.
    """
    global _last_opened
    if isinstance(bring, Parcel):
        # Not kept here: the executor drops the parcel when the call has ended.
        return OpenedBase(bring.opened(branch), None)
    last = _last_opened
    if last is None or last[0] != address:
        source, place = pickle.loads(address)
        if bring is not None:
            source = bring()
        last = address, OpenedBase(source.opened(branch), place)
        _last_opened = last
    return last[1]


def whole_address(base: ForkBase, branch: str) -> bytes | None:
    """Return a base for branches that take it along; None if the executor has to pickle the base itself.

    It is packed once, for the first of its branches; errors name that branch.
    """
    if "_packed" not in vars(base):
        vars(base)["_packed"] = _pack_whole(base, branch)
    packed: bytes | None = vars(base)["_packed"]
    return packed


def _pack_whole(base: ForkBase, branch: str) -> bytes | None:
    writer = BaseWriter()
    made = writer.whole(pack(base, branch, writer.add, by_value=False))
    # Workers of some executors import classes of `__main__` by name; other executors pickle these classes.
    by_name = b"cloudpickle" not in made.content and names_main(made.content)
    return None if by_name else address_of(made)
