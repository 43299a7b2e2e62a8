"""Where reviews come from: `imdb_reviews` of TFDS, the synthetic corpus, or data of one's own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from imdb_jax.config import DataOptions
from imdb_jax.datasets import custom, tables, tfds
from imdb_jax.datasets.dataset import Dataset
from imdb_jax.datasets.imdb import prepare, read
from imdb_jax.datasets.imdb.download import DownloadUnreachable
from imdb_jax.datasets.synthetic import synthetic_dataset
from imdb_jax.errors import UserError, unknown_name
from imdb_jax.progress import Report

BUILT_IN = ("auto", "imdb_reviews", "synthetic")

Options = TypeVar("Options", bound=DataOptions)


def absolute_paths(options: Options) -> Options:
    """Return the same options with absolute paths, which are valid in every working directory."""
    changes: dict[str, Any] = {
        name: path.absolute()
        for name in ("data_dir", "archive", "test")
        if (path := getattr(options, name)) is not None
    }
    if tables.is_table(Path(options.dataset)):
        changes["dataset"] = str(Path(options.dataset).absolute())
    return dataclasses.replace(options, **changes)


def find_dataset(options: DataOptions, report: Report = print) -> Dataset:
    """Find the data set that the options name, and prepare it first if necessary.

    Raises `UserError` if it is unknown, not available, unusable or has no use for one of the
    options.
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
    custom.refuse_options(options, "text_column", "label_column", "positive", "test")
    if name == "synthetic":
        return synthetic_dataset()
    try:
        if options.archive is not None or not read.is_prepared(data_dir):
            verify = not options.allow_unverified
            prepare.prepare(data_dir, options.archive, verify=verify, report=report)
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
