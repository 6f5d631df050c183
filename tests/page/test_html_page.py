"""A run as a page: what stands on it, and that nothing of a run is markup or script there."""

import base64
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from crystallize import (
    FrameError,
    FrozenContext,
    Journal,
    JournalError,
    Metric,
    MetricSchema,
    MissingExtraError,
    fan_out,
    load_run,
)
from crystallize._base.optional import OptionalModule
from crystallize._page.lineage import lineage_layout
from crystallize._tables.run_description import describe
from crystallize.report import write_report
from crystallize.runs import note_run, tag_run

from .page_runs import HOSTILE, TURNED, made
from .written_page import Page, page_of

# What stands on it


class Measured(MetricSchema):
    loss = Metric(float, unit="nats", goal="minimize", description="Cross entropy.")
    steps = Metric(int)
    norm = Metric(float)
    note = Metric(str)


class Held(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    lr: float
    token: SecretStr
    note: str = "for people"
    rows: np.ndarray[Any, Any]
    table: np.ndarray[Any, Any]
    parts: list[np.ndarray[Any, Any]]
    late: int
    limit: int
    model: object


def test_what_one_asks_first(tmp_path: Path) -> None:
    """At the top stands whether it finished, how long it took, and what came out of each metric against its goal."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext, metrics=Measured)
        with ctx.step("fit") as fit:
            for value in (3.0, 0.25, 1234567.0, -0.00012345):
                fit.record(Measured.loss, value)
            fit.record(Measured.steps, 12000)
            fit.record(Measured.norm, 1.0)
            fit.record(Measured.norm, float("nan"))
            fit.record(Measured.note, "warm")
    text = page_of(journal.path).text

    assert ["Run", "digits-0001"] == text.splitlines()[:2]
    assert "Status\n✓ finished" in text
    assert "Steps finished\n1 of 1" in text
    assert "Goal Best at Last Course\nloss nats ↓ minimize -0.0001234 position 3 -0.0001234" in text
    assert "Other metrics Least Most Last Course\nsteps 12,000 12,000 12,000\nnorm 1 1 nan\n" in text
    assert "note 1 point, no number that can be drawn; the last: 'warm'" in text
    assert text.index("Results\nGoal") < text.index("Curves\nThis browser") < text.index("Steps\nStep")
    assert "Cross entropy." in text


def test_values_with_types(tmp_path: Path) -> None:
    """Each value stands there with its type and the step that wrote it; of an array its shape, of a small one all."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext[Held], {"lr": 0.1, "token": "hunter2"})
        with ctx.step("load") as load:
            load.fields.rows = np.zeros((300, 4))
            load.fields.table = np.array([[1.5, 0.0], [20.0, -3.25]])
            load.fields.parts = [np.zeros(3), np.zeros(()), *[np.zeros((2, 0))] * 3]
            load.fields.model = object()
    text = page_of(journal.path).text

    assert "lr float input 0.1" in text
    assert "token input **********" in text
    assert "rows ndarray load 300 x 4 of float64" in text
    assert "table ndarray load 2 x 2 of float64\n1.500 0\n20 -3.250" in text
    assert "parts list load [3 of float64, one of float64, 2 x 0 of float64, 2 x 0 of float64, …]" in text
    assert "model object load not in the file" in text
    assert "hunter2" not in journal.path.with_suffix(".html").read_text(encoding="utf-8")


def test_loose_ends(tmp_path: Path) -> None:
    """It says what nobody read, what is declared and was never written, and what was read before it was written."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext[Held], {"lr": 0.1, "token": "hunter2"})
        with ctx.step("load") as load:
            load.get("late"), load.get("limit"), load.fields.lr, load.fields.token
        with ctx.step("fit") as fit:
            fit.fields.late = 3
        ctx.fields.rows = np.zeros(3)
        with ctx.step("look"):
            pass
    text = page_of(journal.path).text

    assert "Inputs that no step has read\nnote" in text
    assert "Declared and never written\ntable , parts , limit (looked for by load ), model" in text
    assert "Read before it was written\nlate by load , written later by fit" in text


def test_nothing(tmp_path: Path) -> None:
    """Of a run in which nothing happened there is a page that says so."""
    with Journal.start(tmp_path, "digits") as journal:
        journal.context(FrozenContext)
    page = page_of(journal.path)

    for line in (
        *(
            "Nothing was measured.",
            "No step was opened.",
            "No step read or wrote a key or an artifact.",
            "No series holds numbers.",
        ),
        *("No key was written.", "No artifact was added."),
    ):
        assert line in page.lines
    assert [] == page.data


def test_failures_and_dead_attempts(resumed_page: Page) -> None:
    """Each process that wrote it has its steps, failures and dead attempts marked, with the error in its lines."""
    text = resumed_page.text

    assert re.search(r"Process 1, started [-0-9: ]+: died", text)
    assert re.search(r"Process 2, resumed [-0-9: ]+: finished", text)
    assert re.search(r"flaky dead attempt ✕ failed [\d.]+ (ms|µs|s)", text)
    assert "RuntimeError: out of memory: tried to allocate" in text
    assert "fit dead attempt † died -" in text
    assert re.search(r"Took\n[\d.]+ m?s", text)
    assert "Steps finished\n4 of 4" in text
    assert "late by load , written later by flaky" in text


def test_step_that_was_done_again(tmp_path: Path) -> None:
    """A step that finished, and was done again as its value could not be restored, is no dead attempt."""
    with Journal.start(tmp_path, "digits") as journal, journal.context(FrozenContext).step("load") as load:
        load["rows"] = object()
    with Journal.resume(journal.path) as journal, journal.context(FrozenContext).step("load") as load:
        load["rows"] = 3
    text = page_of(journal.path).text

    assert "load \N{CLOCKWISE OPEN CIRCLE ARROW} done again" in text
    assert "load \N{CHECK MARK} finished" in text
    assert "dead attempt" not in text


def test_long_error(tmp_path: Path) -> None:
    """Of a long error the first line, or what of it fits, stands there; the rest can be opened, without empty lines."""
    long = f"no rows:\n\n\n{'the column is empty' * 50}\n\nand that was all"
    with suppress(ValueError), Journal.start(tmp_path, "digits") as journal, journal.context(FrozenContext).step("fit"):
        raise ValueError(long)
    with suppress(ValueError), Journal.start(tmp_path, "other") as other, other.context(FrozenContext).step("fit"):
        raise ValueError(f"{'x' * 100}{'y' * 10_000}")
    page = page_of(journal.path)
    summaries = [line for line in page.lines if line.startswith("ValueError: no rows:…")]
    assert 2 == len(summaries)
    for line in summaries:
        assert line.startswith("ValueError: no rows:… the column is empty")
        assert "the column is empty and that was all" in line
    assert "\n\n" not in page.html[page.html.index("ValueError: no rows") :].partition("</details>")[0]
    page = page_of(other.path)
    assert [2, 2] == [page.text.count(f"{'x' * 100}{'y' * 88}… y"), page.text.count("y" * 4000)]
    assert f"Left out: 5,912 more characters; crystallize show {other.path} has all." in page.text


class Pair(NamedTuple):
    """A value that only a schema restores."""

    left: int
    right: int


def test_points_that_the_file_cannot_give_back(tmp_path: Path) -> None:
    """At a metric there stands of how many points the file cannot give all back, also of several runs."""
    paths = []
    for count in (2, 1):
        with Journal.start(tmp_path, "digits") as journal:
            ctx = journal.context(FrozenContext)
            ctx.record("loss", 1.0)
            for n in range(3):
                ctx.record("span", Pair(1, 2) if n < count else n)
            ctx.record("pair", Pair(3, 4))
        paths.append(journal.path)
    text, both = page_of(paths[0]).text, page_of(*paths).text

    assert "loss 1 1 1\nspan 2 points not restorable 2 2 2\n" in text
    assert "pair 1 point not restorable 1 point, no number that can be drawn; the last: [3, 4]" in text
    assert "span 3 points of 2 runs not restorable" in both


def test_last_that_cannot_be_drawn(tmp_path: Path) -> None:
    """Of a last value that is no number to draw there stands what it is, cut if it is long."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext)
        for name, value in {"loss": float("inf"), "huge": 10**400, "flag": True, "note": "warm " * 20}.items():
            ctx.record(name, 1.0)
            ctx.record(name, value)
            ctx.record(f"{name} alone", value)
    text = page_of(journal.path).text

    assert "loss 1 1 inf\n" in text
    assert re.search(r"huge 1 1 10+\.\.\.0+…\n", text)
    assert "flag 1 1 True\n" in text
    assert "note 1 1 'warm warm warm warm warm warm …\n" in text
    assert "flag alone 1 point, no number that can be drawn; the last: True" in text
    assert "huge alone 1 point, no number that can be drawn; the last: 1000" in text
    assert "1 of 2 points is no number that can be drawn, and a gap." in text
    assert "all 2 1 0 1 0 inf\n" in text


def test_run_that_died(tmp_path: Path, died_page: Page) -> None:
    """Of a run that died it says how long it lived at least; of one that failed, what ended it."""
    died = died_page.text
    with suppress(OSError), Journal.start(tmp_path, "failed") as journal:
        journal.context(FrozenContext)
        raise OSError("no\nspace")
    failed = page_of(tmp_path / "failed-0001.db").text

    assert re.search(r"Status\n† died\nTook\nat least [\d.]+ (ms|s)", died)
    assert "Status\n✕ failed" in failed
    assert "OSError: no space" in failed


def test_run_that_is_running(tmp_path: Path) -> None:
    """A run that another process is writing has a page too."""
    with Journal.start(tmp_path, "digits") as journal, journal.context(FrozenContext).step("fit"):
        journal.flush()
        text = page_of(journal.path).text

    assert "Status\n… running" in text
    assert "fit … running" in text


def test_note_and_tags(tmp_path: Path) -> None:
    """The note and the tags of a run are at the top of its page, as text."""
    with Journal.start(tmp_path, "digits") as journal:
        journal.context(FrozenContext)
    assert "Tags" not in page_of(journal.path).text
    note_run(journal.path, "the <b>baseline</b>\nof all")
    tag_run(journal.path, "paper", "baseline")
    page = page_of(journal.path)

    assert "the &lt;b&gt;baseline&lt;/b&gt;<br>of all" in page.html
    assert "Tags\nbaseline, paper" in page.text


def test_traceback(tmp_path: Path) -> None:
    """The page of a run that failed has its traceback, with its indents, below the error; as text, never markup."""
    with suppress(RuntimeError), Journal.start(tmp_path, "digits") as journal:
        journal.context(FrozenContext)
        raise RuntimeError("<b>no memory</b>")
    page = page_of(journal.path)

    assert "Traceback (most recent call last):" in page.text
    assert "\n    raise RuntimeError(" in page.html
    assert "RuntimeError: &lt;b&gt;no memory&lt;/b&gt;\n</pre>" in page.html


def test_lineage_of_what_failed(tmp_path: Path, died_run: Path, resumed_run: Path) -> None:
    """What a step wrote that failed, or died, stays in the run, and so in its lineage; what was done again does not."""
    with (
        suppress(RuntimeError),
        Journal.start(tmp_path, "digits") as journal,
        journal.context(FrozenContext, {"lr": 0.1}).step("fit") as fit,
    ):
        fit["loss"] = fit["lr"]
        raise RuntimeError("no memory")
    failed = lineage_layout(describe(load_run(tmp_path / "digits-0001.db")))
    died = lineage_layout(describe(load_run(died_run)))

    assert (["fit"], [None, 0]) == ([column.label for column in failed.columns], [row.writer for row in failed.rows])
    assert ["load"] == [column.label for column in died.columns]
    assert ["load", "flaky", "fit"] == [
        column.label for column in lineage_layout(describe(load_run(resumed_run))).columns
    ]


# What it may not do


def test_policy_allows_its_scripts_alone(made_page: Page) -> None:
    """The policy allows nothing but the digests of the page's scripts, pictures in it and styles in it."""
    page = made_page
    rules = {name: rest for name, _, rest in (rule.strip().partition(" ") for rule in page.policy.split(";"))}
    run = [text for attrs, text in page.scripts if "type" not in attrs]
    kept = [text for attrs, text in page.scripts if attrs.get("id") == "plotly"]
    digests = [base64.b64encode(sha256(text.encode()).digest()).decode() for text in (*kept, *run)]

    assert {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"} == set(rules)
    assert ("'none'", "data:") == (rules["default-src"], rules["img-src"])
    assert [f"'sha256-{digest}'" for digest in digests] == rules["script-src"].split()
    assert (1, 1) == (len(run), len(kept))


def test_fetches_nothing(hostile_page: Page) -> None:
    """No tag names a file or an address."""
    named = [
        attrs[name] for _, attrs in hostile_page.tags for name in ("src", "href", "action", "data") if name in attrs
    ]

    assert named
    assert all(str(target).startswith(("data:image/", "#")) for target in named)


def test_hostile_names(hostile_page: Page, resumed_page: Page) -> None:
    """Whatever the names and values in a run are, the page has no other tags, and shows each as it is."""
    page, plain = hostile_page, resumed_page
    handlers = {name for _, attrs in page.tags for name in attrs if name.startswith("on")}
    metrics = {chart["name"] for chart in page.data}

    assert {"script", "style", "meta"} & {tag for tag, _ in page.tags} == {"script", "style", "meta"}
    assert len(plain.scripts) == len(page.scripts)
    assert set() == handlers
    assert {"b"} >= {tag for tag, _ in page.tags if tag in ("b", "a", "img") and tag == "b"}
    assert {"all", *HOSTILE} == metrics
    for name in HOSTILE:
        assert " ".join(name.split()) in page.text


def test_hostile_text_ends_nothing(hostile_page: Page) -> None:
    """In the data of the page there is no sign that could end the script that it stands in."""
    text = hostile_page.scripts[0][1]

    assert not set("<>&\u2028\u2029") & set(text)
    assert "\\u003cscript\\u003e" in text


def test_direction_of_reading(hostile_page: Page) -> None:
    """What would turn the direction of reading, or hide, is shown by its code."""
    text = hostile_page.html
    own = text.partition('id="plotly"')[0]

    assert not {"\u202e", "\u2066", "\u200b"} & set(own)
    assert "safe\\u202egnp.exe" in own
    assert TURNED not in text


def test_secrets_are_masked(tmp_path: Path) -> None:
    """A secret is nowhere on the page, also of a run that is loaded with its schema."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext[Held], {"lr": 0.1, "token": "hunter2"})
        with pytest.raises(ValueError, match="hunter2"), ctx.step("fit") as fit:
            raise ValueError(fit.fields.token.get_secret_value())
    page = tmp_path / "page.html"
    write_report(load_run(journal.path, Held), page)

    assert "hunter2" not in page.read_text(encoding="utf-8")
    assert "**********" in page.read_text(encoding="utf-8")


# Many things


def many_keys(ctx: FrozenContext[Any]) -> None:
    for n in range(1005):
        ctx[f"k{n}"] = n


def many_steps(ctx: FrozenContext[Any]) -> None:
    for n in range(420):
        with ctx.step(f"s{n}"):
            pass


def many_failures(ctx: FrozenContext[Any]) -> None:
    def fail(child: FrozenContext[Any], item: int) -> None:
        raise ValueError(f"no rows in {item}")

    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            fan_out(ctx, fail, range(301), executor=pool, errors="collect")


def many_curves(ctx: FrozenContext[Any]) -> None:
    for n in range(30):
        ctx.record("norm", n, tags={"layer": f"layer {n}"})


def long_lineage(ctx: FrozenContext[Any]) -> None:
    for n in range(130):
        ctx[f"k{n}"] = n
    with ctx.step("fit") as fit:
        fit["k0"]


@pytest.mark.parametrize(
    ("fill", "lines"),
    [
        (many_keys, ["Left out: 5 more keys."]),
        (many_steps, ["Left out: 20 more steps, each of which finished."]),
        (
            many_failures,
            ["Left out: 102 more steps, of which 102 did not finish, or were done again. crystallize show "],
        ),
        (many_curves, ["and 16 more, below among the curves", "Left out: 6 more curves."]),
        (long_lineage, ["Left out: 10 more keys, artifacts and steps."]),
    ],
)
def test_left_out(tmp_path: Path, fill: Callable[[FrozenContext[Any]], None], lines: list[str]) -> None:
    """What is too much for a page is left out, and the page says so."""
    with Journal.start(tmp_path, "digits") as journal:
        fill(journal.context(FrozenContext))
    text = page_of(journal.path).text

    assert [] == [line for line in lines if line not in text]


def test_names_its_origin(made_page: Page) -> None:
    """It says what is needed to repeat the run."""
    text = made_page.text

    assert f"Python\n{sys.version.split()[0]}" in text
    assert "pydantic 2." in text
    assert "not read" not in text


def test_names_what_was_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which part of the origin could not be read, and why."""

    def refuse() -> str:
        raise OSError("<no> host")

    monkeypatch.setattr("socket.gethostname", refuse)
    Journal.start(tmp_path, "digits").close()
    page = page_of(tmp_path / "digits-0001.db")

    assert "not read\nhost: OSError: <no> host" in page.text


@pytest.mark.parametrize("suffix", [".db", ".spool"])
def test_writes_over_no_run(tmp_path: Path, made_run: Path, suffix: str) -> None:
    """A page is never written over the file of a run, nor its spool."""
    run = load_run(made_run)
    there = tmp_path / f"other-0001{suffix}"
    there.write_bytes(b"kept")
    with pytest.raises(JournalError, match="would be overwritten"):
        write_report(run, there)
    assert b"kept" == there.read_bytes()


@pytest.mark.parametrize("wrong", ["digits-0001.db", FrozenContext({})], ids=["path", "context"])
def test_is_of_a_run(tmp_path: Path, made_run: Path, wrong: Any) -> None:
    """There is no page of anything but a run, also beside one."""
    run = load_run(made_run)
    for runs, beside in ((wrong, ()), (run, [wrong])):
        with pytest.raises(FrameError, match=r"a page is of a run, as load_run\(path\) gives it"):
            write_report(runs, tmp_path / "page.html", beside=beside)


def test_a_single_run_beside_another(tmp_path: Path, made_run: Path) -> None:
    """A single run may be given as it is, or in a list."""
    run = load_run(made_run)
    other = load_run(made(tmp_path, lr=0.2))
    write_report(run, tmp_path / "one.html", beside=other)
    write_report(run, tmp_path / "list.html", beside=[other])
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "list.html").read_bytes()


def test_a_run_is_not_compared_with_itself(tmp_path: Path, made_run: Path) -> None:
    """A run that is given twice, also by a link, is an error, and nothing is written."""
    link = tmp_path / "link-0001.db"
    link.symlink_to(made_run)
    for again in (made_run, link):
        with pytest.raises(FrameError, match="this run is given twice, and would be compared with itself"):
            write_report(load_run(made_run), tmp_path / "page.html", beside=load_run(again))
    assert not (tmp_path / "page.html").exists()


def test_what_a_step_had_done_that_did_not_end(tmp_path: Path, died_page: Page) -> None:
    """Of a step that runs, or died, there stands what it had done, and that what it read is not known."""
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        with ctx.step("fit") as fit:
            fit["seed"] = fit["lr"]
            fit.record("loss", 0.5)
            fit.artifacts.add("a.txt", b"x")
            journal.flush()
            running = page_of(journal.path).text
        journal.flush()
        ended = page_of(journal.path).text
    assert "fit so far recorded when it ends seed loss 1 a.txt" in running
    assert "fit lr seed loss 1 a.txt" in ended
    assert "fit before it died not known loss 1" in died_page.text


def test_a_branch_that_failed(tmp_path: Path) -> None:
    """A branch that failed stands among the steps with its error, also if it was merged later."""

    def fold(child: FrozenContext[Any], item: int) -> None:
        with child.step("inner"):
            child["lr"]
        if item in bad:
            raise ValueError(f"no rows in {item}")

    bad = {1}
    with Journal.start(tmp_path, "run") as journal, ThreadPoolExecutor(1) as pool:
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        fan_out(ctx, fold, range(3), executor=pool, errors="collect")
        journal.flush()
        before = page_of(journal.path).text
        bad.clear()
        fan_out(ctx, fold, range(3), executor=pool)
    after = page_of(journal.path).text
    for text in (before, after):
        assert "fold-1 1 dead attempt X failed" in text.replace("\N{BALLOT X}", "X").replace(
            "\N{MULTIPLICATION X}", "X"
        )
        assert "ValueError: no rows in 1" in text
    assert (2, 3) == (before.count("inner \N{CHECK MARK} finished"), after.count("inner \N{CHECK MARK} finished"))


def test_without_plotly(tmp_path: Path, made_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what the page is made with, that is an error, and nothing is written."""
    monkeypatch.setattr("crystallize._page.html_page.jinja2", OptionalModule("jinja2", "report"))
    monkeypatch.setitem(sys.modules, "jinja2", None)

    with pytest.raises(MissingExtraError, match=r"jinja2.*crystallize-context\[report\]"):
        write_report(load_run(made_run), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
