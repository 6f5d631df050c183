"""The value of a key, or the result of a branch, within a fact: its JSON, its parts, and why it cannot be restored.

A large part of a value is an object in the folder `objects`. In its place the fact has the name of the object.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from pydantic_core import from_json, to_json

from .._base.object_folder import Buffer, ObjectFolder, ObjectName, checked_name
from .._core.codec import Stored
from .._core.value_parts import LargePart, MappedPart, Part, PartInMemory, StoredPart, content_of
from ..errors import ObjectError


class ObjectPart(StoredPart):
    """A large part of a value that is an object, which is read when it is asked for."""

    def content(self) -> Buffer:
        """Return its bytes; raise ObjectError if the object is missing or changed."""
        return self.folder.read(self.name)

    def check(self, *, whole: bool) -> None:
        """Raise ObjectError if the object is missing or changed. `whole`: all of it is read, not only its size."""
        self.folder.check(self.name, whole=whole)


def lost_object(stored: Stored, *, whole: bool) -> ObjectError | None:
    """Return the error of the first object of a value that is missing or changed; see `ObjectPart.check`."""
    for part in stored.parts:
        if isinstance(part, ObjectPart):
            try:
                part.check(whole=whole)
            except ObjectError as error:
                return error
    return None


def without_lost_object(stored: Stored, *, whole: bool) -> Stored:
    """Return a value as lost if one of its objects is; it keeps its parts, so that `lost_object` finds the error."""
    error = lost_object(stored, whole=whole)
    return stored if error is None else stored._replace(how="none", why=str(error))


_NOT_IN_FILE: Final = (
    "the file of the run does not have this value, and takes nothing more; make room, or see to the permissions of the "
    "folder, then go on with Journal.resume"
)


def with_objects(stored: Stored, folder: ObjectFolder) -> Stored:
    """Return a value whose large parts are objects of a folder: they are durable before a fact names them."""
    if not stored.parts or all(isinstance(part, bytes) for part in stored.parts):
        return stored
    return stored._replace(parts=tuple(_outside(part, folder) for part in stored.parts))


def _outside(part: Part, folder: ObjectFolder) -> Part:
    if isinstance(part, bytes):
        return part
    if isinstance(part, (MappedPart, ObjectPart)) and part.folder.path == folder.path:
        return ObjectPart(folder, part.name)
    chunks = part.chunks if isinstance(part, PartInMemory) else (part.content(),)
    try:
        return ObjectPart(folder, folder.put(chunks))
    except ObjectError as error:
        raise ObjectError(error.path, f"{error.reason}, which is a part of a value", _NOT_IN_FILE) from error


def value_head(stored: Stored) -> list[Any]:
    """Return the end of the head of a fact: the places of the parts that are objects, and why it is not restorable."""
    if not stored.parts:
        return [[], stored.why]
    return [[place for place, part in enumerate(stored.parts) if not isinstance(part, bytes)], stored.why]


def value_blobs(stored: Stored) -> list[Buffer]:
    """Return the blobs of a fact: the JSON, and each part, or the name of its object."""
    if not stored.parts:
        return [stored.json]
    return [stored.json, *(_named(part) if isinstance(part, LargePart) else content_of(part) for part in stored.parts)]


def _named(part: LargePart) -> bytes:
    return to_json([part.digest, part.size])


def names_in(head: Sequence[Any], blobs: Sequence[bytes]) -> tuple[dict[int, ObjectName], str]:
    """Return the names of the objects among the blobs after the JSON, by their places, and why it is not restorable.

    `head` is what `value_head` returned; facts of earlier versions have nothing there. Anything else is a ValueError.
    """
    places, why = head or ((), "")
    if not isinstance(why, str) or not isinstance(places, Collection):
        raise ValueError("the places of the objects of a value, or the reason why it is not restorable, are damaged")
    return {place: checked_name(*from_json(blobs[place])) for place in places}, why
