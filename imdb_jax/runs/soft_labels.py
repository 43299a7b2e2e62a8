"""Texts without labels, and the probabilities that a teacher gives them: soft labels."""

import dataclasses
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float32

from imdb_jax.config import UNSUPERVISED
from imdb_jax.datasets import tables
from imdb_jax.datasets.dataset import Dataset, Reviews
from imdb_jax.errors import UserError
from imdb_jax.files import read_arrays, write_atomically
from imdb_jax.progress import Report, note
from imdb_jax.text.tokens import Text, utf8


@dataclass(frozen=True)
class SoftLabels:
    """The probability of 'positive' that a teacher, of which there is a digest, gives each text."""

    texts: Sequence[Text]
    probabilities: Float32[np.ndarray, " num_texts"]
    teacher: str

    @property
    def fingerprint(self) -> str:
        """A digest of the texts and their probabilities."""
        texts = digest_of_texts(self.texts).encode()
        return hashlib.sha256(texts + self.probabilities.tobytes()).hexdigest()

    def save(self, path: Path) -> None:
        """Write a NumPy archive (.npz), with a digest of the texts in place of the texts."""
        file = io.BytesIO()
        of_texts, digest = map(np.array, (digest_of_texts(self.texts), self._digest()))
        np.savez(
            file,
            probabilities=self.probabilities,
            texts=of_texts,
            teacher=np.array(self.teacher),
            digest=digest,
        )
        write_atomically(path, file.getvalue())

    @classmethod
    def load(cls, path: Path, texts: Sequence[Text]) -> Self:
        """Read the soft labels of these texts; raise `UserError` if the file has others."""
        arrays = read_arrays(path)
        try:
            probabilities = arrays["probabilities"].astype(np.float32, casting="equiv")
            of_texts, teacher = str(arrays["texts"]), str(arrays["teacher"])
            digest = str(arrays["digest"]) if "digest" in arrays else ""
        except (KeyError, TypeError) as error:
            raise UserError(f"the soft labels {path} are damaged: {error}") from error
        if of_texts != digest_of_texts(texts):
            raise UserError(
                f"the run in {path.parent} began with other unlabelled texts; choose another "
                "--workdir, or replace it with --overwrite"
            )
        soft = cls(texts, probabilities, teacher)
        if not digest:
            note(f"an earlier version wrote {path} without a digest, so it cannot be verified")
        elif digest != soft._digest():
            raise UserError(f"the soft labels {path} are damaged: they have changed")
        return soft

    def _digest(self) -> str:
        return hashlib.sha256(f"{self.fingerprint} {self.teacher}".encode()).hexdigest()


def digest_of_texts(texts: Sequence[Text]) -> str:
    """Return a hexadecimal digest of texts in their order."""
    digests = (hashlib.sha256(utf8(text)).digest() for text in texts)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def unlabelled_texts(source: str, column: str, dataset: Dataset, report: Report) -> list[Text]:
    """Read the texts to learn from, the split 'unsupervised' or a column of a file.

    Texts that the data set itself holds are left out: the test must not see them (270 of IMDb's
    50,000 unlabelled reviews are test reviews). Raises `UserError` if no usable text is found.
    """
    texts: Sequence[Text]
    if source != UNSUPERVISED:
        texts = list(tables.read_column(Path(source), column, "--unlabelled-column"))
    elif column:
        raise UserError("--unlabelled-column goes only with a file of unlabelled texts")
    elif dataset.unsupervised:
        texts = dataset.read(UNSUPERVISED).texts
    else:
        raise UserError(f"{dataset.name} has no reviews without labels; give a file of texts")
    known = {utf8(text) for split in ("train", "test") for text in dataset.read(split).texts}
    new = [text for text in texts if text.strip() and utf8(text) not in known]
    report(
        f"unlabelled: {len(new):,} texts of {source}; {len(texts) - len(new):,} more, empty or "
        "reviews of the data set itself, are left out"
    )
    if not new:
        raise UserError(f"no text of {source} is left to learn from")
    return new


def with_texts(dataset: Dataset, texts: Sequence[Text]) -> Dataset:
    """Add texts to the training reviews of a data set, with the label -1."""

    def read(split: str) -> Reviews:
        reviews = dataset.read(split)
        if split != "train":
            return reviews
        labels = np.full(len(texts), -1, np.int8)
        return Reviews([*reviews.texts, *texts], np.concatenate([reviews.labels, labels]))

    both = f"{dataset.fingerprint} {digest_of_texts(texts)}"
    return dataclasses.replace(dataset, fingerprint=both, read=read, sizes=None, read_rows=None)
