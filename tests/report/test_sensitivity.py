"""Figure of a sensitivity: labelled, with its reference, with and without a map."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.report.figures import draw, save

BANDS = Path(__file__).resolve().parents[2] / "models" / "bands"


@pytest.fixture(scope="module", params=["fourier", "haar"])
def result(request: pytest.FixtureRequest) -> Any:
    images = specprobe.load_images(BANDS / "high.npz", limit=10)
    network = specprobe.load(BANDS / "high.onnx")
    return specprobe.fourier_sensitivity(network, images, basis=request.param)


def test_every_axis_is_labelled(result: Any) -> None:
    figure = draw(result, title="high.onnx")
    assert len(figure.axes) == 3  # profile, map, its scale
    assert all(axis.get_ylabel() for axis in figure.axes)
    assert all(axis.get_xlabel() for axis in figure.axes[:2])
    assert "ring sums" in figure.axes[0].get_ylabel()
    if result.basis == "fourier":
        assert all("cycles per image" in axis.get_xlabel() for axis in figure.axes[:2])


def test_profile_has_its_interval_and_the_white_noise_reference(result: Any) -> None:
    profile = draw(result).axes[0]
    lines = {line.get_label(): line for line in profile.lines}
    held = result.white_noise_share > 0
    np.testing.assert_array_equal(lines["mean over images"].get_ydata(), result.power_share[held])
    np.testing.assert_array_equal(lines["white noise"].get_ydata(), result.white_noise_share[held])
    assert lines["white noise"].get_linestyle() == "--"
    assert [part.get_label() for part in profile.collections] == ["95 % interval"]


def test_the_mean_is_in_the_centre_of_the_map_and_rings_are_labelled(result: Any) -> None:
    chart = draw(result).axes[1]
    left, right, bottom, top = chart.images[0].get_extent()
    if result.basis == "fourier":
        assert (left, right, bottom, top) == (-16.5, 15.5, 15.5, -16.5)
        assert [text.get_text() for text in chart.texts] == ["5.5", "10.5"]
    else:
        assert (left, top) == (-0.5, -0.5)
        assert not chart.texts


def test_without_a_map_the_profile_is_drawn(result: Any, tmp_path: Path) -> None:
    figure = draw(dataclasses.replace(result, power_map=None), title="$\\frac{<script>")
    assert len(figure.axes) == 1
    save(figure, tmp_path / "figure.svg", suffix=".svg")
    assert "<script>" not in (tmp_path / "figure.svg").read_text(encoding="utf-8")


def test_one_image_without_an_interval_is_drawn(tmp_path: Path) -> None:
    images = specprobe.load_images(BANDS / "high.npz", limit=1)
    result = specprobe.fourier_sensitivity(specprobe.load(BANDS / "high.onnx"), images)
    save(draw(result), tmp_path / "figure.png", suffix=".png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
