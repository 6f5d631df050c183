import html
import json
import shlex
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystallize._base.masking import without
from crystallize._base.text import MASK, legible, printable

LETTERS = "ab"
"""Few letters, so that secrets overlap, repeat and contain each other."""


@given(st.lists(st.text(LETTERS, min_size=1, max_size=5), max_size=4), st.text(LETTERS + "c", max_size=30))
def test_no_secret_remains(secrets: list[str], text: str) -> None:
    """Whatever the secrets and the text, no secret is in the masked text, and what is no secret stays."""
    found = without(text, secrets)
    covered = {
        place
        for secret in secrets
        for start in range(len(text))
        if text.startswith(secret, start)
        for place in range(start, start + len(secret))
    }

    assert [] == [secret for secret in secrets if secret in found]
    assert "".join(letter for place, letter in enumerate(text) if place not in covered) == found.replace(MASK, "")


@pytest.mark.parametrize(
    ("secrets", "text", "expected"),
    [
        (["hunter2", "hunter2-Zq7ROOT"], "no: hunter2-Zq7ROOT!", f"no: {MASK}!"),
        (["hunter2-Zq7ROOT", "hunter2"], "no: hunter2-Zq7ROOT, hunter2", f"no: {MASK}, {MASK}"),
        (["abcd", "cdef"], "<abcdef>", f"<{MASK}>"),
        (["bc", "abcd"], "<abcd>", f"<{MASK}>"),
        (["aba"], "<ababa>", f"<{MASK}>"),
        (["*"], "2 * 3", f"2 {MASK} 3"),
        (["abcd"], "abcdabcd", MASK * 2),
        ([b"\xff\xfeab", "\xff"], "b'\\xff\\xfeab'", MASK),
        ([b"\xffe"], "KeyError \xffe", f"KeyError {MASK}"),
        ([], "abcd", "abcd"),
        ([10**5000], "abcd", "abcd"),
    ],
)
def test_secrets_that_overlap(secrets: list[Any], text: str, expected: str) -> None:
    """A secret that begins with, contains or overlaps another one is masked whole, in any order of the secrets."""
    assert expected == without(text, secrets) == without(text, secrets[::-1])


def basic(user: str, secret: str) -> str:
    """Return a user and a secret as an Authorization header has them."""
    return b64encode(f"{user}:{secret}".encode()).decode().rstrip("=")


FORMS: dict[str, Callable[[str], str]] = {
    "clear": str,
    "repr": repr,
    "repr beside both quotes": lambda secret: repr(secret + "'\""),
    "ascii": ascii,
    "repr of repr": lambda secret: repr(repr(secret)),
    "repr of bytes": lambda secret: repr(secret.encode()),
    "repr of utf-16": lambda secret: repr(secret.encode("utf-16")),
    "latin-1": lambda secret: secret.encode().decode("latin-1"),
    "cp1252": lambda secret: secret.encode().decode("cp1252", "replace"),
    "utf-16 as latin-1": lambda secret: secret.encode("utf-16-be").decode("latin-1"),
    "replaced": lambda secret: secret.encode("cp1252", "replace").decode("utf-8", "replace"),
    "JSON": json.dumps,
    "JSON with Unicode": lambda secret: json.dumps(secret, ensure_ascii=False),
    "JSON in JSON": lambda secret: json.dumps(json.dumps({"password": secret})),
    "repr in JSON": lambda secret: json.dumps(repr(secret)),
    "JSON in a repr": lambda secret: repr(json.dumps({"password": secret})),
    "path of a URL": quote,
    "part of a URL": lambda secret: quote(secret, safe=""),
    "query of a URL": lambda secret: "https://a.b/?token=" + quote_plus(secret),
    "lower hex in a URL": lambda secret: quote(secret, safe="").replace("%3D", "%3d").replace("%2F", "%2f"),
    "HTML": html.escape,
    "HTML text": lambda secret: html.escape(secret, quote=False),
    "shell": shlex.quote,
    "one line": lambda secret: " ".join(secret.split()),
    "printable": printable,
    "hex": lambda secret: secret.encode().hex(),
    "HEX": lambda secret: secret.encode().hex().upper(),
    "hex of utf-16": lambda secret: secret.encode("utf-16-le").hex(),
    "base64": lambda secret: b64encode(secret.encode()).decode(),
    "base64 in base64's alphabet for URLs": lambda secret: urlsafe_b64encode(secret.encode()).decode(),
    "base64 in a URL": lambda secret: quote(b64encode(secret.encode()).decode().rstrip("="), safe=""),
    "base64 of utf-16": lambda secret: b64encode(secret.encode("utf-16-le")).decode(),
    **{f"base64 after {user!r}": partial(basic, user) for user in ("", "a", "me")},
}


def readable(text: str) -> set[str]:
    """Return the parts of a text of six characters, in which a secret would be recognized."""
    return {text[start : start + 6] for start in range(len(text) - 5)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "secret", ["hunter2-Zq81/x", "pass word=9/7", 'it\'s "quoted"', "line\nbreak\t\\", "ümläut<&>€ß", "\x00\x1b[31m.."]
)
def test_a_secret_is_masked_in_other_forms(secret: str, form: str) -> None:
    """A secret is masked where a text has it escaped, encoded, or decoded in another encoding than its own."""
    shown = FORMS[form](secret)
    found = without(f"refused: {shown}.", [secret])

    assert MASK in found
    assert set() == readable(shown) & readable(found) - readable(FORMS[form](""))


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16-le", "utf-16-be", "utf-16", "cp1252"])
@pytest.mark.parametrize("errors", ["strict", "replace", "ignore", "backslashreplace", "surrogateescape"])
@pytest.mark.parametrize("told", ["utf-8", "latin-1", "cp1252", "own"])
def test_bytes_are_masked_as_text(encoding: str, errors: str, told: str) -> None:
    """Secret bytes are masked where they were decoded, rightly or in a wrong encoding, and as a repr."""
    secret = "ümläut-Zq81".encode(encoding)
    shown = secret.decode(encoding if told == "own" else told, "replace" if errors == "strict" else errors)

    assert "Zq81" not in without(f"refused: {legible(shown)}, {secret!r}", [secret]).replace("\x00", "")


def test_arguments_that_are_no_text_are_masked() -> None:
    """Bytes in the arguments of a program, which Python decodes with surrogates, are masked as they are kept."""
    secret = b"\xfc\xe4Zq81"

    assert MASK == without(legible(secret.decode("utf-8", "surrogateescape")), [secret])


@given(st.binary(min_size=1, max_size=12), st.binary(max_size=5), st.binary(max_size=5))
def test_bytes_do_not_remain(secret: bytes, before: bytes, after: bytes) -> None:
    """Whatever stands beside it, a secret of bytes is masked in a repr and in latin-1."""
    for text in (repr(before + secret + after), (before + secret + after).decode("latin-1")):
        found = without(text, [secret])
        assert MASK in found
        assert secret in b"*" * 10 or secret.decode("latin-1") not in found
