"""Figures: labelled, deterministic, safe against names out of a file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.analysis.filters import FilterStatistics, filter_statistics
from specprobe.errors import DataError
from specprobe.protocols import Convolution
from specprobe.report.figures import draw, save


@pytest.fixture
def statistics() -> FilterStatistics:
    rng = np.random.default_rng(0)
    shapes = [(8, 3, 3, 3), (8, 8, 1, 1), (4, 8, 3, 3)]
    return filter_statistics(
        [Convolution(name=f"c{i}", operator="Conv", weight=rng.normal(size=s)) for i, s in enumerate(shapes)]
    )


def test_every_axis_of_the_filter_figure_is_labelled(statistics: FilterStatistics) -> None:
    axes = draw(statistics).axes
    assert len(axes) == 4
    assert all(axis.get_ylabel() for axis in axes)
    assert all(axis.get_xlabel() for axis in axes[2:])


def test_points_are_the_layers_that_have_the_metric(statistics: FilterStatistics) -> None:
    ratio = draw(statistics).axes[1]
    drawn = {
        float(x)
        for line in ratio.lines
        if line.get_label() in {"1×1", "3×3"}
        for x in np.asarray(line.get_xdata())
    }
    assert drawn == {1.0, 3.0}


def test_equal_results_give_equal_bytes(statistics: FilterStatistics, rendered: Any) -> None:
    assert rendered(statistics) == rendered(statistics)


def test_title_out_of_a_file_is_no_markup(statistics: FilterStatistics, tmp_path: Path) -> None:
    path = tmp_path / "figure.svg"
    save(draw(statistics, title="$\\frac{<script>"), path, suffix=".svg")
    assert "<script>" not in path.read_text(encoding="utf-8")


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(DataError, match="no convolutions"):
        draw(FilterStatistics())
    with pytest.raises(DataError, match="no figure for int"):
        draw(3)


def test_an_inspection_with_data_shows_what_was_measured() -> None:
    folder = Path(specprobe.__file__).parent.parent / "models" / "digits"
    images = specprobe.load_images(folder / "test.npz", limit=20)
    result = specprobe.inspect(specprobe.load(folder / "normal.onnx"), images)
    figure = draw(result, title="$\\frac{<script>")
    labels = [axis.get_xlabel() for axis in figure.get_axes()]
    assert [label for label in labels if "cycles per image" in label] == [
        "spatial frequency (cycles per image)",
        "cut-off (cycles per image)",
    ]
    assert all(axis.get_ylabel() for axis in figure.get_axes())
    assert len(draw(replace(result, bands=None)).get_axes()) == 5
    assert len(draw(replace(result, bands=None, sensitivity=None)).get_axes()) == 4
    bare = replace(result, filters=FilterStatistics())
    assert len(draw(bare).get_axes()) == 2
    with pytest.raises(DataError, match="run on no data: there is nothing to draw"):
        draw(replace(bare, bands=None, sensitivity=None))
