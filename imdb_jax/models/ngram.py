"""Naive Bayes and a linear model at once: Wang and Manning 2012, "Baselines and bigrams"."""

import jax
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Float32, Integer

from imdb_jax.models.sets import Sets, sum_rows


class Ngram(nn.Module):
    """The sum of the weights of the n-grams that a review holds, each times its log-ratio.

    An n-gram's log-ratio is how much more often positive reviews hold it than negative ones, see
    `ngrams.nb_log_ratios`. It is a parameter that is set before training and does not change; the
    weights start at zero.

    Attributes:
      num_words: number of ids, padding included; those of a vocabulary, see `NgramVocabulary`.
      max_n: words of the longest n-grams, which the vocabulary holds.
      min_df: training reviews that an n-gram of the vocabulary occurs in at least.
    """

    num_words: int = 0
    max_n: int = 4
    min_df: int = 2

    @nn.compact
    def __call__(
        self, ids: Integer[Array, "batch length"] | Sets, train: bool = False
    ) -> Float[Array, " batch"]:
        """Gives the logit of 'positive' for each review.

        Args:
          ids: the distinct ids of a review's n-grams, 0 for padding, `[batch, length]`; or their
            sets.
          train: changes nothing here; all architectures are called alike.

        Returns:
          float32 `[batch]`.
        """
        zeros = nn.initializers.zeros_init()
        weight = self.param("weight", zeros, (self.num_words,))
        log_ratio = jax.lax.stop_gradient(self.param("log_ratio", zeros, (self.num_words,)))
        bias = self.param("bias", zeros, ())
        # Padding has the log-ratio 0.
        return bias + sum_rows(log_ratio * weight, ids)


def contributions(params: dict[str, Array]) -> Float32[np.ndarray, " num_words"]:
    """What each n-gram adds to the logit of a review that holds it; 0 for padding."""
    return np.asarray(params["log_ratio"]) * np.asarray(params["weight"])
