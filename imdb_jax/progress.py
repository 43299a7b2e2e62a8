"""Progress of a long step: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

Report = Callable[[str], None]

_REDRAW_SECONDS = 0.1  # between two states of a bar
_LINE_SECONDS = 10.0  # between two lines


@contextmanager
def announced(title: str, total: int, report: Report) -> Iterator[Callable[[int], None]]:
    """Announce a step and show its progress.

    Args:
      title: name of the step; reported at once.
      total: amount of work.
      report: receives lines of text.

    Yields:
      A function to call with the amount of work done since the last call.
    """
    report(title)
    with ExitStack() as stack:
        if sys.stderr.isatty():
            show, interval = stack.enter_context(_percentage_bar(total)), _REDRAW_SECONDS
        else:
            show, interval = lambda done: report(f"{title}: {done / total:.0%}"), _LINE_SECONDS
        done = 0
        # Drawing costs more than reading a review.
        refresh = now_and_then(interval, lambda: show(done))

        def advance(amount: int) -> None:
            nonlocal done
            done += amount
            refresh()

        yield advance


def now_and_then(seconds: float, act: Callable[[], None]) -> Callable[[], None]:
    """Make a function that acts when called, but at most once in so many seconds."""
    acted_at = time.monotonic()

    def act_if_due() -> None:
        nonlocal acted_at
        if time.monotonic() - acted_at > seconds:
            act()
            acted_at = time.monotonic()

    return act_if_due


@contextmanager
def bar(
    *columns: ProgressColumn, total: int, title: str = "", done: int = 0, **fields: Any
) -> Iterator[Callable[..., None]]:
    """Draw a bar on standard error that vanishes at the end.

    Args:
      *columns: columns of rich, from left to right.
      total: amount of work.
      title: description of the bar.
      done: amount of work done before.
      **fields: what else the columns show.

    Yields:
      The function `rich.progress.Progress.update` of the bar: `advance`, `completed` or fields.
    """
    from rich.console import Console
    from rich.progress import Progress

    with Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        yield partial(drawn.update, drawn.add_task(title, total=total, completed=done, **fields))


@contextmanager
def _percentage_bar(total: int) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, TaskProgressColumn, TimeRemainingColumn

    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with bar(*columns, total=total) as update:
        yield lambda done: update(completed=done)
