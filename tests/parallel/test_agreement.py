"""What processes must have in common: nothing is left out, and what differs is named."""

import itertools
from pathlib import Path

import jax
import pytest

from imdb_jax.config import flatten, load_recipe, replace
from imdb_jax.parallel import agreement
from imdb_jax.parallel.agreement import characteristics, disagreement

CONFIG = load_recipe("cnn")
# Options that say where this process stands, what it prints, or where it finds the same reviews.
OWN = ("data_dir", "test", "archive", "allow_unverified", "quiet", "tensorboard")
OWN += ("coordinator", "process_id", "join_timeout")


def changed(value):
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return "another" if isinstance(value, str) or value is None else [*value, 1]


@pytest.mark.parametrize("name", [*flatten(CONFIG), *(f"model.{name}" for name in CONFIG.model)])
def test_every_option_is_compared_but_those_of_one_process(name, monkeypatch):
    """A new option is, too, unless it is added to the exceptions."""
    one = characteristics(CONFIG)
    monkeypatch.setattr(agreement, "flatten", lambda _: flattened)
    flattened = flatten(CONFIG)
    if name == "model":
        flattened["model"] = {"new": 1}
    elif name.startswith("model."):
        key = name.removeprefix("model.")
        flattened["model"] = {**CONFIG.model, key: changed(CONFIG.model[key])}
    else:
        flattened[name] = changed(flattened[name])
    if name == "workdir":
        other = characteristics(replace(CONFIG, workdir=Path("elsewhere")))
    else:
        other = characteristics(CONFIG)
    assert (disagreement({0: one, 1: other}) is None) == (name in OWN)


def test_code_versions_and_settings_are_compared(monkeypatch):
    one = characteristics(CONFIG)
    assert disagreement({0: one, 1: one}) is None
    versions = agreement.importlib.metadata.version
    with monkeypatch.context() as patch:
        patch.setattr(agreement.importlib.metadata, "version", lambda name: versions(name) + "+x")
        found = characteristics(CONFIG)
    for package in ("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint"):
        name = f"the version of {package}"
        assert f"{name} is" in disagreement({0: one, 1: one | {name: found[name]}})
    with monkeypatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
        assert "XLA_FLAGS is " in disagreement({0: one, 1: characteristics(CONFIG)})
    with jax.default_matmul_precision("float32"):
        problem = disagreement({0: one, 1: characteristics(CONFIG)})
    assert "jax_default_matmul_precision is None (process 0) or float32 (process 1)" in problem
    code = "the SHA-256 of imdb_jax/training/optimizer.py"
    assert f"{code} is {one[code]} (process 0) or 0123 (process 1)" in disagreement(
        {0: one, 1: one | {code: "0123"}}
    )


def test_a_difference_names_the_option_the_values_and_the_processes():
    rates = {0: "0.1", 1: "0.2", 2: "0.1", 3: "0.1", 4: "0.1", 5: "0.1"}
    problem = disagreement({n: {"same": "x", "learning_rate": rate} for n, rate in rates.items()})
    values = "learning_rate is 0.1 (processes 0, 2, 3 and 2 more) or 0.2 (process 1); "
    assert problem.startswith(f"the processes of this run differ: {values}")


def test_many_and_long_differences_make_one_short_line():
    many = {n: {f"option{i}": f"{n}" * 1000 for i in range(50)} for n in range(2)}
    problem = disagreement(many)
    assert len(problem) < 1000
    assert "and 47 more differences" in problem
    assert all(a.isprintable() for a in itertools.chain(problem))
