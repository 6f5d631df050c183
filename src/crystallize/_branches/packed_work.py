"""The work of a branch, and the form in which it is sent to the parent.

Large values are apart from the pickles: in a file, if the branch and its parent share a folder.
"""

import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from .._base.buffer_file import BufferFile, write_buffers
from .._core.artifacts import Artifact
from .._core.buffer_pickle import SplitPickle
from .._core.metrics import Metric
from .._core.packed_columns import Block
from .._core.provenance import StepRecord
from .._core.stored_value import RawValue, StoredValue
from ..errors import TravelError
from ..events import TaskInputs
from .pickling import failure_to_send, loaded, split

LARGE: Final = 1 << 18
"""Bytes of the buffers of a work from which they are sent in a file: less is faster in the pickle."""


class CalledTask(NamedTuple):
    """The facts about the call of a task that a sink receives with the start of its step."""

    arguments: str
    """The digest of its arguments."""
    inputs: TaskInputs | None
    result: Any = None
    """Its return value in the form in which the file of an earlier run has it; None if it is known otherwise."""
    reason: str | None = None
    """Why the work was not taken over from an earlier run."""


class Work(NamedTuple):
    """All work of a branch."""

    values: dict[str, RawValue]
    points: dict[str, tuple[Block, ...]]
    """The packed points by metric."""
    undeclared: dict[str, Metric[Any, Any] | None]
    """The metrics that were used, if there is no schema of metrics."""
    names: list[str]
    """The branch, then its steps in the order of opening. Points refer to them by number, counted from 1."""
    steps: tuple[StepRecord, ...]
    """The records in the order in which the steps ended. The last is the record of the branch."""
    artifacts: tuple[Artifact, ...]
    result: Any
    """The return value of its task."""
    item: str | None
    """The digest of the task's item, if there is one."""
    tasks: Mapping[str, CalledTask] = MappingProxyType({})
    """The call of the task of a `fan_out`, and those of `ctx.run` if the work was done in an earlier run."""
    is_frozen: bool = True
    """Whether the values are frozen. They are not if they came from another process: nobody else has them then, and
    their buffers are immutable."""

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Return the parts of the work, each with its name for error messages."""
        yield "what its task returned", self.result
        for key, raw in self.values.items():
            yield f"key {key!r}", StoredValue._make(raw).read()
        for name, blocks in self.points.items():
            yield f"metric {name!r}", blocks
        for artifact in self.artifacts:
            yield f"artifact {artifact.name!r}", artifact


class PackedWork(NamedTuple):
    """The work of a branch as bytes, for another process."""

    rest: bytes
    """The pickled work without its values."""
    values: bytes
    """The pickled values, on their own: the result of the task shares no objects with them."""
    buffers: tuple[bytes, ...]
    """The buffers of both, if they are small."""
    file: BufferFile | None
    """The file with the buffers, if they are large."""
    places: tuple[slice, ...]
    """Their places in the file."""
    writable: tuple[bool | None, ...]
    """For each buffer, whether its memory was writable; None for those of the values, which come first."""

    def unpacked(self, branch: str) -> Work:
        """Return the work; raise TravelError if it cannot be unpickled in this process, or if its file is gone."""
        buffers = self.buffers if self.file is None else self._read(self.file, branch)
        marked = list(zip(buffers, self.writable, strict=True)) if buffers else []
        shown = [bytearray(part) if is_free else part for part, is_free in marked if is_free is not None]
        work: Work = loaded(self.rest, branch, "its work", shown)
        if not self.values:
            return work
        own = [part for part, is_free in marked if is_free is None]
        return work._replace(values=loaded(self.values, branch, "its work", own))

    def _read(self, file: BufferFile, branch: str) -> Sequence[bytes]:
        try:
            whole = file.opened()
        except FileNotFoundError as error:
            reason = "is gone; merge its delta before fan_out ends, or the `with` block of shared_base"
            raise TravelError(branch, f"the file with its large values, {file.path}, {reason}") from error
        except (OSError, ValueError) as error:
            reason = f"the file with its large values, {file.path}, cannot be read ({error}); run the branch again"
            raise TravelError(branch, reason) from error
        # Not as views: the disk would be full of files that have no name any more, as long as the values live.
        return [bytes(whole[place]) for place in self.places]

    def discard(self) -> None:
        """Remove the file, if there is one."""
        if self.file is not None:
            Path(self.file.path).unlink(missing_ok=True)


def pack_work(work: Work, branch: str, folder: str | None) -> PackedWork:
    """Pack the work of a branch; if its values are large, into a file in the folder, if there is one."""
    stored = {key: StoredValue._make(raw) for key, raw in work.values.items()}
    read: dict[str, RawValue] = {key: (kept.read(), None, kept.step, kept.is_input) for key, kept in stored.items()}
    sent = Work({}, *work[1:-2], {}, False)
    try:
        content = _small_pickle(sent)
        if content is not None and not read:
            return PackedWork(content, b"", (), None, (), ())
        rest = split(sent) if content is None else SplitPickle([content], [])
        values = split(read) if read else SplitPickle([], [])
    except Exception as error:  # a type's own pickling may raise anything
        raise failure_to_send(branch, work.parts, error) from error
    views = [*values.views, *rest.views]
    writable = (*[None] * len(values.buffers), *(not buffer.raw().readonly for buffer in rest.buffers))
    parts = (b"".join(rest.chunks), b"".join(values.chunks))
    if folder is not None and sum(view.nbytes for view in views) >= LARGE:
        # If the disk is full, or the parent does not live any more, the values are sent in the pickle.
        with suppress(OSError):
            file, places = write_buffers(Path(folder) / f"{os.urandom(8).hex()}.delta", views)
            return PackedWork(*parts, (), file, tuple(places), writable)
    return PackedWork(*parts, tuple(view.tobytes() for view in views), None, (), writable)


def _small_pickle(value: Any) -> bytes | None:
    """Return the pickle of a value, in a third of the time of `split`; None if that is large, or fails."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        content = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    except Exception:  # as above
        return None
    return content if not buffers and len(content) < LARGE else None
