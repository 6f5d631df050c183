"""Find secrets in values, and mask them in texts."""

import sys
from collections.abc import Iterable
from typing import Any

from .._base.text import MASK
from .immutable_types import ATOMIC, parts_of


def is_secret(cls: type) -> bool:
    """Whether instances of a type hide what they hold: `SecretStr` and its kin."""
    # Where nobody has imported them there are none; importing them here would take longer than all the rest.
    types: Any = sys.modules.get("pydantic.types")
    return types is not None and issubclass(cls, (types.SecretStr, types.SecretBytes, types.Secret))


def secrets_in(value: object) -> list[str | bytes]:
    """Return the cleartext of every secret in a value, at any depth that can be looked into."""
    found: list[str | bytes] = []
    met: dict[int, Any] = {}
    rest: list[Any] = [value]
    while rest:
        item = rest.pop()
        if type(item) not in ATOMIC and id(item) not in met:
            met[id(item)] = item
            if is_secret(type(item)):
                found.append(item.get_secret_value())
            else:
                rest += parts_of(item)
    return found


def masked(text: str, value: object) -> str:
    """Return a text with a mask in place of every secret that a value holds."""
    return without(text, secrets_in(value))


def without(text: str, secrets: Iterable[str | bytes]) -> str:
    """Return a text with a mask in place of each of some secrets, given in clear."""
    for secret in secrets:
        forms = [repr(secret).removeprefix("b")[1:-1], str(secret)]
        forms += [secret.decode(errors="replace")] if isinstance(secret, bytes) else []
        for form in filter(None, forms):
            text = text.replace(form, MASK)
    return text
