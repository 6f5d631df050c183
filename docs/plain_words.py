"""Find sentences that are hard to read: `python docs/plain_words.py`, which `make lint` runs.

It reads the documentation, and the docstrings, comments and texts of errors in the package. It prints a line for each
hit: a word that should be plainer, "what" in the place of a noun, a sentence of more than 30 words, or an argument
whose text in a docstring only repeats its name. `docs/plain_words.txt` lists the exceptions, with their reasons.
"""

import argparse
import ast
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
LONGEST: Final = 30
"""Maximum number of words in a sentence."""

CODE: Final = re.compile(r"CREATE |SELECT |def \w+\(")
"""A string that is no text for readers."""

PAGES: Final = ("README.md", "CONTRIBUTING.md", "docs/*.md", "docs/concepts/*.md", "docs/how-to/*.md")
SOURCES: Final = ("src/crystallize/**/*.py",)

WORDS: Final = re.compile(
    r"\b(of which|that of|is to be|are to be|as to|told|by now|anew|stands|the least|is there\b|"
    r"the most\b(?! similar| values| recent))",
    re.IGNORECASE,
)
WHAT: Final = re.compile(
    r"\bwhat (?:\w+ )?(?:is|was|has|had|are|were|it|they|you|a|an|the|can|cannot|may|must|will|would|should|does|"
    r"did|do|happened|came|comes|goes|went|ran|runs|reads?|wrote|writes|holds?|makes|takes|needs)\b",
    re.IGNORECASE,
)
"""Such as "what it read" and "what was written"; a question ends with a question mark."""


class Text(NamedTuple):
    """A text, and the place where it begins."""

    path: Path
    line: int
    text: str


class Hit(NamedTuple):
    """A sentence that breaks a rule."""

    path: str
    line: int
    rule: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.sentence}"


def texts_of_page(path: Path) -> Iterator[Text]:
    """Yield the paragraphs and list items of a Markdown page, without code, tables, headings and directives."""
    lines, first, in_code = list[str](), 0, False
    for number, line in enumerate([*path.read_text(encoding="utf-8").splitlines(), ""], 1):
        is_fence = line.lstrip().startswith(("```", ":::"))
        is_item = re.match(r"\s*([-*]|\d+\.) ", line) is not None
        if in_code or is_fence or not line.strip() or is_item or re.match(r"\s*([|#<%>:]|\[.*\]:|\()", line):
            if lines:
                yield Text(path, first, " ".join(lines))
            lines = []
        in_code ^= is_fence
        if in_code or is_fence or not line.strip() or re.match(r"\s*([|#<%>:]|\[.*\]:|\()", line):
            continue
        first = first if lines else number
        lines.append(re.sub(r"^\s*([-*]|\d+\.) ", "", line).strip())


def texts_of_source(path: Path) -> Iterator[Text]:
    """Yield the docstrings, comments and longer strings of a module."""
    content = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(content)):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(node, ast.Constant) and isinstance(value, str) and not CODE.search(value):
            for paragraph, offset in _paragraphs(value):
                yield Text(path, node.lineno + offset, paragraph)
    comments, last = list[str](), 0
    with path.open("rb") as file:
        found = [token for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT]
    for token in found:
        is_next = token.start[0] == last + 1 and not token.line[: token.start[1]].strip()
        if comments and not is_next:
            yield Text(path, last - len(comments) + 1, " ".join(comments))
            comments = []
        comments.append(token.string.lstrip("# "))
        last = token.start[0]
    if comments:
        yield Text(path, last - len(comments) + 1, " ".join(comments))


def _paragraphs(text: str) -> Iterator[tuple[str, int]]:
    """Yield the paragraphs of a docstring, each with the number of lines before it; examples are left out."""
    lines, first = list[str](), 0
    for number, line in enumerate([*text.split("\n"), ""]):
        is_code = line.lstrip().startswith((">>>", "...", "├", "│", "└")) or "    " in line.strip()
        is_entry = re.match(r"\s*(\*{0,2}\w+|Args|Returns|Raises|Example|Attributes|Yields):( |$)", line) is not None
        if lines and (not line.strip() or is_code or is_entry):
            yield " ".join(lines), first
            lines = []
        if line.strip() and not is_code:
            first = first if lines else number
            lines.append(line.strip())


def sentences(text: str, ends: str = ".!?:;") -> Iterator[str]:
    """Yield the sentences of a text, by default also the parts before a colon or semicolon; code counts as one word."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"``?[^`]*``?", "`code`", text).replace("**", "")
    yield from (found.strip() for found in re.split(rf"(?<=[{ends}])\s+", text) if found.strip())


def hits_in(text: Text) -> Iterator[Hit]:
    """Yield the hits in a text."""
    path = str(text.path.relative_to(ROOT))
    argument = re.match(r"(\w+): (?:The |A |An )?(\w+)\.?$", text.text)
    if argument and argument[1].lower().replace("_", "") == argument[2].lower():
        yield Hit(path, text.line, "argument that repeats its name", text.text)
    for sentence in sentences(text.text):
        if found := WORDS.search(sentence):
            yield Hit(path, text.line, f"{found[1].lower()!r}", sentence)
        if WHAT.search(sentence) and not sentence.endswith("?"):
            yield Hit(path, text.line, "'what' as a noun", sentence)
        if (count := len(re.findall(r"[\w`'-]+", sentence))) > LONGEST:
            yield Hit(path, text.line, f"{count} words", sentence)


def exceptions() -> dict[str, str]:
    """Return the sentences that are allowed, each with the reason."""
    lines = (ROOT / "docs/plain_words.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(" -- ", 1) for line in lines if line.strip() and not line.startswith("#"))
    return {sentence.strip(): reason.strip() for sentence, reason in pairs}


def all_texts() -> list[Text]:
    """Return all texts of the tree."""
    texts = [text for pattern in PAGES for path in sorted(ROOT.glob(pattern)) for text in texts_of_page(path)]
    texts += [text for pattern in SOURCES for path in sorted(ROOT.glob(pattern)) for text in texts_of_source(path)]
    return texts


def all_hits() -> list[Hit]:
    """Return all hits in the tree that are no exceptions, and exceptions that are not needed any more."""
    found, allowed = [hit for text in all_texts() for hit in hits_in(text)], exceptions()
    unused = allowed.keys() - {hit.sentence for hit in found}
    return [hit for hit in found if hit.sentence not in allowed] + [
        Hit("docs/plain_words.txt", 0, "exception without a hit", sentence) for sentence in sorted(unused)
    ]


def draw(count: int, seed: int) -> list[Text]:
    """Return sentences of at least five words, drawn at random, for readers who judge whether these are clear."""
    found = [Text(text.path, text.line, sentence) for text in all_texts() for sentence in sentences(text.text, ".!?")]
    return Random(seed).sample([text for text in found if len(text.text.split()) >= _SHORTEST], count)


_SHORTEST: Final = 5


def main(arguments: Sequence[str] = ()) -> int:
    """Print all hits, and return 1 if there are any; or print sentences that are drawn at random."""
    parser = argparse.ArgumentParser(description="Find sentences that are hard to read.")
    parser.add_argument("--draw", type=int, default=0, help="print this many sentences, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the draw")
    options = parser.parse_args(arguments)
    if options.draw:
        for text in draw(options.draw, options.seed):
            print(f"{text.path.relative_to(ROOT)}:{text.line}: {text.text}")
        return 0
    found = all_hits()
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
