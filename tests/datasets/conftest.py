"""A small archive in place of the published one, for the tests of reading and preparing it."""

from pathlib import Path

import pytest
from fake_archives import COUNTS, review_files, tar_bytes

from imdb_jax.datasets.imdb import archive as archive_module


@pytest.fixture
def small_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package expects as many reviews as the small archive holds."""
    monkeypatch.setattr(archive_module, "COUNTS", COUNTS)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    file = tmp_path / "reviews.tar"
    file.write_bytes(tar_bytes(review_files()))
    return file
