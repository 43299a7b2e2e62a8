"""The configuration of a run: one frozen dataclass made of groups of options."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from imdb_jax.config.options import (
    DataOptions,
    DebuggingOptions,
    DistributionOptions,
    InputOptions,
    NotSaved,
    RunOptions,
    SelfTrainingOptions,
    StoppingOptions,
    TrainingOptions,
)
from imdb_jax.errors import UserError, check_type, shown


@dataclass(frozen=True)
class Config:
    """Everything that determines a run."""

    arch: str = "cnn"
    """Architecture and recipe: mlp, embedding_mlp, cnn, cnn_global, pooled, lstm or ngram; or
    debug, a tiny cnn that trains in two seconds."""

    data: DataOptions = field(default_factory=DataOptions)
    input: InputOptions = field(default_factory=InputOptions)

    model: dict[str, Any] = field(default_factory=dict)
    """Hyper-parameters of the architecture."""

    training: TrainingOptions = field(default_factory=TrainingOptions)
    stopping: StoppingOptions = field(default_factory=StoppingOptions)
    self_training: SelfTrainingOptions = field(default_factory=SelfTrainingOptions)
    run: RunOptions = field(default_factory=RunOptions)
    distribution: DistributionOptions = field(default_factory=DistributionOptions)
    debugging: DebuggingOptions = field(default_factory=DebuggingOptions)

    def __post_init__(self) -> None:
        check_type("arch", self.arch, str)
        check_type("model", self.model, dict)
        # Ids 0 to 3 mark padding, start and unknown words: a vocabulary of 5 ids has one word.
        if self.arch != "ngram" and self.input.num_words < 5:
            raise UserError(f"num_words must be at least 5, not {self.input.num_words}")
        for name, value in self.model.items():
            for size in value if isinstance(value, list | tuple) else [value]:
                if not isinstance(size, int | float):
                    raise UserError(
                        f"model.{name} must be a number or a list of numbers, not {shown(value)}"
                    )
                if size < 0:
                    raise UserError(f"model.{name} must not be negative, not {shown(value)}")
        if self.self_training.unlabelled and self.training.seeds > 1:
            raise UserError("seeds and unlabelled do not work together; leave out one of them")
        if self.stopping.patience and self.training.seeds > 1:
            raise UserError(
                "seeds and patience do not work together, as all models train for the same epochs; "
                "leave out one of them"
            )
        if self.stopping.patience and not self.run.keep:
            raise UserError("patience needs checkpoints to return to; keep must be at least 1")


def flatten(options: Any, saved_only: bool = False) -> dict[str, Any]:
    """Return the options of a `Config`, or of one of its groups, by their names in TOML files.

    `saved_only` leaves out the options that are not saved with a run.
    """
    flat: dict[str, Any] = {}
    for part in dataclasses.fields(options):
        value = getattr(options, part.name)
        if not dataclasses.is_dataclass(value):
            flat[part.name] = value
        elif not (saved_only and isinstance(value, NotSaved)):
            flat |= flatten(value, saved_only)
    return flat


def option_types(kind: type) -> dict[str, Any]:
    """Return the type of each option of a class of options, by the names of `flatten`."""
    types: dict[str, Any] = {}
    for name, inner in typing.get_type_hints(kind).items():
        nested = dataclasses.is_dataclass(inner)
        types |= option_types(inner) if nested else {name: inner}
    return types


Options = TypeVar("Options")


def replace(options: Options, **changes: Any) -> Options:
    """Return a copy with some options changed, by the names of `flatten`: `replace(c, epochs=3)`.

    Raises `UserError` if a value is out of range, `TypeError` if there is no such option.
    """
    changed: dict[str, Any] = {}
    for part in dataclasses.fields(options):  # type: ignore[arg-type]
        value = getattr(options, part.name)
        if not dataclasses.is_dataclass(value):
            if part.name in changes:
                changed[part.name] = changes.pop(part.name)
        elif inner := {name: changes.pop(name) for name in flatten(value) if name in changes}:
            changed[part.name] = replace(value, **inner)
    if changes:
        raise TypeError(f"there is no option {', '.join(changes)}")
    return dataclasses.replace(options, **changed)  # type: ignore[type-var]
