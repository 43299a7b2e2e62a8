"""Whether a run fits in memory: a process that runs out of it is killed without a word."""

import functools
import warnings
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from imdb_jax.config import Config, load_recipe
from imdb_jax.errors import UserError
from imdb_jax.models.inputs import Sets
from imdb_jax.parallel.exchange import num_processes
from imdb_jax.parallel.host_memory import check_memory
from imdb_jax.pipeline.input_format import configured_input_format, create_configured_model

# Parameters and their two moments, twice: they are copied when they are placed on the devices.
_COPIES = 2 * 3
# Bytes by which a batch grows with each review, besides its ids: its number, four times.
_BYTES_OF_A_ROW = 4 * 8


def check_model_and_batch(config: Config) -> None:
    """Raise `UserError` if the model cannot be made, or does not fit in memory with a batch.

    Nothing is allocated. What counts is the least that such a run needs: nothing that depends on
    the reviews counts before they are read, and no intermediate result.
    """
    form, model = configured_input_format(config), create_configured_model(config)
    sets = form.distinct or form.ngrams
    if form.ngrams and not config.input.num_words:
        return  # they are not counted yet
    length = 1 if sets else config.input.max_length or getattr(model, "pool_size", 1) or 1
    kernel_size = getattr(model, "kernel_size", 0)
    if config.input.max_length and kernel_size > config.input.max_length:
        raise UserError(
            f"model.kernel_size {kernel_size} is longer than the reviews, {length} words; lower it"
        )
    try:
        num_params = _num_params(model, length, sets)
    except ValueError as error:
        raise UserError(f"{config.arch} cannot be built with these options: {error}") from error
    row = _BYTES_OF_A_ROW + (0 if sets else length * form.dtype.itemsize)
    batch = config.training.batch_size * row // num_processes()
    _check(config, config.training.seeds * (_COPIES * 4 * num_params + batch), jax.device_count())


@functools.lru_cache
def _num_params(model: nn.Module, length: int, sets: bool) -> int:
    ids: Any = jax.ShapeDtypeStruct((1, length), np.int32)
    of_lines: Any = jax.ShapeDtypeStruct((1,), np.int32)
    if sets:
        ids = Sets(ids, of_lines, 1)
    with warnings.catch_warnings(action="ignore"):  # of indices that need 64 bits
        params = jax.eval_shape(model.init, jax.eval_shape(jax.random.key, 0), ids)
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def check_program(config: Config, program: Any, mesh: Mesh) -> None:
    """Raise `UserError` if a compiled program needs more than memory holds, as XLA says."""
    sizes = program.memory_analysis()
    if sizes is not None:
        needed = sizes.argument_size_in_bytes + sizes.temp_size_in_bytes
        needed += sizes.output_size_in_bytes - sizes.alias_size_in_bytes
        devices = len(mesh.local_devices)
        _check(config, needed * devices, devices)


def _check(config: Config, needed: int, devices: int) -> None:
    """Compare with the memory of some devices. CPU devices share that of the host."""
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    remedy = f"lower {_out_of_proportion(config)}, or train where there is more memory"
    check_memory(f"training {config.arch}", needed, remedy, limit and limit * devices)


def _out_of_proportion(config: Config) -> str:
    """Return the option that exceeds that of the recipe most, and its value."""
    sizes, usual = _sizes(config), _sizes(load_recipe(config.arch))
    name = max(sizes, key=lambda name: sizes[name] / max(usual.get(name, 1), 1))
    return f"{name}, which is {sizes[name]}"


def _sizes(config: Config) -> dict[str, int]:
    sizes = {f"model.{name}": value for name, value in config.model.items() if name != "dropout"}
    sizes |= {"batch_size": config.training.batch_size, "seeds": config.training.seeds}
    if config.arch != "ngram":  # whose number of n-grams nobody chooses
        sizes |= {"max_length": config.input.max_length, "num_words": config.input.num_words}
    return {name: int(np.max(value, initial=0)) for name, value in sizes.items()}
