"""Where reviews come from: TFDS' `imdb_reviews`, the built-in synthetic corpus, or one's own."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

import numpy as np
from jaxtyping import Bool, Int8

from imdb_jax import labelled, preparation, prepared_reviews, synthetic, tables, tfds_sets
from imdb_jax.config import UNSUPERVISED
from imdb_jax.download import DownloadUnreachable
from imdb_jax.encoding import Text, Ties
from imdb_jax.errors import UserError, unknown_name
from imdb_jax.files import file_digest
from imdb_jax.labelled import Source, Summary
from imdb_jax.progress import Report

if TYPE_CHECKING:
    from imdb_jax.config import DataOptions

    Options = TypeVar("Options", bound=DataOptions)

BUILT_IN = ("auto", "imdb_reviews", "synthetic")
_TEST_SHARE = 0.2  # held out of data that has no test split and no share of its own choice


@dataclass(frozen=True)
class Reviews:
    """Texts with their labels.

    Attributes:
      texts: one text per review; those of a large source are read when they are iterated over.
      labels: 1 for positive, 0 for negative, int8 `[num_reviews]`.
    """

    texts: Sequence[Text]
    labels: Int8[np.ndarray, " num_reviews"]

    def __getitem__(self, rows: slice) -> Reviews:
        """The reviews of these rows; no others are kept in memory."""
        return Reviews(self.texts[rows], self.labels[rows])


@dataclass(frozen=True)
class StreamedTexts(Sequence[Text]):
    """Texts that are read from their source each time that they are iterated over.

    Attributes:
      read: reads the texts of the source in order.
      rows: the ones that are meant, by their numbers there.
    """

    read: Callable[[], Iterator[Text]]
    rows: range

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Text]:
        return itertools.islice(self.read(), self.rows.start, self.rows.stop, self.rows.step)

    @overload
    def __getitem__(self, index: int) -> Text: ...
    @overload
    def __getitem__(self, index: slice) -> StreamedTexts: ...
    def __getitem__(self, index: int | slice) -> Text | StreamedTexts:
        """One text, found by reading all before it; or some, not read yet, in the same order."""
        if isinstance(index, slice):
            return StreamedTexts(self.read, self.rows[index])
        row = self.rows[index]
        return next(itertools.islice(self.read(), row, None))


@dataclass(frozen=True)
class Dataset:
    """A data set whose splits, `train` and `test`, are read when they are needed.

    Attributes:
      name: what results call it.
      fingerprint: changes whenever the texts, their labels or their order do.
      ties: how the vocabulary orders words that occur equally often.
      read: reads a split; of a large one the labels only, until its texts are iterated over.
      held_out: the test reviews are a share of what is one split at its source, held out before
        any word is counted.
      fixed_split: the splits are not to be merged, as the test reviews were held out already, or
        are in a file that somebody chose for them.
      unsupervised: it has a split `unsupervised` as well, of reviews whose labels, all -1, say
        nothing.
      sizes: tells the number of reviews of each split, where it can without reading them.
      read_rows: reads some neighbouring reviews of a split and no others, where that can be done.
      extent: which reviews these are, if they are a part of a data set, see `part`.
    """

    name: str
    fingerprint: str
    ties: Ties
    read: Callable[[str], Reviews]
    held_out: bool = False
    fixed_split: bool = False
    unsupervised: bool = False
    sizes: Callable[[], Mapping[str, int]] | None = None
    read_rows: Callable[[str, range], Reviews] | None = None
    extent: Extent | None = None

    def part(self, number: int, of: int) -> Dataset:
        """One of equal parts: a range of the train and one of the test reviews."""
        if self.sizes:
            sizes = self.sizes()
        else:
            sizes = {split: len(self.read(split).labels) for split in ("train", "test")}
        rows = {
            split: range(number * size // of, (number + 1) * size // of)
            for split, size in sizes.items()
        }

        def read(split: str) -> Reviews:
            if self.read_rows:
                return self.read_rows(split, rows[split])
            return self.read(split)[rows[split].start : rows[split].stop]

        return dataclasses.replace(
            self,
            fingerprint=f"{self.fingerprint} part {number} of {of}",
            read=read,
            extent=Extent(rows["train"], rows["test"], sizes["train"], sizes["test"]),
        )


class Extent(NamedTuple):
    """Which of the reviews at the source a part of a data set has.

    Attributes:
      train: numbers of its training reviews.
      test: numbers of its test reviews.
      num_train: number of training reviews at the source.
      num_test: number of test reviews there.
    """

    train: range
    test: range
    num_train: int
    num_test: int


@dataclass(frozen=True)
class Layout:
    """What to read of data of one's own; `config.DataOptions` describes each of these."""

    text_column: str = ""
    label_column: str = ""
    positive: str = ""
    test: Path | None = None
    test_share: float = 0.0

    @classmethod
    def of(cls, options: DataOptions) -> Layout:
        """The part of a command's options that is about this."""
        return cls(**{part.name: getattr(options, part.name) for part in dataclasses.fields(cls)})

    def refuse(self, names: Sequence[str], dataset: str) -> None:
        """Raises `UserError` if one of these was chosen, which mean nothing to a data set."""
        for name in names:
            if getattr(self, name):
                option = f"--{name.replace('_', '-')}"
                raise UserError(f"{option} does not go with --dataset {dataset}")


def absolute_paths(options: Options) -> Options:
    """The same options, whose files are found from any working directory."""
    changes: dict[str, Any] = {
        name: path.absolute()
        for name in ("data_dir", "archive", "test")
        if (path := getattr(options, name)) is not None
    }
    if tables.is_table(Path(options.dataset)):
        changes["dataset"] = str(Path(options.dataset).absolute())
    return dataclasses.replace(options, **changes)


def find_dataset(
    name: str = "auto",
    data_dir: Path | None = None,
    archive: Path | None = None,
    allow_unverified: bool = False,
    report: Report = print,
    layout: Layout | None = None,
) -> Dataset:
    """Finds a data set, and prepares it first if need be.

    Args:
      name: 'imdb_reviews'; 'synthetic'; 'auto', which is the first if it is prepared or can be
        downloaded, else the second; a file (see `tables`); or another data set that TFDS has
        prepared in `data_dir`.
      data_dir: TFDS data directory; by default TFDS_DATA_DIR, else ~/tensorflow_datasets.
      archive: prepare `imdb_reviews` from this file or directory instead of downloading it.
      allow_unverified: accept an archive with another checksum than the published one.
      report: receives lines that say what is going on.
      layout: what to read of a file or of another data set of TFDS.

    Raises:
      UserError: an unknown name, or the reviews are not to be had, or cannot be used.
    """
    layout = layout or Layout()
    if tables.is_table(Path(name)) or Path(name).is_file():
        return file_dataset(Path(name), layout, report)
    if name in BUILT_IN:
        layout.refuse(("text_column", "label_column", "positive", "test"), name)
    if name == "synthetic":
        return synthetic_dataset()
    data_dir = data_dir or prepared_reviews.default_data_dir()
    if name not in BUILT_IN:
        prepared = tfds_sets.find(name, data_dir)
        if prepared is None:
            raise UserError(_not_found(name, data_dir))
        return tfds_dataset(prepared, layout, report)
    try:
        if archive is not None or not prepared_reviews.is_prepared(data_dir):
            preparation.prepare(data_dir, archive, verify=not allow_unverified, report=report)
    except DownloadUnreachable as error:
        if name == "imdb_reviews":
            raise
        report(f"The IMDb reviews are not in {data_dir}, and {error}")
        report("Using the built-in synthetic corpus instead: its figures are not IMDb's.")
        return synthetic_dataset()
    return imdb_reviews(data_dir)


def _not_found(name: str, data_dir: Path) -> str:
    if name and Path(name).is_dir():
        return f"{name} is a directory; give a file: {', '.join(tables.SUFFIXES)}"
    message = unknown_name("data set", name, (*BUILT_IN, *tfds_sets.names(data_dir)))
    if tfds_sets.is_name(name):
        message += (
            f"; another one of TFDS must lie prepared in {data_dir}, which takes TensorFlow: "
            f"tfds build {name} --file_format array_record --data_dir {data_dir}"
        )
    return message


def imdb_reviews(data_dir: Path) -> Dataset:
    """The prepared `imdb_reviews` of a TFDS data directory.

    If the directory keeps the reviews' file names, as one prepared by this package does, they are
    read in the order in which `keras.datasets.imdb` was made; else in TFDS' order.
    """
    keras_order = prepared_reviews.read_file_names(data_dir, "train") is not None

    def read_rows(split: str, rows: range | None) -> Reviews:
        return Reviews(*prepared_reviews.read_split(data_dir, split, rows))

    def read(split: str) -> Reviews:
        texts, labels = prepared_reviews.read_split(data_dir, split)
        if not keras_order or split == UNSUPERVISED:
            return Reviews(texts, labels)
        names = prepared_reviews.read_file_names(data_dir, split) or []
        # All positive reviews, then all negative ones, each by file name as a string.
        order = sorted(range(len(names)), key=lambda i: (-labels[i], names[i]))
        return Reviews([texts[i] for i in order], labels[order])

    return Dataset(
        name="imdb_reviews",
        fingerprint=prepared_reviews.fingerprint(data_dir),
        ties="keras" if keras_order else "alphabetical",
        read=read,
        unsupervised=True,
        sizes=partial(prepared_reviews.split_sizes, data_dir),
        # Keras' order is one of labels and names: to know it takes all records.
        read_rows=None if keras_order else read_rows,
    )


def synthetic_dataset(
    num_train: int | None = None, num_test: int | None = None, num_unsupervised: int | None = None
) -> Dataset:
    """The built-in corpus, or the first reviews of its splits."""
    sizes = {"train": num_train, "test": num_test, UNSUPERVISED: num_unsupervised}
    return Dataset(
        name="synthetic",
        fingerprint=f"{file_digest(Path(synthetic.__file__))} {sizes}",
        ties="alphabetical",
        read=lambda split: Reviews(*synthetic.synthetic_reviews(split, sizes[split])),
        unsupervised=True,
    )


def file_dataset(path: Path, layout: Layout, report: Report = print) -> Dataset:
    """Labelled reviews of one's own: a file, and another to test on or a share held out of it.

    Raises:
      UserError: a file cannot be read, has not the columns or has not two labels, or has too few
        rows.
    """
    text, label = _choose_columns(tables.column_names(path), layout, str(path))
    files = [path]
    if layout.test is not None:
        same = dataclasses.replace(layout, text_column=text, label_column=label)
        _choose_columns(tables.column_names(layout.test), same, str(layout.test))
        if layout.test.samefile(path):
            raise UserError(f"{path} cannot be the test file of itself; without --test a share is")
        files.append(layout.test)
    sources = [Source(str(file), partial(tables.read_rows, file, (text, label))) for file in files]
    dataset = _own_dataset(path.name, layout, sources, report)
    return dataclasses.replace(dataset, fixed_split=True)


def tfds_dataset(
    prepared: tfds_sets.PreparedSet, layout: Layout, report: Report = print
) -> Dataset:
    """A labelled text data set that TFDS has prepared.

    Where the labels of its test split are hidden, or where it has none, its validation split is
    tested on; where it has neither, a share of the training reviews.

    Raises:
      UserError: it has no training reviews, not the features, not two labels, or is damaged.
    """
    name = prepared.name
    layout.refuse(("test",), name)
    text, label = _choose_columns(prepared.features, layout, name)
    if "train" not in prepared.splits:
        raise UserError(f"{name} has no split 'train', only {', '.join(prepared.splits) or 'none'}")

    sources: dict[str, Source] = {
        split: Source(f"{name} {split}", partial(prepared.rows, split, text, label))
        for split in ("train", "test", "validation")
        if split in prepared.splits
    }
    tests = [split for split in sources if split != "train" and any(sources[split].examples())]
    if tests[:1] != ["test"]:
        lack = (
            "the labels of its test split are hidden"
            if "test" in sources
            else "it has no test split"
        )
        instead = "its validation split" if tests else "a share of the training reviews"
        report(f"{name}: {lack}, so that {instead} is tested on")
    used = [sources[split] for split in ("train", *tests[:1])]
    return _own_dataset(name, layout, used, report)


def _choose_columns(names: Sequence[str], layout: Layout, where: str) -> tuple[str, str]:
    text = tables.choose_column(
        names, layout.text_column, tables.TEXT_COLUMNS, where, "--text-column"
    )
    label = tables.choose_column(
        names, layout.label_column, tables.LABEL_COLUMNS, where, "--label-column"
    )
    if text == label:
        raise UserError(f"{where}: the column {text!r} cannot be both text and label")
    return text, label


def _own_dataset(name: str, layout: Layout, sources: Sequence[Source], report: Report) -> Dataset:
    """The data set of a source of training reviews and, unless they are held out, of test ones.

    Args:
      name: what results call it.
      layout: what to read.
      sources: one or two.
      report: receives a line for each source, and more if not all is well.
    """
    summaries = [_summarize(source, report) for source in sources]
    counts = [Counter(summary.labels) for summary in summaries]
    # Of the training reviews alone, which must have both, and of all, which may have no third.
    for labels in (counts[0], sum(counts, Counter())):
        positive, negative = labelled.choose_positive(labels, layout.positive, name)
    for source, count in zip(sources, counts, strict=True):
        report(
            f"{source.name}: {count.total():,} reviews, {count[positive]:,} {positive!r} (positive)"
            f" and {count[negative]:,} {negative!r} (negative)"
        )
    if len(sources) == 1:
        testing = labelled.held_out(summaries[0].digests, layout.test_share or _TEST_SHARE)
        report(f"{name}: {testing.sum():,} of the reviews are held out to test on")
        parts = [
            _Part(sources[0], summaries[0], chosen, positive) for chosen in (~testing, testing)
        ]
    else:
        parts = [
            _Part(source, summary, np.ones(len(summary.labels), bool), positive)
            for source, summary in zip(sources, summaries, strict=True)
        ]
        known = set(summaries[0].digests)
        if repeated := sum(digest in known for digest in summaries[1].digests):
            report(f"{sources[1].name}: {repeated:,} of the texts are training reviews as well")
    train, test = parts
    if not (train.chosen.any() and test.chosen.any()):
        raise UserError(f"{name} has too few reviews to train on some and to test on others")
    return Dataset(
        name=name,
        fingerprint=hashlib.sha256(train.content() + test.content()).hexdigest(),
        ties="alphabetical",
        read=lambda split: {"train": train, "test": test}[split].read(),
        held_out=len(sources) == 1,
        fixed_split=len(sources) == 1,
    )


@dataclass(frozen=True)
class _Part:
    """The rows of a source that make a split."""

    source: Source
    summary: Summary
    chosen: Bool[np.ndarray, " num_rows"]
    positive: str

    def content(self) -> bytes:
        """Tells texts, labels and order: not the file, which may hold them in another way."""
        rows = zip(self.summary.digests, self.summary.labels, self.chosen, strict=True)
        parts = [digest + bytes([label == self.positive]) for digest, label, keep in rows if keep]
        return hashlib.sha256(b"".join(parts)).digest()

    def read(self) -> Reviews:
        labels = np.array([label == self.positive for label in self.summary.labels], np.int8)
        labels = labels[self.chosen]
        return Reviews(StreamedTexts(self._texts, range(len(labels))), labels)

    def _texts(self) -> Iterator[Text]:
        for (text, _), keep in zip(self.source.examples(), self.chosen, strict=True):
            if keep:
                yield text


def _summarize(source: Source, report: Report) -> Summary:
    summary = labelled.summarize(source)
    remark = labelled.describe_unusable(summary, source.name)
    if not summary.labels:
        raise UserError(remark or f"{source.name} has no rows")
    if remark:
        report(remark)
    return summary
