"""A trained model as a web page: one HTML file that runs the model in the browser.

The file needs no server, and its content security policy forbids all requests. The forward pass,
the rules by which a text is read and the weights of words are JavaScript, in the folder `web`.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import html
import json
import re
from importlib import resources
from string import Template
from typing import Any

import optax

from imdb_jax.console.terminal import printable
from imdb_jax.errors import UserError
from imdb_jax.exporting.model_card import dataset_name, words_read, words_told_apart
from imdb_jax.exporting.packing import pack
from imdb_jax.inference.classifier import Classifier

# Modules of JavaScript, each before those that import it.
SCRIPTS = ("unpack.js", "text.js", "networks.js", "model.js", "page.js")
_READABLE = ("MLP", "EmbeddingMLP", "CNN", "Pooled", "LSTM", "Ngram")  # see networks.js
_SYNTHETIC = (
    "This model learned from a synthetic corpus: reviews that a small grammar invented. It knows "
    "few words, and what it says about a real review means little."
)


def web_page(classifier: Classifier) -> bytes:
    """Write a page that predicts and explains a review while somebody types it.

    Raises `UserError` if a parameter is not a finite number.
    """
    module = type(classifier.model).__name__
    if module not in _READABLE:
        raise UserError(f"a web page cannot run {module}; export the model to stablehlo or npz")
    parts, packed = pack(classifier)
    form = classifier.input_format
    description = {
        "module": module,
        "fields": classifier.config.model,
        "labels": classifier.label_names,
        "input": {
            "num_words": form.num_words,
            "max_length": form.max_length,
            "padding": form.padding,
            "truncating": form.truncating,
            "distinct": form.distinct,
            "max_n": classifier.vocabulary.max_n if form.ngrams else 0,
        },
        "parts": parts,
    }
    negative, positive = classifier.label_names
    script, style = bundle(SCRIPTS), _read("page.css")
    synthetic = dataset_name(classifier) == "synthetic"
    return (
        Template(_read("page.html"))
        .substitute(
            policy=f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
            "base-uri 'none'; form-action 'none'",
            style=style,
            script=script,
            # In a script, only "<" could end it.
            description=json.dumps(description).replace("<", "\\u003c"),
            packed=packed,
            arch=_escaped(classifier.config.arch),
            negative=_escaped(negative),
            positive=_escaped(positive),
            warning=f'<p class="warning">{_SYNTHETIC}</p>' if synthetic else "",
            facts="\n".join(
                f"<div><dt>{_escaped(term)}</dt><dd>{_escaped(fact)}</dd></div>"
                for term, fact in _facts(classifier).items()
            ),
        )
        .encode()
    )


def bundle(names: tuple[str, ...]) -> str:
    """Join modules of JavaScript into one, in which they need no imports."""
    joined = "\n".join(map(_read, names))
    return re.sub(r"^import .*\n|^export ", "", joined, flags=re.MULTILINE)


def _read(name: str) -> str:
    return resources.files(__package__).joinpath("web", name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest())
    return f"'sha256-{digest.decode()}'"


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _facts(classifier: Classifier) -> dict[str, str]:
    """Return what to say about the model, by what it is."""
    config, form, vocabulary = classifier.config, classifier.input_format, classifier.vocabulary
    if form.ngrams:
        reads = f"which of {len(vocabulary):,} n-grams of up to {vocabulary.max_n} words occur"
    else:
        which = words_read(classifier) if form.max_length else "all words"
        order = ", without their order" if form.distinct else ""
        reads = f"{which}{order}; it tells {words_told_apart(classifier):,} words apart"
    fields = ", ".join(f"{name} {_shown(value)}" for name, value in config.model.items())
    dataset = dataset_name(classifier)
    facts = {
        "Architecture": f"{config.arch} ({fields})" if fields else config.arch,
        "Learned from": {
            "imdb_reviews": "IMDb movie reviews (Maas et al., 2011)",
            "synthetic": "the synthetic corpus of imdb_jax: invented reviews",
        }.get(dataset, dataset),
        "Classes": " and ".join(classifier.label_names),
        "Reads": reads,
    }
    if "test_accuracy" in classifier.result:
        remark = " (synthetic corpus)" if dataset == "synthetic" else ""
        facts["Test accuracy"] = f"{classifier.result['test_accuracy']:.4f}{remark}"
    size = optax.tree.size(classifier.params)
    held = "; here, the products of weight and log-ratio, in 16 bits" if form.ngrams else ""
    facts["Parameters"] = f"{size:,}{held or ', here in 16 bits each'}"
    today = datetime.date.today()
    facts["Exported"] = f"{today.day} {today:%B %Y}"
    return facts


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
