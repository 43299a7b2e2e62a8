"""Where reviews come from: `imdb_reviews` of TFDS, the synthetic corpus, or data of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from imdb_jax.config import Config, DataOptions, flatten, replace
from imdb_jax.datasets import custom, tables, tfds
from imdb_jax.datasets.dataset import Dataset
from imdb_jax.datasets.imdb import prepare, read
from imdb_jax.datasets.imdb.download import DownloadUnreachable
from imdb_jax.datasets.synthetic import synthetic_dataset
from imdb_jax.errors import UserError, unknown_name
from imdb_jax.progress import Report

BUILT_IN = ("auto", "imdb_reviews", "synthetic")

Options = TypeVar("Options", DataOptions, Config)


def absolute_paths(options: Options) -> Options:
    """Return the same options with absolute paths, which are valid in every working directory."""
    flat = flatten(options)
    changes: dict[str, Any] = {
        name: flat[name].absolute() for name in ("data_dir", "archive", "test") if flat[name]
    }
    if tables.is_table(Path(flat["dataset"])):
        changes["dataset"] = str(Path(flat["dataset"]).absolute())
    return replace(options, **changes)


def find_dataset(options: DataOptions, report: Report = print) -> Dataset:
    """Find the data set that the options name, and prepare it first if necessary.

    Raises `UserError` if it is unknown, unavailable, unusable or has no use for an option.
    """
    name = options.dataset
    if tables.is_table(Path(name)) or Path(name).is_file():
        return custom.file_dataset(options, report)
    data_dir = options.data_dir or read.default_data_dir()
    if name not in BUILT_IN:
        prepared = tfds.find(name, data_dir)
        if prepared is None:
            raise UserError(_not_found(name, data_dir))
        return custom.tfds_dataset(prepared, options, report)
    custom.refuse_options(options, *(name for name in custom.LAYOUT if name != "test_share"))
    if name == "synthetic":
        return synthetic_dataset()
    try:
        archive = options.preparation.archive
        if archive is not None or not read.is_prepared(data_dir):
            verify = not options.preparation.allow_unverified
            prepare.prepare(data_dir, archive, verify=verify, report=report)
    except DownloadUnreachable as error:
        if name == "imdb_reviews":
            raise
        report(f"The IMDb reviews are not in {data_dir}, and {error}")
        report("Using the synthetic corpus instead; its accuracies are not comparable to IMDb's.")
        return synthetic_dataset()
    return read.imdb_reviews(data_dir)


def _not_found(name: str, data_dir: Path) -> str:
    if name and Path(name).is_dir():
        return f"{name} is a directory; give a file: {', '.join(tables.SUFFIXES)}"
    message = unknown_name("data set", name, (*BUILT_IN, *tfds.names(data_dir)))
    if tfds.NAME.fullmatch(name):
        message += (
            f"; to prepare another data set of TFDS in {data_dir}, use TensorFlow: "
            f"tfds build {name} --file_format array_record --data_dir {data_dir}"
        )
    return message
