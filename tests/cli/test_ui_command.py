"""`crystallize ui`: the runs of a folder in a browser."""

import os
import signal
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from urllib.request import urlopen

import pytest

from crystallize._base.optional import OptionalModule
from crystallize._ui import server

from .command_runs import complaint, made, printed


@pytest.mark.slow
@pytest.mark.skipif(find_spec("starlette") is None, reason="Starlette is not installed")
def test_ui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first line ends with the address, which the browser opens; Ctrl-C ends the server without an error."""
    made(tmp_path)
    found: list[str] = []

    def look(address: str) -> None:
        with urlopen(address) as answer:
            found.append(answer.read().decode())
        os.kill(os.getpid(), signal.SIGINT)

    def opened(address: str) -> None:
        found.append(address)
        thread.append(Thread(target=look, args=(address,)))
        thread[0].start()

    thread: list[Thread] = []
    monkeypatch.setattr(webbrowser, "open", opened)
    output = printed("ui", "--dir", tmp_path)
    thread[0].join()
    address, page = found
    assert output.splitlines()[0] == f"runs in {tmp_path} at {address}"
    assert address.startswith("http://127.0.0.1:")
    assert "digits-0001" in page


def test_no_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--no-browser` only prints the address."""
    monkeypatch.setattr(webbrowser, "open", None)
    monkeypatch.setattr(server, "serve", lambda folder, port, started: started(f"http://127.0.0.1:{port}/x/"))
    assert printed("ui", "--dir", tmp_path, "--no-browser", "--port", "8123").split()[-1] == "http://127.0.0.1:8123/x/"


def test_no_folder(tmp_path: Path) -> None:
    assert "there is no such folder" in complaint("ui", "--dir", tmp_path / "none")


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing library is named, with the command that installs it."""
    monkeypatch.setattr(server, "uvicorn", OptionalModule("no_such_uvicorn", "ui"))
    assert "pip install 'crystallize-context[ui]'" in complaint("ui", "--dir", tmp_path, "--no-browser")
