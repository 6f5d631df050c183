# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Artifacts: files that a run makes, as bytes under a name."""

from collections.abc import Iterator
from typing import Any, NamedTuple
from .outlet import Outlet

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

    __slots__ = ("__weakref__", "_found", "_outlet", "_parts", "_scope")

    def __init__(self, *, outlet: Outlet | None = None) -> None:
        """Make a place for artifacts.

        Args:
            outlet: Whom to tell; a context passes its own.
        """

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

    def clear(self) -> None:
        """Forget all artifacts and their names. What a sink was told it keeps."""

    def __copy__(self) -> ArtifactLog: ...
    def __deepcopy__(self, memo: object) -> ArtifactLog: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    def __getitem__(self, name: str) -> Artifact:
        """Return an artifact.

        Raises:
            UnknownArtifactError: There is none of that name.
        """

    def __iter__(self) -> Iterator[Artifact]:
        """Iterate over the artifacts in the order of adding, those of branches where these were forked."""

    def __len__(self) -> int: ...
    def __contains__(self, name: object) -> bool:
        """Whether there is an artifact of a name."""

    def __repr__(self) -> str: ...

def unfit_name(name: str) -> str | None:
    """Say why a name cannot be a file's."""
