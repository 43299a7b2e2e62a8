"""Saving and loading parameters: the only module that knows Orbax."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax

from imdb_jax.errors import UserError
from imdb_jax.files import file_digest, write_atomically

_CHECKSUMS = "checksums.json"


def save_params(path: Path, params: Any) -> None:
    """Writes a parameter tree, and the checksums of its files, to a new directory."""
    import orbax.checkpoint as ocp

    path = path.absolute()
    with ocp.StandardCheckpointer() as checkpointer:
        # From the host: arrays saved from devices can be read only where there are as many.
        checkpointer.save(path, jax.device_get(params))
    files = sorted(file for file in path.rglob("*") if file.is_file())
    digests = {file.relative_to(path).as_posix(): file_digest(file) for file in files}
    write_atomically(path / _CHECKSUMS, json.dumps(digests, indent=1).encode())


def load_params(path: Path, like: Any) -> Any:
    """Reads a parameter tree.

    Args:
      path: directory that `save_params` wrote.
      like: a tree of the same structure, shapes and dtypes: arrays or `jax.ShapeDtypeStruct`s.

    Returns:
      The tree, of NumPy arrays.

    Raises:
      UserError: the directory is missing or damaged, or holds other parameters.
    """
    import orbax.checkpoint as ocp

    path = path.absolute()
    if not path.is_dir():
        raise UserError(f"there is no checkpoint at {path}")
    _verify(path)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            stored = _describe(checkpointer.metadata(path).item_metadata.tree)
            wanted = _describe(like)
            for name in [*wanted, *stored]:
                if stored.get(name) != wanted.get(name):
                    raise UserError(
                        f"the checkpoint {path} is of another model: its {name} is "
                        f"{stored.get(name, 'absent')}, this model's {wanted.get(name, 'absent')}"
                    )
            return checkpointer.restore(path)
    except UserError:
        raise
    # Orbax and TensorStore raise a different kind for each way in which a file can be wrong.
    except Exception as error:
        reason = [*str(error).strip().splitlines(), type(error).__name__][0]
        raise UserError(f"the checkpoint {path} cannot be read: {reason}") from error


def _verify(path: Path) -> None:
    """Compares all files with their checksums, since Orbax notices some damage at great length."""
    try:
        digests = json.loads((path / _CHECKSUMS).read_bytes())
        changed = [name for name in digests if file_digest(path / name) != digests[name]]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"the checkpoint {path} is incomplete or damaged: {error}") from error
    if changed:
        raise UserError(f"the checkpoint {path} is damaged: {changed[0]} has another checksum")


def _describe(tree: Any) -> dict[str, str]:
    """Name of each leaf -> its dtype and shape."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
