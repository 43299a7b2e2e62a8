"""Measures exported pages in Chromium: size, accuracy beside the model's own, and speed.

    python -m imdb_jax.train --arch cnn
    python scripts/benchmark_page.py runs/cnn --num-reviews 25000

A page's own JavaScript predicts the test reviews of the run, and its probabilities are compared
with those of `predict`. The times are medians of a review of 2,000 words: from the key that is
pressed until the probability stands in the page, and until all words are colored and laid out.
Needs the extra `browser`, and Chromium.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from browser import open_browser, open_model

import imdb_jax
from imdb_jax import cli
from imdb_jax.datasets.find import find_dataset
from imdb_jax.exporting.web_page import SCRIPTS, bundle
from imdb_jax.inference.scoring import read_split

_AT_A_TIME = 250
_NUM_WORDS = 2_000
# Takes the place of page.js.
_LOAD = """
const part = (id) => document.getElementById(id).textContent;
const description = JSON.parse(part("description"));
unpack(description, part("packed")).then((parts) => {
  const model = createModel(description, parts);
  window.probabilities = (texts) => texts.map((text) => model.predict(text).probability);
});
"""
_TYPE = """
async (text) => {
  const [review, marked] = ["review", "marked"].map((id) => document.getElementById(id));
  review.value = text;
  const start = performance.now();
  review.dispatchEvent(new InputEvent("input"));
  const answered = performance.now() - start;
  while (marked.ariaBusy !== "false") await new Promise((resolve) => setTimeout(resolve));
  marked.getBoundingClientRect();
  return [answered, performance.now() - start];
}
"""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories."""

    num_reviews: int = 2_000
    """Test reviews to predict."""

    repeats: int = 9
    """Times that the long review is typed."""

    data_dir: Path | None = None
    """TFDS data directory; by default TFDS_DATA_DIR, else ~/tensorflow_datasets."""


def measure(browser: Any, run: Path, options: Options) -> dict[str, Any]:
    """Exports a run, and measures its page."""
    model = imdb_jax.load(run)
    dataset = find_dataset(model.config.data)
    reviews = read_split(dataset, model.config, "test")[: options.num_reviews]
    texts = [text if isinstance(text, str) else text.decode() for text in reviews.texts]
    with tempfile.TemporaryDirectory() as directory:
        imdb_jax.export_model(model, "html", directory)
        path = Path(directory) / "model.html"
        size = path.stat().st_size
        # The second page's policy is set aside, because its script is not the one it allows.
        loaded = open_model(browser, path)
        seconds = [time_of(loaded, texts, i) for i in range(options.repeats)]
        context = browser.new_context(bypass_csp=True)
        scripted = open_model(context, path)
        scripted.add_script_tag(content=bundle(SCRIPTS[:-1]) + _LOAD, type="module")
        scripted.wait_for_function("() => Boolean(window.probabilities)")
        found: list[float] = []
        start = time.perf_counter()
        for first in range(0, len(texts), _AT_A_TIME):
            part = texts[first : first + _AT_A_TIME]
            found += scripted.evaluate("(texts) => window.probabilities(texts)", part)
        elapsed = time.perf_counter() - start
        for page in (loaded, scripted):
            page.close()
    expected, positive = model.predict(texts), reviews.labels > 0
    off = np.abs(np.array(found) - expected)
    answered, colored = (statistics.median(column) for column in zip(*seconds, strict=True))
    return {
        "arch": model.config.arch,
        "megabytes": round(size / 1e6, 2),
        "reviews": len(texts),
        "accuracy": float(np.mean((expected > 0.5) == positive)),
        "accuracy_in_page": float(np.mean((np.array(found) > 0.5) == positive)),
        "other_labels": int(np.sum((expected > 0.5) != (np.array(found) > 0.5))),
        "mean_difference": float(off.mean()),
        "greatest_difference": float(off.max()),
        "milliseconds_per_review": round(1000 * elapsed / len(texts), 2),
        "milliseconds_to_probability": round(answered, 1),
        "milliseconds_to_colors": round(colored, 1),
    }


def time_of(page: Any, texts: Sequence[str], repeat: int) -> tuple[float, float]:
    """Types reviews of 2,000 words altogether; the first few are another each time."""
    words = " ".join([*texts[repeat :: max(1, len(texts) // 50)], *texts]).split()[:_NUM_WORDS]
    answered, colored = page.evaluate(_TYPE, " ".join(words))
    return answered, colored


def benchmark(arguments: Sequence[str]) -> None:
    """Prints a JSON object for each run."""
    options = cli.parse("benchmark_page", Options(tyro.MISSING), __doc__ or "", arguments)
    with open_browser() as browser:
        for run in options.runs:
            print(json.dumps(measure(browser, run, options), indent=2), flush=True)


if __name__ == "__main__":
    cli.run_command(benchmark)
