"""The options of a run, grouped by concern.

Their docstrings are the help of the command line. The docstring of a group begins with the title
of the group's box there.

A bad value raises a `UserError` that names the option. Nothing here imports JAX, so that `--help`
and error messages appear at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from imdb_jax.config.checks import LARGEST_SEED, check_options, check_ratings
from imdb_jax.errors import UserError

UNSUPERVISED = "unsupervised"  # the split of reviews without labels

OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]
# Read as a plain float, so that tyro's messages do not speak of None.
OptionalFloat = Annotated[
    float | None, tyro.conf.arg(metavar="FLOAT", constructor=float, help_behavior_hint="")
]


class NotSaved:
    """Marks options that are not saved with a run: output, display, and machines."""


@dataclass(frozen=True)
class PreparationOptions(NotSaved):
    """Preparation: how to get the IMDb reviews if they are not prepared yet."""

    archive: OptionalPath = None
    """Prepare the reviews from this aclImdb_v1.tar.gz, or its directory, without a download."""

    allow_unverified: bool = False
    """Accept an archive whose checksum is not the published one."""


@dataclass(frozen=True)
class DataOptions:
    """Data: which reviews to use, and where they come from."""

    dataset: str = "auto"
    """'imdb_reviews'; 'synthetic' (the built-in corpus); 'auto': the IMDb reviews if they are
    prepared or can be downloaded, else the synthetic corpus; a file of your own (.csv, .tsv,
    .jsonl, .ndjson or .parquet); or another data set in TFDS's format, such as 'glue/sst2'."""

    data_dir: OptionalPath = None
    """TFDS data directory; by default TFDS_DATA_DIR, else ~/tensorflow_datasets."""

    text_column: Annotated[str, tyro.conf.arg(aliases=("--text-feature",))] = ""
    """Column of your file, or feature of the TFDS data set, that holds the texts; by default
    'text', else 'review', 'sentence' or 'content', whichever exists."""

    label_column: Annotated[str, tyro.conf.arg(aliases=("--label-feature",))] = ""
    """Column or feature that holds the labels; by default 'label', else 'sentiment', 'class' or
    'target', whichever exists."""

    positive: str = ""
    """The label that counts as positive; by default the one with a name like 'positive', 'yes' or
    'good', else the second of the two."""

    positive_from: OptionalFloat = None
    """The label column holds ratings, numbers: those of at least this are positive, the others
    negative."""

    negative_to: OptionalFloat = None
    """With positive_from: only ratings of at most this are negative; leave out those between."""

    test: OptionalPath = None
    """File of the test reviews, if the data set is a file; test_share then has no effect."""

    test_share: float = 0.0
    """Merge the train and test reviews and test on this share of them, the first; 0 keeps the data
    set's own test split. Of a single file, 0 means 0.2."""

    preparation: PreparationOptions = field(default_factory=PreparationOptions)

    def __post_init__(self) -> None:
        check_options(self)
        check_ratings(self.positive, self.positive_from, self.negative_to)


@dataclass(frozen=True)
class InputOptions:
    """Input: how a model reads a review."""

    num_words: int = 10_000
    """Word ids from here on become 'unknown'; the most frequent words have the lowest ids. For
    ngram: the number of n-grams, which follows from the training reviews and model.min_df."""

    max_length: int = 0
    """Words read per review, the start mark included; 0 reads all."""

    padding: Literal["pre", "post"] = "pre"
    """Side on which short reviews are filled."""

    truncating: Literal["pre", "post"] = "pre"
    """Side on which long reviews are cut."""

    def __post_init__(self) -> None:
        check_options(self, num_words=0, max_length=0)


@dataclass(frozen=True)
class TrainingOptions:
    """Optimization: schedule, loss, precision, and order of the reviews."""

    epochs: int = 2
    """Number of times that every training review is seen."""

    batch_size: int = 128
    """Reviews per step."""

    learning_rate: float = 1e-3
    """Adam's learning rate; with a schedule or a warm-up, the highest."""

    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls after the warm-up; linear and cosine reach 0 at the last step."""

    warmup: float = 0.0
    """Share of all steps over which the learning rate rises linearly from 0."""

    loss: Literal["binary_crossentropy", "mse"] = "binary_crossentropy"
    """Cross-entropy of the logit, or squared error of the probability."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the model computes in; parameters, updates and the loss stay float32. bfloat16 suits
    TPUs and recent GPUs, and halves the memory of large batches."""

    seed: int = 0
    """Determines the initial parameters, the order of the reviews, and dropout."""

    seeds: int = 1
    """Number of models to train at once, with seeds `seed`, `seed` + 1 and so on; each has its own
    run directory in the workdir."""

    shards: int = 0
    """Parts of the reviews to shuffle separately, equally many in each process; 0: one in each."""

    def __post_init__(self) -> None:
        check_options(self, epochs=1, batch_size=1, seed=0, seeds=1, shards=0)
        if self.seed + self.seeds - 1 > LARGEST_SEED:
            raise UserError(f"seed must be below 2**63, not {self.seed + self.seeds - 1}")
        if self.batch_size < self.shards:
            raise UserError(f"batch_size must be at least shards, {self.shards}")


@dataclass(frozen=True)
class StoppingOptions:
    """Validation and stopping: what to validate on, and when to stop early."""

    validation: float = 0.0
    """Share of the training reviews, the first, to validate on; 0 validates on the test reviews, as
    the tutorials do."""

    patience: int = 0
    """Stop after this many epochs in a row without a lower validation loss, and keep the parameters
    of the epoch with the lowest; needs validation. 0: train all epochs and keep the last."""

    def __post_init__(self) -> None:
        check_options(self, patience=0)
        if self.patience and not self.validation:
            raise UserError("patience needs a validation loss; hold reviews out by validation")


@dataclass(frozen=True)
class SelfTrainingOptions:
    """Self-training: learning from texts without labels as well."""

    unlabelled: Annotated[str, tyro.conf.arg(metavar="[STR]")] = ""
    """Self-training: learn from texts without labels as well, to which a teacher gives
    probabilities. 'unsupervised', or no value: those of the data set, 50,000 in IMDb's; else a file
    of your own: .txt with one text a line, .csv, .tsv, .jsonl, .ndjson or .parquet."""

    unlabelled_column: str = ""
    """Column of that file that holds the texts; by default 'text', else 'review', 'sentence' or
    'content', whichever exists."""

    teacher: OptionalPath = None
    """Run directory of the teacher, of any architecture; by default the same recipe is trained
    without the unlabelled texts first, in this run's directory 'teacher'."""

    def __post_init__(self) -> None:
        check_options(self)
        for name in ("teacher", "unlabelled_column"):
            if getattr(self, name) and not self.unlabelled:
                raise UserError(f"{name} goes with unlabelled texts only; give them by unlabelled")


@dataclass(frozen=True)
class RunOptions(NotSaved):
    """Run directory: what a run keeps, and what it prints."""

    workdir: OptionalPath = None
    """Directory for the results, which all processes must see; by default runs/<arch>."""

    overwrite: bool = False
    """Replace the run in the directory."""

    resume: bool = False
    """Continue the run in the directory from its latest checkpoint, with the options it was started
    with; start it if there is none. A constant learning rate allows more epochs than before."""

    checkpoint_every: int = 0
    """Steps between checkpoints, besides those after each epoch; 0 writes no others."""

    keep: int = 2
    """Checkpoints to keep: the latest, and also the one with the lowest validation loss if reviews
    are held out to validate on. 0 writes none."""

    tensorboard: bool = False
    """Log each epoch's figures for TensorBoard too (extra 'tensorboard')."""

    quiet: bool = False
    """Print the result only."""

    def __post_init__(self) -> None:
        check_options(self, checkpoint_every=0, keep=0)
        if self.resume and self.overwrite:
            raise UserError("resume continues a run and overwrite replaces it; choose one of them")


@dataclass(frozen=True)
class DistributionOptions(NotSaved):
    """Distribution: several devices and machines."""

    model_parallel: int = 1
    """Devices that share embedding tables and other large arrays, instead of each holding a whole
    model; must divide the devices of a process."""

    coordinator: str = ""
    """HOST:PORT of process 0 if several processes train together, each of which needs this option,
    num_processes and process_id. Slurm, Open MPI, Kubernetes and Cloud TPUs are detected."""

    num_processes: int = 0
    """Number of processes that train together."""

    process_id: int = -1
    """Number of this process, from 0."""

    join_timeout: int = 60
    """Seconds to wait at the start for processes that have not come."""

    def __post_init__(self) -> None:
        check_options(self, model_parallel=1, num_processes=0, process_id=-1, join_timeout=1)
        # A name, an IPv4 address, or an IPv6 address in brackets.
        address = re.fullmatch(r"([\w.-]+|\[[\w:.%]+\]):([0-9]{1,5})", self.coordinator)
        if self.coordinator and not (address and 0 < int(address[2]) < 1 << 16):
            raise UserError(
                "coordinator must be HOST:PORT with a port from 1 to 65535, not "
                f"{self.coordinator!r}"
            )
        several = bool(self.coordinator), self.num_processes > 0, self.process_id >= 0
        if any(several) and not all(several):
            raise UserError("coordinator, num_processes and process_id must be given together")
        if all(several) and self.process_id >= self.num_processes:
            limit = f"num_processes, {self.num_processes}"
            raise UserError(f"process_id must be below {limit}, not {self.process_id}")


@dataclass(frozen=True)
class DebuggingOptions(NotSaved):
    """Debugging: looking inside a run."""

    profile: bool = False
    """Trace a few steps with JAX's profiler, for TensorBoard or Perfetto."""

    debug_nans: bool = False
    """Stop at the first step that computes a NaN, and name the operation; slower."""
