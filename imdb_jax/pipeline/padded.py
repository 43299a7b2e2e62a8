"""Padded reviews: made once for each input format, then memory-mapped from the cache.

They are in the cache entry of their encoded reviews, and written as a stream, so that more reviews
take no more memory. Training reads only the rows of a batch.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt
from numpy.typing import NDArray

from imdb_jax.files import save_blocks
from imdb_jax.parallel.host_memory import check_memory
from imdb_jax.pipeline import input_format
from imdb_jax.pipeline.cache import entry_name, open_entry, source_digest, write_entry
from imdb_jax.pipeline.corpus import Corpus
from imdb_jax.pipeline.input_format import InputFormat
from imdb_jax.text import sequences
from imdb_jax.text.sequences import Sequences

# Which reviews, in this order: train and test reviews are numbered as if joined.
Rows = Int64[np.ndarray, " num_rows"]

_BLOCK = 8192  # reviews padded at a time
_FILE = "ids.npy"
# The source code that determines an entry, and so the entry's name.
_CODE = (__file__, sequences.__file__, input_format.__file__)


def padded_reviews(
    corpus: Corpus[Any], form: InputFormat, rows: Rows, length: int | None = None
) -> UInt[np.ndarray, "num_rows length"]:
    """Pad reviews to `length`, or that of the longest; memory-map them if the corpus is cached."""
    pad = partial(_pad, corpus, form, rows, length)
    if corpus.directory is None:
        return pad(None)
    identity = {
        "code": source_digest(*_CODE),
        "form": dataclasses.asdict(form),
        "length": length,
        "rows": hashlib.sha256(rows.data).hexdigest(),
    }
    entry = corpus.directory / entry_name("padded", identity)
    if (cached := open_entry(entry, identity, _read)) is not None:
        return cached
    try:
        write_entry(entry, identity, pad)
        return _read(entry)
    except OSError:  # such as a full disk
        return pad(None)


def longest(corpus: Corpus[Any], form: InputFormat, rows: Rows) -> int:
    """Return the number of ids that these reviews must have room for."""
    if form.max_length and not form.distinct:
        return form.max_length
    lengths = (form.sequences(block).lengths.max() for block in _blocks(corpus, rows))
    return int(max(lengths, default=0))


def ragged_reviews(corpus: Corpus[Any], rows: Rows) -> Sequences:
    """Return the ranks of these reviews."""
    return Sequences.join(*_blocks(corpus, rows))


def _read(entry: Path) -> NDArray[Any]:
    return np.load(entry / _FILE, mmap_mode="r")


def _pad(
    corpus: Corpus[Any], form: InputFormat, rows: Rows, length: int | None, entry: Path | None
) -> NDArray[Any]:
    """Pad reviews block by block, into a file of an entry if one is given, else in memory."""
    width = longest(corpus, form, rows) if length is None else length
    blocks = (form.ids(block, width) for block in _blocks(corpus, rows))
    if entry is not None:
        save_blocks(entry / _FILE, form.dtype, blocks, (width,))
        return _read(entry)
    size = len(rows) * width * form.dtype.itemsize
    check_memory("padding the reviews", size, f"lower max_length, {form.max_length}")
    padded = np.empty((len(rows), width), form.dtype)
    first = 0
    for block in blocks:
        padded[first : first + len(block)] = block
        first += len(block)
    return padded


def _blocks(corpus: Corpus[Any], rows: Rows) -> Iterator[Sequences]:
    num_train = len(corpus.train.labels)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        tested = block >= num_train
        joined = Sequences.join(
            corpus.train.ranks[block[~tested]], corpus.test.ranks[block[tested] - num_train]
        )
        # `joined` has train before test reviews; the second sort undoes the first.
        yield joined[np.argsort(np.argsort(tested, kind="stable"))]
