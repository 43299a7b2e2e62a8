"""Learning from texts without labels: which ones, with what labels, and resumed exactly."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from small_runs import hasten, params_of, small

from imdb_jax import load
from imdb_jax.config import load_config, load_recipe, replace
from imdb_jax.datasets.dataset import Reviews
from imdb_jax.datasets.synthetic import synthetic_dataset
from imdb_jax.errors import UserError
from imdb_jax.inference import self_training
from imdb_jax.inference.self_training import run
from imdb_jax.models.ngram import nb_log_ratios
from imdb_jax.pipeline.splits import Examples
from imdb_jax.runs import data, experiment
from imdb_jax.runs.soft_labels import SoftLabels, unlabelled_texts
from imdb_jax.text.ngrams import NgramVocabulary
from imdb_jax.training.trainer import Trainer


@pytest.fixture(scope="module")
def dataset():
    """Invented reviews; of those without labels, one is a test review and one is empty."""
    made = synthetic_dataset(num_train=60, num_test=30, num_unsupervised=20)
    reviews = {split: made.read(split) for split in ("train", "test", "unsupervised")}
    texts = [reviews["test"].texts[3], "", *reviews["unsupervised"].texts]
    reviews["unsupervised"] = Reviews(texts, np.full(len(texts), -1, np.int8))
    return dataclasses.replace(made, read=reviews.__getitem__)


@pytest.fixture(autouse=True, scope="module")
def _hastened(dataset):
    with pytest.MonkeyPatch.context() as patch:
        hasten(patch, dataset)
        patch.setattr(self_training, "find_dataset", lambda *_: dataset)
        yield


def self_trained(workdir, **changes):
    return small(workdir, **{"unlabelled": "unsupervised"} | changes)


def ngram(workdir, **changes):
    same = {"batch_size": 16, "epochs": 2, "validation": 0.2, "quiet": True, "workdir": workdir}
    return replace(load_recipe("ngram"), **same | changes)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A student with its own teacher."""
    path = tmp_path_factory.mktemp("runs") / "run"
    run(self_trained(path))
    return path


def same_params(one, other):
    jax.tree.map(np.testing.assert_array_equal, params_of(one), params_of(other))


def read_texts(source, dataset, column=""):
    return unlabelled_texts(source, column, dataset, lambda line: None)


def test_the_texts_are_those_that_the_data_set_does_not_hold(dataset):
    said = []
    texts = unlabelled_texts("unsupervised", "", dataset, said.append)
    assert texts == dataset.read("unsupervised").texts[2:]
    assert "20 texts" in said[0]
    assert "2 more" in said[0]


def test_test_reviews_are_never_learned_from(dataset, tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(text.replace("\n", " ") for text in dataset.read("test").texts))
    with pytest.raises(UserError, match="no text"):
        read_texts(str(file), dataset)


def test_texts_of_a_file(dataset, tmp_path):
    lines, table = tmp_path / "texts.txt", tmp_path / "texts.csv"
    lines.write_text("a joy\n\nnot a joy\n")
    table.write_text("id,body\n1,a joy\n2,\n3,not a joy\n")
    assert read_texts(str(lines), dataset) == ["a joy", "not a joy"]
    assert read_texts(str(table), dataset, "body") == ["a joy", "not a joy"]
    with pytest.raises(UserError, match="--unlabelled-column"):
        read_texts(str(table), dataset)
    with pytest.raises(UserError, match="no file"):
        read_texts("missing.csv", dataset)


def test_a_data_set_without_unlabelled_reviews(dataset):
    with pytest.raises(UserError, match="no reviews without labels; give a file"):
        read_texts("unsupervised", dataclasses.replace(dataset, unsupervised=False))


def test_the_teacher_is_the_same_recipe_without_the_texts(workdir, tmp_path):
    experiment.run(small(tmp_path / "plain"))
    same_params(workdir / "teacher", tmp_path / "plain")
    assert load_config(workdir / "teacher" / "config.toml").self_training.unlabelled == ""


def test_soft_labels_are_what_the_teacher_says(workdir, dataset):
    texts = read_texts("unsupervised", dataset)
    soft = SoftLabels.load(workdir / "soft_labels.npz", texts)
    np.testing.assert_array_equal(soft.probabilities, load(workdir / "teacher").predict(texts))
    result = json.loads((workdir / "result.json").read_text())
    assert (result["num_unlabelled"], result["teacher"]) == (20, soft.teacher)


def test_a_model_of_words_learns_from_both(workdir, dataset):
    texts = read_texts("unsupervised", dataset)
    soft = SoftLabels.load(workdir / "soft_labels.npz", texts)
    config = small(workdir)
    plain = data.load_data_for(config)
    both = data.load_data_for(config, soft=soft)
    assert both.vocabulary == plain.vocabulary
    assert both.fingerprint != plain.fingerprint
    train = both.splits.train
    np.testing.assert_array_equal(train.ids[:40], plain.splits.train.ids)
    np.testing.assert_array_equal(train.ids[40:], load(workdir).encode(texts))
    expected = np.concatenate([plain.splits.train.labels, soft.probabilities])
    np.testing.assert_array_equal(train.labels, expected)
    for split in ("validation", "test"):
        one, other = getattr(both.splits, split), getattr(plain.splits, split)
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.labels, other.labels)


def test_joined_sets_remain_sets():
    words = np.array([[3, 4], [5, 0]], np.uint8)
    sets = Examples(words, np.array([0, 1], np.float32), sets=True)
    both = sets.join(Examples(words[:1], np.array([0.25], np.float32)))
    assert both.sets
    assert both.labels.tolist() == [0, 1, 0.25]
    np.testing.assert_array_equal(both.ids, words[[0, 1, 0]])


def test_ngrams_are_counted_in_both_and_weighed_by_labels_alone(tmp_path, dataset):
    run(ngram(tmp_path / "run", unlabelled="unsupervised"))
    model = load(tmp_path / "run")
    texts = read_texts("unsupervised", dataset)
    train = dataset.read("train")
    assert model.vocabulary == NgramVocabulary.build_and_encode([*train.texts, *texts], 4, 2)[0]
    soft = SoftLabels.load(tmp_path / "run" / "soft_labels.npz", texts)
    loaded = data.load_data_for(ngram(tmp_path, unlabelled="unsupervised"), soft=soft)
    assert len(loaded.splits.train) == 48
    counted = loaded.splits.train.join(loaded.splits.counted)
    assert len(counted) == 68
    expected = nb_log_ratios(counted.ids, counted.labels, model.vocabulary.num_features)
    np.testing.assert_array_equal(model.params["log_ratio"], expected)


class Interrupted(Exception):
    pass


def interrupted_at(epoch, config):
    """Runs until this epoch, counted over teacher and student, is to begin."""
    begun = []
    original = Trainer.train_epoch

    def train_epoch(self, *arguments):
        begun.append(None)
        if len(begun) == epoch:
            raise Interrupted
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", train_epoch)
        with pytest.raises(Interrupted):
            run(config)


@pytest.mark.parametrize("epoch", [2, 5])  # of the teacher, and of the student
def test_continues_where_it_was_interrupted(tmp_path, workdir, epoch):
    interrupted_at(epoch, self_trained(tmp_path / "run"))
    run(self_trained(tmp_path / "run", resume=True))
    same_params(tmp_path / "run", workdir)
    same_params(tmp_path / "run" / "teacher", workdir / "teacher")


def test_keeps_the_soft_labels_that_it_began_with(tmp_path, workdir):
    """Whatever has become of the teacher."""
    shutil.copytree(workdir / "teacher", tmp_path / "teacher")
    config = self_trained(tmp_path / "run", teacher=tmp_path / "teacher")
    interrupted_at(2, config)
    shutil.rmtree(tmp_path / "teacher")
    run(replace(config, resume=True))
    same_params(tmp_path / "run", workdir)


def test_other_texts_do_not_continue_a_run(tmp_path, workdir):
    file = tmp_path / "texts.txt"
    file.write_text("a joy\nnot a joy\n")
    config = self_trained(tmp_path / "run", unlabelled=str(file), teacher=workdir / "teacher")
    interrupted_at(2, config)
    file.write_text("a joy\na bore\n")
    with pytest.raises(UserError, match="began with other unlabelled texts"):
        run(replace(config, resume=True))


def test_replaced_with_its_teacher(tmp_path, workdir):
    copy = shutil.copytree(workdir, tmp_path / "copy")
    run(self_trained(copy, overwrite=True, epochs=1))
    assert load_config(copy / "teacher" / "config.toml").training.epochs == 1
    run(small(copy, overwrite=True, epochs=1))
    assert not {"teacher", "soft_labels.npz"} & {path.name for path in copy.iterdir()}


@pytest.mark.parametrize("place", [".", "teacher"])
def test_a_teacher_is_not_replaced_by_its_student(tmp_path, place):
    workdir, again = tmp_path / "run", tmp_path / "again"
    workdir.mkdir()
    again.symlink_to(workdir)
    options = {"unlabelled": "unsupervised", "teacher": again / place, "overwrite": True}
    with pytest.raises(UserError, match=r"teacher .* lies in .*/run, which --overwrite would"):
        run(small(workdir, **options))


def test_a_directory_that_is_taken_is_refused_before_the_teacher_is_trained(workdir):
    with pytest.raises(UserError, match="already holds a run"):
        run(self_trained(workdir))


def test_a_run_that_is_called_teacher_is_not_taken_for_one(tmp_path, workdir):
    shutil.copytree(workdir / "teacher", tmp_path / "teacher")
    for config in (small(tmp_path), self_trained(tmp_path, teacher=workdir / "teacher")):
        with pytest.raises(UserError, match="not a run directory"):
            run(config)
    with pytest.raises(UserError, match="teacher already holds a run"):
        run(self_trained(tmp_path))
    same_params(tmp_path / "teacher", workdir / "teacher")


@pytest.mark.parametrize("how", ["overwrite", "resume"])
def test_a_link_is_no_teacher_of_ones_own(tmp_path, workdir, how):
    other = shutil.copytree(workdir / "teacher", tmp_path / "other")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "teacher").symlink_to(other)
    with pytest.raises(UserError, match="not a run directory: it holds teacher"):
        run(self_trained(tmp_path / "run", epochs=1, **{how: True}))
    same_params(other, workdir / "teacher")


def test_a_teacher_of_another_architecture(tmp_path, dataset):
    run(ngram(tmp_path / "teacher", validation=1 / 3))
    run(self_trained(tmp_path / "run", teacher=tmp_path / "teacher"))
    texts = read_texts("unsupervised", dataset)
    soft = SoftLabels.load(tmp_path / "run" / "soft_labels.npz", texts)
    np.testing.assert_array_equal(soft.probabilities, load(tmp_path / "teacher").predict(texts))
    assert (
        load_config(tmp_path / "run" / "config.toml").self_training.teacher == tmp_path / "teacher"
    )
    assert not (tmp_path / "run" / "teacher").exists()


def test_a_teacher_that_may_have_seen_what_is_tested_on(tmp_path, workdir):
    for changes in ({"test_share": 0.3}, {"validation": 0.2}):
        config = self_trained(tmp_path / "run", teacher=workdir / "teacher", **changes)
        with pytest.raises(UserError, match=f"{next(iter(changes))}.*may have seen"):
            run(config)
    assert not (tmp_path / "run").exists()


def test_damaged_soft_labels(tmp_path, workdir):
    copy = shutil.copytree(workdir, tmp_path / "copy")
    (copy / "soft_labels.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="damaged"):
        run(self_trained(copy, resume=True))


def test_soft_labels_that_have_changed(tmp_path, workdir, dataset, capsys):
    """Those of a version that kept no digest are taken, with a note."""
    texts, file = read_texts("unsupervised", dataset), tmp_path / "soft_labels.npz"
    with np.load(workdir / "soft_labels.npz") as arrays:
        kept = dict(arrays)
    changed = kept["probabilities"].copy()
    changed[3] = np.nextafter(changed[3], np.float32(1))
    for name, value in (("probabilities", changed), ("teacher", np.array("another"))):
        np.savez(file, **kept | {name: value})
        with pytest.raises(UserError, match="damaged"):
            SoftLabels.load(file, texts)
    del kept["digest"]
    np.savez(file, **kept)
    assert SoftLabels.load(file, texts).teacher == kept["teacher"]
    assert "without a digest" in capsys.readouterr().err


@pytest.mark.parametrize("option", [{"teacher": Path("runs/ngram")}, {"unlabelled_column": "body"}])
def test_options_that_mean_nothing_without_texts(option):
    with pytest.raises(UserError, match="goes with unlabelled texts only"):
        small(None, **option)
