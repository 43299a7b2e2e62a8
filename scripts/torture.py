"""Try to break training and prediction, and count what misbehaves.

    python scripts/torture.py kills --number 100

Campaigns:
  kills    SIGKILL, SIGTERM, SIGINT and SIGSTOP at random times; runs must resume bit-identical
  disks    full disks of random size (Linux; mounts them in a private namespace)
  calls    a system call on our files fails: open, write, rename and so on (needs a C compiler)
  flips    a flipped bit, a truncated, emptied or missing file in run directories and the cache
  inputs   options, files, arguments and environments that cannot be right
  texts    fuzzed texts, against a slow, plain reading of the encoding rules

Each prints a line per trial that misbehaves, and last a line that counts. Equal seeds choose equal
trials. Exit status: 0 if nothing misbehaved, else 1.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from torture_harness import Trial

from imdb_jax import cli
from imdb_jax.progress import note, now_and_then

Campaign = Literal["kills", "disks", "calls", "flips", "inputs", "texts"]


@dataclass(frozen=True)
class Options:
    """Which campaign, and how much of it."""

    campaign: Annotated[Campaign, tyro.conf.Positional]
    """What to try."""

    number: int = 100
    """Number of trials; of `texts`, number of texts. `inputs` has a fixed list and stops at its
    end."""

    seed: int = 0
    """Chooses the trials."""

    verbose: bool = False
    """Print every trial."""


def torture(arguments: Sequence[str]) -> None:
    """Parse the arguments, run the campaign, and print what misbehaved and the counts."""
    options = cli.parse("torture", Options(tyro.MISSING), __doc__ or "", arguments)
    # A shell makes programs in the background ignore Ctrl-C, and so would the commands they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tried = failed = 0
    now_and_again = now_and_then(10.0, lambda: note(f"{tried} tried, {failed} misbehaved"))
    with tempfile.TemporaryDirectory(prefix="torture-") as scratch:
        for trial in _campaign(options.campaign)(Path(scratch), random.Random(options.seed)):
            tried += trial.tried
            failed += bool(trial.fault)
            if trial.fault or options.verbose:
                print(f"{trial.what}: {trial.fault or 'as promised'}", flush=True)
            now_and_again()
            if tried >= options.number:
                break
    print(f"{options.campaign}: {tried} tried, {failed} misbehaved (seed {options.seed})")
    sys.exit(1 if failed else 0)


def _campaign(name: Campaign) -> Callable[[Path, random.Random], Iterator[Trial]]:
    # Imported one by one: a campaign of processes does not need JAX in this one.
    if name in ("kills", "disks", "calls"):
        import torture_runs

        return getattr(torture_runs, name)
    if name == "inputs":
        import torture_inputs

        return torture_inputs.inputs
    import torture_files

    return getattr(torture_files, name)


if __name__ == "__main__":
    cli.run_command(torture)
