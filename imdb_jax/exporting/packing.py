"""A trained model as one string, which `web/unpack.js` reads.

Numbers have 16 bits: halves of float32, after a division by the largest absolute value of their
array. All bytes are compressed together. The lowest bytes of an array come first, then their second
bytes, and so on, because bytes of one kind compress better.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from imdb_jax.errors import UserError
from imdb_jax.exporting.named_params import named_params
from imdb_jax.inference.classifier import Classifier
from imdb_jax.models.ngram import contributions
from imdb_jax.text.ngrams import NgramVocabulary


def pack(classifier: Classifier) -> tuple[list[dict[str, Any]], str]:
    """Pack parameters and vocabulary.

    Returns:
      What each part is: name, kind, size, and scale of floats; and base64 of them, compressed.

    Raises:
      UserError: a parameter is not a finite number.
    """
    described, packed = [], []
    for name, part in _parts(classifier).items():
        if isinstance(part, bytes):
            described.append({"name": name, "kind": "text", "size": len(part)})
            packed.append(part)
        elif part.dtype == np.uint32:
            described.append({"name": name, "kind": "uint32", "size": part.size})
            packed.append(_planes(part))
        else:
            if not np.isfinite(part).all():
                raise UserError(f"the model cannot be exported: {name} is not finite everywhere")
            scale = float(np.abs(part).max(initial=0)) or 1.0
            described.append({"name": name, "kind": "float16", "size": part.size, "scale": scale})
            packed.append(_planes((part.astype(np.float64) / scale).astype(np.float16)))
    return described, base64.b64encode(zlib.compress(b"".join(packed), 9)).decode()


def _parts(classifier: Classifier) -> dict[str, bytes | NDArray[Any]]:
    """Return all that the page needs to predict, by name."""
    vocabulary = classifier.vocabulary
    if not isinstance(vocabulary, NgramVocabulary):
        # Of words that the model cannot tell apart, their order does not matter. Sorted, they
        # compress better.
        ranks = np.arange(1, len(vocabulary) + 1, dtype=np.int32)
        told_apart = np.count_nonzero(classifier.told_apart(ranks))
        words = [*vocabulary.words[:told_apart], *sorted(vocabulary.words[told_apart:])]
        return {"words": "\n".join(words).encode(), **named_params(classifier.params)}
    base = len(vocabulary.words) + 1
    # Prefix and last word of each n-gram of two or more words. Keys are sorted, so that the
    # extensions of one prefix are neighbors: it is enough to know how many there are.
    prefixes, last_words = np.divmod(np.concatenate([[], *vocabulary.packed]).astype(int), base)
    sizes = np.bincount(prefixes, minlength=vocabulary.num_features)
    return {
        "words": "\n".join(vocabulary.words).encode(),
        "last_words": last_words.astype(np.uint32),
        "num_extensions": sizes.astype(np.uint32),
        "contributions": contributions(jax.device_get(classifier.params)),
        "bias": np.asarray(classifier.params["bias"]),
    }


def _planes(values: NDArray[Any]) -> bytes:
    """Return the lowest bytes of all values, then their second bytes, and so on."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return np.frombuffer(little.tobytes(), np.uint8).reshape(-1, values.itemsize).T.tobytes()
