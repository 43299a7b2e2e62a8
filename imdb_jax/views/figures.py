"""Figures of evaluations and of data sets, as PNG, SVG or PDF."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imdb_jax.errors import UserError
from imdb_jax.files import check_output, write_output

if TYPE_CHECKING:
    from jaxtyping import Float32, Int, Num

_SUFFIXES = (".png", ".svg", ".pdf")
_GREATEST_AREA = 300  # of a dot, in square points
_SHOWN_SHARE = 0.995  # of the review lengths
_MOST_BARS = 60


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
    from imdb_jax.runs.curves import image_of, new_figure

    figure = new_figure(title, 4.4)
    roc, calibration = figure.subplots(1, 2)
    diagonal: dict[str, Any] = {"color": "gray", "linestyle": "--", "linewidth": 1}

    curve = metrics.roc_curve(labels, logits)
    if curve is None:
        roc.text(0.5, 0.5, "all reviews have the same label", ha="center", va="center")
    else:
        roc.plot(*curve, label=f"area {metrics.roc_auc(labels, logits):.4f}")
    roc.plot([0, 1], [0, 1], **diagonal, label="guessing")
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC", aspect="equal")

    probabilities = metrics.sigmoid(logits)
    bins = metrics.reliability(labels, probabilities)
    error = metrics.expected_calibration_error(labels, probabilities)
    filled = bins.counts > 0
    confidence, accuracy = (
        part[filled] / bins.counts[filled] for part in (bins.confidence, bins.correct)
    )
    area_of_one = _GREATEST_AREA / bins.counts.max()
    calibration.plot(confidence, accuracy, label=f"expected calibration error {error:.4f}")
    dots: dict[str, Any] = {"color": "C0", "alpha": 0.6, "linewidths": 0}
    calibration.scatter(confidence, accuracy, s=area_of_one * bins.counts[filled], **dots)
    # A dot to compare with, of a round number of reviews, in the legend only.
    example = 10 ** int(math.log10(bins.counts.max()))
    shown = f"{example:,} reviews" if example > 1 else "1 review"
    calibration.scatter([], [], s=area_of_one * example, **dots, label=f"dot of {shown}")
    calibration.plot([0.5, 1], [0.5, 1], **diagonal, label="perfectly calibrated")
    calibration.set(
        xlabel="confidence (probability of the class predicted)",
        ylabel="accuracy",
        title="reliability; area of a dot: number of reviews",
    )
    roc.legend(loc="lower right")
    calibration.legend()
    for axes in (roc, calibration):
        axes.grid(alpha=0.3)
    write_output(path, image_of(figure, path.suffix[1:].lower()))


def plot_lengths(
    path: Path, title: str, lengths: Int[np.ndarray, " num_reviews"], max_length: int
) -> None:
    """Draw a histogram and a box plot of review lengths, in ids, with a line at `max_length`.

    The longest 0.5% are not drawn; the legend says how many those are.
    """
    from imdb_jax.runs.curves import image_of, new_figure

    figure = new_figure(title, 3.6)
    histogram, boxes = figure.subplots(1, 2, width_ratios=(3, 1))
    # A few very long reviews would take most of the width.
    limit = int(np.quantile(lengths, _SHOWN_SHARE))
    width = math.ceil((limit + 1 - lengths.min()) / _MOST_BARS)
    num_bars = math.ceil((limit + 1 - lengths.min()) / width)
    edges = limit + 0.5 - width * np.arange(num_bars, -1, -1)
    histogram.hist(lengths, bins=edges)
    cut_share = (lengths > max_length).mean()
    label = f"cut at {max_length:,} ids: {cut_share:.1%}"
    histogram.axvline(max_length, color="C1", linestyle="--", label=label)
    histogram.set(xlabel="ids per review", ylabel="reviews", xlim=edges[[0, -1]])
    longer = np.count_nonzero(lengths > limit)
    beyond = f"not shown: {longer:,} reviews\nof {limit + 1:,} to {lengths.max():,} ids"
    histogram.legend(title=beyond if longer else None)
    boxes.boxplot(lengths, widths=0.5, whis=(5, 95), showfliers=False)
    boxes.set(ylabel="ids per review", xticks=[], xlabel="quartiles;\nwhiskers: 5%, 95%")
    for axis in (histogram.xaxis, boxes.yaxis):
        axis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    write_output(path, image_of(figure, path.suffix[1:].lower()))
