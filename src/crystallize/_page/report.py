"""A run as one HTML page, which opens offline and needs nothing beside it.

What a run holds is data on it, never markup or script: texts are escaped where they stand, the curves are JSON, and a
Content-Security-Policy allows the two scripts of the page by their digests, and nothing from elsewhere.
"""

import base64
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .._base.optional import Extra
from .._base.text import MASK, counted, lasted, printable, short
from .._core.artifacts import Artifact, ArtifactLog
from .._core.provenance import EarlyRead
from .._journal.loaded_run import Run, diff_runs, writable
from .._tables.export import ValueRow, as_json
from .._tables.run_description import Description, describe
from ..errors import FrameError
from .charts import charts
from .drawings import Timeline, Weave, timeline, weave
from .plots import FONT

if TYPE_CHECKING:
    import jinja2
    import markupsafe
    import plotly
else:
    jinja2, markupsafe, plotly = (Extra(module, "report") for module in ("jinja2", "markupsafe", "plotly"))

__all__ = ["write_report"]


def write_report(run: Run[Any], path: str | os.PathLike[str], *, beside: Run[Any] | Sequence[Run[Any]] = ()) -> None:
    """Write a run as one HTML page.

    Args:
        run: The run, as `load_run` gives it.
        path: The file to write; one that is there is written over.
        beside: Another run, or others, to compare it with.

    Raises:
        FrameError: What was given is no run, or a run was given twice.
        JournalError: It would be written over the file of a run.
        MissingExtraError: Jinja2 or plotly is not installed.
        OSError: The file cannot be written.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> write_report(load_run("runs/digits-0001.db"), "digits.html")
    """
    runs: list[Run[Any]] = [run, beside] if isinstance(beside, Run) else [run, *beside]
    for one in runs:
        if not isinstance(one, Run):
            raise FrameError(short(one), "a page is of a run, as load_run(path) gives it")
    files = [one.path.resolve() for one in runs]
    for at, one in enumerate(runs):
        if files[at] in files[:at]:
            raise FrameError(str(one.path), "this run is given twice, and would be compared with itself")
    writable(path).write_bytes(_page(runs).encode())


def _page(runs: Sequence[Run[Any]]) -> str:
    page = _environment().get_template("page.html")
    found = list(charts(runs))
    names = _names(runs)
    script, library = _own("page.js"), _plotly()
    return page.render(
        runs=[_Shown.of(name, run) for name, run in zip(names, runs, strict=True)],
        charts=found,
        differences=[diff_runs(runs[0], other) for other in runs[1:]],
        policy=_policy(library, script),
        style=markupsafe.Markup(_own("page.css").replace("FONT", FONT)),
        script=markupsafe.Markup(script),
        plotly=markupsafe.Markup(library),
        data=markupsafe.Markup(_json([chart.as_data(names) for chart in found])),
        version=version("crystallize-context"),
    )


def _environment() -> "jinja2.Environment":
    def lines(text: str) -> "markupsafe.Markup":
        return markupsafe.Markup("\n").join(map(printable, text.splitlines()))

    def error(text: str) -> tuple["markupsafe.Markup", "markupsafe.Markup", int]:
        begin, rest, left_out = _told_at_first(text)
        return lines(begin), lines(rest), left_out

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("crystallize", "_page/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printed,
    )
    filters: dict[str, Any] = environment.filters
    filters |= {"counted": counted, "took": lasted, "number": _number, "size": _size, "error": error}
    filters |= {"told": _told, "type": _last_name, "matrix": _matrix}
    return environment


def _printed(value: Any) -> Any:
    """Return what is to print of a value: what a run holds may be there to turn the direction of reading."""
    return printable(value) if type(value) is str else value


def _names(runs: Sequence[Run[Any]]) -> list[str]:
    """Return the names of runs, or, where two have the same, their files."""
    names = [printable(run.name) for run in runs]
    return names if len(set(names)) == len(names) else [printable(str(run.path)) for run in runs]


def _own(name: str) -> str:
    return (files("crystallize") / "_page" / "templates" / name).read_text(encoding="utf-8")


def _plotly() -> str:
    return (files(plotly.__name__) / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    """Return a Content-Security-Policy that allows scripts by their digests; plotly sets styles from its script."""
    digests = (base64.b64encode(sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _json(value: object) -> str:
    """Return JSON that ends no script, and in which nothing is markup."""
    text = as_json(value).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _told_at_first(error: str) -> tuple[str, str, int]:
    """Return the first line of an error, what is to be opened of the rest, and how many characters follow that.

    A short one is a beginning as a whole.
    """
    text = "\n".join(line.rstrip() for line in error.splitlines() if line.strip())
    if len(text) <= _BEGIN and text.count("\n") < _LINES:
        return text, "", 0
    begin = text[:_BEGIN].partition("\n")[0]
    rest = text[len(begin) :].removeprefix("\n")
    return begin, rest[:_TEXT], max(0, len(rest) - _TEXT)


_BEGIN: Final = 200
"""Characters of an error that are shown at first, at the most."""
_LINES: Final = 3
"""Lines of an error that is shown as a whole, at the most."""


class _File(NamedTuple):
    """An artifact, with what of it can be shown."""

    name: str
    size: int
    step: str | None
    picture: str | None
    """The picture that it is, as a data URL."""
    lines: tuple[str, ...]
    """The first lines of the text that it is."""
    note: str
    """What is to be said of what is shown, or why nothing is."""


@dataclass(frozen=True)
class _Shown:
    """What a page shows of one run."""

    name: str
    run: Description
    timeline: Timeline
    lineage: Weave
    files: tuple[_File, ...]
    unread: tuple[str, ...]
    """The inputs that no step has read."""
    unwritten: dict[str, tuple[str, ...]]
    """The keys that are declared and not written, each with the steps that looked for it."""
    early: tuple[EarlyRead, ...]
    show: str
    """The command that leaves nothing out."""
    last_seen: float
    """How long it took to the last thing that is known of it, in seconds."""

    @classmethod
    def of(cls, name: str, run: Run[Any]) -> "_Shown":
        """Gather it."""
        facts = describe(run)
        steps = (*facts.steps, *facts.dead_attempts)
        looked = {key: tuple(one.name for one in steps if key in one.absent) for key in run.unwritten}
        seen = [one.ended or one.started for one in steps] + [one.ended or one.started for one in facts.sessions]
        return cls(
            name=name,
            run=facts,
            timeline=timeline(facts),
            lineage=weave(facts),
            files=tuple(_files(run.artifacts)),
            unread=run.provenance.unread_inputs,
            unwritten=looked,
            early=run.provenance.early_reads,
            show=f"crystallize show {shlex.quote(facts.path)}",
            last_seen=max((max(seen) - facts.started).total_seconds(), 0),
        )


_PICTURES: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"<svg": "image/svg+xml",
    b"<?xml": "image/svg+xml",
}
"""How the pictures begin that any browser shows."""
_ALL_PICTURES: Final = 20_000_000
"""Bytes of pictures in a page, at the most."""
_TEXT: Final = 4000
"""Characters of a text that are shown, at the most."""


def _files(artifacts: ArtifactLog) -> Iterator[_File]:
    left = _ALL_PICTURES
    for one in artifacts:
        kind, size = _kind(one), len(one.data)
        picture: str | None = None
        lines: tuple[str, ...] = ()
        if kind is not None and size <= left:
            left -= size
            picture, note = f"data:{kind};base64,{base64.b64encode(one.data).decode()}", ""
        elif kind is not None:
            note = "A picture that is too large to be shown here."
        elif text := _text(one.data):
            lines = tuple(text.splitlines())
            note = "Text" if len(text.encode()) == size else "The beginning of the text"
        else:
            note = "Neither a picture nor a text." if size else "It is empty."
        yield _File(one.name, size, one.step, picture, lines, note)


def _kind(artifact: Artifact) -> str | None:
    """Return the media type of a picture; None for anything else."""
    if artifact.data[:4] == b"RIFF" and artifact.data[8:12] == b"WEBP":
        return "image/webp"
    kind = next((kind for start, kind in _PICTURES.items() if artifact.data.startswith(start)), None)
    return kind if kind != "image/svg+xml" or b"<svg" in artifact.data[:1000] else None


def _text(data: bytes) -> str:
    """Return the beginning of a text; nothing of what is none."""
    try:
        # One character more, of which the bytes may be cut.
        text = data[: 4 * _TEXT].decode(errors="strict" if len(data) <= 4 * _TEXT else "ignore")
    except UnicodeDecodeError:
        return ""
    return "" if "\0" in text else text[:_TEXT]


def _told(row: ValueRow) -> str:
    """Return the value of a key in short, or why it is not there."""
    return {None: _value(row.value), "secret": MASK, "not restorable": "not in the file"}[row.missing]


def _last_name(name: str) -> str:
    """Return the name of a type without that of its module."""
    return name.rpartition(".")[2]


def _value(value: Any) -> str:
    """Return a value in short, of an array its type and shape."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{_TIMES.join(map(str, value.shape)) or 'one'} of {value.dtype}"
    if isinstance(value, list) and any(hasattr(one, "dtype") for one in value):
        more = ", …" if len(value) > _ITEMS else ""
        return f"[{', '.join(map(_value, value[:_ITEMS]))}{more}]"
    return short(value)


_ITEMS: Final = 4
_TIMES: Final = " \N{MULTIPLICATION SIGN} "


def _matrix(value: Any) -> list[list[str]] | None:
    """Return the cells of a small array of two dimensions; None for anything else."""
    if getattr(value, "ndim", None) != 2 or not 0 < max(value.shape) <= _SIDE:
        return None
    return [[_number(one) if isinstance(one, float) else short(one) for one in row] for row in value.tolist()]


_SIDE: Final = 16
"""Rows and columns of an array that is shown whole, at the most."""


def _number(value: float) -> str:
    """Return a number as text: of four digits, or whole."""
    text = f"{value:,.0f}" if value == round(value) and abs(value) < _WHOLE else f"{value:#.4g}"
    return text.removesuffix(".").replace("-", "\N{MINUS SIGN}")


_WHOLE: Final = 1e9


def _size(size: int) -> str:
    for unit, one in (("MB", 1e6), ("kB", 1e3)):
        if size >= one:
            return f"{size / one:.3g} {unit}"
    return counted(size, "byte")
