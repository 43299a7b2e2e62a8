"""Padded reviews on disk: made once for each input format, memory-mapped ever after.

A file of padded ids lies in the cache entry of the encoded reviews it was made from. It is written
in a stream, so that making it takes no more memory for more reviews, and training reads of it only
the rows of a batch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt
from numpy.typing import NDArray

from imdb_jax import encoding, input_format
from imdb_jax.corpus import Corpus
from imdb_jax.encoding import Sequences
from imdb_jax.files import file_digest, write_atomically
from imdb_jax.input_format import InputFormat

# Reviews padded at a time.
_BLOCK = 8192
# The source that determines a file: when it changes, so does the file's name.
_CODE = (__file__, encoding.__file__, input_format.__file__)


def padded_reviews(
    corpus: Corpus[Any],
    form: InputFormat,
    rows: Int64[np.ndarray, " num_rows"],
    length: int | None = None,
) -> UInt[np.ndarray, "num_rows length"]:
    """Pads the reviews of a corpus, or takes them from the cache if they are there and undamaged.

    Args:
      corpus: the reviews; those that are not cached themselves are padded in memory.
      form: how to pad them.
      rows: the order they are wanted in: numbers of train and test reviews joined.
      length: ids per review; as many as the longest of these has if None.

    Returns:
      Their ids, memory-mapped where there is a cache, all equally long.
    """
    if corpus.directory is None:
        return _pad(corpus, form, rows, length)
    path = corpus.directory / f"padded-{_key(form, rows, length)}.npy"
    if (padded := _read(path)) is not None:
        return padded
    try:
        return _write(path, corpus, form, rows, length)
    except OSError:  # no place for it: training needs it all the same
        return _pad(corpus, form, rows, length)


def longest(corpus: Corpus[Any], form: InputFormat, rows: Int64[np.ndarray, " num_rows"]) -> int:
    """How many ids the longest of these rows has, or all of them are to have."""
    if form.max_length and not form.distinct:
        return form.max_length
    lengths = [form.sequences(_ragged(corpus, block)).lengths.max() for block in _blocks(rows)]
    return int(max(lengths, default=0))


def _key(form: InputFormat, rows: NDArray[np.int64], length: int | None) -> str:
    identity = {
        "code": [file_digest(Path(module)) for module in _CODE],
        "form": dataclasses.asdict(form),
        "length": length,
        "rows": hashlib.sha256(rows.data).hexdigest(),
    }
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _read(path: Path) -> NDArray[Any] | None:
    """The file memory-mapped, or None where it is not there as it was written."""
    try:
        if _digest_path(path).read_text() == file_digest(path):
            return np.load(path, mmap_mode="r")
    except (OSError, ValueError):
        pass
    return None


def _write(
    path: Path,
    corpus: Corpus[Any],
    form: InputFormat,
    rows: NDArray[np.int64],
    length: int | None,
) -> NDArray[Any]:
    """Writes the file under a temporary name, renames it when it is complete, and maps it."""
    unfinished = path.with_name(f".{uuid.uuid4().hex}.npy")
    try:
        _pad(corpus, form, rows, length, unfinished)
        digest = file_digest(unfinished)
        os.replace(unfinished, path)
        write_atomically(_digest_path(path), digest.encode())
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return np.load(path, mmap_mode="r")


def _pad(
    corpus: Corpus[Any],
    form: InputFormat,
    rows: NDArray[np.int64],
    length: int | None,
    path: Path | None = None,
) -> NDArray[Any]:
    """Pads the reviews block by block, into a file if a path is given, else in memory."""
    # As long as the longest of all, be it in whichever block.
    length = longest(corpus, form, rows) if length is None else length
    shape = (len(rows), length)
    if path is None:
        padded = np.empty(shape, form.dtype)
    else:
        padded = np.lib.format.open_memmap(path, "w+", form.dtype, shape)
    for place, block in enumerate(_blocks(rows)):
        start = place * _BLOCK
        padded[start : start + len(block)] = form.ids(_ragged(corpus, block), length)
    if isinstance(padded, np.memmap):
        padded.flush()
    return padded


def ragged_reviews(corpus: Corpus[Any], rows: Int64[np.ndarray, " num_rows"]) -> Sequences:
    """What a corpus holds of these rows of train and test reviews joined, in their order."""
    return Sequences.join(*(_ragged(corpus, block) for block in _blocks(rows)))


def _blocks(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]


def _ragged(corpus: Corpus[Any], rows: NDArray[np.int64]) -> Sequences:
    num_train = len(corpus.train.labels)
    train = rows < num_train
    joined = Sequences.join(
        corpus.train.ranks[rows[train]], corpus.test.ranks[rows[~train] - num_train]
    )
    back = np.empty(len(rows), np.int64)
    back[np.concatenate([np.flatnonzero(train), np.flatnonzero(~train)])] = np.arange(len(rows))
    return joined[back]
