"""The recipe `ngram` from training to explanation, on a few invented reviews."""

import itertools
import json
import math
import shutil

import jax
import numpy as np
import pytest

from imdb_jax import load
from imdb_jax.config import load_recipe, recipe_names, replace
from imdb_jax.errors import UserError
from imdb_jax.inference.scoring import most_confidently_wrong
from imdb_jax.models import create_model
from imdb_jax.models.ngram import nb_log_ratios
from imdb_jax.pipeline.corpus import load_ngrams
from imdb_jax.pipeline.input_format import configured_input_format
from imdb_jax.runs import data
from imdb_jax.runs.experiment import run
from imdb_jax.text.ngrams import NgramVocabulary
from imdb_jax.text.tokens import tokenize_with_punctuation
from imdb_jax.text.vocabulary import Vocabulary
from imdb_jax.training.trainer import Trainer


def recipe(workdir, **changes):
    small = {"batch_size": 16, "epochs": 4, "quiet": True, "workdir": workdir, "validation": 0.2}
    return replace(load_recipe("ngram"), **small | changes)


pytestmark = pytest.mark.usefixtures("few_reviews")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    run(recipe(path))
    return path


@pytest.fixture(scope="module")
def classifier(workdir):
    return load(workdir)


@pytest.fixture(scope="module")
def texts(small_synthetic):
    return [
        text.decode() if isinstance(text, bytes) else text
        for text in small_synthetic.read("test").texts
    ]


def log_odds(probability):
    return math.log(probability / (1 - probability))


def contribution_of(classifier):
    params = classifier.params
    return np.asarray(params["weight"]) * np.asarray(params["log_ratio"])


@pytest.mark.parametrize("arch", recipe_names())
def test_how_a_review_is_read_follows_from_the_architecture(arch):
    form = configured_input_format(load_recipe(arch))
    kinds = {"mlp": (True, False, Vocabulary), "ngram": (False, True, NgramVocabulary)}
    found = form.distinct, form.ngrams, form.vocabulary_class
    assert found == kinds.get(arch, (False, False, Vocabulary))


def test_learns(workdir):
    result = json.loads((workdir / "result.json").read_text())
    assert result["arch"] == "ngram"
    rows = (workdir / "metrics.csv").read_text().splitlines()[1:]
    losses = [float(row.split(",")[1]) for row in rows]
    assert losses[-1] < losses[0] < 1
    assert result["test_accuracy"] > 0.6


def test_log_ratios_are_those_of_the_reviews_trained_on(classifier, small_synthetic):
    """Of no others: neither test reviews nor those held out."""
    splits = data.load_data_for(recipe(None)).splits
    expected = nb_log_ratios(
        splits.train.ids, splits.train.labels, classifier.vocabulary.num_features
    )
    assert len(splits.train) == 48
    np.testing.assert_array_equal(classifier.params["log_ratio"], expected)
    assert classifier.params["weight"][0] == 0


def test_the_vocabulary_is_that_of_the_training_reviews(classifier, small_synthetic):
    model = classifier.model
    texts = small_synthetic.read("train").texts
    assert (
        classifier.vocabulary
        == NgramVocabulary.build_and_encode(texts, model.max_n, model.min_df)[0]
    )
    assert classifier.config.input.num_words == classifier.vocabulary.num_features


def test_predicts_the_sum_of_what_a_text_holds(classifier, texts):
    contribution, bias = contribution_of(classifier), float(classifier.params["bias"])
    for text, probability in zip(texts, classifier.predict(texts).tolist(), strict=True):
        ids = classifier.vocabulary.encode([text])[0]
        assert log_odds(probability) == pytest.approx(bias + contribution[ids].sum(), abs=1e-3)


def test_unknown_words_are_counted(classifier):
    known = classifier.vocabulary.words[-1]
    texts = ["", "qqq", known, f"{known} qqq", f"{known} {known} qqq qqq"]
    shares = [prediction.unknown_share for prediction in classifier.stream(texts)]
    assert shares == [1, 1, 0, 0.5, 0.5]


def test_evaluates_like_training(workdir, classifier, small_synthetic):
    result = json.loads((workdir / "result.json").read_text())
    reviews = small_synthetic.read("test")
    figures, logits = classifier.measure(reviews)
    assert figures["accuracy"] == pytest.approx(result["test_accuracy"])
    assert figures["loss"] == pytest.approx(result["test_loss"], rel=1e-5)
    wrong = most_confidently_wrong(reviews, logits, 3)
    assert all(row["text"] for row in wrong)


def test_a_word_weighs_what_is_gone_without_it(classifier, texts):
    """Against predictions of sets from which those n-grams were taken that only it completes."""
    contribution = contribution_of(classifier)
    for text in texts[:3]:
        words = classifier.explain(text).words
        tokens = tokenize_with_punctuation(text)
        assert [word.word for word in words] == tokens
        all_ids = set(classifier.vocabulary.encode([text])[0].tolist())
        for place in range(0, len(tokens), 7):
            # A word that nobody knows keeps the others apart.
            without = " ".join([*tokens[:place], "qqq", *tokens[place + 1 :]])
            left = set(classifier.vocabulary.encode([without])[0].tolist())
            gone = contribution[sorted(all_ids - left)].sum()
            assert words[place].weight == pytest.approx(gone, abs=1e-4)


def test_continues_where_it_was_interrupted(tmp_path, workdir):
    class Interrupted(Exception):
        pass

    calls = itertools.count()

    def tick_until(original):
        def train_epoch(self, tick=lambda: None):
            if next(calls) == 2:
                raise Interrupted
            return original(self, tick)

        return train_epoch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", tick_until(Trainer.train_epoch))
        with pytest.raises(Interrupted):
            run(recipe(tmp_path / "run"))
    run(recipe(tmp_path / "run", resume=True))
    whole, resumed = load(workdir).params, load(tmp_path / "run").params
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)


def test_the_encoding_is_cached_by_what_it_depends_on(small_synthetic, tmp_path, monkeypatch):
    monkeypatch.setenv("IMDB_JAX_CACHE", str(tmp_path))
    first = load_ngrams(small_synthetic, 2, 2)
    monkeypatch.setattr(NgramVocabulary, "build_and_encode", lambda *_: pytest.fail("again"))
    again = load_ngrams(small_synthetic, 2, 2)
    assert again.vocabulary == first.vocabulary
    for split in ("train", "test"):
        one, other = getattr(first, split), getattr(again, split)
        np.testing.assert_array_equal(one.ranks.values, other.ranks.values)
        np.testing.assert_array_equal(one.ranks.offsets, other.ranks.offsets)
    monkeypatch.undo()
    monkeypatch.setenv("IMDB_JAX_CACHE", str(tmp_path))
    assert load_ngrams(small_synthetic, 1, 2).vocabulary.max_n == 1


def test_the_number_of_ngrams_cannot_be_chosen(tmp_path):
    with pytest.raises(UserError, match="min-df"):
        run(recipe(tmp_path / "run", num_words=100))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "value"), [("max_n", 0), ("min_df", 0), ("hidden", 3)])
def test_a_bad_hyper_parameter(name, value):
    with pytest.raises(UserError, match=name):
        create_model("ngram", 10, {name: value})


def test_a_damaged_vocabulary_is_refused(workdir, tmp_path):

    copy = shutil.copytree(workdir, tmp_path / "copy")
    (copy / "ngrams.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"ngrams\.npz"):
        load(copy)
