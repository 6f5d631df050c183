"""A folder of objects: files that are named by the digest of their content, so that equal content is stored once."""

import os
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, TypeAlias

from .file_system import create_file, make_folder, sync_folder

BLOCK: Final = 1 << 20
"""Bytes that are read and written at a time."""
DIGEST_SIZE: Final = 32
"""Bytes of a digest, BLAKE2b. It is the only name of the content, so it has to be safe against intended collisions."""

Buffer: TypeAlias = bytes | bytearray | memoryview


class ObjectName(NamedTuple):
    """The name of an object, which says all of its content."""

    digest: str
    """In hexadecimal."""
    size: int
    """In bytes."""


def name_of(chunks: Iterable[Buffer]) -> ObjectName:
    """Return the name that an object of this content has."""
    content, size = blake2b(digest_size=DIGEST_SIZE), 0
    for chunk in chunks:
        content.update(chunk)
        size += memoryview(chunk).nbytes
    return ObjectName(content.hexdigest(), size)


def blocks_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the rest of a file in blocks."""
    while block := file.read(BLOCK):
        yield block


class ObjectFolder:
    """A folder of objects. Many processes may use it at the same time; an object never changes.

    Attributes:
        path: The folder. It is made with the first object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, chunks: Iterable[Buffer]) -> ObjectName:
        """Store content, and return its name. When this returns, the object survives a crash of the machine.

        An error, such as that of a full disk, leaves no object, and no temporary file behind.
        """
        made = not self.path.exists()
        make_folder(self.path)
        # Of its own for each writer: two may store the same content at the same time.
        unfinished = self.path / f"{secrets.token_hex(8)}.new"
        descriptor = create_file(unfinished)
        try:
            with open(descriptor, "wb", buffering=0) as file:
                name = _write(file, chunks)
                os.fsync(descriptor)
                os.chmod(unfinished, 0o444)
            self._give_name(unfinished, name)
        except BaseException:
            with suppress(FileNotFoundError):
                unfinished.unlink()
            if made:
                with suppress(OSError):  # somebody else has put an object into it
                    self.path.rmdir()
            raise
        return name

    def _give_name(self, unfinished: Path, name: ObjectName) -> None:
        path = self.path_of(name.digest)
        make_folder(path.parent)
        # Over an equal file, if there is one: that may have been damaged since.
        os.replace(unfinished, path)
        sync_folder(path.parent)

    def path_of(self, digest: str) -> Path:
        """Return the path of an object, whether it is there or not."""
        return self.path / digest[:2] / digest[2:]

    def matches(self, name: ObjectName) -> bool:
        """Return whether an object is there with the content that its name says; this reads all of it."""
        try:
            with self.path_of(name.digest).open("rb") as file:
                return name_of(blocks_of(file)) == name
        except FileNotFoundError:
            return False


def _write(file: RawIOBase, chunks: Iterable[Buffer]) -> ObjectName:
    """Write chunks to a file and return the name of their content.

    A thread computes the digest of each block while the next one is written, as both take about equally long.
    """
    content, size = blake2b(digest_size=DIGEST_SIZE), 0
    with ThreadPoolExecutor(1, "crystallize-digest") as pool:
        digested: Future[None] | None = None
        for chunk in chunks:
            whole = memoryview(chunk).cast("B")
            size += len(whole)
            for at in range(0, len(whole), BLOCK):
                block = whole[at : at + BLOCK]
                if digested is not None:
                    digested.result()
                digested = pool.submit(content.update, block)
                while block:
                    block = block[file.write(block) or 0 :]
    return ObjectName(content.hexdigest(), size)
