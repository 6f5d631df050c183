"""Find secrets in values, and mask them in texts."""

import sys
from collections.abc import Iterable
from typing import Any

from .._base.text import MASK
from .immutable_types import ATOMIC, parts_of


def is_secret(cls: type) -> bool:
    """Whether instances of a type hide their content, such as `SecretStr`."""
    # If nobody has imported these types, no instances exist; importing them here would take longer than the rest.
    types: Any = sys.modules.get("pydantic.types")
    return types is not None and issubclass(cls, (types.SecretStr, types.SecretBytes, types.Secret))


def secrets_in(value: object) -> list[str | bytes]:
    """Return all secrets in a value in clear text, at any depth."""
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
    """Return a text in which every secret of a value is masked."""
    return without(text, secrets_in(value))


def without(text: str, secrets: Iterable[str | bytes]) -> str:
    """Return a text in which these secrets, given in clear text, are masked."""
    for secret in secrets:
        forms = [repr(secret).removeprefix("b")[1:-1], str(secret)]
        forms += [secret.decode(errors="replace")] if isinstance(secret, bytes) else []
        for form in filter(None, forms):
            text = text.replace(form, MASK)
    return text
