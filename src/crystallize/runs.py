"""Load runs from their files, find them, list them and compare them."""

from ._journal.loaded_run import (
    Attempt,
    Declared,
    Difference,
    Entry,
    Run,
    Session,
    SoFar,
    Status,
    diff_runs,
    find_run,
    list_runs,
    load_run,
    not_compared,
    verify_run,
)

__all__ = [
    "Attempt",
    "Declared",
    "Difference",
    "Entry",
    "Run",
    "Session",
    "SoFar",
    "Status",
    "diff_runs",
    "find_run",
    "list_runs",
    "load_run",
    "not_compared",
    "verify_run",
]
