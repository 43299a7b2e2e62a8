"""The classic IMDb sentiment models in functional JAX, from raw text to trained model."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imdb_jax.classifier import load as load
    from imdb_jax.corpus import get_word_index as get_word_index
    from imdb_jax.corpus import load_data as load_data
    from imdb_jax.encoding import Vocabulary as Vocabulary
    from imdb_jax.encoding import multi_hot as multi_hot
    from imdb_jax.encoding import pad_sequences as pad_sequences
    from imdb_jax.encoding import tokenize as tokenize
    from imdb_jax.errors import UserError as UserError
    from imdb_jax.keras_weights import load_keras_weights as load_keras_weights
    from imdb_jax.models import CNN as CNN
    from imdb_jax.models import LSTM as LSTM
    from imdb_jax.models import MLP as MLP
    from imdb_jax.models import EmbeddingMLP as EmbeddingMLP
    from imdb_jax.models import Pooled as Pooled
    from imdb_jax.models.inputs import Batch as Batch
    from imdb_jax.step import create_train_state as create_train_state
    from imdb_jax.step import eval_step as eval_step
    from imdb_jax.step import train_step as train_step

# Where each public name lives. They are imported when first used, so that encoding text does not
# wait for JAX and `--help` does not wait for anything.
_HOME = {
    "load": "classifier",
    "get_word_index": "corpus",
    "load_data": "corpus",
    "Vocabulary": "encoding",
    "multi_hot": "encoding",
    "pad_sequences": "encoding",
    "tokenize": "encoding",
    "UserError": "errors",
    "load_keras_weights": "keras_weights",
    "CNN": "models",
    "LSTM": "models",
    "MLP": "models",
    "EmbeddingMLP": "models",
    "Pooled": "models",
    "Batch": "models.inputs",
    "create_train_state": "step",
    "eval_step": "step",
    "train_step": "step",
}

__all__ = list(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
