"""Embedding, flattened, into a dense layer: Brownlee, "Predict sentiment from movie reviews"."""

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float, Integer

from imdb_jax.models.layers import Dense, Embed, Model


class EmbeddingMLP(Model):
    """A dense layer over the concatenated vectors of a review's words, place by place.

    Attributes:
      num_words: size of the vocabulary; ids are below it.
      embedding_dim: length of a word's vector.
      hidden: width of the hidden layer; 0 leaves it out.
      dtype: what the model computes in; parameters and logits are float32.
    """

    num_words: int = 5_000
    embedding_dim: int = 32
    hidden: int = 250
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, ids: Integer[Array, "batch length"], train: bool = False
    ) -> Float[Array, " batch"]:
        """Return the logit of 'positive' for each review.

        The length of a review is part of the model once initialized.
        """
        x = Embed(self.num_words, self.embedding_dim, dtype=self.dtype)(ids, train)
        x = x.reshape(x.shape[0], -1)
        if self.hidden:
            x = nn.relu(Dense(self.hidden, dtype=self.dtype)(x))
        return Dense(1)(x)[:, 0]
