"""Figures of evaluations and of data sets, as PNG, SVG or PDF."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imdb_jax.errors import UserError
from imdb_jax.files import check_output, write_output
from imdb_jax.terminal import printable

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Int, Num
    from matplotlib.figure import Figure

_SUFFIXES = (".png", ".svg", ".pdf")


def check_plot(path: Path | None) -> None:
    """Raise `UserError` if a figure cannot be written to this file."""
    if path and path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"{path} must end in one of {', '.join(_SUFFIXES)}")
    check_output(path)


def plot_evaluation(
    path: Path,
    title: str,
    labels: Num[np.ndarray, " num_reviews"],
    logits: Float32[np.ndarray, " num_reviews"],
) -> None:
    """Draw the ROC curve and the reliability diagram, in the format of the path's suffix."""
    from imdb_jax.inference import metrics

    figure = _figure(title, 4.4)
    roc, calibration = figure.subplots(1, 2)
    diagonal: dict[str, Any] = {"color": "gray", "linestyle": "--", "linewidth": 1}

    curve = metrics.roc_curve(labels, logits)
    if curve is None:
        roc.text(0.5, 0.5, "all reviews have the same label", ha="center", va="center")
    else:
        roc.plot(*curve, label=f"area {metrics.roc_auc(labels, logits):.4f}")
        roc.legend(loc="lower right")
    roc.plot([0, 1], [0, 1], **diagonal)
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC", aspect="equal")

    probabilities = metrics.sigmoid(logits)
    bins = metrics.reliability(labels, probabilities)
    error = metrics.expected_calibration_error(labels, probabilities)
    filled = bins.counts > 0
    confidence, accuracy = (
        part[filled] / bins.counts[filled] for part in (bins.confidence, bins.correct)
    )
    areas = 10 + 190 * bins.counts[filled] / bins.counts.max()
    calibration.plot(confidence, accuracy, label=f"expected calibration error {error:.4f}")
    calibration.scatter(confidence, accuracy, s=areas, alpha=0.6)
    calibration.plot([0.5, 1], [0.5, 1], **diagonal)
    calibration.legend(loc="lower right")
    calibration.set(
        xlabel="confidence (probability of the class predicted)",
        ylabel="accuracy",
        title=f"reliability, {metrics.NUM_BINS} bins; area of a dot: reviews",
    )
    for axes in (roc, calibration):
        axes.grid(alpha=0.3)
    _write(figure, path)


def plot_lengths(
    path: Path, title: str, lengths: Int[np.ndarray, " num_reviews"], max_length: int
) -> None:
    """Draw a histogram and a box plot of review lengths, in ids, with a line at `max_length`."""
    figure = _figure(title, 3.6)
    histogram, boxes = figure.subplots(1, 2, width_ratios=(3, 1))
    histogram.hist(lengths, bins=60)
    histogram.axvline(max_length, color="C1", linestyle="--", label=f"cut at {max_length}")
    histogram.set(xlabel="ids per review", ylabel="reviews")
    histogram.legend()
    boxes.boxplot(lengths, widths=0.5, flierprops={"marker": ".", "markersize": 2})
    boxes.set(ylabel="ids per review", xticks=[])
    _write(figure, path)


def _figure(title: str, height: float) -> Figure:
    from matplotlib.figure import Figure

    # A Figure of its own rather than pyplot: no display is needed, and no global state is left.
    figure = Figure(figsize=(9, height), layout="constrained")
    figure.suptitle(printable(title), parse_math=False)  # names of files are no formulas
    return figure


def _write(figure: Figure, path: Path) -> None:
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:].lower(), dpi=120)
    write_output(path, image.getvalue())
