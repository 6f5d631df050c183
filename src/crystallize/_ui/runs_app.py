"""The web application: a table of runs, the page of a run, and a comparison of runs, which update themselves.

It only reads. Each path begins with a secret token, which other users of the machine and other web pages do not know.
Requests that name another host are rejected, so that a foreign domain name for this machine is of no use either.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as version_of_package
from pathlib import Path
from secrets import compare_digest
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from .._base.optional import OptionalModule
from .._base.text import printable
from .._journal.find import run_names
from .._journal.loaded_run import Run, load_run
from .._page.html_page import page_environment, page_facts, page_script, plotly_script, style_sheet
from .._tables.run_rows import RunRows, chosen_runs, read_runs
from ..errors import CrystallizeError, FrameError
from .folder_versions import folder_version
from .run_list import ListedRuns

if TYPE_CHECKING:
    import jinja2
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_applications, _hosts, _middleware, _responses, _routing, _concurrency = (
    OptionalModule(f"starlette.{module}", "ui")
    for module in ("applications", "middleware.trustedhost", "middleware", "responses", "routing", "concurrency")
)

_HOSTS: Final = ("127.0.0.1", "localhost")
_PAUSE: Final = 0.25
"""Seconds between two looks at the files of runs."""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def runs_app(folder: Path, token: str, *, is_ending: Callable[[], bool]) -> "Starlette":
    """Return the application for the runs of a folder.

    Args:
        folder: The folder of runs.
        token: The first part of each path.
        is_ending: Whether open streams of events should end.

    Raises:
        MissingExtraError: Starlette is not installed.
    """
    pages = _Pages(folder, token, is_ending)
    route = _routing.Route
    routes = [
        route("/{token}/", pages.table),
        route("/{token}/run/{run}", pages.run),
        route("/{token}/compare", pages.comparison),
        route("/{token}/events", pages.events),
        route("/{token}/assets/{file}", pages.asset),
    ]
    hosts = _middleware.Middleware(_hosts.TrustedHostMiddleware, allowed_hosts=[*_HOSTS], www_redirect=False)
    app: Starlette = _applications.Starlette(routes=routes, middleware=[hosts])
    return app


@dataclass(frozen=True)
class _Pages:
    """The pages of the application. Methods that are not coroutines run in threads."""

    folder: Path
    token: str
    is_ending: Callable[[], bool]

    def table(self, request: "Request") -> "Response":
        """Answer with the table of runs."""
        if not self._is_allowed(request):
            return _text("no such page", 404)
        version = folder_version(self.folder)
        given = request.query_params
        where, sort = given.get("where", "").strip(), given.get("sort", "")
        table, problem = self._chosen(where, sort)
        listed = ListedRuns(table, "" if problem else sort, frozenset(given.getlist("run")))
        facts = {"title": printable(self.folder.name or str(self.folder)), "listed": listed, "where": where}
        status = 400 if problem else 200
        return self._page("runs.html", {**facts, "problem": problem}, version, (), status=status)

    def _chosen(self, where: str, sort: str) -> tuple[RunRows, str]:
        """Return the runs that fulfil a condition, sorted; if a text is wrong, all runs, and the reason."""
        table = read_runs(self.folder)
        try:
            return chosen_runs(table, where or None, sort or None, None), ""
        except FrameError as error:
            return table, str(error)

    def run(self, request: "Request") -> "Response":
        """Answer with the page of a run."""
        if not self._is_allowed(request):
            return _text("no such page", 404)
        return self._runs([request.path_params["run"]])

    def comparison(self, request: "Request") -> "Response":
        """Answer with the page that compares runs."""
        if not self._is_allowed(request):
            return _text("no such page", 404)
        names = [*dict.fromkeys(request.query_params.getlist("run"))]
        if not names:
            return self._message("Tick the runs to compare, two or more.", 400)
        return self._runs(names)

    def _runs(self, names: Sequence[str]) -> "Response":
        known = {*run_names(self.folder)}
        if unknown := [name for name in names if name not in known]:
            return self._message(f"There is no run {', '.join(map(printable, unknown))} in this folder.", 404)
        version = folder_version(self.folder, names)
        try:
            runs = [self._loaded(name) for name in names]
            template, facts = page_facts(runs)
        except (CrystallizeError, OSError) as error:
            return self._message(str(error), 500)
        return self._page(template, facts, version, names)

    def _loaded(self, name: str) -> Run[Any]:
        return load_run(self.folder / f"{name}.db")

    def _message(self, text: str, status: int) -> "Response":
        return self._page("message.html", {"title": "Runs", "text": text}, "", (), status=status)

    def _page(
        self, template: str, facts: dict[str, Any], version: str, runs: Sequence[str], *, status: int = 200
    ) -> "Response":
        """Return a page in the frame of the application; it updates itself if it has a version."""
        home = f"/{self.token}/"
        query = urlencode([("since", version), *(("run", run) for run in runs)])

        def run_address(run: str) -> str:
            return f"{home}run/{quote(run, safe='')}"

        html = self._environment.get_template(template).render(
            {"version": version_of_package("crystallize-context"), **facts},
            frame="live.html",
            home=home,
            events=f"{home}events?{query}" if version else "",
            run_address=run_address,
            is_many=len(runs) > 1,
        )
        response: Response = _responses.HTMLResponse(html, status, _HEADERS)
        return response

    @cached_property
    def _environment(self) -> "jinja2.Environment":
        return page_environment("_ui/templates")

    async def events(self, request: "Request") -> "Response":
        """Answer with a stream of server-sent events, one for each new version of the runs of a page."""
        if not self._is_allowed(request):
            return _text("no such page", 404)
        names, since = request.query_params.getlist("run"), request.query_params.get("since", "")
        stream = self._versions(names or None, since)
        response: Response = _responses.StreamingResponse(stream, 200, _HEADERS, "text/event-stream")
        return response

    async def _versions(self, names: Sequence[str] | None, seen: str) -> AsyncIterator[str]:
        yield ": connected\n\n"
        while not self.is_ending():
            version = await _concurrency.run_in_threadpool(folder_version, self.folder, names)
            if version != seen:
                seen = version
                yield f"data: {version}\n\n"
            await asyncio.sleep(_PAUSE)

    def asset(self, request: "Request") -> "Response":
        """Answer with a script or the style sheet."""
        content = self._assets.get(request.path_params["file"])
        if content is None or not self._is_allowed(request):
            return _text("no such page", 404)
        # The token is another one when another version of the package runs.
        headers = {**_HEADERS, "Cache-Control": "private, max-age=86400, immutable"}
        media_type = "text/css" if request.path_params["file"].endswith(".css") else "text/javascript"
        response: Response = _responses.Response(content, 200, headers, media_type)
        return response

    @cached_property
    def _assets(self) -> dict[str, str]:
        sources = self._environment.loader
        assert sources is not None
        live, style = (sources.get_source(self._environment, name)[0] for name in ("live.js", "ui.css"))
        return {
            "page.css": style_sheet() + style,
            "run.js": page_script(for_many=False),
            "runs.js": page_script(for_many=True),
            "live.js": live,
            "plotly.js": plotly_script(),
        }

    def _is_allowed(self, request: "Request") -> bool:
        return compare_digest(request.path_params["token"].encode(), self.token.encode())


def _text(text: str, status: int) -> "Response":
    response: Response = _responses.PlainTextResponse(text, status, _HEADERS)
    return response
