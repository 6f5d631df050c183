"""Let pyright list the public names whose types are not known, and exit with 1 if there are any.

A type that an editor has to infer can differ between checkers, so every public attribute and parameter is annotated.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).parents[2]
COMMAND: Final = (
    *(sys.executable, "-m", "pyright", f"--pythonpath={sys.executable}"),
    *("--verifytypes", "crystallize", "--ignoreexternal", "--outputjson"),
)
UNREAD: Final = "crystallize.sinks.opentelemetry.OpenTelemetrySink"
"""In this mode pyright does not find the types of OpenTelemetry, which is a namespace package."""


def main() -> int:
    """Print each name with its problems.

    Returns:
        The exit code.
    """
    # Here pyright reads no setting, and the stubs have the types of packages that are not installed.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT / "stubs")))}
    answer = subprocess.run(COMMAND, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    symbols: list[dict[str, Any]] = json.loads(answer.stdout)["typeCompleteness"]["symbols"]
    incomplete = [symbol for symbol in symbols if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]]
    found = [symbol for symbol in incomplete if symbol["name"] not in (UNREAD, f"{UNREAD}.__init__")]
    for symbol in found:
        print(symbol["name"], *(problem["message"] for problem in symbol["diagnostics"]), sep="\n    ")
    print(f"pyright --verifytypes: {len(found)} of {len(symbols)} names without a known type")
    return int(bool(found) or not symbols)


if __name__ == "__main__":
    sys.exit(main())
