"""What the pictures say: texts, sizes and limits of what is drawn."""

import numpy as np
import pytest

from imdb_jax.runs import curves
from imdb_jax.views import figures


def drawn(draw, *arguments):
    """The axes of the figure that is saved, and the texts of its legends."""
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "image_of", lambda figure, _: kept.append(figure) or b"")
        draw(*arguments)
    (figure,) = kept
    figure.draw_without_rendering()
    (left, low), (right, high) = figure.get_tightbbox().get_points()
    width, height = figure.get_size_inches()
    assert 0 <= left < right <= width  # no text leaves the picture
    assert 0 <= low < high <= height
    axes = figure.axes
    legends = [part.get_legend() for part in axes if part.get_legend()]
    texts = [(one.get_title(), *one.get_texts()) for one in legends]
    return axes, ["\n".join(text.get_text() for text in each) for each in texts]


def test_areas_of_dots_are_numbers_of_reviews(tmp_path):
    """Twelve reviews of one confidence and three of another."""
    logits = np.array([4.0] * 12 + [-1.0] * 3, np.float32)
    arguments = tmp_path / "a.svg", "title", np.arange(15) % 2, logits
    (_, calibration), (_, legend) = drawn(figures.plot_evaluation, *arguments)
    dots, example = calibration.collections
    few, many = dots.get_sizes()
    assert many == pytest.approx(4 * few)
    assert "area of a dot" in calibration.get_title()
    assert "dot of 10 reviews" in legend
    assert example.get_sizes() == pytest.approx(many * 10 / 12)


def test_lengths_are_cut_at_a_quantile_and_what_lies_beyond_is_counted(tmp_path):
    lengths = np.append(np.arange(999) % 200 + 8, [3000] * 4 + [50_000])
    arguments = tmp_path / "a.png", "title", lengths, 100
    (histogram, boxes), (legend,) = drawn(figures.plot_lengths, *arguments)
    assert histogram.get_xlim()[1] == 207.5
    heights = [bar.get_height() for bar in histogram.patches]
    assert sum(heights) == 999
    assert 40 < len(heights) <= 60
    assert legend.startswith("not shown: 5 reviews\nof 208 to 50,000 ids")
    assert f"cut at 100 ids: {(lengths > 100).mean():.1%}" in legend
    assert boxes.get_ylim()[1] < 300  # no outliers


@pytest.mark.parametrize("lengths", [[7], [5, 6, 7] * 40])
def test_short_lengths_have_a_bar_each(tmp_path, lengths):
    arguments = tmp_path / "a.png", "title", np.array(lengths), 500
    (histogram, _), (legend,) = drawn(figures.plot_lengths, *arguments)
    assert len(histogram.patches) == len(set(lengths))
    assert "not shown" not in legend
    assert histogram.get_xlim() == (min(lengths) - 0.5, max(lengths) + 0.5)
