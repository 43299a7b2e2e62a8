"""Small models with random parameters, for tests of what is made out of models."""

import math

import jax
import numpy as np

from imdb_jax.config import load_recipe, replace
from imdb_jax.inference.classifier import Classifier
from imdb_jax.pipeline.input_format import create_configured_model
from imdb_jax.text.ngrams import NgramVocabulary
from imdb_jax.text.vocabulary import Vocabulary

TEXTS = [
    "A wonderful film, full of joy.",
    "It isn't good: a dull, DULL film<br />and a boring one.",
    "Un chef-d'\u0153uvre\u00a0total \u0085 joy\x0bof joy, a film of a film of a film of joy!",
]
# The two rarest words of this vocabulary have no id of their own.
VOCABULARY = Vocabulary.build(TEXTS)
NUM_WORDS = len(VOCABULARY) + 2
NGRAMS, _ = NgramVocabulary.build_and_encode([*TEXTS, *TEXTS[::2]])
SMALL = {
    "mlp": {"hidden": [6, 5], "dropout": [0.3]},
    "embedding_mlp": {"embedding_dim": 3, "hidden": 4},
    "cnn": {"embedding_dim": 3, "filters": 4, "hidden": 5},
    "cnn_global": {"embedding_dim": 3, "filters": 4, "hidden": 0},
    "pooled": {"embedding_dim": 3, "hidden": 4},
    "lstm": {"embedding_dim": 3, "units": 4},
    "ngram": {},
}


def small_classifier(arch: str, **changes) -> Classifier:
    """A model of an architecture; `changes` are to its configuration."""
    recipe = load_recipe(arch)
    vocabulary = NGRAMS if arch == "ngram" else VOCABULARY
    config = replace(
        recipe,
        num_words=NGRAMS.num_features if arch == "ngram" else NUM_WORDS,
        max_length=9 if recipe.input.max_length else 0,
        model={**recipe.model, **SMALL[arch]},
    )
    config = replace(config, **changes)
    model = create_configured_model(config)
    ids = jax.ShapeDtypeStruct((1, config.input.max_length or 9), np.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), ids)["params"]
    rng = np.random.default_rng(4)

    def random(path, leaf) -> np.ndarray:
        """Values that keep the size of what passes through, and biases that keep units alive."""
        if arch == "ngram":
            values = rng.normal(0, 1, leaf.shape).astype("f")
            return np.where(np.arange(leaf.size) > 0, values, 0) if leaf.shape else values
        if len(leaf.shape) == 1:
            return rng.uniform(0, 0.3, leaf.shape).astype("f")
        looked_up = "embedding" in jax.tree_util.keystr(path)
        fan_in = 4 if looked_up else math.prod(leaf.shape[:-1])
        return rng.normal(0, 1.5 / math.sqrt(fan_in), leaf.shape).astype("f")

    params = jax.tree_util.tree_map_with_path(random, shapes)
    return Classifier(config, vocabulary, model, params)
