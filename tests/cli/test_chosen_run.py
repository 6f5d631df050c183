"""The run that a user names: how it is found, and what is said if it cannot be read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .command_runs import DAMAGES, UNREADABLES, call, complaint, made, printed


@pytest.mark.parametrize("damage", [*DAMAGES, *UNREADABLES], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("in_json", [[], ["--json"]], ids=["text", "json"])
def test_file_that_cannot_be_read(
    made_run: Path, tmp_path: Path, damage: Callable[[Path], None], in_json: list[str]
) -> None:
    """Whatever is wrong with a file, each subcommand says so in a line, without a traceback."""
    good, bad = made_run, made(tmp_path, "bad")
    damage(bad)

    assert bad.stem in complaint("show", bad, *in_json)
    assert bad.stem in complaint("export", bad, *in_json)
    assert bad.stem in complaint("diff", good, bad, *in_json) + complaint("diff", bad, good, *in_json)
    verified = call("verify", bad, *in_json)
    assert 1 <= verified.exit_code <= 2
    assert isinstance(verified.exception, SystemExit)
    assert verified.stdout + verified.stderr


@pytest.mark.parametrize(
    "arguments", [("show",), ("diff", "1"), ("export",), ("verify",)], ids=lambda arguments: arguments[0]
)
def test_run_that_is_not_there(made_run: Path, arguments: tuple[str, ...]) -> None:
    """A run that is not there is named, with the nearest one."""
    folder = made_run.parent

    assert f"digit-0001: there is no such run in {folder}; did you mean 'digits-0001'?" == complaint(
        *arguments, "digit-0001", "--dir", folder
    )
    assert "²" in complaint(*arguments, "²", "--dir", folder)


def test_path_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A path to nothing, or to what is no file, is no run."""
    (tmp_path / "a-0001.db").mkdir()

    assert "there is no such run" in complaint("show", tmp_path / "b-0001.db", "--dir", tmp_path)
    for name in ("a-0001", "a", tmp_path / "a-0001.db"):
        for command in ("show", "verify"):
            assert "a-0001.db: this is a folder; name the file of a run" in complaint(command, name, "--dir", tmp_path)
    assert "this is a folder" in printed("runs", "--dir", tmp_path)


def test_name_too_long(tmp_path: Path) -> None:
    """What the system says of a path is told as any other reason."""
    assert "too long" in complaint("show", "a" * 300 + ".db", "--dir", tmp_path)


@pytest.mark.parametrize("run", ["digits-0001", "digits", "1", "0001"])
def test_finds_run(made_run: Path, run: str) -> None:
    """A run goes by its name, its number or its path, in the folder that is named."""
    assert "verified\n" == printed("verify", run, "--dir", made_run.parent)
    assert "verified\n" == printed("verify", made_run)


def test_folder_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `--dir` the folder is CRYSTALLIZE_RUNS, and without that it is `runs`."""
    made(tmp_path / "runs")
    made(tmp_path / "others", "other")
    monkeypatch.chdir(tmp_path)

    assert "digits-0001" in call("runs").stdout
    assert "other-0001" in call("runs", CRYSTALLIZE_RUNS="others").stdout
    assert "digits-0001" in call("runs", "--dir", "runs", CRYSTALLIZE_RUNS="others").stdout
