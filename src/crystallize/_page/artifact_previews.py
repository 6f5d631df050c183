"""The artifacts of a run as a page shows them: pictures, and the first lines of texts."""

from base64 import b64encode
from collections.abc import Iterator
from typing import Final, NamedTuple

from .._core.artifacts import Artifact, ArtifactLog
from ..errors import ObjectError

MAX_TEXT: Final = 4000
"""Characters of a text that are shown."""
_MAX_PICTURE_BYTES: Final = 20_000_000
"""Bytes of all pictures in a page."""
_HEAD: Final = 4 * MAX_TEXT + 1
"""Bytes that are read of each artifact: up to four for a character, and one that tells whether that is all."""


class ArtifactPreview(NamedTuple):
    """An artifact, with the part of it that can be shown."""

    name: str
    size: int
    """In bytes."""
    step: str | None
    picture: str | None
    """The data URL of a picture."""
    lines: tuple[str, ...]
    """The first lines of a text."""
    note: str
    """A sentence on the part that is shown, or the reason why nothing is."""


def artifact_previews(artifacts: ArtifactLog) -> Iterator[ArtifactPreview]:
    """Return a preview of each artifact."""
    left = _MAX_PICTURE_BYTES
    for artifact in artifacts:
        try:
            preview = _preview(artifact, left)
        except ObjectError as error:
            preview = _without_content(artifact, f"It cannot be shown: {error.reason}.")
        left -= artifact.size if preview.picture else 0
        yield preview


def _preview(artifact: Artifact, left: int) -> ArtifactPreview:
    """Return the preview of an artifact, given the bytes that are left for pictures. A large file stays on the disk."""
    head, size = artifact.content.head(_HEAD), artifact.size
    media_type = _media_type(head)
    if media_type is not None and size <= left:
        preview = _without_content(artifact, "")
        return preview._replace(picture=f"data:{media_type};base64,{b64encode(artifact.data).decode()}")
    if media_type is not None:
        return _without_content(artifact, "A picture that is too large to be shown here.")
    if text := _text(head):
        note = "Text" if len(text.encode()) == size else "The beginning of the text"
        return _without_content(artifact, note)._replace(lines=tuple(text.splitlines()))
    return _without_content(artifact, "Neither a picture nor a text." if size else "It is empty.")


def _without_content(artifact: Artifact, note: str) -> ArtifactPreview:
    return ArtifactPreview(artifact.name, artifact.size, artifact.step, None, (), note)


_MEDIA_TYPES: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"<svg": "image/svg+xml",
    b"<?xml": "image/svg+xml",
}
"""The pictures that every browser shows, by their first bytes."""


def _media_type(head: bytes) -> str | None:
    """Return the media type of a picture, given its first bytes; None for anything else."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    found = next((kind for start, kind in _MEDIA_TYPES.items() if head.startswith(start)), None)
    return found if found != "image/svg+xml" or b"<svg" in head[:1000] else None


def _text(data: bytes) -> str:
    """Return the first characters of a text; an empty text for anything else."""
    try:
        # Up to four bytes a character; the cut may be within one.
        text = data[: 4 * MAX_TEXT].decode(errors="strict" if len(data) <= 4 * MAX_TEXT else "ignore")
    except UnicodeDecodeError:
        return ""
    return "" if "\0" in text else text[:MAX_TEXT]
