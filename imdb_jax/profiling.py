"""A trace of a few steps of training, as TensorBoard and Perfetto show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

_FEW = 10


def traced_steps(first: int, end: int) -> range:
    """Which steps to trace: a few, after as many that are not, in which caches fill.

    As many, so that where several steps are one program, it is the same program.

    Args:
      first: the first step that can be traced.
      end: the one after the last.
    """
    few = min(_FEW, (end - first) // 2)
    return range(first + few, first + 2 * few) if few else range(first, end)


@contextmanager
def profiler(
    directory: Path, steps: range, state: Callable[[], Any], say: Callable[[str], None]
) -> Iterator[Callable[[int], None]]:
    """Traces steps with JAX's profiler, if there are any to trace.

    Args:
      directory: where the trace is written.
      steps: which steps.
      state: gives the arrays that the steps so far compute, which are waited for at both ends.
      say: receives a line that says where the trace is and how to look at it.

    Yields:
      A function that is told, before the first step and after each, how many were taken.
    """
    running = False

    def trace(taken: int) -> None:
        nonlocal running
        if steps and taken == steps.start:
            jax.block_until_ready(state())
            jax.profiler.start_trace(directory, create_perfetto_trace=True)
            running = True
        if running and taken >= steps.stop:
            jax.block_until_ready(state())
            stop()
            written = max(directory.glob("plugins/profile/*/perfetto_trace.json.gz"))
            say(
                f"traced steps {steps.start + 1} to {steps.stop}: open {written} in "
                f"https://ui.perfetto.dev, or all of it by tensorboard --logdir {directory} "
                f"(pip install tensorboard xprof)"
            )

    def stop() -> None:
        nonlocal running
        running = False
        jax.profiler.stop_trace()

    try:
        yield trace
    finally:
        if running:
            stop()
