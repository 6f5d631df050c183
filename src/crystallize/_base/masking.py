"""Mask secrets in texts, in every form in which a text may show them."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

from .signal_handlers import reraise_from_handler
from .text import MASK, legible, printable

_SHORTEST_CODE: Final = 8
"""Minimum length of base64 and hexadecimal digits that are searched for within longer ones."""

_SHORTEST_DECODED: Final = 4
"""Minimum length of a text that is left of a secret after bytes were dropped or replaced."""


def without(text: str, secrets: Iterable[str | bytes]) -> str:
    """Return a text in which these secrets, given in clear text, are masked in every form that they may have in it.

    All are searched for in the text as it is given, so that no secret hides part of another one.
    """
    spans: list[tuple[int, int]] = []
    for secret in secrets:
        spans += _spans(text, secret)
    parts: list[str] = []
    end = 0
    for start, stop in sorted(spans):
        if start >= end:
            parts += (text[end:start], MASK)
        end = max(end, stop)
    return "".join([*parts, text[end:]])


def _spans(text: str, secret: object) -> Iterator[tuple[int, int]]:
    """Return where a secret is in a text, in any form; places may overlap."""
    for form in _forms(secret):
        for start in _places(text, form):
            yield start, start + len(form)
    for code in _codes(_narrow(secret) | _wide(secret)):
        for start in _places(text, code):
            # The characters beside it contain bits of the secret too.
            yield max(start - 1, 0), start + len(code) + 1


def _places(text: str, form: str) -> Iterator[int]:
    start = text.find(form)
    while start >= 0:
        yield start
        start = text.find(form, start + 1)


def _narrow(secret: object) -> set[bytes]:
    """Return a secret as bytes in the encodings that have a byte for each ASCII character."""
    if isinstance(secret, (bytes, bytearray)):
        return {bytes(secret)}
    text = text_of(secret)
    found = {text.encode("utf-8", "surrogatepass")}
    for encoding in ("latin-1", "cp1252"):
        with suppress(UnicodeEncodeError):  # then no program has encoded the secret so
            found.add(text.encode(encoding))
    return found


def _wide(secret: object) -> set[bytes]:
    """Return a secret as bytes in UTF-16, which PowerShell writes."""
    if isinstance(secret, (bytes, bytearray)):
        return set()
    return {text_of(secret).encode(encoding, "surrogatepass") for encoding in ("utf-16-le", "utf-16-be")}


def _forms(secret: object) -> set[str]:
    """Return the texts that show a secret: decoded in some way, and escaped up to twice, as a repr within JSON is."""
    texts = {text_of(secret)}
    for content in _narrow(secret):
        texts |= {repr(content)[2:-1], content.decode("latin-1")}
        if not _PLAIN(content.decode("latin-1")):
            decodings = _DECODINGS if isinstance(secret, str) else (*_DECODINGS, *_WIDE_DECODINGS)
            decoded = {content.decode(encoding, errors) for encoding, errors in decodings}
            texts |= {text for text in decoded if len(text) >= _SHORTEST_DECODED}
    texts = {form for text in texts for form in _escaped(text)}
    # UTF-16 that is read as if each byte was a character, or shown as the repr of bytes.
    texts |= {form for content in _wide(secret) for form in (content.decode("latin-1"), repr(content)[2:-1])}
    return {form for text in texts for form in _escaped(text)} - {""}


_DECODINGS: Final = (
    *(("utf-8", errors) for errors in ("replace", "ignore", "backslashreplace", "surrogateescape")),
    ("utf-8-sig", "replace"),
    ("cp1252", "replace"),
)
"""How bytes become text: rightly, or wrongly as in a log that is read in another encoding."""

_WIDE_DECODINGS: Final = tuple(
    (encoding, errors) for encoding in ("utf-16", "utf-16-le", "utf-16-be") for errors in ("replace", "ignore")
)
"""The same for bytes, which may be in any encoding."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.-]*").fullmatch
"""Whether a text is the same in all encodings but UTF-16, and when it is escaped."""


def text_of(secret: object) -> str:
    """Return a secret as text; empty if it has none."""
    try:
        return str(secret)
    except Exception as error:  # an int of thousands of digits, or an object's own method: no text shows such a secret
        reraise_from_handler(error)
        return ""


def _escaped(text: str) -> set[str]:
    """Return a text as it is written into other texts: in a repr, JSON, a URL, HTML, a shell, on one line."""
    if _PLAIN(text):
        return {text}
    # Here, since only masking needs these modules.
    import html
    import json
    from urllib.parse import quote, quote_plus

    content = text.encode("utf-8", "surrogatepass")
    urls = {quote(content), quote(content, safe=""), quote_plus(content), quote_plus(content, safe="")}
    inner = repr(text)[1:-1]
    return {
        text,
        inner,
        # A repr escapes a quote only if the text around it has the other one.
        inner.replace("\\'", "'"),
        inner.replace("\\'", "'").replace("'", "\\'"),
        ascii(text)[1:-1],
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        *urls,
        *(_lower_hex(url) for url in urls),
        html.escape(text),
        html.escape(text, quote=False),
        text.replace("'", "'\"'\"'"),  # `shlex.quote`
        legible(text),
        printable(text),
        " ".join(text.split()),
    }


def _lower_hex(url: str) -> str:
    """Return a quoted text with lower hexadecimal digits: %2F is %2f."""
    first, *rest = url.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in rest)])


def _codes(encodings: Iterable[bytes]) -> set[str]:
    """Return the hexadecimal digits and the base64 of a secret, also within the base64 of a longer text.

    The base64 of "user:secret", as in an Authorization header, has the secret at any of three offsets; characters that
    depend on the text around it are left out.
    """
    from base64 import b64encode  # as above

    found: set[str] = set()
    for content in encodings:
        found |= {content.hex(), content.hex().upper()}
        for offset, first in enumerate((0, 2, 3)):
            code = b64encode(bytes(offset) + content).decode().rstrip("=")
            last = len(code) - (1 if (offset + len(content)) % 3 else 0)
            found.add(code[first:last])
    found |= {code.translate(_URL_SAFE) for code in found}
    found |= {code.replace("+", "%2B").replace("/", "%2F") for code in found}
    return {code for code in found if len(code) >= _SHORTEST_CODE}


_URL_SAFE: Final = str.maketrans("+/", "-_")
