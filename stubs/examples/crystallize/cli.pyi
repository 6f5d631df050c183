# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""The `crystallize` command: a thin face over the runs in a folder."""

import typer

__all__ = ["commands", "main"]

def main() -> None:
    """Run the command, with the arguments that the process was given.

    Raises:
        SystemExit: Always: 0; 1 where runs differ, one does not verify or stubs are stale; 2 where it cannot be done;
            130 where Ctrl-C ended it.
    """

def commands() -> typer.Typer:
    """Return the command with its subcommands.

    Raises:
        ModuleNotFoundError: typer or rich is not installed.
    """
