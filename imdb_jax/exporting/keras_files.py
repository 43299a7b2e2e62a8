"""Read and write the files of Keras 3: `.keras` and `.weights.h5`.

To read a file we build, in Keras, the model that it seems to hold, compare the file's description
with that model, option by option, and have Keras load the weights. So a file is either read as what
it is or refused, and nothing that it describes is ever made or executed.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import flax
import jax
import numpy as np

from imdb_jax.config import Config, replace
from imdb_jax.errors import UserError, require
from imdb_jax.exporting import keras_layers
from imdb_jax.files import check_file, open_zip
from imdb_jax.models import ARCHITECTURES, CNN, create_model

# Our largest model has 17 MB; whatever exceeds these limits is something else, or an attack.
_MAX_CONFIG_BYTES = 1 << 20
_MAX_WEIGHT_BYTES = 1 << 30


def to_keras(config: Config, params: Any) -> dict[str, bytes]:
    """Write a model as files of Keras; return the content of each file by its name.

    The Keras model maps padded ids `[batch, length]` (`mlp`: multi-hot vectors
    `[batch, num_words]`) to probabilities `[batch, 1]`. It is not compiled.
    """
    module = create_model(config.arch, config.input.num_words, config.model)
    layers = keras_layers.keras_layers(module, config.input.max_length)
    model = keras_layers.build_keras(config, layers)
    named = flax.traverse_util.flatten_dict(jax.device_get(params), sep=".")
    model.set_weights([named[name] for layer in layers for name in layer.weights])
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory, "model.keras"), Path(directory, "model.weights.h5")]
        model.save(paths[0])
        model.save_weights(paths[1])
        return {path.name: path.read_bytes() for path in paths}


def load_keras_weights(
    path: str | os.PathLike[str], recipe: str | Config | None = None
) -> tuple[Config, dict[str, Any]]:
    """Read a model of one of our architectures that Keras 3 saved. Needs Keras.

        config, params = imdb_jax.load_keras_weights("cnn.keras")
        model = imdb_jax.CNN(config.input.num_words, **config.model)
        logits = model.apply({"params": params}, ids)

    Args:
      path: what `model.save("x.keras")` or `model.save_weights("x.weights.h5")` wrote.
      recipe: a recipe or its name, for what the file does not tell: the side on which reviews are
        padded and cut; of a `.weights.h5` file also the architecture, ids per review and pool size.

    Returns:
      The configuration, with the sizes found, and the parameters, float32 NumPy arrays. The Keras
      model may end in a sigmoid or in nothing: our model with these parameters gives logits.

    Raises:
      UserError: the file is missing, damaged, larger than such models are, or holds another kind of
        model; or Keras is not installed.
    """
    path = Path(path)
    check_file(path)
    try:
        layers, config, num_params = _examine(path, recipe)
        module = create_model(config.arch, config.input.num_words, config.model)
        ids = jax.ShapeDtypeStruct((1, config.input.max_length or 256), np.int32)
        params = jax.eval_shape(module.init, jax.random.key(0), ids)["params"]
        if num_params != sum(leaf.size for leaf in jax.tree.leaves(params)):
            length = config.input.max_length
            of = f"{config.arch} with {length} ids a review"
            raise UserError(f"its weights are not those of {of}")
        # Layers of dropout would want the states of their generators.
        ours = keras_layers.keras_layers(module, config.input.max_length)
        twin = keras_layers.build_keras(config, [x for x in ours if x.kind != "Dropout"])
        if layers:
            _check_layers(layers, json.loads(twin.to_json())["config"]["layers"][1:], config.arch)
        twin.load_weights(path)
        return config, keras_layers.to_flax_params(module, twin.get_weights())
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    # What zipfile, h5py and Keras raise depends on which byte of a file is wrong.
    except Exception as error:
        reason = getattr(error, "strerror", None) or "damaged or not Keras 3's"
        raise UserError(f"cannot read {path}: {reason}") from error


def _examine(path: Path, recipe: str | Config | None) -> tuple[list[dict[str, Any]], Config, int]:
    """Return the layers described, the configuration and the number of parameters."""
    layers: list[dict[str, Any]] = []
    if path.suffix == ".keras":
        limits = {"config.json": _MAX_CONFIG_BYTES, "model.weights.h5": _MAX_WEIGHT_BYTES}
        with open_zip(path) as archive:
            for name, limit in limits.items():  # a member gives no more bytes than its entry says
                if archive.getinfo(name).file_size > limit:
                    raise UserError(f"{name} has more than {limit:,} bytes")
            described = json.loads(archive.read("config.json"))
            layers, config = keras_layers.described_config(described, recipe)
            with archive.open("model.weights.h5") as file:
                shapes = _read_shapes(file)
    else:
        with path.open("rb") as file:
            shapes = _read_shapes(file)
        if recipe is None:
            raise UserError("weights alone do not tell their architecture: name the recipe")
        config = keras_layers.as_config(recipe)
    return layers, _with_sizes(config, shapes), sum(map(math.prod, shapes.values()))


_Shapes = dict[str, tuple[int, ...]]  # by path in the HDF5 file


def _read_shapes(file: IO[bytes]) -> _Shapes:
    """Read the shapes of the weights of all layers, and refuse what Keras must not follow."""
    h5py = require("h5py", "keras")
    shapes: _Shapes = {}
    total = 0
    with h5py.File(file, "r") as root:
        paths: list[str] = []
        root.visit_links(paths.append)
        if not all(isinstance(root.get(path, getlink=True), h5py.HardLink) for path in paths):
            raise UserError("it refers to other files or places")  # by a soft or external link
        for path in paths:
            weight = root[path]
            # Seed generators are the state of dropout.
            if isinstance(weight, h5py.Group) or not re.match("layers/(?!.*seed_generator)", path):
                continue
            if weight.external or weight.is_virtual:
                raise UserError("it refers to other files")
            total += weight.nbytes
            if total > _MAX_WEIGHT_BYTES:
                raise UserError(f"it holds more than {_MAX_WEIGHT_BYTES:,} bytes of weights")
            if weight.dtype.kind != "f":
                raise UserError(f"{path} is of type {weight.dtype}, not floating point")
            shapes[path] = weight.shape
    return shapes


def _with_sizes(base: Config, shapes: _Shapes) -> Config:
    """Return the configuration with the sizes that the weights have."""
    dense = [path for path in shapes if re.fullmatch(r"layers/dense(_\d+)?/vars/0", path)]
    dense.sort(key=lambda path: (len(path), path))  # dense_2 comes before dense_10
    widths = [shapes[path][-1] for path in dense[:-1]]
    fields: dict[str, Any] = {}
    try:
        if base.arch == "mlp":
            num_words = shapes[dense[0]][0]
            fields = {"hidden": widths, "dropout": base.model["dropout"][: len(widths)]}
        else:
            num_words, fields["embedding_dim"] = shapes["layers/embedding/vars/0"]
        if base.arch == "lstm":
            fields["units"] = shapes["layers/lstm/cell/vars/1"][0]
        elif base.arch != "mlp":
            fields["hidden"] = widths[0] if widths else 0
        if ARCHITECTURES[base.arch] is CNN:
            fields["kernel_size"], _, fields["filters"] = shapes["layers/conv1d/vars/0"]
    except (LookupError, ValueError) as error:
        raise UserError(f"its weights are not those of {base.arch}") from error
    return replace(base, num_words=num_words, model={**base.model, **fields})


# Options of layers that do not change what a trained model computes.
_WITHOUT_EFFECT = re.compile(
    r"name|trainable|dtype|seed|unroll|unit_forget_bias|(recurrent_)?dropout"
    r"|\w+_(initializer|regularizer|constraint)"
)


def _check_layers(
    layers: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]], arch: str
) -> None:
    """Raise `UserError` if a layer differs from ours in an option that has an effect."""
    found = list(layers)
    if found[-1]["config"].get("activation") == "linear":
        found[-1]["config"]["activation"] = "sigmoid"
    if found[2:] and found[2]["class_name"] == "GlobalMaxPooling1D":
        found[2:3] = expected[2:4]  # the same, in one layer instead of two
    for theirs, ours in zip(found, expected, strict=True):
        for name in sorted(theirs["config"].keys() & ours["config"].keys()):
            one, other = theirs["config"][name], ours["config"][name]
            if one != other and not _WITHOUT_EFFECT.fullmatch(name):
                raise UserError(
                    f"its {ours['class_name']} layer has {name} {one!r}, that of {arch} {other!r}"
                )
