# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""The schemas that modules declare: what a stub has to know of each key and each metric."""

import ast
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["ListedMetric", "ListedSchema", "Listing", "Refused", "listed"]

class ListedSchema(NamedTuple):
    """A schema, as a stub writes it."""

    name: str
    """Its name, which no other one in the stub has."""

    full_name: str
    """Its name with that of its module."""

    shape: ast.expr
    """How the class is written, without what is in its brackets."""

    parameters: dict[str, ast.expr]
    """The names of its type variables, and what declares each."""

    keys: dict[str, ast.expr]
    """The type of each key."""

    takes_others: bool
    """Whether it allows keys that it does not declare."""

class ListedMetric(NamedTuple):
    """What is known of a metric's name: what each declaration of it says."""

    name: str
    values: list[ast.expr]
    tags: list[ast.expr]
    """The types of the tags that are given; None where it takes none."""

    kept: list[ast.expr]
    """The types of the tags that are read."""

class Refused(NamedTuple):
    """A schema that no stub can be written of."""

    schema: str
    reason: str

class Listing(NamedTuple):
    """All that some modules declare."""

    schemas: list[ListedSchema]
    """Those of subclasses before those of their bases."""

    metrics: list[ListedMetric]
    refused: list[Refused]
    imports: dict[str, str]
    """The modules that it needs, each with the name that stands for it."""

def listed(modules: Sequence[str]) -> Listing:
    """Import modules, and list the schemas that they declare.

    Args:
        modules: Their names.

    Raises:
        StubsError: One of them cannot be imported, or declares no schema.
    """
