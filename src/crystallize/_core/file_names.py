"""The names of artifacts, which are valid as file names on every common system."""

import re
from unicodedata import normalize
from urllib.parse import unquote

from .._base.text import short
from ..errors import InvalidArtifactError

_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\..*)?", re.IGNORECASE)
_FORBIDDEN = frozenset('/\\:*?"<>|')


def file_name(name: object) -> str:
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


def folded(name: str) -> str:
    """Return a form of a name that is equal for names that are the same file on some system."""
    return normalize("NFC", normalize("NFC", name).casefold())
