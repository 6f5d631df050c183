# Written by `crystallize stubs`: run it again in place of a change by hand.
# Of digits, pipeline.schemas, pipeline.tuning.
# crystallize 0.1.0, schemas and version: 3f5ece740fd60a72
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeVarUse=false
# pyrefly: ignore-errors
# ty: ignore[unused-ignore-comment, incompatible-mutable-override, incompatible-method-override, import-not-found]
# ty: ignore[unused-ignore-comment, deprecated]
"""What is needed to repeat a run: the code, the packages and the machine. No environment variables."""

from typing import TypedDict

__all__ = ["Origin", "origin", "packages_in_use"]

class Origin(TypedDict):
    """Where a session of a run came from.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> origin = load_run("runs/digits-0001.db").sessions[0].origin
        >>> "pydantic" in origin["packages"]
        True
    """

    arguments: list[str]
    """How the program was called; nothing before it has a context, which knows what in them is secret."""

    folder: str
    """The working directory."""

    commit: str | None
    """The git commit that was checked out there; None where there is none."""

    dirty: bool | None
    """Whether tracked files differed from it."""

    python: str
    system: str
    host: str
    pid: int
    packages: dict[str, str]
    """The versions of the packages in use."""

def origin() -> Origin:
    """Return where this process comes from."""

def packages_in_use() -> dict[str, str]:
    """Return the versions of the installed packages of which a module is imported."""
