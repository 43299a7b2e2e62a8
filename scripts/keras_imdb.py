"""Makes the files behind `keras.datasets.imdb` out of the reviews themselves.

    python scripts/keras_imdb.py --archive aclImdb_v1.tar.gz --out DIR

Writes `imdb_word_index.json`, which is the published file byte for byte, and `imdb.npz`, with the
arrays of the published one. It is another file around them, however, and Keras looks at its
checksum: what `keras.datasets.imdb.load_data` does with the file works on this one, but before it
does so it would download the published one in its place.

The arrays are of Python lists, so that reading `imdb.npz` takes pickle: only read a file that you
made. `imdb_jax.load_data` gives the same ids without either file.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from imdb_jax import cli
from imdb_jax.datasets.imdb.archive import read_archive
from imdb_jax.errors import UserError
from imdb_jax.files import write_atomically
from imdb_jax.pipeline.keras_imdb import object_array
from imdb_jax.text.python2_dict import python2_dict_order
from imdb_jax.text.vocabulary import Vocabulary

_ARRAYS, _WORD_INDEX = "imdb.npz", "imdb_word_index.json"
# What Keras expects of the latter.
_PUBLISHED_MD5 = "bfafd718b763782e994055a2d397834f"


@dataclass(frozen=True)
class Options:
    """Where the reviews are, and where the files go."""

    archive: Path
    """aclImdb_v1.tar.gz, or a directory that holds it."""

    out: Path
    """Directory for imdb.npz and imdb_word_index.json."""

    allow_unverified: bool = False
    """Accept an archive whose checksum is not the published one."""

    overwrite: bool = False
    """Replace files of these names."""

    quiet: bool = False
    """Print nothing."""


def make_files(arguments: Sequence[str]) -> None:
    """Parses the arguments, reads the archive and writes the two files."""
    default = Options(tyro.MISSING, tyro.MISSING)
    options = cli.parse("keras_imdb", default, __doc__ or "", arguments)
    paths = [options.out / _ARRAYS, options.out / _WORD_INDEX]
    for path in paths:
        if path.exists() and not options.overwrite:
            raise UserError(f"{path} is there already; choose another --out, or --overwrite")
    say: Callable[[str], None] = (lambda text: None) if options.quiet else print

    started = time.perf_counter()
    reviews = read_archive(options.archive, verify=not options.allow_unverified, report=say)
    arrays, vocabulary = make_arrays(reviews)
    say(f"{len(vocabulary):,} words; made in {time.perf_counter() - started:.1f} s")
    word_index = json.dumps(published_word_index(vocabulary)).encode()
    published = hashlib.md5(word_index, usedforsecurity=False).hexdigest() == _PUBLISHED_MD5
    data = io.BytesIO()
    # mypy takes arrays by name for the option that stands beside them.
    np.savez(data, **arrays)  # type: ignore[arg-type]
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        write_atomically(paths[0], data.getvalue())
        write_atomically(paths[1], word_index)
    except OSError as error:
        raise UserError(f"cannot write to {options.out}: {error.strerror or error}") from error
    say(f"{_WORD_INDEX} is {'' if published else 'not '}the published file, byte for byte")


def make_arrays(
    reviews: Mapping[str, Mapping[str, bytes]],
) -> tuple[dict[str, NDArray[np.object_] | NDArray[np.int64]], Vocabulary]:
    """Makes the arrays of `imdb.npz`.

    Args:
      reviews: what `archive.read_archive` gives.

    Returns:
      The arrays by name: `x_train` and `x_test`, object arrays `[num_reviews]` of lists of ranks
      (from 1); `y_train` and `y_test`, int64 `[num_reviews]`, 1 for positive. Positive reviews come
      first, each half by file name. And the vocabulary.
    """
    # False, for positive reviews, stands before True.
    paths = {
        split: sorted(reviews[split], key=lambda path: ("/neg/" in path, path))
        for split in ("train", "test")
    }
    texts = {split: [reviews[split][path] for path in paths[split]] for split in paths}
    vocabulary, train_ranks = Vocabulary.build_and_rank(texts["train"], "keras")
    ranks = {"train": train_ranks, "test": vocabulary.rank(texts["test"])}
    arrays: dict[str, NDArray[np.object_] | NDArray[np.int64]] = {}
    for split in paths:
        arrays[f"x_{split}"] = object_array(ranks[split])
        arrays[f"y_{split}"] = np.array(["/pos/" in path for path in paths[split]], np.int64)
    return arrays, vocabulary


def published_word_index(vocabulary: Vocabulary) -> dict[str, int]:
    """Word -> rank, in the order of the published file, which Python 2 wrote.

    Like that of words that occur equally often, it follows from the order in which Python 2's dicts
    yield their keys: words were entered by rank into one dict, and from there into another.
    """
    words = list(enumerate(vocabulary.words, start=1))
    for _ in range(2):
        words = [words[i] for i in python2_dict_order([word.encode() for _, word in words])]
    return {word: rank for rank, word in words}


if __name__ == "__main__":
    cli.run_command(make_files)
