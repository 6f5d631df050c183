"""`crystallize verify`: the problems of a run's file."""

from .._base.text import one_line
from .._journal.verify import verify_run
from .chosen_run import DEFAULT_FOLDER, RunName, RunsFolder, find
from .output import AsJson, print_json


def verify(run: RunName, folder: RunsFolder = DEFAULT_FOLDER, in_json: AsJson = False) -> int:
    """Check the file of a run. The exit status is 1 if something is wrong with it."""
    path = find(folder, run)
    problems = verify_run(path)
    if in_json:
        print_json({"run": path.stem, "path": str(path), "problems": problems})
    else:
        print("\n".join(map(one_line, problems)) or "verified")
    return 1 if problems else 0
