"""The page of a model, as a file: what it holds, what it allows, and that names are no markup."""

import base64
import dataclasses
import hashlib
import html
import json
import re
import zlib
from html.parser import HTMLParser

import jax
import numpy as np
import pytest
from small_models import NGRAMS, VOCABULARY, small_classifier

from imdb_jax.errors import UserError
from imdb_jax.exporting.packing import pack
from imdb_jax.exporting.web_page import web_page
from imdb_jax.models import ARCHITECTURES

SCRIPT = "</script><img src=x onerror=alert(1)>&\"'$arch"


class Parsed(HTMLParser):
    """The elements of a page, and what scripts, styles and all other elements hold."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.held, self.attributes, self.within = [], {}, [], None
        self.feed(page.decode())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        name = dict(attrs).get("id") or dict(attrs).get("type")
        self.within = name if tag == "script" else tag

    def handle_endtag(self, tag):
        self.within = None

    def handle_data(self, data):
        self.held[self.within] = self.held.get(self.within, "") + data


def unpack(described, packed):
    """What `web/unpack.js` makes of them."""
    data, parts = zlib.decompress(base64.b64decode(packed)), {}
    for part in described:
        width = {"text": 1, "float16": 2, "uint32": 4}[part["kind"]]
        own, data = data[: part["size"] * width], data[part["size"] * width :]
        if part["kind"] == "text":
            parts[part["name"]] = own.decode().split("\n")
            continue
        planes = np.frombuffer(own, np.uint8).reshape(width, -1)
        values = planes.T.copy().view("<f2" if width == 2 else "<u4")[:, 0]
        parts[part["name"]] = values * np.float64(part.get("scale", 1))
    assert not data
    return parts


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_page_holds_the_parameters_in_16_bits(arch):
    model = small_classifier(arch)
    parts = unpack(*pack(model))
    if arch == "ngram":
        assert parts["words"] == [*NGRAMS.words]
        weight, log_ratio = (np.asarray(model.params[name]) for name in ("weight", "log_ratio"))
        expected = {"contributions": weight * log_ratio, "bias": model.params["bias"]}
        # Each n-gram is found from its prefix.
        ends = np.cumsum(parts["num_extensions"]).astype(int)
        for ngram, i in NGRAMS.items():
            prefix, _, last = ngram.rpartition(" ")
            if prefix:
                place = i - len(NGRAMS.words) - 1
                assert NGRAMS.words[int(parts["last_words"][place]) - 1] == last
                assert np.searchsorted(ends, place, side="right") == NGRAMS[prefix]
    else:
        # Which of the last two words is which makes no difference to the model.
        assert parts["words"][:-2] == [*VOCABULARY.words[:-2]]
        assert set(parts["words"]) == set(VOCABULARY.words)
        leaves = jax.tree.leaves_with_path(model.params)
        expected = {
            jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves
        }
        assert len(parts) == len(expected) + 1
    for name, leaf in expected.items():
        leaf = np.ravel(np.asarray(leaf))
        np.testing.assert_allclose(parts[name], leaf, rtol=2**-11, atol=1e-7 * np.abs(leaf).max())


def test_a_parameter_that_is_no_number_is_refused():
    model = small_classifier("pooled")
    params = jax.tree.map(np.copy, model.params)
    params["Dense_0"]["bias"][0] = np.nan
    with pytest.raises(UserError, match=r"Dense_0\.bias is not finite"):
        pack(dataclasses.replace(model, params=params))


def test_a_page_allows_its_own_script_and_style_and_nothing_else():
    parsed = Parsed(web_page(small_classifier("cnn")))
    (policy,) = (value for _, value in parsed.attributes if value and "default-src" in value)

    def hashed(content):
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    directives = dict(directive.strip().split(" ", 1) for directive in policy.split(";"))
    assert directives == {
        "default-src": "'none'",
        "script-src": hashed(parsed.held["module"]),
        "style-src": hashed(parsed.held["style"]),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    # Nothing that the policy would have to stop.
    assert not {name for name, _ in parsed.attributes} & {"src", "href", "style", "action"}
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert not re.search(r"\b(eval|Function|innerHTML|fetch|XMLHttpRequest)\b|url\(|^import ",
                         parsed.held["module"] + parsed.held["style"], re.MULTILINE)  # fmt: skip


def test_names_are_no_markup():
    model = small_classifier("pooled")
    plain = Parsed(web_page(model))
    result = {"dataset": SCRIPT, "test_accuracy": 0.875}
    page = web_page(dataclasses.replace(model, label_names=("dull", SCRIPT), result=result))
    named = Parsed(page)
    assert [tag for tag in named.tags if tag not in ("dt", "dd", "div")] == [
        tag for tag in plain.tags if tag not in ("dt", "dd", "div")
    ]
    assert json.loads(named.held["description"])["labels"] == ["dull", SCRIPT]
    shown = page.decode()
    assert "<img" not in shown
    assert f"<dd>{html.escape(SCRIPT)}</dd>" in shown
    assert "<dd>0.8750</dd>" in shown


def test_a_model_of_invented_reviews_says_so():
    model = dataclasses.replace(small_classifier("pooled"), result={"dataset": "imdb_reviews"})
    assert "synthetic" not in web_page(model).decode()
    result = {"dataset": "synthetic", "test_accuracy": 0.5}
    shown = web_page(dataclasses.replace(model, result=result)).decode()
    assert "learned from a synthetic corpus" in shown
    assert "<dd>0.5000 (synthetic corpus)</dd>" in shown
