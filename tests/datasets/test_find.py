"""Which reviews are found, in which order, and what is said when there are none."""

import json
from pathlib import Path

import numpy as np
import pytest
from tfds_writer import prepare_tfds

from imdb_jax.config import DataOptions, replace
from imdb_jax.datasets import find, synthetic
from imdb_jax.datasets.find import absolute_paths
from imdb_jax.datasets.imdb import prepare as preparation
from imdb_jax.datasets.imdb import read
from imdb_jax.datasets.imdb.download import DownloadUnreachable
from imdb_jax.datasets.imdb.read import imdb_reviews
from imdb_jax.datasets.synthetic import synthetic_dataset
from imdb_jax.errors import UserError
from imdb_jax.pipeline.corpus import load_corpus
from imdb_jax.text.vocabulary import Vocabulary

SPLITS = ("train", "test")
NAMES = {
    "train": ["neg/1_1.txt", "pos/2_8.txt", "neg/0_3.txt", "pos/10_9.txt", "pos/1_7.txt"],
    "test": ["neg/0_2.txt", "pos/0_10.txt"],
}


def never(*_, **__):
    raise AssertionError("not to be called")


def find_dataset(name="auto", data_dir=None, report=list, **options):
    return find.find_dataset(replace(DataOptions(name, data_dir), **options), report)


@pytest.fixture
def prepared(monkeypatch):
    """A prepared directory of a few reviews, each of which says what it is called."""

    def read_split(data_dir, split):
        texts = [f"{split}/{name}".encode() for name in NAMES[split]]
        return texts, np.array([name.startswith("pos") for name in NAMES[split]], np.int8)

    monkeypatch.setattr(read, "is_prepared", lambda data_dir: True)
    monkeypatch.setattr(preparation, "prepare", never)
    monkeypatch.setattr(read, "read_split", read_split)
    monkeypatch.setattr(read, "read_file_names", lambda data_dir, split: NAMES[split])
    monkeypatch.setattr(read, "fingerprint", lambda data_dir: f"fingerprint of {data_dir}")


def test_reviews_with_file_names_come_in_the_order_of_keras(prepared, tmp_path):
    dataset = imdb_reviews(tmp_path)
    assert dataset.ties == "keras"
    train = dataset.read("train")
    # All positive reviews first; names compare as strings, so that 10 comes before 1 and 2.
    names = ["pos/10_9.txt", "pos/1_7.txt", "pos/2_8.txt", "neg/0_3.txt", "neg/1_1.txt"]
    assert train.texts == [f"train/{name}".encode() for name in names]
    assert train.labels.tolist() == [1, 1, 1, 0, 0]
    assert dataset.read("test").texts == [b"test/pos/0_10.txt", b"test/neg/0_2.txt"]


def test_reviews_without_file_names_come_as_they_stand(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(read, "read_file_names", lambda data_dir, split: None)
    dataset = imdb_reviews(tmp_path)
    assert dataset.ties == "alphabetical"
    train = dataset.read("train")
    assert train.texts == [f"train/{name}".encode() for name in NAMES["train"]]
    assert train.labels.tolist() == [0, 1, 0, 1, 1]
    assert train.labels.dtype == np.int8


@pytest.mark.parametrize("name", ["auto", "imdb_reviews"])
def test_prepared_reviews_are_taken_without_preparing_them(prepared, tmp_path, name):
    dataset = find_dataset(name, tmp_path, report=never)
    assert dataset.name == "imdb_reviews"
    assert dataset.fingerprint == f"fingerprint of {tmp_path}"


def test_the_default_directory_is_that_of_tfds(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert find_dataset().fingerprint == f"fingerprint of {tmp_path}"


def test_what_is_not_prepared_is_prepared_first(prepared, tmp_path, monkeypatch):
    calls = []

    def prepare(data_dir, archive, *, verify, report):
        calls.append((data_dir, archive, verify))
        report("prepared")

    monkeypatch.setattr(read, "is_prepared", lambda data_dir: False)
    monkeypatch.setattr(preparation, "prepare", prepare)
    lines = []
    archive = tmp_path / "archive"
    find_dataset("auto", tmp_path, report=lines.append)
    find_dataset("imdb_reviews", tmp_path, lines.append, archive=archive, allow_unverified=True)
    assert calls == [(tmp_path, None, True), (tmp_path, archive, False)]
    assert lines == ["prepared", "prepared"]


@pytest.fixture
def unreachable(monkeypatch):
    def prepare(*_, **__):
        raise DownloadUnreachable("http://reviews.invalid cannot be reached (no route to host)")

    monkeypatch.setattr(preparation, "prepare", prepare)


def test_auto_falls_back_to_the_synthetic_corpus_and_says_so(unreachable, tmp_path):
    lines = []
    dataset = find_dataset("auto", tmp_path, report=lines.append)
    assert dataset.name == "synthetic"
    assert dataset.fingerprint == synthetic_dataset().fingerprint
    assert 1 <= len(lines) <= 3
    assert not any("\n" in line for line in lines)
    said = " ".join(lines)
    for part in (str(tmp_path), "no route to host", "synthetic", "not comparable to IMDb's"):
        assert part in said


def test_imdb_reviews_does_not_fall_back(unreachable, tmp_path):
    with pytest.raises(UserError, match="no route to host"):
        find_dataset("imdb_reviews", tmp_path, report=never)


@pytest.mark.parametrize("name", ["auto", "imdb_reviews"])
def test_a_bad_archive_is_an_error_under_either_name(tmp_path, name):
    with pytest.raises(UserError, match=r"there is no file .*none\.tar\.gz"):
        find_dataset(name, tmp_path / "data", never, archive=tmp_path / "none.tar.gz")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("imdb_review", "imdb_reviews"), ("imdb-reviews", "imdb_reviews"), ("synthetc", "synthetic")],
)
def test_unknown_names_are_refused_naming_the_nearest(name, nearest):
    with pytest.raises(UserError, match=f"unknown data set '{name}'.*mean '{nearest}'") as caught:
        find_dataset(name)
    assert "choose from: auto, imdb_reviews, synthetic" in str(caught.value)


@pytest.mark.parametrize("name", ["", "Ж", "a b\nc"])
def test_names_like_none_are_refused_without_a_guess(name):
    with pytest.raises(UserError, match="unknown data set") as caught:
        find_dataset(name)
    assert "did you mean" not in str(caught.value)


# The synthetic corpus as a data set


def test_synthetic_reads_neither_disk_nor_network(monkeypatch):
    monkeypatch.setattr(read, "is_prepared", never)
    monkeypatch.setattr(preparation, "prepare", never)
    assert find_dataset("synthetic", report=never).name == "synthetic"


# Of the first 500 test reviews.
TEXTS = "c02a6317cd7431a4126d55ead4530bea80fca5d5906cfa660311e38c4752a568"


def test_the_fingerprint_of_the_synthetic_corpus_follows_from_its_texts(monkeypatch):
    """Not from the module that writes them, and NumPy's random numbers are among its causes."""
    synthetic._digest.cache_clear()
    monkeypatch.setattr(synthetic, "__file__", "moved.py")
    before = synthetic_dataset().fingerprint
    assert before.startswith(f"content:{TEXTS} ")
    synthetic._digest.cache_clear()
    generator = np.random.PCG64
    monkeypatch.setattr(np.random, "PCG64", lambda seed: generator([*np.atleast_1d(seed), 1]))
    assert synthetic_dataset().fingerprint != before
    synthetic._digest.cache_clear()


def test_synthetic_sizes_are_part_of_the_fingerprint():
    sizes = [(None, None), (10, None), (None, 10), (10, 10)]
    datasets = [synthetic_dataset(*size) for size in sizes]
    assert len({dataset.fingerprint for dataset in datasets}) == len(sizes)
    assert len(datasets[3].read("train").texts) == len(datasets[3].read("test").labels) == 10


def test_synthetic_splits_share_words_but_no_review(small_synthetic):
    train, test = small_synthetic.read("train"), small_synthetic.read("test")
    assert not set(train.texts) & set(test.texts)
    known = Vocabulary.build(train.texts)
    assert sum(word in known for word in Vocabulary.build(test.texts).words) > 100
    for reviews in (train, test):
        assert reviews.labels.dtype == np.int8
        assert set(reviews.labels.tolist()) == {0, 1}


@pytest.mark.real_data
def test_real_reviews_are_all_there(real_data_dir):
    dataset = find_dataset("imdb_reviews", real_data_dir, report=never)
    for split in ("train", "test"):
        reviews = dataset.read(split)
        assert len(reviews.texts) == len(reviews.labels) == 25_000
        assert reviews.labels.sum() == 12_500


# Data of one's own


def write_reviews(path, number=50, labels=("neg", "pos"), first=0):
    """Reviews each of which has a word of its own, half of them of either label."""
    rows = [f"word{n} shared,{labels[n % 2]}\n" for n in range(first, first + number)]
    path.write_text("".join(["review,sentiment\n", *rows]))
    return path


def own_words(dataset, split):
    return {text.split()[0] for text in dataset.read(split).texts}


@pytest.fixture
def own(tmp_path):
    return write_reviews(tmp_path / "reviews.csv")


def test_a_fifth_of_a_file_becomes_the_test_split(own):
    lines = []
    dataset = find_dataset(str(own), report=lines.append)
    assert (dataset.name, dataset.ties) == ("reviews.csv", "alphabetical")
    assert dataset.test_is_share
    assert dataset.fixed_split
    train, test = own_words(dataset, "train"), own_words(dataset, "test")
    assert (len(train), len(test)) == (40, 10)
    assert train | test == {f"word{n}" for n in range(50)}
    for split in ("train", "test"):
        reviews = dataset.read(split)
        assert reviews.labels.dtype == np.int8
        expected = [int(text.split()[0][4:]) % 2 for text in reviews.texts]
        assert reviews.labels.tolist() == expected
    assert lines == [
        f"{own}: 50 reviews, 25 'pos' (positive) and 25 'neg' (negative)",
        "reviews.csv: 10 of the reviews become the test split",
    ]


@pytest.mark.parametrize("rows", [slice(None), slice(7, 21), slice(30, None), slice(5, 5)], ids=str)
def test_a_range_of_reviews_can_be_read_alone(own, rows):
    """As every machine of several does."""
    for split in SPLITS:
        whole = find_dataset(str(own)).read(split)
        part = whole[rows]
        assert [*part.texts] == [*whole.texts][rows] == [*part.texts]
        assert len(part.texts) == len(part.labels)
        assert part.labels.tolist() == whole.labels[rows].tolist()
        assert [*part[1:3].texts] == [*part.texts][1:3]
        assert [part.texts[row] for row in range(len(part.texts))] == [*part.texts]


def test_the_texts_of_a_file_are_not_kept(own):
    """Of a file that grows beyond memory they could not be."""
    texts = find_dataset(str(own)).read("train").texts
    first, again = next(iter(texts)), next(iter(texts))
    assert first == again
    assert first is not again


def test_no_word_of_test_reviews_is_counted(own):
    dataset = find_dataset(str(own), test_share=0.5)
    corpus = load_corpus(dataset)
    tested = own_words(dataset, "test")
    assert len(tested) == 25
    assert not tested & set(corpus.vocabulary.words)
    assert set(corpus.vocabulary.words) == own_words(dataset, "train") | {"shared"}


def test_the_order_of_the_rows_and_the_format_do_not_matter(own, tmp_path):
    split = {name: own_words(find_dataset(str(own)), name) for name in SPLITS}
    header, *rows = own.read_text().splitlines()
    own.write_text("\n".join([header, *rows[::-1]]))
    records = [dict(zip(("text", "label"), row.split(","), strict=True)) for row in rows]
    other = tmp_path / "reviews.jsonl"
    other.write_text("\n".join(map(json.dumps, records)))
    for path in (own, other):
        for name in SPLITS:
            assert own_words(find_dataset(str(path)), name) == split[name]


def test_the_same_text_is_on_one_side_only(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\n" + "same,1\nsame,0\n" * 10 + "other,1\nlast,0\n")
    dataset = find_dataset(str(path))
    assert not own_words(dataset, "train") & own_words(dataset, "test")


def test_a_test_file_is_tested_on_whole(own, tmp_path):
    test = write_reviews(tmp_path / "test.csv", 6, first=47)
    lines = []
    dataset = find_dataset(str(own), report=lines.append, test=test, test_share=0.2)
    assert dataset.fixed_split
    assert not dataset.test_is_share
    assert own_words(dataset, "train") == {f"word{n}" for n in range(50)}
    assert own_words(dataset, "test") == {f"word{n}" for n in range(47, 53)}
    assert f"{test}: 3 of its texts are also training reviews" in lines


def test_the_fingerprint_of_a_file_is_of_its_content_and_of_what_is_read(own, tmp_path):
    def fingerprint(path, **layout):
        return find_dataset(str(path), **layout).fingerprint

    first = fingerprint(own)
    moved = write_reviews(tmp_path / "moved.csv")
    assert fingerprint(moved) == first
    assert fingerprint(own, text_column="review", label_column="sentiment") == first
    assert fingerprint(own, positive="pos", test_share=0.2) == first
    test = write_reviews(tmp_path / "test.csv", 4, first=90)
    others = [fingerprint(own, test_share=0.3), fingerprint(own, positive="neg")]
    others += [fingerprint(own, test=test)]
    assert fingerprint(own, test=test, test_share=0.3) == others[-1]
    write_reviews(test, 6, first=90)
    others += [fingerprint(own, test=test)]
    write_reviews(own, 52)
    others += [fingerprint(own)]
    assert len({first, *others}) == 6


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (("Rotten", "Fresh"), ("Rotten", "Fresh")),
        (("0", "1"), ("negative", "positive")),
        (("1", "5"), ("1", "5")),
    ],
)
def test_the_names_of_labels_are_kept(tmp_path, labels, names):
    path = write_reviews(tmp_path / "reviews.csv", labels=labels)
    lines = []
    assert find_dataset(str(path), report=lines.append).label_names == names
    assert lines[0].endswith(f"25 {labels[1]!r} (positive) and 25 {labels[0]!r} (negative)")


def test_a_column_of_ratings_becomes_two_classes(tmp_path):
    path = tmp_path / "reviews.csv"
    rows = [f"word{n},{n % 10 + 1}\n" for n in range(60)]
    path.write_text("".join(["text,stars\n", *rows]))
    layout = {"label_column": "stars", "positive_from": 7.0, "test_share": 0.5}

    def ratings(label, **more):
        dataset = find_dataset(str(path), **layout, **more)
        reviews = [dataset.read(split) for split in SPLITS]
        pairs = [pair for part in reviews for pair in zip(part.texts, part.labels, strict=True)]
        assert len({text for text, _ in pairs}) == len(pairs)
        found = {int(text[4:]) % 10 + 1 for text, given in pairs if given == label}
        return dataset.label_names[label], found

    assert ratings(1) == ratings(1, negative_to=4.0) == ("stars >= 7", {7, 8, 9, 10})
    assert ratings(0) == ("stars < 7", {1, 2, 3, 4, 5, 6})
    assert ratings(0, negative_to=4.0) == ("stars <= 4", {1, 2, 3, 4})
    for changes, missing in (({"positive_from": 11.0}, ">= 11"), ({"negative_to": 0.5}, "<= 0.5")):
        with pytest.raises(UserError, match=f"reviews.csv has no row with stars {missing}"):
            find_dataset(str(path), **layout | changes)


def test_rows_that_cannot_be_used_are_reported(own):
    own.write_text(own.read_text() + "no label,\n,pos\nfields,pos,neg\n")
    lines = []
    dataset = find_dataset(str(own), report=lines.append)
    assert lines[0] == (
        f"{own}: 3 of 53 rows cannot be used: 1 with no label (line 52); 1 with no text (line 53); "
        "1 with more or fewer fields than the header (line 54)"
    )
    assert sum(len(dataset.read(split).texts) for split in SPLITS) == 50


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("text,label\n", "reviews.csv has no rows"),
        ("text,label\n,1\na,\n", "2 of 2 rows cannot be used"),
        ("text,label\na,1\nb,1\n", r"reviews.csv must have two labels, not 1: '1' \(2\)"),
        ("text,label\na,1\nb,0\nc,2\n", "reviews.csv must have two labels, not 3"),
        ("text,label\na,1\na,0\n", "too few reviews"),
        (
            "words,label\na,1\n",
            "no column 'text' among words, label; choose one with --text-column",
        ),
        (
            "text,stars\na,1\n",
            "no column 'label' among text, stars; choose one with --label-column",
        ),
        ("", "is empty"),
    ],
)
def test_files_that_cannot_be_learned_from(tmp_path, content, match):
    path = tmp_path / "reviews.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=match):
        find_dataset(str(path))


def test_files_that_do_not_go_together(own, tmp_path):
    def refuse(match, **layout):
        with pytest.raises(UserError, match=match):
            find_dataset(str(own), **layout)

    refuse("--test must name another file", test=own)
    refuse("there is no file", test=tmp_path / "none.csv")
    refuse(
        "must have two labels, not 3",
        test=write_reviews(tmp_path / "other.csv", 2, ("good", "pos")),
    )
    other = tmp_path / "columns.csv"
    other.write_text("text,label\na,pos\n")
    refuse(r"columns\.csv: unknown column 'review'", test=other)
    refuse("'review' cannot be both text and label", label_column="review")


@pytest.mark.parametrize("name", ["auto", "imdb_reviews", "synthetic"])
@pytest.mark.parametrize(
    ("layout", "option"),
    [
        ({"test": Path("test.csv")}, "--test"),
        ({"text_column": "a"}, "--text-column"),
        ({"label_column": "a"}, "--label-column"),
        ({"positive": "a"}, "--positive"),
        ({"positive_from": 0.0}, "--positive-from"),
    ],
)
def test_options_for_data_of_ones_own_are_refused_with_other_data(name, layout, option):
    with pytest.raises(UserError, match=f"{option} does not apply to --dataset {name}"):
        find_dataset(name, report=never, **layout)


@pytest.mark.parametrize(
    ("name", "match"),
    [("none.csv", "no file none.csv"), (".", "is a directory"), (__file__, "must end in one of")],
)
def test_what_is_no_table(name, match):
    with pytest.raises(UserError, match=match):
        find_dataset(name, report=never)


def test_paths_are_made_absolute_and_names_left_alone(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = DataOptions(dataset="a.csv", test=Path("b.csv"), data_dir=Path("data"))
    found = absolute_paths(options)
    assert found.dataset == str(tmp_path / "a.csv")
    assert (found.test, found.data_dir) == (tmp_path / "b.csv", tmp_path / "data")
    for name in ("auto", "imdb_reviews", "glue/sst2"):
        assert absolute_paths(DataOptions(dataset=name)) == DataOptions(dataset=name)


def test_a_model_is_trained_on_a_file_of_ones_own(own, tmp_path, monkeypatch, capsys):
    from imdb_jax.config import load_config
    from imdb_jax.runs.data import load_data_for
    from imdb_jax.train import train

    monkeypatch.chdir(tmp_path)
    arguments = "--arch pooled --dataset reviews.csv --test-share 0.4 --num-words 50 --max-length 4"
    arguments += " --epochs 1 --validation 0 --batch-size 30 --quiet --workdir run"
    train(arguments.split())
    out, err = capsys.readouterr()
    assert out.startswith("test accuracy 0.")
    assert "synthetic" not in out
    assert "20 of the reviews become the test split" in err
    # From another directory the run finds the same reviews, and does not merge them again.
    monkeypatch.chdir(tmp_path / "run")
    data = load_data_for(load_config(tmp_path / "run" / "config.toml"), report=lambda line: None)
    assert data.dataset == "reviews.csv"
    assert (len(data.splits.train), len(data.splits.test)) == (30, 20)


# Other data sets of TFDS

TFDS_SPLITS = {
    "train": [(f"good {n}", 1) for n in range(6)] + [(f"bad {n}", 0) for n in range(6)],
    "validation": [("fine", 1), ("dull", 0)],
    "test": [("hidden", -1), ("hidden too", -1)],
}


def tfds_splits(directory, splits, **layout):
    lines = []
    prepare_tfds(directory, "glue", "sst2", splits, "sentence")
    dataset = find_dataset("glue/sst2", directory, lines.append, **layout)
    read = {}
    for split in SPLITS:
        reviews = dataset.read(split)
        read[split] = dict(zip(map(bytes.decode, reviews.texts), reviews.labels, strict=True))
    return dataset, read, lines


def test_validation_is_tested_on_where_the_test_labels_are_hidden(tmp_path):
    dataset, read, lines = tfds_splits(tmp_path, TFDS_SPLITS)
    assert dataset.name == "glue/sst2"
    assert not dataset.fixed_split
    assert read == {"train": dict(TFDS_SPLITS["train"]), "test": dict(TFDS_SPLITS["validation"])}
    assert lines[0] == (
        "glue/sst2: the test labels are hidden; the validation split becomes the test split"
    )
    assert load_corpus(dataset).name == "glue/sst2"


def test_a_test_split_with_labels_is_tested_on(tmp_path):
    splits = {**TFDS_SPLITS, "test": [("seen", 1), ("hidden", -1)]}
    _, read, lines = tfds_splits(tmp_path, splits, positive="negative")
    assert read["test"] == {"seen": 0}
    assert read["train"]["bad 0"] == 1
    unusable = "glue/sst2 test: 1 of 2 rows cannot be used: 1 with no label (line "
    assert any(line.startswith(unusable) for line in lines)


def test_a_share_is_tested_on_where_there_is_only_a_training_split(tmp_path):
    dataset, read, lines = tfds_splits(tmp_path, {"train": TFDS_SPLITS["train"]}, test_share=0.25)
    assert dataset.test_is_share
    assert (len(read["train"]), len(read["test"])) == (9, 3)
    assert {**read["train"], **read["test"]} == dict(TFDS_SPLITS["train"])
    assert lines[0] == (
        "glue/sst2: there is no test split; a share of the training reviews becomes the test split"
    )


def test_tfds_mistakes_are_named(tmp_path):
    prepare_tfds(tmp_path, "glue", "sst2", {"validation": TFDS_SPLITS["validation"]}, "sentence")

    def refuse(match, name="glue/sst2", **layout):
        with pytest.raises(UserError, match=match) as caught:
            find_dataset(name, tmp_path, never, **layout)
        assert "\n" not in str(caught.value)

    refuse("has no split 'train', only validation")
    refuse("unknown column 'sentense'.*did you mean 'sentence'", text_column="sentense")
    refuse("--test does not apply to --dataset glue/sst2", test=Path("a.csv"))
    refuse("did you mean 'glue/sst2'", "glue/sst")
    refuse(f"tfds build yelp --file_format array_record --data_dir {tmp_path}", "yelp")
