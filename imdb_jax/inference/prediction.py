"""From texts to probabilities: a trained model with all that it needs to read text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float, Float32, UInt
from numpy.typing import NDArray

from imdb_jax.config import Config
from imdb_jax.datasets.dataset import NEGATIVE_POSITIVE, LabelNames, Reviews
from imdb_jax.errors import UserError, shown
from imdb_jax.inference import metrics
from imdb_jax.parallel.devices import data_mesh, on_devices, replicated
from imdb_jax.pipeline.input_format import InputFormat, configured_input_format
from imdb_jax.pipeline.splits import Examples
from imdb_jax.text.blocks import map_in_order
from imdb_jax.text.sequences import INDEX_FROM, Sequences, pad_sequences, unknown_shares
from imdb_jax.text.tokens import Text
from imdb_jax.training.evaluation import evaluate_each
from imdb_jax.training.optimizer import keras_adam
from imdb_jax.training.step import TrainState, predict_step

Logits = Float32[np.ndarray, " num_reviews"]

# The device predicts 512 texts at a time. Shorter lists are filled up to one of these sizes, so
# that the model is compiled a few times at most.
BATCH_SIZES = (1, 8, 64, 512)
# Texts are read and encoded in chunks: of 512 if each prediction is wanted soon; of more, which is
# faster, if all are wanted together. A chunk ends early where it exceeds so many characters.
_STREAMED_CHUNK, _CHUNK, _CHUNK_CHARACTERS = BATCH_SIZES[-1], 8 * BATCH_SIZES[-1], 1 << 22
_CHUNKS_AHEAD = 2


class Prediction(NamedTuple):
    """What a model says about a text."""

    probability: float  # that the text is positive
    label: str | None  # 'positive' or 'negative', or as the training data say; None: see below
    unknown_share: float  # of words too rare in training to be told apart

    # A text without a word that the model knows has no label, and an unknown share of 1. Its
    # probability is what the model says to a review of nothing, and means as little.


class Predictor(ABC):
    """Something that predicts how likely texts are to be positive: a trained model, or several."""

    @property
    @abstractmethod
    def label_names(self) -> LabelNames:
        """What the training data call the classes, the negative one first."""

    def predict(self, texts: Text | Iterable[Text]) -> Float32[np.ndarray, " num_texts"]:
        """Return the probability that each text is positive.

        As in Keras, where these models come from, and unlike scikit-learn's `predict`, this is no
        label: `predict(texts) > 0.5` says which texts are positive, and `stream` names the labels.
        Texts may be one or many, str or bytes, empty, in any language. Raises `TypeError` for
        anything else.
        """
        if not isinstance(texts, Iterable):
            raise TypeError(f"texts must be a text or a list of texts, not {shown(texts)}")
        texts = [texts] if isinstance(texts, str | bytes) else texts
        enqueue = partial(self.enqueue, shares=False)
        enqueued = map_in_order(enqueue, _chunks(texts, _CHUNK), _CHUNKS_AHEAD)
        return np.concatenate([np.zeros(0, np.float32), *(chunk.wait() for chunk in enqueued)])

    def stream(self, texts: Iterable[Text]) -> Iterator[Prediction]:
        """Predict texts one after the other, however many there are, in constant memory.

        Reads up to two chunks of 512 texts ahead: all cores encode them while the device computes
        the probabilities of those before.
        """
        chunks = _chunks(texts, _STREAMED_CHUNK)
        for enqueued in map_in_order(self.enqueue, chunks, _CHUNKS_AHEAD):
            yield from enqueued.predictions()

    def evaluate(self, texts: Iterable[Text], labels: metrics.Labels) -> dict[str, Any]:
        """Measure the model on labelled texts: loss, accuracy and `metrics.summary`.

        Labels are 1 for positive and 0 for negative. Raises `UserError` if there is no text, or not
        one such label for each.
        """
        texts, labels = [*texts], np.asarray(labels)
        if not texts or labels.shape != (len(texts),) or not set(labels.tolist()) <= {0, 1}:
            negative, positive = self.label_names
            raise UserError(
                f"evaluate needs texts and a label for each: 1 ({positive}) or 0 ({negative})"
            )
        return self.measure(Reviews(texts, labels.astype(np.int8)))[0]

    @abstractmethod
    def measure(self, reviews: Reviews) -> tuple[dict[str, Any], Logits]:
        """Do what `evaluate` does with at least one review; return the logits as well."""

    @abstractmethod
    def enqueue(self, texts: list[Text], shares: bool = True) -> Enqueued:
        """Encode texts, and make the device compute their probabilities.

        Unknown shares are counted if `shares`, else None.
        """


@dataclass(frozen=True)
class TrainedModel(Predictor):
    """A Flax module, its parameters, and the words or n-grams that it reads."""

    config: Config
    vocabulary: Any
    model: nn.Module
    params: Any
    label_names: LabelNames = NEGATIVE_POSITIVE

    @cached_property
    def input_format(self) -> InputFormat:
        """How the model reads a text."""
        return configured_input_format(self.config)

    @cached_property
    def apply_fn(self) -> Callable[..., Any]:
        """The model as a function of parameters and ids, for one device."""
        return on_devices(self.model).apply

    def encode(self, texts: Iterable[Text]) -> UInt[np.ndarray, "num_texts length"]:
        """Return padded ids of texts, as the model reads them."""
        return self.pad(self.read_known(texts))

    def encode_each(
        self, texts: Iterable[Text]
    ) -> UInt[np.ndarray, "num_texts length"] | Sequences:
        """Return the ids of any number of texts, to make `Examples` of; n-grams without padding."""
        ranks = self.read_known(texts)
        return ranks if self.input_format.ngrams else self.pad(ranks)

    def pad(self, ranks: Sequences) -> UInt[np.ndarray, "num_texts length"]:
        """Return padded ids of texts whose words have these ranks, or whose n-grams these ids."""
        form = self.input_format
        if not (form.distinct or form.ngrams):
            return form.ids(ranks)
        sets = form.sequences(ranks)
        # Sets may be of any size: rounded up, so that the model is compiled for a few sizes only.
        length = 1 << max(8, int(sets.lengths.max(initial=1) - 1).bit_length())
        return pad_sequences(sets, length, form.dtype, padding="post")

    def told_apart(self, ranks: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return which words, given by their ranks, the model does not take for just 'unknown'."""
        return (ranks > 0) & (ranks < self.config.input.num_words - INDEX_FROM)

    def read(
        self, texts: Iterable[Text], shares: bool = True
    ) -> tuple[Sequences, Float[np.ndarray, " num_texts"] | None]:
        """Return what `pad` takes, and if `shares` the share of each text's words not known."""
        if not shares:
            return self.read_known(texts), None
        if self.input_format.ngrams:
            return self.vocabulary.encode_with_unknown(texts)
        ranks = self.vocabulary.rank_or_zero(texts)
        known = ranks.count(self.told_apart(ranks.values))
        return ranks.select(ranks.values > 0), unknown_shares(ranks.lengths, known)

    def read_known(self, texts: Iterable[Text]) -> Sequences:
        """Return what `pad` takes."""
        if self.input_format.ngrams:
            return self.vocabulary.encode(texts)
        return self.vocabulary.rank(texts)

    def enqueue(self, texts: list[Text], shares: bool = True) -> Enqueued:
        """Encode texts, and make the device compute their probabilities."""
        ranks, unknown = self.read(texts, shares)
        apply_fn, params = self.apply_fn, self.params
        batches = [predict_step(apply_fn, params, ids) for ids in self.batches(ranks)]
        return Enqueued(batches, len(texts), unknown, self.label_names)

    def batches(self, ranks: Sequences) -> Iterator[UInt[np.ndarray, "size length"]]:
        """Yield padded ids of 512 texts at a time, given as `pad` takes them."""
        for first in range(0, len(ranks), BATCH_SIZES[-1]):
            yield fill_batch(self.pad(ranks[first : first + BATCH_SIZES[-1]]))

    def measure(self, reviews: Reviews) -> tuple[dict[str, Any], Logits]:
        """Evaluate the model on at least one review, as training does; return the logits as well.

        Raises `UserError` if one of them is not finite.
        """
        mesh = data_mesh()
        apply_fn = on_devices(self.model, mesh.shape["data"]).apply
        loss = self.config.training.loss
        no_step, no_key = jnp.zeros((), jnp.int32), jax.random.key(0)
        state = TrainState(no_step, self.params, (), no_key, apply_fn, keras_adam(), loss)
        ids, labels = self.encode_each(reviews.texts), reviews.labels.astype(np.float32)
        examples = Examples(ids, labels, self.input_format.distinct)
        means, logits = evaluate_each(jax.device_put(state, replicated(mesh)), examples, mesh)
        if not np.isfinite(logits).all():
            raise UserError("the model's output for some reviews is not a finite number")
        return {**means._asdict(), **metrics.summary(examples.labels, logits)}, logits


@dataclass(frozen=True)
class Enqueued:
    """Texts whose probabilities the device is computing."""

    batches: list[jax.Array]  # probabilities of the texts, and of what fills the last batch
    num_texts: int
    unknown_shares: NDArray[np.float64] | None
    label_names: LabelNames

    def wait(self) -> Float32[np.ndarray, " num_texts"]:
        """Wait for the probabilities."""
        return np.concatenate(self.batches)[: self.num_texts]

    def predictions(self) -> Iterator[Prediction]:
        """Wait for the probabilities, and yield the predictions, whose shares must be known."""
        assert self.unknown_shares is not None
        shares = self.unknown_shares.tolist()
        for probability, share in zip(self.wait().tolist(), shares, strict=True):
            label = self.label_names[probability > 0.5] if share < 1 else None
            yield Prediction(probability, label, share)


def fill_batch(ids: UInt[np.ndarray, "num_texts length"]) -> UInt[np.ndarray, "size length"]:
    """Add empty reviews until there are as many as one of `BATCH_SIZES`."""
    size = next(size for size in BATCH_SIZES if size >= len(ids))
    return ids if size == len(ids) else np.pad(ids, ((0, size - len(ids)), (0, 0)))


def _chunks(texts: Iterable[Text], size: int) -> Iterator[list[Text]]:
    chunk, characters = [], 0
    for text in texts:
        if not isinstance(text, str | bytes):
            raise TypeError(f"a text must be str or bytes, not {type(text).__name__}")
        chunk.append(text)
        characters += len(text)
        if len(chunk) == size or characters > _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
