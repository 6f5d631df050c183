"""What was not delivered: told at once for each reason, and counted."""

import pytest

from crystallize import UndeliveredWarning
from crystallize.sinks import undelivered as module
from crystallize.sinks.undelivered import Undelivered


def test_tells_each_reason_once(caplog: pytest.LogCaptureFixture) -> None:
    """The log has each reason once; the warning at the end has how much there was of each."""
    undelivered = Undelivered("Printer")
    for _ in range(3):
        undelivered.note("point", "it is NaN")
    undelivered.note("point", "the paper is out", 1200)

    assert [
        "Printer: point not delivered: it is NaN",
        "Printer: point not delivered: the paper is out",
    ] == [record.getMessage() for record in caplog.records]
    with pytest.warns(UndeliveredWarning) as caught:
        undelivered.warn()
    told = caught[0].message
    assert isinstance(told, UndeliveredWarning)
    assert ((3, "point", "it is NaN"), (1200, "point", "the paper is out")) == told.undelivered


def test_nothing_to_tell() -> None:
    """Where all was delivered there is no warning."""
    Undelivered("Printer").warn()


def test_as_many_reasons_as_points(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many reasons there are, those that are kept apart are few, and no count is lost."""
    monkeypatch.setattr(module, "REASONS", 3)
    undelivered = Undelivered("Printer")
    for number in range(10):
        undelivered.note("point", f"reason {number}")
    undelivered.note("point", "reason 0")

    assert 11 == undelivered.counts.total()
    assert 7 == undelivered.counts["point", "other reasons"]
    assert 2 == undelivered.counts["point", "reason 0"]
    assert 4 == len(caplog.records)
