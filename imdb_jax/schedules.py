"""The learning rate over the steps of a run: pure functions of the step."""

from __future__ import annotations

from typing import Literal

import optax

Schedule = Literal["constant", "linear", "cosine"]


def learning_rate_schedule(
    schedule: Schedule, peak: float, steps: int, warmup: float = 0
) -> optax.ScalarOrSchedule:
    """Makes a schedule: up from 0 along a line, then as its name says.

    Args:
      schedule: 'constant'; 'linear' and 'cosine' reach 0 after the last step.
      peak: the highest learning rate, that of the first step after the warm-up.
      steps: number of steps in the whole run.
      warmup: share of them, rounded to whole steps, to warm up in.

    Returns:
      A function from the step, counted from 0, to the learning rate; a number if it never changes.
    """
    warmup_steps = round(warmup * steps)
    if schedule == "constant" and not warmup_steps:
        return peak
    # Where warming up takes all steps, the rest is never asked for, but must be well-formed.
    rest = max(steps - warmup_steps, 1)
    falling = {
        "constant": lambda: optax.constant_schedule(peak),
        "linear": lambda: optax.linear_schedule(peak, 0, rest),
        "cosine": lambda: optax.cosine_decay_schedule(peak, rest),
    }[schedule]()
    rising = optax.linear_schedule(0, peak, warmup_steps)
    return optax.join_schedules([rising, falling], [warmup_steps]) if warmup_steps else falling
