"""What a run has to show so far: figures of its epochs, and where training stands."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from imdb_jax.training.step import Sums


class Epoch(NamedTuple):
    """The figures of one epoch: means over the reviews, and the duration of its training."""

    epoch: int  # from 1
    loss: float  # of each training review, as it was when its batch was trained on
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


class Position(NamedTuple):
    """Where training stands."""

    epochs: int  # finished, validation included
    steps: int  # taken in the next epoch


@dataclass
class Progress:
    """What a run has to show so far, apart from the state of the model."""

    histories: list[list[Epoch]]  # the finished epochs, for each seed
    # Of each step taken in the next epoch: scalars, or `[num_seeds]` for several.
    sums: list[Sums] = field(default_factory=list)
    seconds: float = 0.0  # that these steps took

    @property
    def history(self) -> list[Epoch]:
        """The finished epochs: means over the seeds, and the seconds that all took together."""
        return [_mean_of_seeds(rows) for rows in zip(*self.histories, strict=True)]

    @property
    def position(self) -> Position:
        """Where training stands."""
        return Position(len(self.histories[0]), len(self.sums))

    def to_notes(self) -> dict[str, Any]:
        """Return the same as JSON can hold it. Waits for the device."""
        self.sums = jax.device_get(self.sums)
        sums = [[np.asarray(value).tolist() for value in step] for step in self.sums]
        notes: dict[str, Any] = {"history": [list(row) for row in self.history], "sums": sums}
        if len(self.histories) > 1:
            notes["histories"] = [[list(row) for row in history] for history in self.histories]
        return notes | {"seconds": self.seconds}

    @classmethod
    def from_notes(cls, notes: dict[str, Any]) -> Self:
        """Read exactly what `to_notes` returned."""
        histories = notes.get("histories", [notes["history"]])
        return cls(
            [[Epoch(*row) for row in history] for history in histories],
            [Sums(*step) for step in notes["sums"]],
            notes["seconds"],
        )


def _mean_of_seeds(rows: Sequence[Epoch]) -> Epoch:
    (epoch, *_), *figures, seconds = zip(*rows, strict=True)
    loss, accuracy, val_loss, val_accuracy = map(statistics.fmean, figures)
    return Epoch(epoch, loss, accuracy, val_loss, val_accuracy, sum(seconds))


def best_epoch(history: Sequence[Epoch]) -> int:
    """Return the number of the epoch with the lowest validation loss, the first of equal ones."""
    return min(history, key=lambda row: row.val_loss).epoch


def out_of_patience(history: Sequence[Epoch], patience: int) -> bool:
    """Return whether to stop, as Keras' `EarlyStopping` would; patience 0 is infinite."""
    return bool(patience and history) and len(history) - best_epoch(history) >= patience
