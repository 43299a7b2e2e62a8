"""What people see of a run: progress on the terminal, metrics files, figures.

The only module that knows TensorBoard.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from imdb_jax.errors import require
from imdb_jax.files import write_atomically
from imdb_jax.progress import bar, now_and_then

if TYPE_CHECKING:
    from imdb_jax.training import Metrics


class Epoch(NamedTuple):
    """The figures of one epoch.

    Attributes:
      epoch: number of the epoch, from 1.
      loss, accuracy: means over the training reviews, each as it was when its batch was trained on.
      val_loss, val_accuracy: means over the validation reviews after the epoch.
      seconds: duration of its training.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


def note(text: str) -> None:
    """Prints a remark for the person at the terminal, apart from the results."""
    print(text, file=sys.stderr, flush=True)


def format_epoch(row: Epoch, epochs: int) -> str:
    """One line with the figures of an epoch."""
    return (
        f"epoch {row.epoch}/{epochs}  loss {row.loss:.4f}  accuracy {row.accuracy:.4f}  "
        f"val_loss {row.val_loss:.4f}  val_accuracy {row.val_accuracy:.4f}  {row.seconds:.2f} s"
    )


@contextmanager
def epoch_bar(
    title: str, steps: int, running: Callable[[], Metrics], visible: bool, done: int = 0
) -> Iterator[Callable[[int], None]]:
    """Shows a progress bar while an epoch runs, if standard error is a terminal.

    Args:
      title: what stands before the bar.
      steps: number of steps in the epoch.
      running: gives the mean loss and accuracy so far. It waits for the device, so it is asked a
        few times a second only.
      visible: whether to show it at all.
      done: number of steps that were taken before.

    Yields:
      A function that is told how many more steps were taken.
    """
    if not visible or not sys.stderr.isatty():
        yield lambda steps: None
        return

    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[metrics]}"),
    )
    with bar(*columns, title=title, total=steps, done=done, metrics="") as update:

        def show_metrics() -> None:
            loss, accuracy = running()
            update(metrics=f"loss {loss:.4f}  accuracy {accuracy:.4f}")

        refresh = now_and_then(0.25, show_metrics)

        def advance(steps: int) -> None:
            refresh()
            update(advance=steps)

        yield advance


def write_metrics(path: Path, rows: Sequence[Epoch]) -> None:
    """Writes one CSV row per epoch, with a header, at full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Epoch._fields)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def summary_writer_class() -> Any:
    """TensorBoard's `SummaryWriter`. Raises `UserError` if tensorboardX is not installed."""
    return require("tensorboardX", "tensorboard").SummaryWriter


@contextmanager
def tensorboard_log(directory: Path | None, first: int) -> Iterator[Callable[[Epoch], None]]:
    """Logs the figures of epochs where TensorBoard finds them.

    Args:
      directory: for the event files; None logs nothing.
      first: number of the first epoch to come; what an interrupted run logged of it is void.

    Yields:
      A function to call after each epoch.

    Raises:
      UserError: tensorboardX is not installed.
    """
    if directory is None:
        yield lambda row: None
        return

    def log(row: Epoch) -> None:
        for metric in ("loss", "accuracy"):
            writer.add_scalar(f"{metric}/training", getattr(row, metric), row.epoch)
            writer.add_scalar(f"{metric}/validation", getattr(row, f"val_{metric}"), row.epoch)
        writer.add_scalar("seconds", row.seconds, row.epoch)
        writer.flush()

    # By default a file is named after the second in which it is made.
    writer = summary_writer_class()(str(directory), purge_step=first, filename_suffix=f".{first}")
    try:
        yield log
    finally:
        writer.close()


def plot_history(path: Path, rows: Sequence[Epoch], title: str, validated_on: str) -> None:
    """Draws loss and accuracy over the epochs, of training and validation, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # A Figure of its own rather than pyplot: no display is needed, and no global state is left.
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    epochs = [row.epoch for row in rows]
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, [getattr(row, metric) for row in rows], "o-", label="training")
        values = [getattr(row, f"val_{metric}") for row in rows]
        axes.plot(epochs, values, "s--", label=validated_on)
        axes.set(xlabel="epoch", ylabel=metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    write_atomically(path, image.getvalue())
