"""A data set of labelled texts, and the part of it that one of several processes reads."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int8

from imdb_jax.text.tokens import Text
from imdb_jax.text.vocabulary import Ties

# How a fingerprint of contents begins. In earlier versions, that of these reviews was a digest of
# their files' times, and that of the synthetic ones a digest of a module's source.
BY_CONTENT = "content:"

# What people call the two classes: the negative one, whose label is 0, and the positive one.
LabelNames = tuple[str, str]
NEGATIVE_POSITIVE: LabelNames = ("negative", "positive")


@dataclass(frozen=True)
class Reviews:
    """Texts with their labels: 1 for positive, 0 for negative, -1 for unsupervised."""

    texts: Sequence[Text]
    labels: Int8[np.ndarray, " num_reviews"]

    def __getitem__(self, rows: slice) -> Reviews:
        """Return the reviews of these rows, and keep no others in memory."""
        return Reviews(self.texts[rows], self.labels[rows])


@dataclass(frozen=True)
class StreamedTexts(Sequence[Text]):
    """Texts that are read from their source each time they are iterated over."""

    read: Callable[[], Iterator[Text]]  # all texts of the source, in order
    rows: range  # which of them are in the sequence

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Text]:
        return itertools.islice(self.read(), self.rows.start, self.rows.stop, self.rows.step)

    def __getitem__(self, index: Any) -> Any:
        """Return one text, after reading all before it, or several, which are not read yet."""
        if isinstance(index, slice):
            return StreamedTexts(self.read, self.rows[index])
        return next(itertools.islice(self.read(), self.rows[index], None))


@dataclass(frozen=True)
class Dataset:
    """A data set with the splits `train` and `test`, which are read when they are needed.

    Attributes:
      fingerprint: changes whenever the texts, their labels or their order change.
      ties: how the vocabulary orders words that occur equally often.
      read: reads a split; of a large split only the labels, until its texts are iterated over.
      test_is_share: the test reviews were set apart from one source, before words are counted.
      fixed_split: the test reviews are such a share or a chosen file; splits must not be merged.
      label_names: what the data call the two classes, in printable characters, negative first.
      unsupervised: there is also a split `unsupervised`.
      sizes: returns the number of reviews of every split without reading them; None if impossible.
      read_rows: reads some consecutive reviews of a split and no others; None if impossible.
      extent: which reviews of a larger data set these are, see `part`.
    """

    name: str
    fingerprint: str
    ties: Ties
    read: Callable[[str], Reviews]
    test_is_share: bool = False
    fixed_split: bool = False
    label_names: LabelNames = NEGATIVE_POSITIVE
    unsupervised: bool = False
    sizes: Callable[[], Mapping[str, int]] | None = None
    read_rows: Callable[[str, range], Reviews] | None = None
    extent: Extent | None = None

    def part(self, number: int, of: int) -> Dataset:
        """Return one of `of` equal parts: a range of the train and one of the test reviews."""
        if self.sizes:
            sizes = self.sizes()
        else:
            sizes = {split: len(self.read(split).labels) for split in ("train", "test")}
        rows = {s: range(number * n // of, (number + 1) * n // of) for s, n in sizes.items()}

        def read(split: str) -> Reviews:
            if self.read_rows:
                return self.read_rows(split, rows[split])
            return self.read(split)[rows[split].start : rows[split].stop]

        return dataclasses.replace(
            self,
            fingerprint=f"{self.fingerprint} part {number} of {of}",
            read=read,
            extent=Extent(rows["train"], rows["test"], sizes["train"], sizes["test"]),
        )


class Extent(NamedTuple):
    """Row numbers of a part of a data set, and the sizes of the whole splits."""

    train: range
    test: range
    num_train: int
    num_test: int
