# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""The outline of a module: what type checkers and editors need of its source."""

import ast
from collections.abc import Iterable

__all__ = ["names_in", "outline"]

def outline(source: str) -> ast.Module:
    """Return the outline of a module: its signatures and annotations, without bodies and without what is private.

    Args:
        source: The text of the module.

    Returns:
        A tree for `printed`: annotations have no quotes, of an overloaded function the overloads alone are left.
    """

def names_in(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names that are looked up in some nodes."""
