"""Padded reviews: the same from the cache as from memory, whatever happens to the file."""

import dataclasses
import shutil

import numpy as np
import pytest

from imdb_jax.pipeline import cache, padded
from imdb_jax.pipeline.corpus import load_corpus
from imdb_jax.pipeline.input_format import InputFormat
from imdb_jax.pipeline.padded import padded_reviews
from imdb_jax.text.sequences import Sequences

FORMS = {
    "fixed length": InputFormat(500, max_length=40),
    "the longest": InputFormat(300, padding="post"),
    "distinct": InputFormat(200, max_length=60, truncating="post", distinct=True),
}


@pytest.fixture
def corpus(small_synthetic, tmp_path, monkeypatch):
    monkeypatch.setenv("IMDB_JAX_CACHE", str(tmp_path))
    return load_corpus(small_synthetic)


def files(corpus):
    return sorted(path.name for path in corpus.directory.glob("*padded-*"))


ROWS = np.random.default_rng(0).permutation(90)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_padded_in_blocks_from_disk_or_in_memory_they_are_the_same(corpus, form, monkeypatch):
    expected = form.ids(Sequences.join(corpus.train.ranks, corpus.test.ranks))[ROWS]
    monkeypatch.setattr(padded, "_BLOCK", 7)
    written = padded_reviews(corpus, form, ROWS, None)
    read = padded_reviews(corpus, form, ROWS, None)
    in_memory = padded_reviews(dataclasses.replace(corpus, directory=None), form, ROWS, None)
    assert isinstance(written, np.memmap)
    assert isinstance(read, np.memmap)
    assert not isinstance(in_memory, np.memmap)
    for found in (written, read, in_memory):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def test_made_once(corpus, monkeypatch):
    form = FORMS["distinct"]
    padded_reviews(corpus, form, ROWS, None)
    monkeypatch.setattr(padded, "_pad", lambda *_: pytest.fail("padded again"))
    padded_reviews(corpus, form, ROWS, None)


def test_every_format_and_order_has_a_file_of_its_own(corpus):
    for form in FORMS.values():
        for rows in (ROWS, ROWS[:10]):
            padded_reviews(corpus, form, rows)
    assert len(files(corpus)) == 2 * len(FORMS)


@pytest.mark.parametrize("name", ["ids.npy", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "empty"])
def test_a_damaged_file_is_made_anew(corpus, name, damage):
    form = FORMS["fixed length"]
    expected = np.array(padded_reviews(corpus, form, ROWS))
    (path,) = corpus.directory.glob(f"padded-*/{name}")
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        changed = whole[:-1] + bytes([whole[-1] ^ 1])
        path.write_bytes({"cut": whole[:-1], "changed": changed, "empty": b""}[damage])
    np.testing.assert_array_equal(padded_reviews(corpus, form, ROWS), expected)
    assert path.read_bytes() == whole


def test_on_a_full_disk_they_are_padded_in_memory(corpus, monkeypatch):
    def full(path, *_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    expected = np.array(padded_reviews(corpus, FORMS["fixed length"], ROWS))
    shutil.rmtree(next(corpus.directory.glob("padded-*")))
    monkeypatch.setattr(padded, "save_blocks", full)
    found = padded_reviews(corpus, FORMS["fixed length"], ROWS)
    assert not isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, expected)
    assert files(corpus) == []


def test_a_failed_attempt_leaves_nothing(corpus, monkeypatch):
    monkeypatch.setattr(cache, "checksum", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        padded_reviews(corpus, FORMS["fixed length"], ROWS)
    assert not list(corpus.directory.glob(".*"))
