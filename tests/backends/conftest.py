"""The MLflow server, which takes longest to start: it does so while other tests run."""

from collections.abc import Iterator

import pytest

from .servers import MLflowServer


@pytest.fixture(scope="session", autouse=True)
def starting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    server = MLflowServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(starting: MLflowServer) -> MLflowServer:
    """A server that is ready."""
    starting.wait()
    return starting


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what needs the server for last."""
    items.sort(key=lambda item: "server" in getattr(item, "fixturenames", ()))
