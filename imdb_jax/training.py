"""The training step: pure functions of a state and a batch, compiled by XLA.

Axes: B is the batch. Everything a step needs is in its arguments, the dropout key included, which
is a function of the seed and the number of the step and of nothing else.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, Int, Integer, Key

from imdb_jax.models.sets import Sets

Loss = Literal["binary_crossentropy", "mse"]


class Batch(NamedTuple):
    """Reviews that are processed together.

    Attributes:
      ids: word ids, any integer dtype, `[batch, length]`; or sets of them, for a model that reads
        those.
      labels: 1 for positive, 0 for negative, float32 `[batch]`.
      weights: 1 for a review that counts, 0 for one that only fills the batch, float32 `[batch]`.
    """

    ids: Integer[Array | np.ndarray, "batch length"] | Sets
    labels: Float[Array | np.ndarray, " batch"]
    weights: Float[Array | np.ndarray, " batch"]


class Sums(NamedTuple):
    """Sums over the reviews of a batch, from which exact means over any number follow.

    Attributes:
      loss: sum of the reviews' losses, float32.
      correct: number of reviews classified correctly, float32.
      examples: number of reviews, float32.
    """

    loss: Float[Array, ""]
    correct: Float[Array, ""]
    examples: Float[Array, ""]


class TrainState(struct.PyTreeNode):
    """Everything that training changes, and the functions that change it.

    Attributes:
      step: number of steps taken, int32.
      params: the model's parameters.
      opt_state: the optimiser's state.
      dropout_key: key from which each step's dropout key is derived.
      apply_fn: the model's `apply`.
      optimizer: gradient transformation.
      loss: name of the loss.
    """

    step: Int[Array, ""]
    params: Any
    opt_state: optax.OptState
    dropout_key: Key[Array, ""]
    apply_fn: Callable[..., Any] = struct.field(pytree_node=False)
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)
    loss: Loss = struct.field(pytree_node=False)


def keras_adam(learning_rate: optax.ScalarOrSchedule = 1e-3) -> optax.GradientTransformation:
    """Adam as Keras computes it, with Keras' constants."""
    return optax.chain(_scale_by_keras_adam(), optax.scale_by_learning_rate(learning_rate))


def _scale_by_keras_adam() -> optax.GradientTransformation:
    """Adam's rescaling with epsilon (1e-7) added before the bias of the moments is corrected.

    That is the form of section 2 of Kingma and Ba (2014), Keras' own. `optax.adam` adds epsilon
    afterwards: in its terms Keras' starts at 3.2e-6. Rare words, whose gradients are that small,
    notice.
    """
    b1, b2, epsilon = 0.9, 0.999, 1e-7

    def init(params: Any) -> optax.ScaleByAdamState:
        zeros = partial(jax.tree.map, jnp.zeros_like)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros(params), zeros(params))

    def update(
        gradients: Any, state: optax.OptState, params: Any = None
    ) -> tuple[Any, optax.ScaleByAdamState]:
        assert isinstance(state, optax.ScaleByAdamState)
        step = optax.safe_increment(state.count)
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, gradients)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, gradients)
        scale = jnp.sqrt(1 - b2**step) / (1 - b1**step)
        updates = jax.tree.map(lambda m, v: scale * m / (jnp.sqrt(v) + epsilon), mu, nu)
        return updates, optax.ScaleByAdamState(step, mu, nu)

    return optax.GradientTransformation(init, update)


def create_train_state(
    model: nn.Module,
    ids: Integer[Array | np.ndarray, "batch length"] | Sets,
    seed: int = 0,
    optimizer: optax.GradientTransformation | None = None,
    loss: Loss = "binary_crossentropy",
) -> TrainState:
    """Initialises a model and its optimiser.

    Args:
      model: a module from ids `[batch, length]` to logits `[batch]`.
      ids: word ids of the length to train on; their values do not matter.
      seed: determines the parameters and every step's dropout.
      optimizer: `keras_adam()` if None.
      loss: 'binary_crossentropy', or 'mse' of the probability.
    """
    params_key, dropout_key = jax.random.split(jax.random.key(seed))
    optimizer = keras_adam() if optimizer is None else optimizer
    # Compiled as one program: initialising operation by operation takes seconds.
    params = jax.jit(model.init)(params_key, ids)["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        dropout_key=dropout_key,
        apply_fn=model.apply,
        optimizer=optimizer,
        loss=loss,
    )


def example_losses(
    logits: Float[Array, " batch"], labels: Float[Array | np.ndarray, " batch"], loss: Loss
) -> Float[Array, " batch"]:
    """Loss of each review: cross-entropy, or squared error of the probability."""
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
    """Takes one optimiser step on the mean loss of a batch.

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
    """Takes many steps in one program, with all reviews on the device.

    For accelerators, which would wait for the host between the steps of `train_step`. On a CPU, XLA
    would run the steps on a single core.

    Args:
      state: where training stands; its buffers are reused for the result (donated).
      ids: word ids of all reviews.
      labels: their labels.
      rows: which reviews make the batch of each step.
      weights: 1 for a review that counts, 0 for one that only fills its batch.

    Returns:
      The state after the last step, and the sums of each step, `[steps]`.
    """

    def step(state: TrainState, of_step: tuple[jax.Array, jax.Array]) -> tuple[TrainState, Sums]:
        rows, weights = of_step
        return train_step(state, Batch(ids[rows], labels[rows], weights))

    return jax.lax.scan(step, state, (rows, weights))


@jax.jit
def eval_step(state: TrainState, batch: Batch) -> tuple[Sums, Float[Array, " batch"]]:
    """Gives a batch's sums, and the logit of each review, without dropout."""
    logits = state.apply_fn({"params": state.params}, batch.ids)
    return _sums(logits, batch, state.loss), logits


@partial(jax.jit, static_argnames="apply_fn")
def predict_step(
    apply_fn: Callable[..., Any], params: Any, ids: Integer[Array, "batch length"]
) -> Float[Array, " batch"]:
    """Gives the probability of 'positive' for each review."""
    return nn.sigmoid(apply_fn({"params": params}, ids))


@partial(jax.jit, static_argnames="apply_fn")
def logit_step(
    apply_fn: Callable[..., Any], params: Any, ids: Integer[Array, "batch length"]
) -> Float[Array, " batch"]:
    """Gives the log-odds of 'positive' for each review."""
    return apply_fn({"params": params}, ids)


class Metrics(NamedTuple):
    """Means over reviews.

    Attributes:
      loss: mean loss.
      accuracy: share of reviews classified correctly.
    """

    loss: float
    accuracy: float


def mean_metrics(sums: list[Sums]) -> Metrics:
    """Means over all reviews of several batches, each review counting the same.

    Waits for the device. The batches' sums are added on the host in float64.
    """
    columns = zip(*jax.device_get(sums), strict=True)
    loss, correct, examples = (sum(map(float, column)) for column in columns)
    return Metrics(loss / examples, correct / examples)
