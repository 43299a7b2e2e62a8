"""The README of an export: a model card, with an example that runs as it stands."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any

import jax

from imdb_jax.exporting.formats import length_axis
from imdb_jax.exporting.model_card import card, escape, metadata
from imdb_jax.exporting.named_params import named_params
from imdb_jax.inference.classifier import Classifier

_TEXT = "A wonderful film, full of joy."


def readme(classifier: Classifier, to: str) -> str:
    """Write the README.md of a model exported to a format, a key of `formats.FORMATS`.

    It begins with metadata in YAML. The Python program in it is to be run in the directory of the
    export.
    """
    config = classifier.config
    dtype, num_words = config.training.dtype, config.input.num_words
    fields = config.model | ({} if dtype == "float32" else {"dtype": dtype})
    ids, ngrams = f'np.array([encode("{_TEXT}")], np.int32)', classifier.input_format.ngrams
    if to == "keras" and config.arch == "mlp":  # it reads a one for each word that a text holds
        ids = f'np.zeros((1, {num_words}), np.float32)\nids[0, encode("{_TEXT}")] = 1'
    tensors = named_params(classifier.params)
    width = max(map(len, tensors))
    values = {
        "arch": config.arch,
        "jax": jax.__version__,
        "module": type(classifier.model).__name__,
        "fields": ", ".join(f"{name}={value!r}" for name, value in fields.items()),
        "num_words": num_words,
        "positive": escape(classifier.label_names[1]),
        "length": length_axis(classifier),
        "unit": "n-gram" if ngrams else "word",
        "tensors": "\n".join(
            [
                "```text",
                *(f"{name:<{width}}  {x.dtype}{list(x.shape)}" for name, x in tensors.items()),
                "```",
            ]
        ),
        "steps": "\n".join(f"    ids = {step}" for step in _steps(classifier)),
        "ids": ids,
    }
    for part in ("files", "parameters", "encode", "apply"):
        values[part] = _fill(f"{part}_ngrams" if ngrams else part, values)
    values |= card(classifier, to)
    values["usage"] = _fill(to, values)
    return f"---\n{metadata(classifier, to)}---\n\n" + _fill("model_card", values) + "\n"


def _fill(name: str, values: dict[str, Any]) -> str:
    template = Path(__file__).with_name("readme_templates") / f"{name}.md"
    return Template(template.read_text()).substitute(values).removesuffix("\n")


def _steps(classifier: Classifier) -> list[str]:
    """Return what becomes of the ids of a text, step by step, in Python."""
    read_as = classifier.input_format
    steps = [f"[i if i < {read_as.num_words} else 2 for i in ids]"]
    length = read_as.max_length
    if length:
        steps.append(f"ids[-{length}:]" if read_as.truncating == "pre" else f"ids[:{length}]")
    if read_as.distinct:
        steps.append("sorted(set(ids))  # the model reads which words there are, and no more")
    elif length:
        padding = f"[0] * ({length} - len(ids))"
        steps.append(f"{padding} + ids" if read_as.padding == "pre" else f"ids + {padding}")
    return steps
