"""`crystallize stubs`: stubs of schemas, written or checked."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from .._base.text import counted, one_line
from .._stubs.generate import make_stubs
from .output import AsJson, print_json

_STUBS: Final = Path("stubs")


def stubs(
    modules: Annotated[list[str], typer.Argument(metavar="MODULE", help="Where the schemas are declared.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder of stubs.")] = _STUBS,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; the exit status is 1 if any is stale.")
    ] = False,
    in_json: AsJson = False,
) -> int:
    """Write stubs by which type checkers and editors know each key."""
    # As `python -m` does, so that the modules of the project in the working folder are found.
    sys.path.insert(0, str(Path.cwd()))
    made = make_stubs(modules)
    changed = made.changed(output) if check else made.write(output)
    for schema, reason in made.refused:
        print(f"crystallize: {schema} is left out: {one_line(reason)}", file=sys.stderr)
    if in_json:
        files = [{"path": str(path), "how": how} for path, how in changed]
        refused = [refusal._asdict() for refusal in made.refused]
        facts = {"folder": str(output), "schemas": made.schemas, "metrics": made.metrics, "changed": files}
        print_json({**facts, "refused": refused})
    elif check:
        print("\n".join(f"{how}: {one_line(str(path))}" for path, how in changed) or "up to date")
    else:
        known = f"{counted(len(made.schemas), 'schema')} and {counted(len(made.metrics), 'metric')}"
        print(f"{len(changed)} of {len(made.files)} files written in {one_line(str(output))}, which know {known}")
    return 1 if check and changed else 0
