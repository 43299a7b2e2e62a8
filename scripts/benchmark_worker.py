"""One measurement of `benchmark.py`, which starts this as a process of its own.

    python scripts/benchmark_worker.py request.json

Nothing is imported before it is needed: what a task does not use would count in its memory and in
its seconds.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imdb_jax.config import replace
from imdb_jax.parallel.host_memory import keep_freed_memory, peak_rss_mb, share_one_heap

if TYPE_CHECKING:
    import numpy as np

    from imdb_jax.config import Config
    from imdb_jax.pipeline.splits import Examples

Request = dict[str, Any]
Result = dict[str, Any]


def load(request: Request, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Padded ids `[num_reviews, length]` and labels `[num_reviews]`, as many as asked for."""
    import numpy as np

    directory = Path(request["directory"])
    ids, labels = (np.load(directory / f"{split}_{name}.npy") for name in ("ids", "labels"))
    limit = request.get(f"{split}_reviews") or len(labels)
    return ids[:limit], labels[:limit]


def configuration(request: Request) -> Config:
    """The configuration of the benchmark, with the seed of this measurement."""

    from imdb_jax.config import load_config

    config = load_config(Path(request["directory"]) / "config.toml")
    return replace(config, seed=request.get("seed", 0), quiet=True)


def examples(request: Request, config: Config, split: str) -> Examples:
    """The same as our pipeline takes them."""
    from imdb_jax.pipeline.input_format import configured_input_format
    from imdb_jax.pipeline.splits import Examples

    return Examples(*load(request, split), sets=configured_input_format(config).distinct)


def train_keras(request: Request) -> Result:
    """Trains the Keras twin as its tutorial does, and prints its test accuracy."""
    model, config, harness_seconds = _keras_model(request)
    import keras_baseline
    import keras_models

    def arrays(split: str) -> keras_baseline.Arrays:
        ids, labels = load(request, split)
        return keras_baseline.Arrays(keras_models.inputs(config, ids), labels)

    train, test = arrays("train"), arrays("test")
    validation = arrays("validation") if config.stopping.validation else test
    figures = keras_baseline.train_once(model, config, train, test, validation)
    print(f"test accuracy {figures['test_accuracy']:.4f}", flush=True)
    return {
        "harness_seconds": harness_seconds,
        "epoch_seconds": figures["epoch_seconds"],
        "test_accuracy": figures["test_accuracy"],
        "peak_rss_mb": peak_rss_mb(),
        "versions": _keras_versions(),
    }


def _keras_model(request: Request) -> tuple[Any, Config, float]:
    """The model; the configuration; seconds that only this program, not a user, would spend."""
    import keras
    import numpy as np  # noqa: F401  (whoever uses Keras pays for it)

    started = time.perf_counter()
    import keras_baseline  # noqa: F401
    import keras_models

    config = configuration(request)
    harness_seconds = time.perf_counter() - started
    keras.utils.set_random_seed(config.training.seed)
    model = keras_models.assemble(config, request["length"], request["layers"])
    return model, config, harness_seconds


def _keras_versions() -> dict[str, str]:
    import keras

    backend = keras.backend.backend()
    return {"keras": keras.__version__, backend: importlib.import_module(backend).__version__}


def steps_keras(request: Request) -> Result:
    """Seconds of each of several training steps: `train_on_batch` of reviews in host memory."""
    model, config, _ = _keras_model(request)
    import keras
    import keras_models

    model.compile(
        optimizer=keras.optimizers.Adam(config.training.learning_rate),
        loss=config.training.loss,
        metrics=["accuracy"],
    )
    ids, labels = load(request, "train")
    seconds = []
    for rows in step_rows(len(labels), config.training.batch_size, request):
        x, y = keras_models.inputs(config, ids[rows]), labels[rows]
        started = time.perf_counter()
        model.train_on_batch(x, y)
        seconds.append(time.perf_counter() - started)
    return {"step_seconds": seconds[request["warm_up"] :]}


def steps_ours(request: Request) -> Result:
    """Seconds of each of several training steps: `train_step` of reviews in host memory."""
    import jax
    import numpy as np
    from benchmark_parts import initial_state

    from imdb_jax.models.inputs import Batch
    from imdb_jax.parallel.devices import data_mesh, on_devices, replicated, use_all_cores
    from imdb_jax.pipeline.input_format import create_configured_model
    from imdb_jax.training.step import train_step

    config = configuration(request)
    train = examples(request, config, "train")
    share_one_heap()  # as training does
    keep_freed_memory()
    model = create_configured_model(config)
    use_all_cores(model)
    mesh = data_mesh()
    model = on_devices(model, mesh.size)
    state = jax.device_put(initial_state(config, model, train), replicated(mesh))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    seconds = []
    for rows in step_rows(len(train), config.training.batch_size, request):
        ids = train.batch_ids(rows, mesh.size)
        host = Batch(ids, train.labels[rows], np.ones(len(rows), np.float32))
        started = time.perf_counter()
        state, sums = train_step(state, jax.device_put(host, spread))
        jax.block_until_ready((state.params, sums))
        seconds.append(time.perf_counter() - started)
    return {"step_seconds": seconds[request["warm_up"] :]}


def step_rows(num_reviews: int, batch_size: int, request: Request) -> Iterator[np.ndarray]:
    """The rows of each batch, all of one size; the reviews start over when there are no more."""
    import numpy as np

    for step in range(request["warm_up"] + request["steps"]):
        yield (step * batch_size + np.arange(batch_size)) % num_reviews


def epochs_ours(request: Request) -> Result:
    """Trains on the first reviews only, which the command for training cannot."""
    from imdb_jax.parallel.devices import use_all_cores
    from imdb_jax.pipeline.input_format import create_configured_model
    from imdb_jax.pipeline.splits import Splits
    from imdb_jax.training.trainer import Trainer

    config = configuration(request)
    train, test = (examples(request, config, split) for split in ("train", "test"))
    share_one_heap()
    keep_freed_memory()
    model = create_configured_model(config)
    use_all_cores(model)
    trainer = Trainer(config, model, Splits(train, None, test))
    seconds = [trainer.train_epoch().seconds for _ in range(config.training.epochs)]
    return {"epoch_seconds": seconds, "peak_rss_mb": peak_rss_mb()}


def parts(request: Request) -> Result:
    """See `benchmark_parts`."""
    from benchmark_parts import measure_parts

    config = configuration(request)
    return measure_parts(config, examples(request, config, "train"), request["repetitions"])


def growth(request: Request) -> Result:
    """See `benchmark_growth`."""
    from benchmark_growth import train_on_file

    return train_on_file(configuration(request), Path(request["file"]), *load(request, "test"))


def encode_ours(request: Request) -> Result:
    """See `benchmark_text`."""
    from benchmark_text import encode_ours

    return encode_ours(configuration(request))


def encode_keras(request: Request) -> Result:
    """See `benchmark_text`."""
    from benchmark_text import encode_keras

    return encode_keras(configuration(request))


_TASKS: dict[str, Callable[[Request], Result]] = {
    task.__name__: task
    for task in (
        train_keras,
        steps_keras,
        steps_ours,
        epochs_ours,
        parts,
        growth,
        encode_ours,
        encode_keras,
    )
}


def main(path: str) -> None:
    """Carries out the request in a file, and writes what it found to the file named there."""
    request = json.loads(Path(path).read_text(encoding="utf-8"))
    result = _TASKS[request["task"]](request)
    Path(request["out"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
