"""How many examples the property tests try: few in `make test`, many in `make test-long`."""

from hypothesis import settings

EXAMPLES = 50
"""The examples of a test in the short profile, unless it asks for another number."""


def examples(count: int) -> int:
    """Return this number of examples in the short profile, and proportionally more in the long one."""
    return count * settings().max_examples // EXAMPLES
