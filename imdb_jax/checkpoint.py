"""Saving and loading parameters: the only module that knows Orbax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from imdb_jax.errors import UserError


def save_params(path: Path, params: Any) -> None:
    """Writes a parameter tree to a new directory; it appears under its name when complete."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.absolute(), params)


def load_params(path: Path, like: Any) -> Any:
    """Reads a parameter tree.

    Args:
      path: directory that `save_params` wrote.
      like: a tree of the same structure, shapes and dtypes: arrays or `jax.ShapeDtypeStruct`s.

    Raises:
      UserError: the directory is missing or damaged, or holds other parameters.
    """
    import orbax.checkpoint as ocp

    if not path.is_dir():
        raise UserError(f"there is no checkpoint at {path}")
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(path.absolute(), jax.eval_shape(lambda: like))
    # Orbax and TensorStore raise a different kind for each way in which a file can be damaged.
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"the checkpoint {path} cannot be read: {reason}") from error
