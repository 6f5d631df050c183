"""The page about the errors of type checkers shows their messages as they are."""

from tests.typing.type_errors_page import MISTAKES, PAGE, mypy_messages, pyright_messages, written


def test_page_has_the_messages() -> None:
    assert PAGE.read_text(encoding="utf-8") == written()


def test_each_mistake_is_an_error() -> None:
    """Both checkers report each mistake, and nothing else."""
    lines = MISTAKES.read_text(encoding="utf-8").splitlines()
    mistakes = {number for number, line in enumerate(lines, 1) if "  # " in line}
    assert len(mistakes) >= 10
    assert mistakes == {*mypy_messages()} == {*pyright_messages()}
