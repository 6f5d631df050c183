"""The server of `crystallize ui`: it binds a port of this machine and answers requests until Ctrl-C."""

import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .._base.optional import OptionalModule
from .runs_app import runs_app

if TYPE_CHECKING:
    import uvicorn
else:
    uvicorn = OptionalModule("uvicorn", "ui")

_HOST: Final = "127.0.0.1"
_PATIENCE: Final = 1
"""Seconds for requests that run when the server ends."""


def serve(folder: Path, port: int, started: Callable[[str], object]) -> None:
    """Serve the runs of a folder until Ctrl-C or SIGTERM.

    Args:
        folder: The folder of runs.
        port: The port; 0 for any free port.
        started: A function that receives the address, once requests to it are accepted.

    Raises:
        MissingExtraError: Starlette, uvicorn, Jinja2 or plotly is not installed.
        OSError: The port is in use.
    """
    token = secrets.token_urlsafe(24)
    with socket.create_server((_HOST, port)) as listening:
        number = listening.getsockname()[1]
        server: uvicorn.Server
        app = runs_app(folder, token, is_ending=lambda: server.should_exit)
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=_PATIENCE)
        server = uvicorn.Server(config)
        started(f"http://{_HOST}:{number}/{token}/")
        server.run(sockets=[listening])
