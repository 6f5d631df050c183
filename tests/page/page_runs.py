"""Runs for the tests of the page: one that all went wrong in that can, and one in which every name is hostile."""

import os
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from crystallize import FrozenContext, Journal, Metric, MetricSchema
from crystallize.runs import find_run

__all__ = ["HOSTILE", "TURNED", "died_in_a_step", "hostile", "made", "picture", "resumed", "swept"]

HOSTILE = (
    '<script>alert("name")</script>',
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror=window.hacked=2>",
    "'\"><b onmouseover=window.hacked=3>",
    "__proto__",
    "constructor",
    "%{x} <a href='javascript:window.hacked=4'>$x^2$</a>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp;",
    "שלום",
    "]]> <!-- <style>* { display: none }</style>",
)
"""Names that mean something to a browser, to plotly, or to Jinja2."""
TURNED = "safe\u202egnp.exe\u2066\u200b\n"
"""A text that turns the direction of reading."""


def made(folder: Path, name: str = "digits", *, lr: float = 0.1, metrics: type[MetricSchema] | None = None) -> Path:
    """Make a run that finished, with a step and a metric of two curves."""
    with Journal.start(folder, name) as journal:
        ctx = journal.context(FrozenContext, {"lr": lr}, metrics=metrics)
        with ctx.step("fit") as fit:
            for epoch in range(20):
                for split in ("train", "val"):
                    fit.record("loss", fit["lr"] / (epoch + 1), tags={"epoch": epoch, "split": split})
            fit["accuracy"] = 0.9
    return journal.path


def hostile(folder: Path) -> Path:
    """Make a run of hostile names and values."""
    with Journal.start(folder, "hostile") as journal:
        ctx = journal.context(FrozenContext, {"<b>lr</b>": TURNED})
        for at, name in enumerate(HOSTILE):
            with suppress(RuntimeError), ctx.step(name.replace("/", "|")) as step:
                step[name] = name
                step.get("<b>lr</b>")
                allowed = "".join(char for char in name if char not in _FORBIDDEN)
                step.artifacts.add(f"{at} {allowed}.txt", name.encode())
                for n in range(3):
                    step.record(name, n / 3, tags={name: name, "n": n})
                    step.record("all", n / 3, tags={"name": name, "n": n})
                raise RuntimeError(name)
        ctx.artifacts.add("script.svg", _SVG)
        ctx.artifacts.add("script.html", b"<script>window.hacked = 5</script>")
    return journal.path


_FORBIDDEN = '/\\:*?"<>|'
_SVG = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" onload="window.hacked = 6">
<script>window.hacked = 7</script><image href="http://192.0.2.1/x.png"/><circle cx="4" cy="4" r="3"/></svg>"""

_DIES = """
import os, sys
from crystallize import FrozenContext, Journal

journal = Journal.start(sys.argv[1], "resumed")
ctx = journal.context(FrozenContext, {"lr": 0.1})
with ctx.step("load") as step:
    step["rows"] = 3
    step.get("late")
try:
    with ctx.step("flaky"):
        raise RuntimeError("out of memory:\\ntried to allocate")
except RuntimeError:
    pass
with ctx.step("fit") as step:
    with step.step("warm-up"):
        pass
    step.record("loss", 1.0)
    journal.flush()
    os._exit(0)
"""


def died_in_a_step(folder: Path) -> Path:
    """Make a run whose process died in a step."""
    subprocess.run([sys.executable, "-c", _DIES, os.fspath(folder)], check=True)
    return find_run(folder, "resumed")


def resumed(folder: Path) -> Path:
    """Make a run whose process died in a step, and that another one went on with."""
    with Journal.resume(died_in_a_step(folder)) as journal:
        ctx: FrozenContext[dict[str, Any]] = journal.context(FrozenContext)
        with ctx.step("flaky") as step:
            step["late"] = 1
        with ctx.step("fit") as step:
            step["accuracy"] = step["rows"] / 4
            for n in range(5):
                step.record("loss", 1 / (n + 1))
            step.artifacts.add("picture.png", picture())
            step.artifacts.add("notes.txt", b"one line\nanother one")
            step.artifacts.add("model.bin", bytes(range(256)))
            step.artifacts.add("empty", b"")
    return journal.path


def picture() -> bytes:
    """Return a small PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")


class SweptTags(TypedDict):
    step: int
    epoch: int
    split: str
    head: str


class Swept(MetricSchema):
    loss = Metric(float, tags=SweptTags, goal="minimize")
    accuracy = Metric(float, goal="maximize")


def swept(folder: Path, count: int, *, heads: int = 1) -> list[Path]:
    """Make the runs of a sweep, each with curves of two splits, and so many heads in each."""
    paths = []
    for n in range(count):
        with suppress(RuntimeError), Journal.start(folder, "grid") as journal:
            cfg = {"depth": 2 + n % 3, "kind": "mlp"}
            ctx = journal.context(
                FrozenContext, {"lr": 10.0 ** -(n // 3), "cfg": cfg, "marks": ["x"] * n}, metrics=Swept
            )
            with ctx.step("fit") as fit:
                for step in range(6):
                    for split in ("train", "val"):
                        for head in range(heads):
                            tags: SweptTags = {"step": step, "epoch": step // 2, "split": split, "head": f"h{head}"}
                            fit.record(Swept.loss, n + 1 / (step + 1), tags)
                fit.record(Swept.accuracy, 1 / (n + 1))
                if n == 1:
                    raise RuntimeError("no memory, and a sentence on what to do about it")
            ctx["score"] = n / 2
        paths.append(journal.path)
    return paths
