"""axe-core, which finds obstacles for people who use a keyboard or a screen reader."""

from importlib.resources import files
from typing import Literal

from playwright.sync_api import Page

AXE = files("axe_playwright_python") / "axe.min.js"
SCHEMES: tuple[Literal["dark"], Literal["light"]] = ("dark", "light")


def assert_accessible(page: Page) -> None:
    """Fail if axe-core finds something serious on a page, light or dark."""
    # `evaluate` is not subject to the policy of the page.
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        found = page.evaluate("axe.run({resultTypes: ['violations']}).then((found) => found.violations)")
        assert [] == [
            (violation["id"], violation["nodes"][0]["html"][:200])
            for violation in found
            if violation["impact"] in ("serious", "critical")
        ]
