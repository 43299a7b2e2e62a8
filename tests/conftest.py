"""What all tests share: four virtual devices, strict array semantics, no traces on the machine."""

import atexit
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from imdb_jax.datasets.dataset import Dataset
from imdb_jax.datasets.imdb.read import is_prepared
from imdb_jax.parallel.compilation_cache import keep_compiled_programs

# Several devices throughout, so that a sharding bug cannot hide. JAX, which nothing above imports,
# reads these variables when it starts; programs that tests start inherit them.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_DEVICES = "--xla_force_host_platform_device_count"
if _DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}=4".strip()
# XLA's older code generator takes half the time to compile. Programs as small as these are compiled
# sooner in one piece. Later versions of JAX have lost the generator, and would refuse to start.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
    os.environ["XLA_FLAGS"] += " --xla_cpu_parallel_codegen_split_count=1"
# Arrays of different rank never combine silently. The like for dtypes, JAX_NUMPY_DTYPE_PROMOTION
# set to strict, would be welcome too, but optax's Adam raises a float to the power of an int.
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")

# Nearly all that the tests wait for is XLA making tiny programs fast.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Workers, and programs that tests start, find what one of them has compiled.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMDB_JAX_CACHE", shared := tempfile.mkdtemp(prefix="imdb_jax_compiled_"))
        keep_compiled_programs()
    atexit.register(shutil.rmtree, shared, ignore_errors=True)

# Examples take longer on a busy machine; that is no failure.
hypothesis.settings.register_profile("imdb_jax", deadline=None)
hypothesis.settings.load_profile("imdb_jax")

_REAL_DATA_DIR = os.environ.get("TFDS_DATA_DIR")


@pytest.fixture(autouse=True, scope="session")
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the machine's caches and data out of the tests, and the tests out of them."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMDB_JAX_CACHE", str(home / "cache"))
        # Unset it would mean ~/tensorflow_datasets, where the reviews may be.
        patch.setenv("TFDS_DATA_DIR", str(home / "no_data"))
        yield


@pytest.fixture(autouse=True)
def _real_data_for_its_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if _REAL_DATA_DIR and request.node.get_closest_marker("real_data"):
            patch.setenv("TFDS_DATA_DIR", _REAL_DATA_DIR)
        yield


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    """The prepared IMDb reviews; skips the test where there are none. For tests of `real_data`."""
    if not _REAL_DATA_DIR:
        pytest.skip("TFDS_DATA_DIR is not set, so there are no IMDb reviews to test with")
    if not is_prepared(Path(_REAL_DATA_DIR)):
        pytest.skip(f"TFDS_DATA_DIR={_REAL_DATA_DIR} holds no prepared IMDb reviews")
    return Path(_REAL_DATA_DIR)


@pytest.fixture(scope="session")
def small_synthetic() -> Dataset:
    """So few invented reviews that encoding them and training on them take no time."""
    # Here and below not before JAX may be imported.
    from small_runs import small_dataset

    return small_dataset()


@pytest.fixture(scope="module")
def few_reviews(small_synthetic: Dataset) -> Iterator[None]:
    """Runs of any recipe train on a few invented reviews."""
    from small_runs import share_compilation

    from imdb_jax.runs import data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "find_dataset", lambda *_: small_synthetic)
        share_compilation(patch)
        yield


@pytest.fixture(scope="module")
def hastened(small_synthetic: Dataset) -> Iterator[None]:
    """Small runs do without what takes long and shows in no figure."""
    from small_runs import hasten

    with pytest.MonkeyPatch.context() as patch:
        hasten(patch, small_synthetic)
        yield
