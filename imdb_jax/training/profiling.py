"""A trace of a few steps of training, as TensorBoard and Perfetto show it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import jax

from imdb_jax.errors import UserError

_FEW = 10


def traced_steps(first: int, end: int) -> range:
    """Choose a few steps before `end`, after as many from `first` on in which caches fill.

    If several steps are one program, both parts are then the same program.
    """
    few = min(_FEW, (end - first) // 2)
    return range(first + few, first + 2 * few) if few else range(first, end)


@contextmanager
def profiler(
    directory: Path, steps: range, state: Callable[[], Any], say: Callable[[str], None]
) -> Iterator[Callable[[int], None]]:
    """Trace `steps`, if any, with JAX's profiler, and say where the trace is and how to view it.

    Yields a function to call before the first step and after each with the number of steps taken.
    Both ends of the trace wait for the arrays that `state` returns, which the steps compute.
    Raises `UserError` if the trace cannot be written.
    """
    running = False

    def trace(taken: int) -> None:
        nonlocal running
        if steps and taken == steps.start:
            jax.block_until_ready(state())
            stack.enter_context(_trace(directory))
            running = True
        if running and taken >= steps.stop:
            jax.block_until_ready(state())
            stack.close()
            running = False
            written = max(directory.glob("plugins/profile/*/perfetto_trace.json.gz"))
            say(
                f"traced steps {steps.start + 1} to {steps.stop}: open {written} in "
                f"https://ui.perfetto.dev, or run tensorboard --logdir {directory} "
                f"(pip install tensorboard xprof)"
            )

    with ExitStack() as stack:
        yield trace


@contextmanager
def _trace(directory: Path) -> Iterator[None]:
    with _writing(directory):
        jax.profiler.start_trace(directory, create_perfetto_trace=True)
    try:
        yield
    except BaseException:
        with suppress(UserError), _writing(directory):
            jax.profiler.stop_trace()
        raise  # what ended the training matters more than its trace
    with _writing(directory):
        jax.profiler.stop_trace()


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, jax.errors.JaxRuntimeError) as error:
        # JAX's profiler says: RESOURCE_EXHAUSTED: FILE; No space left on device
        reason = getattr(error, "strerror", None) or str(error).rpartition("; ")[2]
        raise UserError(f"the trace {directory} cannot be written: {reason}") from error
