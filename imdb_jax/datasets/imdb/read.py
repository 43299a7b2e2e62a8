"""The prepared IMDb reviews on disk: whether they are there, and fast reading.

They are in TFDS' own `imdb_reviews/plain_text/1.0.0`, to which `preparation` adds one small file
(see `read_file_names`).
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import zlib
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int8

from imdb_jax.config import UNSUPERVISED
from imdb_jax.datasets.dataset import BY_CONTENT, Dataset, Reviews
from imdb_jax.datasets.imdb import archive
from imdb_jax.errors import UserError
from imdb_jax.files import check_file, parse, read_json

DIRECTORY = Path("imdb_reviews", "plain_text", "1.0.0")  # in TFDS' data directory

_FILE_NAMES = "file_names.json.gz"
_FILE_NAMES_FORMAT = 1
_MAX_FILE_NAMES = 1 << 22  # bytes of the names, of which there are 1 << 20
_MAX_INFO = 1 << 18  # bytes of dataset_info.json, which has 3 kB
_NUM_SAMPLES = 64  # records of a split that a fingerprint covers


def default_data_dir() -> Path:
    """Return where TFDS keeps its data: `TFDS_DATA_DIR`, else `~/tensorflow_datasets`."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def imdb_reviews(data_dir: Path) -> Dataset:
    """Return the prepared `imdb_reviews` of a TFDS data directory.

    If this package prepared them, their file names are known, and they come in the order in which
    `keras.datasets.imdb` was made; else in TFDS' order.
    """

    def read(split: str) -> Reviews:
        texts, labels = read_split(data_dir, split)
        names = None if split == UNSUPERVISED else read_file_names(data_dir, split)
        if names is None:
            return Reviews(texts, labels)
        # All positive reviews, then all negative ones, each by file name as a string.
        order = sorted(range(len(names)), key=lambda row: (-labels[row], names[row]))
        return Reviews([texts[row] for row in order], labels[order])

    def read_rows(split: str, rows: range) -> Reviews:
        return Reviews(*read_split(data_dir, split, rows))

    keras_order = read_file_names(data_dir, "train") is not None
    return Dataset(
        name="imdb_reviews",
        fingerprint=fingerprint(data_dir),
        ties="keras" if keras_order else "alphabetical",
        read=read,
        unsupervised=True,
        sizes=partial(split_sizes, data_dir),
        # Keras' order depends on all labels and names, and so on all records.
        read_rows=None if keras_order else read_rows,
    )


def is_prepared(data_dir: Path) -> bool:
    """Return whether TFDS' description, which it writes last, and every file it lists are there."""
    return _describe(data_dir) is not None


def split_sizes(data_dir: Path) -> dict[str, int]:
    """Return the size of each prepared split; raise `UserError` if nothing is prepared there."""
    shards = _described(data_dir).shards
    return {split: sum(count for _, count in files) for split, files in shards.items()}


def read_split(
    data_dir: Path, split: str, rows: range | None = None
) -> tuple[list[bytes], Int8[np.ndarray, " num_reviews"]]:
    """Read the texts and labels of a prepared split in TFDS' order, or of some consecutive rows.

    Reading ArrayRecord files in bulk and parsing the records, which are protocol buffers, is three
    times as fast as asking `tfds.data_source` for the same records. Raises `UserError` if nothing
    is prepared there, its format has no random access, or a file is damaged.
    """
    prepared = _described(data_dir)
    if split not in prepared.shards:
        raise UserError(f"there is no split {split!r}, only {', '.join(sorted(prepared.shards))}")

    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2

    texts: list[bytes] = []
    labels: list[int] = []
    first = 0
    for file, count in prepared.shards[split]:
        wanted = range(count)
        if rows is not None:
            wanted = wanted[max(0, rows.start - first) : max(0, rows.stop - first)]
        first += count
        try:
            for record in _read_records(file, count, wanted) if wanted else ():
                features = tf_example_pb2.Example.FromString(record).features.feature
                texts.append(features["text"].bytes_list.value[0])
                labels.append(features["label"].int64_list.value[0])
        except (DecodeError, IndexError) as error:
            raise UserError(f"{file} holds a record that is not a review") from error
    return texts, np.array(labels, dtype=np.int8)


def read_file_names(data_dir: Path, split: str) -> list[str] | None:
    """Read the original file name of each record of a labelled split, such as `pos/0_9.txt`.

    They are in `file_names.json.gz` beside the records, gzipped JSON with three keys: `format` (1),
    `names` ({"train": [...], "test": [...]}, in record order), and `sha256` of `names` as
    `json.dumps` writes it. Return None if something else prepared the reviews. Raises `UserError`
    if nothing is prepared there, the file is damaged or later, or the split has no names.
    """
    sizes = split_sizes(data_dir)
    file = data_dir / DIRECTORY / _FILE_NAMES
    if not file.exists():
        return None
    check_file(file)
    try:
        with gzip.open(file) as stream:
            document = parse(json.loads, stream.read(_MAX_FILE_NAMES), "not valid JSON")
        names: dict[str, list[str]] = document["names"]
        if (document["format"], document["sha256"]) != (_FILE_NAMES_FORMAT, _sha256_of(names)):
            raise ValueError("its checksum or its format is wrong")
        if not all(isinstance(name, str) for name in itertools.chain(*names.values())):
            raise ValueError("a name is not a string")
    except (OSError, EOFError, zlib.error, ValueError, UserError, LookupError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error}); prepare the reviews again") from error
    if split not in names:
        raise UserError(f"there are no file names for split {split!r}, only for train and test")
    if len(names[split]) != sizes[split]:
        raise UserError(f"{file} belongs to other data; prepare the reviews again")
    return names[split]


def write_file_names(data_dir: Path, names: dict[str, list[str]]) -> None:
    """Write what `read_file_names` reads."""
    document = {"format": _FILE_NAMES_FORMAT, "sha256": _sha256_of(names), "names": names}
    data = gzip.compress(json.dumps(document).encode(), mtime=0)
    (data_dir / DIRECTORY / _FILE_NAMES).write_bytes(data)


def fingerprint(data_dir: Path) -> str:
    """Return a digest of the prepared reviews, which takes some 20 ms at every start of a run.

    The digest covers the number and total size of each split's records, 64 evenly spaced ones, and
    the original names of the training files: a few changed reviews of the same total size go
    unnoticed. Reviews that are copied, compressed otherwise or prepared again keep their
    fingerprint. Raises `UserError` as `read_split` does.
    """
    prepared = _described(data_dir)
    content = []
    for split, files in sorted(prepared.shards.items()):
        total, digest = sum(count for _, count in files), hashlib.sha256()
        step = max(1, -(-total // _NUM_SAMPLES))
        for file, count in files:
            for record in _read_records(file, count, range(0, count, step)):
                # The order of a record's features is random; each begins with the byte of "\n".
                digest.update(b"\n".join(sorted(record.split(b"\n"))))
        content.append([split, total, prepared.num_bytes[split], digest.hexdigest()])
    return BY_CONTENT + _sha256_of([content, read_file_names(data_dir, "train")])


def _sha256_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


class _Prepared(NamedTuple):
    file_format: str
    shards: dict[str, list[tuple[Path, int]]]  # split -> its files and their numbers of records
    num_bytes: dict[str, Any]


def _describe(data_dir: Path) -> _Prepared | None:
    """Read TFDS' `dataset_info.json`; None if it or any file it lists is missing."""
    directory = data_dir / DIRECTORY
    try:
        info = read_json(directory / "dataset_info.json", _MAX_INFO)
        found = _Prepared(info.get("fileFormat", "tfrecord"), {}, {})
        for split in info["splits"]:
            name, lengths = split["name"], split["shardLengths"]
            prefix = f"imdb_reviews-{name}.{found.file_format}"
            found.num_bytes[name] = split.get("numBytes")
            found.shards[name] = [
                (directory / f"{prefix}-{shard:05}-of-{len(lengths):05}", int(length))
                for shard, length in enumerate(lengths)
            ]
    except (UserError, ValueError, KeyError, TypeError, AttributeError):
        return None
    files = [file for split in found.shards.values() for file, _ in split]
    complete = set(archive.COUNTS) <= set(found.shards) and all(map(Path.is_file, files))
    return found if complete else None


def _described(data_dir: Path) -> _Prepared:
    prepared = _describe(data_dir)
    if prepared is None:
        raise UserError(f"there are no prepared IMDb reviews in {data_dir}")
    if prepared.file_format != "array_record":
        raise UserError(
            f"{data_dir / DIRECTORY} is in {prepared.file_format} format, which only TensorFlow "
            "reads; prepare the reviews again with --data-dir OTHER --archive aclImdb_v1.tar.gz"
        )
    return prepared


def _read_records(file: Path, count: int, wanted: range) -> list[bytes]:
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        with closing(ArrayRecordReader(str(file))) as reader:
            if (found := reader.num_records()) != count:
                raise UserError(f"{file} has {found:,} records; there must be {count:,}")
            whole = len(wanted) == count
            return list(reader.read_all() if whole else reader.read(list(wanted)))
    except RuntimeError as error:  # for every failure, of the disk or of a checksum
        raise UserError(
            f"{file} is damaged: {error}; remove it and prepare the reviews again"
        ) from error
