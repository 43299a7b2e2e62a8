"""Progress of a long step: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from imdb_jax.console.terminal import printable

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

Report = Callable[[str], None]

_REDRAW_SECONDS = 0.1  # between two states of a bar; drawing costs more than reading a review
_LINE_SECONDS = 10.0  # between two lines


@contextmanager
def announced(title: str, total: int, report: Report) -> Iterator[Callable[[int], None]]:
    """Report a step's title, and yield a function to call with each amount of work done."""
    report(title)
    done = 0
    with ExitStack() as stack:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, TaskProgressColumn, TimeRemainingColumn

            columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            update = stack.enter_context(bar(*columns, total=total))
            refresh = now_and_then(_REDRAW_SECONDS, lambda: update(completed=done))
        else:
            refresh = now_and_then(_LINE_SECONDS, lambda: report(f"{title}: {done / total:.0%}"))

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
    *columns: str | ProgressColumn, total: int, title: str = "", done: int = 0, **fields: Any
) -> Iterator[Callable[..., None]]:
    """Draw a bar on standard error that vanishes at the end; yield rich's `update` of it."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        yield partial(drawn.update, drawn.add_task(title, total=total, completed=done, **fields))


def note(text: str) -> None:
    """Print a remark for the person at the terminal, apart from the results."""
    print(printable(text), file=sys.stderr, flush=True)


def tell(text: str) -> None:
    """Print a line of the results."""
    print(printable(text))


def unless(quiet: bool, report: Report = note) -> Report:
    """Return `report`, or if `quiet` a function that drops every line."""
    return (lambda text: None) if quiet else report


@contextmanager
def epoch_bar(
    title: str, steps: int, running: Callable[[], tuple[float, float]], visible: bool
) -> Iterator[Callable[..., None]]:
    """Show a progress bar while an epoch runs, if standard error is a terminal.

    Yields a function to call with the number of steps done and then, in validation, with the
    number of its batches done and of all. `running` returns the mean loss and accuracy so far; it
    waits for the device, so it is called a few times a second only.
    """
    if not visible or not sys.stderr.isatty():
        yield lambda *done: None
        return

    from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn

    # 80 columns have room for a bar of this width beside the rest.
    columns = ("{task.description}", BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
    with bar(*columns, "{task.fields[metrics]}", title=title, total=steps, metrics="") as update:

        def show_metrics() -> None:
            loss, accuracy = running()
            update(metrics=f"loss {loss:.4f}  acc {accuracy:.4f}")

        refresh = now_and_then(0.25, show_metrics)

        def show(done: int, validated: int = 0, batches: int = 0) -> None:
            if batches:
                update(completed=validated, total=batches, metrics="validation")
            else:
                refresh()
                update(completed=done)

        yield show
