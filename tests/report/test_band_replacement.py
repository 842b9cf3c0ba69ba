"""Figure of a band replacement: two curves and where they cross a half."""

import io
from typing import Any

import numpy as np

from specprobe.analysis.band_replacement import BandReplacement, band_replacement
from specprobe.report.figures import draw, save

WAVE = np.broadcast_to(np.cos(2 * np.pi * 4 * np.arange(16) / 16), (16, 16)).astype(np.float32)


class OneWave:
    """Class 1 where there is enough of the wave."""

    classes = 2

    def logits(self, images: Any, /) -> Any:
        score = np.sum(images * WAVE, axis=(1, 2, 3)) - 1
        return np.stack([np.zeros_like(score), score], axis=1)


def replaced(*, amplitude: float = 0.02, radii: Any = (0, 2, 4, 5, 8, 12)) -> BandReplacement:
    clean = np.full((12, 1, 16, 16), 0.5, np.float32)
    moved = clean + np.float32(amplitude) * WAVE
    return band_replacement(OneWave(), clean, moved, np.zeros(12, np.int64), radii=radii)


def test_curves_are_the_accuracies_of_both_parts() -> None:
    result = replaced()
    accuracy, damage = draw(result, title="model").get_axes()
    assert (accuracy.get_xlabel(), accuracy.get_ylabel()) == ("radius (cycles per image)", "accuracy")
    assert "12 images that" in damage.get_ylabel()
    for axis, key in ((accuracy, "accuracy"), (damage, "broken_share")):
        drawn = {line.get_label(): line for line in axis.lines}
        for name, label in (
            ("low_pass", "perturbation below the radius"),
            ("high_pass", "perturbation from the radius on"),
        ):
            wanted = [entry[key] for entry in result.to_dict()[name]]
            np.testing.assert_array_equal(drawn[label].get_ydata(), wanted)
        assert len(axis.collections) == 2  # an interval each
    energy = {line.get_label(): line for line in damage.lines}["energy below the radius"]
    np.testing.assert_array_equal(energy.get_ydata(), result.energy_share)
    places = [np.ravel(line.get_xdata()) for line in damage.lines]
    marked = [float(place[0]) for place in places if len(place) == 1]
    assert marked == [result.low_pass_half.radius, result.high_pass_half.radius] == [5, 4]


def test_an_attack_that_breaks_nothing_has_one_panel() -> None:
    assert len(draw(replaced(amplitude=0)).get_axes()) == 1


def test_a_sweep_without_its_end_is_drawn() -> None:
    result = replaced(radii=(0, 2))
    assert result.low_pass_half.radius is None
    save(draw(result), io.BytesIO(), suffix=".png", dpi=30)
    save(draw(BandReplacement.from_dict(result.to_dict())), io.BytesIO(), suffix=".png", dpi=30)


def test_equal_results_give_equal_bytes(rendered: Any) -> None:
    assert rendered(replaced()) == rendered(replaced())
