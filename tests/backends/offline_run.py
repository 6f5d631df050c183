"""The file of an offline run of W&B, read by W&B's own messages: blocks of 32 KiB in the log format of LevelDB."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK: Final = 32_768
_FILE_HEADER: Final = 7
_RECORD_HEADER: Final = 7
_WHOLE, _LAST = 1, 4


class OfflineRun:
    """What an offline run has sent.

    Attributes:
        history: Its rows.
        config: Its config.
        files: The paths of its files.
        axes: The axis of each metric that has one.
        exit_code: How it ended.
    """

    def __init__(self, folder: Path) -> None:
        self.history: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.files: set[str] = set()
        self.axes: dict[str, str] = {}
        self.exit_code: int | None = None
        (file,) = folder.glob("wandb/offline-run-*/*.wandb")
        self.folder = file.parent / "files"
        for record in _finished(file):
            self._take(record)

    def _take(self, record: Record) -> None:
        match record.WhichOneof("record_type"):
            case "history":
                row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                self.history.append(row)
            case "config":
                for item in record.config.update:
                    self.config[item.key or item.nested_key[0]] = json.loads(item.value_json)
            case "files":
                self.files |= {file.path for file in record.files.files}
            case "metric" if record.metric.name:
                self.axes[record.metric.name] = record.metric.step_metric
            case "exit":
                self.exit_code = record.exit.exit_code

    def points(self, name: str, axis: str = "_step") -> list[tuple[Any, Any]]:
        return [(row[axis], row[name]) for row in self.history if name in row]


def _finished(file: Path) -> list[Record]:
    """Wait until W&B's process has written the last record, which it may do after `finish` has returned."""
    end = monotonic() + 60
    while True:
        records = [*map(Record.FromString, _records(file.read_bytes()))]
        if records and records[-1].WhichOneof("record_type") == "exit":
            return records
        assert monotonic() < end
        sleep(0.02)


def _records(content: bytes) -> Iterator[bytes]:
    place, parts = _FILE_HEADER, b""
    while place < len(content):
        left = _BLOCK - place % _BLOCK
        if left < _RECORD_HEADER:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        place += _RECORD_HEADER
        parts += content[place : place + length]
        place += length
        if kind in (_WHOLE, _LAST):
            yield parts
            parts = b""
