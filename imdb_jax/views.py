"""What people see of predictions, explanations and evaluations: lines of text, HTML, a figure."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imdb_jax.encoding import Text
from imdb_jax.errors import UserError
from imdb_jax.files import write_atomically

if TYPE_CHECKING:
    import numpy as np
    from rich import text as rich_text

    from imdb_jax.classifier import Prediction
    from imdb_jax.explanation import Explanation, Word

_STRONGEST = 8  # words listed for and against


def printable(text: Text, width: int | None = None) -> str:
    """A text in one line that no terminal can take for commands, shortened to a width if given.

    Args:
      text: any text.
      width: characters; None keeps all.
    """
    if width is not None:
        text = text[: 4 * width + 4]  # enough even if each character takes four bytes
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    shown = "".join(character if character.isprintable() else " " for character in decoded)
    if width is None or len(shown) <= width:
        return shown
    return shown[: max(width - 1, 0)] + "…"


def prediction_line(prediction: Prediction) -> str:
    """Probability, label and share of unknown words, in columns."""
    probability, label, unknown_share = prediction
    return f"{probability:.4f}  {label:8}  {unknown_share:4.0%} unknown"


def explanation_lines(explanation: Explanation) -> list[str]:
    """The prediction, the words with the greatest weights, and those that were not read."""
    by_weight = sorted(explanation.words, key=lambda word: word.weight)
    # Of a word that occurs several times, the greatest weight in either direction.
    down = {word.word: word.weight for word in reversed(by_weight) if word.weight < 0}
    up = {word.word: word.weight for word in by_weight if word.weight > 0}
    unread = list(dict.fromkeys(word.word for word in explanation.words if not word.read))
    lines = [prediction_line(explanation.prediction)]
    for title, weights in (("up", up), ("down", down)):
        strongest = sorted(weights.items(), key=lambda item: -abs(item[1]))[:_STRONGEST]
        if strongest:
            shown = (f"{printable(word)} {weight:+.3f}" for word, weight in strongest)
            lines.append(f"  {title + ':':10}{'  '.join(shown)}")
    if unread:
        more = f"  and {len(unread) - _STRONGEST} more" if len(unread) > _STRONGEST else ""
        lines.append(f"  not read: {'  '.join(map(printable, unread[:_STRONGEST]))}{more}")
    return lines


def coloured_words(explanation: Explanation) -> rich_text.Text:
    """The words, green where they push up and red where they push down; not read, struck out."""
    from rich.text import Text as RichText

    coloured = RichText()
    for word, share in _with_shares(explanation.words):
        pale = round(255 - 165 * abs(share))
        colour = f"rgb({pale},255,{pale})" if share > 0 else f"rgb(255,{pale},{pale})"
        style = f"black on {colour}" if abs(share) > 0.05 else ""
        coloured.append(printable(word.word), style if word.read else "dim strike")
        coloured.append(" ")
    return coloured


def explanations_html(title: str, explanations: Iterable[Explanation]) -> str:
    """A page that needs nothing else, with the words coloured as in the terminal."""
    parts = [_HTML_HEAD.format(html.escape(printable(title)))]
    for explanation in explanations:
        parts.append(f"<h2>{html.escape(prediction_line(explanation.prediction))}</h2>\n<p>")
        for word, share in _with_shares(explanation.words):
            escaped = html.escape(printable(word.word))
            if word.read:
                colour = "0,150,0" if share > 0 else "220,0,0"
                style = f"background:rgba({colour},{abs(share):.2f})"
                parts.append(f'<span style="{style}" title="{word.weight:+.4f}">{escaped}</span>')
            else:
                parts.append(f'<s title="not read">{escaped}</s>')
        parts.append("</p>")
    return "\n".join([*parts, "</body>", "</html>", ""])


_HTML_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{0}</title>
<style>
body {{ font: 16px/1.7 sans-serif; max-width: 50em; margin: 2em auto; padding: 0 1em; }}
h2 {{ font: 14px monospace; white-space: pre; }}
span, s {{ border-radius: 3px; padding: 1px 2px; }}
s {{ color: #888; }}
</style>
</head>
<body>
<h1>{0}</h1>
<p>How far each word moved the log-odds of &quot;positive&quot;: green up, red down; point at a word
for the figure. Words struck out were not read.</p>"""


def _with_shares(words: Sequence[Word]) -> Iterable[tuple[Word, float]]:
    """Each word with its weight as a share of the greatest weight in the text, from -1 to 1."""
    greatest = max((abs(word.weight) for word in words), default=0) or 1
    return ((word, word.weight / greatest) for word in words)


def evaluation_lines(result: dict[str, Any]) -> list[str]:
    """A table of what an evaluation found."""
    lines = [f"{result['dataset']}, {result['split']}: {result['num_reviews']} reviews"]
    if "runs" in result:
        weighted = zip(result["weights"], result["runs"], strict=True)
        lines += [f"  {weight:.4f} of the log-odds of {run}" for weight, run in weighted]
    for name in ("loss", "accuracy", "precision", "recall", "f1", "roc_auc", "ece"):
        value = result[name]
        lines.append(f"  {name:10} {'undefined' if value is None else format(value, '.4f')}")
    (a, b), (c, d) = result["confusion_matrix"]
    lines += [
        f"  {'':10} {'predicted negative':>20} {'predicted positive':>20}",
        f"  {'negative':10} {a:20} {b:20}",
        f"  {'positive':10} {c:20} {d:20}",
    ]
    if result["wrong"]:
        lines.append("most confidently wrong:")
    for review in result["wrong"]:
        lines.append(f"  {review['probability']:.4f} but {review['label']}: {review['text']}")
    return lines


def plot_evaluation(
    path: Path, title: str, labels: np.ndarray[Any, Any], logits: np.ndarray[Any, Any]
) -> None:
    """Draws the ROC curve and the reliability diagram, in the format that the path's suffix names.

    Args:
      path: where to, such as `roc.png`, `.svg` or `.pdf`.
      title: of the figure.
      labels: 1 for positive, 0 for negative, `[num_reviews]`.
      logits: the model's, `[num_reviews]`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from imdb_jax import metrics

    # A Figure of its own rather than pyplot: no display is needed, and no global state is left.
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    roc, calibration = figure.subplots(1, 2)
    diagonal = {"color": "gray", "linestyle": "--", "linewidth": 1}

    curve = metrics.roc_curve(labels, logits)
    if curve is None:
        roc.text(0.5, 0.5, "all reviews have the same label", ha="center", va="center")
    else:
        area = metrics.roc_auc(labels, logits)
        roc.plot(*curve, label=f"area {area:.4f}")
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
    image = io.BytesIO()
    try:
        figure.savefig(image, format=path.suffix.removeprefix(".") or "png", dpi=120)
    except ValueError as error:
        raise UserError(f"cannot draw {path}: {error}") from error
    write_atomically(path, image.getvalue())
