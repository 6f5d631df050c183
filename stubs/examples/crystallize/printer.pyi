# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""The text of a stub: a syntax tree without bodies, in lines as a formatter would lay them out."""

import ast

__all__ = ["doc_of", "printed"]

def printed(module: ast.Module) -> str:
    """Return a stub as text.

    Args:
        module: Its imports, assignments, docstrings, classes and functions. The body of a function is its docstring,
            or empty, as that of a class may be.
    """

def doc_of(statement: ast.stmt) -> str | None:
    """Return the text of a statement that is nothing but a text, as a docstring is."""
