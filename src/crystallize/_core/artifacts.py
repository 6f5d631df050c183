"""Artifacts: files that a run makes, as bytes under a name."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple
from unicodedata import normalize
from urllib.parse import unquote

from .._base.table import Table, TableDisplay
from .._base.text import counted, nearest, short
from ..errors import ContextMutationError, InvalidArtifactError, UnknownArtifactError
from ..events import ArtifactAdded
from .event_dispatch import EventDispatcher
from .ordered_log import OrderedKeys, Section
from .size_limit import check_artifact_size
from .steps import StepToken


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


class ArtifactStore:
    """All artifacts of one context. A caller that changes it holds the dispatcher's lock over the change and its event.

    Attributes:
        found: The artifacts by folded name. Names that are the same file on some system fold to the same text.
        order: The order of these names.
        dispatcher: Emits the events.
    """

    __slots__ = ("_by_step", "dispatcher", "found", "order")

    def __init__(
        self,
        artifacts: Iterable[Artifact] = (),
        sections: dict[int, Section] | None = None,
        dispatcher: EventDispatcher | None = None,
    ) -> None:
        self.found: dict[str, Artifact] = {_folded(artifact.name): artifact for artifact in artifacts}
        self.order = OrderedKeys(self.found, sections)
        self._by_step: dict[str | None, list[Artifact]] = {}
        """The artifacts that were added here, so that the end of a step does not go through all of them."""
        self.dispatcher: EventDispatcher = dispatcher or EventDispatcher()

    def add(self, artifact: Artifact) -> None:
        """Add an artifact and emit its event; raise ContextMutationError if its name is taken."""
        name, effect = _folded(artifact.name), partial(self._claim, artifact)
        if self.dispatcher.sinks:
            check_artifact_size(self.dispatcher.sinks, artifact.name, len(artifact.data))
            event = ArtifactAdded(*artifact)
            self.dispatcher.commit(effect, lambda: self.found.get(name) is artifact, lambda: (event,))
        else:
            self.dispatcher.lock.run(effect)

    def _claim(self, artifact: Artifact) -> None:
        made = self._by_step.setdefault(artifact.step, [])
        made.append(artifact)
        taken = self.found.setdefault(_folded(artifact.name), artifact)
        if taken is not artifact:
            made.remove(artifact)
            raise ContextMutationError(artifact.name, _taken(artifact.name, taken))

    def added_by(self, step: str | None) -> tuple[str, ...]:
        """Return the names of the artifacts that a step of this context has added."""
        # If Ctrl-C came between the two changes of `add`, an artifact is not there.
        return tuple(made.name for made in self._by_step.get(step, ()) if self.clash(made) is made)

    def clash(self, artifact: Artifact) -> Artifact | None:
        """Return the artifact that already has this artifact's name, or None."""
        return self.found.get(_folded(artifact.name))

    def insert(self, rank: int, mark: int, artifacts: Sequence[Artifact], undo: ExitStack | None = None) -> None:
        """Insert artifacts that were added elsewhere; see `OrderedLog.insert`."""
        if not artifacts:
            return
        added = {_folded(artifact.name): artifact for artifact in artifacts}
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

    __slots__ = ("__weakref__", "_store", "_token")

    def __init__(self) -> None:
        self._store = ArtifactStore()
        self._token = StepToken()

    def add(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Add an artifact.

        Args:
            name: A file name without a path: at most 255 bytes, and valid on Linux, macOS and Windows.
            data: The content.

        Raises:
            ContextMutationError: The name is taken.
            InvalidArtifactError: The name is not a valid file name, or the data are not bytes. Nothing is added.
            StepClosedError: The step has ended.
        """
        self._token.check_open()
        plain = _file_name(name)
        self._store.add(Artifact(plain, _content(plain, data), self._token.step))

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
        """Return an artifact.

        Raises:
            UnknownArtifactError: There is no artifact of that name.
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
        found = self._store.found.get(_folded(plain))
        return found if found is not None and found.name == plain else None

    def __iter__(self) -> Iterator[Artifact]:
        """Iterate over the artifacts in order."""
        return iter(self._store.in_order())

    def __len__(self) -> int:
        return len(self._store.found)

    def __contains__(self, name: object) -> bool:
        """Whether there is an artifact of this name."""
        return self._find(name) is not None

    def __repr__(self) -> str:
        files = (f"{artifact.name}: {counted(len(artifact.data), 'byte')}" for artifact in self)
        return f"ArtifactLog({', '.join(files) or 'nothing'})"

    def __notebook_tables__(self) -> tuple[Table, ...]:
        from .notebook import artifacts_table

        return (artifacts_table(self),)

    def _ipython_key_completions_(self) -> list[str]:
        return [artifact.name for artifact in self]


def artifacts_view(store: ArtifactStore, token: StepToken | None = None) -> ArtifactLog:
    """Return a view of a store for a step, or for the context outside any step."""
    view = ArtifactLog.__new__(ArtifactLog)
    view._store = store
    view._token = token or StepToken()
    return view


def _content(name: str, data: object) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        try:
            return bytes(data)
        except ValueError as error:
            raise InvalidArtifactError(repr(name), f"its data cannot be read ({error})") from error
    raise InvalidArtifactError(repr(name), f"its data should be bytes, got {short(data)} ({type(data).__name__})")


def _folded(name: str) -> str:
    """Return a form of a name that is equal for names that are the same file on some system."""
    return normalize("NFC", normalize("NFC", name).casefold())


def _taken(name: str, by: Artifact) -> str:
    step = f" by step {by.step!r}" if by.step else ""
    if name == by.name:
        return f"Cannot mutate existing artifact: {name!r} was added{step}; an artifact's name is given once"
    return f"Cannot mutate existing artifact: {name!r} is one file with {by.name!r} where case does not count"


_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\..*)?", re.IGNORECASE)
_FORBIDDEN = frozenset('/\\:*?"<>|')


def _file_name(name: object) -> str:
    """Return a plain file name that is valid on every common system, or raise InvalidArtifactError."""
    if not isinstance(name, str):
        raise InvalidArtifactError(short(name), f"its name should be a str, got {type(name).__name__}")
    plain = str.__str__(name)
    if reason := unfit_name(plain):
        raise InvalidArtifactError(short(plain), reason)
    return plain


def unfit_name(name: str) -> str | None:
    """Return the reason why a name cannot be a file name, or None."""
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
