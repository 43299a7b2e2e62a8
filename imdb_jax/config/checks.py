"""What values of options are refused, with a `UserError` that names the option."""

from __future__ import annotations

import math
import typing
from typing import Any

from imdb_jax.errors import UserError, unknown_name


def check_share(name: str, share: float) -> None:
    """Raise `UserError` unless an option is from 0 to below 1."""
    if not 0 <= share < 1:
        raise UserError(f"{name} must be a share, from 0 to below 1, not {share}")


def check_ratings(positive: str, positive_from: float | None, negative_to: float | None) -> None:
    """Raise `UserError` unless these options of labels go together."""
    if positive_from is None:
        if negative_to is not None:
            raise UserError("negative_to goes with positive_from only; give both")
        return
    if positive:
        raise UserError("positive names a label and positive_from makes ratings two; give one")
    for name, rating in (("positive_from", positive_from), ("negative_to", negative_to)):
        if rating is not None and not math.isfinite(rating):
            raise UserError(f"{name} must be a finite number, not {rating}")
    if negative_to is not None and negative_to >= positive_from:
        raise UserError(f"negative_to must be below positive_from, {positive_from:g}")


def check_at_least(options: Any, **lowest: int) -> None:
    """Raise `UserError` unless options have at least these values."""
    for name, low in lowest.items():
        if getattr(options, name) < low:
            raise UserError(f"{name} must be at least {low}, not {getattr(options, name)}")


def check_choices(options: Any, *names: str) -> None:
    """Raise `UserError` unless options have one of the values that their types allow."""
    for name in names:
        choices = typing.get_args(typing.get_type_hints(type(options))[name])
        if getattr(options, name) not in choices:
            raise UserError(unknown_name(name, getattr(options, name), choices))
