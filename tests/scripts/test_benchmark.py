"""What the benchmark computes from its measurements, and what it refuses; no time is asserted."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imdb_jax.config import load_recipe, recipe_names, replace
from imdb_jax.errors import UserError

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
import benchmark
import benchmark_accuracy
import benchmark_growth
import benchmark_parts
import benchmark_training
import keras_baseline
from benchmark_children import child_environment, python
from benchmark_parts import flops, roofline
from keras_baseline import WITHOUT_TWIN, Arrays
from marked_text import replace_marked

B, I, O = 6, 5, 3  # noqa: E741  (rows, inputs and outputs of a dense layer)
X, KERNEL = jnp.ones((B, I)), jnp.ones((I, O))


def count(function, *arguments):
    return flops(jax.make_jaxpr(function)(*arguments).jaxpr)


# Operations


def test_a_product_counts_its_multiplications_and_additions():
    assert count(lambda x, kernel: x @ kernel, X, KERNEL) == 2 * B * I * O


def test_a_dense_layer_costs_as_much_again_for_each_gradient():
    def loss(x, kernel):
        return jnp.sum(jnp.tanh(x @ kernel))

    assert count(jax.grad(loss, argnums=1), X, KERNEL) == 2 * (2 * B * I * O)
    assert count(jax.grad(loss, argnums=(0, 1)), X, KERNEL) == 3 * (2 * B * I * O)


def test_products_over_several_axes():
    def product(x, y):
        return jnp.einsum("bij,bjk->bik", x, y)

    assert count(product, jnp.ones((7, 2, 3)), jnp.ones((7, 3, 4))) == 2 * 7 * 2 * 3 * 4


@given(length=st.integers(1, 9))
def test_a_scan_repeats_its_body(length):
    def program(kernel):
        return jax.lax.scan(lambda x, _: (x @ kernel, None), X[:, :O], length=length)[0]

    assert count(program, jnp.ones((O, O))) == length * 2 * B * O * O


@pytest.mark.parametrize(
    "wrap",
    [
        jax.jit,
        jax.checkpoint,
        lambda function: jax.jit(jax.jit(function)),
        lambda function: lambda *args: jax.lax.cond(args[0][0, 0] > 0, function, function, *args),
    ],
    ids=["jit", "remat", "nested", "cond"],
)
def test_programs_within_programs_count(wrap):
    assert count(wrap(jnp.matmul), X, KERNEL) == 2 * B * I * O


def test_derivatives_of_ones_own_count():
    @jax.custom_vjp
    def product(x, kernel):
        return x @ kernel

    product.defvjp(
        lambda x, kernel: (x @ kernel, (x, kernel)),
        lambda kept, g: (g @ kept[1].T, kept[0].T @ g),
    )
    assert count(product, X, KERNEL) == 2 * B * I * O

    def loss(x, kernel):
        return product(x, kernel).sum()

    assert count(jax.grad(loss, argnums=(0, 1)), X, KERNEL) == 3 * (2 * B * I * O)


def test_a_convolution_counts_the_products_of_its_windows():
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        )

    assert count(convolve, jnp.ones((2, 10, 4)), jnp.ones((3, 4, 5))) == 2 * (2 * 10 * 5) * (3 * 4)


def test_an_unbounded_loop_is_not_guessed_at():
    def until(kernel):
        return jax.lax.while_loop(lambda x: x[0, 0] < 9, lambda x: x @ kernel, jnp.ones((O, O)))

    with pytest.raises(NotImplementedError):
        count(until, jnp.ones((O, O)))


def test_the_roofline_takes_the_longer_time_and_the_sum():
    limits = roofline(100, 60, 10.0, flops_per_second=50.0, bytes_per_second=20.0)
    assert (limits["time_flops"], limits["time_bytes"]) == (2.0, 3.0)
    assert limits["distance_max"] == pytest.approx(10 / 3)
    assert limits["distance_sum"] == pytest.approx(10 / 5)


@pytest.mark.parametrize("arch", ["mlp", "embedding_mlp", "cnn", "pooled", "lstm"])
def test_every_architecture_comes_apart(arch):
    from imdb_jax.models import create_model
    from imdb_jax.pipeline.splits import Examples

    fields = {"mlp": {"hidden": [4]}, "lstm": {"units": 4}}.get(arch, {"hidden": 4})
    examples = Examples(np.ones((2, 6), np.int32), np.zeros(2, np.float32), sets=arch == "mlp")
    ids = jax.device_put(examples.batch_ids(np.arange(2)))
    shapes = jax.eval_shape(create_model(arch, 20, fields).init, jax.random.key(0), ids)["params"]
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), shapes)
    functions = benchmark_parts.layer_functions(params, ids)
    # Only of what is not the review itself is there a gradient of the input.
    assert ("Dense_0, gradient of the input" in functions) == (arch != "mlp")
    assert len([name for name in functions if name.startswith("Dense_0")]) >= 2
    for function in functions.values():
        jax.block_until_ready(function())


# Comparing


def run(epochs, step, total, memory, accuracy, cold=None):
    return {
        "epoch_seconds": epochs,
        "step_seconds": step,
        "total_seconds": total,
        "cold_seconds": cold,
        "peak_rss_mb": memory,
        "test_accuracy": accuracy,
    }


def summaries(**runs):
    names = {"ours": "ours"}
    return {
        names.get(name, f"keras/{name}"): benchmark_training.summarize(found)
        for name, found in runs.items()
    }


def test_each_figure_is_compared_with_the_backend_that_does_it_best():
    compared = benchmark_training.ratios(
        summaries(
            ours=[run([9, 1, 2], 0.1, 10, 400, 0.8, 16), run([9, 3, 2], 0.1, 10, 500, 0.9, 16)],
            jax=[run([9, 4], 0.5, 40, 900, 0.7), run([9, 6], 0.5, 40, 900, 0.8)],
            torch=[run([9, 7], 0.3, 20, 600, 0.6)],
        )
    )
    assert compared == {
        "ratio_step": pytest.approx(3),
        "ratio_epoch": pytest.approx(5 / 2),
        "ratio_total": pytest.approx(2),
        "ratio_cold": pytest.approx(20 / 16),
        "ratio_memory": pytest.approx(450 / 600),
        "fastest_keras": "jax",
        "fastest_keras_step": "torch",
        "fastest_keras_total": "torch",
        "leanest_keras": "torch",
        "test_accuracy": pytest.approx(0.85),
        "keras_test_accuracy": pytest.approx(0.75),
    }


def test_the_first_epoch_is_apart():
    (summary,) = summaries(ours=[run([9, 1, 3], 1, 1, 1, 1), run([8, 2, 2], 1, 1, 1, 1)]).values()
    assert summary["first_epoch_seconds"] == {"values": [9, 8], "median": 8.5, "min": 8, "max": 9}
    assert summary["epoch_seconds"] == {"values": [1, 3, 2, 2], "median": 2, "min": 1, "max": 3}


def test_what_was_not_measured_has_no_ratio():
    """A part of an epoch leads neither to a total nor to an accuracy."""
    part = {"epoch_seconds": [2, 1], "step_seconds": 1, "peak_rss_mb": None}
    compared = benchmark_training.ratios(summaries(ours=[part], jax=[part]))
    assert compared["ratio_epoch"] == 1
    missing = ("ratio_total", "ratio_cold", "ratio_memory", "test_accuracy", "keras_test_accuracy")
    for name in missing:
        assert compared[name] is None
    assert any("ratio_total" in note for note in benchmark_training.notes("imdb_reviews", 9))


def test_synthetic_figures_say_so():
    assert any("not IMDb" in note for note in benchmark_training.notes("synthetic", 0))
    assert not any("not IMDb" in note for note in benchmark_training.notes("imdb_reviews", 0))


@given(st.integers(1, 4), st.integers(1, 9))
def test_contestants_take_turns(num_contestants, repeats):
    contestants = list("abcd"[:num_contestants])
    orders = benchmark_training.turns(contestants, repeats)
    assert len(orders) == repeats
    assert all(sorted(order) == contestants for order in orders)
    firsts = [order[0] for order in orders[:num_contestants]]
    assert len(set(firsts)) == len(firsts)


def test_the_figures_of_every_contestant_are_shown(capsys):
    found = summaries(ours=[run([9, 1], 0.1, 10, 400, 0.8)], jax=[run([9, 4], 0.5, 40, 900, 0.7)])
    compared = {"contestants": found, **benchmark_training.ratios(found), "notes": ["a note"]}
    json.dumps(compared)
    benchmark.show(benchmark_training.table("a title", compared))
    shown = capsys.readouterr().out
    for part in ("a title", "keras/jax", "100.0", "0.8000"):
        assert part in shown
    assert "ratio_epoch: 4.00 (against jax)" in benchmark_training.verdict(compared)


def test_a_failed_measurement_leaves_the_others(monkeypatch):
    def train(bench, name, repeat, steps):
        if (name, repeat) == ("keras/torch", 1):
            raise UserError("no memory")
        return {"epoch_seconds": [9, 2], "total_seconds": 10 + repeat, "versions": {name: "1"}}

    def steps(bench, name, repeat):
        if (name, repeat) == ("ours", 0):
            raise UserError("no time")
        return {"step_seconds": repeat}

    monkeypatch.setattr(benchmark_training, "_train", train)
    monkeypatch.setattr(benchmark_training, "_steps", steps)
    bench = SimpleNamespace(config=load_recipe("cnn"), dataset="imdb_reviews")
    said = []
    compared = benchmark_training.compare(bench, ["torch"], 2, 0, said.append)
    failures = ["repeat 1/2, ours: no time", "repeat 2/2, keras/torch: no memory"]
    assert compared["failures"] == failures
    assert set(failures) <= set(said)
    ours, torch = compared["contestants"].values()
    assert ours["step_seconds"]["values"] == [1]
    assert ours["total_seconds"]["values"] == [10, 11]
    assert torch["total_seconds"]["values"] == [10]
    assert torch["step_seconds"]["values"] == [0, 1]
    assert compared["versions"] == {"ours": "1", "keras/torch": "1"}


# A sitting


def test_a_sitting_measures_every_recipe_that_has_a_twin():
    recipes = benchmark.parse_recipes("all")
    assert set(recipes) == {*recipe_names()} - {*WITHOUT_TWIN}
    assert benchmark.parse_recipes("cnn, mlp,cnn") == ["cnn", "mlp"]


def test_long_epochs_are_cut_short_unless_told_otherwise():
    defaults = benchmark.Options()
    assert benchmark.steps_per_epoch("cnn", defaults) == 0
    assert benchmark.steps_per_epoch("lstm", defaults) > 0
    assert benchmark.steps_per_epoch("lstm", benchmark.Options(steps=9)) == 9
    assert benchmark.needed_backends("cnn", defaults) == list(benchmark.BACKENDS)
    assert benchmark.needed_backends("lstm", defaults) == ["tensorflow"]
    assert benchmark.needed_backends("lstm", benchmark.Options(against="jax")) == ["jax"]


def measured(failures=(), dataset="imdb_reviews"):
    """What is measured of a recipe."""
    runs = {"ours": [run([9, 1, 3], 0.1, 10, 400, 0.8, 12)], "jax": [run([9, 4], 0.5, 40, 900, 0)]}
    found = summaries(**runs)
    ratios = benchmark_training.ratios(found)
    named = {"repeats": 3, "epochs": 2, "steps_per_epoch": None, "dataset": dataset}
    return (
        named
        | {"contestants": found, "versions": {"keras": "3.1"}, "failures": list(failures)}
        | ratios
    )


@pytest.fixture
def sitting(monkeypatch, tmp_path):
    """Has a sitting with what is measured of each recipe; returns its JSON and its document."""
    monkeypatch.setattr(benchmark, "require_installed", lambda backends: None)
    docs, json_file = tmp_path / "page.md", tmp_path / "out.json"

    def sit(arch, measure):
        docs.write_text("a <!-- benchmark: begin --> replaced <!-- benchmark: end --> z")
        monkeypatch.setattr(benchmark, "measure", lambda config, *others: measure(config.arch))
        arguments = ["--arch", arch, "--docs", str(docs), "--json", str(json_file)]
        try:
            benchmark.benchmark(arguments)
        finally:
            sit.page, sit.figures = docs.read_text(), json.loads(json_file.read_text())

    return sit


def test_a_sitting_writes_the_tables_and_all_figures(sitting):
    sitting("mlp,cnn", lambda arch: measured())
    assert sitting.page.startswith("a <!-- benchmark: begin -->\n\n| recipe |")
    assert sitting.page.endswith("\n\n<!-- benchmark: end --> z")
    assert "replaced" not in sitting.page
    assert (
        "| `mlp` | ours | 100.0 | 2.00 (1.00-3.00) | 10.0 | 12.0 | 400 | 0.8000 |" in sitting.page
    )
    assert "| `cnn` | Keras, jax | 500.0 | 4.00 | 40.0 | - | 900 | 0.0000 |" in sitting.page
    assert "| `cnn` | 5.00 | 2.00 | 4.00 | 3.33 | 0.44 |" in sitting.page
    for part in (benchmark.cpu_name(), "keras 3.1", "2 epochs of `mlp`"):
        assert part in " ".join(sitting.page.split())
    assert "not IMDb" not in sitting.page
    assert sitting.figures["recipes"]["cnn"]["ratio_cold"] == pytest.approx(40 / 12)
    assert sitting.figures["recipes"]["mlp"]["load_average"] is not None


def test_a_sitting_of_one_recipe_is_that_recipe(sitting):
    sitting("cnn", lambda arch: measured(dataset="synthetic"))
    assert sitting.figures["arch"] == "cnn"
    assert "not IMDb" in sitting.page


def test_a_sitting_survives_what_fails(sitting):
    def measure(arch):
        if arch == "cnn":
            raise UserError("no reviews")
        return measured(["repeat 1/3, ours: no memory"] if arch == "mlp" else [])

    with pytest.raises(UserError, match="mlp, repeat 1/3, ours: no memory; cnn: no reviews"):
        sitting("mlp,cnn,pooled", measure)
    assert list(sitting.figures["recipes"]) == ["mlp", "pooled"]
    assert "`pooled`" in sitting.page
    assert "`cnn`" not in sitting.page
    assert "left out: 1" in " ".join(sitting.page.split())


def test_other_work_is_noticed(monkeypatch, capsys):
    for load, warned in ((0.2, False), (1.7, True)):
        monkeypatch.setattr(benchmark.os, "getloadavg", lambda load=load: (load, 0, 0))
        assert benchmark.load_average() == load
        assert ("load average is 1.70" in capsys.readouterr().err) == warned


def test_only_what_is_between_the_marks_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- a: begin -->\n<!-- a: end -->\n<!-- b: begin -->\nB\n<!-- b: end -->\n")
    for text in ("first", r"\1 second"):
        replace_marked(page, "a", text)
        assert page.read_text() == (
            f"<!-- a: begin -->\n\n{text}\n\n<!-- a: end -->\n"
            "<!-- b: begin -->\nB\n<!-- b: end -->\n"
        )
    with pytest.raises(UserError, match="lacks the marks <!-- c: begin -->"):
        replace_marked(page, "c", "text")
    with pytest.raises(UserError, match="cannot read"):
        replace_marked(tmp_path / "none.md", "a", "text")


# The Keras twin


@pytest.mark.keras
# Keras' variables implement __array__ as it was before NumPy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
@pytest.mark.parametrize("arch", ["mlp", "pooled"])
def test_the_twin_trains_as_its_tutorial_does(arch):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    calls = []

    class Model(keras.Sequential):
        def fit(self, *args, **kwargs):
            calls.append(("fit", kwargs["validation_data"]))
            return super().fit(*args, **kwargs)

        def evaluate(self, *args, **kwargs):
            calls.append(("evaluate", "callbacks" in kwargs))
            return super().evaluate(*args, **kwargs)

    recipe = replace(load_recipe(arch), epochs=3, batch_size=4)
    x, y = np.eye(8, dtype=np.float32), np.tile(np.float32([0, 1]), 4)
    train, test, held_out = (Arrays(x[part], y[part]) for part in (slice(4), slice(4, 8), slice(6)))

    def train_once(*validation):
        calls.clear()
        keras.utils.set_random_seed(0)
        model = Model([keras.Input((8,)), keras.layers.Dense(1, activation="sigmoid")])
        return keras_baseline.train_once(model, recipe, train, test, *validation)

    # Keras adds biases as NumPy does, which `conftest.py` forbids our own code to do.
    with jax.numpy_rank_promotion("allow"):
        plain = train_once()
        assert calls == [("fit", None), ("evaluate", False)]
        validation = test if arch == "mlp" else held_out
        tutorial = train_once(validation)
    tested = [("evaluate", False)] if arch == "pooled" else []
    assert calls == [("fit", validation), *[("evaluate", True)] * 3, *tested]
    for figures in (plain, tutorial):
        assert len(figures["epoch_seconds"]) == 3
    for name in ("test_accuracy", "test_loss"):
        assert tutorial[name] == pytest.approx(plain[name], rel=1e-5)


# Growth


@pytest.mark.parametrize("size", [1, 7, 20, 33])
def test_the_file_holds_every_review_equally_often(size, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_growth, "_CHUNK", 4)
    ids = np.arange(14, dtype=np.uint16).reshape(7, 2)
    labels = np.arange(7, dtype=np.float32)
    file = tmp_path / "reviews.npy"
    benchmark_growth.write_repeated(file, ids, labels, size)
    written = np.load(file, mmap_mode="r")
    written_labels = np.load(benchmark_growth.labels_of(file))
    assert (written.shape, written.dtype) == ((size, 2), np.uint16)
    # A review is still beside its label.
    np.testing.assert_array_equal(written[:, 0], 2 * written_labels)
    times = np.bincount(written_labels.astype(int), minlength=7)
    assert set(times) <= {size // 7, -(-size // 7)}
    assert times.sum() == size


def test_each_repetition_has_an_order_of_its_own(tmp_path):
    ids = np.arange(50, dtype=np.uint16)[:, None]
    benchmark_growth.write_repeated(tmp_path / "a.npy", ids, np.zeros(50, np.float32), 100)
    first, second = np.split(np.load(tmp_path / "a.npy")[:, 0], 2)
    assert (first != second).any()


# Refusals, all before anything is measured


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arch", "cn"], "unknown architecture 'cn' (did you mean 'cnn'?)"),
        (["--against", "tensorflw"], "did you mean 'tensorflow'?"),
        (["--against", "jax,theano"], "unknown Keras backend 'theano'"),
        (["--against", ","], "names no Keras backend"),
        (["--repeats", "0"], "repeats must be at least 1"),
        (["--epochs", "1"], "epochs must be at least 2"),
        (["--steps", "-1"], "steps must be at least 0"),
        (["--growth", "25000,many"], "'many'"),
        (["--arch", "mlp,cn"], "unknown architecture 'cn'"),
        (["--device", "gpu"], "--against jax,torch"),
        (["--docs", "no.md", "--text"], "--docs is about training"),
        (["--docs", "no.md"], "cannot read no.md"),
        (["--device", "gpu", "--text"], "text is measured on a CPU"),
        (["--parts", "--json", "no/such/directory/out.json"], "there is no directory"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(UserError) as caught:
        benchmark.benchmark(arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("missing", ["keras", "torch"])
def test_what_is_not_installed_is_named(missing, monkeypatch):
    def find_spec(name):
        return None if name == missing else object()

    monkeypatch.setattr(benchmark.importlib.util, "find_spec", find_spec)
    with pytest.raises(UserError, match=rf"^{missing} is not installed.*imdb_jax\[bench\]"):
        benchmark.benchmark(["--against", "jax,torch"])


def test_a_missing_gpu_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(benchmark._GPU_PROBES, "jax", "raise SystemExit(1)")
    with pytest.raises(UserError, match="jax finds no GPU here; leave out --device gpu"):
        benchmark.gpu_name(child_environment("gpu"), ["jax"])


def test_measurements_see_the_device_that_was_asked_for(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    cpu, gpu = child_environment("cpu"), child_environment("gpu")
    assert (cpu["JAX_PLATFORMS"], cpu["CUDA_VISIBLE_DEVICES"]) == ("cpu", "")
    assert (gpu["JAX_PLATFORMS"], gpu["CUDA_VISIBLE_DEVICES"]) == ("cuda", "3")


def test_measurements_find_no_compiled_programs_but_their_own(monkeypatch):
    names = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
    for name in names:
        monkeypatch.setenv(name, "1")
    assert not {*names} & child_environment("cpu").keys()


# Processes


def test_the_clock_stops_at_the_awaited_line():
    environment = child_environment("cpu")
    program = "print('test accuracy 0.5'); import time; time.sleep(0.3); print('end')"
    finished = python(["-c", program], environment, "test accuracy")
    assert finished.output.splitlines() == ["test accuracy 0.5", "end"]
    with pytest.raises(UserError, match="printed no line"):
        python(["-c", "print('else')"], environment, "test accuracy")


def test_a_measurement_that_fails_says_why():
    with pytest.raises(UserError, match="failed: ValueError: no good"):
        python(["-c", "raise ValueError('no good')"], child_environment("cpu"))


# Accuracy


def test_the_accuracy_is_the_students():
    printed = (
        "teacher's test accuracy 0.9\ntest accuracy 0.9268 (synthetic corpus)\npeak memory 7 MB\n"
    )
    assert benchmark_accuracy.figures(printed, 1.5) == {"accuracy": 0.9268, "seconds": 1.5}
    with pytest.raises(UserError, match="no test accuracy"):
        benchmark_accuracy.figures("teacher's test accuracy 0.9\n", 1.5)


def test_accuracies_are_shown_with_their_spread():
    runs = [{"accuracy": 0.91, "seconds": 2.0, "peak_mb": 900.0}]
    runs += [{"accuracy": 0.93, "seconds": 4.0, "peak_mb": 1200.0}]
    shown = benchmark_accuracy.table("", {"ngram": runs, "tfidf": runs[:1]})
    cells = [list(column.cells) for column in shown.columns]
    assert cells[1] == ["0.9200 ± 0.0141", "0.9100"]
    assert cells[2] == ["3.0 (2.0..4.0)", "2.0 (2.0..2.0)"]
    assert cells[3] == ["1,200", "900"]


def test_scikit_learn_is_needed(monkeypatch):
    monkeypatch.setattr(benchmark_accuracy.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="scikit-learn is not installed"):
        benchmark_accuracy.benchmark([])
