"""What a run shows and writes: metrics and progress."""

import csv
import errno
import io
import re
import struct
import sys
import time
import types

import jax
import numpy as np
import pytest
from small_models import SMALL

from imdb_jax import progress
from imdb_jax.errors import UserError
from imdb_jax.models import create_model
from imdb_jax.runs import reporting
from imdb_jax.training.history import Epoch
from imdb_jax.training.step import Metrics

ROWS = [Epoch(1, 0.1 + 0.2, 0.5, 2 / 3, 0.25, 12.5), Epoch(2, 1e-9, 1.0, 3e5, 0.0, 0.004)]


def test_metrics_file_holds_a_header_and_every_digit(tmp_path):
    reporting.write_metrics(tmp_path / "metrics.csv", ROWS)
    content = (tmp_path / "metrics.csv").read_bytes()
    assert content.startswith(b"epoch,loss,accuracy,val_loss,val_accuracy,seconds\n1,0.3000000000")
    rows = list(csv.reader(io.StringIO(content.decode())))[1:]
    assert [Epoch(int(row[0]), *map(float, row[1:])) for row in rows] == ROWS


def test_metrics_file_is_replaced_as_a_whole(tmp_path):
    for count in (2, 1, 0):
        reporting.write_metrics(tmp_path / "metrics.csv", ROWS[:count])
        assert len((tmp_path / "metrics.csv").read_text().splitlines()) == count + 1
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_line_of_an_epoch():
    line = "epoch 1/10  loss 0.3000  acc 0.5000  val_loss 0.6667  val_acc 0.2500  12.50 s"
    assert reporting.format_epoch(ROWS[0], 10) == line
    assert len(reporting.format_epoch(Epoch(100, *ROWS[0][1:5], 3600.123), 100)) <= 80


def size_of(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def table_of(arch, monkeypatch, columns, **fields):
    """A model's table of layers, its shapes of parameters, and the outputs of its submodules."""
    monkeypatch.setenv("COLUMNS", str(columns))
    model, ids = create_model(arch, 50, SMALL[arch] | fields), np.zeros((1, 12), np.int32)
    examples = types.SimpleNamespace(batch_ids=lambda rows: ids)
    variables, outputs = jax.eval_shape(
        lambda key: (
            variables := model.init(key, ids),
            model.apply(variables, ids, capture_intermediates=True)[1]["intermediates"],
        ),
        jax.random.key(0),
    )
    return reporting.layer_table(model, examples), variables["params"], outputs


@pytest.mark.parametrize(
    ("arch", "fields", "kinds"),
    [
        ("mlp", {}, "Dense Dropout Dense Dense"),
        ("mlp", {"hidden": (), "dropout": ()}, "Dense"),
        ("embedding_mlp", {}, "Embedding Flatten Dense Dense"),
        ("cnn", {}, "Embedding Conv1D MaxPooling1D Flatten Dense Dense"),
        ("cnn", {"pool_size": 5, "hidden": 0}, "Embedding Conv1D MaxPooling1D Flatten Dense"),
        ("cnn_global", {"pool_size": 0}, "Embedding Conv1D MaxPooling1D Flatten Dense"),
        ("pooled", {"hidden": 0}, "Embedding GlobalAveragePooling1D Dense"),
        ("lstm", {}, "Embedding LSTM Dense"),
        ("ngram", {}, "LogRatio, Dense"),
    ],
)
def test_table_has_a_row_per_layer_with_its_shape_and_parameters(monkeypatch, arch, fields, kinds):
    lines, params, outputs = table_of(arch, monkeypatch, 80, **fields)
    rows = [re.split("  +", line.strip()) for line in lines if "─" not in line]
    assert [row[0].split(" ")[0] for row in rows[1:-1]] == kinds.split()
    sizes = [int(row[-1].replace(",", "")) for row in rows[1:]]
    assert sum(sizes[:-1]) == sizes[-1] == size_of(params)
    for row, (name, shape, size) in enumerate(rows[1:-1], 1):
        _, _, module = name.rstrip(")").partition("(")
        if module in params:
            assert int(size.replace(",", "")) == size_of(params[module])
        if module in outputs:
            (output,) = outputs[module]["__call__"]
            if name.startswith("Conv1D"):  # the module pools, too
                shape = rows[row + 1][1]
            assert shape == str(("batch", *output.shape[1:])).replace("'", "")
    # What a layer gives is what the next one takes.
    if "Flatten" in kinds:
        flat = next(row[1] for row in rows if row[0] == "Flatten")
        assert flat == f"(batch, {params['Dense_0']['kernel'].shape[0]})"
    assert max(map(len, lines)) <= 80


def test_a_narrow_terminal_cuts_cells_and_breaks_no_line(monkeypatch):
    wide, narrow = (table_of("cnn", monkeypatch, width)[0] for width in (80, 30))
    assert len(narrow) == len(wide)
    assert max(map(len, narrow)) <= 30


def test_a_notebook_gets_the_same_lines_and_nothing_besides(monkeypatch):
    lines = table_of("cnn", monkeypatch, 80)[0]
    # What ipykernel sets, and how rich finds a notebook.
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    displayed = []
    monkeypatch.setattr("rich.jupyter.display", lambda *shown: displayed.append(shown))
    assert table_of("cnn", monkeypatch, 80)[0] == lines
    assert not displayed


def events(directory):
    """Tag and step of each scalar in the event files, with its value."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for file in sorted(directory.iterdir()):
        data = file.read_bytes()
        while data:  # length, its checksum, an event, its checksum
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
    return found


def test_tensorboard_gets_every_figure(tmp_path):
    pytest.importorskip("tensorboardX")
    for row in ROWS:  # the second as by a run that was resumed
        with reporting.tensorboard_log(tmp_path / "tensorboard", row.epoch) as log:
            log(row)
    assert events(tmp_path / "tensorboard") == {
        (tag, row.epoch): pytest.approx(value)
        for row in ROWS
        for tag, value in {
            "loss/training": row.loss,
            "loss/validation": row.val_loss,
            "accuracy/training": row.accuracy,
            "accuracy/validation": row.val_accuracy,
            "seconds": row.seconds,
        }.items()
    }


@pytest.mark.parametrize("ended_by", [None, UserError("something else")])
def test_tensorboard_log_that_cannot_be_written_is_named(tmp_path, monkeypatch, ended_by):
    writer = pytest.importorskip("tensorboardX").SummaryWriter
    close = writer.close

    def full(self):
        close(self)  # else its threads go on, and write their errors into other tests
        raise OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr(writer, "close", full)

    def train():
        with reporting.tensorboard_log(tmp_path, 1):
            if ended_by:
                raise ended_by

    with pytest.raises(UserError) as caught:
        train()
    assert str(caught.value) == str(
        ended_by or f"the log {tmp_path} cannot be written: No space left"
    )


def test_tensorboard_is_not_needed_where_it_is_not_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with reporting.tensorboard_log(None, 1) as log:
        log(ROWS[0])
    with pytest.raises(UserError, match=r"tensorboardX is not installed; .*imdb_jax\[tensorboard"):
        reporting.summary_writer_class()


def test_note_goes_to_standard_error(capsys):
    progress.note("careful")
    assert capsys.readouterr() == ("", "careful\n")


@pytest.mark.parametrize(("terminal", "visible"), [(False, True), (True, False)])
def test_no_bar_unless_wanted_and_on_a_terminal(capsys, monkeypatch, terminal, visible):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with progress.epoch_bar("epoch 1/1", 3, pytest.fail, visible) as show:
        for done in range(3):
            show(done)
    assert capsys.readouterr() == ("", "")


def test_bar_on_a_terminal_shows_progress_and_the_metrics_so_far(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    running = iter([Metrics(0.4321, 0.75)])  # waiting for the device, it is rarely asked
    with progress.epoch_bar("epoch 100/100", 1563, lambda: next(running), True) as show:
        show(1)
        time.sleep(0.3)
        show(2)
        show(1563)
        time.sleep(0.15)  # it is drawn ten times a second
        show(1563, 7, 10)
    shown = re.sub(r"\x1b\[[\d;?]*\w", "", terminal.getvalue())
    assert re.search(r"epoch 100/100 \S+ 1563/1563 \S+ loss 0\.4321  acc 0\.7500", shown)
    assert re.search(r"epoch 100/100 \S+ +7/10 \S+ validation", shown)
    assert max(map(len, re.split(r"[\r\n]+", shown))) <= 80
