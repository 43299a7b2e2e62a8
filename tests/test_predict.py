"""The command that predicts: what it reads, what it prints, what it refuses."""

import csv
import dataclasses
import io
import json
import re
import sys

import pytest
from models_to_read import small

from imdb_jax import predict
from imdb_jax.datasets import tables
from imdb_jax.errors import UserError
from imdb_jax.inference import classifier

TEXTS = ["the film is good", "", "bad \x1b[31m 😀 heard", "it's very bad"]


@pytest.fixture(autouse=True)
def _no_run_needed(monkeypatch):
    monkeypatch.setattr(classifier, "load", lambda path: small())


def command(capsys, *arguments, stdin=None, terminal=False):
    """What the command prints, on standard output and standard error."""
    with pytest.MonkeyPatch.context() as patch:
        if stdin is not None:
            stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin)), encoding="ascii")
            stream.isatty = lambda: terminal
            patch.setattr(sys, "stdin", stream)
        predict.predict(["run", *map(str, arguments)])
    return capsys.readouterr()


def expected():
    return list(small().stream(TEXTS))


def as_lines(texts):
    return "".join(f"{text}\n" for text in texts).encode()


def test_jsonl_has_an_object_per_text_in_order(capsys):
    for given in ({"stdin": as_lines(TEXTS)}, {}):
        arguments = () if given else TEXTS
        out, errors = command(capsys, "--format", "jsonl", "--", *arguments, **given)
        assert [json.loads(line) for line in out.splitlines()] == [
            {"text": text, **prediction._asdict()}
            for text, prediction in zip(TEXTS, expected(), strict=True)
        ]
        assert errors == ""


def test_csv_has_a_header_and_a_row_per_text(capsys):
    out, _ = command(capsys, "--format", "csv", stdin=as_lines(TEXTS))
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["text"] for row in rows] == TEXTS
    assert [float(row["probability"]) for row in rows] == [p.probability for p in expected()]
    assert [row["label"] for row in rows] == [p.label or "" for p in expected()]
    assert [float(row["unknown_share"]) for row in rows] == [p.unknown_share for p in expected()]


def test_labels_are_what_the_training_data_call_them(capsys, monkeypatch):
    names = ("bad, or worse", 'very "good", indeed')
    named = dataclasses.replace(small(), label_names=names)
    monkeypatch.setattr(classifier, "load", lambda path: named)
    labels = [
        names[p.probability > 0.5] if text else ""
        for text, p in zip(TEXTS, expected(), strict=True)
    ]
    out, _ = command(capsys, "--format", "csv", stdin=as_lines(TEXTS))
    assert [row["label"] for row in csv.DictReader(io.StringIO(out))] == labels
    out, _ = command(capsys, "--format", "jsonl", stdin=as_lines(TEXTS))
    assert [json.loads(line)["label"] or "" for line in out.splitlines()] == labels
    monkeypatch.setenv("COLUMNS", "70")
    lines = command(capsys, *TEXTS, "good " * 50).out.splitlines()
    assert all(line[8:].startswith(label) for line, label in zip(lines, labels, strict=False))
    assert "no known word" in lines.pop(1)
    assert len({line.index("% unknown") for line in lines}) == 1
    assert all(len(line) < 70 for line in lines)


def test_table_shows_the_beginning_of_each_text(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    out, _ = command(capsys, *TEXTS, "good " * 50)
    lines = out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith(f"{expected()[0].probability:.4f}  ")
    assert lines[0].endswith("0% unknown  the film is good")
    assert lines[2].endswith(" 80% unknown  bad \\x1b[31m 😀 heard")
    assert lines[4].endswith("good good g…")
    assert all(len(line) < 60 for line in lines)


@pytest.mark.parametrize(
    ("data", "number"), [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\r\nb\x01\rc\n\n", 3), (b"\xff", 1)]
)
def test_every_line_is_a_text(capsys, data, number):
    texts = list(predict.read_lines(io.BufferedReader(io.BytesIO(data)), "data"))
    assert len(texts) == number
    assert b"\n".join([*texts, b""]).replace(b"\n", b"") == re.sub(rb"\r?\n", b"", data)
    out, _ = command(capsys, "--format", "jsonl", stdin=data)
    assert len(out.splitlines()) == number


def test_files(capsys, tmp_path):
    plain = tmp_path / "reviews.txt"
    plain.write_bytes(as_lines(TEXTS) + b"\xe9\x01\n")
    table = tmp_path / "reviews.tsv"
    table.write_text("stars\tcomment\n5\tthe film is good\n3\tbad\n")
    rows = tmp_path / "reviews.jsonl"
    rows.write_text('{"text": "the film is good"}\n')
    first = {"text": TEXTS[0], **expected()[0]._asdict()}
    for file, number, line in (
        ([plain], 5, {}),
        ([table, "--column", "comment"], 2, {"line": 2}),
        ([table, "--text-column", "comment"], 2, {"line": 2}),
        ([rows], 1, {"line": 1}),
    ):
        out, _ = command(capsys, "--format", "jsonl", "--file", *file)
        assert json.loads(out.splitlines()[0]) == {**line, **first}
        assert len(out.splitlines()) == number


def test_a_row_keeps_what_its_file_says(capsys, tmp_path):
    """Line ends and quotes in texts, lines as error messages count them, a column called label."""
    table = tmp_path / "reviews.csv"
    table.write_bytes(b'stars,text,label\n5,"good ""film""\r\nis bad",+\n\n3,caf\xe9,-\n2,,-\n')
    texts = ['good "film"\r\nis bad', "caf\ufffd", ""]
    found = list(small().stream(texts))
    labels = [prediction.label or "" for prediction in found]
    out, _ = command(capsys, "--format", "csv", "--file", table)
    header, *rows = csv.reader(io.StringIO(out, newline=""))
    assert header == ["line", "text", "probability", "label", "unknown_share"]
    assert [row[:2] for row in rows] == [["2", texts[0]], ["5", texts[1]], ["6", ""]]
    assert [row[3] for row in rows] == labels

    out, _ = command(capsys, "--format", "csv", "--file", table, "--keep-columns")
    header, *rows = csv.reader(io.StringIO(out, newline=""))
    own = ["probability", "predicted_label", "unknown_share"]
    assert header == ["stars", "text", "label", *own]
    assert [row[:3] for row in rows] == [["5", texts[0], "+"], ["3", texts[1], "-"], ["2", "", "-"]]
    assert [row[4] for row in rows] == labels
    assert [float(row[3]) for row in rows] == pytest.approx([p.probability for p in found])

    lines = tmp_path / "reviews.jsonl"
    record = {"probability": None, "id": 7, "text": "bad", "meta": {"is": [True]}}
    lines.write_text(json.dumps(record))
    for more in ([], ["--explain"]):
        given = ["--format", "jsonl", "--file", lines, "--keep-columns", *more]
        read = json.loads(command(capsys, *given).out)
        assert list(read.items())[:4] == list(record.items())
        assert read["predicted_probability"] == pytest.approx(small().predict("bad")[0])

    table.write_text("text,a,a\ngood,1,2\n")
    with pytest.raises(UserError, match="two columns 'a'"):
        command(capsys, "--format", "csv", "--file", table, "--keep-columns")


@pytest.mark.parametrize("text", ["", "zzxq heard", "?!"])
def test_a_text_without_a_known_word_has_no_label(capsys, text):
    out, _ = command(capsys, "--", text)
    assert "no known word" in out
    assert not re.search("positive|negative|%", out)
    out, _ = command(capsys, "--format", "csv", "--", text)
    (row,) = csv.DictReader(io.StringIO(out))
    assert (row["label"], row["unknown_share"]) == ("", "1.0")
    out, _ = command(capsys, "--format", "jsonl", "--", text)
    assert json.loads(out)["label"] is None


def test_terminal_is_answered_line_by_line(capsys):
    """Each answer is out before the next line is asked for."""
    answers = []

    class Typing(io.BytesIO):
        def peek(self, size):
            return self.getvalue()[:size]

        def readline(self, *arguments):
            answers.append(sys.stdout.getvalue().count("unknown"))
            return super().readline(*arguments)

        __iter__ = None

    class Terminal(io.TextIOWrapper):
        def isatty(self):
            return True

    for quiet in ([], ["--quiet"]):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", Terminal(Typing(b"good\nbad\n")))
            out, errors = io.StringIO(), io.StringIO()
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", errors)
            predict.predict(["run", *quiet])
        assert answers == [0, 1, 2]
        assert ("Ctrl-D" in errors.getvalue()) is not bool(quiet)
        answers.clear()


def test_explanations(capsys, tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    out, _ = command(capsys, "--format", "jsonl", "--html", page, stdin=as_lines(TEXTS))
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["probability"] for line in lines] == [p.probability for p in expected()]
    assert [word for word, _ in lines[3]["words"]] == ["it's", "very", "bad"]
    assert lines[1]["words"] == lines[1]["unread"] == []
    assert lines[2]["unread"] == [1, 2, 3, 4]
    assert all(
        (weight == 0) == (i in lines[2]["unread"])
        for i, (_, weight) in enumerate(lines[2]["words"])
    )
    assert page.read_text(encoding="utf-8").count("<h2>") == 4

    monkeypatch.delenv("FORCE_COLOR", raising=False)
    out, _ = command(capsys, "--explain", "good heard")
    assert "\x1b" not in out
    assert "not read: heard" in out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out, _ = command(capsys, "--explain", "good heard")
    assert "\x1b[" in out
    monkeypatch.setenv("NO_COLOR", "1")
    out, _ = command(capsys, "--explain", "good heard")
    assert out.splitlines()[1] == "good \x1b[2;9mheard\x1b[0m "  # the words, without a color


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("good film\n".encode("utf-16"), "not a text file in UTF-8"),
        ("好电影".encode("utf-16"), "not a text file in UTF-8"),
        (b"PAR1\x00\x01", "not a text file in UTF-8"),
        (b"good\n" + b"x" * 40, "line 2: longer than 30"),
    ],
)
def test_what_is_no_text_is_refused(capsys, tmp_path, monkeypatch, data, problem):
    monkeypatch.setattr(tables, "_LONGEST", 30)
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(UserError, match=rf"file.* {problem}"):
        command(capsys, "--file", tmp_path / "file")
    with pytest.raises(UserError, match=rf"standard input.* {problem}"):
        command(capsys, stdin=data)


def test_a_byte_order_mark_is_no_word(capsys):
    data = "\ufeffgood".encode()
    assert command(capsys, "--format", "csv", stdin=data) == command(
        capsys, "--format", "csv", "good"
    )


def test_a_page_that_cannot_be_written(capsys, tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*page\.html: No such file"):
        command(capsys, "--html", tmp_path / "absent" / "page.html", "good")


def mistake(capsys, monkeypatch, *arguments):
    """The one line that the command prints before it exits with status 2."""
    monkeypatch.setattr(sys, "argv", ["imdb-jax-predict", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        predict.main()
    assert stop.value.code == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: .+\n", errors)
    return errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "RUN"),
        ("run --formt csv", "--format"),
        ("run --format xml", "xml"),
        ("run good --file reviews.csv", "not both"),
        ("run --column text", "--file"),
        ("run good --format csv --explain", "--format table or jsonl"),
        ("run --file absent.csv", "absent.csv"),
        ("run --file absent", "absent"),
        ("run --file absent.txt --column text", "no columns"),
        ("run --file absent.csv --keep-columns", "--format csv or jsonl"),
        ("run good --keep-columns --format csv", "--file"),
        ("run --file absent.txt --keep-columns --format csv", "no columns"),
    ],
)
def test_mistakes_take_one_line(capsys, monkeypatch, arguments, message):
    assert message in mistake(capsys, monkeypatch, *arguments.split())


def test_run_that_is_not_there(capsys, monkeypatch, tmp_path):
    monkeypatch.undo()
    assert "not a run directory" in mistake(capsys, monkeypatch, tmp_path, "good")
    monkeypatch.setattr(sys, "stdin", None)
    assert "no standard input" in mistake(capsys, monkeypatch, tmp_path)
