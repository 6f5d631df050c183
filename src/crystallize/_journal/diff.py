"""Compare two runs."""

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from itertools import chain, islice
from typing import Any, Literal, NamedTuple, TypeAlias

from pydantic_core import to_json

from .._base.text import counted, rounded, short, short_type
from .._core.context import state_of
from .._core.digest import digest
from .._core.equality import same
from .loaded_run import Run

Kind: TypeAlias = Literal["input", "value", "metric", "step", "artifact"]


class Difference(NamedTuple):
    """A difference between two runs.

    Example:
        >>> Difference("input", "lr", one="0.1", other="0.2").what
        'input'
    """

    what: Kind
    name: str
    one: str | None
    """The value in the first run, in short; None if it has none."""
    other: str | None
    """The value in the second run."""


def diff_runs(one: Run[Any], other: Run[Any]) -> tuple[Difference, ...]:
    """Compare the inputs and the results of two runs, but not their times.

    Returns:
        The differences, first those of inputs, then of values, metrics, steps and artifacts.

    Example:
        >>> for lr in (0.1, 0.2):
        ...     with Journal.start("runs", "digits") as journal:
        ...         ctx = journal.context(FrozenContext, {"lr": lr})

        >>> diff_runs(*map(load_run, ["runs/digits-0001.db", "runs/digits-0002.db"]))
        (Difference(what='input', name='lr', one='0.1', other='0.2'),)
    """
    return tuple(Difference(row.what, row.name, *row.texts) for row in differences_of([one, other]))


class RunsDifference(NamedTuple):
    """A difference among several runs."""

    what: Kind
    name: str
    texts: tuple[str | None, ...]
    """The value in each run, in short; None if it has none."""


def differences_of(runs: Sequence[Run[Any]]) -> list[RunsDifference]:
    """Compare the inputs and the results of several runs, but not their times, in the order of `diff_runs`."""
    found = []
    for what, *parts in zip(_KINDS, *map(_compared_parts, runs), strict=True):
        for name in dict.fromkeys(chain.from_iterable(parts)):
            own = [part.get(name, _NONE) for part in parts]
            if not all(same(own[0][0], content) for content, _ in own[1:]):
                found.append(RunsDifference(what, name, _texts([_text(shown) for _, shown in own])))
    return found


def not_compared(one: Run[Any], other: Run[Any]) -> tuple[tuple[Kind, str], ...]:
    """Return the values and series of both runs that cannot be compared, as they cannot be restored from the files.

    Returns:
        The kind and name of each; inputs first, then values and metrics. Without those that `diff_runs` returns.

    Example:
        >>> for lr in (0.1, 0.2):
        ...     with Journal.start("runs", "digits") as journal:
        ...         ctx = journal.context(FrozenContext, {"lr": lr, "tool": object()})

        >>> not_compared(load_run("runs/digits-0001.db"), load_run("runs/digits-0002.db"))
        (('input', 'tool'),)
    """
    return compared(one, other)[1]


def compared(one: Run[Any], other: Run[Any]) -> tuple[tuple[Difference, ...], tuple[tuple[Kind, str], ...]]:
    """Return the results of `diff_runs` and `not_compared`, going through each series, which may be long, once."""
    found: set[tuple[Kind, str]] = set()
    entries = one.entries, other.entries
    for own, others in (entries, entries[::-1]):
        missing = [entry for key, entry in own.items() if entry.stored.digest is None and key in others]
        found.update(("input" if entry.is_input else "value", entry.key) for entry in missing)
    for run, beside in ((one, other), (other, one)):
        found.update(("metric", name) for name in run.unrestorable_points if name in beside.metrics)
    differences = diff_runs(one, other)
    unknown = found - {(difference.what, difference.name) for difference in differences}
    return differences, tuple(sorted(unknown, key=lambda part: (_KINDS.index(part[0]), part[1])))


_KINDS: tuple[Kind, ...] = ("input", "value", "metric", "step", "artifact")
_NONE: tuple[None, None] = (None, None)
_Shown: TypeAlias = str | Callable[[], str] | None
_Compared: TypeAlias = dict[str, tuple[Any, _Shown]]
"""By name, the content by which two runs are compared, and how it is shown; None if the run has nothing of the name."""


def _text(shown: _Shown) -> str | None:
    return shown if shown is None or isinstance(shown, str) else shown()


def _texts(texts: Sequence[str | None]) -> tuple[str | None, ...]:
    """Return texts with their floats rounded, unless some differ only in the digits that this drops."""
    short_texts = [text and rounded(text) for text in texts]
    return tuple(texts if len(set(short_texts)) < len(set(texts)) else short_texts)


def _compared_parts(run: Run[Any]) -> tuple[_Compared, ...]:
    inputs: _Compared = {}
    values: _Compared = {}
    held = state_of(run.context)
    for key, entry in run.entries.items():
        kind = f"a {entry.stored.type or 'secret'}"
        shown = f"a {short_type(entry.stored.type or 'secret')}" if entry.missing else partial(held.short_value, key)
        (inputs if entry.is_input else values)[key] = (entry.stored.digest or kind, shown)
    points: _Compared = {name: (_digest_of(run, name), _summary(run, name)) for name in run.metrics}
    attempts = {attempt.step: "finished" if attempt.finished else "did not finish" for attempt in run.attempts}
    steps: _Compared = {name: (outcome, outcome) for name, outcome in attempts.items()}
    artifacts: _Compared = {
        made.name: (made.digest, f"{counted(made.size, 'byte')}, {made.digest[:8]}") for made in run.artifacts
    }
    return inputs, values, points, steps, artifacts


def _digest_of(run: Run[Any], name: str) -> str:
    """Return a digest of a series, a piece at a time: it may be long."""
    points = ((point.value, point.tags) for point in run.metrics.series(name))
    content = sha256()
    while piece := to_json([*islice(points, 4096)], fallback=_identified, bytes_mode="base64").removeprefix(b"[]"):
        content.update(piece)
    return content.hexdigest()


def _identified(value: Any) -> Any:
    """Return a JSON value that identifies a value without a JSON form: all of an array, else its repr."""
    is_array = hasattr(value, "dtype") and hasattr(value, "tobytes")
    return [str(value.dtype), value.shape, digest(value.tobytes())] if is_array else repr(value)


def _summary(run: Run[Any], name: str) -> str:
    series = run.metrics.series(name)
    return f"{counted(len(series), 'point')}, the last {short(series.last)}"
