"""Which device holds what of a model: all of it everywhere, or slices of what is large."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# Numbers in an array from which on it is worth slicing: a word table, or a kernel of many inputs.
_LARGE = 1 << 16


def partition_spec(name: str, shape: tuple[int, ...], model_parallel: int) -> PartitionSpec:
    """Says along which axis an array is cut into slices, one for each device of the axis `model`.

    Embedding tables are, and whatever else is large; along the longest axis that can be divided.

    Args:
      name: the keys that lead to the array, joined by dots; moments of an optimiser end with the
        name of their parameter, and so lie where it does.
      shape: of the array.
      model_parallel: devices along the mesh's axis `model`.
    """
    large = math.prod(shape) >= _LARGE or name.endswith("embedding")
    axes = [axis for axis, size in enumerate(shape) if size % model_parallel == 0]
    if model_parallel == 1 or not large or not axes:
        return PartitionSpec()
    axis = max(axes, key=shape.__getitem__)
    return PartitionSpec(*(None,) * axis, "model")


def place(arrays: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Puts named arrays, which each process has, where `partition_spec` says."""

    def put(name: str, array: Any) -> jax.Array:
        spec = partition_spec(name, array.shape, mesh.shape["model"])
        sharding = NamedSharding(mesh, spec)
        return jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])

    return {name: put(name, array) for name, array in arrays.items()}
