"""The points in a row of a run's database: zlib over a JSON array, packed and unpacked within bounds."""

from collections.abc import Iterator
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, Final
from zlib import compress, decompressobj
from zlib import error as ZlibError

from pydantic_core import from_json

from .._core.immutable_types import PLAIN
from ..errors import DamagedRunError
from .event_bytes import PIECE
from .rows import PackedRow
from .untrusted_file import VERIFY

ROW: Final = PIECE
"""Maximum number of points in a row."""

LARGE: Final = 1 << 22
"""Maximum bytes in a row of several points, as JSON."""

_RATIO: Final = 8
"""How many times its packed size a row of more bytes has as JSON, at most. A few bytes may not become a gigabyte."""


def packed(content: bytes) -> bytes:
    """Pack the points of a row, in a way that `points_of` unpacks them."""
    small = compress(content, 1)
    return small if len(content) <= max(LARGE, _RATIO * len(small)) else compress(content, 0)


def packed_rows(points: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """Return rows of points, packed, each with their number."""
    for part in chain.from_iterable(_narrow(points[at : at + ROW]) for at in range(0, len(points), ROW)):
        yield len(part), packed(b"[" + b",".join(part) + b"]")


def _narrow(points: list[bytes]) -> Iterator[list[bytes]]:
    """Split points so that no row is too large, unless it is one large point alone."""
    half = len(points) // 2
    if not half or sum(map(len, points)) <= LARGE:
        yield points
        return
    yield from _narrow(points[:half])
    yield from _narrow(points[half:])


def points_of(path: Path, row: PackedRow) -> list[Any]:
    """Parse the points in a row, each a list; content that is not points raises DamagedRunError."""
    try:
        text = _unpacked(row.packed)
        points = from_json(text)
        _check(row, text, points)
    except (ZlibError, LookupError, TypeError, ValueError) as error:
        raise DamagedRunError(str(path), f"a row of points cannot be read ({error})", VERIFY) from error
    found: list[Any] = points
    return found


def _unpacked(content: bytes) -> bytes:
    most = max(LARGE, _RATIO * len(content))
    unpacking = decompressobj()
    found = unpacking.decompress(content, most + 1)
    if len(found) > most:
        raise ValueError(f"its {len(content):,} bytes become more than {most:,}")
    if not unpacking.eof or unpacking.unused_data:
        raise ValueError("it is cut short, or other bytes follow it")
    return found


def _check(row: PackedRow, text: bytes, points: Any) -> None:
    """Raise TypeError or ValueError unless this is a list of points: [metric, value, tags, step], some with a note.

    Metric and step are left to whoever looks up the series: they are the same for many points.
    """
    if type(points) is not list or set(map(type, points)) > {list}:
        raise TypeError("it is not a list of points")
    if len(points) != row.size:
        raise ValueError(f"it has {len(points)} points in place of {row.size}")
    found: list[Any] = points
    sizes = set(map(len, found))
    if not sizes <= {4, 5}:
        raise ValueError("a point has four or five parts")
    # Whole columns at once, without a step of Python for each point.
    if set(map(type, map(_TAGS, found))) != {dict}:
        raise TypeError("the tags of a point are not an object")
    if sizes == {4} and (text.count(b"["), text.count(b"{")) == (len(points) + 1, len(points)):
        # Besides the points and their tags there is no list and no object.
        return
    plain = [point for point in points if len(point) == 4]
    tags = chain.from_iterable(point[2].values() for point in plain)
    if not PLAIN.issuperset(map(type, chain(map(_VALUE, plain), tags))):
        raise TypeError("a point has a list or an object, and does not say how to restore it")


_VALUE, _TAGS = itemgetter(1), itemgetter(2)
