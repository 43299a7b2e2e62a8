"""What a run needs in memory is known from shapes alone, and more than there is is refused."""

from types import SimpleNamespace

import jax
import pytest
from small_splits import MODELS, splits

from imdb_jax.config import Config, load_recipe, recipe_names, replace
from imdb_jax.errors import LARGEST, UserError
from imdb_jax.models import create_model
from imdb_jax.parallel import host_memory
from imdb_jax.training.memory import check_model_and_batch
from imdb_jax.training.trainer import Trainer


@pytest.fixture(autouse=True)
def memory(monkeypatch):
    """The machine has 16 GB, or as much as the function given is told."""

    def set_to(size):
        monkeypatch.setattr(host_memory, "host_memory", lambda: size)

    set_to(16 * 10**9)
    return set_to


def check(arch, model, **options):
    recipe = load_recipe(arch)
    check_model_and_batch(replace(recipe, model=recipe.model | model, **options))


@pytest.mark.parametrize("arch", recipe_names())
def test_every_recipe_fits(arch):
    check(arch, {})
    check(arch, {}, max_length=0)


@pytest.mark.parametrize("size", [10**9, LARGEST])
@pytest.mark.parametrize(
    ("arch", "option"),
    [
        *(("cnn", f"model.{name}") for name in ("embedding_dim", "filters", "hidden")),
        *(("lstm", f"model.{name}") for name in ("embedding_dim", "units")),
        *(("cnn", name) for name in ("num_words", "max_length", "batch_size", "seeds")),
        *(("mlp", name) for name in ("num_words", "batch_size", "seeds")),
        ("ngram", "batch_size"),
    ],
)
def test_what_no_machine_holds_is_refused_naming_the_option(arch, option, size):
    changes = {option: size} if "." not in option else {}
    model = {option.removeprefix("model."): size} if "." in option else {}
    if arch == "ngram":
        changes["num_words"] = 1000
    with pytest.raises(UserError, match=f"needs at least .* GB .*lower {option}, which is {size}"):
        check(arch, model, **changes)


def test_layers_in_a_list_count(memory):
    with pytest.raises(UserError, match=r"lower model\.hidden, which is 1000000000"):
        check("mlp", {"hidden": [50, 10**9]})


def test_many_seeds_need_many_times_as_much(memory):
    check("pooled", {}, seeds=100)
    with pytest.raises(UserError, match="lower seeds, which is 1000000"):
        check("pooled", {}, seeds=10**6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kernel_size", "kernel_size 501 is longer than the reviews, 500 words; lower it"),
        (
            "pool_size",
            "cnn cannot be built .*: pool_size 501 is longer than the review, 500 words",
        ),
    ],
)
def test_windows_longer_than_the_reviews_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        check("cnn", {name: 501})


def test_memory_of_accelerators_counts(monkeypatch):
    one = SimpleNamespace(memory_stats=lambda: {"bytes_limit": 10**6})
    monkeypatch.setattr(jax, "local_devices", lambda: [one])
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    with pytest.raises(UserError, match=r"training cnn .* only 0\.0 GB"):
        check("cnn", {})


def test_a_compiled_program_that_does_not_fit_is_refused(memory):
    """XLA knows of the intermediate arrays, too, which the shapes of the arguments do not tell."""
    config = replace(Config(), arch="mlp", num_words=30, batch_size=10)
    memory(100)
    with pytest.raises(UserError, match="training mlp needs at least"):
        Trainer(config, create_model("mlp", 30, MODELS["mlp"]), splits(True))


def test_more_steps_than_are_counted_are_refused():
    config = replace(Config(), num_words=30, batch_size=10, epochs=LARGEST)
    with pytest.raises(UserError, match=r"2,147,483,647 steps.* lower epochs"):
        Trainer(config, create_model("cnn", 30, MODELS["cnn"]), splits(False))
