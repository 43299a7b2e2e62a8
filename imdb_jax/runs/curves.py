"""The curves of a run: loss and accuracy over its epochs, as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imdb_jax.console.terminal import printable
from imdb_jax.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from imdb_jax.training.history import Epoch

_MOST_MARKERS = 20  # more markers than this hide the curve
_LEAST_RANGE = 0.1  # of loss and of accuracy; in a smaller one, noise looks like a trend


def plot_history(
    path: Path, rows: Sequence[Epoch], title: str, validated_on: str, kept: int
) -> None:
    """Draw loss and accuracy over the epochs, of training and validation, as a PNG.

    `validated_on` says in the legend which reviews the validation figures are about; `kept` is the
    epoch whose parameters the run keeps.
    """
    figure = new_figure(title, 3.6)
    epochs = [row.epoch for row in rows]
    markers = len(rows) <= _MOST_MARKERS
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for name, style, marker, label in (
            (metric, "-", "o", "training"),
            (f"val_{metric}", "--", "s", validated_on),
        ):
            values = [getattr(row, name) for row in rows]
            axes.plot(epochs, values, style, marker=marker if markers else "", label=label)
        axes.axvline(kept, color="gray", linestyle=":", zorder=1, label=f"epoch kept: {kept}")
        axes.set(xlabel="epoch", ylabel=metric, xlim=(epochs[0] - 0.5, epochs[-1] + 0.5))
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        low, high = axes.get_ylim()
        missing = max(0.0, _LEAST_RANGE - (high - low))
        axes.set_ylim(low - missing / 2, high + missing / 2)
        axes.grid(alpha=0.3)
    # The curves of both axes have the same names; below them, no legend hides a curve.
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    write_atomically(path, image_of(figure, "png"))


def new_figure(title: str, height: float) -> Figure:
    """Return an empty figure, 9 inches wide and `height` inches high."""
    from matplotlib.figure import Figure

    # A Figure rather than pyplot: no display is needed, and no global state is left.
    figure = Figure(figsize=(9, height), layout="constrained")
    figure.suptitle(printable(title), parse_math=False)  # names of files are no formulas
    return figure


def image_of(figure: Figure, suffix: str) -> bytes:
    """Return a figure as the content of a file with this suffix: png, svg or pdf."""
    image = io.BytesIO()
    figure.savefig(image, format=suffix, dpi=120)
    return image.getvalue()
