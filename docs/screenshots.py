"""Take the screenshots of pages of real runs: `make pictures`. They are committed, as README.md shows one of them."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from scenes import demo_page, first_page, sweep_page

DOCS = Path(__file__).parent
# Chromium as root, without requests to any host.
ALONE = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
SCHEMES = ("light", "dark")


def taken(browser: Browser, page: Path | str, width: int, height: int, **options: Any) -> Image.Image:
    """Return a screenshot of the top of a page, a file or an address; the sizes are in CSS pixels."""
    with browser.new_context(viewport={"width": width, "height": height}, **options) as context:
        shown = context.new_page()
        shown.goto(page if isinstance(page, str) else page.as_uri())
        shown.wait_for_selector(".live:not(:empty)" if isinstance(page, str) else "html[data-ready]", state="attached")
        return Image.open(BytesIO(shown.screenshot()))


def write(picture: Image.Image, path: Path) -> None:
    """Write a picture as a small file: with the 256 colours that are nearest to its own."""
    method, plain = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
    picture.convert("RGB").quantize(256, method=method, kmeans=2, dither=plain).save(path, optimize=True)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Start `crystallize ui` over a folder of runs, and yield its address."""
    command = [sys.executable, "-m", "crystallize", "ui", "--dir", str(folder), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[-1]
        finally:
            server.send_signal(signal.SIGINT)


def sheet(browser: Browser, page: Path | str, height: int) -> Image.Image:
    """Return screenshots of a page on a wide and on a narrow screen, light and dark, beside one another."""
    views = [taken(browser, page, width, height, color_scheme=scheme) for width in (1280, 400) for scheme in SCHEMES]
    whole = Image.new("RGB", (sum(view.width for view in views) + 24 * (len(views) - 1), height), "#8a9099")
    left = 0
    for view in views:
        whole.paste(view, (left, 0))
        left += view.width + 24
    return whole.resize((whole.width // 2, whole.height // 2), Image.Resampling.LANCZOS)


def main() -> None:
    with (
        TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ALONE) as browser,
    ):
        parts = [Path(folder) / name for name in ("demo", "first", "dozen", "sixty")]
        for part in parts:
            part.mkdir()
        demo, first = demo_page(parts[0]), first_page(parts[1])
        dozen, sixty = sweep_page(parts[2], 12), sweep_page(parts[3], 60)
        for page, name, width, height in (
            (demo, "report", 1080, 2100),
            (first, "first-run", 900, 1620),
            (sixty, "sweep", 1080, 2050),
        ):
            write(taken(browser, page, width, height, device_scale_factor=1.25), DOCS / f"{name}.png")
        for page, name in ((demo, "one-run"), (dozen, "twelve-runs"), (sixty, "sixty-runs")):
            write(sheet(browser, page, 2400), DOCS / f"{name}.png")
        with served(parts[3]) as address:
            write(sheet(browser, address, 1400), DOCS / "ui.png")
            best = f"{address}?sort=accuracy:desc"
            write(taken(browser, best, 1080, 620, device_scale_factor=1.25), DOCS / "runs.png")


if __name__ == "__main__":
    main()
