"""Self-training: a run that learns from texts without labels as well, as a teacher labels them.

The teacher, a model trained on the labelled reviews alone, gives each text a probability, its soft
label, and the student learns from both. Lee 2013, "Pseudo-label", without a threshold; Hinton,
Vinyals and Dean 2015, "Distilling the knowledge in a neural network", where the teacher is of
another architecture.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from imdb_jax import experiment, run_directory
from imdb_jax.classifier import Classifier, load
from imdb_jax.config import UNSUPERVISED, Config, dump_config
from imdb_jax.datasets import Dataset, Layout, absolute_paths, find_dataset
from imdb_jax.devices import use_all_cores
from imdb_jax.errors import UserError
from imdb_jax.exchange import num_processes
from imdb_jax.files import file_digest
from imdb_jax.input_format import create_configured_model
from imdb_jax.progress import note
from imdb_jax.soft_labels import SoftLabels, unlabelled_texts


def run(config: Config) -> dict[str, Any]:
    """Trains as a configuration says, by way of a teacher if it names unlabelled texts.

    A run that is resumed keeps the soft labels that it began with.

    Returns:
      What `result.json` of the run holds.

    Raises:
      UserError: as `experiment.run`; no unlabelled texts, or a teacher that may have seen the
        reviews that the student is tested on.
      Terminated: SIGTERM came; the same command with --resume continues, with the teacher or the
        student.
    """
    if not config.unlabelled:
        return experiment.run(config)
    if num_processes() > 1:
        raise UserError("unlabelled texts are learnt from by a single process")
    workdir = config.workdir or Path("runs") / config.arch
    config = dataclasses.replace(absolute_paths(config), workdir=workdir)
    if config.unlabelled != UNSUPERVISED:
        config = dataclasses.replace(config, unlabelled=str(Path(config.unlabelled).absolute()))
    if config.teacher:
        config = dataclasses.replace(config, teacher=config.teacher.absolute())
    earlier = run_directory.earlier_run(workdir, config)
    # Before JAX starts, which loading a teacher makes it do.
    use_all_cores(create_configured_model(config))
    dataset = find_dataset(
        earlier.dataset if earlier and config.dataset == "auto" else config.dataset,
        config.data_dir,
        config.archive,
        config.allow_unverified,
        note,
        Layout.of(config),
    )
    say = (lambda text: None) if config.quiet else print
    texts = unlabelled_texts(config.unlabelled, config.unlabelled_column, dataset, say)
    kept = workdir / run_directory.SOFT_LABELS
    if earlier and kept.exists():
        return experiment.run(config, SoftLabels.load(kept, texts))
    teacher = config.teacher
    if teacher is None:
        teacher = workdir / run_directory.TEACHER
        say(f"first the teacher, from the labelled reviews alone, in {teacher}")
        alone = dataclasses.replace(config, unlabelled="", unlabelled_column="", workdir=teacher)
        experiment.run(alone, of="teacher's ")
        say("now the student")
    model = load(teacher)
    refuse_teacher_of_other_splits(model.config, config, dataset)
    soft = SoftLabels(texts, model.predict(texts), teacher_fingerprint(teacher, model))
    return experiment.run(config, soft)


def refuse_teacher_of_other_splits(teacher: Config, config: Config, dataset: Dataset) -> None:
    """Raises `UserError` if the student is tested or validated on what the teacher has learnt."""
    same = ("test", "test_share", "validation", "text_column", "label_column", "positive")
    different = [name for name in same if getattr(teacher, name) != getattr(config, name)]
    if teacher.dataset not in (dataset.name, config.dataset):
        different = ["dataset", *different]
    for name in different:
        raise UserError(
            f"the teacher was trained with {name} {getattr(teacher, name)}, not "
            f"{getattr(config, name)}, so that it may have seen what the student is tested on; "
            f"choose a teacher of the same reviews, split in the same way"
        )


def teacher_fingerprint(directory: Path, teacher: Classifier) -> str:
    """A hexadecimal digest of all that determines what a model says of a text."""
    digest = hashlib.sha256(dump_config(teacher.config).encode())
    digest.update(file_digest(directory / teacher.vocabulary.FILE).encode())
    for leaf in jax.tree.leaves(teacher.params):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()
