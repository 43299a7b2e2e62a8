"""What people see of a run: what it says on the terminal, and metrics files.

The only module that knows TensorBoard.
"""

import csv
import io
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict
from rich import box
from rich.console import Console
from rich.table import Table

from imdb_jax.datasets.dataset import NEGATIVE_POSITIVE
from imdb_jax.errors import UserError, require
from imdb_jax.files import write_atomically
from imdb_jax.models import Ngram
from imdb_jax.models.inputs import Sets
from imdb_jax.models.keras_layers import KerasLayer, keras_layers, output_shape
from imdb_jax.pipeline.splits import Examples
from imdb_jax.runs.data import ExperimentData
from imdb_jax.training.history import Epoch


def environment() -> dict[str, Any]:
    """Return the versions and devices that compute."""
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
        "optax": optax.__version__,
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
    }


def versions() -> str:
    """Return a line that says the same."""
    return (
        "Python {python}, jax {jax}, flax {flax}, optax {optax}; {device_count} x {device_kind}"
    ).format(**environment())


def sizes(data: ExperimentData) -> str:
    """Return a line with the number of reviews and their length."""
    splits = data.splits
    corpus = "the built-in synthetic corpus" if data.dataset == "synthetic" else data.dataset
    if data.label_names != NEGATIVE_POSITIVE:
        corpus += ", {} or {}".format(*data.label_names)
    validation = f"{splits.validation.total} to validate, " if splits.validation is not None else ""
    ids = splits.train.ids
    if isinstance(ids, np.ndarray):
        length = f"{ids.shape[1]} ids each"
    else:
        length = f"{ids.lengths.mean():.0f} n-grams each on average"
    return (
        f"data set: {corpus}; {splits.train.total} reviews to train, {validation}"
        f"{splits.test.total} to test, of {length}"
    )


def validated_on(data: ExperimentData) -> str:
    """Name the reviews that validation figures are about."""
    held_out = data.splits.validation is not None
    return "reviews held out" if held_out else "the test reviews, as the tutorial does"


def layer_table(model: nn.Module, examples: Examples) -> list[str]:
    """Return the lines of a table of a model's layers, as wide as the terminal at most.

    Its rows are the layers that Keras would have, with their output shapes and parameters.
    """
    ids = examples.batch_ids(np.arange(1))
    params = jax.eval_shape(model.init, jax.random.key(0), ids)["params"]
    sizes = {name: leaf.size for name, leaf in flatten_dict(params, sep=".").items()}
    shape = () if isinstance(ids, Sets) else ids.shape[1:]
    if isinstance(model, Ngram):
        features = {"units": model.num_features}
        layers = [
            KerasLayer("LogRatio, fixed", features, ("log_ratio",)),
            KerasLayer("Dense", {"units": 1}, ("weight", "bias")),
        ]
    else:
        layers = keras_layers(model, *shape[:1] or (1,))
    table = Table(box=box.SIMPLE, show_footer=True, pad_edge=False)
    for title, footer in (("layer", "total"), ("output shape", ""), ("parameters", "")):
        justify: Any = "right" if title == "parameters" else "left"
        table.add_column(title, footer, justify=justify, no_wrap=True, overflow="ellipsis")
    for layer in layers:
        shape = output_shape(layer, shape)
        module, _, inside = layer.weights[0].partition(".") if layer.weights else ("", "", "")
        name = f"{layer.kind} ({module})" if inside else layer.kind
        size = sum(sizes[weights] for weights in layer.weights)
        table.add_row(name, f"(batch, {', '.join(map(str, shape))})", f"{size:,}")
    table.columns[-1].footer = f"{sum(sizes.values()):,}"
    # A notebook and its FORCE_COLOR must not make HTML or escape sequences of lines.
    width = shutil.get_terminal_size().columns
    drawn = Console(file=io.StringIO(), width=width, force_terminal=False, force_jupyter=False)
    with drawn.capture() as captured:
        drawn.print(table)
    lines = (line.rstrip() for line in captured.get().splitlines())
    return [line for line in lines if line]


def format_epoch(row: Epoch, epochs: int) -> str:
    """Return a line with the figures of an epoch, which 80 columns have room for."""
    return (
        f"epoch {row.epoch}/{epochs}  loss {row.loss:.4f}  acc {row.accuracy:.4f}  "
        f"val_loss {row.val_loss:.4f}  val_acc {row.val_accuracy:.4f}  "
        f"{row.seconds:.{2 if row.seconds < 100 else 0}f} s"
    )


def write_metrics(path: Path, rows: Sequence[Epoch]) -> None:
    """Write one CSV row per epoch, with a header, at full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Epoch._fields)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def read_metrics(path: Path) -> list[Epoch]:
    """Read what `write_metrics` wrote; an empty list if the file is missing or damaged."""
    try:
        _, *rows = csv.reader(path.read_text().splitlines())
        return [Epoch(int(epoch), *map(float, figures)) for epoch, *figures in rows]
    except (OSError, ValueError, TypeError):
        return []


def summary_writer_class() -> Any:
    """Return TensorBoard's `SummaryWriter`. Raises `UserError` if tensorboardX is not installed."""
    return require("tensorboardX", "tensorboard").SummaryWriter


@contextmanager
def tensorboard_log(directory: Path | None, first: int) -> Iterator[Callable[[Epoch], None]]:
    """Yield a function that logs the figures of an epoch, if `directory` is given, for TensorBoard.

    What an interrupted run logged from epoch `first` on becomes void. Raises `UserError` if the
    log cannot be written.
    """
    if directory is None:
        yield lambda row: None
        return

    def log(row: Epoch) -> None:
        for metric in ("loss", "accuracy"):
            writer.add_scalar(f"{metric}/training", getattr(row, metric), row.epoch)
            writer.add_scalar(f"{metric}/validation", getattr(row, f"val_{metric}"), row.epoch)
        writer.add_scalar("seconds", row.seconds, row.epoch)
        with _writing(directory):
            writer.flush()

    # By default a file is named after the second in which it is made.
    with _writing(directory):
        writer = summary_writer_class()(
            str(directory), purge_step=first, filename_suffix=f".{first}"
        )
    try:
        yield log
    except BaseException:
        with suppress(OSError):
            writer.close()
        raise  # what ended the training matters more than its log
    with _writing(directory):
        writer.close()


@contextmanager
def _writing(log: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"the log {log} cannot be written: {error.strerror}") from error
