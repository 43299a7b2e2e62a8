"""What a run shows and writes: metrics and progress."""

import csv
import io
import struct
import sys
import time

import pytest

from imdb_jax import progress
from imdb_jax.errors import UserError
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
    assert reporting.format_epoch(ROWS[0], 10) == (
        "epoch 1/10  loss 0.3000  accuracy 0.5000  val_loss 0.6667  val_accuracy 0.2500  12.50 s"
    )


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
    monkeypatch.setenv("COLUMNS", "120")
    running = iter([Metrics(0.4321, 0.75)])  # waiting for the device, it is rarely asked
    with progress.epoch_bar("epoch 1/1", 3, lambda: next(running), True) as show:
        show(1)
        time.sleep(0.3)
        show(2)
        show(3)
    shown = terminal.getvalue()
    assert "epoch 1/1" in shown
    assert "3/3" in shown
    assert "loss 0.4321  accuracy 0.7500" in shown
