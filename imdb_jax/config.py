"""What a run is: one frozen dataclass, read from a recipe in TOML, checked once, at the edge.

Nothing here imports JAX, so that `--help` and error messages come at once.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from imdb_jax.errors import UserError, unknown_name
from imdb_jax.files import is_regular

UNSUPERVISED = "unsupervised"  # the split of reviews without labels


@dataclass(frozen=True)
class DataOptions:
    """Which reviews are used, and where they come from."""

    dataset: str = "auto"
    """'imdb_reviews'; 'synthetic' (the built-in corpus); 'auto': the reviews if they can be had,
    else the synthetic corpus; a file of your own (.csv, .tsv, .jsonl, .ndjson or .parquet); or
    another data set that TFDS has prepared, such as 'glue/sst2'."""

    data_dir: Path | None = None
    """TFDS data directory; by default TFDS_DATA_DIR, else ~/tensorflow_datasets."""

    archive: Path | None = None
    """Prepare the reviews from this aclImdb_v1.tar.gz (or a directory that holds it) instead of
    downloading it."""

    allow_unverified: bool = False
    """Accept an archive whose checksum is not the published one."""

    text_column: Annotated[str, tyro.conf.arg(aliases=("--text-feature",))] = ""
    """Column of your file, or feature of the TFDS data set, that holds the texts; by default
    'text', else 'review', 'sentence' or 'content', whichever there is."""

    label_column: Annotated[str, tyro.conf.arg(aliases=("--label-feature",))] = ""
    """Column or feature that holds the labels; by default 'label', else 'sentiment', 'class' or
    'target', whichever there is."""

    positive: str = ""
    """The label that counts as positive; by default the one with a name like 'positive', 'yes' or
    'good', else the second of the two."""

    test: Path | None = None
    """File with the test reviews, for a data set that is a file; test_share then has no effect."""

    test_share: float = 0.0
    """Merge the train and test reviews and test on this share of them, the first; 0 keeps the data
    set's own test split. Of a single file it is the share held out to test on, 0.2 if 0."""

    def __post_init__(self) -> None:
        """Raises `UserError` if the share is none."""
        _check_share("test_share", self.test_share)


@dataclass(frozen=True)
class Config(DataOptions):
    """Everything that determines a run."""

    arch: str = "cnn"
    """Architecture and recipe: mlp, embedding_mlp, cnn, cnn_global, pooled, lstm or ngram; or
    debug, the recipe of a tiny cnn that trains in two seconds."""

    num_words: int = 10_000
    """Word ids from here on become 'unknown'; the most frequent words have the lowest. Of an ngram
    model it is the number of n-grams, which follows from the training reviews and model.min_df."""

    max_length: int = 0
    """Words read per review, the start mark included; 0 reads all."""

    padding: Literal["pre", "post"] = "pre"
    """Side on which short reviews are filled."""

    truncating: Literal["pre", "post"] = "pre"
    """Side on which long reviews are cut."""

    validation: float = 0.0
    """Share of the training reviews, the first, that is held out to validate on; with 0 the
    validation figures are those of the test reviews, as in the tutorials."""

    epochs: int = 2
    """Times every training review is seen."""

    batch_size: int = 128
    """Reviews per step."""

    learning_rate: float = 1e-3
    """Adam's learning rate; with a schedule or a warm-up, the highest."""

    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls after the warm-up: not at all, or to 0 at the last step along a
    line or half a cosine wave."""

    warmup: float = 0.0
    """Share of all steps over which the learning rate rises from 0, along a line."""

    patience: int = 0
    """Stop after this many epochs in a row without a lower validation loss, and keep the parameters
    of the epoch with the lowest; needs validation. 0: train all epochs and keep the last."""

    unlabelled: str = ""
    """Self-training: learn from texts without labels as well, to which a teacher gives
    probabilities. 'unsupervised', or no value, are those of the data set, 50,000 in IMDb's; else a
    file of your own, .txt with one text a line, .csv, .tsv, .jsonl, .ndjson or .parquet."""

    unlabelled_column: str = ""
    """Column of that file that holds the texts; by default 'text', else 'review', 'sentence' or
    'content', whichever there is."""

    teacher: Path | None = None
    """Directory of the run that is the teacher, of any architecture; by default the same recipe
    without the unlabelled texts is trained first, in the directory 'teacher' of this run."""

    loss: Literal["binary_crossentropy", "mse"] = "binary_crossentropy"
    """Loss: cross-entropy of the logit, or squared error of the probability."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the model computes in; parameters, their updates and the loss are float32. bfloat16 is
    for TPUs and GPUs with units for it: it halves the memory that large batches take."""

    seed: int = 0
    """Determines initial parameters, order of the reviews, and dropout."""

    seeds: int = 1
    """Number of models to train at once, alike but for their seeds: `seed`, `seed` + 1 and so on,
    each with a run directory of its own in the workdir."""

    shards: int = 0
    """Parts of the reviews that are shuffled separately; each process holds as many. 0: as many as
    there are processes."""

    model_parallel: int = 1
    """Devices among which embedding tables and other large arrays are divided, instead of each
    holding all of a model; must divide the devices of a process."""

    coordinator: str = ""
    """HOST:PORT of process 0, where several processes train together: give it, num_processes and
    process_id to each. Under Slurm, Open MPI, Kubernetes and on Cloud TPUs they are found out."""

    num_processes: int = 0
    """Number of processes that train together."""

    process_id: int = -1
    """Which of them this one is, from 0."""

    workdir: Path | None = None
    """Directory for the results, which all processes must see; by default runs/<arch>."""

    overwrite: bool = False
    """Replace the run that the directory already holds."""

    resume: bool = False
    """Continue the run that the directory already holds, with the options it was started with, from
    its latest checkpoint; start it if there is none. A constant learning rate allows more epochs
    than before."""

    checkpoint_every: int = 0
    """Steps between checkpoints, besides the one after each epoch; 0 writes that one only."""

    keep: int = 2
    """Checkpoints kept: the latest ones, and besides them the one with the lowest validation loss
    if reviews are held out to validate on. 0 writes none."""

    tensorboard: bool = False
    """Log each epoch's figures for TensorBoard too (extra 'tensorboard')."""

    quiet: bool = False
    """Print the result only."""

    profile: bool = False
    """Trace a few steps with JAX's profiler, for TensorBoard or Perfetto."""

    debug_nans: bool = False
    """Stop at the first step that computes a NaN, and name the operation; takes longer."""

    model: dict[str, Any] = field(default_factory=dict)
    """Hyper-parameters of the architecture."""

    def __post_init__(self) -> None:
        """Raises `UserError`, naming the option, if a value is out of range."""
        super().__post_init__()
        for name, low in _AT_LEAST.items():
            if name == "num_words" and self.arch == "ngram":
                low = 0
            if getattr(self, name) < low:
                raise UserError(f"{name} must be at least {low}, not {getattr(self, name)}")
        _check_share("validation", self.validation)
        _check_share("warmup", self.warmup)
        if self.seed + self.seeds > 1 << 63:
            raise UserError(f"seed must be below 2**63, not {self.seed + self.seeds - 1}")
        if not 0 < self.learning_rate < math.inf:
            raise UserError(f"learning_rate must be positive, not {self.learning_rate}")
        for name in ("dtype", "loss", "padding", "schedule", "truncating"):
            choices = typing.get_args(_TYPES[name])
            if getattr(self, name) not in choices:
                raise UserError(unknown_name(name, getattr(self, name), choices))
        for name, value in self.model.items():
            for size in value if isinstance(value, list | tuple) else [value]:
                if not isinstance(size, int | float):
                    raise UserError(f"model.{name} must be made of numbers, not {value!r}")
                if size < 0:
                    raise UserError(f"model.{name} must not be negative, not {value}")
        several = bool(self.coordinator), self.num_processes > 0, self.process_id >= 0
        if any(several) and not all(several):
            raise UserError("coordinator, num_processes and process_id must be given together")
        if all(several) and self.process_id >= self.num_processes:
            raise UserError(
                f"process_id must be below num_processes, {self.num_processes}, "
                f"not {self.process_id}"
            )
        if self.batch_size < self.shards:
            raise UserError(f"batch_size must be at least shards, {self.shards}")
        if self.resume and self.overwrite:
            raise UserError("resume continues a run and overwrite replaces it; choose one of them")
        for name in ("teacher", "unlabelled_column"):
            if getattr(self, name) and not self.unlabelled:
                raise UserError(f"{name} goes with unlabelled texts only; give them by unlabelled")
        if self.patience and not self.validation:
            raise UserError("patience needs a validation loss; hold reviews out by validation")
        if self.unlabelled and self.seeds > 1:
            raise UserError("one model at a time learns from unlabelled texts; leave out seeds")
        if self.patience and self.seeds > 1:
            raise UserError(
                "seeds trains all models for the same epochs and patience does not; leave one out"
            )
        if self.patience and not self.keep:
            raise UserError("patience needs checkpoints to return to; keep must be at least 1")


def _check_share(name: str, share: float) -> None:
    if not 0 <= share < 1:
        raise UserError(f"{name} must be a share, from 0 to below 1, not {share}")


# 0 to 3 mark padding, start and unknown words, so that 5 is the least with a word in it.
_AT_LEAST = {"num_words": 5, "max_length": 0, "epochs": 1, "batch_size": 1, "seed": 0}
_AT_LEAST |= {"seeds": 1, "patience": 0, "checkpoint_every": 0, "keep": 0}
_AT_LEAST |= {"shards": 0, "model_parallel": 1, "num_processes": 0, "process_id": -1}
_TYPES = typing.get_type_hints(Config)


def recipe_directory() -> Path:
    """Where the recipes lie: inside an installed package, beside the package in a checkout."""
    package = Path(__file__).parent
    return next(d for d in (package / "configs", package.parent / "configs") if d.is_dir())


# The one recipe that is of no architecture of its own, and no model that anybody would want.
DEBUG = "debug"


def recipe_names() -> list[str]:
    """The names of the recipes, one per architecture."""
    return sorted(path.stem for path in recipe_directory().glob("*.toml") if path.stem != DEBUG)


def load_recipe(name: str, unlabelled: bool = False) -> Config:
    """Reads a recipe, or the one for learning from unlabelled texts as well where that differs.

    Args:
      name: of an architecture, or `DEBUG`.
      unlabelled: whether there are unlabelled texts.

    Raises:
      UserError: there is none of that name.
    """
    if name not in (names := [*recipe_names(), DEBUG]):
        raise UserError(unknown_name("architecture", name, names))
    path = recipe_directory() / f"{name}.toml"
    other = path.with_name("unlabelled") / path.name
    return load_config(other if unlabelled and other.exists() else path)


def load_config(path: Path) -> Config:
    """Reads a configuration from a TOML file, such as a recipe or a run's own.

    What the file leaves out is as in the recipe of its `arch`.

    Raises:
      UserError: the file cannot be read, is not TOML, was written by a newer version, or has an
        unknown key or a bad value.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error
    try:
        _check_format(table.pop("format", FORMAT))
        if path.parent == recipe_directory():
            return _from_table(Config(), table)
        if "arch" not in table:
            raise UserError("the key 'arch' is missing")
        _check_type("arch", table["arch"], str)
        return _from_table(load_recipe(table["arch"]), table)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def dump_config(config: Config) -> str:
    """Writes a configuration as TOML that `load_config` reads back."""
    values = {name: getattr(config, name) for name in _SAVED}
    model = values.pop("model")
    lines = [f"format = {FORMAT}"]
    lines += [f"{name} = {_to_toml(value)}" for name, value in values.items() if value is not None]
    lines += ["", "[model]"] + [f"{name} = {_to_toml(value)}" for name, value in model.items()]
    return "\n".join(lines) + "\n"


def has_config(directory: Path) -> bool:
    """Return whether `config.toml` in a directory is one that `dump_config` wrote.

    Many programs have a file of that name, and so may a recipe; neither says its format.
    """
    path = directory / "config.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")) if is_regular(path) else {}
    except (OSError, ValueError):
        return False
    return type(table.get("format")) is int and isinstance(table.get("arch"), str)


# Of a run directory as a whole: what is in it, where, and what it means. Raised when an older
# version would misread what this one writes.
FORMAT = 1

# These say what to do with a directory or the terminal, or on which machines, and are no part of
# what a run is.
_NOT_SAVED = {"workdir", "overwrite", "resume", "checkpoint_every", "keep", "tensorboard", "quiet"}
_NOT_SAVED |= {"archive", "allow_unverified", "profile", "debug_nans"}
_NOT_SAVED |= {"model_parallel", "coordinator", "num_processes", "process_id"}
_SAVED = [name for name in _TYPES if name not in _NOT_SAVED]


def differences(config: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """The options in which two runs differ, those of the model after 'model.', with both values."""
    options, others = _options(config), _options(other)
    pairs = {name: (options.get(name), others.get(name)) for name in options | others}
    return {name: (value, other) for name, (value, other) in pairs.items() if value != other}


def _options(config: Config) -> dict[str, Any]:
    options = {name: getattr(config, name) for name in _SAVED if name != "model"}
    # TOML has no tuples.
    model = {k: list(v) if isinstance(v, tuple) else v for k, v in config.model.items()}
    return options | {f"model.{name}": value for name, value in model.items()}


def _check_format(number: Any) -> None:
    if not isinstance(number, int) or number > FORMAT:
        raise UserError(
            f"this was written by a newer version of imdb_jax, in format {number}; "
            f"the installed one reads up to {FORMAT}: upgrade it"
        )


def _to_toml(value: Any) -> str:
    # JSON's strings, numbers, booleans and arrays are TOML's as well, but for one character.
    text = json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
    return text.replace("\x7f", r"\u007f")


def _from_table(base: Config, table: Mapping[str, Any]) -> Config:
    """Replaces the values of `base` by those of a TOML table."""
    for name, value in table.items():
        if name not in _TYPES:
            raise UserError(unknown_name("key", name, _TYPES))
        _check_type(name, value, _TYPES[name])
    changes: dict[str, Any] = {
        name: Path(value) if _is_path(_TYPES[name]) else value for name, value in table.items()
    }
    model = table.get("model", {})
    for name, value in model.items():
        if base.model and name not in base.model:
            raise UserError(
                unknown_name("key", f"model.{name}", (f"model.{n}" for n in base.model))
            )
        if base.model:
            _check_like(f"model.{name}", value, base.model[name])
    changes["model"] = {**base.model, **model}
    return dataclasses.replace(base, **changes)


def _is_path(kind: Any) -> bool:
    return Path in typing.get_args(kind)


def _check_like(name: str, value: Any, example: Any) -> None:
    """Checks that a value, and what is in it if it is a list, is of the type of an example."""
    _check_type(name, value, type(example))
    if isinstance(value, list) and example:
        for item in value:
            _check_type(f"each of {name}", item, type(example[0]))


def _check_type(name: str, value: Any, kind: Any) -> None:
    if _is_path(kind) or typing.get_origin(kind) is Literal:
        kind = str
    kind = typing.get_origin(kind) or kind
    accepted = (float, int) if kind is float else (kind,)
    # In Python True is an int; in a configuration it is a mistake.
    if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):
        raise UserError(f"{name} must be of type {kind.__name__}, not {value!r}")
