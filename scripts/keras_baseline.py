"""Trains the Keras twins of our recipes on our arrays: the baseline of the results table.

    KERAS_BACKEND=tensorflow python scripts/keras_baseline.py --arch cnn lstm --seeds 5

Trains as the tutorials do, by `compile` and `fit`, and writes one JSON file per recipe and seed.
What is there already is not trained again, so that an interrupted run can be continued.

Backends differ by more than chance: on TensorFlow, Keras' Adam takes the second moment of a word
vector from the sum of the squares of its gradients within a batch, elsewhere (and in ours) from the
square of their sum.
"""

from __future__ import annotations

import importlib
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Num

from imdb_jax import cli
from imdb_jax.config import Config, load_recipe, recipe_names, replace
from imdb_jax.errors import UserError
from imdb_jax.files import write_atomically

if TYPE_CHECKING:
    import keras

# Keras has no layer for sets of n-grams.
WITHOUT_TWIN = ("ngram",)
# Evaluation needs no gradients, hence less memory; the batch size changes no result.
_EVAL_BATCH_SIZE = 512
# Donges' script ends with its last validation, which is on the test reviews.
_WITHOUT_EVALUATE = ("mlp",)


@dataclass(frozen=True)
class Options:
    """What to train, and where the results go."""

    arch: tuple[str, ...] = ()
    """Recipes to train; all of them by default."""

    seeds: int = 5
    """Number of seeds, from 0, to train each recipe with."""

    out: Path = Path("runs/keras")
    """Directory for the results, keras_<arch>_<seed>.json."""

    dataset: Literal["imdb_reviews", "synthetic"] = "imdb_reviews"
    """Data set. There is no 'auto': a baseline on other data than meant is worse than none."""

    data_dir: Path | None = None
    """TFDS data directory; by default TFDS_DATA_DIR, else ~/tensorflow_datasets."""


class Arrays(NamedTuple):
    """Reviews as Keras reads them.

    Attributes:
      x: ids or multi-hot vectors, see `keras_models.inputs`.
      y: 1 for positive, 0 for negative.
    """

    x: Num[np.ndarray, "num_reviews width"]
    y: Float32[np.ndarray, " num_reviews"]


def run_baseline(arguments: Sequence[str]) -> None:
    """Parses the arguments and trains what is still missing.

    Raises:
      UserError: a bad option, no Keras, no data, or results of something else in the directory.
    """
    options = cli.parse("keras_baseline", Options(), __doc__ or "", arguments)
    if options.seeds < 1:
        raise UserError(f"seeds must be at least 1, not {options.seeds}")
    recipes = [
        replace(load_recipe(arch), dataset=options.dataset, data_dir=options.data_dir)
        for arch in options.arch or (name for name in recipe_names() if name not in WITHOUT_TWIN)
    ]
    backend = _import_keras().backend.backend()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {options.out}: {error.strerror}") from error
    for recipe in recipes:
        missing = {}
        for seed in range(options.seeds):
            path = options.out / f"keras_{recipe.arch}_{seed}.json"
            if path.exists():
                check_same_kind(path, options.dataset, backend)
                print(f"{path} is there already", flush=True)
            else:
                missing[seed] = path
        if missing:
            train_recipe(recipe, missing)


def _import_keras() -> Any:
    # Imported late, so that --help and mistaken options need not wait for a backend.
    try:
        return importlib.import_module("keras")
    except (ImportError, ValueError) as error:  # ValueError: KERAS_BACKEND names no backend
        raise UserError(
            f"Keras cannot be imported ({error}); pip install 'imdb_jax[bench]', "
            "and set KERAS_BACKEND to jax, tensorflow or torch"
        ) from error


def check_same_kind(path: Path, dataset: str, backend: str) -> None:
    """Raises `UserError` unless a file holds a result on this data set with this backend."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        found = result["dataset"], result["backend"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a result of this program; remove it") from error
    if found != (dataset, backend):
        raise UserError(
            f"{path} is about {found[0]} and {found[1]}, not {dataset} and {backend}; "
            "choose another --out"
        )


def train_recipe(recipe: Config, paths: dict[int, Path]) -> None:
    """Trains the Keras twin of a recipe once per seed, and writes each result to its path."""
    import keras
    import keras_models

    from imdb_jax.runs.data import load_data_for

    data = load_data_for(recipe)
    if not isinstance(data.splits.train.ids, np.ndarray):
        raise UserError(f"{recipe.arch} has no Keras twin; it reads sets of n-grams")
    # Reviews held out to validate on are not looked at: that would only cost time.
    train, test = (
        Arrays(keras_models.inputs(recipe, np.asarray(examples.ids)), examples.labels)
        for examples in (data.splits.train, data.splits.test)
    )
    length = data.splits.train.ids.shape[1]
    for seed, path in paths.items():
        keras.utils.set_random_seed(seed)
        model = keras_models.build(recipe, length)
        result = {
            "arch": recipe.arch,
            "dataset": data.dataset,
            "seed": seed,
            **train_once(model, recipe, train, test),
            **_environment(),
        }
        keras.backend.clear_session()
        write_atomically(path, (json.dumps(result, indent=2) + "\n").encode())
        print(
            f"{recipe.arch}, seed {seed}: test accuracy {result['test_accuracy']:.4f} "
            f"after {recipe.training.epochs} epochs in {result['train_seconds']:.1f} s",
            flush=True,
        )


def train_once(
    model: keras.Model,
    recipe: Config,
    train: Arrays,
    test: Arrays,
    validation: Arrays | None = None,
) -> dict[str, Any]:
    """Compiles and fits a model as the tutorials do, and tests it at the end.

    Args:
      model: not compiled yet.
      recipe: says how to train.
      train: what to train on.
      test: what to test on.
      validation: what to validate on after each epoch. If it is given, all is done as the tutorial
        does it, `evaluate` with its default batch size included. If not, the model is tested in the
        quickest way, as the accuracy is the same.

    Returns:
      The figures. An epoch's seconds are those of training alone; the first epoch's include the
      time in which the backend compiles.
    """
    import keras

    model.compile(
        optimizer=keras.optimizers.Adam(recipe.training.learning_rate),
        loss=recipe.training.loss,
        metrics=["accuracy"],
    )
    epoch_seconds: list[float] = []
    history = model.fit(
        train.x,
        train.y,
        validation_data=validation,
        batch_size=recipe.training.batch_size,
        epochs=recipe.training.epochs,
        shuffle=True,
        verbose=0,
        callbacks=[_stopwatch(epoch_seconds)],
    ).history
    if validation is None:
        loss, accuracy = model.evaluate(test.x, test.y, batch_size=_EVAL_BATCH_SIZE, verbose=0)
    elif recipe.arch in _WITHOUT_EVALUATE:
        loss, accuracy = history["val_loss"][-1], history["val_accuracy"][-1]
    else:
        loss, accuracy = model.evaluate(test.x, test.y, verbose=0)
    return {
        "num_params": model.count_params(),
        "epochs": recipe.training.epochs,
        "batch_size": recipe.training.batch_size,
        "test_accuracy": float(accuracy),
        "test_loss": float(loss),
        "train_seconds": sum(epoch_seconds),
        "epoch_seconds": epoch_seconds,
    }


def _stopwatch(epoch_seconds: list[float]) -> keras.callbacks.Callback:
    """Appends the duration of every epoch, without its validation."""
    import keras

    class Stopwatch(keras.callbacks.Callback):  # type: ignore[misc]
        started: float | None = None

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.started = time.perf_counter()

        def on_test_begin(self, logs: Any = None) -> None:
            if self.started is not None:
                # On JAX, steps are only enqueued: a result of the last one comes after all of them.
                keras.ops.convert_to_numpy(self.model.optimizer.iterations)
                epoch_seconds.append(time.perf_counter() - self.started)
                self.started = None

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.on_test_begin()

    return Stopwatch()


def _environment() -> dict[str, str]:
    """What a result depends on besides the recipe and the seed."""
    import keras

    backend = keras.backend.backend()
    return {
        "backend": backend,
        "backend_version": importlib.import_module(backend).__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
        "device": _device(backend),
    }


def _device(backend: str) -> str:
    """Name of the accelerator that the backend uses, or 'cpu'."""
    if backend == "jax":
        import jax

        return str(jax.devices()[0].device_kind)
    if backend == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return str(tf.config.experimental.get_device_details(gpus[0])["device_name"]) if gpus else "cpu"


if __name__ == "__main__":
    cli.run_command(run_baseline)
