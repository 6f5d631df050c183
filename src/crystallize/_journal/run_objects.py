"""The objects of a run: the artifacts and parts of values that are too large for a row of its file.

They are in the folder `objects` beside the file, which all runs of that folder share. An object is durable before the
fact that names it is written. So a crash leaves no fact without its object. At worst, it leaves an object that no run
names.
"""

from pathlib import Path
from typing import Final

from .._base.file_content import LARGEST_IN_MEMORY
from .._base.object_folder import ObjectFolder

LARGEST_ROW: Final = LARGEST_IN_MEMORY
"""Maximum bytes of an artifact, or of a part of a value, in a row of the run's file; larger ones are objects."""

_FOLDER: Final = "objects"


def objects_of(path: Path) -> ObjectFolder:
    """Return the folder of the objects of a run, given its file."""
    return ObjectFolder(path.parent / _FOLDER)
