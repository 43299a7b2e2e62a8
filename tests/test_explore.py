"""The figures that `explore` gives, against naive computations, and how it gives them."""

import io
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from imdb_jax import cli, explore, load_data
from imdb_jax.config import flatten
from imdb_jax.datasets import find
from imdb_jax.datasets.dataset import Dataset, Reviews
from imdb_jax.pipeline import keras_imdb, statistics
from imdb_jax.pipeline.corpus import load_corpus
from imdb_jax.text.tokens import tokenize
from imdb_jax.views import explorations, figures


@pytest.fixture
def small(small_synthetic, monkeypatch):
    """The small corpus, in place of whatever data set is asked for."""
    monkeypatch.setattr(find, "find_dataset", lambda *_: small_synthetic)
    monkeypatch.setattr(keras_imdb, "find_dataset", lambda *_: small_synthetic)
    return small_synthetic


def command(capsys, *arguments):
    explore.explore(arguments)
    out, err = capsys.readouterr()
    assert err == ""
    return out


def figures_of(capsys, *arguments):
    return json.loads(command(capsys, "--json", *arguments))


# Figures


@pytest.mark.parametrize("num_words", [0, 50, 100_000])
def test_figures_are_those_of_the_ids_that_load_data_gives(small, capsys, num_words):
    found = figures_of(capsys, "--num-words", str(num_words), "--max-length", "200")
    (x_train, y_train), (x_test, y_test) = load_data(num_words or None)
    reviews, labels = [*x_train, *x_test], [*y_train, *y_test]
    lengths = [len(review) for review in reviews]
    assert found["dataset"] == "synthetic"
    assert found["num_reviews"] == len(reviews) == 90
    assert found["class_counts"] == {"positive": sum(labels), "negative": 90 - sum(labels)}
    assert found["split_class_counts"]["test"]["positive"] == sum(y_test)
    assert found["num_words"] == (num_words or None)
    assert found["distinct_words"] == len({i for review in reviews for i in review})
    mean = sum(lengths) / 90
    assert found["mean_length"] == pytest.approx(mean)
    variance = sum((length - mean) ** 2 for length in lengths) / 90
    assert found["std_length"] == pytest.approx(math.sqrt(variance))
    quantiles = found["length_quantiles"]
    assert (quantiles["0"], quantiles["1"]) == (min(lengths), max(lengths))
    assert quantiles["0.5"] == np.median(lengths)
    assert found["share_cut"] == sum(length > 200 for length in lengths) / 90


def test_words_are_those_of_the_training_reviews(small, capsys):
    found = figures_of(capsys, "--top", "10")
    train = small.read("train")
    counts = {label: Counter() for label in (0, 1)}
    for text, label in zip(train.texts, train.labels, strict=True):
        counts[label].update(tokenize(text))
    total = counts[0] + counts[1]
    expected = sorted(total, key=lambda word: (-total[word], word))[:10]
    frequent = found["frequent_words"]
    assert [word["word"] for word in frequent] == expected
    assert [word["count"] for word in frequent] == [total[word] for word in expected]

    def score(word):
        odds, variance = [], 0
        for label in (1, 0):
            times = counts[label][word] + total[word]
            odds.append(times / (counts[label].total() + total.total() - times))
            variance += 1 / times
        return math.log(odds[0] / odds[1]) / math.sqrt(variance)

    scores = {word: score(word) for word in total}
    typical = found["typical_words"]
    for label, best in (("positive", max(scores.values())), ("negative", min(scores.values()))):
        values = [word["score"] for word in typical[label]]
        assert values[0] == pytest.approx(best)
        assert values == sorted(values, key=abs, reverse=True)
        for word in typical[label]:
            assert word["score"] == pytest.approx(scores[word["word"]])
            assert word["positive"] == counts[1][word["word"]]
            assert word["negative"] == counts[0][word["word"]]


counted = arrays.arrays(np.int64, st.integers(2, 9), elements=st.integers(0, 1000))


@given(counted, st.randoms())
def test_log_odds_change_sign_with_the_groups(first, random):
    second = np.array([random.randrange(1000) for _ in first]) + (first == 0)
    scores = statistics.log_odds(first, second)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores, -statistics.log_odds(second, first))
    np.testing.assert_allclose(statistics.log_odds(first + 1, first + 1), 0, atol=1e-12)


def test_log_odds_trust_frequent_words_more():
    common, rare = statistics.log_odds(np.array([300, 3, 1000]), np.array([100, 1, 1000]))[:2]
    assert common > 5 * rare > 0


def tiny(train, test, labels=(1, 0)):
    reviews = {
        "train": Reviews(train, np.array(labels[: len(train)], np.int8)),
        "test": Reviews(test, np.array(labels[: len(test)], np.int8)),
    }
    return load_corpus(Dataset("tiny", repr(reviews), "alphabetical", reviews.__getitem__))


@pytest.mark.parametrize(
    ("train", "test", "distinct"),
    [
        (["a b", "b c"], ["a"], 4),  # the start, a and b; c, of the highest id, is cut
        (["a"], ["a", "d"], 2),
        (["?"], ["!"], 1),
    ],
)
def test_corpora_of_few_words(train, test, distinct):
    found = statistics.explore(tiny(train, test))
    assert found["distinct_words"] == distinct
    assert sum(found["class_counts"].values()) == len(train) + len(test)


# A review


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("num_words", [0, 100])
def test_a_review_as_text_ids_and_decoded(small, capsys, split, num_words):
    arguments = f"--review 3 --split {split} --num-words {num_words}".split()
    shown = figures_of(capsys, *arguments)
    (x_train, y_train), (x_test, y_test) = load_data(num_words or 10**9)
    ids, labels = (x_train, y_train) if split == "train" else (x_test, y_test)
    assert shown["ids"] == ids[3]
    assert shown["label"] == ("positive" if labels[3] == 1 else "negative")
    vocabulary = load_corpus(small).vocabulary
    assert shown["decoded"] == vocabulary.decode(ids[3])
    words = tokenize(shown["text"])
    known = [word for word in words if word in vocabulary]
    if not num_words:
        assert shown["decoded"].split() == known
    assert len(shown["ids"]) == len(known) + 1
    printed = command(capsys, *arguments)
    assert printed.startswith(f"{split} review 3 of synthetic corpus")
    assert shown["decoded"] in printed
    assert " ".join(map(str, ids[3])) in printed


@pytest.mark.parametrize("number", ["-1", "60"])
def test_a_review_that_is_not_there(small, number):
    with pytest.raises(explore.UserError, match=rf"no train review {number}, only 0 to 59"):
        explore.explore(["--review", number])


# Tables


def test_the_plain_table_has_the_figures(small, capsys):
    found = figures_of(capsys)
    out = command(capsys)
    assert out.startswith("synthetic corpus: invented reviews, not IMDb's\n")
    assert re.search(r"reviews +90 +60 +30\n", out)
    assert re.search(rf"distinct words +{found['distinct_words']:,}\n", out)
    assert re.search(rf"mean length +{found['mean_length']:.5f}\n", out)
    assert not set("│─╭") & set(out)
    for word in found["frequent_words"]:
        assert re.search(rf"{re.escape(word['word'])} +{word['count']:,}\n", out)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_a_terminal_gets_the_same_figures_drawn(small, capsys, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    plain = command(capsys)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    explore.explore([])
    drawn = re.sub(r"\x1b\[[\d;]*m|─", "", terminal.getvalue())
    assert drawn.split() == plain.split()


def test_words_are_not_taken_for_markup_or_for_orders_to_the_terminal(capsys, monkeypatch):
    table = explorations.Table("words", ("word",), [("[red]",), (":cat:",), ("\x1b[2J",)])
    explorations.print_tables("title", [table])
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    explorations.print_tables("title", [table])
    for out in (capsys.readouterr().out, terminal.getvalue()):
        assert "[red]" in out
        assert ":cat:" in out
        assert "\x1b[2J" not in out


def test_a_terminal_that_lacks_letters_gets_others(capsys, monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(sys, "__stdout__", output)
    table = explorations.Table("words", ("word",), [("café ± 1…",)])
    cli.run_command(lambda _: explorations.print_tables("title", [table]))
    assert rb"caf\xe9 +- 1..." in output.buffer.getvalue()


# Plots


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.PDF", b"%PDF"), ("a.svg", b"<?xml")]
)
def test_a_plot_is_drawn(small, capsys, tmp_path, name, start):
    command(capsys, "--plot", str(tmp_path / name), "--top", "0")
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_plot_of_invented_reviews_says_so(small, capsys, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(figures, "plot_lengths", lambda *drawn: titles.append(drawn[1]))
    command(capsys, "--plot", str(tmp_path / "a.png"))
    assert "synthetic" in titles[0]


# Mistakes, and the command as a whole


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ("--plot a.gif", r"a\.gif must end in one of \.png, \.svg, \.pdf"),
        ("--plot missing/a.png --dataset synthetic", r"cannot write missing.a\.png"),
        ("--num-words 4", "num_words must be 0 or at least 5, not 4"),
        ("--max-length 0", "max_length must be at least 1"),
        ("--top -1", "top must be at least 0"),
        ("--splitt test", "did you mean --split"),
        ("--split validation", "'train', 'test'"),
        ("--test-share 1", "test_share must be at least 0"),
    ],
)
def test_mistakes_are_named(small, arguments, match):
    with pytest.raises(explore.UserError, match=match):
        explore.explore(arguments.split())


def test_every_option_is_described(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stop:
        explore.explore(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for name in flatten(explore.Options()):
        assert f"--{name.replace('_', '-')}" in out
    for alias in ("--text-feature", "--label-feature"):
        assert alias in out


def test_a_file_of_ones_own_in_a_shell_without_jax(tmp_path):
    rows = "good,yes\nbad,no\nfine,yes\ndull,no\n" * 5
    (tmp_path / "reviews.csv").write_text("text,label\n" + rows)
    program = (
        "import sys; from imdb_jax.explore import main; main(); "
        "sys.exit(bool({'jax', 'flax', 'tensorflow'} & set(sys.modules)))"
    )

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", program, *arguments],
            cwd=tmp_path,
            env=os.environ,
            capture_output=True,
            text=True,
            check=False,
        )

    done = run("--dataset", "reviews.csv", "--json", "--test-share", "0.5")
    assert done.returncode == 0
    assert json.loads(done.stdout)["class_counts"] == {"positive": 10, "negative": 10}
    assert re.search(r"20 reviews, 10 'yes' \(positive\)", done.stderr)
    refused = run("--dataset", "review.csv")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "error: there is no file review.csv\n"


@pytest.mark.real_data
def test_the_figures_of_the_tutorials(real_data_dir, capsys):
    arguments = ["--dataset", "imdb_reviews", "--data-dir", str(real_data_dir)]
    found = figures_of(capsys, *arguments)
    assert found["num_reviews"] == 50_000
    assert found["class_counts"] == {"positive": 25_000, "negative": 25_000}
    assert found["distinct_words"] == 88_585
    assert found["mean_length"] == pytest.approx(234.75892, abs=1e-9)
    assert found["std_length"] == pytest.approx(172.911495, abs=1e-6)
    assert figures_of(capsys, *arguments, "--num-words", "10000")["distinct_words"] == 9_998


def test_quiet_leaves_the_remarks_out(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    rows = "".join(f"joy {i},good\ndull {i},bad\n" for i in range(20))
    path.write_text(f"text,label\n{rows}nothing said of it,\n")
    for quiet in ([], ["--quiet"]):
        explore.explore(["--dataset", str(path), "--json", *quiet])
        remarks = capsys.readouterr().err
        assert bool(remarks) != bool(quiet)


def test_tables_and_reviews_name_the_classes_as_the_data_do(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text(
        "text,label\n" + "".join(f"joy {i},fresh\ndull {i},rotten\n" for i in range(20))
    )
    explore.explore(["--dataset", str(path), "--quiet", "--top", "1"])
    tables = capsys.readouterr().out
    assert re.search(r"^fresh +20 ", tables, re.MULTILINE)
    assert re.search(r"tied to rotten .*\nword +z +fresh +rotten\ndull ", tables)
    assert "itive" not in tables
    explore.explore(["--dataset", str(path), "--quiet", "--review", "0"])
    shown = capsys.readouterr().out
    assert ": fresh" in shown if "joy" in shown else ": rotten" in shown
