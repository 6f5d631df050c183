"""The content of a file: in memory if it is small, and else an object in a folder."""

import os
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from .object_folder import ObjectFolder, ObjectName, blocks_of, name_of
from .scratch_folder import folder_at, is_scratch, scratch_folder
from .text import counted

LARGEST_IN_MEMORY: Final = 1 << 20
"""Maximum bytes of a file that is kept in memory, and in a row of a run's file; larger ones are objects."""


class FileContent:
    """The content of a file. It never changes.

    Attributes:
        size: In bytes.
    """

    __slots__ = ("_data", "_folder", "_name", "size")

    def __init__(self, data: bytes) -> None:
        """Keep a content in memory."""
        self._data: bytes | None = data
        self._folder: ObjectFolder | None = None
        self._name: ObjectName | None = None
        self.size: int = len(data)

    @classmethod
    def of_object(cls, folder: ObjectFolder, name: ObjectName) -> "FileContent":
        """Return the content of an object, which is read when it is asked for."""
        made = cls(b"")
        made._data, made._folder, made._name, made.size = None, folder, name, name.size
        return made

    @property
    def name(self) -> ObjectName:
        """The name that the content has as an object."""
        if self._name is None:
            assert self._data is not None
            self._name = name_of((self._data,))
        return self._name

    @property
    def digest(self) -> str:
        """The digest of the content, SHA-256, in hexadecimal."""
        return self.name.digest

    def read(self) -> bytes:
        """Return the content; raise ObjectError if its object is missing or changed."""
        if self._folder is None:
            assert self._data is not None
            return self._data
        return self._folder.read(self.name)

    def open(self) -> BinaryIO:
        """Open the content for reading; raise ObjectError if its object is missing or changed.

        The digest of an object is checked the first time, which reads all of it.
        """
        if self._folder is None:
            assert self._data is not None
            return BytesIO(self._data)
        return self._folder.open_checked(self.name)

    def head(self, size: int) -> bytes:
        """Return the first bytes; raise ObjectError if its object is missing or has another size.

        The digest is not checked: a look at the first bytes does not read a large file.
        """
        if self._folder is None:
            assert self._data is not None
            return self._data[:size]
        with closing(self._folder.open(self.name)) as file:
            return file.read(size)

    def check(self) -> None:
        """Raise ObjectError if the object of the content is missing or has another size."""
        if self._folder is not None:
            self._folder.check(self.name, whole=False)

    def path(self) -> Path:
        """Return the path of a file with the content; raise the errors of `open`.

        A content in memory is written to a temporary file, which the end of the process removes.
        """
        folder = self._folder
        if folder is None:
            folder = scratch_folder()
            if folder.problem_of(self.name) is not None:
                folder.put((self.read(),))
        folder.open_checked(self.name).close()
        return folder.path_of(self.digest)

    def _blocks(self) -> Iterator[bytes]:
        with closing(self.open()) as file:
            yield from blocks_of(file)

    def is_in(self, folder: ObjectFolder) -> bool:
        """Whether the content is an object of this folder."""
        return self._folder is not None and self._folder.path == folder.path

    def moved_to(self, folder: ObjectFolder) -> "FileContent":
        """Return the content as an object of a folder, where it is stored unless it exists already."""
        if self.is_in(folder):
            # A worker may have put it there.
            folder.open(self.name).close()
        else:
            folder.put(self._blocks())
        return FileContent.of_object(folder, self.name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FileContent):
            return NotImplemented
        return self.size == other.size and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<{counted(self.size, 'byte')}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._folder is None or is_scratch(self._folder):
            # No other process may rely on memory of this one, nor on its temporary files.
            return _arrived, (self.read(),)
        return _arrived_object, (os.fspath(self._folder.path), *self.name)


def _arrived(data: bytes) -> FileContent:
    """Return a content that came from another process."""
    content = FileContent(data)
    return content if content.size <= LARGEST_IN_MEMORY else content.moved_to(scratch_folder())


def _arrived_object(folder: str, digest: str, size: int) -> FileContent:
    return FileContent.of_object(folder_at(Path(folder)), ObjectName(digest, size))


class _HasContent(Protocol):
    @property
    def content(self) -> FileContent: ...


class ContentAccess:
    """The properties of a named tuple that has a field `content`."""

    __slots__ = ()

    @property
    def data(self: _HasContent) -> bytes:
        """The whole content, in memory. Of a large artifact, `open()` reads a part at a time.

        Raises:
            ObjectError: The file with the content is missing or changed.
        """
        return self.content.read()

    def open(self: _HasContent) -> BinaryIO:
        """Open the content for reading.

        The first use of `open` or `path` in a process checks the digest of a stored file. This reads the whole file and
        takes one or two seconds for a gigabyte. The file is read again if its size or its times have changed.

        Returns:
            A binary file.

        Raises:
            ObjectError: The file with the content is missing or changed.

        Example:
            >>> artifacts = FrozenContext().artifacts
            >>> artifacts.add("log.txt", b"epoch 1")
            >>> with artifacts["log.txt"].open() as file:
            ...     file.read(5)
            b'epoch'
        """
        return self.content.open()

    @property
    def path(self: _HasContent) -> Path:
        """The path of a file with the content, to be read only. Its name is the digest, and has no suffix.

        The first use in a process checks the digest of a stored file, as for `open`.

        If the content is larger than 1 MiB, this is the stored file itself. Else it is a temporary copy, which the end
        of the process removes.

        Raises:
            ObjectError: The file with the content is missing or changed.
        """
        return self.content.path()

    @property
    def size(self: _HasContent) -> int:
        """The size in bytes."""
        return self.content.size

    @property
    def digest(self: _HasContent) -> str:
        """The digest of the content, SHA-256, in hexadecimal."""
        return self.content.digest
