"""`crystallize unpack`."""

from pathlib import Path

from crystallize.runs import verify_run

from .command_runs import complaint, made, printed


def test_unpacks(tmp_path: Path) -> None:
    """An archive becomes a run of the folder, once."""
    printed("pack", made(tmp_path / "runs"), "-o", tmp_path / "digits.tar")
    elsewhere = tmp_path / "elsewhere"
    arguments = ("unpack", tmp_path / "digits.tar", "--dir", elsewhere)

    assert f"unpacked digits-0001 into {elsewhere}\n" == printed(*arguments)
    assert () == verify_run(elsewhere / "digits-0001.db")
    assert "there is such a run already" in complaint(*arguments)
