"""Draws the page of an exported model, with a review typed, as docs/page.png shows it.

    python -m imdb_jax.train --arch cnn
    python scripts/screenshot_page.py runs/cnn docs/page.png

Needs the extra `browser`, and Chromium.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from browser import READY, open_browser, open_model

import imdb_jax
from imdb_jax import cli


@dataclass(frozen=True)
class Options:
    """What to draw, and how."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory."""

    picture: Annotated[Path, tyro.conf.Positional]
    """PNG file to write."""

    text: str = (
        "The first half is rather dull. Then the acting gets better, the jokes begin to work, and "
        "the last act is excellent. I would not call it a great film, but it is a charming one."
    )
    """Review to type."""

    scheme: Literal["light", "dark"] = "light"
    """Colors."""

    width: int = 1000
    """Width of the window, in pixels; 390 is a phone's."""

    whole: bool = False
    """Draw the whole page, and not just its first 948 pixels."""


def screenshot(arguments: Sequence[str]) -> None:
    """Exports the run, types the review, and writes the picture."""
    default = Options(tyro.MISSING, tyro.MISSING)
    options = cli.parse("screenshot_page", default, __doc__ or "", arguments)
    with tempfile.TemporaryDirectory() as directory, open_browser() as browser:
        imdb_jax.export_model(str(options.run), "html", directory)
        viewport = {"width": options.width, "height": 948}
        context = browser.new_context(viewport=viewport, color_scheme=options.scheme)
        page = open_model(context, Path(directory) / "model.html")
        page.fill("#review", options.text)
        page.wait_for_selector(READY)
        page.screenshot(path=options.picture, full_page=options.whole)


if __name__ == "__main__":
    cli.run_command(screenshot)
