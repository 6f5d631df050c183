"""Delivery: a backend that is slow or down holds nobody up, and what it did not get is known."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystallize import SinkClosedError, UndeliveredWarning
from crystallize._base.text import error_line
from crystallize.sinks import delivery_queue as module
from crystallize.sinks.delivery_queue import Delivery

from ..profiles import examples


class Backend:
    """Takes numbers, some at once; fails as long as it is down, and hangs as long as it is stuck."""

    def __init__(self, at_once: int = 1000) -> None:
        self.at_once = at_once
        self.taken: list[int] = []
        self.tries = 0
        self.is_down = False
        self.goes_on = threading.Event()
        self.goes_on.set()

    def send(self, items: Sequence[int]) -> int:
        self.tries += 1
        self.goes_on.wait()
        if self.is_down:
            raise ConnectionError("no route to host")
        sent = items[: self.at_once]
        self.taken += sent
        return len(sent)


def kind(item: int) -> str:
    return "even number" if item % 2 == 0 else "odd number"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses as short as tests have them."""
    for name, seconds in {"DELAY": 0.01, "FIRST_PAUSE": 0.01, "LONGEST_PAUSE": 0.02, "LAST_PAUSE": 0.01}.items():
        monkeypatch.setattr(module, name, seconds)


@pytest.fixture
def backend() -> Iterator[Backend]:
    made = Backend()
    yield made
    made.goes_on.set()


def made(backend: Backend, **options: Any) -> Delivery[int]:
    return Delivery("Numbers", backend.send, kind, **options)


@settings(max_examples=examples(20), deadline=None)
@given(st.lists(st.integers(), max_size=50), st.integers(1, 7), st.integers(1, 7), st.lists(st.booleans(), max_size=5))
def test_everything_arrives_once_and_in_order(items: list[int], batch: int, at_once: int, failures: list[bool]) -> None:
    """However many go at once, and however often that fails, all items arrive, each once, in their order."""
    backend = Backend(at_once)
    rest = iter(failures)

    def send(items: Sequence[int]) -> int:
        backend.is_down = next(rest, False)
        return backend.send(items)

    delivery = Delivery("Numbers", send, kind, batch=batch)
    for item in items:
        delivery.put(item)
    delivery.close()

    assert items == backend.taken
    assert {} == delivery.undelivered.counts


def test_a_backend_that_comes_back(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    """What a backend that was down did not get it gets when it is there again; the log tells of both, once."""
    backend.is_down = True
    delivery = made(backend)
    for item in range(10):
        delivery.put(item)
    assert not delivery.flush(0.1)
    assert backend.tries > 1
    assert [] == backend.taken
    backend.is_down = False
    assert delivery.flush(10)
    delivery.close()

    assert list(range(10)) == backend.taken
    down, again = (record.getMessage() for record in caplog.records)
    assert "Numbers: ConnectionError: no route to host; it is tried again from 0.01 seconds on" == down
    assert "Numbers delivers again" == again


def test_a_backend_that_stays_down(backend: Backend) -> None:
    """What is not delivered when the patience ends is counted by kind, with what the backend said last."""
    backend.is_down = True
    delivery = made(backend, patience=0.05)
    for item in range(5):
        delivery.put(item)
    with pytest.warns(UndeliveredWarning) as caught:
        delivery.close(7)

    why = "ConnectionError: no route to host"
    told = caught[0].message
    assert isinstance(told, UndeliveredWarning)
    assert ((3, "even number", why), (3, "odd number", why)) == told.undelivered
    assert {("even number", why): 3, ("odd number", why): 3} == delivery.undelivered.counts


def test_a_backend_that_hangs(backend: Backend) -> None:
    """A backend that does not answer holds `put` up not at all, and `close` for the patience alone."""
    backend.goes_on.clear()
    delivery = made(backend, patience=0.05, batch=1)
    delivery.put(1)
    delivery.put(3)
    assert not delivery.flush(0.05)
    with pytest.warns(UndeliveredWarning, match="2 odd numbers: nothing was taken in for 0.05 seconds"):
        delivery.close()
    backend.goes_on.set()
    delivery._thread.join(10)

    assert [1] == backend.taken


def test_a_backend_that_is_slow(backend: Backend) -> None:
    """As long as a backend takes something in, `close` waits for it, also for longer than the patience."""
    backend.at_once = 1
    send = backend.send

    def slowly(items: Sequence[int]) -> int:
        time.sleep(0.04)
        return send(items)

    delivery = Delivery("Numbers", slowly, kind, patience=0.1)
    for item in range(6):
        delivery.put(item)
    delivery.close()

    assert list(range(6)) == backend.taken


def test_a_full_queue(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    """Of what comes while the queue is full nothing is taken in, and all of it is counted; what was there stays."""
    backend.goes_on.clear()
    delivery = made(backend, bound=3)
    for item in range(10):
        delivery.put(item)
    backend.goes_on.set()
    assert delivery.flush(10)
    delivery.put(10)
    with pytest.warns(UndeliveredWarning, match="3 even numbers: 3 others were waiting already"):
        delivery.close()

    assert [0, 1, 2, 10] == backend.taken
    assert 2 == len(caplog.records)


def test_what_is_last_needs_no_room(backend: Backend) -> None:
    """What `close` is given is delivered after all else, also where the queue is full."""
    backend.goes_on.clear()
    delivery = made(backend, bound=1)
    delivery.put(1)
    threading.Timer(0.02, backend.goes_on.set).start()
    delivery.close(2, 3)

    assert [1, 2, 3] == backend.taken


def test_a_batch_does_not_wait(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as a batch is there it is sent."""
    monkeypatch.setattr(module, "DELAY", 3600)
    delivery = made(backend, batch=3)
    time.sleep(0.02)
    delivery.put(1)
    assert [] == backend.taken
    delivery.put(2)
    delivery.put(3)
    with delivery._changed:
        assert delivery._changed.wait_for(lambda: delivery._done == 3, 10)
    delivery.close()

    assert [1, 2, 3] == backend.taken


def test_after_the_end(backend: Backend) -> None:
    """A delivery that is closed takes nothing more; closing and flushing it again do nothing."""
    delivery = made(backend)
    delivery.close()
    delivery.close(1)
    with pytest.raises(SinkClosedError, match="Numbers takes nothing more: it is closed"):
        delivery.put(1)

    assert delivery.flush()
    assert [] == backend.taken


def test_closed_by_another_thread(backend: Backend) -> None:
    """An item is delivered or refused, also where another thread closes at the same moment."""
    delivery = made(backend, bound=4_000_000)  # all that can be put, however long this thread waits for its turn
    put: list[int] = []

    def produce() -> None:
        try:
            for item in range(1_000_000):
                delivery.put(item)
                put.append(item)
        except SinkClosedError:
            pass

    threads = [threading.Thread(target=produce) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    delivery.close()
    for thread in threads:
        thread.join()

    assert sorted(put) == sorted(backend.taken)
    assert {} == delivery.undelivered.counts


def test_interrupted_while_closing(backend: Backend) -> None:
    """Ctrl-C ends the wait for a backend, and what was not delivered is told all the same."""
    backend.is_down = True
    delivery = made(backend, patience=60)
    delivery.put(1)
    timer = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with pytest.warns(UndeliveredWarning, match="1 odd number"), pytest.raises(KeyboardInterrupt):
        delivery.close()
    timer.join()


def test_what_nobody_closed() -> None:
    """At the end of the interpreter all that are open are closed, also where one of them has something to tell."""
    backends = [Backend(), Backend()]
    deliveries = [made(backend, patience=0.05) for backend in backends]
    backends[0].is_down = True
    for delivery in deliveries:
        delivery.put(1)
    with pytest.warns(UndeliveredWarning):
        module._at_exit()

    assert [[], [1]] == [backend.taken for backend in backends]
    assert all(delivery._closed is not None for delivery in deliveries)


def test_what_a_forked_process_has(backend: Backend) -> None:
    """After a fork all that were open are refused in the new process, and none is closed at its end."""
    backend.goes_on.clear()
    delivery = made(backend)
    delivery.put(1)
    module._after_fork()
    module._at_exit()
    with pytest.raises(SinkClosedError, match="it belongs to the process that opened it"):
        delivery.put(2)

    assert not delivery.flush()


SCRIPT = """
import os, sys, threading, time, warnings
from crystallize.sinks.delivery_queue import Delivery

def send(items):
    if "down" in sys.argv:
        raise ConnectionError("no route to host")
    print("sent", *items, flush=True)
    return len(items)

delivery = Delivery("Numbers", send, lambda item: "number", patience=0.3)
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script with more code after it."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT + code, *arguments], capture_output=True, text=True, check=True, timeout=60
    )


@pytest.mark.slow
def test_at_the_end_of_the_interpreter() -> None:
    """What nobody closed is delivered when the interpreter ends, as far as that is possible; the rest is told."""
    told, down = run("delivery.put(1); delivery.put(2)"), run("delivery.put(1)", "down")

    assert "sent 1 2\n" == told.stdout
    assert "" == told.stderr
    assert "UndeliveredWarning: Numbers did not deliver all" in down.stderr
    assert "1 number: ConnectionError: no route to host" in down.stderr


@pytest.mark.slow
def test_after_an_exception() -> None:
    """A program that dies by an exception delivers too."""
    code = (
        "import atexit; atexit.register(print, 'end'); delivery.put(1)\ntry: 1 / 0\nexcept ArithmeticError: sys.exit(0)"
    )

    assert "end\nsent 1\n" == run(code).stdout


@pytest.mark.slow
def test_in_a_forked_process() -> None:
    """A forked process has no part in what its parent delivers: it is refused, and sends and tells nothing."""
    code = """
delivery._lock.acquire()
child = os.fork()
if child == 0:
    try:
        delivery.put(2)
    except Exception as error:
        print(error, flush=True)
    print(delivery.flush(), flush=True)
    delivery.close()
    sys.exit()
delivery._lock.release()
assert os.waitpid(child, 0)[1] == 0
delivery.put(1)
"""
    refused = "Numbers takes nothing more: it belongs to the process that opened it; a forked process has no part in it"

    assert f"{refused}\nTrue\nsent 1\n" == run(code).stdout


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError("disk full"), "OSError: disk full"),
        (ValueError("two\nlines"), "ValueError: two lines"),
        (OSError("http://ann:hunter2@host/x and postgres://ann@host"), "OSError: http://**********@host/x and "),
        (ValueError("\ud800"), "ValueError: \\ud800"),
        (ValueError("x" * 500), "ValueError: xxx"),
    ],
)
def test_text_of_an_error(error: Exception, expected: str) -> None:
    """What is told of an error is one line, not too long, and has no password of an address."""
    told = error_line(error)

    assert told.startswith(expected)
    assert "hunter2" not in told
    assert len(told) <= 300


def test_logs_nothing_while_all_goes_well(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    """A backend that is there is not worth a line."""
    caplog.set_level(logging.INFO)
    delivery = made(backend)
    delivery.put(1)
    delivery.close()

    assert [] == caplog.records
