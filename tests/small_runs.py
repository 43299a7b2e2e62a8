"""Runs that are over in no time, for tests of many of them."""

import dataclasses
import hashlib
import json

import jax
import jax.numpy as jnp

from imdb_jax.config import load_config, load_recipe, replace
from imdb_jax.datasets.synthetic import synthetic_dataset
from imdb_jax.models import recurrence
from imdb_jax.runs import curves, data, experiment, reporting
from imdb_jax.runs.checkpoints import load_params
from imdb_jax.training import seeds, trainer
from imdb_jax.training.optimizer import keras_adam, learning_rate_schedule
from imdb_jax.training.step import create_train_state

# Four steps an epoch, with a checkpoint after the second, too.
SMALL = {"num_words": 100, "max_length": 8, "epochs": 3, "batch_size": 10, "validation": 1 / 3}
SMALL |= {"checkpoint_every": 2, "quiet": True, "model": {"embedding_dim": 2, "hidden": 3}}


def small_dataset():
    """Invented reviews, held in memory."""
    dataset = synthetic_dataset(num_train=60, num_test=30)
    # Written once only, as inventing the reviews takes longer than all that is done with them.
    reviews = {split: dataset.read(split) for split in ("train", "test")}
    return dataclasses.replace(dataset, read=reviews.__getitem__)


def small(workdir, **changes):
    """The configuration of a small run."""
    return replace(load_recipe("pooled"), **SMALL | {"workdir": workdir} | changes)


def share_compilation(patch):
    """Lets runs of the same model share what is compiled for them, and the LSTM have less of it."""
    patch.setattr(recurrence, "_LOOPS", 2)
    made = {}

    def once(make, key, *arguments):
        if (make, key) not in made:
            made[make, key] = make(*arguments)
        return made[make, key]

    make_model = experiment.create_configured_model

    def model(config):
        return once(
            make_model,
            (config.arch, config.input.num_words, config.training.dtype, repr(config.model)),
            config,
        )

    def initial_state(*arguments):
        model, ids, seed, optimizer, loss = arguments
        shapes = tuple(map(jnp.shape, jax.tree.leaves(ids)))
        key = repr(model), shapes, seed, optimizer, loss
        state = once(create_train_state, key, *arguments)
        # Copied, as training reuses the memory of the state that it starts from.
        return jax.tree.map(jnp.copy, state)

    patch.setattr(experiment, "create_configured_model", model)

    def schedule(*arguments):
        return once(learning_rate_schedule, arguments, *arguments)

    patch.setattr(trainer, "learning_rate_schedule", schedule)
    patch.setattr(trainer, "keras_adam", lambda rate: once(keras_adam, rate, rate))
    patch.setattr(seeds, "create_train_state", initial_state)


def hasten(patch, dataset):
    """Lets small runs do without what takes long and shows in no figure."""
    share_compilation(patch)
    patch.setattr(data, "find_dataset", lambda *_: dataset)
    patch.setattr(reporting, "layer_table", lambda *_: [])
    patch.setattr(curves, "plot_history", lambda path, *rest: path.write_text(f"{rest[-1]}"))


def outcome(workdir):
    """All that a run leaves but for times: parameters and metrics to the last bit."""
    result = json.loads((workdir / "result.json").read_text())
    times = ("seconds", "peak_rss_mb", "ended")
    return {
        "names": {path.name for path in workdir.iterdir()},
        "checkpoints": {path.name for path in workdir.glob("checkpoints/*")},
        "result": {key: value for key, value in result.items() if not key.endswith(times)},
        "metrics": metrics_of(workdir),
        "config": (workdir / "config.toml").read_text(),
        "vocabulary": (workdir / "vocabulary.txt").read_text(),
        "params": [array.tobytes() for array in jax.tree.leaves(params_of(workdir))],
    }


def metrics_of(workdir):
    """The lines of `metrics.csv` without the last column, the seconds."""
    lines = (workdir / "metrics.csv").read_text().splitlines()
    return [line.rpartition(",")[0] for line in lines]


def params_of(workdir):
    """The parameters that a small run ended with."""
    model = experiment.create_configured_model(load_config(workdir / "config.toml"))
    like = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8), int))["params"]
    return load_params(workdir / "params", like)[0]


def to_format_1(workdir):
    """Makes a run what a version without manifests would have left."""
    config = (workdir / "config.toml").read_text()
    config = config.replace("format = 2", "format = 1").partition("# SHA-256")[0]
    (workdir / "config.toml").write_text(config)
    if (ended := workdir / "result.json").exists():
        result = json.loads(ended.read_text())
        del result["labels"]
        ended.write_text(json.dumps(result))
    for manifest in workdir.rglob("manifest.json"):
        manifest.unlink()
        files = [path for path in manifest.parent.rglob("*") if path.is_file()]
        sums = {
            path.relative_to(manifest.parent).as_posix(): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for path in files
        }
        if manifest.parent != workdir:
            (manifest.parent / "checksums.json").write_text(json.dumps(sums))
