"""Artifacts: files that a run makes, as bytes under a name."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from unicodedata import normalize
from urllib.parse import unquote

from .._base.table import Table
from .._base.text import counted, nearest, short
from ..errors import ContextMutationError, InvalidArtifactError, UnknownArtifactError
from ..events import ArtifactAdded
from .event_dispatch import EventDispatcher
from .ordered_log import Parts, ordered_keys
from .point_log import StepToken

__all__ = ["Artifact", "ArtifactLog", "unfit_name"]


class Artifact(NamedTuple):
    """A file that a run made.

    Example:
        >>> ctx = FrozenContext()
        >>> ctx.artifacts.add("curve.svg", b"<svg/>")
        >>> ctx.artifacts["curve.svg"]
        Artifact(name='curve.svg', data=b'<svg/>', step=None)
    """

    name: str
    data: bytes
    step: str | None
    """The step that made it; None outside any step."""


class ArtifactLog:
    """All the artifacts of a run, in the order in which they were added. A name is given once.

    Example:
        >>> artifacts = FrozenContext().artifacts
        >>> artifacts.add("curve.svg", b"<svg/>")
        >>> "curve.svg" in artifacts, artifacts["curve.svg"].data, [one.name for one in artifacts]
        (True, b'<svg/>', ['curve.svg'])
    """

    __slots__ = ("__weakref__", "_dispatcher", "_found", "_parts", "_scope")

    def __init__(self, *, dispatcher: EventDispatcher | None = None) -> None:
        """Make a place for artifacts.

        Args:
            dispatcher: Whom to tell; a context passes its own.
        """
        self._found: dict[str, Artifact] = {}
        self._parts: Parts[tuple[str, ...]] = Parts()
        """What branches brought, by the names under which it is found."""
        self._dispatcher = dispatcher or EventDispatcher()
        self._scope = StepToken()

    def _bound(self, scope: StepToken) -> "ArtifactLog":
        """A view of the same artifacts, for a step."""
        view = ArtifactLog(dispatcher=self._dispatcher)
        view._found = self._found
        view._parts = self._parts
        view._scope = scope
        return view

    def add(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Add an artifact.

        Args:
            name: A file's name and never a path, of at most 255 bytes, such as any common system allows.
            data: What is in it: bytes, or what can be seen as bytes.

        Raises:
            ContextMutationError: The name is taken.
            InvalidArtifactError: The name could not be a file's, or the data are not bytes. Nothing is added.
            StepClosedError: The step has ended.
        """
        self._scope.check_open()
        plain = _file_name(name)
        artifact = Artifact(plain, _content(plain, data), self._scope.step)
        with self._dispatcher.lock:
            taken = self._found.get(_folded(plain))
            if taken is not None:
                raise ContextMutationError(plain, _taken(plain, taken))
            self._found[_folded(plain)] = artifact
            if self._dispatcher.sinks:
                self._dispatcher.emit(ArtifactAdded(*artifact))

    def clear(self) -> None:
        """Forget all artifacts and their names. What a sink was told it keeps."""
        self._scope.check_open()
        with self._dispatcher.lock:
            self._found.clear()
            self._parts.clear()

    def _restore(self, artifacts: Iterable[Artifact]) -> None:
        """Take in artifacts that were added before, in another process."""
        self._found |= {_folded(artifact.name): artifact for artifact in artifacts}

    def _brought(self, number: int) -> tuple[Artifact, ...]:
        """Return what a branch added."""
        return tuple(self._found[name] for name in self._parts.of(number) or ())

    def _give_back(self, number: int, artifacts: tuple[Artifact, ...]) -> None:
        """Undo what `_bring` has done."""
        for artifact in artifacts:
            if self._found.get(_folded(artifact.name)) is artifact:
                del self._found[_folded(artifact.name)]
        self._parts.drop(number)

    @property
    def _own(self) -> int:
        """How many there are without those of branches."""
        return len(self._found) - self._parts.count

    def _clash(self, artifact: Artifact) -> Artifact | None:
        """Return the artifact that has the name of another one already."""
        return self._found.get(_folded(artifact.name))

    def _bring(self, number: int, place: int, artifacts: tuple[Artifact, ...]) -> None:
        """Take in what a branch added."""
        found = {_folded(artifact.name): artifact for artifact in artifacts}
        self._found |= found
        self._parts.add(number, place, tuple(found), len(found))

    def _copy(self, dispatcher: EventDispatcher) -> "ArtifactLog":
        """A log of its own with the same artifacts, for a copy of their context."""
        copied = ArtifactLog(dispatcher=dispatcher)
        copied._found |= self._found
        copied._parts = self._parts.copy()
        return copied

    def __copy__(self) -> "ArtifactLog":
        return self._copy(EventDispatcher())

    def __deepcopy__(self, memo: object) -> "ArtifactLog":
        return self._copy(EventDispatcher())

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored_log, ([*self._found.values()], self._parts)

    def __getitem__(self, name: str) -> Artifact:
        """Return an artifact.

        Raises:
            UnknownArtifactError: There is none of that name.
        """
        found = self._find(name)
        if found is None:
            names = [artifact.name for artifact in self]
            raise UnknownArtifactError(short(name), nearest(name, names) if isinstance(name, str) else None)
        return found

    def _find(self, name: object) -> Artifact | None:
        if not isinstance(name, str):
            return None
        plain = str.__str__(name)
        found = self._found.get(_folded(plain))
        return found if found is not None and found.name == plain else None

    def __iter__(self) -> Iterator[Artifact]:
        """Iterate over the artifacts in the order of adding, those of branches where these were forked."""
        found = self._found.copy()
        return iter([found[name] for name in ordered_keys(found, self._parts)])

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, name: object) -> bool:
        """Whether there is an artifact of a name."""
        return self._find(name) is not None

    def __repr__(self) -> str:
        files = (f"{one.name}: {counted(len(one.data), 'byte')}" for one in self)
        return f"ArtifactLog({', '.join(files) or 'nothing'})"

    def _repr_html_(self) -> str:
        """Return a table of the artifacts, without what is in them, for notebooks."""
        from .._base.html import as_html  # only notebooks need it

        return as_html(self._table())

    def _table(self) -> Table:
        def row(one: Artifact) -> tuple[str | None, ...]:
            return one.name, counted(len(one.data), "byte"), one.step

        return Table.of(f"Artifacts: {counted(len(self), 'file')}", ("artifact", "size", "step"), [*self], row)

    def _ipython_key_completions_(self) -> list[str]:
        return [artifact.name for artifact in self]


def _restored_log(artifacts: list[Artifact], parts: Parts[tuple[str, ...]]) -> ArtifactLog:
    log = ArtifactLog()
    log._restore(artifacts)
    log._parts = parts
    return log


def _content(name: str, data: object) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        try:
            return bytes(data)
        except ValueError as error:
            raise InvalidArtifactError(repr(name), f"its data cannot be read ({error})") from error
    raise InvalidArtifactError(repr(name), f"its data should be bytes, got {short(data)} ({type(data).__name__})")


def _folded(name: str) -> str:
    """Return what two names have in common that are one file on some system."""
    return normalize("NFC", normalize("NFC", name).casefold())


def _taken(name: str, by: Artifact) -> str:
    step = f" by step {by.step!r}" if by.step else ""
    if name == by.name:
        return f"Cannot mutate existing artifact: {name!r} was added{step}; an artifact's name is given once"
    return f"Cannot mutate existing artifact: {name!r} is one file with {by.name!r} where case does not count"


_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\..*)?", re.IGNORECASE)
_FORBIDDEN = frozenset('/\\:*?"<>|')


def _file_name(name: object) -> str:
    """Return a name that is a file's on every common system.

    Raises:
        InvalidArtifactError: It is not.
    """
    if not isinstance(name, str):
        raise InvalidArtifactError(short(name), f"its name should be a str, got {type(name).__name__}")
    plain = str.__str__(name)
    if reason := unfit_name(plain):
        raise InvalidArtifactError(short(plain), reason)
    return plain


def unfit_name(name: str) -> str | None:
    """Say why a name cannot be a file's."""
    if not name or not name.isprintable():
        return "its name should be one or more printable characters"
    if len(name.encode()) > 255:
        return f"its name should have at most 255 bytes, and has {len(name.encode())}"
    if set(name) & _FORBIDDEN:
        return "its name is a file's, never a path, and has none of / \\ : * ? \" < > |"
    if name != name.strip(" ") or name.endswith("."):
        return "its name should not begin or end with a space, nor end with a dot"
    if _RESERVED.fullmatch(name):
        return "its name is reserved on Windows"
    if (decoded := unquote(name)) != name and (reason := unfit_name(decoded)):
        return f"{reason}; decoded it is {decoded!r}"
    return None
