"""Bag of words into dense layers: Donges, "How to build a neural network with Keras"."""

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float, Integer

from imdb_jax.models.inputs import Sets, sum_rows
from imdb_jax.models.layers import Dense, Model, check_ids
from imdb_jax.text.sequences import PAD_ID


def multi_hot_on_device(
    ids: Integer[Array, "batch length"], num_words: int
) -> Float[Array, "batch num_words"]:
    """Mark with a one which words each review holds, but padding, as part of the compiled step."""
    check_ids(ids)
    # jax2onnx converts this, and not the same made by jnp.arange, if the batch may have any size.
    rows = jax.lax.broadcasted_iota(jnp.int32, (ids.shape[0], 1), 0)
    # JAX adds the size of the axis to negative indices, and it need not fit the dtype of the ids.
    hot = jnp.zeros((ids.shape[0], num_words)).at[rows, ids.astype(jnp.int32)].set(1.0)
    return hot.at[:, 0].set(0.0)


class SetDense(nn.Module):
    """A dense layer over multi-hot vectors, with the parameters of `Dense`."""

    num_words: int
    features: int

    @nn.compact
    def __call__(
        self, ids: Integer[Array, "batch length"] | Sets
    ) -> Float[Array, "batch features"]:
        """Return the layer's sums, in float32."""
        initializer = nn.initializers.glorot_uniform()
        kernel = self.param("kernel", initializer, (self.num_words, self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        if isinstance(ids, Sets):
            # Summing a hundred rows of the kernel per review takes a third of the time of a product
            # with ten thousand ones and zeros, and so do the gradients.
            return sum_rows(kernel.at[PAD_ID].set(0), ids) + bias[None]
        return multi_hot_on_device(ids, self.num_words) @ kernel + bias[None]


class MLP(Model):
    """Dense layers with dropout over the set of words a review holds.

    Attributes:
      num_words: size of the vocabulary; ids are below it.
      hidden: width of each hidden layer.
      dropout: share of units dropped after each hidden layer but the last, in training.
      dtype: what the model computes in; parameters, sums over words and logits are float32.
    """

    bag_of_words: ClassVar[bool] = True  # it reads which words a review holds, and nothing else

    num_words: int = 10_000
    hidden: Sequence[int] = (50, 50, 50)
    dropout: Sequence[float] = (0.3, 0.2)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, ids: Integer[Array, "batch length"] | Sets, train: bool = False
    ) -> Float[Array, " batch"]:
        """Return the logit of 'positive' for each review.

        Args:
          ids: word ids, 0 for padding; or `Sets`.
          train: whether to drop units, which needs `rngs={"dropout": key}`.
        """
        widths = (*self.hidden, 1)
        x = SetDense(self.num_words, widths[0], name="Dense_0")(ids)
        for layer, width in enumerate(widths[1:]):
            x = nn.relu(x.astype(self.dtype))
            if layer < len(self.dropout):
                x = nn.Dropout(self.dropout[layer], deterministic=not train)(x)
            dtype = self.dtype if layer + 1 < len(self.hidden) else None
            x = Dense(width, dtype=dtype, name=f"Dense_{layer + 1}")(x)
        return x[:, 0]
