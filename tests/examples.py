"""Runs the Python examples of README.md and docs: a pytest plugin, loaded by its name in pyproject.toml.

A ``python`` block must not raise; a block of ``>>>`` lines, in ``python`` or ``pycon``, must print what it
says. The blocks of one file share a namespace, from top to bottom, and a folder of their own to write in.
"""

from contextlib import ExitStack, chdir
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser


class PyconParser(PythonCodeBlockParser):
    """Finds ``pycon`` blocks, the name by which editors and GitHub know what stands at a prompt."""

    def __init__(self, doctest_optionflags: int) -> None:
        super().__init__(doctest_optionflags=doctest_optionflags)
        self.codeblock_parser = CodeBlockParser("pycon", PythonEvaluator())


def enter_folder(namespace: dict[str, Any]) -> None:
    # As in a script: without it, the classes of an example would say that they are of `builtins`.
    namespace["__name__"] = "__main__"
    with ExitStack() as stack:
        stack.enter_context(chdir(stack.enter_context(TemporaryDirectory())))
        namespace["leave_folder"] = stack.pop_all().close


def leave_folder(namespace: dict[str, Any]) -> None:
    namespace["leave_folder"]()


FLAGS = ELLIPSIS | NORMALIZE_WHITESPACE

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=FLAGS), PyconParser(FLAGS), SkipParser()],
    path=str(Path(__file__).parents[1]),
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    setup=enter_folder,
    teardown=leave_folder,
).pytest()
