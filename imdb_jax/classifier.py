"""A trained model with all that it needs to read text: what a run directory holds, in memory."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float32, UInt

from imdb_jax.checkpoint import load_params
from imdb_jax.config import Config, load_config
from imdb_jax.encoding import INDEX_FROM, Sequences, Text, Vocabulary
from imdb_jax.errors import UserError
from imdb_jax.experiment import configured_input_format, create_configured_model
from imdb_jax.training import predict_step

# Reviews are predicted this many at a time, fewer only for the sake of short lists: the number of
# reviews is rounded up to one of these sizes, so that the model is compiled a few times at most.
_BATCH_SIZES = (1, 8, 64, 512)


class Prediction(NamedTuple):
    """What a model says of a text.

    Attributes:
      probability: that the text is positive, from 0 to 1.
      label: 'positive' or 'negative'.
      unknown_share: share of its words that the model cannot tell from one another, because they
        did not occur in training, or too rarely; 0 for a text without words.
    """

    probability: float
    label: str
    unknown_share: float


@dataclass(frozen=True)
class Classifier:
    """A trained model.

    Attributes:
      config: what it was trained as.
      vocabulary: its words.
      model: the Flax module.
      params: its parameters.
    """

    config: Config
    vocabulary: Vocabulary
    model: nn.Module
    params: Any

    def encode(self, texts: Iterable[Text]) -> UInt[np.ndarray, "num_texts length"]:
        """Padded word ids of texts, as the model reads them."""
        return self._pad(self.vocabulary.rank(texts))

    def predict(self, texts: Text | Iterable[Text]) -> Float32[np.ndarray, " num_texts"]:
        """Gives the probability that each text is positive.

        Args:
          texts: one text or many, of any kind: str or bytes, empty, in any language.
        """
        texts = [texts] if isinstance(texts, str | bytes) else texts
        probabilities = [prediction.probability for prediction in self.stream(texts)]
        return np.array(probabilities, np.float32)

    def stream(self, texts: Iterable[Text]) -> Iterator[Prediction]:
        """Predicts texts one after the other, however many there are, in constant memory."""
        iterator = iter(texts)
        while chunk := list(itertools.islice(iterator, _BATCH_SIZES[-1])):
            yield from self._predict_chunk(chunk)

    def probabilities(
        self, ids: UInt[np.ndarray, "num_texts length"]
    ) -> Float32[np.ndarray, " num_texts"]:
        """Probabilities of texts that `encode` encoded; at most 512 at a time."""
        size = next(size for size in _BATCH_SIZES if size >= len(ids))
        filled = np.pad(ids, ((0, size - len(ids)), (0, 0)))
        computed = predict_step(self.model.apply, self.params, filled)
        return np.asarray(computed)[: len(ids)]

    def _predict_chunk(self, texts: list[Text]) -> Iterator[Prediction]:
        ranks = self.vocabulary.rank_or_zero(texts)
        known = ranks.values > 0
        probabilities = self.probabilities(self._pad(ranks.select(known)))
        told_apart = known & (ranks.values < self.config.num_words - INDEX_FROM)
        recognised = ranks.select(told_apart).lengths
        unknown = 1 - recognised / np.maximum(ranks.lengths, 1)
        unknown[ranks.lengths == 0] = 0
        for probability, share in zip(probabilities.tolist(), unknown.tolist(), strict=True):
            label = "positive" if probability > 0.5 else "negative"
            yield Prediction(probability, label, share)

    def _pad(self, ranks: Sequences) -> UInt[np.ndarray, "num_texts length"]:
        ids = configured_input_format(self.config).ids(ranks)
        if self.config.max_length:
            return ids
        # A model of any length: rounded up, so that it is compiled for a few lengths only.
        length = 1 << max(8, (ids.shape[1] - 1).bit_length())
        return np.pad(ids, ((0, 0), (0, length - ids.shape[1])))


def load(path: str | os.PathLike[str]) -> Classifier:
    """Loads what `python -m imdb_jax.train` wrote. Nothing in the directory is executed.

    Args:
      path: the run directory; it may come from another machine.

    Raises:
      UserError: the directory is missing, incomplete or damaged.
    """
    directory = Path(path)
    if not (directory / "config.toml").exists():
        raise UserError(f"{directory} is not a run directory; python -m imdb_jax.train makes one")
    config = load_config(directory / "config.toml")
    model = create_configured_model(config)
    ids = jax.ShapeDtypeStruct((1, config.max_length or 256), jnp.uint16)
    shapes = jax.eval_shape(model.init, jax.random.key(0), ids)["params"]
    if not (directory / "result.json").exists():
        raise UserError(f"the run in {directory} has not ended; its training was interrupted")
    vocabulary = Vocabulary.load(directory / "vocabulary.txt")
    params = jax.device_put(load_params(directory / "params", shapes))
    return Classifier(config, vocabulary, model, params)
