"""The devices of a run: how many there are, and which of them holds what of a model."""

import contextlib
import functools
import math
import os
from typing import Any, TypeVar

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from imdb_jax.errors import UserError

# More devices than this would each get too little of a batch.
_MOST_CORES = 8
# An array of this many numbers is worth slicing: a word table, or a kernel of many inputs.
_LARGE = 1 << 16

T = TypeVar("T")


def use_all_cores(model: nn.Module, seeds: int = 1) -> None:
    """Make each CPU core a device, for several seeds or a model that XLA computes on one core.

    Does nothing if the number of CPU devices was chosen already, or once JAX has found its devices.
    """
    if seeds == 1 and not getattr(model, "one_core", False):
        return
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if jax.config.values["jax_num_cpu_devices"] == -1 and not chosen:
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", min(os.cpu_count() or 1, _MOST_CORES))


def on_devices(model: nn.Module, devices: int = 1) -> nn.Module:
    """Return the model as so many devices compute it in the least time: the same function.

    Accelerators compute all reviews of a batch at once, so they gain nothing from skipping some,
    and loops of a fixed number of steps spare them from asking the host whether to go on.
    """
    if not getattr(model, "one_core", False):
        return model
    return _computed_so(model, devices, jax.default_backend() == "cpu")


@functools.cache  # only states that share a function are alike, and can be stacked
def _computed_so(model: nn.Module, parts: int, skip_padding: bool) -> nn.Module:
    return model.clone(parts=parts, skip_padding=skip_padding)


def find_devices() -> None:
    """Let JAX find its devices, or raise `UserError`, as where JAX_PLATFORMS names absent ones."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        chosen = os.environ.get("JAX_PLATFORMS", "")
        reason = str(error).partition(" (set JAX_PLATFORMS")[0] or "there are no such devices"
        raise UserError(
            f"JAX cannot start with JAX_PLATFORMS={chosen!r}: {reason}; set JAX_PLATFORMS=cpu, or "
            "leave it unset, to use what there is"
        ) from error


def data_mesh(model_parallel: int = 1) -> Mesh:
    """Return a mesh of all devices of all processes.

    The reviews of a batch are spread over its axis `data`, a model's large arrays over the
    `model_parallel` devices of its axis `model`, which belong to one process and read the same
    reviews. Raises `UserError` if the devices of a process cannot be divided so.
    """
    if jax.local_device_count() % model_parallel:
        raise UserError(
            f"model_parallel {model_parallel} does not divide the {jax.local_device_count()} "
            "devices of a process; choose a number that does"
        )
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    grid = np.array(devices).reshape(-1, model_parallel)
    return Mesh(grid, ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding that gives every device the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def partition_spec(name: str, shape: tuple[int, ...], model_parallel: int) -> PartitionSpec:
    """Return the axis along which an array is cut into slices, one per device of axis `model`.

    Embedding tables and other large arrays are cut along their longest divisible axis. The name of
    an optimizer's moment ends with that of its parameter, so both lie on the same devices.
    """
    large = math.prod(shape) >= _LARGE or name.endswith("embedding")
    axes = [axis for axis, size in enumerate(shape) if size % model_parallel == 0]
    if model_parallel == 1 or not large or not axes:
        return PartitionSpec()
    axis = max(axes, key=shape.__getitem__)
    return PartitionSpec(*(None,) * axis, "model")


def place(arrays: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Put named arrays, which every process has, on the devices that `partition_spec` chooses."""

    def put(name: str, array: Any) -> jax.Array:
        spec = partition_spec(name, array.shape, mesh.shape["model"])
        sharding = NamedSharding(mesh, spec)
        return jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])

    return {name: put(name, array) for name, array in arrays.items()}


def pace(result: T, mesh: Mesh) -> T:
    """Wait for a step's result if the devices are several virtual CPU devices.

    On these, steps in flight take the threads that the all-reduce of an earlier step needs, and all
    of them wait forever.
    """
    virtual = mesh.devices.size > 1 and mesh.devices.flat[0].platform == "cpu"
    return jax.block_until_ready(result) if virtual else result
