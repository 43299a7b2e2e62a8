"""Evaluating a model over any number of reviews, each counted exactly once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32

from imdb_jax.pipeline import batches
from imdb_jax.splits import Examples
from imdb_jax.training import Metrics, Sums, TrainState, eval_step, mean_metrics

# Evaluation needs no gradients, hence less memory than training; the size changes no result.
EVAL_BATCH_SIZE = 512

T = TypeVar("T")


def evaluate(
    state: TrainState, examples: Examples, mesh: Mesh, step: Callable[..., Any] = eval_step
) -> Metrics:
    """Gives the mean metrics over the examples of all processes.

    Args:
      state: the model.
      examples: the reviews.
      mesh: the devices to spread them over.
      step: `eval_step`, or the same compiled ahead of time.

    Raises:
      ValueError: there are no examples.
    """
    return mean_metrics([sums for sums, _ in _steps(state, examples, mesh, step)])


def evaluate_each(
    state: TrainState, examples: Examples, mesh: Mesh
) -> tuple[Metrics, Float32[np.ndarray, " num_reviews"]]:
    """Gives what `evaluate` does, and the logit of each example; in a single process."""
    sums, logits = zip(*_steps(state, examples, mesh, eval_step), strict=True)
    # A batch may be larger than asked for, filled so that it divides among the devices.
    kept = [part[:EVAL_BATCH_SIZE] for part in jax.device_get(logits)]
    return mean_metrics(list(sums)), np.concatenate(kept)[: len(examples)]


def _steps(
    state: TrainState, examples: Examples, mesh: Mesh, step: Callable[..., Any]
) -> Iterator[tuple[Sums, jax.Array]]:
    if not len(examples):
        raise ValueError("there are no reviews to evaluate on")
    for batch in batches(examples, EVAL_BATCH_SIZE, mesh):
        yield pace(step(state, batch), mesh)


def pace(result: T, mesh: Mesh) -> T:
    """Waits for a step's result on several virtual CPU devices, and nowhere else.

    There, steps in flight take the threads that the all-reduce of the step before them needs, and
    all wait forever.
    """
    virtual = mesh.devices.size > 1 and mesh.devices.flat[0].platform == "cpu"
    return jax.block_until_ready(result) if virtual else result
