# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""What the annotations of a shape, a metric or a tag say, for those who look at types before there are values."""

from collections.abc import Iterable
from typing import Any

__all__ = ["choices_of", "classes_of", "key_types"]

def key_types(shape: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the types that the keys of a shape are declared with, or the tags of a metric, without constraints.

    Args:
        shape: A model, TypedDict or dataclass, or a dict; None where there are no tags.
        names: The keys, declared or not; the type of one that is not is that of all others.

    Returns:
        The type of each, in their order; `Any` where none is known.
    """

def classes_of(annotation: Any) -> frozenset[type] | None:
    """Return the classes of which values of a type may be; None where that is not known."""

def choices_of(annotation: Any) -> tuple[Any, ...] | None:
    """Return all values that a type has; None where they cannot be listed."""
