"""Validate a point and return its items for the list of points, for the fast recorders.

The functions here accept only points that are valid without a doubt, whose values and tags are immutable. For all other
points they raise or return an empty tuple, which takes less time, and the slow recorder decides.

If all points of a metric have the same tags, no dict of valid tags is made: each tag is validated by itself and is an
item of its own. Up to three tags are written out, since a loop over them would take longer than their validation.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

from .immutable_types import PLAIN
from .metric_checks import MetricChecks
from .steps import StepToken

ItemMaker: TypeAlias = Callable[[Any, Any], Sequence[Any]]
"""Returns the items of a point with a value and its tags.

It reads the number of the step last. Neither a signal handler nor another thread can run between that and the return to
the caller, so the step is still open when the caller appends the items.
"""

_NAMES = frozenset({str})


def undeclared_items(token: StepToken) -> ItemMaker:
    """Return a function that returns the items of a point of an undeclared metric."""

    def items(value: Any, tags: Any) -> Sequence[Any]:
        kept = plain_tags(tags) if type(value) in PLAIN else None
        return () if kept is None else (value, kept, token.number)

    return items


def plain_tags(tags: Any) -> dict[str, Any] | None:
    """Return a copy of tags that need no validation without a declaration; None for all others."""
    if tags is None:
        return {}
    if tags.__class__ is not dict or not _NAMES.issuperset(map(type, tags)):
        return None
    return tags.copy() if PLAIN.issuperset(map(type, tags.values())) else None


def items_by_tag(checks: MetricChecks, names: list[str], token: StepToken) -> ItemMaker:
    """Return a function that returns the items of a point for a layout with an item for each tag."""
    validate, split, count = checks.fast_validate, checks.split, len(names)
    validators = [checks.tag_keys[name].validate for name in names]
    assert split is not None

    def of_mapping(value: Any, tags: Any) -> Sequence[Any]:
        """Return the items of a point whose tags are no dict, or are too many or too few."""
        return [validate(value), *split(tags).values(), token.number] if len(tags) == count else ()

    if count == 0:
        return lambda value, tags: (validate(value), token.number) if tags is None else ()
    if count == 1:
        (a,), (check_a,) = names, validators
        return lambda value, tags: (
            (validate(value), check_a(tags[a]), token.number)
            if tags.__class__ is dict and len(tags) == 1
            else of_mapping(value, tags)
        )
    if count == 2:
        (a, b), (check_a, check_b) = names, validators
        return lambda value, tags: (
            (validate(value), check_a(tags[a]), check_b(tags[b]), token.number)
            if tags.__class__ is dict and len(tags) == 2
            else of_mapping(value, tags)
        )
    if count == 3:
        (a, b, c), (check_a, check_b, check_c) = names, validators
        return lambda value, tags: (
            (validate(value), check_a(tags[a]), check_b(tags[b]), check_c(tags[c]), token.number)
            if tags.__class__ is dict and len(tags) == 3
            else of_mapping(value, tags)
        )
    pick, check = itemgetter(*names), checks.validate_in_order
    assert check is not None
    return lambda value, tags: (
        [validate(value), *check(pick(tags)), token.number]
        if tags.__class__ is dict and len(tags) == count
        else of_mapping(value, tags)
    )
