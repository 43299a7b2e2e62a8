"""The reviews as they were published: how many they are, and in which archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imdb_jax.errors import UserError
from imdb_jax.files import file_digest

COUNTS = {"train": 25_000, "test": 25_000, "unsupervised": 50_000}


@dataclass(frozen=True)
class Archive:
    """What is known of the published archive.

    Attributes:
      url: where it is.
      size: in bytes.
      sha256: checksum, in hexadecimal.
      name: of the file.
    """

    url: str
    size: int
    sha256: str
    name: str


def archive() -> Archive:
    """What TFDS knows about the official archive: its list has one line, four columns."""
    import importlib.resources

    checksums = importlib.resources.files("tensorflow_datasets.datasets.imdb_reviews")
    url, size, sha256, name = checksums.joinpath("checksums.tsv").read_text().split()
    return Archive(url, int(size), sha256, name)


def checksum(file: Path) -> str:
    """SHA-256 of a file that may be the archive. Raises `UserError` if it cannot be read."""
    try:
        return file_digest(file)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error}") from error
