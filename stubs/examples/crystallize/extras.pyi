# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""Libraries that an extra of this package brings: imported when they are first used."""

from typing import Any

__all__ = ["Extra"]

class Extra:
    """In place of a module: imports it when something of it is asked for.

    Example:
        >>> json = Extra("json", "arrow")
        >>> json.dumps([1])
        '[1]'
    """

    def __init__(self, module: str, extra: str) -> None:
        """Stand for a module.

        Args:
            module: Its name.
            extra: The extra that brings its library.
        """

    def __getattr__(self, name: str) -> Any:
        """Return something of the module.

        Raises:
            MissingExtraError: Its library is not installed.
        """
