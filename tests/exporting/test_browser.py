"""The page of a model in a browser: it says what `predict` and `--explain` say, and asks no one."""

import dataclasses
import html
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from contrast import contrast
from small_models import TEXTS, small_classifier

from imdb_jax.exporting.web_page import web_page
from imdb_jax.models import ARCHITECTURES
from imdb_jax.views.predictions import with_shares

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
from browser import READY, chromium, open_browser, open_model

pytestmark = pytest.mark.browser

ODD = [
    "<br />",
    "<BR />",
    "<br\t/>",
    "<br/>",
    "isn't9",
    "'",
    "rock'n'roll",
    "7/10!",
    "?!",
    "\u0130",
]
ODD += [
    "\u212a",
    "\u017f",
    "\u00c9T\u00c9",
    "caf\u00e9",
    "\U0001f600",
    "\U0001f468\u200d\U0001f469",
    "e\u0301",
]
ODD += ["\0", "\t", "\n", "\v", "\f", "\u0085", "\u00a0", "\u2003", "\u2028", "\ufeff", "\u202e"]
ODD += ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "&lt;b&gt;", "${1}"]
ODD += ["<b>", "new", "qzx", "x" * 300, "TOTAL", "Chef-d'\u0152uvre"]
# These words would be known if more than ASCII were in lower case.
ODD += ["D'\u0152UVRE\u00a0TOTAL", "\u0152"]


def reviews(seed, count):
    """Texts of words that the model knows and of much else, some empty and one very long."""
    draw = random.Random(seed)
    pieces = [*ODD, *(piece for text in TEXTS * 8 for piece in re.split("([ ,.!])", text))]
    texts = [
        "",
        " ",
        "\n",
        "A wonderful film",
        *TEXTS,
        *ODD,
        " ".join(draw.choices(pieces, k=3000)),
    ]
    while len(texts) < count:
        space = draw.choice(["", " ", " ", "\n"])
        texts.append(space.join(draw.choices(pieces, k=draw.randrange(30))))
    return texts


# Types each text, waits for the marks, and reads what the page shows.
TYPE = """
async (texts) => {
  const element = (id) => document.getElementById(id);
  const shown = [];
  for (const text of texts) {
    element("review").value = text;
    element("review").dispatchEvent(new InputEvent("input"));
    while (element("marked").ariaBusy !== "false") await new Promise((f) => setTimeout(f));
    shown.push({
      typed: element("review").value,
      probability: Number(element("probability").textContent),
      label: element("label").textContent,
      unknown: element("unknown").textContent,
      text: element("marked").textContent,
      words: Array.from(element("marked").children, (e) => [e.textContent, e.className, e.title]),
    });
  }
  return shown;
}
"""


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("playwright")
    if chromium() is None:
        pytest.skip("Chromium is not installed")
    with open_browser() as opened:
        yield opened


@pytest.fixture
def visit(browser, tmp_path):
    """Opens the page of a model; in the end there must have been no request and no complaint."""
    context, noticed = browser.new_context(), []
    context.on("request", lambda request: noticed.append(request.url))
    context.on("console", lambda message: noticed.append(message.text))
    context.on("weberror", lambda error: noticed.append(error.error.message))
    context.on("dialog", lambda dialog: (noticed.append(dialog.message), dialog.dismiss()))
    path = tmp_path / "model.html"

    def opened(model):
        path.write_bytes(web_page(model))
        return open_model(context, path)

    yield opened
    context.close()
    assert {*noticed} == {path.as_uri()}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_page_says_what_predict_says(visit, arch):
    model = small_classifier(arch)
    page = visit(model)
    shown = page.evaluate(TYPE, reviews(arch, 200))
    # A browser makes one line feed of each other line end.
    texts = [one["typed"] for one in shown]
    predictions = [*model.stream(texts)]
    probabilities = [prediction.probability for prediction in predictions]
    assert np.ptp(probabilities) > 0.1
    np.testing.assert_allclose(
        [one["probability"] for one in shown], probabilities, rtol=0, atol=2e-3
    )
    for one, prediction in zip(shown, predictions, strict=True):
        if abs(prediction.probability - 0.5) > 2e-3:
            assert one["label"] == (prediction.label or "no known word")
        share = re.match(r"(\d+)% of \d+ words unknown", one["unknown"])
        assert (share is None) == (prediction.label is None)
        assert share is None or abs(int(share[1]) - 100 * prediction.unknown_share) <= 0.5


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_page_marks_what_explain_weighs(visit, arch):
    for changes in [{}, *[{"padding": "post", "truncating": "post"}] * (arch == "cnn")]:
        model = small_classifier(arch, **changes)
        page = visit(model)
        for one in page.evaluate(TYPE, [*reviews(f"{arch} again", 100)[::9], *TEXTS]):
            explanation = model.explain(one["typed"])
            assert len(one["words"]) == len(explanation.words)
            shown = re.sub("(?i)<br />", "\n", explanation.text)
            assert one["text"].replace("\u21b5\n", "\n") == shown
            pairs = zip(one["words"], with_shares(explanation.words), strict=True)
            for (said, sign, title), (word, share) in pairs:
                written = explanation.text[slice(*word.span)]
                assert said in (written, "\u21b5\n")
                if not word.read:
                    assert (sign, title) == ("", "not read")
                    continue
                weight = float(title.replace("\u2212", "-"))
                assert weight == pytest.approx(word.weight, rel=2e-3, abs=2e-3)
                if abs(abs(share) - 0.05) > 0.01:
                    expected = "" if abs(share) < 0.05 else "up" if share > 0 else "down"
                    assert sign == expected


def test_what_is_typed_stays_text(visit):
    model = small_classifier("pooled")
    page = visit(model)
    page.locator("#review").press_sequentially("A wonderful <img src=x onerror=alert(1)> film")
    (expected,) = model.predict(page.input_value("#review"))
    assert float(page.text_content("#probability")) == pytest.approx(expected, abs=2e-3)
    assert page.locator("img").count() == 0
    assert "<img src=x onerror=alert(1)>" in page.text_content("#marked")
    # A screen reader hears of it once the typing pauses.
    page.wait_for_function("() => document.getElementById('status').textContent")
    said = page.text_content("#status")
    assert page.text_content("#probability") in said
    assert page.text_content("#label") in said
    # Half of a pair is three marks, as where the text is read as bytes.
    page.evaluate("document.getElementById('review').value = 'film ' + String.fromCharCode(0xd83d)")
    page.press("#review", "End")
    page.evaluate("document.getElementById('review').dispatchEvent(new InputEvent('input'))")
    assert page.text_content("#marked") == "film \ufffd\ufffd\ufffd"


def test_names_and_data_stay_text(visit):
    name = "</script><img src=x onerror=alert(1)>"
    model = small_classifier("mlp")
    model = dataclasses.replace(
        model, label_names=("dull", name), result={"dataset": f"{name}.csv", "test_accuracy": 0.5}
    )
    page = visit(model)
    assert page.locator("img").count() == 0
    assert page.title().startswith(f"{name} or dull?")
    assert f"{name}.csv" in page.text_content(".about")
    texts = reviews("names", 100)
    labels = {one["label"] for one in page.evaluate(TYPE, texts)}
    assert labels == {"dull", name, "no known word"}


# For each element that shows text: its color, and the backgrounds behind it, the nearest first.
PAINTED = """
() => Array.from(document.querySelectorAll("body *"), (element) => {
  const own = Array.from(element.childNodes).some((n) => n.nodeType === 3 && n.data.trim());
  if (!own || !element.checkVisibility() || element.closest("script")) return null;
  const behind = [];
  for (let e = element; e; e = e.parentElement) behind.push(getComputedStyle(e).backgroundColor);
  return [element.tagName + "." + element.className, getComputedStyle(element).color, behind];
}).filter(Boolean)
"""


def parsed(color):
    red, green, blue, *alpha = map(float, re.findall(r"[\d.]+", color))
    return (red, green, blue), (alpha or [1.0])[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_everybody_can_read_it(visit, scheme, width):
    model = dataclasses.replace(small_classifier("cnn"), result={"dataset": "synthetic"})
    page = visit(model)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.fill("#review", f"{TEXTS[1]} {'x' * 300} {TEXTS[0]}")
    page.wait_for_selector(READY)
    painted = page.evaluate(PAINTED)
    assert {tag for tag, *_ in painted} >= {"SPAN.up", "SPAN.down", "S.", "BUTTON."}
    for tag, color, behind in painted:
        background = (255.0, 255.0, 255.0)
        for layer, alpha in reversed([*map(parsed, behind)]):
            pairs = zip(layer, background, strict=True)
            background = tuple(alpha * new + (1 - alpha) * old for new, old in pairs)
        assert contrast(parsed(color)[0], background) >= 4.5, tag
    page_color = parsed(page.evaluate("getComputedStyle(document.body).backgroundColor"))[0]
    assert (sum(page_color) > 3 * 128) == (scheme == "light")
    # Nothing is wider than the window.
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_keyboard_and_screen_reader(visit):
    page = visit(small_classifier("lstm"))
    page.focus("#review")
    names = []
    for _ in range(6):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.id || document.activeElement.value"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
    assert names[3:5] == ["clear", "marked"]
    page.focus(".examples button")
    page.keyboard.press("Enter")
    assert page.input_value("#review") == html.unescape(names[0])
    # Found by their roles and names, as by a screen reader.
    assert page.get_by_role("textbox", name="Your review").count() == 1
    meter = page.get_by_role("meter", name="Probability of positive")
    assert meter.get_attribute("aria-valuenow") == page.text_content("#probability")
    assert page.get_by_role("status").get_attribute("aria-live") == "polite"
    for name in ("Push it up", "Push it down"):
        words = page.get_by_role("region", name=name, exact=True).get_by_role("listitem")
        sign = "+" if name == "Push it up" else "\u2212"
        assert words.count()
        assert all(sign in text for text in words.all_text_contents())
    page.click("#clear")
    assert page.input_value("#review") == ""
    assert page.text_content("#label") == "no known word"
