"""The runs of an MLflow store: a server, a database or a folder of files."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from .._base.optional import OptionalModule
from .._base.text import error_line, nearest, short, without_passwords
from .._core.artifacts import ArtifactLog
from .._core.file_names import folded, unfit_name
from .._journal.imported_run import ImportedRun
from ..errors import JournalError

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run

mlflow: Final = OptionalModule("mlflow", "mlflow")

RECORD: Final = "mlflow-run.json"
"""The artifact with everything that MLflow says of the run."""
_SETTINGS: Final[dict[str, str]] = {
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
"""Environment variables without which MLflow reads no folders, and tries a server that is down again for minutes."""
_RUNNING: Final = ("RUNNING", "SCHEDULED")
_ERRORS: Final[dict[str, str]] = {"FAILED": "the run failed, says MLflow", "KILLED": "the run was killed, says MLflow"}
_UNFIT: Final = re.compile(r'[\\:*?"<>|]|[^ -~\w]')
_PAGE: Final = 500
"""The maximum number of runs or experiments in one request."""
_LONGEST_TAG: Final = 100
_LONGEST_NAME: Final = 100


class StoredRun(NamedTuple):
    """A run of the store, without its history and artifacts."""

    id: str
    experiment: str
    run: "Run"


class StoredFile(NamedTuple):
    """An artifact of a run."""

    name: str
    """The name that it gets here."""
    path: str
    """Its path in MLflow."""
    copy: Path


def id_tag(run_id: str) -> str:
    """Return the tag of the imported run by which it is known later."""
    return f"mlflow.runId={run_id}"


class MLflowStore:
    """The runs of an MLflow store, which are only read."""

    def __init__(self, uri: str) -> None:
        """Open the store at a tracking URI.

        Raises:
            JournalError: There is no such store, or it cannot be opened.
            MissingExtraError: MLflow is not installed.
        """
        self._uri = without_passwords(uri)
        # Its client would create a database or folder that does not exist.
        path = _local_path(uri)
        if path is not None and not path.exists():
            raise JournalError(self._uri, "there is no such file or folder", "give the URI of an existing store")
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        client = mlflow.MlflowClient
        with self._translated():
            self._client = client(uri)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise JournalError in place of any error of MLflow and of the libraries below it."""
        try:
            yield
        except Exception as error:  # of any kind: each store has its own
            advice = "check the tracking URI, and that the server runs"
            if isinstance(error, ModuleNotFoundError):
                advice = "pip install mlflow brings all that its stores need"
            raise JournalError(self._uri, f"MLflow cannot read this store ({error_line(error)})", advice) from error

    def runs(self, names: list[str] | None = None) -> Iterator[StoredRun]:
        """Yield the runs of some experiments, or of all, the oldest first.

        Raises:
            JournalError: There is no such experiment, or the store cannot be read.
        """
        with self._translated():
            experiments = {experiment.name: experiment for experiment in self._experiments()}
        for name in names or ():
            if name not in experiments:
                near = nearest(name, list(experiments))
                advice = f"did you mean {near!r}?" if near else f"there are: {', '.join(map(repr, experiments))}"
                raise JournalError(self._uri, f"there is no experiment {short(name)}", advice)
        for name in dict.fromkeys(names or experiments):
            token: str | None = None
            while True:
                with self._translated():
                    page = self._client.search_runs(
                        [experiments[name].experiment_id],
                        max_results=_PAGE,
                        order_by=["attributes.start_time ASC"],
                        page_token=token,
                    )
                yield from (StoredRun(run.info.run_id, name, run) for run in page)
                token = page.token
                if not token:
                    break

    def _experiments(self) -> "Iterator[Experiment]":
        token: str | None = None
        while True:
            page = self._client.search_experiments(max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def read(self, stored: StoredRun, scratch: Path) -> tuple[ImportedRun, list[str]]:
        """Read a run with its history and artifacts.

        Args:
            stored: The run.
            scratch: A folder for its artifacts.

        Returns:
            The run, and a sentence for each part that cannot be imported.

        Raises:
            JournalError: MLflow has the run as running, or it cannot be read.
        """
        info, data = stored.run.info, stored.run.data
        if info.status in _RUNNING:
            advice = "import it when it has ended; `MlflowClient.set_terminated` ends a run whose process died"
            raise JournalError(stored.id, f"MLflow has this run as {info.status}", advice)
        problems: list[str] = []
        with self._translated():
            points = sorted(self._points(stored), key=lambda point: (point[2]["timestamp"], point[2]["step"]))
            files = self._artifacts(stored.id, scratch, problems)
        paths = {file.name: file.path for file in files}
        record = {**stored.run.to_dictionary(), "experiment": stored.experiment, "artifacts": paths}
        made = ImportedRun(
            name=_name(stored.experiment),
            inputs={key: _value(text) for key, text in data.params.items()},
            points=points,
            add_artifacts=partial(_add, record, files),
            started=_moment(info.start_time),
            ended=_moment(info.end_time or info.start_time),
            error=_ERRORS.get(info.status),
            arguments=[data.tags[tag] for tag in ("mlflow.source.name",) if tag in data.tags],
            commit=data.tags.get("mlflow.source.git.commit"),
            tags=_tags(stored),
            note=data.tags.get("mlflow.note.content", ""),
        )
        return made, problems

    def _points(self, stored: StoredRun) -> Iterator[tuple[str, float, dict[str, Any]]]:
        for name in stored.run.data.metrics:
            for point in self._client.get_metric_history(stored.id, name):
                yield name, point.value, {"step": point.step, "timestamp": point.timestamp}

    def _artifacts(self, run_id: str, scratch: Path, problems: list[str]) -> list[StoredFile]:
        """Download the artifacts."""
        found: list[StoredFile] = []
        taken = {folded(RECORD)}
        folders: list[str | None] = [None]
        while folders:
            folder = folders.pop()
            try:
                entries = self._client.list_artifacts(run_id, folder)
                for entry in entries:
                    if entry.is_dir:
                        folders.append(entry.path)
                    else:
                        # Each in a folder of its own, as MLflow drops the folder from the name.
                        own = scratch / str(len(found))
                        own.mkdir()
                        copy = self._client.download_artifacts(run_id, entry.path, str(own))
                        found.append(StoredFile(_file_name(entry.path, taken), entry.path, Path(copy)))
            except Exception as error:  # of any kind: each kind of store has its own
                problems.append(f"artifacts in {folder or 'the top folder'!r} are left out ({error_line(error)})")
        return found


def _local_path(uri: str) -> Path | None:
    """Return the file or folder of a store that is not on a server; None for a server."""
    scheme, _, rest = uri.partition(":")
    if scheme.startswith("sqlite") and rest:
        # Three slashes before a relative path, four before an absolute one.
        return Path(urlsplit(uri).path.removeprefix("/"))
    if scheme == "file":
        return Path(unquote(urlsplit(uri).path))
    return None if "://" in uri or uri == "databricks" else Path(uri)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _value(text: str) -> Any:
    """Return the value whose text a param is, if Python would write exactly this text for it; else the text."""
    constants: dict[str, Any] = {"True": True, "False": False, "None": None}
    if text in constants:
        return constants[text]
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if str(value) == text and isfinite(value):
            return value
    return text


def _name(experiment: str) -> str:
    """Return the name of the runs of an experiment, which has to be one of a file."""
    name = _UNFIT.sub("_", experiment.replace("/", "_")).strip(" .")[:_LONGEST_NAME]
    return "mlflow" if unfit_name(name) else name


def _tags(stored: StoredRun) -> tuple[str, ...]:
    tags = stored.run.data.tags
    shown = [f"{key}={tags[key]}" for key in ("mlflow.runName", "mlflow.parentRunId") if key in tags]
    shown += [f"{key}={value}" for key, value in tags.items() if not key.startswith("mlflow.")]
    fit = [tag for tag in shown if len(tag) <= _LONGEST_TAG and tag.isprintable() and "," not in tag]
    return (id_tag(stored.id), *(tag for tag in fit if tag == tag.strip()))


def _file_name(path: str, taken: set[str]) -> str:
    """Return the name of an artifact, given its path, and add it to the names that are taken."""
    plain = _UNFIT.sub("_", path.replace("/", "__")).strip(" .")
    if unfit_name(plain):
        plain = f"artifact{PurePosixPath(path).suffix}"
        plain = "artifact" if unfit_name(plain) else plain
    name, number = plain, 1
    while folded(name) in taken:
        number += 1
        name = f"{number}-{plain}"
    taken.add(folded(name))
    return name


def _add(record: dict[str, Any], files: list[StoredFile], artifacts: ArtifactLog) -> None:
    """Add the artifacts of a run."""
    for file in files:
        artifacts.add_file(file.copy, file.name)
    artifacts.add(RECORD, json.dumps(record, indent=2, default=str).encode())
