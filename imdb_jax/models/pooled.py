"""Mean of word vectors: TensorFlow, "Text classification with movie reviews"."""

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float, Integer

from imdb_jax.models.layers import Dense, Embed, Model, check_ids
from imdb_jax.models.row_sums import sum_rows_of


class Pooled(Model):
    """A dense layer over the mean of a review's word vectors.

    Padding counts in the mean, as in the tutorial.

    Attributes:
      num_words: size of the vocabulary; ids are below it.
      embedding_dim: length of a word's vector.
      hidden: width of the hidden layer; 0 leaves it out.
      dtype: what the model computes in; parameters and logits are float32.
    """

    num_words: int = 10_000
    embedding_dim: int = 16
    hidden: int = 16
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, ids: Integer[Array, "batch length"], train: bool = False
    ) -> Float[Array, " batch"]:
        """Return the logit of 'positive' for each review."""
        check_ids(ids)
        table = Embed(self.num_words, self.embedding_dim).embedding
        x = (sum_rows_of(table, jnp.asarray(ids)) / ids.shape[1]).astype(self.dtype)
        if self.hidden:
            x = nn.relu(Dense(self.hidden, dtype=self.dtype)(x))
        return Dense(1)(x)[:, 0]
