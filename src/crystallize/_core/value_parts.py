"""The parts of a stored value that are no JSON: the bytes of arrays, frames, tensors and images."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from .._base.file_content import LARGEST_IN_MEMORY
from .._base.object_folder import Buffer, ObjectFolder, ObjectName, name_of

LARGE: Final = LARGEST_IN_MEMORY
"""The size in bytes above which a part is not stored in a row of a database, but in a file of its own."""


@runtime_checkable
class LargePart(Protocol):
    """A large part, in memory or in a file."""

    @property
    def size(self) -> int:
        """Its length in bytes."""
        ...

    @property
    def digest(self) -> str:
        """The digest by which an `ObjectFolder` names it."""
        ...

    def content(self) -> Buffer:
        """Return its bytes."""
        ...


Part: TypeAlias = bytes | LargePart
"""A part of a value; bytes up to `LARGE`."""


class PartInMemory:
    """A large part that is in memory, in pieces that nobody copies."""

    def __init__(self, chunks: Sequence[Buffer], size: int) -> None:
        self.chunks = chunks
        self.size = size

    @property
    def digest(self) -> str:
        """The digest by which an `ObjectFolder` names it."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        # Not public, since checkers do not take a cached property for the property of a protocol.
        return name_of(self.chunks).digest

    def content(self) -> Buffer:
        """Return its bytes, which are copied if they are in several pieces."""
        return self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)


class StoredPart:
    """A large part that is an object in a folder.

    Attributes:
        name: The name of the object.
    """

    def __init__(self, folder: ObjectFolder, name: ObjectName) -> None:
        self.folder = folder
        self.name = name

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.name.size

    @property
    def digest(self) -> str:
        """The digest by which the folder names it."""
        return self.name.digest


class MappedPart(StoredPart):
    """A large part whose object this process has written and mapped into memory."""

    def __init__(self, folder: ObjectFolder, name: ObjectName, memory: memoryview) -> None:
        super().__init__(folder, name)
        self._memory = memory

    def content(self) -> Buffer:
        """Return its bytes, which are read-only."""
        return self._memory


class Blob:
    """The bytes into which a codec turns a value, or a part of one."""

    def __init__(self, *chunks: Buffer) -> None:
        self.chunks = chunks

    def part(self) -> Part:
        """Return the part that a file stores."""
        size = sum(memoryview(chunk).nbytes for chunk in self.chunks)
        if size > LARGE:
            return PartInMemory(self.chunks, size)
        return b"".join(self.chunks)


class PartContent:
    """The bytes of a stored part, which are read when they are asked for.

    Attributes:
        parsed: The results of a codec that parsed them, for the other values in the same part.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self.parsed: Any = None

    @cached_property
    def buffer(self) -> memoryview:
        """The bytes."""
        return memoryview(content_of(self._part))

    @property
    def is_mapped(self) -> bool:
        """Whether the bytes lie in a mapped file, so that a value may lie in them, too."""
        return isinstance(self._part, MappedPart)

    def as_bytes(self) -> bytes:
        """Return the bytes as such, which are copied if they are in memory of another kind."""
        held = self.buffer.obj
        # The buffer may be a piece of the bytes.
        return held if isinstance(held, bytes) and len(held) == self.buffer.nbytes else self.buffer.tobytes()


def content_of(part: Part) -> Buffer:
    """Return the bytes of a part."""
    return part if isinstance(part, bytes) else part.content()


def contents_for_digest(parts: Iterable[Part]) -> list[bytes]:
    """Return the bytes by which parts count in a digest; a large part counts by its own digest."""
    return [part if isinstance(part, bytes) else b"object:" + part.digest.encode() for part in parts]
