"""Arrays divided among devices: which, how, and that it changes nothing about training."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from small_runs import share_compilation
from small_splits import MODELS, splits

from imdb_jax.config import Config, replace
from imdb_jax.errors import UserError
from imdb_jax.models import create_model
from imdb_jax.parallel import devices as module
from imdb_jax.parallel.devices import data_mesh, partition_spec
from imdb_jax.training import trainer
from imdb_jax.training.trainer import Trainer


@pytest.fixture(autouse=True, scope="module")
def _initialized_once():
    with pytest.MonkeyPatch.context() as patch:
        share_compilation(patch)
        yield


@pytest.mark.parametrize(
    ("name", "shape", "devices", "spec"),
    [
        ("params.Embed_0.embedding", (10, 4), 2, ("model",)),
        ("params.Embed_0.embedding", (11, 4), 2, (None, "model")),
        ("params.Embed_0.embedding", (11, 5), 2, ()),
        ("params.Embed_0.embedding", (10, 4), 1, ()),
        ("opt_state.0.mu.Embed_0.embedding", (10, 4), 2, ("model",)),
        ("params.Dense_0.kernel", (16_000, 250), 4, ("model",)),
        ("params.Dense_0.kernel", (250, 16_000), 4, (None, "model")),
        ("params.Dense_1.kernel", (250, 1), 2, ()),
        ("params.weight", (1 << 20,), 8, ("model",)),
        ("step", (), 2, ()),
    ],
)
def test_large_arrays_are_divided_along_their_longest_axis(name, shape, devices, spec):
    assert partition_spec(name, shape, devices) == PartitionSpec(*spec)


def train(arch, mesh=None, **options):
    """The figures of two epochs, the test loss, and the trainer."""
    config = replace(
        Config(), arch=arch, num_words=32, batch_size=10, epochs=2, quiet=True, **options
    )
    with pytest.MonkeyPatch.context() as patch:
        if mesh is not None:
            patch.setattr(trainer, "data_mesh", lambda _: mesh)
        made = Trainer(config, create_model(arch, 32, MODELS[arch]), splits(sets=arch == "mlp"))
    rows = [made.train_epoch()[:-1] for _ in range(2)]
    return np.array(rows), made


@pytest.mark.parametrize("arch", MODELS)
def test_number_of_devices_and_their_use_change_no_figure(arch, monkeypatch):
    monkeypatch.setattr(module, "_LARGE", 40)  # so that kernels are divided, too
    devices = np.array(jax.devices())
    assert len(devices) == 4

    def mesh(data, model):
        grid = devices[: data * model].reshape(data, model)
        axes = jax.sharding.AxisType.Auto
        return jax.sharding.Mesh(grid, ("data", "model"), axis_types=(axes, axes))

    expected, alone = train(arch, mesh(1, 1))
    for shape in ((4, 1), (2, 2), (1, 4)):
        found, made = train(arch, mesh(*shape))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        for name, array in alone.arrays().items():
            np.testing.assert_allclose(made.arrays()[name], array, rtol=1e-4, atol=1e-5)


def test_each_device_holds_its_slice_and_moments_lie_with_their_parameters(monkeypatch):
    monkeypatch.setattr(module, "_LARGE", 40)
    _, made = train("cnn", model_parallel=2)
    whole = MODELS["cnn"]["embedding_dim"] * 32
    state = made.state
    for tree in (state.params, state.opt_state[0].mu, state.opt_state[0].nu):
        table = tree["Embed_0"]["embedding"]
        assert {shard.data.size for shard in table.addressable_shards} == {whole // 2}
        assert tree["Dense_1"]["bias"].is_fully_replicated


def test_what_was_saved_from_slices_is_restored_whole():
    _, sliced = train("cnn", model_parallel=2)
    _, whole = train("cnn")
    whole.restore(sliced.arrays())
    for name, array in sliced.arrays().items():
        np.testing.assert_array_equal(whole.arrays()[name], array)


def test_devices_that_cannot_be_divided_are_refused():
    with pytest.raises(UserError, match="model_parallel 3 does not divide the 4 devices"):
        data_mesh(3)
