"""Tables on stdout."""

import re
from contextlib import suppress
from pathlib import Path

import pytest

from crystallize import FrozenContext, Journal

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

    assert [1, 8, 2, 1] == [output.count(shown) for output in plain]
    assert [True, True, True, False] == ["[b]run-0001" in output for output in plain]
    assert "[red]key[/red]" in plain[1]
    assert "[i]fit" in plain[1]
    assert {"\n"} == {character for output in plain for character in output if not character.isprintable()}
