"""Campaigns inside this process: damaged files, and fuzzed texts."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from torture_harness import Trial, difference, outcome, write_reviews

from imdb_jax import load, predict, train
from imdb_jax.errors import UserError
from imdb_jax.text.tokens import Text

_ARCHITECTURES = ("debug", "pooled", "ngram")
_TEXTS = ("a wonderful film, not a dull moment", "terrible acting", "")


def flips(scratch: Path, rng: random.Random) -> Iterator[Trial]:
    """Damage one file of a run directory or of the cache, then predict with it or resume it.

    Either the result is the same as without the damage, or one sentence refuses the file.
    """
    reviews = write_reviews(scratch / "reviews.csv", 300)
    trials: list[Callable[[], Trial]] = []
    for arch in _ARCHITECTURES:
        workdir, cache = scratch / arch, scratch / f"cache-{arch}"
        options = f"--arch {arch} --dataset {reviews} --workdir {workdir} --quiet".split()
        # Only so may a run be continued for more epochs.
        options += ["--schedule", "constant", "--warmup", "0"]
        with _cache(cache):
            _quietly(train.train, [*options, "--epochs", "1"])
            more = scratch / f"{arch}-more"
            shutil.copytree(workdir, more)
            resume = [*options, "--workdir", str(more), "--epochs", "2", "--resume"]
            begun = scratch / f"{arch}-begun"
            shutil.copytree(more, begun)
            _quietly(train.train, resume)
        expected, predicted = outcome(more), _predictions(workdir)
        trials.append(partial(_predict_damaged, workdir, predicted, scratch, rng))
        trials.append(partial(_resume_damaged, begun, resume, cache, expected, rng))
    for number in count():
        yield trials[number % len(trials)]()


def _predict_damaged(
    workdir: Path, expected: Sequence[str], scratch: Path, rng: random.Random
) -> Trial:
    """Predict with a damaged copy of a run."""
    copy = scratch / "damaged"
    shutil.copytree(workdir, copy, ignore=shutil.ignore_patterns("checkpoints"))
    file = _choose_file(copy, rng)
    what = f"{workdir.name}, {_damage(file, rng)} of {file.relative_to(copy)}, predict"

    def predicted() -> str:
        return "" if _predictions(copy) == expected else "other predictions or words, silently"

    fault = _fault(file, copy, predicted)
    shutil.rmtree(copy)
    return Trial(what, fault)


def _resume_damaged(
    begun: Path,
    resume: Sequence[str],
    cache: Path,
    expected: dict[str, bytes],
    rng: random.Random,
) -> Trial:
    """Continue a damaged copy of a run, or one with a damaged cache."""
    workdir, own_cache = begun.with_name("resumed"), begun.with_name("resumed-cache")
    shutil.copytree(begun, workdir)
    shutil.copytree(cache, own_cache, ignore=shutil.ignore_patterns("compiled"))
    root = rng.choice([workdir, own_cache])
    file = _choose_file(root, rng)
    what = f"{begun.name}, {_damage(file, rng)} of {file.relative_to(begun.parent)}, resume"

    def resumed() -> str:
        with _cache(own_cache):
            _quietly(train.train, [*resume, "--workdir", str(workdir)])
        return difference(outcome(workdir), expected)

    fault = _fault(file, root, resumed)
    shutil.rmtree(workdir)
    shutil.rmtree(own_cache)
    return Trial(what, fault)


def _choose_file(root: Path, rng: random.Random) -> Path:
    """Choose an entry of a directory, then a file in it: else most would be parameters."""
    entry = rng.choice(sorted(root.iterdir()))
    return rng.choice(sorted(path for path in [entry, *entry.rglob("*")] if path.is_file()))


def _fault(file: Path, root: Path, act: Callable[[], str]) -> str:
    """Return what went wrong when a damaged file was used; it may be refused by name."""
    try:
        return act()
    except UserError as error:
        names = [*file.relative_to(root).parts, str(root)]
        return "" if any(name in str(error) for name in names) else f"names no file: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _damage(file: Path, rng: random.Random) -> str:
    """Damage a file in place, most often by one bit; return what was done."""
    data = bytearray(file.read_bytes())
    kind = rng.choices(["a flipped bit", "cut", "emptied", "removed"], [8, 1, 1, 1])[0]
    if kind == "removed":
        file.unlink()
    elif kind == "emptied" or not data:
        file.write_bytes(rng.choice([b"", b"{}", b"[]"]))
    elif kind == "cut":
        file.write_bytes(data[: rng.randrange(len(data))])
    else:
        place = rng.randrange(len(data))
        data[place] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        return f"a flipped bit in byte {place}"
    return kind


def _predictions(workdir: Path) -> list[str]:
    """Return what `predict` prints, and the words or n-grams, of which it meets only a few."""
    printed = _quietly(predict.predict, [str(workdir), *_TEXTS, "--format", "jsonl", "--quiet"])
    return [*printed.splitlines(), *load(workdir).vocabulary.words]


def _quietly(command: Callable[[list[str]], Any], arguments: list[str]) -> str:
    """Run a command in this process; return what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        command(arguments)
    return printed.getvalue()


@contextlib.contextmanager
def _cache(directory: Path) -> Iterator[None]:
    before = os.environ.get("IMDB_JAX_CACHE")
    os.environ["IMDB_JAX_CACHE"] = str(directory)
    try:
        yield
    finally:
        if before is None:
            del os.environ["IMDB_JAX_CACHE"]
        else:
            os.environ["IMDB_JAX_CACHE"] = before


def texts(scratch: Path, rng: random.Random) -> Iterator[Trial]:
    """Predict fuzzed texts: words must be those of the plain rules, and equal texts agree."""
    reviews = write_reviews(scratch / "reviews.csv", 300)
    models = []
    for arch in ("pooled", "ngram"):
        workdir = scratch / arch
        options = ["--arch", arch, "--dataset", str(reviews), "--workdir", str(workdir)]
        with _cache(scratch / "cache"):
            _quietly(train.train, [*options, "--epochs", "1", "--quiet"])
        models.append(load(workdir))
    words = models[0].vocabulary.words
    ranks = {word.encode(): rank for rank, word in enumerate(words, start=1)}
    for number in count():
        model = models[number % len(models)]
        fuzzed = [_fuzzed_text(rng, words) for _ in range(512)]
        yield Trial(f"512 texts, {model.config.arch}", _text_fault(model, ranks, fuzzed, rng), 512)


def _text_fault(
    model: Any, ranks: Mapping[bytes, int], fuzzed: list[Text], rng: random.Random
) -> str:
    """Return what is wrong with a model's predictions of texts."""
    one = rng.choice(fuzzed)
    try:
        probabilities = model.predict([*fuzzed, one])
        alone = model.predict(one)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        return "a probability outside of 0 to 1"
    if not np.allclose(alone, probabilities[-1], rtol=0, atol=1e-6):
        return f"another probability alone, {alone} and {probabilities[-1]}: {one!r}"
    if model.input_format.ngrams:
        known = [word in model.vocabulary.words for word in plain_tokens(one)]
        found = [place for _, place, length in model.vocabulary.occurrences(one) if length == 1]
        return "" if list(np.flatnonzero(known)) == found else f"other tokens than by rule: {one!r}"
    for text, found in zip(fuzzed, model.vocabulary.rank(fuzzed), strict=True):
        if [ranks[word] for word in plain_words(text) if word in ranks] != found.tolist():
            return f"other words than by the rules: {text!r}"
    return ""


_PUNCTUATION = b'!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
_TOKEN = re.compile(r"[a-z0-9]+(?:'[a-z]+)?|[^ \t\n\r\v\f\0]")


def _valid(text: Text) -> str:
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return data.decode("utf-8", "replace")


def plain_words(text: Text) -> list[bytes]:
    """Cut a text into words by the rules of `keras.datasets.imdb`, byte by byte."""
    data = bytes(32 if byte in _PUNCTUATION else byte for byte in _valid(text).encode())
    return [word for word in data.lower().split(b" ") if word]


def plain_tokens(text: Text) -> list[str]:
    """Cut a text into words and punctuation by one regular expression."""
    lowered = _valid(text).encode().lower().decode()  # of bytes, lower() changes ASCII only
    return _TOKEN.findall(lowered.replace("<br />", " "))


def _fuzzed_text(rng: random.Random, words: Sequence[str]) -> Text:
    """Make a text of known words, punctuation, odd white space, other scripts and plain bytes."""
    pieces = []
    for _ in range(int(rng.paretovariate(0.7)) % 300):
        kind = rng.random()
        if kind < 0.4:
            pieces.append(rng.choice(words))
        elif kind < 0.5:
            pieces.append(rng.choice(words).upper())
        elif kind < 0.9:
            pieces.append(rng.choice(_ODD))
        else:
            pieces.append(chr(rng.choice([rng.randrange(0x80), rng.randrange(0xD800)])))
        if rng.random() < 0.7:
            pieces.append(" ")
    text = "".join(pieces)
    if rng.random() < 0.2:
        data = bytearray(text.encode("utf-8", "surrogatepass"))
        for _ in range(min(len(data), 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)
    return text


_ODD = (
    *"\t\n\r\x0b\x0c\x00\x1c\x1f\x7f\x85\xa0\u2028\u200b\u3000\ufeff\u202e",
    *"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    *(
        "<br />",
        "don't",
        "'",
        "''",
        "é",
        "ÉCOLE",
        "ß",
        "İ",
        "你好",
        "👍🏽",
        "e\u0301",
        "\x1b[31m",
        "\ud800",
    ),
)
