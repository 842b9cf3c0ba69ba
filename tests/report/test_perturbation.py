"""Figure of a perturbation's spectrum: sums and means cannot be mistaken for each other."""

import io
from typing import Any

import numpy as np
import pytest

from specprobe.analysis.perturbation import PerturbationSpectrum, array_spectrum, perturbation_spectrum
from specprobe.report.figures import draw, save


def pair(images: int, *, shape: tuple[int, int] = (16, 16)) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    clean = rng.uniform(0.2, 0.8, (images, 3, *shape)).astype(np.float32)
    return clean, clean + (0.01 * rng.normal(size=clean.shape)).astype(np.float32)


@pytest.fixture
def result() -> Any:
    return perturbation_spectrum(*pair(20))


def test_every_axis_says_what_is_summed_or_averaged(result: Any) -> None:
    axes = draw(result, title="model").get_axes()
    labels = [axis.get_ylabel() for axis in axes]
    assert all(labels)
    assert sum("mean of the ring's cells" in label for label in labels) == 4
    assert sum("sum over the ring" in label for label in labels) == 1
    assert sum("up to the ring" in label for label in labels) == 1
    bars = [label for label in labels if "\n" in label]
    assert [bar.split()[0] for bar in bars] == ["D1", "D2", "D3", "D4"]
    titles = [axis.get_title() for axis in axes if axis.get_title()]
    assert titles == ["D1 absolute", "D2 magnitude change", "D3 relative", "D4 log ratio"]


def test_curves_are_the_profile_and_its_references(result: Any) -> None:
    axes: dict[str, Any] = {axis.get_ylabel(): axis for axis in draw(result).get_axes()}
    sums = {line.get_label(): line for line in axes["share of power, sum over the ring"].lines}
    np.testing.assert_array_equal(sums["perturbation"].get_ydata(), result.ring_sum_share)
    np.testing.assert_array_equal(sums["white noise"].get_ydata(), result.white_noise_share)
    np.testing.assert_array_equal(sums["clean images"].get_ydata(), result.clean_ring_sum_share)
    cumulative = {line.get_label(): line for line in axes["share of power up to the ring"].lines}
    half = cumulative[f"half power: {result.half_power_cycles_per_image:.1f}"]
    assert list(half.get_xdata()) == [result.half_power_cycles_per_image]
    # The mark lies on the curve.
    curve = cumulative["perturbation"]
    assert np.interp(half.get_xdata()[0], curve.get_xdata(), curve.get_ydata()) == pytest.approx(
        0.5, abs=0.02
    )
    (means,) = (axis for label, axis in axes.items() if label.startswith("log(1") and "mean of" in label)
    drawn = [line for line in means.lines if len(line.get_xdata()) == len(result.cycles_per_image)]
    np.testing.assert_array_equal(drawn[0].get_ydata(), result.log_ratio)


def test_maps_show_the_averages_and_the_sign_of_the_last(result: Any) -> None:
    images: list[Any] = [axis.images[0] for axis in draw(result).get_axes() if axis.images]
    assert len(images) == 4
    log_ratio = images[3]
    np.testing.assert_array_equal(log_ratio.get_array(), result.measure("log_ratio").map)
    assert log_ratio.norm.vmin == -log_ratio.norm.vmax  # 0 has the neutral colour
    assert tuple(images[0].get_extent()) == (-8.5, 7.5, 7.5, -8.5)


def test_results_read_from_json_have_no_maps(result: Any) -> None:
    figure = draw(PerturbationSpectrum.from_dict(result.to_dict()))
    assert len(figure.get_axes()) == 6
    assert not any(axis.images for axis in figure.get_axes())


def test_gradients_have_their_own_panels() -> None:
    clean, moved = pair(20)
    figure = draw(array_spectrum(moved - clean))
    labels = [axis.get_ylabel() for axis in figure.get_axes()]
    assert "|F(gradient)|, mean of the ring's cells" in labels
    assert "share of power, sum over the wedge" in labels
    assert not any("δ" in label for label in labels)
    drawn = {line.get_label() for axis in figure.get_axes() for line in axis.lines}
    assert "clean images" not in drawn


@pytest.mark.slow
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("shape", [(16, 16), (9, 20)])
def test_few_images_and_other_shapes_are_drawn(images: int, shape: tuple[int, int]) -> None:
    save(draw(perturbation_spectrum(*pair(images, shape=shape))), io.BytesIO(), suffix=".png", dpi=30)


def test_nothing_moved_is_drawn_without_curves() -> None:
    clean, _ = pair(3)
    save(draw(perturbation_spectrum(clean, clean)), io.BytesIO(), suffix=".svg")


@pytest.mark.slow
def test_equal_results_give_equal_bytes(result: Any, rendered: Any) -> None:
    assert rendered(result) == rendered(result)
