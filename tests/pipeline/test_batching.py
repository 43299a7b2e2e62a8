"""From encoded reviews to batches: nothing lost, nothing twice, every batch of one shape."""

import dataclasses
import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType

from imdb_jax.errors import UserError
from imdb_jax.parallel.devices import data_mesh, replicated
from imdb_jax.pipeline import batching
from imdb_jax.pipeline.batching import batch_rows, batches, epoch_orders, num_batches
from imdb_jax.pipeline.corpus import Corpus, EncodedReviews
from imdb_jax.pipeline.input_format import InputFormat
from imdb_jax.pipeline.keras_imdb import keras_shuffle
from imdb_jax.pipeline.shuffling import epoch_order
from imdb_jax.pipeline.splits import Examples, Shards, make_splits, shard_bounds
from imdb_jax.text.sequences import Sequences, distinct_ids
from imdb_jax.text.vocabulary import Vocabulary


def mesh(num_devices):
    return jax.make_mesh(
        (num_devices,),
        ("data",),
        axis_types=(AxisType.Auto,),
        devices=jax.devices()[:num_devices],
    )


def numbered(count, length=3):
    """Examples whose ids tell which they are."""
    ids = np.arange(count, dtype=np.uint16)[:, None].repeat(length, axis=1)
    return Examples(ids, (np.arange(count) % 2).astype("f"))


def sequences(lists):
    values = np.array([value for values in lists for value in values], np.int32)
    return Sequences.from_lengths(values, np.array([len(values) for values in lists], np.int64))


def joined(lists):
    return list(itertools.chain.from_iterable(lists))


# Batches


@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    num_devices=st.integers(1, 4),
    seed=st.integers(0, 3),
)
def test_every_example_counts_exactly_once(count, batch_size, num_devices, seed):
    examples, order = numbered(count), epoch_order(count, seed, 1)
    given_batches = list(batches(examples, batch_size, mesh(num_devices), [order]))
    assert len(given_batches) == num_batches(examples.shards, batch_size)
    seen = []
    for batch in given_batches:
        ids, labels, weights = map(np.asarray, batch)
        assert set(weights.tolist()) <= {0, 1}
        assert weights.sum() <= batch_size
        counting = ids[weights == 1]
        np.testing.assert_array_equal(labels[weights == 1], counting[:, 0] % 2)
        seen += counting[:, 0].tolist()
    assert seen == order.tolist()


@given(
    count=st.integers(1, 40), batch_size=st.integers(1, 50), num_devices=st.sampled_from([1, 3, 4])
)
def test_all_batches_have_one_shape_that_the_devices_share_evenly(count, batch_size, num_devices):
    devices = mesh(num_devices)
    for batch in batches(numbered(count), batch_size, devices):
        size = len(batch.weights)
        assert batch_size <= size < batch_size + num_devices
        assert [array.shape for array in batch] == [(size, 3), (size,), (size,)]
        assert [array.dtype for array in batch] == [np.uint16, np.float32, np.float32]
        for array in batch:
            shards = jnp.asarray(array).addressable_shards  # a single device gets host arrays
            assert {shard.device for shard in shards} == set(devices.devices.flat)
            assert {len(shard.data) for shard in shards} == {size // num_devices}


def test_an_epoch_is_compiled_once():
    traced = []

    @jax.jit
    def step(batch):
        traced.append(batch.ids.shape)
        return batch.weights.sum()

    for epoch in (1, 2):
        order = epoch_order(23, 0, epoch)
        total = sum(float(step(batch)) for batch in batches(numbered(23), 5, data_mesh(), [order]))
        assert total == 23
    assert traced == [(8, 3)]


def test_without_an_order_examples_come_as_they_stand():
    first, second = batches(numbered(5), 3, mesh(1))
    assert first.ids[:, 0].tolist() == [0, 1, 2]
    assert second.ids[:2, 0].tolist() == [3, 4]


@given(count=st.integers(1, 40), batch_size=st.integers(1, 10), first=st.integers(0, 50))
def test_batches_can_begin_anywhere(count, batch_size, first):
    """So that a run that goes on need not make the batches it has seen."""
    order = epoch_order(count, 0, 1)
    every = list(batches(numbered(count), batch_size, mesh(1), [order]))[first:]
    later = list(batches(numbered(count), batch_size, mesh(1), [order], first))
    assert len(later) == len(every)
    for one, other in zip(every, later, strict=True):
        for expected, found in zip(one, other, strict=True):
            np.testing.assert_array_equal(expected, found)


@pytest.mark.parametrize("num_devices", [1, 3])
@pytest.mark.parametrize("at_a_time", [1, 3, 64])
def test_the_rows_of_some_batches_are_those_rows_of_all(num_devices, at_a_time, monkeypatch):
    order = epoch_order(23, 0, 1)
    whole = batch_rows(numbered(23).shards, 5, mesh(num_devices), [order])
    monkeypatch.setattr(batching, "_BATCHES_AT_A_TIME", at_a_time)
    given_batches = batches(numbered(23), 5, mesh(num_devices), [order])
    ids = np.stack([np.asarray(batch.ids)[:, 0] for batch in given_batches])
    np.testing.assert_array_equal(ids, whole[0])
    part = batch_rows(numbered(23).shards, 5, mesh(num_devices), [order], range(2, 4))
    for expected, found in zip(whole, part, strict=True):
        np.testing.assert_array_equal(expected[2:4], found)
        assert expected.dtype == found.dtype


def test_no_examples_make_no_batches():
    assert list(batches(numbered(0), 3, data_mesh())) == []
    assert num_batches(numbered(0).shards, 3) == 0


def test_mesh_is_all_devices_and_parameters_are_on_each():
    assert jax.device_count() > 1
    everywhere = jax.device_put(np.arange(6), replicated(data_mesh()))
    assert {shard.device for shard in everywhere.addressable_shards} == set(jax.devices())
    assert all(shard.data.shape == (6,) for shard in everywhere.addressable_shards)


# Shards


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    batch_size=st.integers(6, 20),
    devices=st.integers(1, 3),
    data=st.data(),
)
def test_processes_together_give_the_batches_of_one(sizes, batch_size, devices, data):
    """Whichever of them hold which parts; and every example counts exactly once."""
    dividing = [number for number in range(1, len(sizes) + 1) if len(sizes) % number == 0]
    processes = data.draw(st.sampled_from(dividing))
    held = [range(*bounds) for bounds in itertools.pairwise(shard_bounds(len(sizes), processes))]
    # Only the size of the axis is asked for.
    grid = types.SimpleNamespace(shape={"data": processes * devices})

    def given_batches(held):
        """The examples of each batch that count, by their numbers among all, in their order."""
        shards = Shards(tuple(sizes), held)
        before = sum(sizes[: held.start])
        orders = epoch_orders(shards, 3, 1)
        rows, weights = batch_rows(shards, batch_size, grid, orders)
        assert len(rows) == num_batches(shards, batch_size)
        assert rows.shape[1] % devices == 0
        return rows.shape, [
            (before + r[w == 1]).tolist() for r, w in zip(rows, weights, strict=True)
        ]

    shapes, parts = zip(*map(given_batches, held), strict=True)
    assert len(set(shapes)) == 1
    together = [joined(batch) for batch in zip(*parts, strict=True)]
    _, alone = given_batches(range(len(sizes)))
    assert together == alone
    assert max(map(len, alone)) <= batch_size
    assert sorted(joined(alone)) == list(range(sum(sizes)))


def test_one_shard_is_shuffled_as_all_reviews_are():
    one = Shards((9,), range(1))
    np.testing.assert_array_equal(epoch_orders(one, 4, 2), [epoch_order(9, 4, 2)])


def test_shards_of_equal_size_are_shuffled_differently():
    first, second = epoch_orders(Shards((30, 30), range(2)), 0, 1)
    assert sorted(first) == list(range(30))
    assert (first != second).any()


# Ids


@given(st.lists(st.lists(st.integers(0, 19), max_size=30), max_size=10))
def test_distinct_ids_are_the_sorted_set(lists):
    distinct = distinct_ids(sequences(lists), 20)
    assert [ids.tolist() for ids in distinct] == [sorted(set(ids)) for ids in lists]


def test_distinct_ids_of_many_reviews_with_large_ids():
    lists = [[88_000, 5, 88_000]] * 30_000  # row times vocabulary exceeds 31 bits
    distinct = distinct_ids(sequences(lists), 88_587)
    assert len(distinct) == 30_000
    np.testing.assert_array_equal(distinct.values.reshape(-1, 2), [[5, 88_000]] * 30_000)


RANKS = sequences([[1, 2, 3, 4, 5, 6], [7, 7], [], [300]])


def test_ids_start_with_1_and_name_words_beyond_the_vocabulary_2():
    np.testing.assert_array_equal(
        InputFormat(num_words=9).ids(RANKS),
        [[1, 4, 5, 6, 7, 8, 2], [0, 0, 0, 0, 1, 2, 2], [0] * 6 + [1], [0] * 5 + [1, 2]],
    )


@pytest.mark.parametrize(
    ("padding", "truncating", "first", "second"),
    [
        ("pre", "pre", [6, 7, 8, 9], [0, 1, 10, 10]),
        ("post", "pre", [6, 7, 8, 9], [1, 10, 10, 0]),
        ("pre", "post", [1, 4, 5, 6], [0, 1, 10, 10]),
        ("post", "post", [1, 4, 5, 6], [1, 10, 10, 0]),
    ],
)
def test_sides_of_padding_and_truncation(padding, truncating, first, second):
    ids = InputFormat(400, 4, padding, truncating).ids(RANKS)
    assert ids.shape == (4, 4)
    assert ids[:2].tolist() == [first, second]


def test_distinct_keeps_each_word_once():
    ids = InputFormat(400, distinct=True).ids(sequences([[9, 2, 9, 9, 2], [4]]))
    np.testing.assert_array_equal(ids, [[1, 5, 12], [0, 1, 7]])


@pytest.mark.parametrize(
    ("num_words", "dtype"),
    [(5, np.uint8), (256, np.uint8), (257, np.uint16), (65_536, np.uint16), (65_537, np.uint32)],
)
def test_dtype_is_the_smallest_that_holds_the_ids(num_words, dtype):
    ranks = sequences([[1, num_words - 4, num_words - 3]])  # the last one is cut
    for distinct in (False, True):
        ids = InputFormat(num_words, distinct=distinct).ids(ranks)
        assert ids.dtype == dtype
        assert ids.max() == num_words - 1


# Splits


@pytest.fixture(scope="module")
def corpus():
    """A corpus each of whose 50 + 25 reviews is one word, a different one."""

    def reviews(first, count):
        ranks = np.arange(first, first + count, dtype=np.int32)
        lengths = np.ones(count, np.int64)
        return EncodedReviews(Sequences.from_lengths(ranks, lengths), (ranks % 2).astype(np.int8))

    return Corpus("numbered", Vocabulary([]), reviews(1, 50), reviews(51, 25))


SPLITS = ("train", "validation", "test")
FORMAT = InputFormat(num_words=1000, max_length=2)


def reviews_of(examples):
    """The rank of each review's only word, having checked the label beside it."""
    ranks = examples.ids[:, 1].astype(int) - 3
    np.testing.assert_array_equal(examples.labels, ranks % 2)
    assert examples.labels.dtype == np.float32
    return ranks.tolist()


@pytest.mark.parametrize(
    ("test_share", "validation", "sizes"),
    [
        (0, 0, (50, None, 25)),
        (0, 0.4, (30, 20, 25)),
        (0.2, 0, (60, None, 15)),
        (0.2, 0.5, (30, 30, 15)),
        (0.99, 0, (1, None, 74)),
    ],
)
def test_splits_hold_every_review_once(corpus, test_share, validation, sizes):
    splits = make_splits(corpus, FORMAT, test_share, validation)
    parts = splits.train, splits.validation, splits.test
    assert tuple(part and len(part) for part in parts) == sizes
    everything = [review for part in parts if part for review in reviews_of(part)]
    assert sorted(everything) == list(range(1, 76))


def test_reviews_are_padded_once_for_any_validation_share(corpus, tmp_path):
    corpus = dataclasses.replace(corpus, directory=tmp_path)
    for validation in (0, 0.2, 0.4):
        make_splits(corpus, FORMAT, validation=validation)
    assert len(list(tmp_path.iterdir())) == 1


def test_own_test_split_is_kept_and_validation_comes_from_training(corpus):
    splits = make_splits(corpus, FORMAT, validation=0.4)
    assert sorted(reviews_of(splits.test)) == list(range(51, 76))
    kept = make_splits(corpus, FORMAT)
    assert reviews_of(splits.validation) + reviews_of(splits.train) == reviews_of(kept.train)


def test_test_share_is_the_first_of_train_and_test_joined(corpus):
    apart, joined = make_splits(corpus, FORMAT), make_splits(corpus, FORMAT, test_share=0.2)
    everything = reviews_of(apart.train) + reviews_of(apart.test)
    assert reviews_of(joined.test) + reviews_of(joined.train) == everything


def test_splits_are_the_same_each_time_and_in_keras_order(corpus):
    splits, again = (make_splits(corpus, FORMAT, 0, 0.4) for _ in range(2))
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(splits, part).ids, getattr(again, part).ids)
    train, _ = keras_shuffle(corpus)
    assert reviews_of(splits.validation) == [int(ranks[0]) for ranks in train.ranks[np.arange(20)]]


def test_reviews_of_all_splits_are_equally_long():
    labels = np.array([0, 1], np.int8)
    train = EncodedReviews(sequences([[1], [2]]), labels)
    test = EncodedReviews(sequences([[1, 1, 1, 1], [2]]), labels)
    splits = make_splits(Corpus("ragged", Vocabulary([]), train, test), InputFormat(100))
    assert splits.train.ids.shape == splits.test.ids.shape == (2, 5)


@pytest.mark.parametrize(("side", "kept"), [("post", {1, 4, 5}), ("pre", {6, 7, 8})])
def test_bag_of_words_is_of_the_words_read(side, kept):
    """Cutting comes first: the set of a cut review, not a cut set."""
    ranks = sequences([[1, 2, 3, 4, 5], [4]])
    ids = InputFormat(50, max_length=3, truncating=side, distinct=True).ids(ranks)
    assert set(ids[0].tolist()) - {0} == kept


@pytest.mark.parametrize(("test_share", "validation"), [(0, 0.3), (0.2, 0.3)])
def test_splits_are_the_same_for_any_number_of_shards(corpus, test_share, validation):
    whole = make_splits(corpus, FORMAT, test_share, validation)
    shared = [
        make_splits(corpus, FORMAT, test_share, validation, 4, range(part, part + 1))
        for part in range(4)
    ]
    for name in SPLITS:
        examples = getattr(whole, name)
        parts = [getattr(splits, name) for splits in shared]
        assert sorted(joined(map(reviews_of, parts))) == sorted(reviews_of(examples))
        assert {part.shards.sizes for part in parts} == {tuple(map(len, parts))}
        # Neighbors at the source, of each of its splits.
        for number, part in enumerate(parts):
            for review in reviews_of(part):
                place, count = (review - 1, 50) if review <= 50 else (review - 51, 25)
                first, end = shard_bounds(count, 4)[number : number + 2]
                assert first <= place < end


def test_shards_held_together_are_those_held_apart(corpus):
    together = make_splits(corpus, FORMAT, 0, 0.3, 4, range(2, 4))
    apart = [make_splits(corpus, FORMAT, 0, 0.3, 4, range(part, part + 1)) for part in (2, 3)]
    for name in SPLITS:
        parts = [reviews_of(getattr(splits, name)) for splits in apart]
        assert reviews_of(getattr(together, name)) == joined(parts)


def test_too_many_shards_are_refused(corpus):
    with pytest.raises(UserError, match="too few reviews for 26 shards"):
        make_splits(corpus, FORMAT, shards=26, local_parts=range(26))
