"""Properties of the synthetic corpus: what makes it a fair stand-in for the real reviews."""

import hashlib
import re
from collections import Counter

import numpy as np
import pytest

from imdb_jax.datasets.synthetic import SPLIT_SIZES, synthetic_reviews
from imdb_jax.errors import UserError

PUNCTUATION = re.compile(r"""[!"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~\t\n ]+""")


def words_of(text):
    return [word for word in PUNCTUATION.split(text.lower()) if word]


@pytest.fixture(scope="module")
def train():
    return synthetic_reviews("train")


@pytest.fixture(scope="module")
def tokenized(train):
    return [words_of(text) for text in train[0]]


@pytest.fixture(scope="module")
def word_counts(tokenized):
    return Counter(word for review in tokenized for word in review)


@pytest.fixture(scope="module")
def reviews_with(train, tokenized):
    """For each word the number of negative and of positive reviews it occurs in."""
    counts = {}
    for review, label in zip(tokenized, train[1].tolist(), strict=True):
        for word in set(review):
            counts.setdefault(word, [0, 0])[label] += 1
    return counts


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_same_call_gives_same_reviews(split):
    first, second = synthetic_reviews(split, 20), synthetic_reviews(split, 20)
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize(
    ("split", "digest"),
    [
        ("train", "3e013c91ce99c9197f42db231a21b97cc1f86fe97a46d9db6fb98e564e9213d3"),
        ("test", "d044ef1a41782b67626f664fa5bb5cc3d7edcc80557a75124a504789ebe58a33"),
        ("unsupervised", "9d1d1533dceda26487def7498be98463653f66a26bc6ec319b20d00829ede76f"),
    ],
)
def test_the_corpus_is_the_same_on_every_machine(split, digest):
    """Figures measured on it can be compared only as long as no byte of it changes."""
    texts, labels = synthetic_reviews(split, 600)
    content = "\0".join(texts).encode() + labels.tobytes()
    assert hashlib.sha256(content).hexdigest() == digest


@pytest.mark.parametrize("size", [1, 2, 499, 500, 501, 1000])
def test_shorter_list_is_a_prefix_of_the_longer(train, size):
    texts, labels = synthetic_reviews("train", size)
    assert texts == train[0][:size]
    np.testing.assert_array_equal(labels, train[1][:size])
    assert labels.dtype == np.int8
    assert labels.shape == (size,)


def test_every_even_number_of_reviews_is_balanced(train):
    pairs = train[1].reshape(-1, 2)
    assert len(train[1]) == SPLIT_SIZES["train"]
    np.testing.assert_array_equal(pairs.sum(axis=1), 1)
    # The order within a pair is random.
    assert 0.45 < pairs[:, 0].mean() < 0.55


def test_unsupervised_reviews_have_no_labels():
    texts, labels = synthetic_reviews("unsupervised", 7)
    assert len(texts) == 7
    assert labels.dtype == np.int8
    np.testing.assert_array_equal(labels, -1)


def test_splits_share_no_review(train):
    # In the default sizes of the labelled splits; the corpus is fixed, so this settles it.
    others = [*synthetic_reviews("test")[0], *synthetic_reviews("unsupervised", 1000)[0]]
    everything = [*train[0], *others]
    assert len(set(everything)) == len(everything)


def test_unknown_split_names_the_choices():
    with pytest.raises(UserError, match=r"'trian'.*train, test, unsupervised"):
        synthetic_reviews("trian")


@pytest.mark.parametrize("size", [0, -1])
def test_fewer_than_one_review_is_refused(size):
    with pytest.raises(UserError, match=f"num_reviews must be at least 1, not {size}"):
        synthetic_reviews("train", size)


def test_texts_look_like_reviews(train):
    texts = train[0]
    for text in texts:
        assert text == text.strip()
        assert text[0].isupper()
        assert not set(text.replace("<br />", "")) & set("<>{}_|"), "left over from a template"
    whole = " ".join(texts[:200])
    for mark in ("<br /><br />", "'", ",", ";", '"', "!", "?", "...", " I "):
        assert mark in whole
    assert not re.search(r"\d+ ?/ ?10", whole), "a rating would give the label away"


def test_lengths_are_distributed_as_in_imdb(tokenized):
    lengths = np.array([len(review) + 1 for review in tokenized])  # with the start id
    assert 225 < lengths.mean() < 245
    assert 155 < lengths.std() < 190
    assert 5 < lengths.min() < 25
    assert 1200 < lengths.max() < 2600
    assert np.median(lengths) < 0.88 * lengths.mean()


def test_vocabulary_is_large_and_has_a_long_tail(word_counts):
    assert 10_000 < len(word_counts) < 20_000
    assert sum(count == 1 for count in word_counts.values()) > 1000  # typing errors, mostly
    assert word_counts.most_common(1)[0][0] == "the"


def test_word_frequencies_are_zipf_like(word_counts):
    frequencies = np.array(sorted(word_counts.values(), reverse=True)[9:5000], float)
    ranks = np.arange(10, 10 + len(frequencies))
    slope, _ = np.polyfit(np.log(ranks), np.log(frequencies), 1)
    assert -1.65 < slope < -0.8


def test_negation_occurs_alike_in_both_classes(reviews_with):
    for word in ("not", "never", "hardly", "isn't", "but", "although"):
        negative, positive = reviews_with[word]
        assert min(negative, positive) > 200
        assert 0.4 < positive / (negative + positive) < 0.6


def test_most_common_words_are_neutral(reviews_with, word_counts):
    shares = []
    for word, _ in word_counts.most_common(300):
        negative, positive = reviews_with[word]
        shares.append(positive / (negative + positive))
    assert np.mean(np.abs(np.array(shares) - 0.5) < 0.05) > 0.6


def test_no_word_gives_the_label_away(reviews_with):
    for word, (negative, positive) in reviews_with.items():
        if negative + positive >= 100:
            assert 0.08 < positive / (negative + positive) < 0.92, word


def test_sentiment_words_are_graded(reviews_with):
    def share(*words):
        negative, positive = np.sum([reviews_with[word] for word in words], axis=0)
        return positive / (negative + positive)

    strong, mild = share("great", "excellent", "wonderful"), share("good", "nice", "fun")
    assert strong > mild > 0.5
    strong, mild = share("bad", "terrible", "awful"), share("boring", "dull", "weak")
    assert strong < mild < 0.5


def test_negation_turns_the_meaning_around(train, reviews_with):
    """Words of praise point the other way after "not": word order carries information."""
    negated = [0, 0]
    for text, label in zip(train[0], train[1].tolist(), strict=True):
        if re.search(r"\bnot (really |exactly )?(great|good|excellent|wonderful)\b", text):
            negated[label] += 1
    assert sum(negated) > 100
    assert negated[1] / sum(negated) < 0.4
    assert reviews_with["great"][1] / sum(reviews_with["great"]) > 0.55


def naive_bayes(tokenized, labels, held_out):
    """Predictions of a unigram naive Bayes classifier with add-one smoothing."""
    ids = {word: number for number, word in enumerate({w for review in tokenized for w in review})}
    counts = np.ones((2, len(ids)))
    for review, label in zip(tokenized, labels, strict=True):
        counts[label, [ids[word] for word in set(review)]] += 1
    log_odds = np.log(counts[1] / counts[0])
    scores = [sum(log_odds[ids[word]] for word in set(r) if word in ids) for r in held_out]
    return np.array(scores) > 0


def test_a_bag_of_words_learns_it_but_not_perfectly(tokenized, train):
    texts, labels = synthetic_reviews("test", 1500)
    predictions = naive_bayes(tokenized[:4000], train[1][:4000], [words_of(text) for text in texts])
    assert 0.75 < np.mean(predictions == labels) < 0.97


def test_naive_bayes_judges_plain_sentences(tokenized, train):
    demo = ["A wonderful film, I loved every minute", "Boring and badly acted"]
    predictions = naive_bayes(tokenized[:4000], train[1][:4000], [words_of(text) for text in demo])
    assert predictions.tolist() == [True, False]
