"""Models of Keras 3 read and written, without Keras: `.keras` and `.weights.h5` files.

What a `.keras` file says of each layer is compared, option by option, with what our architecture is
in Keras, so that a model is either read as what it is or refused.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import flax
import jax
import numpy as np
from flax import linen as nn
from numpy.typing import NDArray

from imdb_jax.config import Config, load_recipe
from imdb_jax.errors import UserError
from imdb_jax.extras import require
from imdb_jax.models import ARCHITECTURES, CNN, LSTM, MLP, EmbeddingMLP, Pooled, create_model

# The largest of our models has 17 MB; beyond these it is something else, or an attack.
_MAX_CONFIG_BYTES = 1 << 24
_MAX_WEIGHT_BYTES = 1 << 30
_MAX_LENGTH = 1 << 24


class KerasLayer(NamedTuple):
    """A layer of a Keras model.

    Attributes:
      kind: its class in `keras.layers`.
      options: arguments of the class. Those that change what it computes are all there, also where
        they are Keras' defaults.
      weights: names of its weights in our parameters, in the order in which Keras has them.
    """

    kind: str
    options: dict[str, Any]
    weights: tuple[str, ...] = ()


def keras_layers(module: nn.Module, length: int) -> list[KerasLayer]:
    """Says what one of our models is in Keras: the layers after the input, in order.

    Args:
      module: the model.
      length: ids per review, the window of a pool over the whole review.
    """
    layers = [*_hidden_layers(module, length)]
    number = sum(layer.kind == "Dense" for layer in layers)
    return [*layers, _dense(number, 1, "sigmoid")]


def _hidden_layers(module: nn.Module, length: int) -> Iterable[KerasLayer]:
    match module:
        case MLP():
            for i, width in enumerate(module.hidden):
                yield _dense(i, width)
                if i < len(module.dropout):
                    yield KerasLayer("Dropout", {"rate": module.dropout[i]})
        case EmbeddingMLP():
            yield from (_embedding(module), _FLATTEN, *_dense_if(module.hidden))
        case CNN():
            size = module.pool_size or length
            pool = {"pool_size": size, "strides": size, "padding": "valid", **_CHANNELS_LAST}
            yield from (_embedding(module), _convolution(module))
            yield from (KerasLayer("MaxPooling1D", pool), _FLATTEN, *_dense_if(module.hidden))
        case Pooled():
            mean = KerasLayer("GlobalAveragePooling1D", {"keepdims": False, **_CHANNELS_LAST})
            yield from (_embedding(module), mean, *_dense_if(module.hidden))
        case LSTM():
            yield from (_embedding(module), _lstm(module))
        case _:
            raise NotImplementedError(f"{type(module).__name__} has no Keras twin")


_CHANNELS_LAST = {"data_format": "channels_last"}
_FLATTEN = KerasLayer("Flatten", {**_CHANNELS_LAST})


def _dense(number: int, units: int, activation: str = "relu") -> KerasLayer:
    options = {"units": units, "activation": activation, "use_bias": True}
    return KerasLayer("Dense", options, (f"Dense_{number}.kernel", f"Dense_{number}.bias"))


def _dense_if(units: int) -> list[KerasLayer]:
    return [_dense(0, units)] if units else []


def _embedding(module: EmbeddingMLP | CNN | Pooled | LSTM) -> KerasLayer:
    options = {
        "input_dim": module.num_words,
        "output_dim": module.embedding_dim,
        "mask_zero": False,
    }
    return KerasLayer("Embedding", options, ("Embed_0.embedding",))


def _convolution(module: CNN) -> KerasLayer:
    options = {
        "filters": module.filters,
        "kernel_size": module.kernel_size,
        "strides": 1,
        "padding": "same",
        "dilation_rate": 1,
        "groups": 1,
        "activation": "relu",
        "use_bias": True,
        **_CHANNELS_LAST,
    }
    return KerasLayer("Conv1D", options, ("Conv_0.kernel", "Conv_0.bias"))


def _lstm(module: LSTM) -> KerasLayer:
    options = {
        "units": module.units,
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "use_bias": True,
        "return_sequences": False,
        "return_state": False,
        "go_backwards": False,
    }
    return KerasLayer("LSTM", options, ("kernel", "recurrent_kernel", "bias"))


def to_flax_params(module: nn.Module, weights: Sequence[NDArray[np.float32]]) -> dict[str, Any]:
    """Arranges the weights of a Keras model as the parameters of ours.

    Args:
      module: our model.
      weights: what `get_weights()` of the Keras model gives.

    Returns:
      The tree that our model's `init` gives under 'params', with these weights.

    Raises:
      ValueError: there are more or fewer weights than the model has.
    """
    # No weight depends on the length of a pool's window.
    names = [name for layer in keras_layers(module, 1) for name in layer.weights]
    return _tree(dict(zip(names, weights, strict=True)))


def _tree(named: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = flax.traverse_util.unflatten_dict(named, sep=".")
    return tree


# Writing


def to_weights_h5(config: Config, params: Any) -> bytes:
    """Writes parameters as the `.weights.h5` file of the same model in Keras.

    Raises:
      UserError: h5py is not installed.
    """
    h5py = require("h5py", "export")
    named = flax.traverse_util.flatten_dict(params, sep=".")
    layers = _twin(config)
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for layer, group in zip(layers, _groups([layer.kind for layer in layers]), strict=True):
            values = file.create_group(group)
            for i, name in enumerate(layer.weights):
                values[str(i)] = np.asarray(named[name], np.float32)
    return data.getvalue()


def to_keras(config: Config, params: Any) -> bytes:
    """Writes a model as a `.keras` file, which `keras.saving.load_model` reads.

    The model maps padded ids `[batch, length]` (`mlp`: multi-hot vectors `[batch, num_words]`) to
    probabilities `[batch, 1]`. It is not compiled.

    Raises:
      UserError: h5py is not installed.
    """
    width = config.num_words if config.arch == "mlp" else config.max_length
    inputs = KerasLayer("InputLayer", {"batch_shape": [None, width], "dtype": "float32"})
    layers = [inputs, *_twin(config)]
    described = []
    for number, (kind, options, _) in enumerate(layers):
        named = {"name": f"{kind.lower()}_{number}", **options}
        described.append(_serialized("keras.layers", kind, named))
    model = _serialized("keras", "Sequential", {"name": config.arch, "layers": described})
    model["build_config"] = {"input_shape": [None, width]}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        # Entries made so bear no date: the same model gives the same bytes.
        for name, content in {
            "metadata.json": json.dumps({"keras_version": "3.0.0"}).encode(),
            "config.json": json.dumps(model).encode(),
            "model.weights.h5": to_weights_h5(config, params),
        }.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return data.getvalue()


def _serialized(module: str, kind: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"module": module, "class_name": kind, "config": options, "registered_name": None}


def _twin(config: Config) -> list[KerasLayer]:
    module = create_model(config.arch, config.num_words, config.model)
    return keras_layers(module, config.max_length)


def _groups(kinds: Iterable[str]) -> list[str]:
    """Where the weights of layers of these kinds lie in an HDF5 file of Keras."""
    seen: Counter[str] = Counter()
    groups = []
    for kind in kinds:
        # Keras numbers the layers of a class, all but the first of them.
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).lower()
        number = f"_{seen[name]}" if seen[name] else ""
        seen[name] += 1
        groups.append(f"layers/{name}{number}/{'cell/' if kind == 'LSTM' else ''}vars")
    return groups


# Reading


def load_keras_weights(
    path: str | os.PathLike[str], recipe: str | Config | None = None
) -> tuple[Config, dict[str, Any]]:
    """Reads a model of one of our architectures that Keras 3 saved. Needs h5py, but not Keras.

        config, params = imdb_jax.load_keras_weights("cnn.keras")
        model = imdb_jax.CNN(config.num_words, **config.model)
        logits = model.apply({"params": params}, ids)

    Nothing in the file is executed or written to disk.

    Args:
      path: what `model.save("x.keras")` or `model.save_weights("x.weights.h5")` wrote.
      recipe: name of an architecture, or a configuration, for all that the file does not tell. Of a
        `.keras` file, where it may be left out, this is the side on which reviews are padded and
        cut; of a `.weights.h5` file also the architecture, ids per review and the pool size.

    Returns:
      The configuration, with the sizes found, and the parameters, float32 NumPy arrays. The model
      may end in a sigmoid or in nothing: either way ours, with these parameters, gives logits.

    Raises:
      UserError: the file is missing, damaged, larger than such models are, or holds another kind of
        model; or h5py is not installed.
    """
    h5py = require("h5py", "export")
    path = Path(path)
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                described = _parse_layers(_member(archive, "config.json", _MAX_CONFIG_BYTES))
                data = _member(archive, "model.weights.h5", _MAX_WEIGHT_BYTES)
            weights = _read_h5(h5py, io.BytesIO(data))
            config = _with_sizes(_described_config(described, recipe), weights)
            _check_description(described, config)
        else:
            with path.open("rb") as file:
                weights = _read_h5(h5py, file)
            if recipe is None:
                raise UserError("weights alone do not tell their architecture: name the recipe")
            config = _with_sizes(_as_config(recipe), weights)
        return config, _arrange(config, weights)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    # What zipfile and h5py raise depends on which byte of a file is wrong.
    except (*_DAMAGE, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "damaged or not Keras 3's"
        raise UserError(f"cannot read {path}: {reason}") from error


_DAMAGE = (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError)


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Unpacks a member in memory; only the bytes that come out tell how many there are."""
    with archive.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise UserError(f"{name} has more than {limit:,} bytes")
    return data


Weights = dict[str, list[NDArray[np.float32]]]  # group of an HDF5 file -> arrays in Keras' order


def _read_h5(h5py: Any, file: IO[bytes]) -> Weights:
    """Reads the weights of all layers."""
    weights: Weights = {}
    total = 0
    with h5py.File(file, "r") as root:
        layers = _child(h5py, root, "layers")
        for name in layers:
            group = _child(h5py, layers, name)
            path = f"layers/{name}/vars"
            if "cell" in group:
                group, path = _child(h5py, group, "cell"), f"layers/{name}/cell/vars"
            if "vars" not in group:
                continue
            variables = _child(h5py, group, "vars")
            for i in sorted(variables, key=int):
                dataset = _child(h5py, variables, i)
                # Either would have HDF5 read other files than the one asked for.
                if dataset.external or dataset.is_virtual:
                    raise UserError("it refers to other files")
                total += dataset.nbytes
                if total > _MAX_WEIGHT_BYTES:
                    raise UserError(f"it holds more than {_MAX_WEIGHT_BYTES:,} bytes of weights")
                if dataset.dtype.kind != "f":
                    raise UserError(f"{path}/{i} is of type {dataset.dtype}, not floating point")
                weights.setdefault(path, []).append(np.asarray(dataset[()], np.float32))
    return weights


def _child(h5py: Any, group: Any, name: str) -> Any:
    link = group.get(name, getlink=True)
    if link is None:
        raise KeyError(name)
    if not isinstance(link, h5py.HardLink):
        raise UserError("it refers to other files or places")  # by a soft or external link
    return group[name]


class _Described(NamedTuple):
    """What the `config.json` of a `.keras` file says.

    Attributes:
      layers: the layers, without the input and without dropout.
      dropout: after each dense layer but the last, the share of units dropped.
      length: size of the input; None if it is free.
    """

    layers: list[KerasLayer]
    dropout: list[float]
    length: int | None


def _parse_layers(data: bytes) -> _Described:
    layers: list[KerasLayer] = []
    dropout: list[float] = []
    try:
        model = json.loads(data)
        if model["class_name"] != "Sequential":
            raise UserError(f"it is a {model['class_name']} model; only Sequential ones are read")
        shape = (model.get("build_config") or {}).get("input_shape") or [None, None]
        for layer in model["config"]["layers"]:
            kind, options = layer["class_name"], layer["config"]
            if layer["module"] != "keras.layers":
                raise UserError(f"its layer {kind} is not one of Keras' own")
            if kind == "InputLayer":
                shape = options["batch_shape"]
            elif kind in _DROPOUT:
                if layers and layers[-1].kind == "Dense":
                    dropout[-1] = float(options["rate"])
            else:
                layers.append(KerasLayer(kind, {k: _plain(v) for k, v in options.items()}))
                dropout += [0.0] * (kind == "Dense")
        length = shape[1]
        if length is not None and length not in range(1, _MAX_LENGTH):
            raise ValueError(f"a review cannot have {length} ids")
        return _Described(layers, dropout[:-1], length)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise UserError("its config.json is not what Keras writes") from error


# Layers that change nothing once a model is trained.
_DROPOUT = ("Dropout", "SpatialDropout1D")


def _plain(value: Any) -> Any:
    """An option as it is written in Python: Keras keeps 3 as [3], and some functions as objects."""
    if isinstance(value, dict):
        return value.get("config")
    return value[0] if isinstance(value, list) and len(value) == 1 else value


# The kinds of an architecture's layers, in order.
_PATTERNS = {
    "mlp": r"(Dense )+",
    "embedding_mlp": r"Embedding Flatten (Dense ){1,2}",
    "cnn": r"Embedding Conv1D MaxPooling1D Flatten (Dense ){1,2}",
    "cnn_global": r"Embedding Conv1D GlobalMaxPooling1D (Dense ){1,2}",
    "pooled": r"Embedding GlobalAveragePooling1D (Dense ){1,2}",
    "lstm": r"Embedding LSTM Dense ",
}


def _described_config(described: _Described, recipe: str | Config | None) -> Config:
    """The recipe with what the description tells besides sizes of weights."""
    kinds = [layer.kind for layer in described.layers]
    written = "".join(f"{kind} " for kind in kinds)
    arch = next((arch for arch, kinds in _PATTERNS.items() if re.fullmatch(kinds, written)), None)
    if arch is None:
        raise UserError(f"none of our architectures has the layers {', '.join(kinds)}")
    if arch == "cnn" and described.layers[2].options.get("pool_size") == described.length:
        arch = "cnn_global"
    base = _as_config(recipe or arch)
    if ARCHITECTURES.get(base.arch) is not ARCHITECTURES[arch]:
        raise UserError(f"its layers are those of {arch}, not of {base.arch}")
    if arch == "mlp":
        dropout = list(described.dropout)
        while dropout and not dropout[-1]:
            dropout.pop()
        return dataclasses.replace(base, model={**base.model, "dropout": dropout})
    if described.length:
        base = dataclasses.replace(base, max_length=described.length)
    if ARCHITECTURES[arch] is CNN:
        size = 0 if arch == "cnn_global" else described.layers[2].options.get("pool_size")
        if not isinstance(size, int):
            raise UserError(f"its pool_size is {size!r}, not a number of positions")
        base = dataclasses.replace(base, model={**base.model, "pool_size": size})
    return base


def _as_config(recipe: str | Config) -> Config:
    return load_recipe(recipe) if isinstance(recipe, str) else recipe


def _check_description(described: _Described, config: Config) -> None:
    """Raises `UserError` if a layer differs from the same layer of ours in what it computes."""
    found = list(described.layers)
    last = found[-1].options
    if last.get("activation") == "linear":
        found[-1] = KerasLayer("Dense", last | {"activation": "sigmoid"})
    expected = [layer for layer in _twin(config) if layer.kind != "Dropout"]
    if found[2:] and found[2].kind == "GlobalMaxPooling1D":
        found[2:3] = expected[2:4]  # the same, in one layer instead of two
    for theirs, ours in zip(found, expected, strict=True):
        for name, value in ours.options.items():
            if theirs.options.get(name, value) != value:
                raise UserError(
                    f"its {ours.kind} layer has {name} {theirs.options[name]!r}, "
                    f"that of {config.arch} {value!r}"
                )


def _with_sizes(base: Config, weights: Weights) -> Config:
    """The configuration with the sizes that the weights have."""
    try:
        dense = [weights[group] for group in _groups(["Dense"] * len(weights)) if group in weights]
        widths = [kernel.shape[1] for kernel, _ in dense[:-1]]
        fields: dict[str, Any] = {}
        if base.arch == "mlp":
            num_words = dense[0][0].shape[0]
            fields = {"hidden": widths, "dropout": base.model["dropout"][: len(widths)]}
        else:
            num_words, fields["embedding_dim"] = weights["layers/embedding/vars"][0].shape
            if base.arch == "lstm":
                fields["units"] = weights["layers/lstm/cell/vars"][1].shape[0]
            else:
                fields["hidden"] = widths[0] if widths else 0
            if ARCHITECTURES[base.arch] is CNN:
                kernel = weights["layers/conv1d/vars"][0]
                fields["kernel_size"], _, fields["filters"] = kernel.shape
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f"its weights are not those of {base.arch}") from error
    return dataclasses.replace(base, num_words=num_words, model={**base.model, **fields})


def _arrange(config: Config, weights: Weights) -> dict[str, Any]:
    """Names the weights as our parameters, having checked that they fit the model."""
    layers = _twin(config)
    groups = _groups([layer.kind for layer in layers])
    names = {group: layer.weights for layer, group in zip(layers, groups, strict=True)}
    found = {group: len(values) for group, values in weights.items()}
    if found != {group: len(names[group]) for group in names if names[group]}:
        raise UserError(f"its weights are not those of {config.arch}")
    named = {
        name: values
        for group in weights
        for name, values in zip(names[group], weights[group], strict=True)
    }
    model = create_model(config.arch, config.num_words, config.model)
    ids = jax.ShapeDtypeStruct((1, config.max_length or 256), np.int32)
    try:
        shapes = jax.eval_shape(model.init, jax.random.key(0), ids)["params"]
    except ValueError as error:
        raise UserError(f"{config.arch} cannot be made so: {error}") from error
    for name, wanted in flax.traverse_util.flatten_dict(shapes, sep=".").items():
        if named[name].shape != wanted.shape:
            raise UserError(
                f"its {name} is {list(named[name].shape)}, that of {config.arch} with reviews of "
                f"{config.max_length} ids {list(wanted.shape)}"
            )
    return _tree(named)
