"""A sink that writes event files, which TensorBoard reads."""

import os
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from time import time, time_ns
from types import TracebackType
from typing import Any, BinaryIO, Final, NamedTuple, Self, TypeAlias

from tensorboardX.crc32c import crc32c
from tensorboardX.proto.api_pb2 import Status
from tensorboardX.proto.event_pb2 import Event as EventMessage
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.summary import text

from .._base.file_system import make_folder
from .._base.text import error_line, short
from .._core.context_view import ContextView
from .._core.metrics import MetricSchema
from .._core.protocols import DeclaredKey
from ..errors import ObjectError
from ..events import ArtifactAdded, Event, KeyWritten, MetricRecorded
from .delivery_queue import Delivery
from .naming import Backend, Naming, PointNames, Template, as_text, named, problems_of, unfit_step

__all__ = ["TensorBoardSink"]

TEXTS: Final = (".csv", ".json", ".md", ".txt", ".yaml", ".yml")
"""The endings of the artifacts that become texts."""
LARGEST: Final = 10_000_000
"""The maximum bytes of an artifact that is written into an event file."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"


def _unfit(name: Any) -> str | None:
    """Return why TensorBoard would not show a name, or None."""
    if not isinstance(name, str):
        return f"is no text but {short(name)}"
    return None if name else "is empty"


TENSORBOARD: Final = Backend("TensorBoard", "hyperparameter", _unfit, _unfit)


class _Inputs(NamedTuple):
    """The inputs of the run, for the table of hyperparameters."""

    values: Mapping[str, Any]


class _RunEnd(NamedTuple):
    """The end of the run."""

    is_failure: bool


_PointItem: TypeAlias = tuple[str, Any, int, Mapping[str, Any]]
"""A metric, its value, its index, and its tags."""
_Content: TypeAlias = _PointItem | _Inputs | ArtifactAdded | _RunEnd
_Item: TypeAlias = tuple[int, _Content]
"""Data to be written, with the time of its event in ns since 1970."""


_NOUNS: Final[dict[type, str]] = {ArtifactAdded: "artifact", _Inputs: "list of inputs", _RunEnd: "end of the run"}


def _kind_of(item: _Item) -> str:
    return _NOUNS.get(type(item[1]), "point")


class TensorBoardSink:
    """Writes the points, inputs, images and texts of a context into an event file in a folder.

    Its own thread writes the file, so that a disk that is slow or full does not stop the context. Each sink writes a
    file of its own: a run that is resumed adds another file to its folder, and TensorBoard reads both.

    Points become scalars. Inputs become the hyperparameters of the run. An artifact becomes an image if it is a PNG,
    and a text if its name ends in one of `TEXTS`. Event files have no place for other artifacts.

    Example:
        >>> with TensorBoardSink("logs/digits-0001", step_tag="epoch") as sink:
        ...     ctx = FrozenContext({"lr": 0.1}, sinks=[sink])
        ...     ctx.record("loss", 0.5, {"epoch": 1, "split": "train"})
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        step_tag: str | None = None,
        name: Template = named,
        bound: int = 100_000,
        patience: float = 30.0,
    ) -> None:
        """Make a sink. It creates the folder and the file at the first event.

        Args:
            folder: The folder of the run. TensorBoard shows each folder below its `--logdir` as a run.
            step_tag: The tag whose value becomes TensorBoard's step. It is left out of the names. The step of a point
                without this tag is its index, from 0.
            name: The name of a metric with its other tags: a template such as "{metric}/{split}", or a function of the
                metric's name and its tags. By default "loss/split-train", with all tags in alphabetical order.
            bound: The maximum number of points and artifacts that wait for the disk.
            patience: The maximum seconds that `close` waits while the disk accepts nothing.
        """
        # A relative folder stays where it is if the program changes its working directory.
        self._folder = Path(os.path.abspath(folder))
        self._naming = Naming(TENSORBOARD, name, step_tag)
        self._inputs: dict[str, Any] = {}
        """The inputs that are not written yet."""
        self._is_attached = False
        self._is_closed = False
        self._file = _EventFile(self._folder)
        self._delivery: Delivery[_Item] = Delivery(
            type(self).__name__, self._send, _kind_of, bound=bound, patience=patience
        )
        self._undelivered = self._delivery.undelivered
        self._names = PointNames(self._naming, self._undelivered)

    def check(self, schema: Mapping[str, DeclaredKey], metrics: type[MetricSchema] | None, /) -> Iterable[str]:
        """Return the parts that TensorBoard cannot show, as sentences; see `CheckingSink`."""
        if self._is_attached:
            yield "it reports one context, and has one already; make another sink"
        yield from problems_of(schema, metrics, self._naming)

    def attach(self, view: ContextView, /) -> None:
        """Take the context; see `AttachedSink`."""
        self._is_attached = True

    def handle(self, event: Event, /) -> None:
        """Queue an event, to be written later by another thread.

        Raises:
            SinkClosedError: The sink is closed, or belongs to another process.
        """
        if isinstance(event, KeyWritten) and event.is_input:
            is_number = isinstance(event.value, int | float)
            self._inputs[event.key] = event.value if is_number else as_text(event.value)
            return
        self._put_inputs()
        if isinstance(event, MetricRecorded):
            self._put((event.metric, event.value, event.position, dict(event.tags)))
        elif isinstance(event, ArtifactAdded) and _is_shown(event):
            self._put(event)

    def _put(self, content: _Content) -> None:
        self._delivery.put((time_ns(), content))

    def _put_inputs(self) -> None:
        if self._inputs:
            inputs, self._inputs = self._inputs, dict[str, Any]()
            self._put(_Inputs(inputs))

    def _send(self, items: Sequence[_Item]) -> int:
        # An artifact is written alone, since it may be large.
        chosen = [*takewhile(lambda item: not isinstance(item[1], ArtifactAdded), items)] or items[:1]
        messages = (self._message(at, content) for at, content in chosen)
        self._file.write([message for message in messages if message is not None])
        return len(chosen)

    def _message(self, at: int, content: _Content) -> "EventMessage | None":
        """Return an item as a message of an event file, or None if it cannot be one."""
        seconds = at / 1e9
        if isinstance(content, _Inputs):
            return EventMessage(wall_time=seconds, summary=_started(content.values, seconds))
        if isinstance(content, _RunEnd):
            return EventMessage(wall_time=seconds, summary=_ended(content.is_failure, seconds))
        if isinstance(content, ArtifactAdded):
            shown = self._shown(content)
            return None if shown is None else EventMessage(wall_time=seconds, summary=shown)
        metric, value, position, tags = content
        name = self._names.of(metric, tags)
        if name is None:
            return None
        step = self._names.step_of(tags, position)
        reason = _unfit_number(value) or unfit_step(step, "TensorBoard")
        if reason is not None:
            self._undelivered.note("point", f"{name!r}: {reason}")
            return None
        return EventMessage(
            wall_time=seconds, step=step, summary=Summary(value=[Summary.Value(tag=name, simple_value=float(value))])
        )

    def _shown(self, artifact: ArtifactAdded) -> "Summary | None":
        """Return an artifact as an image or a text; None if it cannot be read."""
        try:
            data = artifact.data
        except ObjectError as error:
            self._undelivered.note("artifact", error_line(error))
            return None
        if artifact.name.lower().endswith(".png"):
            return _image(artifact.name, data)
        shown: Summary = text(artifact.name, data.decode(errors="replace"))
        return shown

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all events so far are written, or noted as undelivered. Return False if the timeout ends first.

        Args:
            timeout: The maximum seconds to wait; None waits as long as it takes.
        """
        return self._delivery.flush(timeout)

    def close(self) -> None:
        """Write the remaining events while the disk accepts them. Closing again does nothing.

        Warns:
            UndeliveredWarning: Not everything was written. The warning has the counts and the reasons.
        """
        self._close(is_failure=False)

    def _close(self, *, is_failure: bool) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        now = time_ns()
        last: list[_Item] = [(now, _Inputs(self._inputs))] if self._inputs else []
        if self._is_attached:
            last.append((now, _RunEnd(is_failure)))
        try:
            self._delivery.close(*last)
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        """Return the sink itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the sink. If the block raised, TensorBoard shows the run as failed in the table of hyperparameters."""
        self._close(is_failure=raised is not None)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._folder)!r})"


class _EventFile:
    """An event file, which is created by the first write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None
        self._size = 0
        """The bytes of all whole records. What follows them is the rest of a write that failed."""

    def write(self, messages: Sequence[EventMessage]) -> None:
        """Append messages, all or none of them."""
        if self._file is None:
            self._file = self._created()
        if self._size == 0:
            messages = [EventMessage(wall_time=time(), file_version="brain.Event:2"), *messages]
        data = b"".join(_record(message.SerializeToString()) for message in messages)
        self._file.seek(self._size)
        self._file.truncate()
        written = 0
        while written < len(data):
            written += self._file.write(data[written:])
        self._size += len(data)

    def _created(self) -> BinaryIO:
        make_folder(self._folder)
        # TensorBoard reads the files of a folder in the order of their names.
        seconds, rest = divmod(time_ns(), 1_000_000_000)
        name = f"events.out.tfevents.{seconds:010d}.{rest:09d}.{socket.gethostname()}.{os.getpid()}"
        return (self._folder / name).open("xb", buffering=0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _record(data: bytes) -> bytes:
    """Return a record of an event file: length, checksum, data, checksum."""
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    check = crc32c(data) & 0xFFFFFFFF
    return struct.pack("<I", ((check >> 15 | check << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _started(inputs: Mapping[str, Any], seconds: float) -> Summary:
    start = SessionStartInfo(start_time_secs=seconds)
    for key, value in inputs.items():
        if isinstance(value, bool):
            start.hparams[key].bool_value = value
        elif _unfit_number(value) is None:
            start.hparams[key].number_value = value
        else:
            start.hparams[key].string_value = str(value)
    return _hparams("session_start_info", HParamsPluginData(version=0, session_start_info=start))


def _ended(is_failure: bool, seconds: float) -> Summary:
    status = Status.Value("STATUS_FAILURE" if is_failure else "STATUS_SUCCESS")
    end = SessionEndInfo(status=status, end_time_secs=seconds)
    return _hparams("session_end_info", HParamsPluginData(version=0, session_end_info=end))


def _hparams(tag: str, data: HParamsPluginData) -> Summary:
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data.SerializeToString())
    return Summary(value=[Summary.Value(tag=f"_hparams_/{tag}", metadata=SummaryMetadata(plugin_data=plugin))])


def _is_shown(artifact: ArtifactAdded) -> bool:
    return artifact.size <= LARGEST and artifact.name.lower().endswith((".png", *TEXTS))


def _image(name: str, data: bytes) -> Summary:
    # The first chunk of a PNG is its header, which begins with width and height.
    width, height = struct.unpack(">II", data[16:24]) if data.startswith(_PNG) and len(data) >= 24 else (0, 0)
    image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=data)
    return Summary(value=[Summary.Value(tag=name, image=image)])


def _unfit_number(value: Any) -> str | None:
    """Return why a value cannot be a scalar, or None. TensorBoard shows NaN and infinities."""
    if not isinstance(value, int | float):
        return f"it is a {type(value).__name__}, and TensorBoard takes numbers"
    try:
        float(value)
    except OverflowError:
        return "it is an int that no float holds, and TensorBoard keeps floats"
    return None
