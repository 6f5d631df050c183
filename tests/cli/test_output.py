"""Tables on stdout."""

import re
from contextlib import suppress
from pathlib import Path

import pytest

from crystallize import FrozenContext, Journal
from crystallize._base.table import Table
from crystallize._cli.output import print_table

from .command_runs import call, came_from, made

ODD = ["[red]x[/red]", "[/]", "[link=http://x]y[/link]", ":smile:", "\x1b[31mred\x1b[0m", "a\u202eb", "\x07\x9b"]


@pytest.mark.parametrize("text", ODD, ids=ascii)
@pytest.mark.parametrize(
    "terminal", [{}, {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "2000"}], ids=["pipe", "tty"]
)
def test_data_is_no_markup(tmp_path: Path, text: str, terminal: dict[str, str]) -> None:
    """What a run holds prints as it is, and moves no cursor and changes no colour."""
    with suppress(ValueError), Journal.start(tmp_path, "[b]run") as journal:
        ctx = journal.context(FrozenContext, {"[red]key[/red]": text})
        ctx.record("[u]loss", text)
        with ctx.step("[i]fit"):
            raise ValueError(text)
    came_from(journal.path, host=text, packages={text: "1"})
    made(tmp_path)
    calls = [("runs",), ("show", "[b]run"), ("diff", "[b]run", "digits"), ("verify", text)]
    outputs = [call(*arguments, "--dir", tmp_path, **terminal).output for arguments in calls]
    # What rich adds is bold and italic type.
    plain = [re.sub(r"\x1b\[[01;3]*m", "", output) for output in outputs]
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )

    assert [2, 8, 2, 1] == [output.count(shown) for output in plain]
    assert [True, True, True, False] == ["[b]run-0001" in output for output in plain]
    assert "[red]key[/red]" in plain[1]
    assert "[i]fit" in plain[1]
    assert {"\n"} == {character for output in plain for character in output if not character.isprintable()}


@pytest.mark.parametrize("is_terminal", [True, False])
def test_long_lines(is_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a row is cut to one line; in a pipe it is printed whole."""
    monkeypatch.setenv("FORCE_COLOR", "1" if is_terminal else "")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    text = "x" * 1000
    print_table(Table("", ("", ""), [("a", text), ("b", None)]), cut=True)

    first, second = capsys.readouterr().out.splitlines()
    assert ("a", "b") == (first[0], second)
    assert ("…" if is_terminal else text) == first[-(1 if is_terminal else len(text)) :]
    assert (80 if is_terminal else 1000 + len("a  ")) == len(first)


def _on_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": str(width), "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)


@pytest.mark.parametrize(("width", "cut"), [(80, False), (100, False), (80, True), (100, True)])
def test_kept_columns(
    width: int, cut: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal that is too narrow the first columns stay whole, and the others become one, with a whole error."""
    _on_terminal(monkeypatch, width)
    points = ", ".join(f"metric-{number}: 1,000" for number in range(40))
    headings = ("step", "outcome", "took", "read", "points", "error")
    rows = [
        ("sweep/trial-0017/fit", "finished", "1 h 20 min", "lr", points, None),
        ("load", "failed", "312 ms", None, None, "OSError: " + "no space " * 20 + "is left"),
    ]
    print_table(Table("steps", headings, rows, kept=3), cut=cut)
    out = re.sub("\x1b[^m]*m", "", capsys.readouterr().out)
    lines = out.splitlines()

    assert ["", "steps"] == lines[:2]
    assert ["step", "outcome", "took"] == lines[2].split()
    assert re.match("sweep/trial-0017/fit  finished  1 h 20 min  read lr; points", lines[3])
    (load,) = (line for line in lines if line.startswith("load "))
    assert re.match("load                  failed    312 ms      error OSError: no space", load)
    assert width >= max(map(len, lines))
    assert "metric-9" not in out
    assert cut is (5 == len(lines))
    assert cut is ("is left" not in out)


def test_long_names(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is longer than the line is wrapped, never cut."""
    _on_terminal(monkeypatch, 80)
    rows = [("/".join("abcdefgh" for _ in range(20)), "finished", "1 s", "x" * 30, "y" * 30)]
    print_table(Table("", ("step", "outcome", "took", "read", "points"), rows, kept=3), cut=True)
    lines = re.sub("\x1b[^m]*m", "", capsys.readouterr().out).splitlines()[1:]

    assert rows[0][0] == "".join(line.split(" ")[0] for line in lines)
    assert "finished  1 s" in lines[0]


def test_an_empty_table_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A table whose cells are all empty prints neither its title nor its headings."""
    print_table(Table("keys", ("key", "value"), []))
    print_table(Table("keys", ("key", "value"), [("", None)]))

    assert "" == capsys.readouterr().out


def test_rows_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Where rows are left out in the middle, their number is printed."""
    print_table(Table("keys", ("key",), [("a",), ("d",)], left_out=1234))

    assert ["", "keys", "key", "a", "… and 1,234 more", "d"] == capsys.readouterr().out.splitlines()
