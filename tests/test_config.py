"""Configurations: recipes, files, and errors that name the mistake."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imdb_jax.config import (
    Config,
    differences,
    dump_config,
    flatten,
    load_config,
    load_recipe,
    recipe_directory,
    recipe_names,
    replace,
)
from imdb_jax.errors import UserError
from imdb_jax.models import ARCHITECTURES
from imdb_jax.models.layers import EXECUTION_FIELDS


def load_text(path: Path, text: str) -> Config:
    path.write_text(text, encoding="utf-8")
    return load_config(path)


@pytest.fixture
def load(tmp_path):
    """Loads a configuration from the text of a file."""
    return lambda text: load_text(tmp_path / "my.toml", text)


@pytest.fixture
def refusal(load, tmp_path):
    """The one line with which a file is refused, without the file's name at its start."""

    def refuse(text: str) -> str:
        with pytest.raises(UserError) as caught:
            load(text)
        name, _, message = str(caught.value).partition("my.toml")
        assert name == f"{tmp_path}/"
        assert "\n" not in message
        return message.removeprefix(": ")

    return refuse


# Recipes


def test_there_is_a_recipe_for_each_architecture():
    assert recipe_names() == sorted(ARCHITECTURES)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_recipe_sets_every_field_of_its_model(arch):
    recipe = load_recipe(arch)
    fields = {field.name: field for field in dataclasses.fields(ARCHITECTURES[arch])}
    assert recipe.arch == arch
    size = next(iter(fields))  # of the vocabulary
    assert set(recipe.model) == set(fields) - {size} - EXECUTION_FIELDS
    defaults = {name: fields[name].default for name in recipe.model}
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in recipe.model.items()}
    if arch == "cnn_global":  # a variant of `cnn`, whose module it shares
        assert {name for name in values if values[name] != defaults[name]} == {"pool_size"}
    else:
        assert values == defaults
    assert recipe.input.num_words == fields[size].default


@pytest.mark.parametrize(
    ("arch", "facts"),
    [
        ("mlp", {"num_words": 10_000, "batch_size": 500, "epochs": 2, "test_share": 0.2}),
        ("embedding_mlp", {"num_words": 5_000, "batch_size": 128, "epochs": 2}),
        ("cnn", {"num_words": 5_000, "max_length": 500, "batch_size": 128, "padding": "pre"}),
        ("cnn_global", {"num_words": 5_000, "max_length": 500, "batch_size": 128}),
        ("pooled", {"padding": "post", "truncating": "pre", "validation": 0.4, "epochs": 40}),
        ("lstm", {"max_length": 500, "batch_size": 64, "epochs": 3}),
    ],
)
def test_recipes_are_those_of_the_tutorials(arch, facts):
    recipe = flatten(load_recipe(arch))
    assert {name: recipe[name] for name in facts} == facts
    assert recipe["learning_rate"] == 1e-3
    assert recipe["loss"] == "binary_crossentropy"


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_recipe_opens_with_the_command_that_runs_it(arch):
    text = (recipe_directory() / f"{arch}.toml").read_text()
    assert text.startswith(f"# python -m imdb_jax.train --arch {arch}\n")


def test_an_unknown_recipe_is_refused_naming_the_nearest():
    with pytest.raises(UserError, match=r"'pool' \(did you mean 'pooled'\?\); choose from: cnn"):
        load_recipe("pool")


# Files of one's own


def test_a_file_changes_what_it_names_and_nothing_else(load):
    recipe = load_recipe("mlp")
    mine = load('arch = "mlp"\nepochs = 7\ndata_dir = "here"\n[model]\ndropout = [0.1]\n')
    expected = replace(
        recipe, epochs=7, data_dir=Path("here"), model={**recipe.model, "dropout": [0.1]}
    )
    assert mine == expected
    assert load_recipe("mlp") == recipe


def test_a_whole_number_will_do_for_a_share_or_a_rate(load):
    mine = load('arch = "mlp"\nlearning_rate = 1\nvalidation = 0\nmodel.dropout = [0, 0]')
    assert mine.training.learning_rate == 1


words = st.text(st.characters(codec="utf-8"), min_size=1)
shares = st.floats(0, 1, exclude_max=True)


@given(
    arch=st.sampled_from(sorted(ARCHITECTURES)),
    changes=st.fixed_dictionaries(
        {},
        optional={
            "dataset": words,
            "data_dir": words.map(Path),
            "num_words": st.integers(5, 10**9),
            "padding": st.sampled_from(["pre", "post"]),
            "test_share": shares,
            "validation": shares,
            "learning_rate": st.floats(0, 3.4e38, exclude_min=True),
            "loss": st.sampled_from(["binary_crossentropy", "mse"]),
            "dtype": st.sampled_from(["float32", "bfloat16"]),
            "seed": st.integers(0, 2**40),
            "positive_from": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "schedule": st.sampled_from(["constant", "linear", "cosine"]),
            "warmup": shares,
        },
    ),
)
@example(arch="cnn", changes={"data_dir": Path('a "b"\\\x00\t\n\x7f\U0001f3ac')})
def test_dump_and_load(tmp_path_factory, arch, changes):
    config = replace(load_recipe(arch), **changes)
    path = tmp_path_factory.getbasetemp() / "dumped.toml"
    assert load_text(path, dump_config(config)) == config


def test_what_to_do_with_a_directory_or_the_terminal_is_not_dumped(load):
    passing = {"overwrite": True, "quiet": True, "allow_unverified": True, "tensorboard": True}
    passing |= {"checkpoint_every": 7, "keep": 1, "profile": True, "debug_nans": True}
    paths = {"workdir": Path("runs/x"), "archive": Path("a.tar.gz")}
    config = replace(load_recipe("cnn"), **passing, **paths)
    assert load(dump_config(config)) == load_recipe("cnn")


# Errors


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "epoch = 3",
            "unknown key 'epoch' (did you mean 'epochs'?); choose from: allow_unverified",
        ),
        ("[model]\nfiltres = 3", "unknown key 'model.filtres' (did you mean 'model.filters'?)"),
        ("[modle]\nfilters = 3", "unknown key 'modle' (did you mean 'model'?)"),
        ("colour = 3", "unknown key 'colour'; choose from: "),
        ('epochs = "3"', "epochs must be of type int, not '3'"),
        ("epochs = 3.0", "epochs must be of type int, not 3.0"),
        ("epochs = true", "epochs must be of type int, not True"),
        ("quiet = 1", "quiet must be of type bool, not 1"),
        ("learning_rate = [1]", "learning_rate must be of type float, not [1]"),
        ("data_dir = 3", "data_dir must be of type str, not 3"),
        ("padding = 3", "padding must be of type str, not 3"),
        ("model = 3", "model must be of type dict, not 3"),
        ("model.filters = 3.5", "model.filters must be of type int, not 3.5"),
        ("model.filters = [3]", "model.filters must be of type int, not [3]"),
        ("epochs = 0", "epochs must be at least 1, not 0"),
        ("batch_size = 0", "batch_size must be at least 1, not 0"),
        ("num_words = 4", "num_words must be at least 5, not 4"),
        ("max_length = -1", "max_length must be at least 0, not -1"),
        ("seed = -1", "seed must be at least 0, not -1"),
        ("test_share = 1.0", "test_share must be at least 0 and below 1, not 1.0"),
        ("validation = -0.1", "validation must be at least 0 and below 1, not -0.1"),
        ("validation = nan", "validation must be at least 0 and below 1, not nan"),
        ("learning_rate = 0", "learning_rate must be positive, not 0"),
        ("learning_rate = inf", "learning_rate must be positive, not inf"),
        ("learning_rate = nan", "learning_rate must be positive, not nan"),
        ('padding = "pro"', "unknown padding 'pro' (did you mean 'pre'?); choose from: post, pre"),
        ('truncating = "left"', "unknown truncating 'left'; choose from: post, pre"),
        ('dtype = "float16"', "unknown dtype 'float16' (did you mean 'bfloat16'?)"),
        ('loss = "mae"', "unknown loss 'mae' (did you mean 'mse'?)"),
        ("model.filters = -1", "model.filters must not be negative, not -1"),
        ("warmup = 1", "warmup must be at least 0 and below 1, not 1"),
        ('schedule = "cosin"', "unknown schedule 'cosin' (did you mean 'cosine'?)"),
        ("keep = -1", "keep must be at least 0, not -1"),
        ("checkpoint_every = -1", "checkpoint_every must be at least 0, not -1"),
        ("negative_to = 4", "negative_to needs positive_from"),
        ("positive_from = 7\nnegative_to = 7", "negative_to must be below positive_from, 7"),
        ('positive_from = 7\npositive = "a"', "positive and positive_from"),
        ("positive_from = inf", "positive_from must be a finite number, not inf"),
        ('positive_from = "7"', "positive_from must be of type float, not '7'"),
        ("patience = -1", "patience must be at least 0, not -1"),
        ("patience = 3", "patience needs a validation loss; hold reviews out by validation"),
        ("patience = 3\nvalidation = 0.1\nkeep = 0", "patience needs checkpoints to return to"),
        ("resume = true\noverwrite = true", "resume continues a run and overwrite replaces it"),
        (
            "format = 3",
            "a newer version of imdb_jax wrote this, in format 3; the installed",
        ),
        ('format = "b"', "the format must be a number from 1 to 2, not 'b'"),
        ("format = 0", "the format must be a number from 1 to 2, not 0"),
    ],
)
def test_mistakes_are_named(refusal, line, message):
    assert refusal(f'arch = "cnn"\n{line}\n').startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('hidden = ["a"]', "each of model.hidden must be of type int, not 'a'"),
        ("hidden = [1.5]", "each of model.hidden must be of type int, not 1.5"),
        ("hidden = [true]", "each of model.hidden must be of type int, not True"),
        ("hidden = [[50]]", "each of model.hidden must be of type int, not [50]"),
        ("hidden = [50, -1]", "model.hidden must not be negative, not [50, -1]"),
        ("hidden = 50", "model.hidden must be of type list, not 50"),
        ('dropout = ["x"]', "each of model.dropout must be of type float, not 'x'"),
    ],
)
def test_mistakes_within_lists_are_named(refusal, line, message):
    assert refusal(f'arch = "mlp"\n[model]\n{line}\n') == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 3", "the key 'arch' is missing"),
        ("", "the key 'arch' is missing"),
        ('arch = "cn"', "unknown architecture 'cn' (did you mean 'cnn'?); choose from: cnn, "),
        ("arch = 3", "arch must be of type str, not 3"),
        ('arch = ["cnn"]', "arch must be of type str, not ['cnn']"),
        ("arch = ", " is not valid TOML: Invalid value"),
        ('arch = "cnn"\narch = "cnn"', " is not valid TOML: Cannot overwrite a value"),
        ("arch: cnn", " is not valid TOML: Expected '=' after a key"),
    ],
)
def test_files_that_are_no_configuration_are_refused(refusal, text, message):
    assert refusal(text).startswith(message)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*none\.toml"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(UserError, match="is a directory, not a file"):
        load_config(tmp_path)
    (tmp_path / "latin.toml").write_bytes('arch = "cnn"  # réseau'.encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.toml is not valid TOML: 'utf-8' codec"):
        load_config(tmp_path / "latin.toml")


def test_earlier_formats_are_read(load):
    assert load('format = 1\narch = "cnn"') == load('arch = "cnn"') == load_recipe("cnn")


def test_differences_are_named_and_valued():
    mine = replace(Config(), epochs=3, quiet=True, model={"hidden": (8, 4), "dropout": [0.5]})
    other = replace(
        Config(), epochs=4, seed=1, model={"hidden": [8, 4], "dropout": [0.5, 0.1], "more": 1}
    )
    assert differences(mine, other) == {
        "epochs": (3, 4),
        "seed": (0, 1),
        "model.dropout": ([0.5], [0.5, 0.1]),
        "model.more": (None, 1),
    }
    assert differences(mine, mine) == {}


def test_a_model_is_made_of_numbers():
    for bad in ("wide", ["wide"], [[1]], None):
        with pytest.raises(UserError, match=r"model\.hidden must be a number or a list"):
            replace(Config(), model={"hidden": bad})


# Imports


@pytest.mark.parametrize(
    "statement",
    [
        "import imdb_jax",
        "import imdb_jax.config; imdb_jax.config.load_recipe('cnn')",
        "import imdb_jax; imdb_jax.Vocabulary.build(['a b']).encode('a'); imdb_jax.load_data",
        "import imdb_jax.train; imdb_jax.train.parse_arguments(['--epochs', '3'])",
        "import imdb_jax.train\ntry: imdb_jax.train.train(['--help'])\nexcept SystemExit: pass",
        "import imdb_jax.train\ntry: imdb_jax.train.train(['--epoch'])\nexcept Exception: pass",
    ],
)
def test_nothing_waits_for_jax_that_does_not_need_it(statement):
    program = f"import sys\n{statement}\nprint('imported:', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    imported = set(done.stdout.rpartition("imported:")[2].split())
    assert "imdb_jax" in imported
    assert not imported & {"jax", "flax", "tensorflow_datasets", "matplotlib", "orbax"}


def test_the_recipe_for_unlabelled_texts():
    """It is the recipe of its architecture, but for what it says itself."""
    plain, other = load_recipe("ngram"), load_recipe("ngram", unlabelled=True)
    assert {"epochs", "model.min_df"} == set(differences(plain, other))
    assert load_recipe("cnn", unlabelled=True) == load_recipe("cnn")
