"""The contents of a parent at a fork, packed key by key, so that a worker unpickles a key when a branch reads it.

The buffers of arrays, Arrow tables and frames are apart from the pickles. The values that a worker reads are views of
them: it copies nothing. They may be in a file that the worker maps (`base_file.py`), or in memory that an executor has
brought to it (`Parcel`).
"""

import gc
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pickle import PickleBuffer
from threading import Lock
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

from .._base.collector import collector_paused
from .._core.buffer_pickle import SplitPickle
from .._core.immutable_types import PLAIN
from .._core.stored_value import StoredValue, Unread
from ..errors import CrystallizeError, TravelError
from .fork_base import ANY_BRANCH, ForkBase, Unsendable, unpacked_base
from .pickling import dumped, loaded, refusal, split, unsendable

Chunks: TypeAlias = Sequence[bytes | memoryview]
"""The content of a section, which need not be in one piece."""


class _PackedKey(NamedTuple):
    name: str
    step: str | None
    is_input: bool
    value: Any
    """The value, if it is small and plain: unpickling it later would take longer."""
    group: int | None
    """The number of its group; None if the value is here."""


class _Group(NamedTuple):
    """Values that are pickled together: one, or all that are `Shared`, since these may refer to the same objects."""

    start: int
    """The section with the pickle of a tuple of the values. The sections of their buffers follow."""
    end: int
    is_shared: bool
    refusal: str = ""
    """The reason why the value cannot be sent; "" if it can."""


class BaseIndex(NamedTuple):
    """The contents of a parent, except for the sections with the values."""

    head: bytes
    """The pickled schema and metrics, the logger, and the address of the folder of objects."""
    keys: tuple[_PackedKey, ...]
    groups: tuple[_Group, ...]

    @collector_paused()
    def opened(self, sections: Sequence[memoryview], branch: str) -> ForkBase:
        """Return a base whose values are unpickled when they are read; errors name a branch."""
        schema, metrics, undeclared, logger, address = loaded(self.head, branch, "the parent's values")
        groups = [_OpenGroup(group, sections) for group in self.groups]
        values: dict[str, tuple[Any, str | None, bool]] = {}
        taken = [0] * len(groups)
        for name, step, is_input, value, number in self.keys:
            if number is None:
                values[name] = (value, step, is_input)
                continue
            read = partial(groups[number].read, name, taken[number])
            taken[number] += 1
            values[name] = (Unread(read, is_owned=True), step, is_input)
        return unpacked_base(values, schema, metrics, undeclared, logger, address)


class _OpenGroup:
    """A group in a worker. There may be many thousands, each a few objects for the garbage collector."""

    __slots__ = ("_group", "_lock", "_sections", "_shared")

    def __init__(self, group: _Group, sections: Sequence[memoryview]) -> None:
        self._group = group
        self._sections = sections
        self._shared: tuple[Any, ...] | None = None
        self._lock = Lock()

    def read(self, name: str, at: int) -> Any:
        """Return the value of a key, which is the value at a place of the group."""
        group = self._group
        if group.refusal:
            return Unsendable(group.refusal).read()
        if not group.is_shared:
            return self._loaded(name)[at]
        with self._lock:
            if self._shared is None:
                self._shared = self._loaded(name)
        return self._shared[at]

    def _loaded(self, name: str) -> tuple[Any, ...]:
        content, *buffers = self._sections[self._group.start : self._group.end]
        values: tuple[Any, ...] = loaded(content, ANY_BRANCH, f"key {name!r}", buffers)
        return values


@collector_paused()
def pack(base: ForkBase, branch: str, add: Callable[[Chunks], object], *, by_value: bool) -> BaseIndex:
    """Pack a base: `add` takes its sections, one after another. Errors name a branch; for `by_value`, see `split`."""
    head = dumped(base.head(), branch, base.head_parts, by_value=by_value)
    packer = _Packer(add, by_value=by_value)
    stored = {name: StoredValue._make(raw) for name, raw in base.values.items()}
    rest = {name: value for name, value in stored.items() if not _is_plain(value)}
    shared = {name: value for name, value in rest.items() if base.schema.key(name).shared}
    numbers = packer.pack_shared(shared)
    numbers |= {name: packer.pack(name, value) for name, value in rest.items() if name not in shared}
    base.set_unsendable(packer.refused)
    keys = (
        _PackedKey(name, value.step, value.is_input, None if name in rest else value.kept, numbers.get(name))
        for name, value in stored.items()
    )
    return BaseIndex(head, tuple(keys), tuple(packer.groups))


def _is_plain(value: StoredValue) -> bool:
    """Whether a value is a number or a short text."""
    kept = value.kept
    return value.thaw is None and type(kept) in PLAIN and not (isinstance(kept, str) and len(kept) > _SHORT)


_SHORT: Final = 256


class _Packer:
    """Packs values into sections."""

    def __init__(self, add: Callable[[Chunks], object], *, by_value: bool) -> None:
        self._add = add
        self._by_value = by_value
        self._sections = 0
        self.groups: list[_Group] = []
        self.refused: dict[str, str] = {}
        """Why keys cannot be sent, for those that cannot."""

    def pack(self, name: str, stored: StoredValue) -> int:
        """Pack a value as a group of its own, and return the number of the group."""
        try:
            value = stored.read()
        except CrystallizeError as error:  # it was not read before, and cannot be
            return self._refuse(name, str(getattr(error, "reason", error)))
        try:
            made = split((value,), by_value=self._by_value)
        except Exception as error:  # a type's own pickling may raise anything
            return self._refuse(name, refusal(f"key {name!r}", value, error))
        return self._put(made, is_shared=False)

    def pack_shared(self, stored: dict[str, StoredValue]) -> dict[str, int]:
        """Pack values as one group, except for those that cannot be sent; return the number of the group of each."""
        if not stored:
            return {}
        try:
            made = split(tuple(value.read() for value in stored.values()), by_value=self._by_value)
        except Exception:  # as above
            alone = {name: self._refusal_of(name, value) for name, value in stored.items()}
            numbers = {name: self._refuse(name, reason) for name, reason in alone.items() if reason is not None}
            rest = {name: value for name, value in stored.items() if name not in numbers}
            if numbers:
                return numbers | self.pack_shared(rest)
            # None is at fault alone.
            return {name: self.pack(name, value) for name, value in rest.items()}
        return dict.fromkeys(stored, self._put(made, is_shared=True))

    def _refusal_of(self, name: str, stored: StoredValue) -> str | None:
        try:
            return unsendable(f"key {name!r}", stored.read())
        except CrystallizeError as error:  # as above
            return str(getattr(error, "reason", error))

    def _refuse(self, name: str, reason: str) -> int:
        self.refused[name] = reason
        self.groups.append(_Group(0, 0, is_shared=False, refusal=reason))
        return len(self.groups) - 1

    def _put(self, made: SplitPickle, *, is_shared: bool) -> int:
        self._add(made.chunks)
        for view in made.views:
            self._add((view,))
        start, self._sections = self._sections, self._sections + 1 + len(made.buffers)
        self.groups.append(_Group(start, self._sections, is_shared=is_shared))
        return len(self.groups) - 1


_WORTH_A_COLLECTION: Final = 16 << 20
"""Bytes of a parcel for which it is worth to let the garbage collector go over all objects of the worker."""


class Parcel:
    """A packed base in memory, for executors that bring an object to each worker once."""

    def __init__(self, token: bytes, index: BaseIndex, sections: Iterable[Any]) -> None:
        """Take sections, which are bytes or other buffers."""
        self.token = token
        self.index = index
        self.sections: list[memoryview] = [memoryview(section).toreadonly() for section in sections]
        self._base: ForkBase | None = None

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # Older protocols know no buffers.
        kind: Callable[[memoryview], object] = PickleBuffer if protocol >= 5 else bytes
        return Parcel, (self.token, self.index, list(map(kind, self.sections)))

    def opened(self, branch: str) -> ForkBase:
        """Return the base, the same one on each call; errors name a branch."""
        if self._base is None:
            self._base = self.index.opened(self.sections, branch)
        return self._base

    def __del__(self) -> None:
        if self._base is None:
            return
        # It refers to the sections, as the contexts of ended branches do. All of these are in reference cycles.
        self._base = None
        if sum(section.nbytes for section in self.sections) >= _WORTH_A_COLLECTION:
            gc.collect()


class ParcelToken(NamedTuple):
    """The placeholder of a parcel in a branch, whose task is given a function that returns the parcel."""

    token: bytes

    def opened(self, branch: str) -> NoReturn:
        """Raise TravelError: the task was not given it."""
        raise TravelError(branch, "its executor has not sent the parent's values to the worker")
