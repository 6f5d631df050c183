# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""The overloads by which stubs type keys and metrics: one a key, and one a metric's name.

First a context's schema is matched, and then a key of it. In one step a misspelt key would do for the last overload,
which takes any text so that contexts of other schemas keep what they have. So a method that takes a key is a
descriptor: its `__get__` has an overload a schema, and gives something whose `__call__` has an overload a key.
"""

import ast
from collections.abc import Mapping
from .listings import Listing

__all__ = ["with_overloads"]

def with_overloads(outlines: Mapping[str, ast.Module], listing: Listing) -> dict[str, ast.Module]:
    """Add the overloads to the outlines of the package's modules.

    Args:
        outlines: The outline of each module, by its name within the package.
        listing: What is known of schemas and metrics.

    Returns:
        All outlines; those in which there is nothing to type as they were.
    """
