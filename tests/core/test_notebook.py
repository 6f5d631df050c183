"""Tables, and what a notebook shows of a context, of what was measured and made, and of a run."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.completer import IPCompleter, provisionalcompleter
from IPython.core.formatters import DisplayFormatter
from pydantic import BaseModel, ConfigDict, SecretBytes, SecretStr
from typing_extensions import TypedDict

from crystallize import (
    FrozenContext,
    FrozenMetrics,
    Journal,
    LoggingContext,
    Metric,
    MetricSchema,
    SinkError,
    fork,
    load_run,
    merge,
)
from crystallize._base.html import as_html
from crystallize._base.table import ENDS, Table
from crystallize._base.text import cut, printable

from ..journal.journal_runs import die

SEALED = 4096
"""Points after which a part of a series is packed."""
HOSTILE = "<script>alert('&amp;')</script>\x1b[31m\u202e\"><img src=x onerror=alert(1)>"


class Seen(NamedTuple):
    """A table as a browser has it."""

    caption: str
    headings: list[str]
    rows: list[list[str]]


def seen(html: str) -> list[Seen]:
    """Return the tables in HTML, which has to be well-formed, and hold nothing but tables of text."""
    root = ElementTree.fromstring(f"<div>{html}</div>")
    assert {"table"} == {table.tag for table in root}
    assert {element.tag for element in root.iter()} <= {"div", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert {name for element in root.iter() for name in element.attrib} <= {"style", "scope", "colspan"}
    assert "color" not in " ".join(element.get("style", "") for element in root.iter())
    found = []
    for table in root:
        caption = table.find("caption")
        assert caption is not None
        assert {"col"} >= {heading.get("scope") for heading in table.iterfind("thead/tr/th")}
        assert {"row"} >= {heading.get("scope") for heading in table.iterfind("tbody/tr/th")}
        rows = [[cell.text or "" for cell in row] for row in table.iterfind("tbody/tr")]
        found.append(Seen(caption.text or "", [heading.text or "" for heading in table.iterfind("thead/tr/th")], rows))
    return found


def shown(value: Any) -> list[Seen]:
    """Return the tables that a notebook shows of a value."""
    format: Any = DisplayFormatter().format
    data, _ = format(value, include={"text/html"})
    return seen(data["text/html"])


def table(value: Any) -> Seen:
    """Return the one table that a notebook shows of a value."""
    (found,) = shown(value)
    return found


# The tables themselves


@given(st.text(), st.lists(st.text(), min_size=2, max_size=2), st.lists(st.tuples(st.text(min_size=1), st.text())))
def test_text_stays_text(title: str, headings: list[str], rows: list[tuple[str, str]]) -> None:
    """Whatever text is in a table is there as text, without what does not print, and cut where it is long."""
    (found,) = seen(as_html(Table(title, headings, rows)))
    columns = (0, 1) if any(second for _, second in rows) else (0,) if rows else ()

    assert cut(printable(title)) == found.caption
    assert [[cut(printable(row[at])) for at in columns] for row in rows] == found.rows
    assert ([cut(printable(headings[at])) for at in columns] if any(headings) else []) == found.headings


def test_long_text_is_cut() -> None:
    """A cell is short, however long its text is."""
    (found,) = seen(as_html(Table("t", ("a",), [("x" * 10_000,)])))

    assert [["x" * 197 + "..."]] == found.rows


@pytest.mark.parametrize(("count", "left_out"), [(0, 0), (1, 0), (2 * ENDS, 0), (2 * ENDS + 1, 1), (12_345, 12_305)])
def test_long_table_is_cut(count: int, left_out: int) -> None:
    """A long table has its first and its last rows, and says how many there are in between."""
    (found,) = seen(as_html(Table.of("t", ("number",), range(count), lambda number: (str(number),))))
    cells = [row[0] for row in found.rows]

    if left_out:
        assert f"… and {left_out:,} more" == cells.pop(ENDS)
        assert [str(number) for number in (*range(ENDS), *range(count - ENDS, count))] == cells
    else:
        assert [str(number) for number in range(count)] == cells


def test_nothing_to_show() -> None:
    """The first table is there if only by its title; of the others those in which something is."""
    empty, row = Table("empty", ("a",), []), Table("full", ("a", "b"), [("1", None)])

    assert ["empty"] == [table.caption for table in seen(as_html(empty, empty))]
    assert ["empty", "full"] == [table.caption for table in seen(as_html(empty, Table("none", ("a",), [(None,)]), row))]
    assert [] == seen(as_html(Table("none", ("a",), [(None,), ("",)])))[0].rows


# Contexts


class Train(BaseModel):
    lr: float
    epochs: int = 3
    accuracy: float
    later: int


def test_context() -> None:
    """A context shows its keys, who wrote them, and which are declared and not written."""
    ctx = FrozenContext[Train]({"lr": 0.1})
    with ctx.step("fit") as fit:
        fit.fields.accuracy = 0.9

    assert Seen(
        "FrozenContext[Train]: 3 keys",
        ["key", "value", "type", "written by"],
        [
            ["lr", "0.1", "float", "(at the start)"],
            ["epochs", "3", "int", "(at the start)"],
            ["accuracy", "0.9", "float", "fit"],
            ["later", "not written yet", "", ""],
        ],
    ) == table(ctx)
    assert Seen("FrozenContext: 0 keys", [], []) == table(FrozenContext())


def test_logging_context() -> None:
    """A step shows what was read, written and not found through it; looking counts as none of these."""
    ctx = FrozenContext({"lr": 0.1, "epochs": 3})
    with ctx.step("fit") as fit:
        fit["lr"]
        fit["accuracy"] = fit["lr"]
        assert "seed" not in fit
        assert None is fit.get("accuracy#2")
        ctx["accuracy#2"] = 1
        before = fit.reads, fit.absent
        found = table(fit)

    assert ("LoggingContext of step 'fit': 4 keys", "here") == (found.caption, found.headings[-1])
    assert {
        **{"lr": "read", "epochs": "", "accuracy": "written", "accuracy#2": "not found", "seed": "not found"},
    } == {row[0]: row[-1] for row in found.rows}
    assert before == (fit.reads, fit.absent)
    assert found == table(fit)
    assert "LoggingContext: 3 keys" == table(LoggingContext(FrozenContext({"a": 1, "b": 2, "c": 3}))).caption


def test_large_context() -> None:
    """A context of many keys shows some of them, and says how many more there are."""
    found = table(FrozenContext({f"k{at}": at for at in range(1000)}))

    assert "FrozenContext: 1,000 keys" == found.caption
    assert 2 * ENDS + 1 == len(found.rows)
    assert [f"… and {1000 - 2 * ENDS} more"] == found.rows[ENDS]


# Metrics


class Tags(TypedDict):
    epoch: int
    split: Literal["train", "val"]


class TrainMetrics(MetricSchema):
    loss = Metric(float, tags=Tags, unit="nats", goal="minimize", description="cross-entropy")
    seconds = Metric(float, unit="s")
    order = Metric(complex, goal="maximize")


def test_metrics() -> None:
    """Metrics show how each is declared, and what was measured of it, if anything."""
    metrics = FrozenMetrics(TrainMetrics)
    for epoch, loss in enumerate((0.5, 0.25, 0.75)):
        metrics.add(TrainMetrics.loss, loss, Tags(epoch=epoch, split="val"))

    assert Seen(
        "TrainMetrics: 1 metric",
        ["metric", "unit", "goal", "points", "last", "best", "description"],
        [
            ["loss", "nats", "minimize", "3", "0.75", "0.25", "cross-entropy"],
            ["seconds", "s", "", "0", "", "", ""],
            ["order", "", "maximize", "0", "", "", ""],
        ],
    ) == table(metrics)


def test_metrics_without_a_declaration() -> None:
    """What is not declared is shown by its points, and looking at what was not measured leaves no trace."""
    metrics = FrozenMetrics()
    metrics.series("nothing")
    metrics.add("loss", 0.5)

    assert Seen("Metrics: 1 metric", ["metric", "points", "last"], [["loss", "1", "0.5"]]) == table(metrics)
    assert Seen("nothing: 0 points", [], []) == table(metrics.series("nothing"))
    assert ["loss"] == list(metrics)


def test_best_of_what_has_no_order() -> None:
    """A best value that cannot be found is named by why not."""
    metrics = FrozenMetrics(TrainMetrics)
    metrics.add(TrainMetrics.order, 1j)
    metrics.add(TrainMetrics.order, 2j)

    assert "<TypeError>" == table(metrics).rows[-1][-2]
    assert "order: 2 points, the best <TypeError>" == table(metrics.series("order")).caption


def test_series() -> None:
    """A series shows its points with a column a tag."""
    ctx = FrozenContext(metrics=TrainMetrics)
    ctx.record(TrainMetrics.loss, 0.5, Tags(epoch=0, split="train"))
    with ctx.step("fit") as fit:
        fit.record(TrainMetrics.loss, 0.25, Tags(epoch=0, split="val"))
    series = ctx.metrics.series(TrainMetrics.loss)

    assert Seen(
        "loss in nats: 2 points, the best 0.25",
        ["point", "value", "step", "epoch", "split"],
        [["0", "0.5", "", "0", "'train'"], ["1", "0.25", "fit", "0", "'val'"]],
    ) == table(series)
    assert Seen(
        "loss in nats, split='val': 1 point, the best 0.25",
        ["point", "value", "step", "epoch", "split"],
        [["0", "0.25", "fit", "0", "'val'"]],
    ) == table(series.where(split="val"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ctx["', ["lr"]),
        ('ctx.fields["', ["lr"]),
        ('ctx.artifacts["', ["curve.svg"]),
        ('ctx.metrics["', ["loss"]),
        ("ctx.fie", [".fields"]),
    ],
)
def test_ipython_completes(text: str, expected: list[str]) -> None:
    """IPython completes names in brackets. It evaluates no attribute of a class that defines `__getattr__`."""
    ctx = FrozenContext({"lr": 0.1})
    ctx.artifacts.add("curve.svg", b"<svg/>")
    ctx.record("loss", 0.5)
    completer = IPCompleter(namespace={"ctx": ctx}, use_jedi=False)  # type: ignore[no-untyped-call]  # IPython lacks it
    with provisionalcompleter():
        assert expected == [found.text for found in completer.completions(text, len(text))]


def test_series_with_different_tags() -> None:
    """A tag that a point does not have is empty there, and one that is None says so."""
    metrics = FrozenMetrics()
    metrics.add("loss", [1], {"a": None})
    metrics.add("loss", 2, {"b": [3]})

    assert [["0", "[1]", "None", ""], ["1", "2", "", "[3]"]] == table(metrics.series("loss")).rows


@pytest.mark.parametrize("count", [1, 9, 10, 11, SEALED - 1, SEALED, SEALED + 1, SEALED + 7, 2 * SEALED + 3])
@pytest.mark.parametrize("branched", [False, True], ids=["own", "branched"])
def test_long_series(count: int, branched: bool) -> None:
    """A long series shows its first and its last points by their places, wherever they came from."""
    ctx: FrozenContext[Any] = FrozenContext()
    children = [fork(ctx, f"fold-{fold}").open() for fold in range(2)] if branched else []
    recorders: list[FrozenContext[Any]] = [*children] or [ctx]
    for at in range(count):
        recorders[at * len(recorders) // count].record("loss", at, tags={"at": at})
    for child in children:
        merge(ctx, child.delta())
    found = table(ctx.metrics.series("loss"))
    middle = [] if count <= 10 else [found.rows.pop(5)]
    places = [*range(min(count, 5)), *range(max(count - 5, 5), count)]

    assert ([] if count <= 10 else [[f"… and {count - 10:,} more"]]) == middle
    assert [[f"{at:,}", str(at), str(at)] for at in places] == [[row[0], row[1], row[-1]] for row in found.rows]
    assert [str(count - 1)] == [row[1] for row in table(ctx.metrics.series("loss").where(at=count - 1)).rows]


# Provenance and artifacts


def test_provenance() -> None:
    """Provenance shows what each step did, and what is worth a look."""
    ctx = FrozenContext[Train]({"lr": 0.1})
    with ctx.step("load") as load:
        load.get("accuracy")
    with suppress(ValueError), ctx.step("fit") as fit:
        fit.fields.lr
        fit.fields.accuracy = 0.9
        fit.record("loss", 0.5)
        fit.artifacts.add("model.json", b"")
        raise ValueError("no\nconvergence")
    steps, findings = shown(ctx.provenance)

    assert "Provenance: 2 steps" == steps.caption
    assert [
        *("step", "outcome", "started (UTC)", "took", "read", "not found", "wrote", "points", "artifacts", "error"),
    ] == steps.headings
    load_row, fit_row = steps.rows
    assert ["load", "finished", "", "accuracy"] == [*load_row[:2], *load_row[4:6]]
    assert ["fit", "failed", "lr", "", "accuracy", "loss: 1", "model.json", "ValueError: no convergence"] == [
        *fit_row[:2],
        *fit_row[4:],
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", fit_row[2])
    assert re.fullmatch(r"[\d.]+ [mµ]?s", fit_row[3])
    assert (
        Seen(
            "Worth a look",
            [],
            [
                ["inputs that no step read", "epochs"],
                ["declared and not written", "later"],
                ["looked for before it was written", "accuracy by load"],
            ],
        )
        == findings
    )
    assert [Seen("Provenance: 0 steps", [], [])] == shown(FrozenContext().provenance)


def test_artifacts() -> None:
    """Artifacts show their sizes, and nothing of what is in them."""
    ctx = FrozenContext()
    ctx.artifacts.add("a.txt", b"1")
    with ctx.step("fit") as fit:
        fit.artifacts.add("<b>".replace("<", "(").replace(">", ")"), b"12345")

    assert Seen(
        "Artifacts: 2 files",
        ["artifact", "size", "step"],
        [["a.txt", "1 byte", ""], ["(b)", "5 bytes", "fit"]],
    ) == table(ctx.artifacts)
    assert Seen("Artifacts: 0 files", [], []) == table(FrozenContext().artifacts)


# Runs


class Opaque:
    """What no JSON has."""


class Held(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    lr: float
    token: SecretStr
    model: Opaque


def test_run(tmp_path: Path) -> None:
    """A run shows how it ended, what it held, did and measured, and what it made."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext[Held], {"lr": 0.1, "token": "hunter2", "model": Opaque()})
        with ctx.step("fit") as fit:
            fit.record("loss", 0.5)
            fit.artifacts.add("model.json", b"12345")
    run = load_run(journal.path)
    facts, keys, steps, findings, metrics, artifacts = shown(run)

    assert "digits-0001" == facts.caption
    assert [["status", "finished"], ["file", str(journal.path)]] == [facts.rows[0], facts.rows[-1]]
    assert ["status", "started (UTC)", "took", "file"] == [row[0] for row in facts.rows]
    assert [
        ["lr", "0.1", "float", "(at the start)"],
        ["token", "**********", "", "(at the start)"],
        ["model", "not in the file", "Opaque", "(at the start)"],
    ] == keys.rows
    assert ("Steps", "fit") == (steps.caption, steps.rows[0][0])
    assert "Worth a look" == findings.caption
    assert Seen("Metrics", ["metric", "points", "last"], [["loss", "1", "0.5"]]) == metrics
    assert Seen("Artifacts", ["artifact", "size", "step"], [["model.json", "5 bytes", "fit"]]) == artifacts


def test_run_with_attempts(tmp_path: Path) -> None:
    """What died, what was done again and what is running is shown beside the steps that ended."""
    opened = Journal.start(tmp_path, "run")
    ctx = opened.context(FrozenContext)
    with ctx.step("load") as load:
        load["model"] = Opaque()
    with suppress(SinkError), ctx.step("fit"):
        opened.flush()
        running = {table.caption: table for table in shown(load_run(opened.path))}["Not finished"]
        die(opened)
    died = {table.caption: table for table in shown(load_run(opened.path))}["Not finished"]
    with suppress(OSError), Journal.resume(opened.path) as resumed:
        ctx = resumed.context(FrozenContext)
        with ctx.step("load"):
            pass
        with ctx.step("fit"):
            raise OSError("full")
    facts, *tables = shown(load_run(opened.path))
    rest = {table.caption: table for table in tables}

    assert ["step", "process", "started (UTC)", "outcome"] == running.headings
    assert [["fit", "1", "running"]] == [[*row[:2], row[3]] for row in running.rows]
    assert [["fit", "1", "died"]] == [[*row[:2], row[3]] for row in died.rows]
    assert [["load", "1", "done again"], ["fit", "1", "died"]] == [
        [*row[:2], row[3]] for row in rest["Not finished"].rows
    ]
    assert [["load", "finished"], ["fit", "failed"]] == [row[:2] for row in rest["Steps"].rows]
    assert ["error", "OSError: full"] in facts.rows


def test_run_by_another_schema(tmp_path: Path) -> None:
    """A run that a schema cannot take shows why, and what is known all the same."""
    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext, {"lr": 0.1, "seed": 1})
    (facts,) = shown(load_run(journal.path, Train))

    assert ["status", "finished"] == facts.rows[0]
    assert "not shown" == facts.rows[-1][0]
    assert "'seed' is not declared in Train" in facts.rows[-1][1]


# All of them


class Holding(NamedTuple):
    token: SecretStr


@dataclass
class Kept:
    tokens: list[Holding]


class Secrets(BaseModel):
    text: SecretStr
    content: SecretBytes
    deep: dict[str, list[Holding]]
    kept: Kept
    anything: Any
    late: SecretStr


def of_secrets() -> FrozenContext[Any]:
    """Return a context that holds secrets wherever it can."""
    held = Holding(SecretStr("hunter2"))
    ctx = FrozenContext[Secrets](
        {
            **{"text": "hunter2", "content": b"hunter2", "deep": {"a": [held]}, "kept": Kept([held])},
            "anything": {"b": held},
        }
    )
    with suppress(ValueError), ctx.step("fit") as fit:
        fit.fields.late = SecretStr("hunter2")
        raise ValueError("wrong token: hunter2")
    return ctx


SHOWN: dict[str, Callable[[FrozenContext[Any]], Any]] = {
    "context": lambda ctx: ctx,
    "log": LoggingContext,
    "metrics": lambda ctx: ctx.metrics,
    "series": lambda ctx: ctx.metrics.series("loss"),
    "provenance": lambda ctx: ctx.provenance,
    "artifacts": lambda ctx: ctx.artifacts,
}


@pytest.mark.parametrize("name", SHOWN)
def test_secrets(name: str) -> None:
    """No secret is shown, at any depth."""
    assert "hunter2" not in SHOWN[name](of_secrets())._repr_html_()


def test_secrets_of_a_run(tmp_path: Path) -> None:
    """Also a run that is loaded with the schema that knows of its secrets shows none."""

    class Plain(BaseModel):
        token: str

    class Secret(BaseModel):
        token: SecretStr

    with Journal.start(tmp_path, "run") as journal:
        journal.context(FrozenContext[Plain], {"token": "hunter2"})

    assert "hunter2" in load_run(journal.path, Plain)._repr_html_()
    assert "hunter2" not in load_run(journal.path, Secret)._repr_html_()


def hostile(ctx: FrozenContext[Any]) -> FrozenContext[Any]:
    """Put markup wherever text can be."""
    key, step = "<b>&lt;\"'", "<i onclick='x'>"
    ctx[key] = HOSTILE
    ctx["path"] = Path(HOSTILE.replace("/", ""))
    with suppress(ValueError), ctx.step(step) as fit:
        fit.get("<u>")
        ctx["<u>"] = 1
        fit.record("loss", HOSTILE, tags={HOSTILE: HOSTILE})
        fit.record("<s>", 1)
        fit.artifacts.add("&lt;b&gt;'", b"")
        raise ValueError(HOSTILE)
    return ctx


@pytest.mark.parametrize("name", SHOWN)
def test_data_is_no_markup(name: str) -> None:
    """Whatever names, values and errors hold is text."""
    assert shown(SHOWN[name](hostile(FrozenContext())))


def test_data_of_a_run_is_no_markup(tmp_path: Path) -> None:
    """So it is in a run, whose file anybody may have written."""
    with Journal.start(tmp_path, "&lt;b&gt;'") as journal:
        hostile(journal.context(FrozenContext))
    tables = shown(load_run(journal.path))

    assert ["&lt;b&gt;'-0001", "Keys", "Steps", "Worth a look", "Metrics", "Artifacts"] == [
        table.caption for table in tables
    ]
