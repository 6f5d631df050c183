"""The artifacts of a run as a page shows them: pictures, and the first lines of texts."""

from base64 import b64encode
from collections.abc import Iterator
from typing import Final, NamedTuple

from .._core.artifacts import Artifact, ArtifactLog

MAX_TEXT: Final = 4000
"""Characters of a text that are shown."""
_MAX_PICTURE_BYTES: Final = 20_000_000
"""Bytes of all pictures in a page."""


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
        media_type, size = _media_type(artifact), len(artifact.data)
        picture: str | None = None
        lines: tuple[str, ...] = ()
        if media_type is not None and size <= left:
            left -= size
            picture, note = f"data:{media_type};base64,{b64encode(artifact.data).decode()}", ""
        elif media_type is not None:
            note = "A picture that is too large to be shown here."
        elif text := _text(artifact.data):
            lines = tuple(text.splitlines())
            note = "Text" if len(text.encode()) == size else "The beginning of the text"
        else:
            note = "Neither a picture nor a text." if size else "It is empty."
        yield ArtifactPreview(artifact.name, size, artifact.step, picture, lines, note)


_MEDIA_TYPES: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"<svg": "image/svg+xml",
    b"<?xml": "image/svg+xml",
}
"""The pictures that every browser shows, by their first bytes."""


def _media_type(artifact: Artifact) -> str | None:
    """Return the media type of a picture; None for anything else."""
    if artifact.data[:4] == b"RIFF" and artifact.data[8:12] == b"WEBP":
        return "image/webp"
    found = next((kind for start, kind in _MEDIA_TYPES.items() if artifact.data.startswith(start)), None)
    return found if found != "image/svg+xml" or b"<svg" in artifact.data[:1000] else None


def _text(data: bytes) -> str:
    """Return the first characters of a text; an empty text for anything else."""
    try:
        # Up to four bytes a character; the cut may be within one.
        text = data[: 4 * MAX_TEXT].decode(errors="strict" if len(data) <= 4 * MAX_TEXT else "ignore")
    except UnicodeDecodeError:
        return ""
    return "" if "\0" in text else text[:MAX_TEXT]
