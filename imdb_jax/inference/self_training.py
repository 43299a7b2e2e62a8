"""Self-training: a run that also learns from texts without labels, as a teacher labels them.

The teacher, a model trained on the labelled reviews alone, gives each text a probability, its soft
label, and the student learns from both. Lee 2013, "Pseudo-label", without a threshold; Hinton,
Vinyals and Dean 2015, "Distilling the knowledge in a neural network", where the teacher has
another architecture.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from imdb_jax.config import UNSUPERVISED, Config, dump_config, flatten, replace
from imdb_jax.datasets.custom import LAYOUT
from imdb_jax.datasets.dataset import Dataset
from imdb_jax.datasets.find import absolute_paths, find_dataset
from imdb_jax.errors import UserError
from imdb_jax.files import file_digest
from imdb_jax.inference.classifier import Classifier, load
from imdb_jax.parallel.devices import use_all_cores
from imdb_jax.parallel.exchange import num_processes
from imdb_jax.pipeline.input_format import create_configured_model
from imdb_jax.progress import note, tell, unless
from imdb_jax.runs import directory, experiment
from imdb_jax.runs.lock import only_run_in
from imdb_jax.runs.soft_labels import SoftLabels, unlabelled_texts


def run(config: Config, temporary: bool = False) -> dict[str, Any]:
    """Train with the help of a teacher if the configuration names unlabelled texts.

    A resumed run keeps the soft labels that it began with. Returns and raises what `experiment.run`
    does, and `UserError` if there are no unlabelled texts, or the teacher may have seen what the
    student is tested on. People are not told about a `temporary` run directory.
    """
    if not config.self_training.unlabelled:
        return experiment.run(config, temporary=temporary)
    if num_processes() > 1:
        raise UserError("only a single process can learn from unlabelled texts")
    workdir = config.run.workdir or Path("runs") / config.arch
    with only_run_in(workdir):
        return _run(config, workdir, temporary)


def _run(config: Config, workdir: Path, temporary: bool) -> dict[str, Any]:
    source, teacher = config.self_training.unlabelled, config.self_training.teacher
    source = source if source == UNSUPERVISED else str(Path(source).absolute())
    teacher = teacher and teacher.absolute()
    config = replace(absolute_paths(config), workdir=workdir, unlabelled=source, teacher=teacher)
    earlier = directory.earlier_run(workdir, config)
    if teacher and config.run.overwrite and teacher.resolve().is_relative_to(workdir.resolve()):
        raise UserError(
            f"the teacher {teacher} lies in {workdir}, which --overwrite would replace; choose "
            "another --workdir"
        )
    # Before JAX starts, which loading a teacher makes it do.
    use_all_cores(create_configured_model(config))
    data = config.data
    if earlier and data.dataset == "auto":
        data = replace(data, dataset=earlier.data.dataset)
    dataset = find_dataset(data, note)
    say = unless(config.run.quiet, tell)
    texts = unlabelled_texts(source, config.self_training.unlabelled_column, dataset, say)
    kept = workdir / directory.SOFT_LABELS
    if earlier and kept.exists():
        return experiment.run(config, SoftLabels.load(kept, texts))
    if teacher is None:
        teacher = workdir / directory.TEACHER
        where = "" if temporary else f", in {teacher}"
        say(f"training the teacher first, on the labelled reviews alone{where}")
        alone = replace(config, unlabelled="", unlabelled_column="", workdir=teacher)
        experiment.run(alone, of="teacher's ", temporary=temporary)
        say("training the student")
    model = load(teacher)
    refuse_teacher_of_other_splits(model.config, config, dataset)
    soft = SoftLabels(texts, model.predict(texts), teacher_fingerprint(teacher, model))
    return experiment.run(config, soft, temporary=temporary)


def refuse_teacher_of_other_splits(teacher: Config, config: Config, dataset: Dataset) -> None:
    """Raise `UserError` if the student is tested or validated on what the teacher has learnt."""
    names = [*LAYOUT, "validation"]
    if teacher.data.dataset != dataset.name:
        names.insert(0, "dataset")
    all_theirs, all_ours = flatten(teacher), flatten(config)
    for name in names:
        theirs, ours = all_theirs[name], all_ours[name]
        if theirs != ours:
            raise UserError(
                f"the teacher was trained with {name} {theirs}, not {ours}, so it may have seen "
                "what the student is tested on; choose one trained on the same reviews and split"
            )


def teacher_fingerprint(directory: Path, teacher: Classifier) -> str:
    """Return a digest of everything that determines what a model predicts."""
    vocabulary = file_digest(directory / teacher.vocabulary.FILE)
    digest = hashlib.sha256((dump_config(teacher.config) + vocabulary).encode())
    for leaf in jax.tree.leaves(teacher.params):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()
