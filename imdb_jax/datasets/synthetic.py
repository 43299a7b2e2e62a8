"""A corpus of invented film reviews, for machines without IMDb, for tests and for demos.

A small grammar, in `synthetic.toml`, writes the reviews, the same ones on every machine. The corpus
is learnable but not trivial, as IMDb is:

* lengths, Zipf-like word frequencies, names, HTML line breaks and typing errors are as in IMDb;
* a review holds both praise and blame; their balance, the strength of the words and a verdict at
  the end lean towards the label, in short reviews often not enough;
* negation ("hardly a masterpiece") and pairs of words whose meaning lies in the pair alone reward
  models that see word order;
* one label in twenty-five is wrong, so no model is right about every test review.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from imdb_jax.config import UNSUPERVISED
from imdb_jax.datasets.dataset import BY_CONTENT, Dataset, Reviews
from imdb_jax.errors import UserError

SPLIT_SIZES: Final = {"train": 10_000, "test": 5_000, UNSUPERVISED: 10_000}  # by default

_SEED: Final = 1895
_CHUNK: Final = 500  # reviews made together; even, so that chunks hold whole pairs
_MEAN_SENTENCE: Final = 12.85  # words in an average sentence, line breaks included
_LOG_LENGTH: Final = (5.233, 0.66)  # mean and deviation of the logarithm of a review's length
_OPINIONATED: Final = 0.65  # share of sentences that hold an opinion
_LEAN: Final = (0.7, 1.0)  # range of the share of a review's opinions that agree with its label
_VERDICT: Final = (0.5, 0.9)  # share of reviews that end in a verdict; share of those that agree
_STRONG: Final = (0.30, 0.55)  # share of strong words in opinions against and with the label
_CONTRAST: Final = 0.15  # share of the opinions that weigh two things against each other
_LABEL_NOISE: Final = 0.04
_TYPING_ERRORS: Final = 0.03  # share of sentences with one
_SHOUTING: Final = 0.01  # share of sentences in capitals
_BREAKS: Final = 0.2  # share of sentences that end a paragraph

# Positive numbers stand for praise, negative ones for blame, even ones for strong words.
_TONES: Final = {"strong_praise": 2, "mild_praise": 1, "mild_blame": -1, "strong_blame": -2}


def synthetic_dataset(
    num_train: int | None = None, num_test: int | None = None, num_unsupervised: int | None = None
) -> Dataset:
    """Return the synthetic corpus, or the first reviews of its splits."""
    sizes = {"train": num_train, "test": num_test, UNSUPERVISED: num_unsupervised}
    return Dataset(
        name="synthetic",
        fingerprint=f"{_digest()} {sizes}",
        ties="alphabetical",
        read=lambda split: Reviews(*synthetic_reviews(split, sizes[split])),
        unsupervised=True,
    )


@cache
def _digest() -> str:
    """Return a digest of some invented reviews, which depend on NumPy's random streams, too."""
    texts, labels = synthetic_reviews("test", 500)
    content = "\n".join([*texts, str(labels.tolist())])
    return BY_CONTENT + hashlib.sha256(content.encode()).hexdigest()


def synthetic_reviews(
    split: str, num_reviews: int | None = None
) -> tuple[list[str], NDArray[np.int8]]:
    """Write film reviews and their labels (see `Reviews`); `SPLIT_SIZES[split]` by default.

    A shorter list is the beginning of a longer one. Each pair of reviews holds one of either label,
    so every even number is balanced. In the default sizes no two splits share a review. Raises
    `UserError` if there is no such split, or `num_reviews` is less than 1.
    """
    if split not in SPLIT_SIZES:
        raise UserError(f"no split {split!r} in the synthetic data, only {', '.join(SPLIT_SIZES)}")
    size = SPLIT_SIZES[split] if num_reviews is None else num_reviews
    if size < 1:
        raise UserError(f"num_reviews must be at least 1, not {size}")
    seeds = [(_SEED, list(SPLIT_SIZES).index(split), i) for i in range(-(-size // _CHUNK))]
    chunks = [_chunk(np.random.Generator(np.random.PCG64(seed))) for seed in seeds]
    texts = [text for chunk, _ in chunks for text in chunk][:size]
    if split == UNSUPERVISED:
        return texts, np.full(size, -1, np.int8)
    return texts, np.concatenate([labels for _, labels in chunks])[:size]


def _chunk(rng: np.random.Generator) -> tuple[list[str], NDArray[np.int8]]:
    """Write `_CHUNK` reviews and their labels, all their sentences together."""
    first_of_pair = rng.random(_CHUNK // 2) < 0.5
    positive = np.stack([first_of_pair, ~first_of_pair], axis=1).ravel()
    # A sum of twelve uniform numbers is close to normal and needs nothing but `random`.
    normal = rng.random((_CHUNK, 12)).sum(axis=1) - 6.0
    lengths = np.exp(_LOG_LENGTH[0] + _LOG_LENGTH[1] * normal).clip(10, 2500)
    counts = np.rint(lengths / _MEAN_SENTENCE).astype(np.int64).clip(1)
    ends = counts.cumsum()
    sentences = _sentences(np.where(positive, 1, -1), counts, rng)
    texts = [
        "".join(sentences[end - count : end]).removesuffix("<br /><br />").rstrip()
        for end, count in zip(ends, counts, strict=True)
    ]
    # Both labels of a pair are wrong or neither is, which keeps the classes balanced.
    wrong = np.repeat(rng.random(_CHUNK // 2) < _LABEL_NOISE, 2)
    return texts, (positive ^ wrong).astype(np.int8)


def _sentences(
    sides: NDArray[np.int64], counts: NDArray[np.int64], rng: np.random.Generator
) -> list[str]:
    """Write the sentences of positive (side 1) and negative (-1) reviews, in reading order."""
    total = int(counts.sum())
    lean = np.repeat(_LEAN[0] + (_LEAN[1] - _LEAN[0]) * rng.random(len(counts)), counts)
    opinion = rng.random(total) < _OPINIONATED
    contrast = opinion & (rng.random(total) < _CONTRAST)
    last = np.zeros(total, bool)
    last[counts.cumsum() - 1] = True
    verdict = last & (rng.random(total) < _VERDICT[0])
    kinds = np.select([verdict, contrast, opinion], ["verdict", "contrast", "view"], "story")
    agrees = rng.random(total) < np.where(verdict, _VERDICT[1], lean)
    strong = rng.random(total) < np.where(agrees, _STRONG[1], _STRONG[0])
    tones = np.repeat(sides, counts) * np.where(agrees, 1, -1) * np.where(strong, 2, 1)

    sentences = np.empty(total, object)
    for kind in ("verdict", "contrast", "view", "story"):
        for tone in (-2, -1, 1, 2):
            (chosen,) = np.nonzero((kinds == kind) & (tones == tone))
            sentences[chosen] = _expand(kind, tone, len(chosen), rng)
    return _typeset(sentences.tolist(), rng)


def _typeset(sentences: list[str], rng: np.random.Generator) -> list[str]:
    """Add capitals, end marks, line breaks and a few typing errors to sentences."""
    total = len(sentences)
    for index in np.nonzero(rng.random(total) < _TYPING_ERRORS)[0]:
        sentences[index] = _mistype(sentences[index], rng)
    for index in np.nonzero(rng.random(total) < _SHOUTING)[0]:
        sentences[index] = sentences[index].upper()
    marks = _draw([".", "!", "...", ".", "?", "!!"], total, rng)
    gaps = np.where(rng.random(total) < _BREAKS, "<br /><br />", " ").tolist()
    return [
        sentence[0].upper() + sentence[1:] + mark + gap
        for sentence, mark, gap in zip(sentences, marks, gaps, strict=True)
    ]


def _mistype(sentence: str, rng: np.random.Generator) -> str:
    """Swap two neighboring characters after the first, or leave one out."""
    at = int(rng.integers(1, len(sentence) - 1))
    swapped = sentence[at + 1] + sentence[at] if rng.random() < 0.5 else sentence[at + 1]
    return sentence[:at] + swapped + sentence[at + 2 :]


def _expand(symbol: str, tone: int, count: int, rng: np.random.Generator) -> list[str]:
    """Write `count` phrases for a slot; `tone` is one of `_TONES`."""
    if symbol not in _rules():
        return _draw(_lexicon()[symbol, tone], count, rng)
    rules = _rules()[symbol]
    choices = rng.integers(len(rules), size=count)
    phrases = np.empty(count, object)
    for number, (template, slots) in enumerate(rules):
        (chosen,) = np.nonzero(choices == number)
        if len(chosen):  # a rule may lead to others, which need not be followed for nothing
            columns = [_expand(name, sign * tone, len(chosen), rng) for sign, name in slots]
            phrases[chosen] = list(map(template.format, *columns))
    return phrases.tolist()


def _draw(words: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """Draw `count` words, with frequencies after Zipf and Mandelbrot: 1 / (rank + offset)."""
    found = np.searchsorted(_cumulative(len(words)), rng.random(count), side="right")
    return [words[index] for index in found.tolist()]


@cache
def _cumulative(size: int) -> NDArray[np.float64]:
    # A long list needs a larger offset, or its few real words would drown the composed ones.
    weights = 1.0 / (np.arange(size) + 3.0 + size / 60)
    cumulative = weights.cumsum()
    return cumulative / cumulative[-1]  # ends in exactly 1, which `random` never reaches


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("synthetic.toml").read_text(encoding="utf-8"))


@cache
def _rules() -> dict[str, list[tuple[str, list[tuple[int, str]]]]]:
    """Return every rule of the grammar as a `str.format` template and its slots: (sign, name)."""
    slot = re.compile(r"<(-?)(\w+)>")
    return {
        symbol: [
            (slot.sub("{}", rule), [(-1 if sign else 1, name) for sign, name in slot.findall(rule)])
            for rule in rules
        ]
        for symbol, rules in _tables()["grammar"].items()
    }


@cache
def _lexicon() -> dict[tuple[str, int], list[str]]:
    """Return the words of every (slot, tone)."""
    rng, tables = np.random.Generator(np.random.PCG64(_SEED)), _tables()
    neutral = {name: _words(text) for name, text in tables["neutral"].items()}
    nouns = _composed(tables["noun"])
    neutral["noun"] += _shuffled(nouns, rng)
    neutral["nouns"] = _shuffled([noun + "s" for noun in nouns], rng)
    neutral["name"] = _shuffled(_composed(tables["name"]), rng)
    lexicon = {(name, tone): words for name, words in neutral.items() for tone in _TONES.values()}
    for name, lists in tables["sentiment"].items():
        lexicon |= {(name, tone): _words(lists[kind]) for kind, tone in _TONES.items()}
    for sign in (1, -1):
        pairings = _shuffled(_pairings(tables["pairing"], sign), rng)
        lexicon["pairing", sign] = lexicon["pairing", 2 * sign] = pairings
    with_article = {
        ("a_" + name, tone): [("an " if word[0] in "aeiou" else "a ") + word for word in words]
        for (name, tone), words in lexicon.items()
    }
    return lexicon | with_article


def _composed(parts: dict[str, str]) -> list[str]:
    return [start + end for start in _words(parts["start"]) for end in _words(parts["end"])]


def _pairings(words: dict[str, str], sign: int) -> list[str]:
    """Return half of all pairs of words, such that neither word alone tells which half."""
    return [
        f"{first} {second}"
        for row, first in enumerate(_words(words["first"]))
        for column, second in enumerate(_words(words["second"]))
        if (-1) ** (row + column) == sign
    ]


def _words(text: str) -> list[str]:
    return [word.replace("_", " ") for word in text.split()]


def _shuffled(words: list[str], rng: np.random.Generator) -> list[str]:
    return [words[index] for index in np.argsort(rng.random(len(words)), kind="stable")]
