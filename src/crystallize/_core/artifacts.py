"""Artifacts: files that a run makes, as bytes under a name."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Self
from unicodedata import normalize

from .._base.file_content import LARGEST_IN_MEMORY, ContentAccess, FileContent
from .._base.object_folder import ObjectFolder
from .._base.scratch_folder import scratch_folder
from .._base.table import Table, TableDisplay
from .._base.text import counted, nearest, short
from ..errors import ContextMutationError, InvalidArtifactError, UnknownArtifactError
from ..events import ArtifactAdded
from .event_dispatch import EventDispatcher
from .file_names import file_name, folded, unfit_name
from .ordered_log import OrderedKeys, Section
from .provenance import artifact_node
from .size_limit import check_artifact_size
from .source_file import opened_file, size_of_file
from .steps import StepNotes, StepToken, repetition_remark


class _ArtifactFields(NamedTuple):
    name: str
    content: FileContent
    step: str | None
    """The step that made it; None outside any step."""


class Artifact(_ArtifactFields, ContentAccess):
    """A file that a run made.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.artifacts.add("curve.svg", b"<svg/>")
        >>> ctx.artifacts["curve.svg"]
        Artifact(name='curve.svg', content=<6 bytes>, step=None)
        >>> ctx.artifacts["curve.svg"].data, ctx.artifacts["curve.svg"].size
        (b'<svg/>', 6)
    """

    __slots__ = ()

    def __new__(cls, name: str, data: bytes | FileContent, step: str | None) -> Self:
        """Make an artifact; contexts do."""
        return super().__new__(cls, name, FileContent(data) if isinstance(data, bytes) else data, step)


class ArtifactStore:
    """All artifacts of one context. A caller that changes it holds the dispatcher's lock over the change and its event.

    Attributes:
        found: The artifacts by folded name. Names that are the same file on some system fold to the same text.
        order: The order of these names.
        dispatcher: Emits the events.
        objects: The folder of contents that are too large for memory; None for a temporary one.
    """

    __slots__ = ("_by_step", "dispatcher", "found", "objects", "order")

    def __init__(
        self,
        artifacts: Iterable[Artifact] = (),
        sections: dict[int, Section] | None = None,
        dispatcher: EventDispatcher | None = None,
    ) -> None:
        self.found: dict[str, Artifact] = {folded(artifact.name): artifact for artifact in artifacts}
        self.order: OrderedKeys = OrderedKeys(self.found, sections)
        self._by_step: dict[str | None, list[Artifact]] = {}
        """The artifacts that were added here, so that the end of a step does not go through all of them."""
        self.dispatcher: EventDispatcher = dispatcher or EventDispatcher()
        self.objects: ObjectFolder | None = None

    def stored(self, content: FileContent) -> FileContent:
        """Return a content that another process or a caller has given, as this store keeps it."""
        is_large = content.size > LARGEST_IN_MEMORY
        return content.moved_to(self.objects) if is_large and self.objects is not None else content

    def kept(self, artifact: Artifact) -> Artifact:
        """Return an artifact that was made elsewhere, with its content as this store keeps it."""
        return Artifact(artifact.name, self.stored(artifact.content), artifact.step)

    def stored_file(self, name: str, path: Path) -> FileContent:
        """Return the content of a file as this store keeps it: small ones in memory, large ones as objects."""
        with opened_file(name, path) as file:
            if file.size <= LARGEST_IN_MEMORY:
                return FileContent(b"".join(file.blocks()))
            folder = scratch_folder() if self.objects is None else self.objects
            return FileContent.of_object(folder, folder.put(file.blocks()))

    def add(self, artifact: Artifact) -> None:
        """Add an artifact and emit its event; raise ContextMutationError if its name is taken."""
        name, effect = folded(artifact.name), partial(self._claim, artifact)
        if self.dispatcher.sinks:
            check_artifact_size(self.dispatcher.sinks, artifact.name, artifact.size)
            event = ArtifactAdded(*artifact)
            self.dispatcher.commit(effect, lambda: self.found.get(name) is artifact, lambda: (event,))
        else:
            self.dispatcher.lock.run(effect)

    def check_free(self, name: str, step: str | None) -> None:
        """Raise ContextMutationError if a name is taken, before its content is read."""
        if taken := self.found.get(folded(name)):
            raise ContextMutationError(name, _taken(name, taken, step))

    def _claim(self, artifact: Artifact) -> None:
        made = self._by_step.setdefault(artifact.step, [])
        made.append(artifact)
        taken = self.found.setdefault(folded(artifact.name), artifact)
        if taken is not artifact:
            # Not by `remove`: the other one may be equal, and of the same step.
            made[:] = [other for other in made if other is not artifact]
            raise ContextMutationError(artifact.name, _taken(artifact.name, taken, artifact.step))

    def added_by(self, step: str | None) -> tuple[str, ...]:
        """Return the names of the artifacts that a step of this context has added."""
        # If Ctrl-C came between the two changes of `add`, an artifact is not there.
        added = self._by_step.get(step)
        return tuple(made.name for made in added if self.clash(made) is made) if added else ()

    def clash(self, artifact: Artifact) -> Artifact | None:
        """Return the artifact that already has this artifact's name, or None."""
        return self.found.get(folded(artifact.name))

    def insert(self, rank: int, mark: int, artifacts: Sequence[Artifact], undo: ExitStack | None = None) -> None:
        """Insert artifacts that were added elsewhere; see `OrderedLog.insert`."""
        if not artifacts:
            return
        added = {folded(artifact.name): artifact for artifact in artifacts}
        if undo is not None:
            undo.callback(self._remove, added)
        self.found |= added
        self.order.insert(rank, mark, tuple(added), undo)

    def _remove(self, added: dict[str, Artifact]) -> None:
        for name, artifact in added.items():
            if self.found.get(name) is artifact:
                del self.found[name]

    def in_order(self) -> list[Artifact]:
        """Return the artifacts in order."""
        found = self.found.copy()
        return [found[name] for name in OrderedKeys(found, self.order.copy_sections())]

    def clear(self) -> None:
        """Delete all artifacts."""
        self.dispatcher.lock.run(self._clear)

    def _clear(self) -> None:
        self.found.clear()
        self.order.clear()
        self._by_step.clear()

    def copy(self, dispatcher: EventDispatcher | None = None) -> "ArtifactStore":
        """Return an independent store with the same artifacts."""
        return ArtifactStore([*self.found.values()], self.order.copy_sections(), dispatcher)

    def __reduce__(self) -> tuple[Any, ...]:
        return ArtifactStore, ([*self.found.values()], self.order.copy_sections())


class ArtifactLog(TableDisplay):
    """All the artifacts of a run, in the order in which they were added. Each name can be used once.

    Example:
        >>> artifacts = FrozenContext().artifacts
        >>> artifacts.add("curve.svg", b"<svg/>")
        >>> "curve.svg" in artifacts, artifacts["curve.svg"].data, [artifact.name for artifact in artifacts]
        (True, b'<svg/>', ['curve.svg'])
    """

    __slots__ = ("__weakref__", "_notes", "_store", "_token")

    def __init__(self) -> None:
        self._store = ArtifactStore()
        self._token = StepToken()
        self._notes: tuple[StepNotes, ...] = ()

    def add(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Add an artifact.

        Args:
            name: A file name without a path: at most 255 bytes, and valid on Linux, macOS and Windows.
            data: The content. `add_file` takes it from a file, a part at a time.

        Raises:
            ContextMutationError: The name is taken.
            InvalidArtifactError: The name is not a valid file name, or the data are not bytes. Nothing is added.
            ObjectError: The content is larger than 1 MiB, and cannot be stored beside the file of the run.
            StepClosedError: The step has ended.
        """
        self._token.check_open()
        plain = file_name(name)
        self._check_free(plain)
        content = FileContent(_content(plain, data))
        check_artifact_size(self._store.dispatcher.sinks, plain, content.size)
        self._add(plain, self._store.stored(content))

    def add_file(self, path: str | PathLike[str], name: str | None = None) -> None:
        """Add a file as an artifact, a part at a time, so that it may be larger than the memory.

        If the run is written to a file, an artifact of more than 1 MiB is stored in the folder `objects` beside the
        file. All runs of the folder share it, and equal files are stored once. If not, a private copy is kept until the
        process ends.

        Args:
            path: The file. It may be changed or deleted afterwards.
            name: The name of the artifact, as for `add`; by default the name of the file.

        Raises:
            ContextMutationError: The name is taken.
            InvalidArtifactError: The name is not a valid file name; or there is no such file, it is a folder, cannot be
                read, or was changed while it was read. Nothing is added.
            ObjectError: It is larger than 1 MiB, and cannot be stored.
            StepClosedError: The step has ended.

        Example:
            >>> from pathlib import Path
            >>> _ = Path("model.bin").write_bytes(b"weights")
            >>> ctx = FrozenContext()
            >>> ctx.artifacts.add_file("model.bin")
            >>> ctx.artifacts["model.bin"].data
            b'weights'
        """
        self._token.check_open()
        source = _source(path, name)
        plain = file_name(source.name if name is None else name)
        self._check_free(plain)
        check_artifact_size(self._store.dispatcher.sinks, plain, size_of_file(plain, source))
        self._add(plain, self._store.stored_file(plain, source))

    def _check_free(self, name: str) -> None:
        """Raise ContextMutationError if a name is taken. A step that catches the error has seen that."""
        try:
            self._store.check_free(name, self._token.step)
        except ContextMutationError:
            for notes in self._notes:
                notes.present[artifact_node(name)] = None
            raise

    def _add(self, name: str, content: FileContent) -> None:
        # Checked again, since the step may have ended while the content was stored.
        self._token.check_open()
        self._store.add(Artifact(name, content, self._token.step))

    def clear(self) -> None:
        """Delete all artifacts, and free their names. Sinks keep the artifacts that they have received."""
        self._token.check_open()
        self._store.clear()

    def __copy__(self) -> "ArtifactLog":
        return artifacts_view(self._store.copy())

    def __deepcopy__(self, memo: object) -> "ArtifactLog":
        return self.__copy__()

    def __reduce__(self) -> tuple[Any, ...]:
        return artifacts_view, (self._store.copy(),)

    def __getitem__(self, name: str) -> Artifact:
        """Return an artifact. In a step, it is on the step's record then that it read the artifact.

        Raises:
            UnknownArtifactError: There is no artifact of that name.
            StepClosedError: The step has ended.
        """
        self._token.check_open()
        found = self._find(name)
        if found is None:
            self._note_absent(name)
            names = [artifact.name for artifact in self._store.in_order()]
            raise UnknownArtifactError(short(name), nearest(name, names) if isinstance(name, str) else None)
        self._note_read(found)
        return found

    def _find(self, name: object) -> Artifact | None:
        if not isinstance(name, str):
            return None
        plain = str.__str__(name)
        found = self._store.found.get(folded(plain))
        return found if found is not None and found.name == plain else None

    def _note_read(self, found: Artifact) -> None:
        for notes in self._notes:
            notes.artifact_reads[found.name] = None

    def _note_absent(self, name: object) -> None:
        # A text that no artifact can have is no name that was missed.
        if self._notes and isinstance(name, str) and unfit_name(plain := str.__str__(name)) is None:
            for notes in self._notes:
                notes.absent_artifacts[plain] = None

    def __iter__(self) -> Iterator[Artifact]:
        """Iterate over the artifacts in order. In a step, each is on the step's record as read."""
        self._token.check_open()
        self._note_blind()
        for artifact in self._store.in_order():
            self._note_read(artifact)
            yield artifact

    def _note_blind(self) -> None:
        for notes in self._notes:
            notes.blind["the set of artifacts"] = None

    def __len__(self) -> int:
        self._note_blind()
        return len(self._store.found)

    def __contains__(self, name: object) -> bool:
        """Whether there is an artifact of this name. If not, it is on the step's record that it looked for one."""
        self._token.check_open()
        found = self._find(name)
        if found is None:
            self._note_absent(name)
        else:
            for notes in self._notes:
                notes.present[artifact_node(found.name)] = None
        return found is not None

    def __repr__(self) -> str:
        self._note_blind()
        files = (f"{artifact.name}: {counted(artifact.size, 'byte')}" for artifact in self._store.in_order())
        return f"ArtifactLog({', '.join(files) or 'nothing'})"

    def __notebook_tables__(self) -> tuple[Table, ...]:
        from .notebook import artifacts_table

        self._note_blind()
        return (artifacts_table(self._store.in_order()),)

    def _ipython_key_completions_(self) -> list[str]:
        return [artifact.name for artifact in self._store.in_order()]


def artifacts_view(
    store: ArtifactStore, token: StepToken | None = None, notes: tuple[StepNotes, ...] = ()
) -> ArtifactLog:
    """Return a view of a store for a step, or outside any step; `notes` receive the names that are read."""
    view = ArtifactLog.__new__(ArtifactLog)
    view._store = store
    view._token = token or StepToken()
    view._notes = notes
    return view


def _source(path: object, name: str | None) -> Path:
    if not isinstance(path, str | PathLike):
        reason = f"its path should be a str or a path, got {short(path)} ({type(path).__name__}); add takes bytes"
        raise InvalidArtifactError(short(path if name is None else name), reason)
    source, given = Path(path), os.fspath(path)
    if not given or (name is None and not source.name):
        reason = f"its path {given!r} is a folder, not a file" if given else "its path is empty"
        raise InvalidArtifactError(short(given if name is None else name), f"{reason}; give the path of a file")
    return source


def _content(name: str, data: object) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        try:
            return bytes(data)
        except ValueError as error:
            raise InvalidArtifactError(repr(name), f"its data cannot be read ({error})") from error
    raise InvalidArtifactError(repr(name), f"its data should be bytes, got {short(data)} ({type(data).__name__})")


def _taken(name: str, by: Artifact, step: str | None) -> str:
    if name == by.name:
        how = f" by step {by.step!r}" if by.step else ""
        remark = repetition_remark(step, by.step) or "; an artifact's name is given once"
        return f"Cannot mutate existing artifact: {name!r} was added{how}{remark}"
    if normalize("NFC", name) == normalize("NFC", by.name):
        # They look the same if they are printed.
        where = f"{name!a} is one file with {by.name!a} where Unicode is normalized, as on macOS"
    else:
        where = f"{name!r} is one file with {by.name!r} where case does not count"
    return f"Cannot mutate existing artifact: {where}"
