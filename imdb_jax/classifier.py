"""A trained model with all that it needs to read text: what a run directory holds, in memory."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float, Float32, UInt
from numpy.typing import NDArray

from imdb_jax.checkpoint import load_params
from imdb_jax.config import Config, load_config
from imdb_jax.errors import UserError
from imdb_jax.experiment import configured_input_format, create_configured_model
from imdb_jax.models import Ngram
from imdb_jax.text.ngrams import NgramVocabulary
from imdb_jax.text.sequences import INDEX_FROM, Sequences, pad_sequences
from imdb_jax.text.tokens import Text
from imdb_jax.text.vocabulary import Vocabulary
from imdb_jax.training import predict_step

# Texts are predicted this many at a time, fewer only for the sake of short lists: their number is
# rounded up to one of these sizes, so that the model is compiled a few times at most.
BATCH_SIZES = (1, 8, 64, 512)
# A chunk of long texts has fewer of them: it ends where it exceeds this many characters.
_CHUNK_CHARACTERS = 1 << 22


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


class Predictor(ABC):
    """What says of texts how likely they are to be positive: a trained model, or several."""

    def predict(self, texts: Text | Iterable[Text]) -> Float32[np.ndarray, " num_texts"]:
        """Gives the probability that each text is positive.

        Args:
          texts: one text or many, of any kind: str or bytes, empty, in any language.
        """
        texts = [texts] if isinstance(texts, str | bytes) else texts
        probabilities = [prediction.probability for prediction in self.stream(texts)]
        return np.array(probabilities, np.float32)

    def stream(self, texts: Iterable[Text]) -> Iterator[Prediction]:
        """Predicts texts one after the other, however many there are, in constant memory.

        Reads up to two chunks of 512 texts ahead: the device computes the probabilities of one
        while the next is encoded.
        """
        enqueued: Enqueued | None = None
        for chunk in _chunks(texts):
            following = self.enqueue(chunk)
            if enqueued:
                yield from enqueued.predictions()
            enqueued = following
        if enqueued:
            yield from enqueued.predictions()

    @abstractmethod
    def enqueue(self, texts: list[Text]) -> Enqueued:
        """Has the device compute the probabilities of up to 512 texts."""


@dataclass(frozen=True)
class Classifier(Predictor):
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
        return self.pad(self.vocabulary.rank(texts))

    def probabilities(
        self, ids: UInt[np.ndarray, "num_texts length"]
    ) -> Float32[np.ndarray, " num_texts"]:
        """Probabilities of texts that `encode` encoded; at most 512 at a time."""
        return np.asarray(self._enqueue_ids(ids))[: len(ids)]

    def pad(self, ranks: Sequences) -> UInt[np.ndarray, "num_texts length"]:
        """Padded word ids of texts whose words have these ranks (from 1)."""
        input_format = configured_input_format(self.config)
        ids = input_format.ids(ranks)
        if not input_format.distinct:
            return ids
        return np.pad(ids, ((0, 0), (0, _set_length(ids.shape[1]) - ids.shape[1])))

    def told_apart(self, ranks: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Says of words, by their ranks, which ones the model does not take for just 'unknown'."""
        return (ranks > 0) & (ranks < self.config.num_words - INDEX_FROM)

    def read(
        self, texts: list[Text]
    ) -> tuple[UInt[np.ndarray, "num_texts length"], Float[np.ndarray, " num_texts"]]:
        """Gives what `encode` does, and the share of each text's words that are unknown."""
        ranks = self.vocabulary.rank_or_zero(texts)
        recognised = ranks.select(self.told_apart(ranks.values)).lengths
        unknown_shares = (ranks.lengths - recognised) / np.maximum(ranks.lengths, 1)
        return self.pad(ranks.select(ranks.values > 0)), unknown_shares

    def enqueue(self, texts: list[Text]) -> Enqueued:
        """Has the device compute the probabilities of up to 512 texts."""
        ids, unknown_shares = self.read(texts)
        return Enqueued(self._enqueue_ids(ids), unknown_shares)

    def encode_each(
        self, texts: Iterable[Text]
    ) -> UInt[np.ndarray, "num_texts length"] | Sequences:
        """The ids of any number of texts, to make `splits.Examples` of."""
        return self.encode(texts)

    def _enqueue_ids(self, ids: UInt[np.ndarray, "num_texts length"]) -> jax.Array:
        """The probabilities, which are perhaps not computed yet; filled up to a batch size."""
        return predict_step(self.model.apply, self.params, fill_batch(ids))


@dataclass(frozen=True)
class NgramClassifier(Classifier):
    """A trained model that reads the set of a text's n-grams.

    Attributes:
      vocabulary: its n-grams.
    """

    vocabulary: NgramVocabulary  # type: ignore[assignment]

    def encode(self, texts: Iterable[Text]) -> UInt[np.ndarray, "num_texts length"]:
        """Padded ids of the distinct n-grams of texts."""
        return self.pad(self.vocabulary.encode(texts))

    def encode_each(self, texts: Iterable[Text]) -> Sequences:
        """The distinct n-grams of any number of texts, to make `splits.Examples` of."""
        return self.vocabulary.encode(texts)

    def pad(self, ranks: Sequences) -> UInt[np.ndarray, "num_texts length"]:
        """Padded ids of sets of n-grams."""
        length = _set_length(int(ranks.lengths.max(initial=1)))
        return pad_sequences(ranks, length, np.uint32, padding="post")

    def read(
        self, texts: list[Text]
    ) -> tuple[UInt[np.ndarray, "num_texts length"], Float[np.ndarray, " num_texts"]]:
        """Gives what `encode` does, and the share of each text's words that are unknown."""
        sets, unknown_shares = self.vocabulary.encode_with_unknown(texts)
        return self.pad(sets), unknown_shares


@dataclass(frozen=True)
class Enqueued:
    """Texts whose probabilities the device is computing.

    Attributes:
      probabilities: of the texts, and of what fills the batch.
      unknown_shares: of the texts, float64.
    """

    probabilities: jax.Array
    unknown_shares: NDArray[np.float64]

    def predictions(self) -> Iterator[Prediction]:
        """Waits for the probabilities."""
        shares = self.unknown_shares.tolist()
        for probability, share in zip(
            np.asarray(self.probabilities).tolist(), shares, strict=False
        ):
            label = "positive" if probability > 0.5 else "negative"
            yield Prediction(probability, label, share)


def _set_length(longest: int) -> int:
    """Sets may be of any size: rounded up, so that the model is compiled for a few sizes only."""
    return 1 << max(8, (longest - 1).bit_length())


def fill_batch(ids: UInt[np.ndarray, "num_texts length"]) -> UInt[np.ndarray, "size length"]:
    """Adds empty reviews until there are as many as one of `BATCH_SIZES`."""
    size = next(size for size in BATCH_SIZES if size >= len(ids))
    return np.pad(ids, ((0, size - len(ids)), (0, 0)))


def _chunks(texts: Iterable[Text]) -> Iterator[list[Text]]:
    chunk, characters = [], 0
    for text in texts:
        if not isinstance(text, str | bytes):
            raise TypeError(f"a text must be str or bytes, not {type(text).__name__}")
        chunk.append(text)
        characters += len(text)
        if len(chunk) == BATCH_SIZES[-1] or characters > _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


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
    if config.seeds > 1:
        first = f"{directory}/seed-{config.seed}"
        raise UserError(
            f"{directory} holds a run of each of {config.seeds} seeds; name one: {first}"
        )
    model = create_configured_model(config)
    ids = jax.ShapeDtypeStruct((1, config.max_length or 256), jnp.uint16)
    shapes = jax.eval_shape(model.init, jax.random.key(0), ids)["params"]
    if not (directory / "result.json").exists():
        raise UserError(f"the run in {directory} has not ended; its training was interrupted")
    kind: Any = NgramVocabulary if isinstance(model, Ngram) else Vocabulary
    vocabulary = kind.load(directory / kind.FILE)
    params = jax.device_put(load_params(directory / "params", shapes)[0])
    made: Any = NgramClassifier if isinstance(model, Ngram) else Classifier
    return made(config, vocabulary, model, params)
