"""Load runs from their files, find them, list them, compare them, check them and pack them."""

from ._core.codec import Stored
from ._journal.diff import Difference, diff_runs, not_compared
from ._journal.environment import Origin
from ._journal.find import find_run, list_runs
from ._journal.loaded_run import Run, Status, load_run
from ._journal.pack import Packed, pack_run
from ._journal.rows import Attempt, Declared, Entry, Session, SoFar
from ._journal.verify import verify_run

__all__ = [
    "Attempt",
    "Declared",
    "Difference",
    "Entry",
    "Origin",
    "Packed",
    "Run",
    "Session",
    "SoFar",
    "Status",
    "Stored",
    "diff_runs",
    "find_run",
    "list_runs",
    "load_run",
    "not_compared",
    "pack_run",
    "verify_run",
]
