"""The training step: pure functions of a state and a batch, compiled by XLA.

A step's arguments hold everything that it needs, the dropout key included: that key is a function
of the seed and the number of the step, and of nothing else.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Self, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, Int, Integer, Key

from imdb_jax.errors import check_choice, check_integer
from imdb_jax.models.inputs import Batch, Sets
from imdb_jax.training.optimizer import keras_adam

Loss = Literal["binary_crossentropy", "mse"]


class Sums(NamedTuple):
    """Sums over a batch's reviews, float32: their losses, how many are judged right, how many."""

    loss: Float[Array, ""]
    correct: Float[Array, ""]
    examples: Float[Array, ""]


class TrainState(struct.PyTreeNode):
    """Everything that training changes, and the functions that change it."""

    step: Int[Array, ""]  # the number of steps taken
    params: Any
    opt_state: optax.OptState
    dropout_key: Key[Array, ""]
    apply_fn: Callable[..., Any] = struct.field(pytree_node=False)
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)
    loss: Loss = struct.field(pytree_node=False)

    def arrays(self) -> dict[str, Any]:
        """Return all arrays by name; of the dropout key, its numbers."""
        state = self.replace(dropout_key=jax.random.key_data(self.dropout_key))
        return named_leaves(state)

    def with_arrays(self, arrays: dict[str, Any]) -> Self:
        """Return the state that has these arrays, named as `arrays` names them."""
        leaves = [arrays[name] for name in self.arrays()]
        state = jax.tree.unflatten(jax.tree.structure(self), leaves)
        return state.replace(dropout_key=jax.random.wrap_key_data(state.dropout_key))


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree, each by the keys that lead to it, joined by dots."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def create_train_state(
    model: nn.Module,
    ids: Integer[Array | np.ndarray, "batch length"] | Sets,
    seed: int = 0,
    optimizer: optax.GradientTransformation | None = None,
    loss: Loss = "binary_crossentropy",
) -> TrainState:
    """Initialize a model and its optimizer.

    Args:
      model: a module from ids `[batch, length]` to logits `[batch]`.
      ids: word ids of the length to train on; their values do not matter.
      seed: determines the parameters and every step's dropout.
      optimizer: `keras_adam()` if None.
      loss: 'binary_crossentropy', or 'mse' of the probability.

    Raises:
      UserError: a seed that is negative or beyond 63 bits, or another loss.
      TypeError: ids that are not integers.
    """
    check_integer("seed", seed, most=(1 << 63) - 1)
    check_choice("loss", loss, get_args(Loss))
    optimizer = keras_adam() if optimizer is None else optimizer

    # Compiled as one program: initializing operation by operation takes seconds.
    @jax.jit
    def initial_state(key: jax.Array, ids: Any) -> TrainState:
        params_key, dropout_key = jax.random.split(key)
        params = model.init(params_key, ids)["params"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=optimizer.init(params),
            dropout_key=dropout_key,
            apply_fn=model.apply,
            optimizer=optimizer,
            loss=loss,
        )

    return initial_state(jax.random.key(seed), ids)


def example_losses(
    logits: Float[Array, " batch"], labels: Float[Array | np.ndarray, " batch"], loss: Loss
) -> Float[Array, " batch"]:
    """Return the loss of each review; 'mse' is the squared error of the probability."""
    check_choice("loss", loss, get_args(Loss))
    if loss == "mse":
        return optax.squared_error(nn.sigmoid(logits), labels)
    return optax.sigmoid_binary_cross_entropy(logits, labels)


def _sums(logits: jax.Array, batch: Batch, loss: Loss) -> Sums:
    correct = (logits > 0) == (batch.labels > 0.5)
    return Sums(
        loss=jnp.sum(example_losses(logits, batch.labels, loss) * batch.weights),
        correct=jnp.sum(correct * batch.weights),
        examples=jnp.sum(batch.weights),
    )


@partial(jax.jit, donate_argnames="state")
def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
    """Take one optimizer step on the mean loss of a batch.

    Args:
      state: where training stands; its buffers are reused for the result (donated).
      batch: the reviews; those of weight 0 change nothing.

    Returns:
      The next state, and the batch's sums from before the update.
    """
    dropout_key = jax.random.fold_in(state.dropout_key, state.step)

    def mean_loss(params: Any) -> tuple[jax.Array, Sums]:
        logits = state.apply_fn(
            {"params": params}, batch.ids, train=True, rngs={"dropout": dropout_key}
        )
        sums = _sums(logits, batch, state.loss)
        return sums.loss / jnp.maximum(sums.examples, 1), sums

    gradients, sums = jax.grad(mean_loss, has_aux=True)(state.params)
    updates, opt_state = state.optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state), sums


@partial(jax.jit, donate_argnames="state")
def train_steps(
    state: TrainState,
    ids: Integer[Array, "num_reviews length"],
    labels: Float[Array, " num_reviews"],
    rows: Int[Array, "steps batch"],
    weights: Float[Array, "steps batch"],
) -> tuple[TrainState, Sums]:
    """Take many steps in one program, with all reviews on the device.

    A step trains on the reviews in its row of `rows`. For accelerators, which would wait for the
    host between steps; a CPU would use one core. Returns the last state, and each step's sums.
    """

    def step(state: TrainState, of_step: tuple[jax.Array, jax.Array]) -> tuple[TrainState, Sums]:
        rows, weights = of_step
        return train_step(state, Batch(ids[rows], labels[rows], weights))

    return jax.lax.scan(step, state, (rows, weights))


@jax.jit
def eval_step(state: TrainState, batch: Batch) -> tuple[Sums, Float[Array, " batch"]]:
    """Return a batch's sums, and the logit of each review, without dropout."""
    logits = state.apply_fn({"params": state.params}, batch.ids)
    return _sums(logits, batch, state.loss), logits


@partial(jax.jit, static_argnames="apply_fn")
def predict_step(
    apply_fn: Callable[..., Any], params: Any, ids: Integer[Array, "batch length"]
) -> Float[Array, " batch"]:
    """Return the probability of 'positive' for each review."""
    return nn.sigmoid(apply_fn({"params": params}, ids))


@partial(jax.jit, static_argnames="apply_fn")
def logit_step(
    apply_fn: Callable[..., Any], params: Any, ids: Integer[Array, "batch length"]
) -> Float[Array, " batch"]:
    """Return the log-odds of 'positive' for each review."""
    return apply_fn({"params": params}, ids)


class Metrics(NamedTuple):
    """The mean loss of reviews, and the share classified correctly."""

    loss: float
    accuracy: float


def mean_metrics(sums: list[Sums]) -> Metrics:
    """Return the means over all reviews of several batches, each review counting the same."""
    (metrics,) = metrics_of_each(sums)
    return metrics


def metrics_of_each(sums: list[Sums]) -> list[Metrics]:
    """Return `mean_metrics` for each seed: the sums are `[num_seeds]`, or `[]` for one.

    Waits for the device, and adds in float64 on the host.
    """
    columns = zip(*jax.device_get(sums), strict=True)
    # A cumulative sum adds one batch after the other, whatever the number of seeds.
    loss, correct, examples = (np.cumsum(np.array(c, np.float64), axis=0)[-1] for c in columns)
    means = np.stack([loss / examples, correct / examples], axis=-1).reshape(-1, 2)
    return [Metrics(*row) for row in means.tolist()]
