"""The optimizer, Adam as Keras has it, and its learning rate: pure functions of the step."""

from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax

from imdb_jax.errors import check_choice, check_integer, check_positive, check_share

Schedule = Literal["constant", "linear", "cosine"]


def keras_adam(learning_rate: optax.ScalarOrSchedule = 1e-3) -> optax.GradientTransformation:
    """Make Adam as Keras computes it, which adds epsilon before it corrects the moments' bias.

    This is the form of section 2 of Kingma and Ba (2014). `optax.adam` adds epsilon afterwards: in
    its terms, Keras' epsilon starts at 3.2e-6, which matters for the small gradients of rare words.
    Raises `UserError` unless the learning rate is positive, or a function of the step.
    """
    if not callable(learning_rate):
        check_positive("learning_rate", learning_rate)
        learning_rate = float(learning_rate)  # an integer would have to fit 32 bits
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

    scale_by_adam = optax.GradientTransformation(init, update)
    return optax.chain(scale_by_adam, optax.scale_by_learning_rate(learning_rate))


def learning_rate_schedule(
    schedule: Schedule, peak: float, steps: int, warmup: float = 0
) -> optax.ScalarOrSchedule:
    """Return the learning rate: a constant, or a function of the step, counted from 0.

    It rises linearly from 0 to `peak` over the share `warmup` of all `steps`, rounded to whole
    steps; 'linear' and 'cosine' then fall to 0 after the last step. Raises `UserError` for a value
    out of range.
    """
    check_choice("schedule", schedule, get_args(Schedule))
    check_positive("learning_rate", peak)
    check_integer("steps", steps, 1)
    check_share("warmup", warmup)
    peak = float(peak)
    warmup_steps = round(warmup * steps)
    if schedule == "constant" and not warmup_steps:
        return peak
    # If the warm-up takes all steps, nobody asks for the rest, but it must be well-formed.
    rest = max(steps - warmup_steps, 1)
    falling = {
        "constant": lambda: optax.constant_schedule(peak),
        "linear": lambda: optax.linear_schedule(peak, 0, rest),
        "cosine": lambda: optax.cosine_decay_schedule(peak, rest),
    }[schedule]()
    rising = optax.linear_schedule(0, peak, warmup_steps)
    return optax.join_schedules([rising, falling], [warmup_steps]) if warmup_steps else falling
