"""Models for the tests that read text: with random parameters, as training would change no rule."""

import functools

import jax
import numpy as np

from imdb_jax.config import load_recipe, replace
from imdb_jax.inference.classifier import Classifier
from imdb_jax.pipeline.input_format import create_configured_model
from imdb_jax.text.vocabulary import Vocabulary

ARCHITECTURES = ["mlp", "embedding_mlp", "cnn", "cnn_global", "pooled", "lstm"]
SMALL_MODELS = {
    "mlp": {"hidden": [4, 4], "dropout": [0.3]},
    "embedding_mlp": {"embedding_dim": 2, "hidden": 4},
    "cnn": {"embedding_dim": 2, "filters": 3, "hidden": 4},
    "cnn_global": {"embedding_dim": 2, "filters": 3, "hidden": 4},
    "pooled": {"embedding_dim": 4, "hidden": 4},
    "lstm": {"embedding_dim": 2, "units": 3},
}
# From the most frequent to the least; of twelve words a model of num_words=12 tells eight apart.
WORDS = ["the", "film", "is", "good", "bad", "and", "very", "it's", "not", "caf�", "é", "rare"]


@functools.cache
def small(arch: str = "pooled", *, linear: bool = False, max_length: int = 8) -> Classifier:
    """A small model with parameters so large that every word matters."""
    recipe = load_recipe(arch)
    fields = recipe.model | SMALL_MODELS[arch]
    if linear:
        fields = {
            **fields,
            "hidden": [] if arch == "mlp" else 0,
            **({"dropout": []} if arch == "mlp" else {}),
        }
    length = 0 if arch == "mlp" else max_length
    config = replace(recipe, num_words=12, max_length=length, model=fields)
    model = create_configured_model(config)
    ids = jax.ShapeDtypeStruct((1, length or 256), np.uint8)
    shapes = jax.eval_shape(model.init, jax.random.key(0), ids)["params"]
    random = np.random.default_rng(3)  # initializing it as training does is one more to compile
    params = jax.tree.map(lambda leaf: random.normal(0.1, 0.5, leaf.shape).astype("f"), shapes)
    return Classifier(config, Vocabulary(WORDS), model, params)
