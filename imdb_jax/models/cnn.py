"""Convolution over word vectors: Brownlee, "Predict sentiment from movie reviews"."""

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float, Integer

from imdb_jax.models.layers import Dense, Embed, Model
from imdb_jax.models.word_conv import WordConv


class CNN(Model):
    """One convolution over a review's words, max-pooled, into a dense layer.

    Attributes:
      num_words: size of the vocabulary; ids are below it.
      embedding_dim: length of a word's vector.
      filters: number of convolution filters.
      kernel_size: words a filter sees at a time.
      pool_size: neighboring positions of which the largest counts; 0 pools the whole review, which
        makes the model independent of its length (the recipe `cnn_global`).
      hidden: width of the hidden layer; 0 leaves it out.
      dtype: what the model computes in; parameters and logits are float32.
    """

    num_words: int = 5_000
    embedding_dim: int = 32
    filters: int = 32
    kernel_size: int = 3
    pool_size: int = 2
    hidden: int = 250
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, ids: Integer[Array, "batch length"], train: bool = False
    ) -> Float[Array, " batch"]:
        """Return the logit of 'positive' for each review.

        The length of a review is part of the model once initialized, unless `pool_size` is 0.
        """
        embed = Embed(self.num_words, self.embedding_dim)
        sizes = self.filters, self.kernel_size, self.pool_size
        x = WordConv(*sizes, self.dtype, name="Conv_0")(embed.embedding, ids, train)
        x = x.reshape(x.shape[0], -1)
        if self.hidden:
            x = nn.relu(Dense(self.hidden, dtype=self.dtype)(x))
        return Dense(1)(x)[:, 0]
