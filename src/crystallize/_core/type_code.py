"""Digests of the code of a type: of the classes, validators and serializers in the core schema of a key."""

from collections.abc import Iterator
from types import MethodType
from typing import Any

from .code_graph import CodeGraph
from .digest import digest
from .key import Key
from .value_forms import FOLLOWED, joined


def code_of_keys(*keys: Key) -> str:
    """Return a digest of the user's code that decides about values of these keys; empty if there is none."""
    graph = CodeGraph([part for key in keys for part in _code_in(key.core)])
    if not graph.digests:
        return ""
    parts = [*graph.digests.keys(), *graph.digests.values(), *graph.unknown]
    return digest(joined("types", (part.encode() for part in parts)))


def _code_in(node: Any) -> Iterator[Any]:
    """Yield the classes and functions in a core schema, in the same order in every process."""
    if isinstance(node, dict):
        for name in sorted(node.keys() - {"metadata"}):
            yield from _code_in(node[name])
    elif isinstance(node, (list, tuple)):
        for part in node:
            yield from _code_in(part)
    elif isinstance(node, MethodType):
        yield from _code_in(node.__func__)  # of a class with many other keys, as a validator of one of them
    elif isinstance(node, FOLLOWED) or callable(node):
        yield node
