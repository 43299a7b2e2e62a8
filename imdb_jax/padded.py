"""Padded reviews: made once for each input format, memory-mapped from the cache ever after.

They lie in the cache entry of the encoded reviews that they are made from. They are written as a
stream, so that more reviews take no more memory, and training reads only the rows of a batch.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt
from numpy.typing import NDArray

from imdb_jax import encoding, input_format
from imdb_jax.caches import entry_name, open_entry, source_digest, write_entry
from imdb_jax.corpus import Corpus
from imdb_jax.encoding import Sequences
from imdb_jax.input_format import InputFormat

_BLOCK = 8192  # reviews padded at a time
_FILE = "ids.npy"
# The source that determines an entry: when it changes, so does the entry's name.
_CODE = (__file__, encoding.__file__, input_format.__file__)


def padded_reviews(
    corpus: Corpus[Any],
    form: InputFormat,
    rows: Int64[np.ndarray, " num_rows"],
    length: int | None = None,
) -> UInt[np.ndarray, "num_rows length"]:
    """Pad the reviews of a corpus, or open them in the cache if they are there and undamaged.

    Args:
      corpus: the encoded reviews; if they are not cached, they are padded in memory.
      form: how to pad them.
      rows: which reviews, in this order: train and test reviews are numbered as if joined.
      length: ids per review; None makes room for the longest review.

    Returns:
      Their ids, memory-mapped if they are cached.
    """
    if corpus.directory is None:
        return _pad(corpus, form, rows, length)
    identity = {
        "code": source_digest(*_CODE),
        "form": dataclasses.asdict(form),
        "length": length,
        "rows": hashlib.sha256(rows.data).hexdigest(),
    }
    entry = corpus.directory / entry_name("padded", identity)
    padded = open_entry(entry, identity, _read)
    if padded is None:
        try:
            write_entry(
                entry, identity, lambda where: _pad(corpus, form, rows, length, where / _FILE)
            )
            padded = _read(entry)
        except OSError:  # there is no place for it, and training needs it all the same
            padded = _pad(corpus, form, rows, length)
    return padded


def longest(corpus: Corpus[Any], form: InputFormat, rows: Int64[np.ndarray, " num_rows"]) -> int:
    """Return the number of ids that these reviews must have room for."""
    if form.max_length and not form.distinct:
        return form.max_length
    lengths = [form.sequences(_ragged(corpus, block)).lengths.max() for block in _blocks(rows)]
    return int(max(lengths, default=0))


def ragged_reviews(corpus: Corpus[Any], rows: Int64[np.ndarray, " num_rows"]) -> Sequences:
    """Return the ranks of these reviews, numbered as for `padded_reviews`, in this order."""
    return Sequences.join(*(_ragged(corpus, block) for block in _blocks(rows)))


def _read(entry: Path) -> NDArray[Any]:
    padded: NDArray[Any] = np.load(entry / _FILE, mmap_mode="r")
    return padded


def _pad(
    corpus: Corpus[Any],
    form: InputFormat,
    rows: NDArray[np.int64],
    length: int | None,
    path: Path | None = None,
) -> NDArray[Any]:
    """Pad reviews block by block, into a file if a path is given, else in memory."""
    # The longest review may be in any block.
    length = longest(corpus, form, rows) if length is None else length
    shape = (len(rows), length)
    if path is None:
        padded = np.empty(shape, form.dtype)
    else:
        padded = np.lib.format.open_memmap(path, "w+", form.dtype, shape)
    for number, block in enumerate(_blocks(rows)):
        start = number * _BLOCK
        padded[start : start + len(block)] = form.ids(_ragged(corpus, block), length)
    if isinstance(padded, np.memmap):
        padded.flush()
    return padded


def _blocks(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]


def _ragged(corpus: Corpus[Any], rows: NDArray[np.int64]) -> Sequences:
    num_train = len(corpus.train.labels)
    train = rows < num_train
    joined = Sequences.join(
        corpus.train.ranks[rows[train]], corpus.test.ranks[rows[~train] - num_train]
    )
    return joined[np.argsort(np.concatenate([np.flatnonzero(train), np.flatnonzero(~train)]))]
