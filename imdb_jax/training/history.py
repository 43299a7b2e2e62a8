"""What a run has to show so far: figures of its epochs, and where training stands."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from imdb_jax.training.step import Sums


class Epoch(NamedTuple):
    """The figures of one epoch.

    Attributes:
      epoch: number of the epoch, from 1.
      loss, accuracy: means over the training reviews, each as it was when its batch was trained on.
      val_loss, val_accuracy: means over the validation reviews after the epoch.
      seconds: duration of its training.
    """

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


class Position(NamedTuple):
    """Where training stands.

    Attributes:
      epochs: number of finished epochs, validation included.
      steps: number of steps taken in the next epoch.
    """

    epochs: int
    steps: int


@dataclass
class Progress:
    """What a run has to show so far, apart from the state of the model.

    Attributes:
      histories: the finished epochs, for each seed.
      sums: the sums of each step taken in the next epoch: scalars, or `[num_seeds]` for several.
      seconds: how long these steps took.
    """

    histories: list[list[Epoch]]
    sums: list[Sums] = field(default_factory=list)
    seconds: float = 0.0

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
    def from_notes(cls, notes: dict[str, Any]) -> Progress:
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
    """Say whether validation has not improved for `patience` epochs, as Keras' `EarlyStopping`.

    Patience 0 is infinite.
    """
    return bool(patience and history) and len(history) - best_epoch(history) >= patience
