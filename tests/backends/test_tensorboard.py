"""The TensorBoard sink: TensorBoard's own reader reads the files that it writes."""

import struct
from concurrent.futures import ThreadPoolExecutor
from errno import ENOSPC
from io import BytesIO
from math import inf, nan
from pathlib import Path
from time import time
from typing import Any

import pytest
from PIL import Image
from pydantic import BaseModel, SecretStr
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from crystallize import FrozenContext, Journal, Metric, MetricSchema, SinkCheckError, UndeliveredWarning, fan_out
from crystallize.sinks import delivery_queue as delivery
from crystallize.sinks import tensorboard as module
from crystallize.sinks.entry_points import find_sink
from crystallize.sinks.tensorboard import TensorBoardSink

from ..examples import example_of, what_fails


class Train(BaseModel):
    lr: float
    layers: list[int] = [64, 10]
    name: str = "größe"
    fast: bool = True
    password: SecretStr = SecretStr("hunter2")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"DELAY": 0.02, "FIRST_PAUSE": 0.02, "LONGEST_PAUSE": 0.05, "LAST_PAUSE": 0.05}.items():
        monkeypatch.setattr(delivery, name, seconds)


def read(folder: Path) -> EventAccumulator:
    # Zero means all of them.
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()


def points(found: EventAccumulator, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in found.Scalars(name)]


def session(found: EventAccumulator, part: str) -> Any:
    content = found.PluginTagToContent("hparams")[f"_hparams_/session_{part}_info"]
    return getattr(HParamsPluginData.FromString(content), f"session_{part}_info")


def single(value: float) -> float:
    """Return a number as TensorBoard keeps it, with 32 bits."""
    (kept,) = struct.unpack("<f", struct.pack("<f", value))
    return float(kept)


def task(ctx: FrozenContext[Train], fold: int) -> None:
    ctx.record("score", fold, {"fold": fold})


def test_event_files(tmp_path: Path) -> None:
    """Points, inputs, images, texts and the work of branches are read as they were recorded; no secret is."""
    png = BytesIO()
    Image.new("RGB", (3, 2)).save(png, "PNG")
    before = time()
    with TensorBoardSink(tmp_path / "logs", step_tag="epoch") as sink:
        ctx = FrozenContext[Train]({"lr": 0.1}, sinks=[sink])
        with ctx.step("fit") as fit:
            for epoch in range(3):
                for split in ("train", "val"):
                    fit.record("loss", 0.5 / (epoch + 1), {"epoch": epoch, "split": split})
                fit.record("seen", 100)
            for value in (nan, inf, True):
                fit.record("odd", value)
            fit.artifacts.add("plot.PNG", png.getvalue())
            fit.artifacts.add("cut.png", b"no picture")
            fit.artifacts.add("notes.md", "# größe".encode())
            fit.artifacts.add("model.bin", b"1")
        with ctx.step("tune") as tune, ThreadPoolExecutor(2) as pool:
            fan_out(tune, task, range(3), executor=pool)
        assert sink.flush(60)
        assert f"TensorBoardSink({str(tmp_path / 'logs')!r})" == repr(sink)
    found = read(tmp_path / "logs")

    for split in ("train", "val"):
        assert [(0, 0.5), (1, 0.25), (2, single(0.5 / 3))] == points(found, f"loss/split-{split}")
    assert [(0, 100), (1, 100), (2, 100)] == points(found, "seen")
    assert ["nan", "inf", "1.0"] == [str(value) for _, value in points(found, "odd")]
    assert [[(0, fold)] for fold in range(3)] == [points(found, f"score/fold-{fold}") for fold in range(3)]
    times = [point.wall_time for point in found.Scalars("seen")]
    assert before <= times[0] <= times[-1] <= time()
    (image,) = found.Images("plot.PNG")
    assert (3, 2, png.getvalue()) == (image.width, image.height, image.encoded_image_string)
    assert {"plot.PNG", "cut.png"} == set(found.Tags()["images"])
    (text,) = found.Tensors("notes.md/text_summary")
    assert ["# größe".encode()] == list(text.tensor_proto.string_val)
    inputs = session(found, "start").hparams
    assert 0.1 == inputs["lr"].number_value
    assert inputs["fast"].bool_value
    assert ["[64,10]", "größe", "**********"] == [inputs[key].string_value for key in ("layers", "name", "password")]
    assert 1 == session(found, "end").status


def test_a_failed_and_resumed_run(tmp_path: Path) -> None:
    """A run that fails is marked as failed. When it is resumed, the new points are in another file of its folder."""

    def fail() -> None:
        with Journal.start(tmp_path / "runs", "digits") as journal, TensorBoardSink(tmp_path / "logs") as sink:
            ctx = journal.context(FrozenContext, {"lr": 0.1}, sinks=[sink])
            with ctx.step("load") as load:
                load.record("loss", 0.5)
            raise ValueError("no entry")

    with pytest.raises(ValueError, match="no entry"):
        fail()
    assert 2 == session(read(tmp_path / "logs"), "end").status
    with (
        Journal.resume(tmp_path / "runs" / "digits-0001.db") as journal,
        TensorBoardSink(tmp_path / "logs") as sink,
    ):
        journal.context(FrozenContext, sinks=[sink]).record("loss", 0.25)

    found = read(tmp_path / "logs")
    assert [(0, 0.5), (1, 0.25)] == points(found, "loss")
    assert 0.1 == session(found, "start").hparams["lr"].number_value
    # TensorBoard keeps the first end of a folder.
    assert 2 == session(found, "end").status


def test_values_that_tensorboard_cannot_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that are no numbers are not written, and the end says how many there were."""
    monkeypatch.setattr(module, "LARGEST", 2_000_000)
    (tmp_path / "lost.txt").write_bytes(bytes(1_500_000))
    (tmp_path / "large.txt").write_bytes(bytes(2_000_001))
    sink = TensorBoardSink(tmp_path / "logs", step_tag="epoch", name="{metric}/{split}")
    ctx = FrozenContext({"huge": 10**400}, sinks=[sink])
    for value in ("text", 10**400, 0.5):
        ctx.record("loss", value, {"epoch": 1, "split": "val"})
    ctx.record("loss", 0.5, {"epoch": 1.5, "split": "val"})
    ctx.record("loss", 0.5, {"epoch": 1})
    assert sink.flush(60)
    ctx.artifacts.add_file(tmp_path / "large.txt")
    ctx.artifacts.add_file(tmp_path / "lost.txt")
    for lost in Path(ctx.artifacts["lost.txt"].path).parents[0].iterdir():
        lost.chmod(0o600)
        lost.unlink()
    with pytest.warns(UndeliveredWarning) as caught:
        sink.close()
    sink.close()

    found = read(tmp_path / "logs")
    assert [(1, 0.5)] == points(found, "loss/val")
    assert [] == found.Tags()["tensors"]
    assert str(10**400) == session(found, "start").hparams["huge"].string_value
    for expected in (
        "'loss/val': it is a str, and TensorBoard takes numbers",
        "'loss/val': it is an int that no float holds, and TensorBoard keeps floats",
        "'loss/val': is a float, and TensorBoard's step is an int",
        "metric 'loss' has no name: ValueError: it has no tag 'split'",
        "1 artifact: ObjectError",
    ):
        assert expected in str(caught[0].message)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After writes that failed, also in the middle, all records are in the file once."""
    made = module._EventFile._created
    failures = iter([0, 5, 40])

    class Disk:
        def __init__(self, file: Any) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def write(self, data: bytes) -> int:
            for size in failures:
                self._file.write(data[:size])
                raise OSError(ENOSPC, "No space left on device")
            # Half of it, as a system call may.
            return int(self._file.write(data[: max(1, len(data) // 2)]))

    monkeypatch.setattr(module._EventFile, "_created", lambda self: Disk(made(self)))
    assert find_sink("tensorboard") is TensorBoardSink
    with TensorBoardSink(tmp_path / "logs") as sink:
        ctx = FrozenContext({"lr": 0.1}, sinks=[sink])
        for number in range(5):
            ctx.record("loss", number)
            assert sink.flush(60)

    assert [(number, float(number)) for number in range(5)] == points(read(tmp_path / "logs"), "loss")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """If nothing can be written, the run goes on, and the end says how much is missing."""
    (tmp_path / "logs").write_text("a file")
    sink = TensorBoardSink(tmp_path / "logs", patience=0.1)
    FrozenContext({"lr": 0.1}, sinks=[sink]).record("loss", 0.5)
    with pytest.warns(UndeliveredWarning, match=r"(?s)1 list of inputs: FileExistsError.* 1 point: .* 1 end of the"):
        sink.close()


def test_check(tmp_path: Path) -> None:
    """Names that TensorBoard cannot show, and a second context, are errors before anything is written."""

    class Metrics(MetricSchema):
        loss = Metric(float)

    for name, expected in (("", "is empty"), (3, "is no text but 3")):
        sink = TensorBoardSink(tmp_path / "none", name=lambda *_, name=name: name)
        with pytest.raises(SinkCheckError, match=expected):
            FrozenContext({"lr": 1}, metrics=Metrics, sinks=[sink])
        sink.close()
    assert not (tmp_path / "none").exists()
    with TensorBoardSink(tmp_path / "logs") as sink:
        FrozenContext({"lr": 0.1}, sinks=[sink])
        with pytest.raises(SinkCheckError, match="it reports one context, and has one already"):
            FrozenContext(sinks=[sink])

    assert 0.1 == session(read(tmp_path / "logs"), "start").hparams["lr"].number_value


def test_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the sink's docstring writes a point."""
    monkeypatch.chdir(tmp_path)

    assert "" == what_fails(
        example_of(TensorBoardSink), {"FrozenContext": FrozenContext, "TensorBoardSink": TensorBoardSink}
    )
    assert [(1, 0.5)] == points(read(tmp_path / "logs" / "digits-0001"), "loss/split-train")
