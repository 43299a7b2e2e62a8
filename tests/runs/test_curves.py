"""The picture of a run: its curves, the epoch kept, and axes that suit few epochs."""

import struct
import sys
import zlib

import numpy as np
import pytest

from imdb_jax.runs import curves
from imdb_jax.training.history import Epoch

ROWS = [Epoch(1, 0.1 + 0.2, 0.5, 2 / 3, 0.25, 12.5), Epoch(2, 1e-9, 1.0, 3e5, 0.0, 0.004)]


def read_png(data):
    """Width, height and decompressed size of a PNG, every checksum verified."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    position, chunks = 8, {}
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        body = data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack(">I", data[position + 8 + length : position + 12 + length])
        assert checksum == zlib.crc32(kind + body)
        chunks[kind] = chunks.get(kind, b"") + body
        position += 12 + length
    assert b"IEND" in chunks
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    return width, height, zlib.decompress(chunks[b"IDAT"])


def test_plot_is_a_picture_and_leaves_no_global_figure(tmp_path):
    before = set(sys.modules)
    curves.plot_history(tmp_path / "history.png", ROWS, "a title", "validation", 2)
    assert "matplotlib.pyplot" not in set(sys.modules) - before
    width, height, pixels = read_png((tmp_path / "history.png").read_bytes())
    assert (width, height) == (1080, 432)
    shades = np.frombuffer(pixels, np.uint8)
    assert len(np.unique(shades)) > 20  # lines and letters, not a blank sheet


def drawn(tmp_path, rows, validated_on="validation", kept=1):
    """The figure that is saved."""
    figures = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "image_of", lambda figure, _: figures.append(figure) or b"")
        curves.plot_history(tmp_path / "p.png", rows, "cnn on synthetic", validated_on, kept)
    (figure,) = figures
    return figure


def test_plot_shows_curves_what_was_validated_on_and_the_epoch_kept(tmp_path):
    figure = drawn(tmp_path, ROWS, "test reviews", kept=2)
    assert figure.get_suptitle() == "cnn on synthetic"
    for axes, metric in zip(figure.axes, ("loss", "accuracy"), strict=True):
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", metric)
        assert {line.get_label(): line.get_xydata().tolist() for line in axes.lines} == {
            "training": [[row.epoch, getattr(row, metric)] for row in ROWS],
            "test reviews": [[row.epoch, getattr(row, f"val_{metric}")] for row in ROWS],
            "epoch kept: 2": [[2, 0], [2, 1]],  # from the bottom to the top
        }
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["training", "test reviews", "epoch kept: 2"]


@pytest.mark.parametrize("number", [1, 2, 5, 40])
def test_axes_have_whole_epochs_and_a_least_range(tmp_path, number):
    rows = [Epoch(i, 0.3, 0.999, 0.3001, 1.0, 1.0) for i in range(1, number + 1)]
    for axes in drawn(tmp_path, rows).axes:
        assert axes.get_xlim() == (0.5, number + 0.5)
        low, high = axes.get_ylim()
        assert high - low == pytest.approx(0.1)
        shown = [tick for tick in axes.get_xticks() if 0.5 <= tick <= number + 0.5]
        assert shown
        assert all(tick == round(tick) for tick in shown)
        assert {line.get_marker() for line in axes.lines[:2]} == (
            {"o", "s"} if number <= 20 else {""}
        )
