"""What stubs cost mypy and pyright: a project of many schemas, checked without them and with them.

Needs what `make typing` installs: `.venv/bin/python -m tests.benchmarks.stubs`.
"""

import argparse
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

TYPES = ("int", "float", "str", "bool", "list[int]", "dict[str, float]", "int | None", "tuple[float, float]")
READ = 10
"""Keys that the code reads of each context."""


def schemas(count: int, keys: int) -> Iterator[str]:
    """Write a module of so many models of so many keys."""
    yield "from pydantic import BaseModel\n\n"
    for n in range(count):
        yield f"class Stage{n}(BaseModel):\n"
        yield "".join(f"    stage{n}_key{k}: {TYPES[k % len(TYPES)]}\n" for k in range(keys))


def steps(count: int, keys: int) -> Iterator[str]:
    """Write a module whose functions read keys of each."""
    yield "from typing import Any\nfrom crystallize import FrozenContext\nfrom big import schemas\n\n"
    for n in range(count):
        yield f"def step{n}(ctx: FrozenContext[schemas.Stage{n}]) -> list[Any]:\n"
        read = ", ".join(f"ctx['stage{n}_key{k}']" for k in range(min(keys, READ)))
        yield f"    return [{read}]\n\n"


def seconds(command: list[str], folder: Path) -> float:
    """Return the processor time that a command takes, of all its processes, so that it hangs less on who else works."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if answer.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{answer.stdout}{answer.stderr}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measured(folder: Path) -> dict[str, float]:
    """Time the checkers on a project."""
    python = ["-m", "mypy", "--strict", "--cache-dir", ".cache", "use.py"]
    found = {"mypy, nothing cached": seconds([sys.executable, *python], folder)}
    with (folder / "use.py").open("a") as file:
        file.write("\n# changed\n")
    found["mypy, after a change of a step"] = seconds([sys.executable, *python], folder)
    with (folder / "big/schemas.py").open("a") as file:
        file.write("\nclass More(BaseModel):\n    more: int\n")
    found["mypy, after a change of a schema"] = seconds([sys.executable, *python], folder)
    found["pyright"] = seconds([sys.executable, "-m", "pyright", f"--pythonpath={sys.executable}", "use.py"], folder)
    return found


def main() -> None:
    """Print a table: each checker without stubs and with them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schemas", type=int, default=50)
    parser.add_argument("--keys", type=int, default=40)
    options = parser.parse_args()
    found = {}
    for kind in ("without", "with"):
        with TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "big").mkdir()
            (folder / "big/__init__.py").touch()
            (folder / "big/schemas.py").write_text("".join(schemas(options.schemas, options.keys)))
            (folder / "use.py").write_text("".join(steps(options.schemas, options.keys)))
            (folder / "pyproject.toml").write_text(
                '[tool.mypy]\nmypy_path = "stubs"\n[tool.pyright]\nstubPath = "stubs"\n'
            )
            if kind == "with":
                command = [sys.executable, "-m", "crystallize", "stubs", "big.schemas"]
                subprocess.run(command, cwd=folder, check=True, env={**os.environ, "PYTHONPATH": name})
                size = sum(path.stat().st_size for path in (folder / "stubs").rglob("*.pyi"))
                print(f"stubs of {options.schemas} schemas of {options.keys} keys: {size / 1e6:.1f} MB")
            found[kind] = measured(folder)
    print("| CPU seconds | without stubs | with |\n|---|---|---|")
    for what, without in found["without"].items():
        print(f"| {what} | {without:.1f} | {found['with'][what]:.1f} |")


if __name__ == "__main__":
    main()
