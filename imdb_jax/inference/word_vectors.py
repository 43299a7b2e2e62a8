"""The word vectors that a model has learned: which words are alike, and a file of word2vec."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32

from imdb_jax.errors import UserError
from imdb_jax.text.sequences import INDEX_FROM
from imdb_jax.text.tokens import tokenize

if TYPE_CHECKING:
    from imdb_jax.inference.classifier import Classifier


class WordVectors(NamedTuple):
    """Words with a vector of their own, the most frequent first."""

    words: tuple[str, ...]
    vectors: Float32[np.ndarray, "num_words dimensions"]


def word_vectors(classifier: Classifier) -> WordVectors:
    """Take the word vectors out of a model, or raise `UserError` if it has none.

    Left out are ids 0 to 3 (padding, start, unknown, unused) and words from `num_words` on, which
    the model takes for unknown.
    """
    if "Embed_0" not in classifier.params:
        units = "n-grams" if classifier.input_format.ngrams else "words"
        raise UserError(
            f"{classifier.config.arch} has no word vectors; it only reads which {units} "
            "a review holds"
        )
    vectors = np.asarray(classifier.params["Embed_0"]["embedding"], np.float32)[INDEX_FROM + 1 :]
    words = classifier.vocabulary.words[: len(vectors)]
    return WordVectors(words, vectors[: len(words)])


def nearest_words(known: WordVectors, word: str, top: int = 10) -> list[tuple[str, float]]:
    """Return the other words with the largest cosines between their vector and the word's.

    The word is normalized as reviews are. Raises `UserError` if it is not a single word, or has no
    vector.
    """
    found = tokenize(word)
    if len(found) != 1:
        raise UserError(f"{word!r} is not a single word but {len(found)}: {' '.join(found)}")
    (word,) = found
    if word not in known.words:
        near = difflib.get_close_matches(word, known.words, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"{word!r} is not among the {len(known.words)} words with a vector{hint}")
    position = known.words.index(word)
    lengths = np.linalg.norm(known.vectors, axis=1, keepdims=True)
    # A vector of length zero has no direction and is like no other.
    directions = known.vectors / np.where(lengths > 0, lengths, 1)
    cosines = directions @ directions[position]
    order = np.argsort(-cosines, kind="stable")
    return [(known.words[i], float(cosines[i])) for i in order[order != position][:top]]


def to_word2vec(known: WordVectors) -> bytes:
    """Write word vectors in the text format of word2vec, which gensim and others read.

    The first line has the number of words and of dimensions, every other line a word and its
    values, in UTF-8, separated by single spaces. Reading a value gives the same float32 again.
    """
    lines = [f"{len(known.words)} {known.vectors.shape[1]}"]
    for word, values in zip(known.words, known.vectors.astype(str).tolist(), strict=True):
        lines.append(" ".join([word, *values]))
    return ("\n".join(lines) + "\n").encode()
