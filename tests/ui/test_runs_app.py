"""The web application over a folder of runs, without a browser."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from crystallize import FrozenContext, Journal, Metric, MetricSchema
from crystallize._ui.runs_app import runs_app

from ..page.page_runs import HOSTILE, hostile

if TYPE_CHECKING:
    from starlette.testclient import TestClient
else:
    # The oldest dependencies of the package do not go with Starlette.
    TestClient = pytest.importorskip("starlette.testclient").TestClient


class Metrics(MetricSchema):
    loss = Metric(float, goal="minimize")


def made(folder: Path, lr: float = 0.1) -> None:
    with Journal.start(folder, "grid") as journal:
        ctx = journal.context(FrozenContext, {"lr": lr}, metrics=Metrics)
        ctx.record("loss", lr / 2)
        ctx["accuracy"] = 1 - lr


Client = Callable[[Path], Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    for lr in (0.1, 0.2, 0.05):
        made(folder, lr)
    return folder


def client_of(folder: Path, base_url: str = "http://127.0.0.1:8000", *, ends: bool = True) -> TestClient:
    return TestClient(runs_app(folder, "token", is_ending=lambda: ends), base_url=base_url)


@pytest.fixture
def client(folder: Path) -> TestClient:
    return client_of(folder)


def order(text: str) -> list[str]:
    """Return the runs of a table in order."""
    return [part.partition('"')[0] for part in text.split('name="run" value="')[1:]]


def test_table_of_runs(client: TestClient) -> None:
    """The newest run is first, and each run links to its page."""
    answer = client.get("/token/")
    assert (answer.status_code, order(answer.text)) == (200, ["grid-0003", "grid-0002", "grid-0001"])
    assert 'href="/token/run/grid-0002"' in answer.text
    assert answer.text.count("<table") == 1


def test_filter_and_sort(client: TestClient) -> None:
    """A filter and a column choose and sort the runs, and the page keeps both."""
    answer = client.get("/token/", params={"where": "lr < 0.15", "sort": "accuracy:desc", "run": "grid-0001"})
    assert order(answer.text) == ["grid-0003", "grid-0001"]
    assert 'value="lr &lt; 0.15"' in answer.text
    assert 'aria-sort="descending"><button name="sort" value="values.accuracy"' not in answer.text
    assert 'aria-sort="descending" class="number"><button name="sort" value="values.accuracy"' in answer.text
    assert 'value="grid-0001" aria-label="compare grid-0001" checked' in answer.text
    ascending = client.get("/token/", params={"sort": "lr"}).text
    assert order(ascending) == ["grid-0003", "grid-0001", "grid-0002"]
    assert 'value="inputs.lr:desc"' in ascending
    assert "No run fulfils the filter." in client.get("/token/", params={"where": "lr > 9"}).text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"where": "lrr < 1"}, "there is no column &#39;lrr&#39;; did you mean &#39;lr&#39;?"),
        ({"where": "lr <"}, "where="),
        ({"sort": "lrr"}, "there is no column &#39;lrr&#39;; did you mean &#39;lr&#39;?"),
    ],
)
def test_wrong_filter(client: TestClient, given: dict[str, str], text: str) -> None:
    """A filter that is wrong shows its error beside all runs."""
    answer = client.get("/token/", params=given)
    assert (answer.status_code, len(order(answer.text))) == (400, 3)
    assert text in answer.text
    assert ('aria-invalid="true"' in answer.text) == ("where" in given)


def test_empty_folder(tmp_path: Path) -> None:
    """The table waits for the first run."""
    assert "There are no runs yet." in client_of(tmp_path).get("/token/").text


def test_page_of_a_run(client: TestClient) -> None:
    """The page is that of the report, without inlined scripts."""
    answer = client.get("/token/run/grid-0002")
    assert answer.status_code == 200
    assert "<h1>grid-0002</h1>" in answer.text
    assert 'src="/token/assets/run.js"' in answer.text
    assert "<style>" not in answer.text
    assert "<script>" not in answer.text


def test_comparison(client: TestClient) -> None:
    """Ticked runs are compared; a run that is ticked twice counts once."""
    answer = client.get("/token/compare", params={"run": ["grid-0001", "grid-0003", "grid-0001"]})
    assert "<h1>2 runs of grid</h1>" in answer.text
    assert 'src="/token/assets/runs.js"' in answer.text
    assert "<h1>grid-0001</h1>" in client.get("/token/compare?run=grid-0001").text
    nothing = client.get("/token/compare")
    assert (nothing.status_code, "Tick the runs to compare" in nothing.text) == (400, True)


@pytest.mark.parametrize("name", ["nope-0001", "..%2F..%2Fetc%2Fpasswd", "grid-0001.db", "<b>"])
def test_unknown_run(client: TestClient, name: str) -> None:
    """A name that is no run of the folder is never used as a path."""
    answer = client.get(f"/token/compare?run={name}")
    assert answer.status_code == 404
    assert "<b>" not in answer.text


def test_run_that_cannot_be_read(tmp_path: Path) -> None:
    """The page of such a run says why, and the table lists it beside the others."""
    made(tmp_path)
    (tmp_path / "bad-0001.db").write_bytes(b"no database")
    client = client_of(tmp_path)
    answer = client.get("/token/run/bad-0001")
    assert (answer.status_code, 'role="alert"' in answer.text) == (500, True)
    assert {*order(client.get("/token/").text)} == {"grid-0001", "bad-0001"}


def test_hostile_names(tmp_path: Path) -> None:
    """Names and values of runs are never markup."""
    hostile(tmp_path)
    client = client_of(tmp_path)
    for path in ("/token/", "/token/run/hostile-0001"):
        text = client.get(path).text
        assert not [name for name in HOSTILE if name.startswith("<") and name in text]


def test_secrets_are_masked(tmp_path: Path) -> None:
    """No page shows a secret."""
    with Journal.start(tmp_path, "grid") as journal:
        journal.context(FrozenContext, {"key": SecretStr("hush-hush")})
    client = client_of(tmp_path)
    assert "hush-hush" not in client.get("/token/").text + client.get("/token/run/grid-0001").text


@pytest.mark.parametrize(
    "path", ["/", "/wrong/", "/wrong/run/grid-0001", "/wrong/compare", "/wrong/events", "/wrong/assets/run.js"]
)
def test_without_the_token(client: TestClient, path: str) -> None:
    """Nothing is shown to those who do not know the address."""
    answer = client.get(path)
    assert (answer.status_code, "grid" in answer.text) == (404, False)


def test_other_host(folder: Path) -> None:
    """A page of another domain cannot read runs through a name that it has for this machine."""
    answer = client_of(folder, "http://evil.example:8000").get("/token/")
    assert (answer.status_code, "grid" in answer.text) == (400, False)
    assert client_of(folder, "http://localhost:8000").get("/token/").status_code == 200


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_only_reads(client: TestClient, method: str) -> None:
    """No request changes anything."""
    assert getattr(client, method)("/token/").status_code == 405


def test_headers(client: TestClient) -> None:
    """Pages are not stored, not framed, and load nothing from elsewhere."""
    headers = client.get("/token/").headers
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize("file", ["run.js", "runs.js", "live.js", "plotly.js", "page.css"])
def test_assets(client: TestClient, file: str) -> None:
    """Scripts and styles come from this server."""
    answer = client.get(f"/token/assets/{file}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/css" if file == "page.css" else "text/javascript")
    assert client.get("/token/assets/passwd").status_code == 404


def test_events(folder: Path) -> None:
    """The stream of a page emits a version if the runs have changed since the page was made."""
    looks = iter([False, False, True])
    client = TestClient(runs_app(folder, "token", is_ending=lambda: next(looks)), base_url="http://localhost")
    page = client.get("/token/").text
    address = page.partition('data-events="')[2].partition('"')[0].replace("&amp;", "&")
    assert [line for line in client.get(address).text.splitlines() if line] == [": connected"]
    looks = iter([False, False, True])
    lines = client.get("/token/events?since=old&run=grid-0001").text.splitlines()
    assert [line[:6] for line in lines if line] == [": conn", "data: "]
