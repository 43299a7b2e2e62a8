"""Naive Bayes and a linear model at once: Wang and Manning 2012, "Baselines and bigrams"."""

from typing import ClassVar

import jax
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Float32, Integer

from imdb_jax.models.inputs import Sets, sum_rows
from imdb_jax.models.layers import Model
from imdb_jax.text.sequences import PAD_ID, Sequences

_REVIEWS_AT_A_TIME = 256


class Ngram(Model):
    """The sum of the weights of the n-grams that a review holds, each times its log-ratio.

    The log-ratio (see `nb_log_ratios`) is a parameter that is set before training and does not
    change; the weights start at zero.

    Attributes:
      num_features: number of n-gram ids, padding included.
      max_n: words of the longest n-grams in the vocabulary.
      min_df: training reviews that an n-gram of the vocabulary must occur in at least.
    """

    bag_of_ngrams: ClassVar[bool] = True  # it reads which n-grams a review holds

    num_features: int = 0
    max_n: int = 4
    min_df: int = 2

    @nn.compact
    def __call__(
        self, ids: Integer[Array, "batch length"] | Sets, train: bool = False
    ) -> Float[Array, " batch"]:
        """Return the logit of 'positive' for each review's distinct n-gram ids, padded with 0."""
        zeros = nn.initializers.zeros_init()
        weight = self.param("weight", zeros, (self.num_features,))
        log_ratio = jax.lax.stop_gradient(self.param("log_ratio", zeros, (self.num_features,)))
        bias = self.param("bias", zeros, ())
        # Padding has the log-ratio 0.
        return bias + sum_rows(log_ratio * weight, ids)


def contributions(params: dict[str, Array]) -> Float32[np.ndarray, " num_features"]:
    """Return what each n-gram adds to the logit of a review that holds it; 0 for padding."""
    return np.asarray(params["log_ratio"]) * np.asarray(params["weight"])


def nb_log_ratios(
    features: Sequences, positive: Float[np.ndarray, " num_reviews"], num_features: int
) -> Float32[np.ndarray, " num_features"]:
    """Return Wang and Manning's r: how much more often positive reviews hold an n-gram.

    `r = log((p / |p|) / (q / |q|))`, where `p` is 1 plus the number of positive reviews that hold
    the n-gram, `q` the same of negative ones, and `|p|`, `|q|` their sums over all n-grams. It is 0
    for padding. `features` are the distinct ids of each review; a review whose `positive` lies
    between 0 and 1 counts on both sides. Raises `ValueError` if the lengths of both differ, or an
    id is not below `num_features`.
    """
    if len(features) != len(positive):
        raise ValueError(f"{len(features)} reviews, but {len(positive)} values of positive")
    if features.values.max(initial=0) >= num_features:
        raise ValueError(f"an id is {features.values.max()}, of {num_features} features")
    p, q = np.ones((2, num_features))
    for first in range(0, len(features), _REVIEWS_AT_A_TIME):
        block = slice(first, first + _REVIEWS_AT_A_TIME)
        ids = features[block]
        share = np.repeat(positive[block].astype(float), ids.lengths)
        # np.bincount would make a result as long as all n-grams for every block.
        np.add.at(p, ids.values, share)
        np.add.at(q, ids.values, 1 - share)
    p[PAD_ID] = q[PAD_ID] = 0
    ratios = np.zeros(num_features, np.float32)
    ratios[1:] = np.log(p[1:] / p.sum()) - np.log(q[1:] / q.sum())
    return ratios
