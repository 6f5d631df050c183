"""A run, or several compared, as one HTML page, which opens offline and needs no other file.

A run's names and values are data on the page, never markup or script. Texts are escaped, and the curves are JSON. A
Content-Security-Policy allows the two scripts of the page by their digests, and nothing from elsewhere.
"""

import os
import shlex
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from .._base.optional import OptionalModule
from .._base.text import printable, short
from .._journal.diff import differences_of
from .._journal.find import writable
from .._journal.loaded_run import Run
from .._tables.export import as_json
from .._tables.run_description import Description, describe
from ..errors import FrameError
from .artifact_previews import artifact_previews
from .charts import Chart, charts
from .comparison import comparison_of
from .lineage import lineage_layout
from .parallel_plot import parallel_plots
from .results import results_of, value_tiles
from .series_figure import FONT
from .template_filters import TEMPLATE_FILTERS
from .timeline import timeline_layout

if TYPE_CHECKING:
    import jinja2
    import markupsafe
    import plotly
else:
    jinja2, markupsafe, plotly = (OptionalModule(module, "report") for module in ("jinja2", "markupsafe", "plotly"))


_MAX_DIFFERENCES: Final = 60
"""Columns of the matrix of differences."""


def write_report(run: Run[Any], path: str | os.PathLike[str], *, beside: Run[Any] | Sequence[Run[Any]] = ()) -> None:
    """Write a run as one HTML page.

    Args:
        run: A run from `load_run`.
        path: The file to write. An existing file is overwritten.
        beside: One run or several to compare it with.

    Raises:
        FrameError: An argument is not a run, or a run was given twice.
        JournalError: The page would overwrite the file of a run.
        MissingExtraError: Jinja2 or plotly is not installed.
        OSError: The file cannot be written.

    Example:
        >>> with Journal.start("runs", "digits") as journal:
        ...     ctx = journal.context(FrozenContext, {"lr": 0.1})

        >>> write_report(load_run("runs/digits-0001.db"), "digits.html")
    """
    runs: list[Run[Any]] = [run, beside] if isinstance(beside, Run) else [run, *beside]
    for given in runs:
        if not isinstance(given, Run):
            raise FrameError(short(given), "a page is of a run, as load_run(path) gives it")
    paths = [given.path.resolve() for given in runs]
    for index, given in enumerate(runs):
        if paths[index] in paths[:index]:
            raise FrameError(str(given.path), "this run is given twice, and would be compared with itself")
    writable(path).write_bytes(_html(runs).encode())


def _html(runs: Sequence[Run[Any]]) -> str:
    template, facts = page_facts(runs)
    style = style_sheet()
    script = page_script(for_many=len(runs) > 1)
    library = plotly_script()
    return (
        page_environment()
        .get_template(template)
        .render(
            facts,
            frame="page.html",
            policy=_policy(library, script),
            style=markupsafe.Markup(style),
            script=markupsafe.Markup(script),
            plotly=markupsafe.Markup(library),
        )
    )


def page_facts(runs: Sequence[Run[Any]]) -> tuple[str, dict[str, Any]]:
    """Return the template of the page of one run or several, and the variables that it needs besides its frame."""
    template, all_charts, facts = _one_run(runs[0]) if len(runs) == 1 else _many_runs(runs)
    data = markupsafe.Markup(_script_json([chart.as_data() for chart in all_charts]))
    return template, {
        **facts,
        "charts": all_charts,
        "data": data,
        "sources": _sources(runs),
        "version": version("crystallize-context"),
    }


def style_sheet() -> str:
    """Return the style sheet of the page."""
    return _text_of("crystallize", "_page/templates/page.css").replace("FONT", FONT)


def page_script(*, for_many: bool) -> str:
    """Return the script of the page of one run, or of several."""
    names = ["page.js", "runs.js"] if for_many else ["page.js"]
    return "".join(_text_of("crystallize", f"_page/templates/{name}") for name in names)


def plotly_script() -> str:
    """Return the script of plotly, which the package plotly brings."""
    return _text_of(plotly.__name__, "package_data/plotly.min.js")


def _sources(runs: Sequence[Run[Any]]) -> list[str]:
    """Return the files of runs, or their folder if it contains several."""
    folders = {run.path.parent for run in runs}
    return [str(path) for path in (folders if len(folders) < len(runs) else (run.path for run in runs))]


def _one_run(run: Run[Any]) -> tuple[str, list[Chart], dict[str, Any]]:
    """Return the template of the page of a run, its charts, and the other facts of the page."""
    all_charts = list(charts([run]))
    view = _view(run)
    results, tiles = results_of(all_charts), value_tiles(view["facts"].values)
    facts = {"title": run.name, "view": view, "results": results, "tiles": tiles}
    return "one_run.html", all_charts, facts


def _many_runs(runs: Sequence[Run[Any]]) -> tuple[str, list[Chart], dict[str, Any]]:
    """Return the template of the page of several runs, their charts, and the other facts of the page."""
    compared = comparison_of(runs)
    found = charts([runs[run] for run in compared.drawn], [compared.labels[run] for run in compared.drawn])
    all_charts = [chart for chart in found if max(chart.counts) > 1]
    differences = differences_of(runs)
    # In the order of the differences, which have one kind after the other.
    kinds = [(kind, len([*rows])) for kind, rows in groupby(row.what for row in differences[:_MAX_DIFFERENCES])]
    facts = {"title": compared.title, "compared": compared, "plots": parallel_plots(compared)}
    return "many_runs.html", all_charts, {**facts, "differences": differences, "kinds": kinds}


def _printable(value: Any) -> Any:
    return printable(value) if type(value) is str else value


def page_environment(*folders: str) -> "jinja2.Environment":
    """Return the environment of the templates of the page, and of those in other folders of the package."""
    loaders = [jinja2.PackageLoader("crystallize", folder) for folder in ("_page/templates", *folders)]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # A run's texts may contain characters that turn the direction of reading.
        finalize=_printable,
    )
    environment.filters.update(TEMPLATE_FILTERS)
    return environment


def _text_of(package: str, path: str) -> str:
    return (files(package) / path).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    """Return a Content-Security-Policy that allows scripts by their digests; plotly sets styles from its script."""
    digests = (b64encode(sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _script_json(value: object) -> str:
    """Return JSON that cannot end the script element around it, and contains no markup."""
    text = as_json(value).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


_MAX_REASONS: Final = 400
"""Steps whose reason is shown, and steps of an earlier run that are named."""


def _taken_over(facts: Description) -> dict[str, list[str]]:
    """Return the steps that were taken over, by the run in which they ran, without their inner steps."""
    found: dict[str, list[str]] = {}
    names = {step.name for step in facts.steps if step.reused_from is not None}
    for step in facts.steps:
        if step.reused_from is not None and step.name.rpartition("/")[0] not in names:
            found.setdefault(step.reused_from, []).append(step.name)
    return {run: [*names[:_MAX_REASONS], *(["…"] if len(names) > _MAX_REASONS else [])] for run, names in found.items()}


def _view(run: Run[Any]) -> dict[str, Any]:
    """Return a run as the templates see it."""
    facts = describe(run)
    steps = (*facts.steps, *facts.dead_attempts)
    seekers: dict[str, list[str]] = {}
    for step in steps:
        for key in step.absent:
            seekers.setdefault(key, []).append(step.name)
    return {
        "name": run.name,
        "facts": facts,
        "timeline": timeline_layout(facts),
        "lineage": lineage_layout(facts),
        "artifacts": list(artifact_previews(run.artifacts)),
        "unread_inputs": run.provenance.unread_inputs,
        # The declared keys that were never written, each with the steps that looked for it.
        "unwritten": {key: seekers.get(key, []) for key in run.unwritten},
        "early_reads": run.provenance.early_reads,
        "taken_over": _taken_over(facts),
        "reasons": [step for step in steps if step.reason is not None][:_MAX_REASONS],
        "show_command": f"crystallize show {shlex.quote(facts.path)}",
        "seconds_at_least": sum(process.seconds for process in facts.sessions),
    }
