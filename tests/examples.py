"""Runs the examples of README.md, docs and docstrings: a pytest plugin, loaded by its name in pyproject.toml.

A ``python`` block must not raise; a block of ``>>>`` lines, in ``python`` or ``pycon``, must print what it says. A
``{code-block}`` of Python, TOML or YAML with a ``:caption:`` is a piece of the file that the caption names: it is added
to that file, and not run. On the pages in `CHECKED`, a ``console`` block must print what it says, too: each line that
begins with ``$`` is a command, and what follows is what it prints. The blocks of one file share a namespace, from top
to bottom, and a folder of their own to write in. An example can run alone, or on another worker than the examples above
it: those run first.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, chdir
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, DocTestParser, DocTestRunner
from doctest import Example as Shown
from importlib.util import find_spec
from inspect import getdoc
from pathlib import Path
from signal import SIGKILL
from tempfile import TemporaryDirectory
from threading import Timer
from typing import Any, NamedTuple
from unittest import SkipTest
from unittest.mock import patch

import pytest
from sybil import Document, Example, Sybil
from sybil.evaluators.doctest import DocTestEvaluator, OutputChecker
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.abstract import DocTestStringParser
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser
from sybil.typing import Evaluator

ROOT = Path(__file__).parents[1]
FLAGS = ELLIPSIS | NORMALIZE_WHITESPACE
CHECKED = (
    "docs/first-run.md",
    "docs/how-to/evaluate-llm.md",
    "docs/how-to/inputs.md",
    "docs/how-to/sweep.md",
    "docs/why.md",
)
"""The pages on which commands are run."""

KILLED = "Killed\n"
"""What a shell prints of a command that SIGKILL ended. One that is to print something before that is killed as soon as
it has, as by its reader from another terminal; one that is to print nothing ends itself."""

QUICK = ROOT / "tests/docs/quick"
"""Where Python finds a `sitecustomize` that shortens the pauses of an example."""

PATIENCE = 300
"""Seconds that a command may take, at the most."""

VARYING = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\d\d:\d\d:\d\d|\b\d+(\.\d+)? [mµ]?s\b")
"""Times and durations, which are others in each run."""

FINISHED = "examples that have run"
"""Where the namespace of a page contains the positions of these examples; a name that no example can use."""

_NOTE = re.compile(r"^Explained by: python -m crystallize explain \w+\n", re.MULTILINE)


class Checker(OutputChecker):
    """Lets an example leave out the last line of a traceback, which names the page that explains the error."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        shorter = _NOTE.sub("", got)
        return any(super(Checker, self).check_output(want, output, optionflags) for output in (got, shorter))


def example_of(thing: object) -> str:
    """Return what stands under `Example:` in a docstring; empty where nothing does."""
    return (getdoc(thing) or "").partition("Example:\n")[2].partition("\nAttributes:\n")[0]


def what_fails(example: str, names: dict[str, Any]) -> str:
    """Run an example of a docstring, with these names and no others, and return what it does not do as it says."""
    parsed = DocTestParser().get_doctest(example, {**names, "__name__": "__main__"}, "the example", None, 0)
    assert parsed.examples
    said: list[str] = []
    DocTestRunner(Checker(), optionflags=FLAGS).run(parsed, out=said.append)
    return "".join(said)


class Command(NamedTuple):
    """A command, and what it is to print."""

    line: str
    output: str


def commands(block: str) -> Iterator[Command]:
    """Part a ``console`` block."""
    for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, output = command.partition("\n")
        yield Command(line, output)


def environment(stop_after_lines: int = 0) -> dict[str, str]:
    """Return the environment of an example, whose pauses are short; after these lines it hangs until it is killed."""
    hidden = ("FORCE_COLOR", "TTY_COMPATIBLE", "CRYSTALLIZE_RUNS", "COLUMNS")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    path = os.pathsep.join([str(QUICK), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**env, "PYTHONPATH": path, "STOP_AFTER_LINES": str(stop_after_lines)}


def printed(command: Command) -> str:
    """Run a command and return its output; if it prints nothing, say whether it failed."""
    before, is_killed, _ = command.output.partition(KILLED)
    env = environment(len(before.splitlines()) if is_killed else 0)
    # So that `python` is the one that runs the tests, and finds what is installed there.
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    shell = ["bash", "-c", command.line]
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(shell, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
        assert process.stdout is not None
        # One that hangs is ended, and differs.
        late = Timer(PATIENCE, process.kill)
        late.start()
        stack.callback(late.cancel)
        if before and is_killed:
            found = "".join(line for _, line in zip(before.splitlines(), process.stdout, strict=False))
            process.kill()
        else:
            found = process.stdout.read()
    if process.returncode == -SIGKILL:
        return found + KILLED
    return found or (f"exit status {process.returncode}\n" if process.returncode else "")


def run_commands(example: Example) -> str | None:
    """Say how what the commands of a block print differs from what stands beneath them."""
    if Path(example.path).relative_to(ROOT).as_posix() not in CHECKED:
        return None
    checker = Checker()
    for command in commands(example.parsed):
        expected, found = (VARYING.sub("<time>", text) for text in (command.output, printed(command)))
        if not checker.check_output(expected, found, FLAGS):
            return f"$ {command.line}\n{checker.output_difference(Shown('', expected), found, FLAGS)}"
    return None


class PieceEvaluator(PythonEvaluator):
    """Runs a block, or adds it to the file that its caption names."""

    def __call__(self, example: Example) -> None:
        file = example.region.lexemes.get("options", {}).get("caption")
        if file is None:
            super().__call__(example)
        else:
            add_piece(Path(file), example.parsed)


def keep_file(example: Example) -> None:
    """Add a block that is not Python to the file that its caption names."""
    file = example.region.lexemes.get("options", {}).get("caption")
    if file is not None:
        add_piece(Path(file), example.parsed)


def add_piece(file: Path, piece: str) -> None:
    """Add a piece to a file, two lines below what is there."""
    before = file.read_text(encoding="utf-8") + "\n\n" if file.exists() else ""
    file.write_text(before + piece, encoding="utf-8")


class TracebackEvaluator(DocTestEvaluator):
    """Runs a block of ``>>>`` lines."""

    def __init__(self) -> None:
        super().__init__(FLAGS)
        self.runner._checker = Checker()  # type: ignore[attr-defined]  # Sybil takes none of ours


class PythonParser(PythonCodeBlockParser):
    """Finds ``python`` blocks, and in them those of ``>>>`` lines."""

    def __init__(self, language: str = "python") -> None:
        super().__init__()
        self.codeblock_parser = CodeBlockParser(language, PieceEvaluator())
        self.doctest_parser = DocTestStringParser(TracebackEvaluator())


SKIPS = SkipParser()


class Page(Document):
    """A page, each example of which runs after all examples above it, also if pytest has not run those here."""

    def evaluate(self, example: Example, evaluator: Evaluator) -> None:
        __tracebackhide__ = True
        finished = self.namespace[FINISHED]
        if not finished:
            self.forget_skips()
        for due in self.examples():
            if due.start <= example.start and due.start not in finished:
                finished.add(due.start)
                assert due.region.evaluator is not None  # each of the parsers gives one
                try:
                    super().evaluate(due, due.region.evaluator)
                except SkipTest:
                    if due.start == example.start:
                        raise

    def forget_skips(self) -> None:
        """Run all examples, where an earlier visit ended between a comment to skip and the example that it skips."""
        self.evaluators.clear()
        SKIPS.skipper.document_state.pop(self, None)


def enter_folder(namespace: dict[str, Any]) -> None:
    # pytest may come back to a page, after examples of other pages.
    namespace.clear()
    namespace[FINISHED] = set()
    # As in a script: without it, the classes of an example would say that they are of `builtins`.
    namespace["__name__"] = "__main__"
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        stack.enter_context(chdir(folder))
        stack.callback(forget_modules, Path(folder))
        stack.callback(patch.stopall)  # for a visit that ends between the start of a patch and its stop
        # As at a prompt: what stands in the folder can be imported.
        sys.path.insert(0, "")
        stack.callback(sys.path.remove, "")
        namespace["leave_folder"] = stack.pop_all().close


@pytest.hookimpl(tryfirst=True)  # before pytest looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(ROOT) and item.path.relative_to(ROOT).as_posix() in CHECKED:
            item.add_marker("slow")


def forget_modules(folder: Path) -> None:
    """Have nobody else import what an example has written."""
    for file in folder.glob("*.py"):
        sys.modules.pop(file.stem, None)


def leave_folder(namespace: dict[str, Any]) -> None:
    namespace["leave_folder"]()


NEEDED = {
    **{"dagster": "dagster", "kedro": "kedro", "prefect": "prefect"},
    **{"tensorboard": "tensorboardX", "wandb": "wandb"},
    **{"pytorch": "torch", "scikit-learn": "skops", "training": "lightning"},
}
"""The package that the examples of a page need. `make test-integrations` installs these packages."""

pytest_collect_file = Sybil(
    parsers=[
        PythonParser(),
        PythonParser("pycon"),  # the name by which editors and GitHub know what stands at a prompt
        CodeBlockParser("toml", keep_file),
        CodeBlockParser("yaml", keep_file),
        CodeBlockParser("console", run_commands),
        SKIPS,
    ],
    path=str(ROOT),
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    excludes=[f"docs/how-to/{page}.md" for page, package in NEEDED.items() if find_spec(package) is None],
    setup=enter_folder,
    teardown=leave_folder,
    document_types={".md": Page},
).pytest()
