"""Real backends on loopback, for the tests of the sinks: MLflow, a receiver of OTLP, Prometheus."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from signal import SIGKILL
from threading import Thread
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
    return port


class Program:
    """A program that answers on a port when it is ready.

    Attributes:
        address: Where it answers.
    """

    def __init__(self, folder: Path, ready: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"http://{LOOPBACK}:{self.port}"
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Start it, without waiting for it."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=self.folder, env=self.environment(), start_new_session=True
            )

    def environment(self) -> dict[str, str]:
        return {**os.environ}

    def wait(self) -> None:
        """Wait until it answers."""
        assert self._process is not None
        while True:
            try:
                urlopen(self.address + self._ready, timeout=5).close()
                return
            except OSError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        """Kill it, with all processes that it started."""
        if self._process is not None:
            os.killpg(self._process.pid, SIGKILL)
            self._process.wait()
            self._process = None


class MLflowServer(Program):
    """`mlflow server` on SQLite, which serves artifacts from a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "/health")

    def command(self) -> list[str]:
        backend = [f"--backend-store-uri=sqlite:///{self.folder}/mlflow.db"]
        artifacts = [f"--artifacts-destination={self.folder}/artifacts"]
        where = [f"--host={LOOPBACK}", f"--port={self.port}", "--workers=1"]
        return [sys.executable, "-m", "mlflow", "server", *backend, *artifacts, *where]

    def environment(self) -> dict[str, str]:
        # It would start nine processes more, for jobs that nobody has.
        return {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


class Prometheus(Program):
    """A Prometheus that scrapes one application, all the time."""

    def __init__(self, folder: Path, application: int) -> None:
        super().__init__(folder, "/-/ready")
        scraped = [{"targets": [f"{LOOPBACK}:{application}"]}]
        content = {
            "global": {"scrape_interval": "100ms", "scrape_timeout": "100ms"},
            "scrape_configs": [{"job_name": "training", "static_configs": scraped}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(content))  # JSON is YAML

    def command(self) -> list[str]:
        where = [f"--web.listen-address={LOOPBACK}:{self.port}", f"--storage.tsdb.path={self.folder}/data"]
        return ["prometheus", f"--config.file={self.folder}/prometheus.yml", *where]

    def query(self, text: str) -> list[dict[str, Any]]:
        """Return the answer to a query, as soon as there is one."""
        while True:
            with urlopen(f"{self.address}/api/v1/query?{urlencode({'query': text})}", timeout=5) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            if found:
                return found
            time.sleep(0.05)


class Receiver:
    """Takes in what is posted.

    Attributes:
        address: Where it answers.
        posted: What came, after the path that it came to.
    """

    def __init__(self) -> None:
        self.posted: list[tuple[str, bytes]] = []
        posted = self.posted

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                posted.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.address = f"http://{LOOPBACK}:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def running(program: Program) -> Iterator[None]:
    program.start()
    try:
        program.wait()
        yield
    finally:
        program.kill()
