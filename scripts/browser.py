"""Opens the Chromium that the machine has, by Playwright, which downloads none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imdb_jax.errors import UserError, require

_ALONE = [
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-quic", "--disable-gpu", "--no-sandbox"),
]

READY = "#marked[aria-busy=false]"
"""What a page has, once the words of its text are marked."""


def chromium() -> str | None:
    """Where Chromium or Chrome is installed, None if nowhere."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def open_browser() -> Iterator[Any]:
    """Starts Chromium. Raises `UserError` if Playwright or Chromium is not installed."""
    playwright = require("playwright.sync_api", "browser")
    path = chromium()
    if path is None:
        raise UserError("Chromium is not installed; try apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=_ALONE)
        try:
            yield browser
        finally:
            browser.close()


def open_model(context: Any, path: Path) -> Any:
    """Opens an exported page in a browser or a context of it, and waits for its model."""
    page = context.new_page()
    page.goto(path.absolute().as_uri())
    page.wait_for_selector(READY)
    return page
