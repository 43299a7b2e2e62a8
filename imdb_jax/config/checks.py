"""The checks that all groups of options share: of types, choices, shares and integers."""

from __future__ import annotations

import functools
import math
import typing
from types import UnionType
from typing import Any, Literal

from imdb_jax.errors import (
    LARGEST,
    UserError,
    check_choice,
    check_integer,
    check_positive,
    check_share,
    check_type,
)

LARGEST_SEED = (1 << 63) - 1


def check_options(options: Any, **least: int) -> None:
    """Raise `UserError` unless each option has its type, and an integer at least this value.

    A float is a share, but for the learning rate.
    """
    group: Any = type(options)
    for name, kind in _types(group).items():
        value = getattr(options, name)
        if typing.get_origin(kind) is UnionType:
            if value is None:
                continue
            kind, _ = typing.get_args(kind)
            check_type(name, value, kind)
            continue
        if typing.get_origin(kind) is Literal:
            check_choice(name, value, typing.get_args(kind))
        elif kind is int:
            most = LARGEST_SEED if name == "seed" else LARGEST
            check_integer(name, value, least.get(name, -LARGEST), most)
        elif kind is float:
            (check_positive if name == "learning_rate" else check_share)(name, value)
        elif isinstance(kind, type):  # and not made of others, as arguments of commands may be
            check_type(name, value, kind)


@functools.cache
def _types(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def check_ratings(positive: str, positive_from: float | None, negative_to: float | None) -> None:
    """Raise `UserError` unless these options of labels go together."""
    if positive_from is None:
        if negative_to is not None:
            raise UserError("negative_to needs positive_from; give both")
        return
    if positive:
        raise UserError("positive and positive_from do not work together; leave out one of them")
    for name, rating in (("positive_from", positive_from), ("negative_to", negative_to)):
        if rating is not None and not math.isfinite(rating):
            raise UserError(f"{name} must be a finite number, not {rating}")
    if negative_to is not None and negative_to >= positive_from:
        raise UserError(f"negative_to must be below positive_from, {positive_from:g}")
