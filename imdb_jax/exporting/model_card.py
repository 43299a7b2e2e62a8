"""A model card: what a model is for, how it was trained and measured, and what its limits are.

The functions return Markdown, and metadata that the Hugging Face Hub reads at the top of a
README.md. Whatever people name themselves, such as classes and files, is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optax
import yaml

from imdb_jax.config import Config
from imdb_jax.datasets.tables import is_table
from imdb_jax.inference.classifier import Classifier
from imdb_jax.text.sequences import INDEX_FROM

_IMDB, _SYNTHETIC = "imdb_reviews", "synthetic"
_UNKNOWN = "auto"  # an option, which only a run replaces by what it found


def plain(name: str) -> str:
    """Return a name on one line, in characters that can be printed and encoded."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(name.split()))


def escape(name: str) -> str:
    """Return a name as Markdown that shows it as it is, in a sentence or in a table."""
    return re.sub(r"([!-&(-+/:-@\[-`{-~])", r"\\\1", plain(name))


def dataset_name(classifier: Classifier) -> str:
    """Return the name of the data set that a model was trained on; of a file, without its path."""
    configured = classifier.config.data.dataset
    if is_table(Path(configured)):
        configured = Path(configured).name
    return plain(str(classifier.result.get("dataset", configured)))


def words_told_apart(classifier: Classifier) -> int:
    """Return how many words of its vocabulary a model does not take for just 'unknown'."""
    return min(len(classifier.vocabulary), classifier.input_format.num_words - INDEX_FROM - 1)


def words_read(classifier: Classifier) -> str:
    """Say which words of a text longer than `max_length` a model reads."""
    form = classifier.input_format
    # The mark of the start, which counts as a word, is at the end that is kept or is cut.
    end, marks = ("last", 0) if form.truncating == "pre" else ("first", 1)
    return f"the {end} {form.max_length - marks:,} words"


def metadata(classifier: Classifier, to: str) -> str:
    """Return the card's metadata as YAML, for a model exported to the format `to`.

    The Hub lists a model among those of a data set by what stands here. Only IMDb's reviews are one
    of the Hub's data sets; of others the metadata name none, and state no figures.
    """
    dataset, arch = dataset_name(classifier), classifier.config.arch
    of_reviews, classifies = dataset in (_IMDB, _SYNTHETIC), to != "word2vec"
    found: dict[str, Any] = {}
    if of_reviews:
        found["language"] = ["en"]
    found["license"] = "apache-2.0" if dataset == _SYNTHETIC else "unknown"
    found["library_name"] = "imdb_jax"
    if classifies:
        found["pipeline_tag"] = "text-classification"
    found["tags"] = [*(["sentiment-analysis"] if of_reviews else []), "jax", "flax", to]
    if dataset == _IMDB:
        found["datasets"] = ["stanfordnlp/imdb"]
    if classifies:
        found["metrics"] = ["accuracy"]
    accuracy = classifier.result.get("test_accuracy")
    if classifies and dataset == _IMDB and accuracy is not None:
        reviews = {"type": "stanfordnlp/imdb", "name": "IMDb movie reviews"}
        if classifier.config.data.test_share:
            reviews["name"] += f", {_test_split(classifier.config)}"
        else:
            reviews["split"] = "test"
        result = {
            "task": {"type": "text-classification", "name": "Sentiment analysis"},
            "dataset": reviews,
            "metrics": [{"type": "accuracy", "name": "Test accuracy", "value": accuracy}],
        }
        found["model-index"] = [{"name": f"imdb_jax {arch}", "results": [result]}]
    return str(yaml.safe_dump(found, sort_keys=False, allow_unicode=True))


def card(classifier: Classifier, to: str) -> dict[str, str]:
    """Return the card's parts in Markdown, by their names in the template `model_card`."""
    dataset, arch = dataset_name(classifier), classifier.config.arch
    kind = dataset if dataset in (_IMDB, _SYNTHETIC) else "other"
    return {
        "title": f"{'Text classifier' if kind == 'other' else 'Sentiment of reviews'} ({arch})",
        "purpose": _purpose(classifier, kind, to),
        "training": _training(classifier),
        "evaluation": _evaluation(classifier, kind),
        "limits": "\n".join(f"- {limit}" for limit in _limits(classifier, kind)),
        "license": _LICENSE[kind],
    }


_CODE = "imdb_jax, which trained the model, is licensed under Apache-2.0."
_LICENSE = {
    _IMDB: f"{_CODE} The reviews belong to their\n"
    "authors (Maas et al., 2011), and no license is claimed here for what was learned from them.",
    _SYNTHETIC: "Apache-2.0, as imdb_jax, which generated the corpus and trained the model.",
    "other": f"{_CODE} Whoever trained the model decides\n"
    "on the license of its parameters, and writes it above, in place of `unknown`.",
}


def _purpose(classifier: Classifier, kind: str, to: str) -> str:
    negative, positive = map(escape, classifier.label_names)
    design = (type(classifier.model).__doc__ or "").partition("\n")[0]
    text = "a text" if kind == "other" else "an English movie review"
    what = "The word vectors of a model that" if to == "word2vec" else "A model that"
    return (
        f"{what} reads {text} and tells how likely it is '{positive}' rather than '{negative}'.\n"
        f"{design}\n"
        "It was made by imdb_jax, the classic IMDb sentiment models in JAX. It is meant for\n"
        "learning and as a baseline, and not for decisions about people."
    )


def _training(classifier: Classifier) -> str:
    config, result = classifier.config, classifier.result
    training, name = config.training, dataset_name(classifier)
    named = {
        _IMDB: "IMDb movie reviews (Maas et al., 2011)",
        _SYNTHETIC: "synthetic: reviews that a grammar of imdb_jax generates",
        _UNKNOWN: "not recorded",
    }
    negative, positive = map(escape, classifier.label_names)
    first = f"the first {config.stopping.validation:.0%} of the training reviews"
    rows: dict[str, Any] = {
        "Data set": named.get(name, escape(name)),
        "Classes": f"{negative} (0), {positive} (1)",
        "Recipe": f"`{config.arch}`",
        "Parameters": f"{optax.tree.size(classifier.params):,}",
        "Trained on": _count(result, "train_reviews"),
        "Validated on": first if config.stopping.validation else "the test reviews",
        "Tested on": _test_split(config),
    }
    if unlabelled := config.self_training.unlabelled:
        rows["Texts without labels"] = f"{escape(Path(unlabelled).name)}, labelled by a teacher"
    rows["Epochs"] = result.get("epochs", training.epochs)
    if result.get("best_epoch"):
        rows["Epochs"] = f"{rows['Epochs']}, with the parameters of epoch {result['best_epoch']}"
    rows |= {
        "Batch size": training.batch_size,
        "Optimizer": f"Adam, learning rate {training.learning_rate:g}, {training.schedule}",
        "Loss": escape(training.loss),
        "Computed in": training.dtype,
        "Seed": training.seed,
        "Ended": result.get("ended"),
    }
    versions = [f"{n} {result[n]}" for n in ("python", "jax", "flax", "optax") if n in result]
    rows["Versions"] = escape(", ".join(versions))
    if "device_kind" in result:
        rows["Devices"] = escape(f"{result.get('device_count', 1)} x {result['device_kind']}")
    return _table("Training", rows)


def _test_split(config: Config) -> str:
    """Name the reviews that a model was tested on."""
    if config.data.test:
        return "a file of its own"
    if is_table(Path(config.data.dataset)):
        return "rows of the file, set apart"
    if config.data.test_share:
        return f"the first {config.data.test_share:.0%} of the train and test reviews together"
    return "the test reviews of the data set"


def _evaluation(classifier: Classifier, kind: str) -> str:
    result = classifier.result
    if "test_accuracy" not in result:
        return "No test accuracy is recorded."
    loss = result.get("test_loss")
    rows = {
        "Accuracy": f"{result['test_accuracy']:.4f}",
        "Loss": None if loss is None else f"{loss:.4f}",
        "Measured on": _count(result, "test_reviews"),
    }
    about = "These are figures of one run with one seed; another seed gives others."
    if not classifier.config.stopping.validation:
        about += " After each epoch, too,\nthe model was measured on the test reviews."
    if kind == _SYNTHETIC:
        about += "\n\nThe reviews are synthetic: the figures mean nothing for real reviews."
    return f"{_table('Test', rows)}\n\n{about}"


def _limits(classifier: Classifier, kind: str) -> list[str]:
    form = classifier.input_format
    where = {
        _IMDB: "It learned from whole English movie reviews. It has not been tried on other texts\n"
        "  or languages, and a short sentence gives it few words to go by.",
        _SYNTHETIC: "It was trained on the synthetic corpus, and has never seen a real review.",
        "other": "Its figures hold for texts like those that it was trained and tested on.",
    }
    limits = [
        where[kind],
        "It knows two classes, and gives one of them to a text that belongs to neither, too.",
        "Irony, comparisons and quotations mislead it, as they do all models of this kind.",
    ]
    if form.ngrams:
        return [
            *limits,
            f"It reads which of {len(classifier.vocabulary):,} n-grams of up to "
            f"{classifier.vocabulary.max_n} words a text holds, and not where.",
        ]
    known = words_told_apart(classifier)
    limits.append(
        f"It tells the {known:,} most frequent words of its training reviews apart. Other words of"
        "\n  theirs are all one word to it, and words that they did not hold are left out."
    )
    if form.max_length:
        limits.append(f"Of a longer text it reads {words_read(classifier)} only.")
    if form.distinct:
        limits.append("It reads which words a text holds, and neither where nor how often.")
    return limits


def _count(result: Mapping[str, Any], name: str) -> str | None:
    return None if name not in result else f"{result[name]:,} reviews"


def _table(title: str, rows: Mapping[str, Any]) -> str:
    lines = [f"| {name} | {value} |" for name, value in rows.items() if value not in (None, "")]
    return "\n".join([f"| {title} | |", "|---|---|", *lines])
