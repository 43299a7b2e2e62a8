"""What a training step is made of, and how far it is from what the machine could do at best."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.extend.core import ClosedJaxpr, Jaxpr
from jaxtyping import Array, Float
from rich.table import Table

from imdb_jax.config import Config
from imdb_jax.models.inputs import Batch, Sets, sum_rows
from imdb_jax.models.layers import Embed
from imdb_jax.models.word_conv import WordConv
from imdb_jax.parallel.host_memory import keep_freed_memory
from imdb_jax.pipeline.input_format import create_configured_model
from imdb_jax.pipeline.splits import Examples
from imdb_jax.training.optimizer import keras_adam
from imdb_jax.training.step import TrainState, create_train_state, example_losses, train_step

_WARM_UP = 3


def measure_parts(config: Config, examples: Examples, repetitions: int) -> dict[str, Any]:
    """Times the parts of a training step on the first batch, each alone, and the roofline.

    Returns:
      `parts_ms` and `layers_ms`, name -> median milliseconds; and `roofline`.
    """
    keep_freed_memory()  # as training does
    state = initial_state(config, create_configured_model(config), examples)
    host = _host_batch(examples, config.training.batch_size, epoch=0)
    batch = jax.device_put(host)
    step_floats = flops(jax.make_jaxpr(train_step)(state, batch).jaxpr)
    step_bytes = bytes_moved(state, batch)
    layers = _time_all(layer_functions(state.params, batch.ids), repetitions)
    parts = _time_all(
        {
            "batch on the host": lambda: _host_batch(examples, config.training.batch_size, epoch=1),
            "transfer": lambda: jax.device_put(host),
            **step_functions(state, batch),
        },
        repetitions,
    )
    limits = roofline(step_floats, step_bytes, parts["whole step"] / 1000, **machine_peaks())
    return {"parts_ms": parts, "layers_ms": layers, "roofline": limits}


def initial_state(config: Config, model: nn.Module, examples: Examples) -> TrainState:
    """The state from which training a model with a configuration starts."""
    return create_train_state(
        model,
        examples.batch_ids(np.arange(config.training.batch_size)),
        config.training.seed,
        keras_adam(config.training.learning_rate),
        config.training.loss,
    )


def _host_batch(examples: Examples, batch_size: int, epoch: int) -> Batch:
    """Gathers a batch from all over the reviews, as an epoch's order makes the pipeline do."""
    rows = np.random.default_rng(epoch).integers(len(examples), size=batch_size)
    return Batch(examples.batch_ids(rows), examples.labels[rows], np.ones(batch_size, np.float32))


def _time_all(functions: Mapping[str, Callable[[], Any]], repetitions: int) -> dict[str, float]:
    return {name: _milliseconds(function, repetitions) for name, function in functions.items()}


def _milliseconds(function: Callable[[], Any], repetitions: int) -> float:
    """Median milliseconds until what a function gives is there."""
    for _ in range(_WARM_UP):
        jax.block_until_ready(function())
    return 1000 * statistics.median(_seconds(function) for _ in range(repetitions))


def _seconds(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - started


def step_functions(state: TrainState, batch: Batch) -> dict[str, Callable[[], Any]]:
    """The parts of a step on the device, and the whole, as functions that need no arguments."""

    def mean_loss(params: Any, batch: Batch) -> jax.Array:
        rngs = {"dropout": state.dropout_key}
        logits = state.apply_fn({"params": params}, batch.ids, train=True, rngs=rngs)
        return jnp.mean(example_losses(logits, batch.labels, state.loss))

    def update(stepped: Any, gradients: Any) -> Any:
        params, opt_state = stepped
        updates, opt_state = state.optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    forward, backward = jax.jit(mean_loss), jax.jit(jax.grad(mean_loss))
    # Copies, as the memory of what is donated is gone.
    params = jax.tree.map(jnp.copy, state.params)
    gradients = backward(params, batch)
    copy = partial(jax.tree.map, jnp.copy)
    return {
        "forward": lambda: forward(params, batch),
        "forward and backward": lambda: backward(params, batch),
        "optimizer update": _repeated(
            jax.jit(update, donate_argnums=0), copy((state.params, state.opt_state)), gradients
        ),
        "whole step": _repeated(lambda state, batch: train_step(state, batch)[0], state, batch),
    }


def _repeated(step: Callable[[Any, Any], Any], start: Any, argument: Any) -> Callable[[], Any]:
    """A function that goes on from what it gave the last time, so that a step can be donated to."""
    state = start

    def go_on() -> Any:
        nonlocal state
        state = step(state, argument)
        return state

    return go_on


def layer_functions(
    params: Mapping[str, Any], ids: jax.Array | Sets
) -> dict[str, Callable[[], Any]]:
    """The work of each layer alone, on random inputs of the shapes that it has in a step.

    Args:
      params: the model's parameters; the layers and their shapes are read from them.
      ids: word ids of a batch, `[batch, length]`, or sets of them.
    """
    functions: dict[str, Callable[[], Any]] = {}
    batch_size = ids.size if isinstance(ids, Sets) else len(ids)
    if "Conv_0" in params:
        # It takes the place of the embedding's look-up: it looks up products of the embedding.
        size, _, filters = params["Conv_0"]["kernel"].shape
        assert not isinstance(ids, Sets)
        places = len(params["Dense_0"]["kernel"]) // filters
        conv = WordConv(filters, size, ids.shape[1] // places)

        def convolve(params: Any, ids: jax.Array) -> Any:
            layer, embedding = params["Conv_0"], params["Embed_0"]["embedding"]
            return conv.apply({"params": layer}, embedding, ids, train=True)

        read = {name: params[name] for name in ("Conv_0", "Embed_0")}
        functions |= _both_ways("Conv_0", convolve, read, ids)
    elif "Embed_0" in params:
        embed = Embed(*params["Embed_0"]["embedding"].shape)

        def look_up(params: Any, ids: jax.Array) -> Any:
            return embed.apply({"params": params}, ids, train=True)

        functions |= _both_ways("Embed_0", look_up, params["Embed_0"], ids)
    if "recurrent_kernel" in params:
        kernel = jnp.concatenate([params["kernel"], params["recurrent_kernel"]])
        functions |= _products("gates of one word", kernel, batch_size)
    for name, layer in params.items():
        if name == "Dense_0" and isinstance(ids, Sets):
            functions |= _both_ways(name, sum_rows, layer["kernel"], ids)
        elif name.startswith("Dense"):
            functions |= _products(name, layer["kernel"], batch_size)
    return functions


def _both_ways(
    name: str, apply: Callable[[Any, Any], Any], params: Any, ids: jax.Array | Sets
) -> dict[str, Callable[[], Any]]:
    """A layer, and the gradient of its parameters for a random gradient of its output."""
    forward = jax.jit(apply)
    g = _random(jax.eval_shape(forward, params, ids).shape)

    # What of the forward pass the gradient does not need (all, in a linear layer) XLA leaves out.
    @jax.jit
    def gradient(params: Any, ids: Any, g: jax.Array) -> Any:
        return jax.vjp(lambda params: apply(params, ids), params)[1](g)

    return {
        f"{name}, forward": lambda: forward(params, ids),
        f"{name}, gradient": lambda: gradient(params, ids, g),
    }


def _products(
    name: str, kernel: Float[Array, "inputs outputs"], batch_size: int
) -> dict[str, Callable[[], Any]]:
    """The product of a dense layer, and those of its gradients."""
    x, g = _random((batch_size, kernel.shape[0])), _random((batch_size, kernel.shape[1]))
    forward = jax.jit(lambda x, kernel: x @ kernel)
    of_kernel = jax.jit(lambda x, g: x.T @ g)
    of_input = jax.jit(lambda g, kernel: g @ kernel.T)
    return {
        f"{name}, product": lambda: forward(x, kernel),
        f"{name}, gradient of the kernel": lambda: of_kernel(x, g),
        f"{name}, gradient of the input": lambda: of_input(g, kernel),
    }


def _random(shape: tuple[int, ...]) -> jax.Array:
    return jax.random.normal(jax.random.key(0), shape)


def flops(jaxpr: Jaxpr) -> int:
    """Floating-point operations of all matrix products and convolutions of a program.

    An addition and a multiplication count as two. What a scan repeats counts as often as it does;
    of the branches of a condition the most expensive one counts. What the program computes twice to
    save memory counts twice. All other operations are left out.

    Raises:
      NotImplementedError: a while loop with products in it, whose number of rounds nobody knows.
    """
    total = 0
    for equation in jaxpr.eqns:
        match equation.primitive.name:
            case "dot_general":
                (contracted, _), _ = equation.params["dimension_numbers"]
                left, out = _shape(equation.invars[0]), _shape(equation.outvars[0])
                total += 2 * math.prod(out) * math.prod(left[axis] for axis in contracted)
            case "conv_general_dilated":
                kernel, out = _shape(equation.invars[1]), _shape(equation.outvars[0])
                features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
                total += 2 * math.prod(out) * math.prod(kernel) // features
            case "scan":
                total += equation.params["length"] * flops(equation.params["jaxpr"].jaxpr)
            case "cond":
                total += max(flops(branch.jaxpr) for branch in equation.params["branches"])
            case "while":
                if sum(map(flops, _inner_programs(equation.params))):
                    raise NotImplementedError("a while loop may go on for any number of rounds")
            case _:
                total += sum(map(flops, _inner_programs(equation.params)))
    return total


def _shape(variable: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = variable.aval.shape
    return shape


def _inner_programs(params: Mapping[str, Any]) -> Iterator[Jaxpr]:
    """Programs that an operation calls: of jit, remat, custom derivatives, and others."""
    for value in params.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def bytes_moved(state: TrainState, batch: Batch) -> int:
    """The least that a step moves: the state is read and written, the batch read.

    Gradients, look-ups and the outputs of layers come on top unless they stay in the processor.
    """
    changed = (state.params, state.opt_state)
    sizes = [leaf.nbytes for leaf in jax.tree.leaves(changed)]
    return 2 * sum(sizes) + sum(leaf.nbytes for leaf in jax.tree.leaves(batch))


def machine_peaks() -> dict[str, float]:
    """What the device does at best, measured: operations a second of a large product of float32
    matrices, bytes a second (read and written) of adding one to a large array in its place."""
    size = 2048 if jax.default_backend() == "cpu" else 8192
    matrix = _random((size, size))
    multiply = jax.jit(jnp.matmul)
    array = jnp.zeros(2**27)  # 512 MiB
    add = _repeated(jax.jit(lambda x, one: x + one, donate_argnums=0), array, jnp.float32(1))
    return {
        "flops_per_second": 2 * size**3 / _best(lambda: multiply(matrix, matrix)),
        "bytes_per_second": 2 * 4 * 2**27 / _best(add),
    }


def _best(function: Callable[[], Any], times: int = 15) -> float:
    jax.block_until_ready(function())
    return min(_seconds(function) for _ in range(times))


def roofline(
    step_flops: int,
    step_bytes: int,
    step_seconds: float,
    flops_per_second: float,
    bytes_per_second: float,
) -> dict[str, float]:
    """Relates a step to the least time in which its products and its traffic could be done.

    `distance_max` takes it that the two can be done at once, `distance_sum` that they cannot.
    """
    time_flops, time_bytes = step_flops / flops_per_second, step_bytes / bytes_per_second
    return {
        "flops": step_flops,
        "bytes": step_bytes,
        "peak_gflops_per_second": flops_per_second / 1e9,
        "peak_gb_per_second": bytes_per_second / 1e9,
        "time_flops": time_flops,
        "time_bytes": time_bytes,
        "step_seconds": step_seconds,
        "distance_max": step_seconds / max(time_flops, time_bytes),
        "distance_sum": step_seconds / (time_flops + time_bytes),
    }


def table(title: str, measured: Mapping[str, Any]) -> Table:
    """Milliseconds of every part and layer, and their share of the whole step."""
    result = Table(title=title, title_justify="left")
    result.add_column("part of a training step, alone")
    result.add_column("ms", justify="right")
    result.add_column("of the step", justify="right")
    whole = measured["parts_ms"]["whole step"]
    for kind in ("parts_ms", "layers_ms"):
        for name, milliseconds in measured[kind].items():
            result.add_row(name, f"{milliseconds:.3f}", f"{milliseconds / whole:.0%}")
        result.add_section()
    return result


def verdict(limits: Mapping[str, float]) -> str:
    """The roofline in words."""
    return (
        f"matrix products of a step: {limits['flops'] / 1e9:.3f} GFLOP, at "
        f"{limits['peak_gflops_per_second']:.0f} GFLOP/s {1000 * limits['time_flops']:.3f} ms\n"
        f"least traffic of a step (state read and written, batch read): "
        f"{limits['bytes'] / 1e6:.1f} MB, at {limits['peak_gb_per_second']:.1f} GB/s "
        f"{1000 * limits['time_bytes']:.3f} ms\n"
        f"the step takes {limits['distance_max']:.2f} times the longer of the two, "
        f"{limits['distance_sum']:.2f} times their sum"
    )
