"""A trained model in memory, and the run directory that holds all of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from imdb_jax.config import load_config
from imdb_jax.datasets.dataset import NEGATIVE_POSITIVE
from imdb_jax.errors import UserError
from imdb_jax.files import write_directory
from imdb_jax.inference import explanation
from imdb_jax.inference.prediction import TrainedModel
from imdb_jax.parallel.devices import find_devices
from imdb_jax.pipeline.input_format import configured_input_format, create_configured_model
from imdb_jax.runs import directory as runs
from imdb_jax.runs.checkpoints import read_params, save_params
from imdb_jax.runs.manifest import MANIFEST
from imdb_jax.runs.reporting import read_metrics, write_metrics
from imdb_jax.text.sequences import INDEX_FROM
from imdb_jax.text.tokens import Text
from imdb_jax.training.history import Epoch


@dataclass(frozen=True, repr=False)
class Classifier(TrainedModel):
    """A trained model, with all that `fit` returns and `load` reads.

    Attributes:
      config: the configuration of its run.
      vocabulary: a `Vocabulary`, or of `ngram` an `NgramVocabulary`.
      model: a Flax module from ids to logits.
      params: its parameters.
      label_names: what the training data call the classes, the negative one first.
      history: the figures of each epoch of its training; empty if they are not known.
      result: what `result.json` in its run directory holds, such as `test_accuracy`; likewise.
    """

    history: Sequence[Epoch] = ()
    result: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        arch, dataset = self.config.arch, self.result.get("dataset", self.config.data.dataset)
        size, (negative, positive) = len(self.vocabulary), self.label_names
        if self.input_format.ngrams:
            reads = f"{size:,} n-grams of up to {self.vocabulary.max_n} words"
        else:
            known = min(size, self.config.input.num_words - INDEX_FROM - 1)
            reads = f"{known:,} of {size:,} words"
        lines = [
            f"Classifier: {arch}, trained on {dataset}",
            f"  reads          {reads}",
            f"  tells apart    {negative} (0) and {positive} (1)",
            f"  parameters     {optax.tree.size(self.params):,}",
        ]
        if self.history:
            lines.append(f"  epochs         {len(self.history)}")
        if "test_accuracy" in self.result:
            lines.append(f"  test accuracy  {self.result['test_accuracy']:.4f}")
        return "\n".join(lines)

    def explain(self, text: Text) -> explanation.Explanation:
        """Predict a text, and weigh its words; see `imdb_jax.inference.explanation`."""
        return explanation.explain(self, text)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a run directory, which `load` and all commands read.

        Raises `UserError` if `path` exists or cannot be written.
        """
        directory = Path(path)
        if os.path.lexists(directory):
            raise UserError(f"{directory} already exists; save to another path")
        write_directory(directory, self._write)

    def _write(self, directory: Path) -> None:
        runs.begin(directory, self.config, self.vocabulary, afresh=True)
        if self.history:
            write_metrics(directory / runs.METRICS, self.history)
        save_params(directory / runs.PARAMS, self.params)
        runs.end(directory, self.result | {"labels": [*self.label_names]})


def load(path: str | os.PathLike[str]) -> Classifier:
    """Load what `python -m imdb_jax.train` wrote. Nothing in the directory is executed.

    Args:
      path: the run directory; it may come from another machine.

    Raises:
      UserError: the directory is missing, incomplete or damaged.
    """
    directory = Path(path)
    if not (directory / runs.CONFIG).is_file():
        raise UserError(f"{directory} is not a run directory; python -m imdb_jax.train makes one")
    ended = runs.has_ended(directory)
    if ended:
        runs.verify_run(directory)
    config = load_config(directory / runs.CONFIG)
    if config.training.seeds > 1:
        first = f"{directory}/seed-{config.training.seed}"
        raise UserError(
            f"{directory} holds the runs of {config.training.seeds} seeds; choose one, "
            f"such as {first}"
        )
    if not ended:
        raise UserError(
            f"the run in {directory} has not ended: its last file, {MANIFEST}, is missing; "
            "continue it with --resume"
        )
    model = create_configured_model(config)
    find_devices()
    ids = jax.ShapeDtypeStruct((1, config.input.max_length or 256), jnp.uint16)
    shapes = jax.eval_shape(model.init, jax.random.key(0), ids)["params"]
    kind = configured_input_format(config).vocabulary_class
    vocabulary = kind.load(directory / kind.FILE)
    params = jax.device_put(read_params(directory / runs.PARAMS, shapes)[0])
    history, result = read_metrics(directory / runs.METRICS), runs.read_result(directory)
    negative, positive = result.get("labels", NEGATIVE_POSITIVE)
    return Classifier(config, vocabulary, model, params, (negative, positive), history, result)
