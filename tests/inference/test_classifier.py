"""Reading text with a model: any text, any number of texts, in whatever groups they come."""

import itertools
import shutil
import tracemalloc

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_to_read import ARCHITECTURES, WORDS, small
from small_runs import to_format_1

from imdb_jax import load
from imdb_jax.config import load_recipe, replace
from imdb_jax.errors import UserError
from imdb_jax.inference import prediction as module
from imdb_jax.inference.prediction import Prediction
from imdb_jax.runs import data, experiment
from imdb_jax.runs.manifest import files_in, write_manifest
from imdb_jax.text.sequences import pad_sequences
from imdb_jax.text.tokens import tokenize
from imdb_jax.text.vocabulary import Vocabulary

# What people type, what machines send, and what neither should.
ODD_TEXTS = [
    "",
    " \t\n",
    "...",
    "\0",
    "good\0film",
    b"\xff\xfe\x00",
    b"caf\xe9 good",
    "\ud800",
    "😀👍🏽 é 电影 \u202e \x1b[31m",
    "\r\n",
    "the " * 250_000,
    "x" * 1_000_000,
    b"good " * 3,
]


def some_texts(number):
    """Texts of many lengths, a function of their number alone."""
    generator = np.random.default_rng(7)
    words = [*WORDS, "never", "heard"]
    lengths = generator.integers(0, 12, number)
    return [" ".join(generator.choice(words, length)) for length in lengths]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_probabilities_are_those_of_the_model(arch):
    """Through the public parts, one step at a time, as a person would."""
    classifier = small(arch)
    texts = some_texts(20)
    sequences = classifier.vocabulary.encode(texts, num_words=12)
    if arch == "mlp":
        ids = pad_sequences([np.unique(ids) for ids in sequences])
    else:
        ids = pad_sequences(sequences, 8, padding=classifier.config.input.padding)
    logits = jax.jit(classifier.model.apply)({"params": classifier.params}, ids)
    np.testing.assert_allclose(classifier.predict(texts), jax.nn.sigmoid(logits), atol=1e-6)


@pytest.mark.parametrize("arch", ["mlp", "cnn", "lstm"])
def test_probability_does_not_depend_on_the_other_texts(arch):
    classifier = small(arch)
    texts = some_texts(600)
    together = classifier.predict(texts)
    assert together.shape == (600,)
    assert together.dtype == np.float32
    assert np.ptp(together) > 0.01
    for number in (1, 7, 64):
        starts = range(0, len(texts), number)[:12]
        apart = np.concatenate([classifier.predict(texts[i : i + number]) for i in starts])
        np.testing.assert_allclose(apart, together[: len(apart)], atol=1e-6)
    np.testing.assert_allclose(classifier.predict(texts[::-1])[::-1], together, atol=1e-6)


@pytest.mark.parametrize("arch", ["mlp", "cnn"])
def test_any_text_is_read(arch):
    classifier = small(arch)
    together = list(classifier.stream(ODD_TEXTS))
    for text, prediction in zip(ODD_TEXTS, together, strict=True):
        assert 0 < prediction.probability < 1
        assert 0 <= prediction.unknown_share <= 1
        label = "positive" if prediction.probability > 0.5 else "negative"
        assert prediction.label == (None if prediction.unknown_share == 1 else label)
        np.testing.assert_allclose(classifier.predict(text), prediction.probability, atol=1e-6)


@settings(max_examples=25)
@given(st.lists(st.text() | st.binary() | st.sampled_from(WORDS), max_size=5))
def test_unknown_share_is_exact(texts):
    classifier = small()
    told_apart = set(WORDS[:8])
    for text, prediction in zip(texts, classifier.stream(texts), strict=True):
        words = tokenize(text)
        unknown = [word for word in words if word not in told_apart]
        assert prediction.unknown_share == (len(unknown) / len(words) if words else 1)


def test_one_text_none_or_something_else():
    classifier = small()
    assert classifier.predict("good").shape == classifier.predict(b"good").shape == (1,)
    assert classifier.predict([]).shape == (0,)
    assert classifier.predict(iter(["good"])) == classifier.predict("good")
    assert list(classifier.stream([])) == []
    with pytest.raises(TypeError, match="must be str or bytes, not float"):
        classifier.predict([1.5])


def test_stream_reads_a_few_chunks_ahead_and_keeps_none():
    classifier = small()
    list(classifier.stream(["good"] * 1500))  # whatever is kept once is kept now
    read, most = 0, 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield f"the film number {read} is " + ("good " if read % 2 else "bad ") * 20

    tracemalloc.start()
    expected = classifier.predict(list(itertools.islice(endless(), 2)))
    read = 0
    for number, prediction in enumerate(itertools.islice(classifier.stream(endless()), 20_000), 1):
        most = max(most, read - number)
        assert abs(prediction.probability - expected[(number - 1) % 2]) < 1e-6
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 * 512
    assert peak < 15e6  # bytes; less than the texts alone would take


def test_long_texts_are_read_in_smaller_chunks():
    read = []

    def texts():
        for number in range(12):
            read.append(number)
            yield "good " * 300_000

    next(small().stream(texts()))
    assert len(read) <= 9


def test_models_are_compiled_for_a_few_shapes_only():
    classifier = small(max_length=9)
    before = module.predict_step._cache_size()
    for number in range(1, 300, 17):
        classifier.predict(["good"] * number)
    assert module.predict_step._cache_size() - before <= len(module.BATCH_SIZES)


# load


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small_synthetic):
    """A run directory."""
    workdir = tmp_path_factory.mktemp("runs") / "pooled"
    config = replace(
        load_recipe("pooled"), num_words=200, max_length=16, epochs=1, quiet=True, workdir=workdir
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "find_dataset", lambda *_: small_synthetic)
        experiment.run(config)
    return workdir


def test_a_run_is_loaded_from_wherever_it_is(trained, tmp_path):
    texts = some_texts(5)
    moved = tmp_path / "élan run"
    shutil.copytree(trained, moved)
    classifier = load(str(moved))
    np.testing.assert_array_equal(classifier.predict(texts), load(trained).predict(texts))
    assert classifier.config.arch == "pooled"
    assert classifier.vocabulary == Vocabulary.load(trained / "vocabulary.txt")
    assert isinstance(next(classifier.stream(texts)), Prediction)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"labels": "ab"}', '{"labels": ["a"]}', r'{"labels": ["\u001b", "b"]}']
)
def test_names_of_classes_that_no_run_wrote_are_refused(trained, tmp_path, content):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "result.json").write_text(content)
    (run / "manifest.json").unlink()
    write_manifest(run, files_in(run))
    with pytest.raises(UserError, match=r"result\.json is not the file that was written"):
        load(run)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: shutil.rmtree(run), "not a run directory"),
        (lambda run: (run / "config.toml").unlink(), "not a run directory"),
        (lambda run: (run / "vocabulary.txt").unlink(), "vocabulary.txt is missing"),
        (lambda run: (run / "vocabulary.txt").write_text("film\n"), "vocabulary.txt has changed"),
        (lambda run: shutil.rmtree(run / "params"), "params/.* is missing"),
        (lambda run: (run / "result.json").unlink(), "result.json is missing"),
        (lambda run: (run / "manifest.json").unlink(), "has not ended.*manifest.json"),
        (
            lambda run: (run / "config.toml").write_text(
                (run / "config.toml").read_text().replace("max_length = 16", "max_length = 17")
            ),
            "config.toml has changed",
        ),
    ],
)
def test_damaged_run_is_named(trained, tmp_path, damage, message):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    damage(run)
    with pytest.raises(UserError, match=message):
        load(run)


def test_run_of_format_1_is_loaded_with_a_note(trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    to_format_1(run)
    texts = some_texts(5)
    np.testing.assert_array_equal(load(run).predict(texts), load(trained).predict(texts))
    assert capsys.readouterr().err == (
        f"the run in {run} was written in format 1, and cannot be verified in full\n"
    )
    (run / "params" / "checksums.json").write_text("{}")
    with pytest.raises(UserError, match=r"checksums\.json does not list"):
        load(run)
