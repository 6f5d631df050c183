"""The names of the columns of a table of runs, and the columns that short names mean."""

from collections.abc import Iterable
from typing import Final

from .._base.text import nearest
from ..errors import FrameError

KINDS: Final = ("inputs", "values", "best")
"""The kinds of columns that belong to a run, before the dot of their names."""


class ColumnNames:
    """The columns of a table. The end of a name after a dot does for the name if it is unique: `lr` for `inputs.lr`."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take the full names."""
        self.full: list[str] = [*names]
        self._known = frozenset(self.full)
        self._short: dict[str, list[str]] = {}
        for name in self.full:
            end = name
            while "." in end:
                _, _, end = end.partition(".")
                self._short.setdefault(end, []).append(name)

    def resolve(self, name: str, subject: str) -> str:
        """Return the full name of a column; raise FrameError about the subject if there is none, or several are."""
        if name in self._known:
            return name
        # `lr` is the input, even if a model has a field of the same name.
        meant = [full for full in (f"{kind}.{name}" for kind in KINDS) if full in self._known]
        meant = meant or self._short.get(name, [])
        if len(meant) == 1:
            return meant[0]
        if meant:
            raise FrameError(subject, f"{name!r} may be {' or '.join(map(repr, meant))}; write one of them")
        near = nearest(name, [*self.full, *self._short])
        known = ", ".join(map(repr, self.full[:20])) + (", ..." if len(self.full) > 20 else "")
        hint = f"did you mean {near!r}?" if near else f"the columns are {known}"
        raise FrameError(subject, f"there is no column {name!r}; {hint}")

    def shortest(self, name: str) -> str:
        """Return the shortest name that means a column."""
        kind, dot, rest = name.partition(".")
        if not dot or kind not in KINDS or rest in self._known:
            return name
        return name if any(f"{other}.{rest}" in self._known for other in KINDS if other != kind) else rest
