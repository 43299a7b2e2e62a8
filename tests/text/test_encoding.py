"""Text to ids: each rule against an independent, naive implementation of the same rule."""

import itertools
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imdb_jax import Vocabulary, multi_hot, pad_sequences, tokenize
from imdb_jax.errors import UserError
from imdb_jax.text.sequences import Sequences

WORDS = ["a", "b", "it's", "É", "naïve", "x\ry", "x\x85y", "\ufffd", "'", "z9"]
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), max_size=12)
lists_of_ids = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=8)


def naive_tokenize(text: str) -> list[str]:
    lowered = "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)
    return [word for word in re.split(r"[ \t\n!-&(-/:-@\[-`{-~]", lowered) if word]


def naive_keras_ids(
    ranks, num_words=None, skip_top=0, start_char=1, oov_char=2, index_from=3
) -> list[list[int]]:
    """What `keras.datasets.imdb.load_data` does, in its words, but that None cuts nothing."""
    if start_char is not None:
        xs = [[start_char] + [w + index_from for w in x] for x in ranks]
    else:
        xs = [[w + index_from for w in x] for x in ranks]
    if num_words is None:
        num_words = float("inf")
    if oov_char is not None:
        return [[w if (skip_top <= w < num_words) else oov_char for w in x] for x in xs]
    return [[w for w in x if skip_top <= w < num_words] for x in xs]


def sequences_of(lists, dtype=np.int32) -> Sequences:
    lengths = np.array([len(ids) for ids in lists], np.int64)
    return Sequences.from_lengths(np.array(list(itertools.chain(*lists)), dtype), lengths)


def as_lists(sequences: Sequences) -> list[list[int]]:
    return [ids.tolist() for ids in sequences]


# tokenize


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" ... ", []),
        ("Good movie", ["good", "movie"]),
        ("one\ttwo\nthree  four", ["one", "two", "three", "four"]),
        ("It's 'fine'", ["it's", "'fine'"]),
        ("end.<br /><br />Start", ["end", "br", "br", "start"]),
        ("r\u00e9sum\u00e9 \u00c9LAN", ["r\u00e9sum\u00e9", "\u00c9lan"]),
        ("\u201cquoted\u201d \u2014 dash", ["\u201cquoted\u201d", "\u2014", "dash"]),
        ("a\x85b c\xa0d e\rf g\x0bh i\x0cj", ["a\x85b", "c\xa0d", "e\rf", "g\x0bh", "i\x0cj"]),
        ("a\u2028b\u3000c \x1c", ["a\u2028b\u3000c", "\x1c"]),
        ("\u0130 \u212a", ["\u0130", "\u212a"]),  # their lower case would be ASCII
    ],
)
def test_tokenize_by_the_rules(text, words):
    assert tokenize(text) == words


@pytest.mark.parametrize("separator", '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~ \t\n')
def test_every_separator_separates(separator):
    assert tokenize(f"{separator}a{separator}b{separator}") == ["a", "b"]


@given(st.text(st.characters(codec="utf-8")))
def test_tokenize_agrees_with_a_naive_one_on_text_and_on_bytes(text):
    assert tokenize(text) == tokenize(text.encode()) == naive_tokenize(text)


@given(st.text() | st.text(st.characters(categories=["Cs"])) | st.binary())
def test_tokenize_takes_whatever_it_is_given_and_is_idempotent(text):
    words = tokenize(text)
    assert tokenize(" ".join(words)) == words
    assert "" not in words
    " ".join(words).encode()  # can be written to a file


def test_invalid_utf8_becomes_the_replacement_character():
    assert tokenize(b"caf\xe9 ok") == ["caf\ufffd", "ok"]
    assert set(tokenize("\ud800")[0]) == {"\ufffd"}


# Sequences


@given(lists_of_ids, st.data())
def test_sequences_behave_like_a_list_of_arrays(lists, data):
    sequences = sequences_of(lists)
    number = len(lists)
    assert len(sequences) == number
    assert as_lists(sequences) == lists
    assert sequences.lengths.tolist() == [len(ids) for ids in lists]
    for row in range(-number, number):
        assert sequences[row].tolist() == lists[row]
    for outside in (number, -number - 1):
        with pytest.raises(IndexError):
            sequences[outside]
    chosen = data.draw(st.slices(number))
    assert as_lists(sequences[chosen]) == lists[chosen]
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=number, max_size=number)), bool)
    assert as_lists(sequences[mask]) == list(itertools.compress(lists, mask))
    if number:
        rows = data.draw(st.lists(st.integers(-number, number - 1), max_size=12))
        assert as_lists(sequences[np.array(rows, np.int64)]) == [lists[row] for row in rows]


@given(lists_of_ids, lists_of_ids)
def test_sequences_join_and_select(first, second):
    joined = Sequences.join(sequences_of(first), sequences_of(second))
    assert as_lists(joined) == first + second
    even = joined.select(joined.values % 2 == 0)
    assert as_lists(even) == [[i for i in ids if i % 2 == 0] for ids in first + second]


def test_one_sequence_or_neighbors_are_a_view_and_others_a_copy():
    sequences = sequences_of([[1, 2], [], [3]])
    assert np.shares_memory(sequences[0], sequences.values)
    assert np.shares_memory(sequences[1:].values, sequences.values)
    assert not np.shares_memory(sequences[::2].values, sequences.values)
    for part in (sequences[:], sequences[::2]):
        assert part.values.dtype == np.int32


@pytest.mark.parametrize("part", [slice(None), slice(1, 3), slice(2, 1), slice(-2, None)])
def test_neighbors_are_those_that_a_list_gives(part):
    lists = [[1, 2], [], [3], [4, 5, 6]]
    found = sequences_of(lists)[part]
    assert [sequence.tolist() for sequence in found] == lists[part]
    assert found.offsets[0] == 0


# Vocabulary


@pytest.mark.parametrize("ties", ["alphabetical", "keras"])
@given(texts=texts)
def test_words_are_ranked_by_count(ties, texts):
    counts = Counter(word for text in texts for word in naive_tokenize(text))
    vocabulary = Vocabulary.build(texts, ties)
    assert sorted(vocabulary.words) == sorted(counts)
    in_order = [counts[word] for word in vocabulary.words]
    assert in_order == sorted(in_order, reverse=True)
    assert len(vocabulary) == len(counts)
    assert all(word in vocabulary for word in counts)


@given(texts)
def test_alphabetical_ties_are_by_code_point(texts):
    counts = Counter(word for text in texts for word in naive_tokenize(text))
    expected = sorted(counts, key=lambda word: (-counts[word], word))
    assert list(Vocabulary.build(texts).words) == expected


@given(texts, st.randoms())
def test_alphabetical_ranks_do_not_depend_on_the_order_of_the_texts(texts, shuffler):
    shuffled = texts.copy()
    shuffler.shuffle(shuffled)
    assert Vocabulary.build(shuffled) == Vocabulary.build(texts)


def test_keras_ties_are_those_of_a_python_2_dict():
    # As every Python 2.7 printed it: {'a': 1, 'c': 3, 'b': 2, 'd': 4}.
    assert Vocabulary.build(["a b c d"], ties="keras").words == ("a", "c", "b", "d")
    assert Vocabulary.build(["a b c d b"], ties="keras").words == ("b", "a", "c", "d")


@pytest.mark.parametrize("ties", ["alphabetical", "keras"])
@given(texts=texts)
def test_build_and_rank_equals_build_then_rank(ties, texts):
    vocabulary, ranks = Vocabulary.build_and_rank(iter(texts), ties)
    assert vocabulary == Vocabulary.build(texts, ties)
    ranked = vocabulary.rank(texts)
    np.testing.assert_array_equal(ranks.values, ranked.values)
    np.testing.assert_array_equal(ranks.offsets, ranked.offsets)
    assert ranks.values.dtype == ranked.values.dtype == np.int32


def test_texts_and_their_bytes_give_the_same_vocabulary():
    strings = ["Café b'c", "b'c d"]
    assert Vocabulary.build(strings) == Vocabulary.build([text.encode() for text in strings])


@given(
    texts=texts,
    num_words=st.none() | st.integers(0, 15),
    skip_top=st.integers(0, 8),
    start_char=st.none() | st.integers(0, 9),
    oov_char=st.none() | st.integers(0, 9),
    index_from=st.integers(0, 5),
)
def test_encode_cuts_as_keras_does(texts, **options):
    vocabulary = Vocabulary.build(texts[: len(texts) // 2])
    rank = {word: rank for rank, word in enumerate(vocabulary.words, start=1)}
    # A word never seen in training is dropped, not marked unknown.
    ranks = [[rank[word] for word in naive_tokenize(text) if word in rank] for text in texts]
    encoded = vocabulary.encode(texts, **options)
    assert as_lists(encoded) == naive_keras_ids(ranks, **options)
    assert encoded.values.dtype == np.int32
    for text, ids in zip(texts, encoded, strict=True):
        np.testing.assert_array_equal(vocabulary.encode(text, **options), ids)


def test_encode_by_hand():
    vocabulary = Vocabulary(["the", "a", "film"])
    assert vocabulary.encode("The film, unseen!").tolist() == [1, 4, 6]
    assert vocabulary.encode(b"the film", num_words=5).tolist() == [1, 4, 2]
    assert vocabulary.encode("the film", skip_top=5).tolist() == [2, 2, 6]
    assert vocabulary.encode("").tolist() == [1]
    assert as_lists(vocabulary.encode(["", "a"], start_char=None)) == [[], [5]]
    assert as_lists(vocabulary.encode([])) == []


@given(st.text())
def test_decode_undoes_encode(text):
    vocabulary = Vocabulary.build([text])
    assert vocabulary.decode(vocabulary.encode(text)) == " ".join(tokenize(text))
    unshifted = vocabulary.encode(text, index_from=0, start_char=None)
    assert vocabulary.decode(unshifted, index_from=0) == " ".join(tokenize(text))


@given(texts)
def test_a_vocabulary_maps_words_to_the_ids_of_encode(texts):
    vocabulary = Vocabulary.build(texts)
    assert tuple(vocabulary) == vocabulary.words
    assert all(vocabulary.encode(word)[1] == i for word, i in vocabulary.items())
    assert "never heard" not in vocabulary
    assert len(repr(vocabulary)) < 300


def test_decode_shows_unknown_words_but_neither_padding_nor_start():
    vocabulary = Vocabulary(["the", "film"])
    assert vocabulary.decode([0, 0, 1, 4, 2, 3, 5]) == "the <UNK> <UNK> film"
    assert vocabulary.decode(np.array([1, 5], np.uint16)) == "film"
    assert vocabulary.decode([]) == ""


@pytest.mark.parametrize("bad", [6, -1])
def test_decode_refuses_ids_that_are_no_words(bad):
    with pytest.raises(ValueError, match=f"id {bad} is not in this vocabulary of 2 words"):
        Vocabulary(["the", "film"]).decode([4, bad])


@pytest.mark.parametrize("ties", ["alphabetical", "keras"])
def test_a_vocabulary_may_be_empty(ties, tmp_path):
    vocabulary, ranks = Vocabulary.build_and_rank(["", "..."], ties)
    assert len(vocabulary) == 0
    assert as_lists(ranks) == [[], []]
    assert vocabulary.encode("never seen").tolist() == [1]
    vocabulary.save(tmp_path / "words")
    assert Vocabulary.load(tmp_path / "words") == vocabulary


def test_one_text_where_several_belong_is_refused():
    for text in ("some text", b"some text"):
        with pytest.raises(TypeError, match="several texts"):
            Vocabulary.build(text)
        with pytest.raises(TypeError, match="several texts"):
            Vocabulary(["some"]).rank(text)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["a", "b", "a"], "'a' occurs twice"),
        (["two words"], "not 'two words'"),
        (["a", ""], "not ''"),
        (["a", "B"], "not 'B'"),
        (["a", "x\ny"], r"not 'x\\ny'"),
        (["a", "\ud800"], r"not '\\ud800'"),
        ([1, 2], "not 1"),
        ([None], "not None"),
    ],
)
def test_mistaken_vocabularies_are_refused(words, named):
    with pytest.raises(ValueError, match=f"words must be .*{named}"):
        Vocabulary(words)


def test_mistaken_order_of_ties_is_refused():
    with pytest.raises(ValueError, match="unknown ties 'kears'"):
        Vocabulary.build(["a"], ties="kears")


def test_vocabularies_are_equal_if_words_and_ties_are():
    assert Vocabulary(["a", "b"]) == Vocabulary(["a", "b"])
    assert Vocabulary(["a", "b"]) != Vocabulary(["b", "a"])
    assert Vocabulary(["a"]) != Vocabulary(["a"], ties="keras")
    assert Vocabulary(["a"]) != ("a",)
    assert len({Vocabulary(["a"]), Vocabulary(["a"])}) == 1


# Vocabulary files


@pytest.mark.parametrize("ties", ["alphabetical", "keras"])
@given(texts=st.lists(st.text() | st.binary()))
def test_save_and_load(tmp_path_factory, ties, texts):
    path = tmp_path_factory.getbasetemp() / f"vocabulary-{ties}.txt"
    vocabulary = Vocabulary.build([*texts, *WORDS, "\u2028 \u0085 \r \x1c"], ties)
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary


def load_error(path) -> str:
    with pytest.raises(UserError) as caught:
        Vocabulary.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_every_truncation_of_the_file_is_noticed(tmp_path):
    path = tmp_path / "vocabulary.txt"
    Vocabulary(["the", "naïve", "\ufffd"]).save(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert "not a vocabulary file, or is damaged" in load_error(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data + b"more\n",
        lambda data: data.replace(b"2 words", b"3 words"),
        lambda data: data.replace(b"version 1", b"version 2"),
        lambda data: data.replace(b"film", b"\xff\xfe"),
        lambda data: data.replace(b"film", b"the"),
        lambda data: data.replace(b"alphabetical", b"random"),
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        lambda data: b"x" * 10_000,
        lambda data: data.replace(b"2 words", b"9" * 5000 + b" words"),
        lambda data: data.replace(b"2 words", b"1000 words") + b"\n" * 998,
    ],
)
def test_damaged_files_are_refused(tmp_path, damage):
    path = tmp_path / "vocabulary.txt"
    Vocabulary(["the", "film"]).save(path)
    path.write_bytes(damage(path.read_bytes()))
    assert "not a vocabulary file, or is damaged" in load_error(path)


def test_failing_to_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "vocabulary.txt"
    Vocabulary(["old"]).save(path)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="No space left"):
        Vocabulary(["new"]).save(path)
    assert Vocabulary.load(path).words == ("old",)
    assert list(tmp_path.iterdir()) == [path]


def test_ranks_of_more_texts_than_are_looked_up_at_a_time():
    vocabulary = Vocabulary(["good", "a"])
    texts = ["a good film " * (i % 5) for i in range(20_000)]
    ranks = vocabulary.rank_or_zero(iter(texts))
    assert ranks.values.dtype == np.int32
    assert ranks.lengths.tolist() == [3 * (i % 5) for i in range(20_000)]
    assert ranks.values.reshape(-1, 3).tolist() == [[2, 1, 0]] * (len(ranks.values) // 3)


# pad_sequences


def naive_pad(lists, maxlen, padding, truncating, value) -> list[list[int]]:
    if maxlen is None:
        maxlen = max([len(ids) for ids in lists], default=0)
    rows = []
    for ids in lists:
        while len(ids) > maxlen:
            ids = ids[1:] if truncating == "pre" else ids[:-1]
        while len(ids) < maxlen:
            ids = [value, *ids] if padding == "pre" else [*ids, value]
        rows.append(ids)
    return rows


@given(
    lists=lists_of_ids,
    maxlen=st.none() | st.integers(0, 8),
    padding=st.sampled_from(["pre", "post"]),
    truncating=st.sampled_from(["pre", "post"]),
    value=st.integers(0, 9),
    dtype=st.sampled_from(["int32", "uint8", "float32"]),
)
def test_pad_sequences_agrees_with_a_naive_one(lists, dtype, **options):
    expected = naive_pad(lists, **options)
    for sequences in (lists, sequences_of(lists), [np.array(ids, np.int64) for ids in lists]):
        padded = pad_sequences(sequences, dtype=dtype, **options)
        assert padded.dtype == dtype
        assert padded.shape == (len(lists), len(expected[0]) if lists else options["maxlen"] or 0)
        assert padded.tolist() == expected


@pytest.mark.parametrize("side", ["pre", "post"])
def test_pad_sequences_of_many_sequences(side):
    """More than are padded at a time."""
    lists = [list(range(i % 7)) for i in range(3000)]
    padded = pad_sequences(sequences_of(lists), 4, padding=side, truncating=side)
    assert padded.tolist() == naive_pad(lists, 4, side, side, 0)


def test_pad_sequences_defaults_are_those_of_keras():
    padded = pad_sequences([[1], [2, 3], [4, 5, 6]])
    assert padded.tolist() == [[0, 0, 1], [0, 2, 3], [4, 5, 6]]
    assert padded.dtype == np.int32
    assert pad_sequences([[1, 2, 3]], maxlen=2).tolist() == [[2, 3]]


def test_steps_may_have_a_shape():
    steps = [[[1, 2]], [], [[3, 4], [5, 6]]]
    expected = [[[0, 0], [1, 2]], [[0, 0], [0, 0]], [[3, 4], [5, 6]]]
    assert pad_sequences(steps).tolist() == expected
    assert pad_sequences(steps, maxlen=1, truncating="post").tolist() == [
        [[1, 2]],
        [[0, 0]],
        [[3, 4]],
    ]
    assert pad_sequences(steps, maxlen=0).shape == (3, 0, 2)


def test_nothing_to_pad():
    assert pad_sequences([]).shape == (0, 0)
    assert pad_sequences([], maxlen=3).shape == (0, 3)
    assert pad_sequences([[], []]).shape == (2, 0)
    assert pad_sequences([[], []], maxlen=2, value=7).tolist() == [[7, 7], [7, 7]]


@pytest.mark.parametrize("option", ["padding", "truncating"])
def test_pad_sequences_refuses_other_sides(option):
    with pytest.raises(ValueError, match=f"unknown {option} 'left'; choose from: post, pre"):
        pad_sequences([[1]], **{option: "left"})


@pytest.mark.parametrize("bad", [[1, 2], None, 3, np.zeros(3), (ids for ids in [[1]])])
def test_pad_sequences_refuses_what_is_no_list_of_lists(bad):
    with pytest.raises(ValueError, match="must be a list of lists"):
        pad_sequences(bad)


@pytest.mark.parametrize("bad", [[[[1, 2]], [1]], [[1], [[1, 2]]], [[[1, 2]], [[1, 2, 3]]]])
def test_pad_sequences_refuses_steps_of_different_shapes(bad):
    with pytest.raises(ValueError, match="steps must have one shape"):
        pad_sequences(bad)


# multi_hot


@given(lists_of_ids)
def test_multi_hot_agrees_with_a_naive_one(lists):
    expected = [[int(i in ids) for i in range(10)] for ids in lists]
    for sequences in (lists, sequences_of(lists), sequences_of(lists, np.uint8)):
        hot = multi_hot(sequences, 10)
        assert hot.shape == (len(lists), 10)
        assert hot.dtype == np.uint8
        assert hot.tolist() == expected
    assert multi_hot(lists, 10, np.float32).dtype == np.float32


def test_multi_hot_takes_a_padded_array():
    assert multi_hot(np.array([[0, 2], [1, 1]]), 3).tolist() == [[1, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize("bad", [-1, 5])
def test_multi_hot_refuses_ids_out_of_range(bad):
    with pytest.raises(ValueError, match=r"ids must lie in 0\.\.4"):
        multi_hot([[1], [bad, 2]], 5)


def test_encoding_many_texts_does_not_depend_on_how_they_come(tmp_path: Path):
    # A generator, a list and a file's lines are all just texts.
    lines = [" ".join(random.Random(i).choices(WORDS, k=5)) for i in range(20)]
    (tmp_path / "lines").write_bytes("\n".join(lines).encode())
    vocabulary = Vocabulary.build(lines)
    expected = as_lists(vocabulary.encode(lines))
    assert as_lists(vocabulary.encode(line for line in lines)) == expected
    with (tmp_path / "lines").open("rb") as file:
        assert as_lists(vocabulary.encode(file)) == expected
