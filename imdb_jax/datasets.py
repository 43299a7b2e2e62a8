"""Where reviews come from: TFDS' `imdb_reviews`, or the built-in synthetic corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int8

from imdb_jax import preparation, synthetic
from imdb_jax.encoding import Text, Ties
from imdb_jax.errors import UserError
from imdb_jax.files import file_digest
from imdb_jax.suggestions import unknown_name

Report = Callable[[str], None]


@dataclass(frozen=True)
class Reviews:
    """Texts with their labels.

    Attributes:
      texts: one text per review.
      labels: 1 for positive, 0 for negative, int8 `[num_reviews]`.
    """

    texts: Sequence[Text]
    labels: Int8[np.ndarray, " num_reviews"]


@dataclass(frozen=True)
class Dataset:
    """A data set whose splits, `train` and `test`, are read when they are needed.

    Attributes:
      name: what results call it.
      fingerprint: changes whenever the texts, their labels or their order do.
      ties: how the vocabulary orders words that occur equally often.
      read: reads a split.
    """

    name: str
    fingerprint: str
    ties: Ties
    read: Callable[[str], Reviews]


def find_dataset(
    name: str = "auto",
    data_dir: Path | None = None,
    archive: Path | None = None,
    allow_unverified: bool = False,
    report: Report = print,
) -> Dataset:
    """Finds a data set, and prepares it first if need be.

    Args:
      name: 'imdb_reviews'; 'synthetic'; or 'auto', which is the first if it is prepared or can be
        downloaded, else the second.
      data_dir: TFDS data directory; by default TFDS_DATA_DIR, else ~/tensorflow_datasets.
      archive: prepare `imdb_reviews` from this file or directory instead of downloading it.
      allow_unverified: accept an archive with another checksum than the published one.
      report: receives lines that say what is going on.

    Raises:
      UserError: an unknown name, or the reviews are not to be had.
    """
    if name == "synthetic":
        return synthetic_dataset()
    if name not in ("auto", "imdb_reviews"):
        raise UserError(unknown_name("data set", name, ("auto", "imdb_reviews", "synthetic")))
    data_dir = data_dir or preparation.default_data_dir()
    try:
        if archive is not None or not preparation.is_prepared(data_dir):
            preparation.prepare(data_dir, archive, verify=not allow_unverified, report=report)
    except preparation.DownloadUnreachable as error:
        if name == "imdb_reviews":
            raise
        report(f"The IMDb reviews are not in {data_dir}, and {error}")
        report("Training on the built-in synthetic corpus instead: its figures are not IMDb's.")
        return synthetic_dataset()
    return imdb_reviews(data_dir)


def imdb_reviews(data_dir: Path) -> Dataset:
    """The prepared `imdb_reviews` of a TFDS data directory.

    If the directory keeps the reviews' file names, as one prepared by this package does, they are
    read in the order in which `keras.datasets.imdb` was made; else in TFDS' order.
    """
    keras_order = preparation.read_file_names(data_dir, "train") is not None

    def read(split: str) -> Reviews:
        texts, labels = preparation.read_split(data_dir, split)
        names = preparation.read_file_names(data_dir, split) if keras_order else None
        if names is None:
            return Reviews(texts, labels)
        # All positive reviews, then all negative ones, each by file name as a string.
        order = sorted(range(len(names)), key=lambda i: (-labels[i], names[i]))
        return Reviews([texts[i] for i in order], labels[order])

    return Dataset(
        name="imdb_reviews",
        fingerprint=preparation.fingerprint(data_dir),
        ties="keras" if keras_order else "alphabetical",
        read=read,
    )


def synthetic_dataset(num_train: int | None = None, num_test: int | None = None) -> Dataset:
    """The built-in corpus, or the first reviews of its splits."""
    sizes = {"train": num_train, "test": num_test}
    return Dataset(
        name="synthetic",
        fingerprint=f"{file_digest(Path(synthetic.__file__))} {sizes}",
        ties="alphabetical",
        read=lambda split: Reviews(*synthetic.synthetic_reviews(split, sizes[split])),
    )
