"""The `crystallize` command as a whole: usage, help, errors, exit statuses, and the page about it."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from crystallize import FrozenContext, Journal
from crystallize._cli.app import SUBCOMMANDS, main

from .command_runs import branched, call, command, died, document_of, made, printed, run_main, section

DOCS = Path(__file__).parents[2] / "docs/command.md"


@pytest.mark.parametrize(
    "arguments",
    [("show",), ("show", "1", "2"), ("diff", "1"), ("export", "1", "--format", "xml"), ("nonsense",), ("runs", "--x")],
    ids=" ".join,
)
def test_bad_usage(arguments: tuple[str, ...]) -> None:
    """What the command does not understand it says, with exit status 2."""
    result = call(*arguments)

    assert (2, "") == (result.exit_code, result.stdout)
    assert "Error: " in result.stderr


def test_main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The entry point takes the arguments of the process and ends it."""
    path = made(tmp_path)

    assert 0 == run_main(["verify", str(path)], monkeypatch)
    assert 2 == run_main(["verify", "absent", "--dir", str(tmp_path)], monkeypatch)
    assert 0 == run_main(["--help"], monkeypatch)
    output = capsys.readouterr()
    assert "verified" in output.out
    assert "Usage: crystallize [OPTIONS]" in output.out
    refused, explained = output.err.splitlines()
    assert refused.startswith("crystallize: ")
    assert explained == "Explained by: python -m crystallize explain RunNotFoundError"


def test_main_without_a_real_stdout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands in place of stdout is printed to."""
    output = StringIO()
    monkeypatch.setattr(sys, "stdout", output)

    assert 0 == run_main(["verify", str(made(tmp_path))], monkeypatch)
    assert "verified\n" == output.getvalue()


def test_main_without_a_signal_for_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows, which has no SIGPIPE, the entry point is the same."""
    monkeypatch.delattr("signal.SIGPIPE", raising=False)

    assert 0 == run_main(["verify", str(made(tmp_path))], monkeypatch)


def test_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m crystallize` is the command."""
    arguments = ["verify", str(made(tmp_path))]

    assert 0 == run_main(arguments, monkeypatch, lambda: runpy.run_module("crystallize", run_name="__main__"))
    assert "verified\n" == capsys.readouterr().out


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_main_without_the_extra(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without typer or rich the command says what to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as ended:
        main()
    output = capsys.readouterr()

    assert (2, "") == (ended.value.code, output.out)
    assert [
        f"crystallize: this needs {missing}, which is not installed: pip install 'crystallize-context[cli]'",
        "Explained by: python -m crystallize explain MissingExtraError",
    ] == output.err.splitlines()


@pytest.mark.slow
def test_imports_no_extra() -> None:
    """The module of the command can be imported where the extra is not installed."""
    code = "import sys; sys.modules |= {'typer': None, 'rich': None}; from crystallize._cli.app import main; main()"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (2, "") == (process.returncode, process.stdout)
    assert process.stderr.splitlines()[0].startswith("crystallize: this needs ")


@pytest.mark.parametrize(
    ("arguments", "page"),
    [
        (("show", "absent"), "RunNotFoundError"),
        (("verify", "notes.db"), None),
        (("show", "notes.db"), "DamagedRunError"),
        (("report", "notes.db"), "DamagedRunError"),
    ],
)
def test_says_where_it_is_explained(
    arguments: tuple[str, ...], page: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why something cannot be done is said in a line, and where that is explained in another."""
    monkeypatch.chdir(tmp_path)
    Path("notes.db").write_text("no run")
    result = call(*arguments)

    assert (2 if page else 1) == result.exit_code
    assert ([f"Explained by: python -m crystallize explain {page}"] if page else []) == result.stderr.splitlines()[1:]


def test_system_errors_have_no_page(tmp_path: Path) -> None:
    """What the system refuses is told as it tells it, without a page of ours."""
    result = call("report", made(tmp_path), "-o", tmp_path / "absent" / "run.html")

    assert 2 == result.exit_code
    assert 1 == len(result.stderr.splitlines())


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("subcommand", ["", *SUBCOMMANDS])
def test_help(subcommand: str, columns: int) -> None:
    """Each help says in a line what it does, shows calls that there are, names its page, and fits the terminal."""
    result = call(*filter(None, [subcommand]), "--help", COLUMNS=str(columns))
    usage, what, *_ = [line.strip() for line in result.stdout.splitlines() if line]
    shown = re.findall(r"^    crystallize (\w+)(.*)$", result.stdout, re.MULTILINE)

    assert 0 == result.exit_code
    assert usage.startswith(f"Usage: root {subcommand}".rstrip())
    assert re.match(r"[A-Z]", what)
    assert shown
    assert {subcommand} == {name for name, _ in shown} or not subcommand
    assert {option for _, rest in shown for option in re.findall(r"--\w+", rest)} <= {
        *re.findall(r"--\w+", printed(*filter(None, [subcommand or "show"]), "--help"))
    }
    assert result.stdout.endswith("More in docs/command.md.\n")
    assert max(map(len, result.stdout.splitlines())) <= columns


@pytest.mark.slow
def test_closed_pipe(tmp_path: Path) -> None:
    """Writing to a pipe that nobody reads any more ends quietly."""
    with Journal.start(tmp_path, "digits") as journal:
        record = journal.context(FrozenContext).metrics.series("loss").bind({"epoch": 1})
        for value in range(20_000):
            record(value)
    with subprocess.Popen(command("export", journal.path), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"metric":"loss","sequence":0')
        process.stdout.close()
        assert b"" == process.stderr.read()

    assert -signal.SIGPIPE == process.returncode


@pytest.mark.slow
def test_terminal_without_unicode(tmp_path: Path) -> None:
    """What the terminal's encoding does not have is printed by its code; JSON is UTF-8 all the same."""
    path = made(tmp_path, city="Zürich")
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    shown = subprocess.run(command("show", path), env=env, capture_output=True, check=True)
    lines = subprocess.run(command("export", path), env=env, capture_output=True, check=True)

    assert rb"'Z\xfcrich'" in shown.stdout
    assert '"Zürich"'.encode() in lines.stdout


@pytest.mark.slow
def test_reads_beside_the_writer(tmp_path: Path) -> None:
    """Each subcommand reads a run that another process is writing."""
    with Journal.start(tmp_path, "digits") as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        journal.flush()
        for arguments in ("runs --dir .", "show 1 --dir .", "export 1 --dir .", "verify 1 --dir .", "diff 1 1 --dir ."):
            process = subprocess.run(
                command(*arguments.split()), cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert (0, "") == (process.returncode, process.stderr)
        ctx.record("loss", 0.5)


@pytest.mark.slow
def test_page_names_all(tmp_path: Path) -> None:
    """The page about the command names every subcommand, every option and every key of the documents."""
    page = DOCS.read_text(encoding="utf-8")
    path = died(tmp_path)
    with Journal.resume(path) as journal:
        ctx = journal.context(FrozenContext, {"lr": 0.1})
        with ctx.step("fit") as fit:
            fit.record("loss", 1.0, tags={"tag.epoch": 0})
            fit.artifacts.add("a.txt", b"")
    documents = [
        document_of("runs", "--dir", tmp_path),
        document_of("show", path),
        document_of("diff", path, made(tmp_path), status=1),
        document_of("export", path),
        document_of("report", path, "-o", tmp_path / "run.html"),
        document_of("verify", path),
    ]
    options = {found for subcommand in SUBCOMMANDS for found in re.findall(r"--[a-z]+", printed(subcommand, "--help"))}

    assert set() == {
        f"crystallize {subcommand}" for subcommand in SUBCOMMANDS if f"crystallize {subcommand}" not in page
    }
    assert set() == {option for option in options - {"--help"} if option not in page}
    assert set() == {key for key in keys_of(documents) if f"`{key}`" not in page}


def keys_of(value: Any) -> set[str]:
    """Return all keys of a document, but not those that are data: packages, tags, and metrics with their counts."""
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    if not isinstance(value, dict):
        return set()
    data = {"packages", "tags"} | ({"points"} if "reads" in value else set())
    return set(value).union(*(keys_of(item) for key, item in value.items() if key not in data))


def test_run_with_branches(tmp_path: Path) -> None:
    """A branch is shown as a step, with its steps beneath it, whichever was merged first."""
    branched(tmp_path, [1, 0])

    shown = section(printed("show", "branched", "--dir", tmp_path), "steps")
    assert ["fold-0", "fold-0/fit", "fold-1", "fold-1/fit"] == [line[0] for line in shown[1:]]
    assert "4      4\n" in printed("runs", "--dir", tmp_path, "--columns", "steps,steps_finished")
    assert "verified\n" == printed("verify", "branched", "--dir", tmp_path)
    rows = printed("export", "branched", "--dir", tmp_path, "--what", "points").splitlines()
    assert ["fold-0/fit", "fold-1/fit"] == [json.loads(row)["step"] for row in rows]
    rows = printed("export", "branched", "--dir", tmp_path, "--what", "values").splitlines()
    assert ["lr", "score-0", "score-1"] == [json.loads(row)["key"] for row in rows]


@pytest.mark.slow
def test_imports_only_what_a_list_needs(tmp_path: Path) -> None:
    """A list of runs whose index is fresh imports neither the other subcommands nor anything that reads a run."""
    made(tmp_path)
    code = (
        "import sys; from crystallize._journal import run_index; run_index._UNSETTLED = -1; "
        "from crystallize._tables.run_rows import read_runs; read_runs(sys.argv[-1])"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
    listing = (
        "import atexit, runpy, sys; sys.argv = ['crystallize', 'runs', '--dir', sys.argv[-1]]; "
        "atexit.register(lambda: print(*sys.modules)); runpy.run_module('crystallize', run_name='__main__')"
    )
    output = subprocess.run([sys.executable, "-c", listing, tmp_path], check=True, capture_output=True, text=True)

    heading, row, modules = output.stdout.splitlines()
    assert ("run", "digits-0001") == (heading.split()[0], row.split()[0])
    unused = ("_journal.run_summary", "_journal.loaded_run", "_journal.journal", "_page", "_stubs", "_tables.export")
    assert [] == [name for name in modules.split() if name.startswith(tuple(f"crystallize.{end}" for end in unused))]
