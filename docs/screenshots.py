"""Take the screenshots of pages of real runs: `make pictures`. They are committed, as README.md shows one of them."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, sync_playwright
from scenes import demo_page, first_page

DOCS = Path(__file__).parent
# Chromium as root, without requests to any host.
ALONE = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def take(browser: Browser, page: Path, picture: Path, height: int) -> None:
    """Write a screenshot of the top of a page; `height` is in CSS pixels."""
    with browser.new_context(viewport={"width": 900, "height": height}, device_scale_factor=1.5) as context:
        shown = context.new_page()
        shown.goto(page.as_uri())
        shown.wait_for_selector("html[data-ready]")
        shown.screenshot(path=picture)


def main() -> None:
    with (
        TemporaryDirectory() as demo,
        TemporaryDirectory() as first,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ALONE) as browser,
    ):
        take(browser, demo_page(Path(demo)), DOCS / "report.png", 2081)
        take(browser, first_page(Path(first)), DOCS / "first-run.png", 1620)


if __name__ == "__main__":
    main()
