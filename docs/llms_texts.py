"""The documentation for language models, as https://llmstxt.org describes it: `llms.txt` and `llms-full.txt`.

`llms.txt` has a line for each page: its title, its address and its first sentence. `llms-full.txt` has all pages as
Markdown. The pages are in the order of the table of contents.
"""

import re
from collections.abc import Iterator
from pathlib import Path

_TOCTREE = re.compile(r"^```\{toctree\}\n((?::.*\n)*)\n?((?:.*\n)*?)```", re.MULTILINE)


def pages_of(docs: Path, name: str = "index") -> Iterator[str]:
    """Yield the names of all pages, such as "how-to/steps", in the order of the table of contents."""
    yield name
    folder = name.rpartition("/")[0]
    for _, entries in _TOCTREE.findall((docs / f"{name}.md").read_text(encoding="utf-8")):
        for entry in entries.split():
            yield from pages_of(docs, f"{folder}/{entry}" if folder else entry)


def title_of(text: str) -> str:
    """Return the title of a page."""
    return text.partition("# ")[2].partition("\n")[0]


def first_sentence(text: str) -> str:
    """Return the first sentence after the title of a page, without links."""
    paragraphs = re.split(r"\n\s*\n", text.partition("# ")[2].partition("\n")[2])
    plain = next((found for found in paragraphs if re.match(r"\s*[A-Z`]", found) and not found.startswith("```")), "")
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(plain.split()))
    return re.sub(r":$", ".", re.split(r"(?<=[.!?:])\s", plain)[0])


def llms_text(docs: Path) -> str:
    """Return the text of `llms.txt`."""
    texts = {name: _text_of(docs, name) for name in pages_of(docs)}
    lines = [f"# {title_of(texts['index'])}", "", f"> {first_sentence(texts['index'])}", "", "## Pages", ""]
    for name, text in texts.items():
        if name != "index":
            sentence = first_sentence(text)
            lines.append(f"- [{title_of(text)}]({name}.html){f': {sentence}' if sentence else ''}")
    return "\n".join([*lines, ""])


def llms_full_text(docs: Path) -> str:
    """Return the text of `llms-full.txt`."""
    return "\n\n".join(f"<!-- {name}.html -->\n\n{_text_of(docs, name).strip()}" for name in pages_of(docs)) + "\n"


def write_llms_texts(docs: Path, site: Path) -> None:
    """Write both files into the folder of the built site."""
    (site / "llms.txt").write_text(llms_text(docs), encoding="utf-8")
    (site / "llms-full.txt").write_text(llms_full_text(docs), encoding="utf-8")


def _text_of(docs: Path, name: str) -> str:
    """Return the Markdown of a page, without its table of contents and lines that only tests read."""
    text = (docs / f"{name}.md").read_text(encoding="utf-8")
    included = re.fullmatch(r"```\{include\} (\S+)\n```\n?", text)
    if included:
        text = (docs / f"{name}.md").parent.joinpath(included[1]).read_text(encoding="utf-8")
    return re.sub(r"^%.*\n", "", _TOCTREE.sub("", text), flags=re.MULTILINE)
