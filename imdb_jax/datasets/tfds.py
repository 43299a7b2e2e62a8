"""Other text data sets that TFDS has prepared, found and read on disk.

This module looks at files alone, so that no name makes TFDS ask the network, and only at
ArrayRecord files, which need no TensorFlow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from imdb_jax.datasets.tables import Row
from imdb_jax.errors import UserError
from imdb_jax.files import check_file, parse, read_json

# NAME or NAME/CONFIG, with or without :VERSION.
NAME = re.compile(r"(\w+)(?:/([\w.+-]+))?(?::(\d+\.\d+\.\d+))?", re.ASCII)
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_MAX_METADATA = 1 << 18  # bytes of a file that describes the data; glue/sst2's have 5 kB
_CHUNK = 1000  # records read together: five times as fast as one by one


class PreparedSet(NamedTuple):
    """A prepared data set: its name without the version, and the names of features and splits."""

    name: str
    directory: Path
    features: tuple[str, ...]
    splits: tuple[str, ...]

    def rows(self, split: str, text: str, label: str) -> Iterator[Row]:
        """Read the values of two features, record by record. Raises `UserError` for damage.

        A class is given by its name; a hidden class (-1, as in the test sets of GLUE) is None.
        """
        builder = _builder(self.directory)
        # Only a class feature, whose values are numbers, knows names.
        name_of = getattr(builder.info.features[label], "int2str", None)
        number = 0
        try:
            for file in builder.info.splits[split].filepaths:
                check_file(Path(file))
            source = builder.as_data_source(split)
            while number < len(source):
                chunk = range(number, min(number + _CHUNK, len(source)))
                for record in source.__getitems__(list(chunk)):
                    number += 1
                    value = record[label]
                    if name_of is not None:
                        value = name_of(int(value)) if value >= 0 else None
                    yield Row((number, number), (record[text], value))
        except UserError:
            raise
        except Exception as error:  # of many kinds, of ArrayRecord and of TFDS, for any damage
            where = f"the {split} split in {self.directory}"
            raise UserError(f"{where} is damaged after record {number}: {error}") from error


def find(name: str, data_dir: Path) -> PreparedSet | None:
    """Find a data set in a TFDS data directory, in its highest version if the name has none.

    Raises `UserError` if it is damaged, or in a format that only TensorFlow reads.
    """
    match = NAME.fullmatch(name)
    if match is None:
        return None
    base, config, version = match.groups()
    places = _versions(data_dir / base / (config or ""))
    versions = [path for path in places if version in (None, path.name)]
    if not versions:
        return None
    directory = max(versions, key=lambda path: [int(part) for part in path.name.split(".")])
    _check_format(directory)
    info = _builder(directory).info
    try:
        features = sorted(info.features)  # TFDS gives them in the order of a hash table
    except TypeError as error:
        raise UserError(f"{directory} does not have named features") from error
    return PreparedSet(name.partition(":")[0], directory, tuple(features), tuple(info.splits))


def names(data_dir: Path) -> list[str]:
    """Return the names of the data sets in a TFDS data directory."""
    places = [*data_dir.glob("*"), *data_dir.glob("*/*")]
    return sorted(place.relative_to(data_dir).as_posix() for place in places if _versions(place))


def _versions(place: Path) -> list[Path]:
    found = [path.parent for path in place.glob("*/dataset_info.json")]
    return [directory for directory in found if _VERSION.fullmatch(directory.name)]


def _check_format(directory: Path) -> None:
    info = read_json(directory / "dataset_info.json", _MAX_METADATA)
    if not isinstance(info, dict):
        raise UserError(f"{directory}/dataset_info.json is damaged: it is not an object")
    file_format = info.get("fileFormat", "tfrecord")
    if file_format != "array_record":
        raise UserError(
            f"{directory} is in {file_format} format, which only TensorFlow reads; convert it "
            f"where TensorFlow is installed: tfds convert_format --dataset_dir {directory} "
            f"--out_file_format array_record --out_path OTHER/{directory.name}"
        )
    for path in directory.iterdir():
        if not path.is_dir() and ".array_record" not in path.name:
            check_file(path, _MAX_METADATA)  # such as the names of classes
    _check_features(directory / "features.json")


def _check_features(path: Path) -> None:
    """Raise `UserError` if features are not of TFDS: it would import any module that they name."""
    problem = f"{path} is not valid JSON"
    left = [read_json(path)]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            for key, item in value.items():
                if not isinstance(item, str):
                    left.append(item)
                elif key == "json":  # of a feature within a feature, as earlier versions wrote it
                    left.append(parse(json.loads, item.encode(errors="replace"), problem))
                elif key in _CLASS_KEYS and not item.startswith(_FEATURES):
                    raise UserError(f"{path} names {item!r}, which is not a feature of TFDS")


_FEATURES = "tensorflow_datasets.core.features."
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")


def _builder(directory: Path) -> Any:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(directory)
    except Exception as error:  # of many kinds, for whatever is missing or malformed
        raise UserError(f"TFDS cannot read {directory}: {error}") from error
