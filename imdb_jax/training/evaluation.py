"""Evaluation of a model on any number of reviews, each counted exactly once."""

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32

from imdb_jax.parallel.devices import pace
from imdb_jax.pipeline.batching import batches
from imdb_jax.pipeline.splits import Examples
from imdb_jax.training.step import Metrics, TrainState, eval_step, mean_metrics

# Evaluation needs no gradients, hence less memory than training; the size changes no result.
EVAL_BATCH_SIZE = 512


def evaluate_each(
    state: TrainState, examples: Examples, mesh: Mesh
) -> tuple[Metrics, Float32[np.ndarray, " num_reviews"]]:
    """Return the mean metrics over the examples, and the logit of each, in a single process.

    Raises `ValueError` if there are no examples.
    """
    if not len(examples):
        raise ValueError("there are no reviews to evaluate on")
    steps = [
        pace(eval_step(state, batch), mesh) for batch in batches(examples, EVAL_BATCH_SIZE, mesh)
    ]
    sums, logits = zip(*steps, strict=True)
    # A batch may be larger than asked for, filled so that it divides among the devices.
    kept = [part[:EVAL_BATCH_SIZE] for part in jax.device_get(logits)]
    return mean_metrics(list(sums)), np.concatenate(kept)[: len(examples)]
