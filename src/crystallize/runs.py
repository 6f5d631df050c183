"""Load runs from their files, find them, list them, compare them, check them, pack them and curate them."""

from ._core.codec import Stored
from ._journal.curation import note_run, remove_run, rename_run, seal_run, tag_run
from ._journal.diff import Difference, diff_runs, not_compared
from ._journal.environment import Origin
from ._journal.find import find_run, list_runs
from ._journal.garbage import Removed, remove_unused_objects
from ._journal.loaded_run import Run, Status, load_run
from ._journal.pack import Packed, pack_run
from ._journal.rows import Attempt, Declared, Entry, Session, SoFar
from ._journal.unpack import unpack_run
from ._journal.verify import verify_run

__all__ = [
    "Attempt",
    "Declared",
    "Difference",
    "Entry",
    "Origin",
    "Packed",
    "Removed",
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
    "note_run",
    "pack_run",
    "remove_run",
    "remove_unused_objects",
    "rename_run",
    "seal_run",
    "tag_run",
    "unpack_run",
    "verify_run",
]
