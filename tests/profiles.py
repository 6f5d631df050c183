"""How many examples the property tests try: few in `make test`, 50 times as many in `make test-long`."""

from typing import Final

from hypothesis import settings

EXAMPLES: Final[dict[str, int]] = {"short": 20, "long": 1000}
"""The examples of a test that names no number of its own, by the name of the profile."""

USUAL: Final = 50
"""Of as many the numbers are named by which tests differ: one that names 100 tries twice as many as the others."""


def examples(count: int) -> int:
    """Return the examples of a test that needs this number where the others need the usual one; 1 or more."""
    return -(-count * settings().max_examples // USUAL)
