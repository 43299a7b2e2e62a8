"""How a model reads a review: which ids, how many, on which side it is cut and padded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import linen as nn
from jaxtyping import UInt

from imdb_jax.config import Config
from imdb_jax.models import create_model
from imdb_jax.text.ngrams import NgramVocabulary
from imdb_jax.text.sequences import Sequences, Side, cut, distinct_ids, pad_sequences, ranks_to_ids
from imdb_jax.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class InputFormat:
    """How a model reads a review: the first four options are those of `InputOptions`.

    `distinct` keeps each id once, in ascending order, as for a bag of words; `ngrams` reads the set
    of a review's n-grams instead of its words.
    """

    num_words: int
    max_length: int = 0
    padding: Side = "pre"
    truncating: Side = "pre"
    distinct: bool = False
    ngrams: bool = False

    @property
    def vocabulary_class(self) -> type[Vocabulary] | type[NgramVocabulary]:
        """The class of the vocabulary that turns reviews into ids."""
        return NgramVocabulary if self.ngrams else Vocabulary

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned type that holds the ids."""
        return np.min_scalar_type(self.num_words - 1)

    def sequences(self, ranks: Sequences) -> Sequences:
        """Return ids for the ranks of each review's words: not padded, and only sets are cut."""
        if self.ngrams:
            return ranks
        sequences = ranks_to_ids(ranks, self.num_words)
        if not self.distinct:
            return sequences
        return distinct_ids(cut(sequences, self.max_length, self.truncating), self.num_words)

    def ids(
        self, ranks: Sequences, length: int | None = None
    ) -> UInt[np.ndarray, "num_reviews length"]:
        """Return padded ids: `length`, else `max_length`, else as many as the longest has."""
        if length is None and not self.distinct:
            length = self.max_length or None
        sides = self.padding, self.truncating
        return pad_sequences(self.sequences(ranks), length, self.dtype, *sides)


def create_configured_model(config: Config) -> nn.Module:
    """Make the model of a configuration."""
    return create_model(config.arch, config.input.num_words, config.model, config.training.dtype)


def configured_input_format(config: Config) -> InputFormat:
    """Return how the model of a configuration reads a review."""
    model = create_configured_model(config)
    return InputFormat(
        config.input.num_words,
        config.input.max_length,
        config.input.padding,
        config.input.truncating,
        distinct=getattr(model, "bag_of_words", False),
        ngrams=getattr(model, "bag_of_ngrams", False),
    )
