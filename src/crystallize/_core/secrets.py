"""Find secrets in values, and mask them in texts."""

import sys
from collections.abc import Iterator
from typing import Any, Final

from .._base.masking import text_of, without
from .immutable_types import ATOMIC, parts_of

_SHORTEST: Final = 4
"""Minimum length of a part of a structured secret, such as one value of a secret dict. Shorter parts are not masked,
since `1` or "on" occurs in most texts."""


def is_secret(cls: type) -> bool:
    """Whether instances of a type hide their content, such as `SecretStr`."""
    # If nobody has imported these types, no instances exist; importing them here would take longer than the rest.
    types: Any = sys.modules.get("pydantic.types")
    return types is not None and issubclass(cls, (types.SecretStr, types.SecretBytes, types.Secret))


def secrets_in(value: object) -> list[str | bytes]:
    """Return all secrets in a value in clear text, at any depth, and the parts of structured secrets."""
    found: list[str | bytes] = []
    if type(value) in ATOMIC:
        return found  # as below, in a tenth of the time
    met: dict[int, Any] = {}
    rest: list[Any] = [value]
    while rest:
        item = rest.pop()
        if type(item) not in ATOMIC and id(item) not in met:
            met[id(item)] = item
            if is_secret(type(item)):
                clear = item.get_secret_value()
                found.append(clear)
                if type(clear) not in ATOMIC:
                    found += _leaves(clear)
                    rest.append(clear)
            else:
                rest += parts_of(item)
    return found


def _leaves(secret: object) -> Iterator[Any]:
    """Return the texts, bytes and numbers in a structured secret, without the keys of dicts, which are names."""
    met: dict[int, Any] = {}
    rest: list[Any] = [secret]
    while rest:
        item = rest.pop()
        if isinstance(item, (str, bytes, int, float)):
            if len(text_of(item)) >= _SHORTEST and not isinstance(item, bool):
                yield item
        elif type(item) not in ATOMIC and id(item) not in met:
            met[id(item)] = item
            names = getattr(item, "__pydantic_fields_set__", None)
            parts = item.values() if isinstance(item, dict) else parts_of(item)
            rest += [part for part in parts if part is not names]


def masked(text: str, value: object) -> str:
    """Return a text in which every secret of a value is masked."""
    return without(text, secrets_in(value))
