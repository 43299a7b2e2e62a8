"""Whole runs on a few invented reviews: what they write, say, repeat and refuse."""

import contextlib
import csv
import dataclasses
import io
import json
import re
import shutil
import sys

import jax
import numpy as np
import pytest
from models_to_read import SMALL_MODELS

from imdb_jax.config import Config, load_config, load_recipe, recipe_names, replace
from imdb_jax.datasets.find import find_dataset
from imdb_jax.errors import UserError
from imdb_jax.pipeline.input_format import create_configured_model
from imdb_jax.pipeline.splits import Examples, Splits
from imdb_jax.runs import curves, data, experiment
from imdb_jax.runs.checkpoints import load_params
from imdb_jax.runs.experiment import run
from imdb_jax.runs.results import warn_of_guessing
from imdb_jax.text.vocabulary import Vocabulary

FILES = {"config.toml", "vocabulary.txt", "metrics.csv", "history.png", "params", "result.json"}
FILES |= {"checkpoints", "manifest.json"}
TIMES = {"ended", "train_seconds", "epoch_seconds", "compile_seconds", "peak_rss_mb"}


def tiny(arch="pooled", **changes):
    """A recipe, cut down so that it trains in no time."""
    recipe = load_recipe(arch)
    small = {"num_words": 200, "max_length": 16, "epochs": 1, "batch_size": 10, "quiet": True}
    small |= {"model": recipe.model | SMALL_MODELS[arch]} | changes
    return replace(recipe, **small)


pytestmark = pytest.mark.usefixtures("few_reviews")


@dataclasses.dataclass
class Finished:
    """A run, what it returned, what it printed, and what its figure says."""

    config: Config
    result: dict
    stdout: str
    title: str
    kept: int  # the epoch that its figure marks

    @property
    def workdir(self):
        return self.config.run.workdir

    def params(self):
        model = create_configured_model(self.config)
        ids = np.zeros((1, self.config.input.max_length), np.int32)
        like = jax.eval_shape(model.init, jax.random.key(0), ids)["params"]
        return load_params(self.workdir / "params", like)[0]


def finish(config):
    titles, kept = [], []

    def plot(path, rows, title, validated_on, epoch):
        titles.append(title)
        kept.append(epoch)
        plot_history(path, rows, title, validated_on, epoch)

    plot_history = curves.plot_history
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.setattr(curves, "plot_history", plot)
        result = run(config)
    return Finished(config, result, out.getvalue(), *titles, *kept)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two epochs with a third of the 60 training reviews held out; leave it as it is."""
    workdir = tmp_path_factory.mktemp("runs") / "below" / "pooled"
    return finish(tiny(workdir=workdir, epochs=2, validation=1 / 3, quiet=False, seed=3))


def contents(directory):
    return {path: path.is_file() and path.read_bytes() for path in directory.rglob("*")}


def read_metrics(run):
    with (run.workdir / "metrics.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


# What a run leaves


def test_run_directory_holds_what_is_promised(finished):
    assert {path.name for path in finished.workdir.iterdir()} == FILES
    assert (finished.workdir / "history.png").read_bytes().startswith(b"\x89PNG")
    assert finished.kept == 2  # the last epoch, as validation chose none


def test_result_says_what_was_run_where_and_how_well(finished):
    result = json.loads((finished.workdir / "result.json").read_text())
    assert result == finished.result
    expected = {
        "arch": "pooled",
        "dataset": "synthetic",
        "labels": ["negative", "positive"],
        "num_params": 200 * 4 + (4 * 4 + 4) + (4 + 1),
        "seed": 3,
        "epochs": 2,
        "best_epoch": None,
        "batch_size": 10,
        "train_reviews": 40,
        "test_reviews": 30,
        "jax": jax.__version__,
        "device_kind": "cpu",
        "device_count": 4,
    }
    assert {key: result[key] for key in expected} == expected
    assert set(result) - set(expected) == TIMES | {
        "test_accuracy",
        "test_loss",
        "val_accuracy",
        "python",
        "flax",
        "optax",
    }
    assert 0 < result["test_accuracy"] < 1
    assert len(result["val_accuracy"]) == len(result["epoch_seconds"]) == 2
    assert result["train_seconds"] == pytest.approx(sum(result["epoch_seconds"]))
    assert 0 < result["train_seconds"] < 60
    assert 50 < result["peak_rss_mb"] < 10_000


def test_metrics_have_a_row_per_epoch_that_agrees_with_the_result(finished):
    rows = read_metrics(finished)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [row["val_accuracy"] for row in rows] == finished.result["val_accuracy"]
    assert [row["seconds"] for row in rows] == finished.result["epoch_seconds"]
    # Shares of the 40 reviews trained on and of the 20 held out.
    for row in rows:
        assert row["accuracy"] * 40 == pytest.approx(round(row["accuracy"] * 40))
        assert row["val_accuracy"] * 20 == pytest.approx(round(row["val_accuracy"] * 20))


def test_saved_configuration_is_that_of_the_run(finished):
    saved = load_config(finished.workdir / "config.toml")
    assert replace(saved, workdir=finished.workdir) == replace(
        finished.config, dataset="synthetic", quiet=False, shards=1
    )


def test_saved_files_alone_reproduce_the_test_figures(finished, small_synthetic):
    """In NumPy, from the raw text: nothing but the run directory is needed to use the model."""
    config = load_config(finished.workdir / "config.toml")
    vocabulary = Vocabulary.load(finished.workdir / "vocabulary.txt")
    params = finished.params()
    test = small_synthetic.read("test")
    losses, correct = [], []
    for text, label in zip(test.texts, test.labels, strict=True):
        ids = vocabulary.encode(text, num_words=config.input.num_words)[-config.input.max_length :]
        ids = np.pad(ids, (0, config.input.max_length - len(ids)))
        x = params["Embed_0"]["embedding"][ids].mean(axis=0)
        x = np.maximum(x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"], 0)
        (logit,) = x @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
        p = 1 / (1 + np.exp(-logit))
        losses.append(-np.log(p if label else 1 - p))
        correct.append((logit > 0) == label)
    assert finished.result["test_accuracy"] == np.mean(correct)
    assert finished.result["test_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_synthetic_figures_cannot_be_mistaken_for_real_ones(finished):
    assert finished.stdout.splitlines()[-1].endswith(" (synthetic corpus)")
    assert "synthetic" in finished.title
    assert "the built-in synthetic corpus" in finished.stdout


# What a run says


def test_last_line_is_the_test_accuracy(finished):
    accuracy = finished.result["test_accuracy"]
    last = finished.stdout.splitlines()[-1]
    assert last == f"test accuracy {accuracy:.4f} (synthetic corpus)"


def test_output_has_sizes_layer_table_and_a_line_per_epoch(finished):
    out = finished.stdout
    assert "40 reviews to train, 20 to validate, 30 to test, of 16 ids each" in out
    assert "validating on reviews held out" in out
    for text in ("Embed_0", "(batch, 16, 4)", "GlobalAveragePooling1D", " 825\n", jax.__version__):
        assert text in out
    epochs = [line for line in out.splitlines() if line.startswith("epoch ")]
    for number, (line, row) in enumerate(zip(epochs, read_metrics(finished), strict=True), 1):
        assert line.startswith(f"epoch {number}/2 ")
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert f"  {name.replace('accuracy', 'acc')} {row[name]:.4f}" in line


# Repetition


def test_same_seed_gives_the_same_run(finished, tmp_path):
    again = finish(replace(finished.config, workdir=tmp_path / "again", quiet=True))
    assert again.stdout == finished.stdout.splitlines(keepends=True)[-1]  # quiet as it is
    for name in finished.result.keys() - TIMES:
        assert again.result[name] == finished.result[name], name
    jax.tree.map(np.testing.assert_array_equal, again.params(), finished.params())
    for name in ("config.toml", "vocabulary.txt"):
        assert (again.workdir / name).read_bytes() == (finished.workdir / name).read_bytes()


def test_other_seed_gives_another_run(finished, tmp_path):
    other = finish(replace(finished.config, workdir=tmp_path, seed=4))
    assert {path.name for path in tmp_path.iterdir()} == FILES  # an empty directory may be used
    different = jax.tree.map(lambda a, b: bool(np.any(a != b)), other.params(), finished.params())
    assert all(jax.tree.leaves(different))
    assert other.result["test_loss"] != finished.result["test_loss"]


# Recipes and splits


@pytest.mark.parametrize("arch", sorted({*recipe_names()} - {"pooled", "mlp", "ngram"}))
def test_every_recipe_trains(arch, tmp_path):
    result = finish(tiny(arch, workdir=tmp_path / "run", loss="mse")).result
    assert result["arch"] == arch
    assert np.isfinite(result["test_loss"])
    assert 0 <= result["test_loss"] <= 1  # the loss asked for: a squared error of probabilities
    # Nothing is held out in these, so that the test reviews are watched.
    assert result["val_accuracy"] == [result["test_accuracy"]]


def test_test_share_merges_and_divides_the_reviews(tmp_path):
    config = tiny("mlp", workdir=tmp_path / "run", max_length=0, quiet=False, batch_size=20)
    assert config.data.test_share == 0.2
    done = finish(config)
    assert "72 reviews to train, 18 to test" in done.stdout
    assert done.result["test_accuracy"] * 18 == pytest.approx(
        round(done.result["test_accuracy"] * 18)
    )
    assert "few steps per epoch (4): try --batch-size 16" in done.stdout


@pytest.mark.parametrize(
    ("accuracy", "arch", "said"),
    [
        (0.6, "cnn", "no better than always guessing 'rotten', right for 0.7500 of the test"),
        (0.75, "ngram", "no better"),
        (0.79, "cnn", "hardly better"),
        (0.80, "cnn", ""),
    ],
)
def test_a_model_that_has_learned_nothing_is_said_to(accuracy, arch, said):
    labels = np.repeat(np.float32([0, 1]), [75, 25])
    test = Examples(np.zeros((100, 1), np.uint8), labels)
    found = data.ExperimentData("own", "", None, Splits(test, None, test), ("rotten", "fresh"))
    for result in (
        {"test_accuracy": accuracy},
        {"test_accuracy": [], "test_accuracy_mean": accuracy},
    ):
        warning = warn_of_guessing(load_recipe(arch), found, result)
        assert warning.startswith(said)
        assert ("--batch-size" in warning) == bool(said)
        assert ("--arch ngram" in warning) == bool(said and arch != "ngram")
    one_class = dataclasses.replace(
        found, splits=Splits(test, None, Examples(test.ids, labels * 0))
    )
    assert warn_of_guessing(load_recipe(arch), one_class, {"test_accuracy": 1.0}) == ""


def test_the_warning_comes_before_the_result(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "warn_of_guessing", lambda *_: "learned nothing")
    done = finish(tiny(workdir=tmp_path / "run", quiet=False))
    assert "learned nothing" in done.stdout.splitlines()[:-1]
    assert done.stdout.splitlines()[-1].startswith("test accuracy ")


@pytest.mark.parametrize("changes", [{"validation": 0.999}, {"test_share": 0.999}])
def test_nothing_left_to_train_on(tmp_path, changes):
    with pytest.raises(UserError, match="no reviews left to train on"):
        run(tiny(workdir=tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_nothing_left_to_test_on(tmp_path):
    with pytest.raises(UserError, match=r"test_share|to test on"):
        run(tiny(workdir=tmp_path / "run", test_share=1e-6))


# Directories that are taken


@pytest.fixture
def earlier(finished, tmp_path):
    """A copy of a run's directory, to be threatened."""
    return shutil.copytree(finished.workdir, tmp_path / "earlier")


def refuse(config, match):
    before = contents(config.run.workdir)
    with pytest.raises(UserError, match=match) as caught:
        run(config)
    assert "\n" not in str(caught.value)
    assert contents(config.run.workdir) == before


def test_earlier_run_is_refused_and_untouched(earlier):
    free = earlier.with_name(f"{earlier.name}-2")
    refuse(tiny(workdir=earlier), f"already holds a run.*--resume.*--overwrite.*--workdir {free}$")
    free.mkdir()
    refuse(tiny(workdir=earlier), f"--workdir {earlier}-3$")
    free.rmdir()


def test_earlier_run_is_replaced_if_told_so(earlier):
    (earlier / "params" / "left over").touch()
    result = finish(tiny(workdir=earlier, overwrite=True)).result
    assert json.loads((earlier / "result.json").read_text()) == result
    assert {path.name for path in earlier.iterdir()} == FILES
    assert not (earlier / "params" / "left over").exists()
    assert len((earlier / "metrics.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}], ids=str)
@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[site]\ntitle = 'thesis'\n",
        "format = 1\n",
        "format = true\narch = 'cnn'\n",
        "arch = 'cnn'\n",  # a recipe
        "no TOML",
        b"\xff",
    ],
)
def test_directory_of_something_else_is_never_touched(tmp_path, how, content):
    """Even if it has a file of that name: config.toml is what many programs call theirs."""
    (tmp_path / "thesis.tex").write_text("ten years of work")
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "config.toml").write_bytes(data)
    refuse(tiny(workdir=tmp_path, **how), "not a run directory: it holds ")


@pytest.mark.parametrize("kind", ["directory", "link", "dangling link"])
def test_config_that_is_no_file_makes_no_run(tmp_path, earlier, kind):
    workdir = tmp_path / "run"
    workdir.mkdir()
    if kind == "directory":
        (workdir / "config.toml").mkdir()
    else:
        target = earlier if kind == "link" else tmp_path / "none"
        (workdir / "config.toml").symlink_to(target / "config.toml")
    refuse(tiny(workdir=workdir, overwrite=True), "not a run directory: it holds config.toml")


# Names within a run directory that no run gives to what it writes, or not to a file.
FOREIGN_FILES = [
    "notes.md",
    ".config.toml.swp",
    ".notes.md.a1b2c3d4",
    ".DS_Store",
    "params",
    "checkpoints",
    "checkpoints/5-3",
    "checkpoints/notes.old/notes.txt",
    "metrics.csv/notes.txt",
    "tensorboard/notes.txt",
    "profile/notes.txt",
    "params.old/notes.txt",
    "seed-0",
    "seed-0/thesis.tex",
    "seed-0/config.toml",
    "seed-00/config.toml",
    "teacher/thesis.tex",
    "teacher/config.toml",
]


def put(path):
    """Replaces what there is by a person's file."""
    for place in (path, path.parent):
        if place.is_file():
            place.unlink()
    if path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("ten years of work")


@pytest.mark.parametrize("name", FOREIGN_FILES)
def test_only_what_a_run_wrote_is_replaced(earlier, name):
    put(earlier / name)
    match = rf"^{re.escape(str(earlier / name.split('/')[0]))}\S* is not part of a run.*; move it"
    refuse(tiny(workdir=earlier, overwrite=True), match)


@pytest.mark.parametrize("name", ["thesis.tex", "checkpoints/notes.txt", "config.toml"])
@pytest.mark.parametrize("within", ["seed-0", "teacher"])
def test_runs_within_a_run_are_looked_through_too(earlier, finished, within, name):
    shutil.copytree(finished.workdir, earlier / within)
    put(earlier / within / name)
    refuse(tiny(workdir=earlier, overwrite=True), f"{within}/\\S* is not part of a run")


@pytest.mark.parametrize(
    "name", ["params", "checkpoints", "checkpoints/5-3", "seed-0", "teacher", "history.png", "tmp"]
)
def test_links_are_neither_followed_nor_removed(tmp_path, earlier, finished, name):
    """As to the parameters of another run, or to a disk that others use too."""
    other = shutil.copytree(finished.workdir, tmp_path / "other")
    put(earlier / name)
    (earlier / name).unlink()
    target = other if name in ("seed-0", "teacher", "tmp") else other / name
    (earlier / name).symlink_to(target)
    before = contents(other)
    refuse(tiny(workdir=earlier, overwrite=True), rf"^{earlier / name} is a link.*; move it")
    assert (earlier / name).readlink() == target
    assert contents(other) == before


def test_directory_that_is_a_link_itself_is_used(tmp_path, earlier):
    """Results are often kept on another disk."""
    (tmp_path / "run").symlink_to(earlier)
    refuse(tiny(workdir=tmp_path / "run"), "already holds a run")
    (earlier / "notes.md").write_text("ten years of work")
    refuse(tiny(workdir=tmp_path / "run", overwrite=True), r"run/notes\.md is not part of a run")
    (earlier / "notes.md").unlink()
    finish(tiny(workdir=tmp_path / "run", overwrite=True))
    assert {path.name for path in earlier.iterdir()} == FILES
    assert len((earlier / "metrics.csv").read_text().splitlines()) == 2


def test_all_that_a_run_wrote_is_replaced(earlier, finished):
    """What was left when it was killed as well."""
    for name in ("seed-0", "seed-12", "teacher"):
        shutil.copytree(finished.workdir, earlier / name)
    for name in ("params.orbax-checkpoint-tmp", "params.orbax-checkpoint-tmp-17", "seed-3"):
        (earlier / name).mkdir()
    (earlier / "seed-3" / ".config.toml.a1b2c3d4").touch()
    (earlier / "checkpoints" / "5-3.orbax-checkpoint-tmp").mkdir()
    (earlier / ".metrics.csv.a1b2c3d4").touch()
    for name in ("soft_labels.npz", "ngrams.npz"):
        (earlier / name).touch()
    log = earlier / "tensorboard" / "events.out.tfevents.17.host"
    trace = earlier / "profile" / "plugins" / "profile" / "today" / "host.xplane.pb"
    for path in (log, trace):
        path.parent.mkdir(parents=True)
        path.touch()
    finish(tiny(workdir=earlier, overwrite=True))
    assert {path.name for path in earlier.iterdir()} == FILES
    assert {path.name for path in (earlier / "checkpoints").iterdir()} == {"1-0"}


def test_file_that_appears_while_the_reviews_are_read_stays(earlier, small_synthetic, monkeypatch):
    notes = earlier / "notes.md"

    def find(*_):
        notes.write_text("ten years of work")
        return small_synthetic

    monkeypatch.setattr(data, "find_dataset", find)
    with pytest.raises(UserError, match=r"notes\.md is not part of a run"):
        run(tiny(workdir=earlier, overwrite=True))
    assert notes.read_text() == "ten years of work"
    assert (earlier / "result.json").exists()


def test_link_to_nothing_in_the_place_of_the_directory(tmp_path):
    (tmp_path / "run").symlink_to(tmp_path / "none")
    with pytest.raises(UserError, match="is a file, or a link to nothing"):
        run(tiny(workdir=tmp_path / "run"))


@pytest.mark.parametrize("overwrite", [False, True])
def test_file_in_the_place_of_the_directory(tmp_path, overwrite):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="is a file"):
        run(tiny(workdir=tmp_path / "run", overwrite=overwrite))
    assert (tmp_path / "run").read_text() == "a file"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"arch": "cnn", "model": {"pool_size": 17}}, "pool_size 17 is longer than the review, 16"),
        ({"model": {"hiden": 3}}, "did you mean 'hidden'"),
        ({"validation": 0.999}, "no reviews left"),
    ],
)
def test_failure_before_training_leaves_the_earlier_run(earlier, changes, match):
    refuse(replace(tiny(workdir=earlier, overwrite=True), **changes), match)


def test_absent_tensorboard_leaves_the_earlier_run(earlier, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    refuse(tiny(workdir=earlier, overwrite=True, tensorboard=True), "tensorboardX is not installed")


def test_tensorboard_if_asked_for(earlier):
    pytest.importorskip("tensorboardX")
    finish(tiny(workdir=earlier, overwrite=True, tensorboard=True))
    assert {path.name for path in earlier.iterdir()} == FILES | {"tensorboard"}


def test_absent_data_leaves_the_earlier_run(earlier, monkeypatch):
    def absent(*_):
        raise UserError("no data")

    monkeypatch.setattr(data, "find_dataset", absent)
    refuse(tiny(workdir=earlier, overwrite=True), "no data")


# Divergence


def test_loss_that_is_no_number_ends_the_run(tmp_path):
    with pytest.raises(UserError, match=r"became (nan|inf) in epoch 1.*below 1e\+30"):
        run(tiny(workdir=tmp_path / "run", learning_rate=1e30))
    assert not (tmp_path / "run" / "result.json").exists()


def test_last_step_may_not_diverge_either(tmp_path):
    """Its effect shows in no training loss, only in what is evaluated afterwards."""
    with pytest.raises(UserError, match=r"nan|inf"):
        run(tiny(workdir=tmp_path / "run", learning_rate=1e30, batch_size=60, validation=0))
    assert not (tmp_path / "run" / "result.json").exists()


# The real reviews


@pytest.mark.real_data
def test_real_reviews_are_learned_in_bfloat16_as_well(real_data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "find_dataset", find_dataset)
    config = replace(
        load_recipe("pooled"),
        dataset="imdb_reviews",
        data_dir=real_data_dir,
        workdir=tmp_path / "run",
        epochs=10,
    )
    done = finish(config)
    assert done.result["test_accuracy"] > 0.8
    assert "synthetic" not in done.stdout + done.title

    half = finish(replace(config, dtype="bfloat16", workdir=tmp_path / "half"))
    assert half.result["test_loss"] != done.result["test_loss"]
    # The standard error of either, over so many reviews, is 0.0025.
    assert half.result["test_accuracy"] == pytest.approx(done.result["test_accuracy"], abs=0.005)
