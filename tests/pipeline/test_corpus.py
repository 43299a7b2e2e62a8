"""`load_data` against Keras' own steps, and the cache against whatever can happen to it."""

import errno
import json
import shutil
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imdb_jax import load_data, text
from imdb_jax.datasets.dataset import Dataset, Reviews
from imdb_jax.datasets.imdb.read import imdb_reviews
from imdb_jax.errors import UserError
from imdb_jax.files import cache_directory
from imdb_jax.pipeline import corpus as corpus_module
from imdb_jax.pipeline import keras_imdb
from imdb_jax.pipeline.corpus import Corpus, EncodedReviews, load_corpus
from imdb_jax.pipeline.keras_imdb import keras_shuffle
from imdb_jax.text import blocks
from imdb_jax.text.sequences import Sequences
from imdb_jax.text.tokens import tokenize
from imdb_jax.text.vocabulary import Vocabulary


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("IMDB_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "encoded"


def only_entry(cache: Path) -> Path:
    """The one entry in the cache, having checked that nothing else is left there."""
    [entry] = cache.iterdir()
    assert not entry.name.startswith(".")
    return entry


def unreadable(dataset: Dataset) -> Dataset:
    """The same data set, as far as the cache can tell, whose texts nobody may read."""

    def read(split):
        raise AssertionError(f"{split} was read although it is in the cache")

    return replace(dataset, read=read)


def no_report(line: str) -> None:
    raise AssertionError(line)


def as_lists(sequences: Sequences) -> list[list[int]]:
    return [values.tolist() for values in sequences]


def assert_equal(first: Corpus, second: Corpus) -> None:
    assert first.name == second.name
    assert first.vocabulary == second.vocabulary
    for split in ("train", "test"):
        one, other = getattr(first, split), getattr(second, split)
        assert as_lists(one.ranks) == as_lists(other.ranks)
        np.testing.assert_array_equal(one.labels, other.labels)
        for a, b in zip(arrays(one), arrays(other), strict=True):
            assert a.dtype == b.dtype


def arrays(reviews: EncodedReviews) -> tuple[np.ndarray, ...]:
    return reviews.ranks.values, reviews.ranks.offsets, reviews.labels


# Encoding


def test_the_vocabulary_is_that_of_the_training_reviews(small_synthetic, cache):
    corpus = load_corpus(small_synthetic, no_report)
    train, test = small_synthetic.read("train"), small_synthetic.read("test")
    assert corpus.name == "synthetic"
    assert corpus.vocabulary == Vocabulary.build(train.texts)
    rank = {word: rank for rank, word in enumerate(corpus.vocabulary.words, start=1)}
    for reviews, encoded in ((train, corpus.train), (test, corpus.test)):
        words = [tokenize(text) for text in reviews.texts]
        expected = [[rank[word] for word in text if word in rank] for text in words]
        assert as_lists(encoded.ranks) == expected
        np.testing.assert_array_equal(encoded.labels, reviews.labels)


@pytest.mark.parametrize("ties", ["alphabetical", "keras"])
@pytest.mark.parametrize("block_bytes", [1, 3000, 1 << 18])
def test_encoding_in_any_blocks_equals_encoding_at_once(
    small_synthetic, cache, monkeypatch, ties, block_bytes
):
    train, test = small_synthetic.read("train"), small_synthetic.read("test")
    vocabulary, ranks = Vocabulary.build_and_rank(train.texts, ties)
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(corpus_module, "_BYTES_AT_A_TIME", 28 * block_bytes)
    expected = Corpus(
        "synthetic",
        vocabulary,
        EncodedReviews(ranks, train.labels),
        EncodedReviews(vocabulary.rank(test.texts), test.labels),
    )
    assert_equal(load_corpus(replace(small_synthetic, ties=ties), no_report), expected)


class Processes:
    """Threads that stand for the processes of a run, and exchange what these would."""

    def __init__(self, number, patch):
        self.number, self.given = number, [None] * number
        self.barrier = threading.Barrier(number, timeout=30)
        patch.setattr(corpus_module, "gather", self.gather)
        patch.setattr(corpus_module, "all_agree", lambda value: all(self.gather(value)))

    def gather(self, value):
        self.given[int(threading.current_thread().name)] = value
        self.barrier.wait()
        given = list(self.given)
        self.barrier.wait()
        return given

    def load(self, dataset):
        found = [None] * self.number

        def load_part(process):
            found[process] = load_corpus(dataset.part(process, self.number), no_report)

        threads = [
            threading.Thread(target=load_part, args=(process,), name=str(process))
            for process in range(self.number)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found


@pytest.mark.parametrize("number", [2, 3, 7])
@pytest.mark.parametrize("ties", ["alphabetical", "keras"])
@pytest.mark.parametrize("cached", [True, False])
def test_parts_of_several_processes_make_the_whole(
    small_synthetic, cache, monkeypatch, number, ties, cached
):
    dataset = replace(small_synthetic, ties=ties)
    whole = load_corpus(dataset, no_report)
    processes = Processes(number, monkeypatch)
    if not cached:
        monkeypatch.setattr(corpus_module, "write_entry", lambda *_: no_space())
        monkeypatch.setitem(globals(), "no_report", lambda line: None)
    parts = processes.load(dataset)
    if cached:  # what is cached is the same; if a part is missing, all are made again
        shutil.rmtree(parts[0].directory)
        parts = processes.load(dataset)
        assert [part.directory.exists() for part in parts] == [True] * number
    for split in ("train", "test"):
        assert [review for part in parts for review in as_lists(getattr(part, split).ranks)] == (
            as_lists(getattr(whole, split).ranks)
        )
        labels = np.concatenate([getattr(part, split).labels for part in parts])
        np.testing.assert_array_equal(labels, getattr(whole, split).labels)
        rows = [row for part in parts for row in getattr(part.extent, split)]
        assert rows == list(range(len(labels)))
    assert {part.vocabulary for part in parts} == {whole.vocabulary}


def no_space():
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("number", [2, 3])
def test_splits_of_parts_are_parts_of_the_splits(small_synthetic, cache, monkeypatch, number):
    from imdb_jax.pipeline.input_format import InputFormat
    from imdb_jax.pipeline.splits import make_splits

    form = InputFormat(500, max_length=30)
    whole = load_corpus(small_synthetic, no_report)
    for process, part in enumerate(Processes(number, monkeypatch).load(small_synthetic)):
        given = [
            make_splits(corpus, form, 0.2, 0.25, number, range(process, process + 1))
            for corpus in (whole, part)
        ]
        for split in ("train", "validation", "test"):
            expected, found = (getattr(splits, split) for splits in given)
            np.testing.assert_array_equal(found.ids, expected.ids)
            np.testing.assert_array_equal(found.labels, expected.labels)
            assert found.parts == expected.parts


def test_reviews_can_be_chosen_by_row(small_synthetic):
    train = load_corpus(small_synthetic).train
    chosen = train[np.array([5, 0])]
    assert as_lists(chosen.ranks) == [train.ranks[5].tolist(), train.ranks[0].tolist()]
    assert chosen.labels.tolist() == train.labels[[5, 0]].tolist()


# load_data


def naive_load_data(
    corpus,
    num_words=None,
    skip_top=0,
    maxlen=None,
    seed=113,
    start_char=1,
    oov_char=2,
    index_from=3,
):
    """`keras.datasets.imdb.load_data`, step by step."""
    rng = np.random.RandomState(seed)
    xs, labels, sizes = [], [], []
    for reviews in (corpus.train, corpus.test):
        x, y = as_lists(reviews.ranks), reviews.labels.tolist()
        indices = np.arange(len(x))
        rng.shuffle(indices)
        x, y = [x[i] for i in indices], [y[i] for i in indices]
        start = [] if start_char is None else [start_char]
        x = [start + [w + index_from for w in review] for review in x]
        if maxlen:
            kept = [i for i in range(len(x)) if len(x[i]) < maxlen]
            x, y = [x[i] for i in kept], [y[i] for i in kept]
        xs, labels, sizes = xs + x, labels + y, [*sizes, len(x)]
    if not num_words:
        num_words = max(max(review) for review in xs)
    if oov_char is not None:
        xs = [[w if (skip_top <= w < num_words) else oov_char for w in x] for x in xs]
    else:
        xs = [[w for w in x if skip_top <= w < num_words] for x in xs]
    size = sizes[0]
    return (xs[:size], labels[:size]), (xs[size:], labels[size:])


@pytest.fixture
def load_small(small_synthetic, monkeypatch):
    """`load_data` of the small corpus."""
    monkeypatch.setattr(keras_imdb, "find_dataset", lambda options: small_synthetic)
    return load_data


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_words": 100},
        {"num_words": 4},
        {"skip_top": 20},
        {"num_words": 100, "skip_top": 20, "oov_char": None},
        {"num_words": 100, "oov_char": 7},
        {"maxlen": 150},
        {"maxlen": 150, "start_char": None},
        {"seed": 0},
        {"start_char": None},
        {"start_char": 5, "num_words": 50},
        {"start_char": 0, "skip_top": 1},  # the start is cut like any other id
        {"index_from": 0},
        {"index_from": 10, "num_words": 100},
        {"num_words": 0, "maxlen": 0},  # Keras takes 0 for None
    ],
)
def test_load_data_agrees_with_the_steps_of_keras(options, load_small, small_synthetic):
    expected = naive_load_data(load_corpus(small_synthetic), **options)
    for (x, y), (expected_x, expected_y) in zip(load_small(**options), expected, strict=True):
        assert x.tolist() == expected_x
        assert y.tolist() == expected_y


def test_load_data_gives_arrays_like_keras(load_small):
    for (x, y), number in zip(load_small(), (60, 30), strict=True):
        assert x.dtype == object
        assert x.shape == y.shape == (number,)
        assert y.dtype == np.int64
        assert set(y.tolist()) == {0, 1}
        assert all(type(review) is list and type(review[0]) is int for review in x)


def test_reviews_of_one_length_still_make_an_array_of_lists(tmp_path, monkeypatch):
    reviews = Reviews(["good film", "bad film"], np.array([1, 0], np.int8))
    dataset = Dataset("equal", "1", "alphabetical", lambda split: reviews)
    monkeypatch.setattr(keras_imdb, "find_dataset", lambda options: dataset)
    (x, _), _ = load_data()
    assert x.shape == (2,)
    assert isinstance(x[0], list)


def test_the_seed_changes_the_order_and_nothing_else(load_small):
    (one, one_labels), _ = load_small(seed=1)
    (two, two_labels), _ = load_small(seed=2)
    assert one.tolist() != two.tolist()
    assert sorted(zip(one, one_labels, strict=True)) == sorted(zip(two, two_labels, strict=True))


def test_maxlen_drops_reviews_of_that_length(load_small):
    (everything, _), _ = load_small()
    length = sorted(map(len, everything))[30]
    (x, y), _ = load_small(maxlen=length)
    assert len(x) == len(y) == sum(len(review) < length for review in everything)
    with pytest.raises(UserError, match="maxlen=1 leaves no review"):
        load_small(maxlen=1)


def test_load_data_of_an_unknown_data_set():
    with pytest.raises(UserError, match="did you mean 'imdb_reviews'"):
        load_data(dataset="imdb_review")


def test_keras_shuffle_continues_one_generator_over_both_splits(small_synthetic):
    corpus = load_corpus(small_synthetic)
    rng = np.random.RandomState(5)
    for reviews, shuffled in zip(
        (corpus.train, corpus.test), keras_shuffle(corpus, 5), strict=True
    ):
        order = np.arange(len(reviews.labels))
        rng.shuffle(order)
        assert as_lists(shuffled.ranks) == [reviews.ranks[row].tolist() for row in order]
        np.testing.assert_array_equal(shuffled.labels, reviews.labels[order])


# The cache


def test_the_second_load_reads_no_texts(small_synthetic, cache):
    first = load_corpus(small_synthetic, no_report)
    second = load_corpus(unreadable(small_synthetic), no_report)
    assert_equal(first, second)
    only_entry(cache)


def test_ranks_are_memory_mapped(small_synthetic, cache):
    load_corpus(small_synthetic, no_report)
    corpus = load_corpus(small_synthetic, no_report)
    for reviews in (corpus.train, corpus.test):
        assert isinstance(reviews.ranks.values, np.memmap)
        assert not reviews.ranks.values.flags.writeable


@pytest.mark.parametrize(
    "change", [{"fingerprint": "other"}, {"name": "other"}, {"ties": "keras"}], ids=str
)
def test_other_data_gets_an_entry_of_its_own(small_synthetic, cache, change):
    load_corpus(small_synthetic, no_report)
    other = replace(small_synthetic, **change)
    with pytest.raises(AssertionError, match="train was read"):
        load_corpus(unreadable(other), no_report)
    load_corpus(other, no_report)
    assert len(list(cache.iterdir())) == 2
    load_corpus(unreadable(small_synthetic), no_report)


@pytest.mark.parametrize("module", [corpus_module, text])
def test_other_code_gets_an_entry_of_its_own(small_synthetic, cache, module, monkeypatch):
    load_corpus(small_synthetic, no_report)
    digest = corpus_module.source_digest

    def changed(*modules):
        return digest(*modules, __file__) if module.__file__ in modules else digest(*modules)

    monkeypatch.setattr(corpus_module, "source_digest", changed)
    load_corpus(small_synthetic, no_report)
    assert len(list(cache.iterdir())) == 2


def test_empty_splits_and_texts_are_cached_too(cache):
    none = Reviews([], np.zeros(0, np.int8))
    wordless = Reviews(["", "?!"], np.array([1, 0], np.int8))
    dataset = Dataset("empty", "1", "keras", lambda split: none if split == "train" else wordless)
    first = load_corpus(dataset, no_report)
    assert len(first.vocabulary) == 0
    assert as_lists(first.test.ranks) == [[], []]
    assert_equal(first, load_corpus(unreadable(dataset), no_report))


FILES = ["vocabulary.txt", "manifest.json"] + [
    f"{split}_{name}.npy" for split in ("train", "test") for name in ("ranks", "offsets", "labels")
]


def flip_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def make_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def assert_rebuilt(dataset: Dataset, cache: Path) -> None:
    lines: list[str] = []
    rebuilt = load_corpus(dataset, lines.append)
    assert len(lines) == 1
    assert "is damaged" in lines[0]
    assert "encoding again" in lines[0]
    assert str(cache) in lines[0]
    assert_equal(rebuilt, load_corpus(unreadable(dataset), no_report))
    assert sorted(path.name for path in only_entry(cache).iterdir()) == sorted(FILES)


@pytest.mark.parametrize("damage", [flip_bit, truncate, empty, Path.unlink, make_directory])
@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_noticed_and_replaced(small_synthetic, cache, name, damage):
    load_corpus(small_synthetic, no_report)
    damage(only_entry(cache) / name)
    assert_rebuilt(small_synthetic, cache)


@pytest.mark.parametrize("text", ["", "{", "3", "null", "[]", '"files"', "{}", '{"files": []}'])
def test_garbage_for_a_manifest_is_noticed(small_synthetic, cache, text):
    load_corpus(small_synthetic, no_report)
    (only_entry(cache) / "manifest.json").write_text(text)
    assert_rebuilt(small_synthetic, cache)


def test_an_entry_of_other_data_is_noticed(small_synthetic, cache):
    load_corpus(small_synthetic, no_report)
    manifest = only_entry(cache) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"fingerprint": "other"}))
    assert_rebuilt(small_synthetic, cache)


def put_file(entry: Path) -> None:
    entry.write_text("not a directory")


def put_link(entry: Path) -> None:
    elsewhere = entry.parents[2] / "elsewhere"
    elsewhere.mkdir()
    entry.symlink_to(elsewhere)


@pytest.mark.parametrize("put", [put_file, Path.mkdir, put_link])
def test_something_else_in_the_place_of_an_entry_is_replaced(small_synthetic, cache, put):
    load_corpus(small_synthetic, no_report)
    entry = only_entry(cache)
    shutil.rmtree(entry)
    put(entry)
    assert_rebuilt(small_synthetic, cache)


def test_a_full_disk_costs_the_cache_only(small_synthetic, cache, monkeypatch):
    expected = load_corpus(small_synthetic, no_report)
    shutil.rmtree(cache)

    def fail(path, *_):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(corpus_module, "save_blocks", fail)
    lines: list[str] = []
    assert_equal(load_corpus(small_synthetic, lines.append), expected)
    assert len(lines) == 1
    assert f"cannot be cached in {cache}: No space left on device." in lines[0]
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("place", ["file/below", "x" * 300])
def test_an_impossible_cache_directory_costs_the_cache_only(
    small_synthetic, tmp_path, monkeypatch, place
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("IMDB_JAX_CACHE", str(tmp_path / place))
    lines: list[str] = []
    corpus = load_corpus(small_synthetic, lines.append)
    assert len(corpus.train.labels) == 60
    assert len(lines) == 1
    assert "cannot be cached" in lines[0]


def test_an_interrupted_write_leaves_nothing(small_synthetic, cache, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus_module, "save_blocks", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_corpus(small_synthetic, no_report)
    assert list(cache.iterdir()) == []


def test_threads_that_encode_at_once_end_with_one_entry(small_synthetic, cache):
    """None finds an entry, all write one, and no one complains."""
    together = threading.Barrier(4, timeout=30)

    def read(split):
        if split == "train":
            together.wait()
        return small_synthetic.read(split)

    corpora, complaints = [], []
    dataset = replace(small_synthetic, read=read)
    threads = [
        threading.Thread(target=lambda: corpora.append(load_corpus(dataset, complaints.append)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert complaints == []
    assert len(corpora) == 4
    for corpus in corpora[1:]:
        assert_equal(corpora[0], corpus)
    only_entry(cache)
    assert_equal(corpora[0], load_corpus(unreadable(small_synthetic), no_report))


def test_processes_that_encode_at_once_end_with_one_entry(small_synthetic, cache):
    program = textwrap.dedent("""
        from imdb_jax.pipeline.corpus import load_corpus
        from imdb_jax.datasets.synthetic import synthetic_dataset
        input()
        print(len(load_corpus(synthetic_dataset(60, 30)).train.labels))
    """)
    command = [sys.executable, "-c", program]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[0] for process in processes] == ["60\n", "60\n"]
    load_corpus(unreadable(small_synthetic), no_report)
    only_entry(cache)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"IMDB_JAX_CACHE": "~/mine", "XDG_CACHE_HOME": "/xdg"}, "/home/me/mine"),
        ({"IMDB_JAX_CACHE": "", "XDG_CACHE_HOME": "/xdg"}, "/xdg/imdb_jax"),
        ({"XDG_CACHE_HOME": ""}, "/home/me/.cache/imdb_jax"),
        ({}, "/home/me/.cache/imdb_jax"),
    ],
)
def test_where_the_cache_lies(monkeypatch, environment, expected):
    for name in ("IMDB_JAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**environment, "HOME": "/home/me"}.items():
        monkeypatch.setenv(name, value)
    assert cache_directory() == Path(expected)


# The real reviews: figures that every tutorial on them gives


@pytest.fixture(scope="module")
def real_lengths_and_ids(real_data_dir):
    lengths, distinct = [], {}
    for num_words in (10_000, None):
        (x_train, _), (x_test, _) = load_data(num_words, data_dir=real_data_dir)
        reviews = [*x_train, *x_test]
        distinct[num_words] = len(set().union(*reviews))
        lengths = [len(review) for review in reviews]
    return np.array(lengths), distinct


@pytest.mark.real_data
def test_numbers_of_distinct_ids_are_those_of_keras(real_lengths_and_ids):
    assert real_lengths_and_ids[1] == {10_000: 9_998, None: 88_585}


@pytest.mark.real_data
def test_lengths_are_those_of_keras(real_lengths_and_ids):
    lengths, _ = real_lengths_and_ids
    assert len(lengths) == 50_000
    assert round(float(lengths.mean()), 5) == 234.75892
    assert round(float(lengths.std()), 6) == 172.911495


@pytest.mark.real_data
def test_the_training_reviews_hold_as_many_words_as_in_keras(real_data_dir):
    corpus = load_corpus(imdb_reviews(real_data_dir))
    assert len(corpus.vocabulary) == 88_584
    assert corpus.vocabulary.words[:4] == ("the", "and", "a", "of")
    for reviews in (corpus.train, corpus.test):
        assert np.bincount(reviews.labels).tolist() == [12_500, 12_500]
