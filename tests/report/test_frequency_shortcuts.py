"""Figures of shortcuts, deletions and spectra of classes: what is drawn is what was measured."""

import io
from typing import Any

import numpy as np
import pytest

from specprobe.analysis.frequency_shortcuts_deletion import FrequencyDeletion, frequency_deletion
from specprobe.analysis.frequency_shortcuts_search import FrequencyShortcuts, frequency_shortcuts
from specprobe.analysis.frequency_shortcuts_spectra import ClassSpectra, class_spectra
from specprobe.report.figures import draw, save
from specprobe.report.frequency_shortcuts import SHOWN

SIZE = 8


class Waves:
    """Class i where the wave of ring i % 3 + 1 is strong."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        x = 2 * np.pi * np.arange(SIZE) / SIZE
        self.waves = np.stack([np.cos((i % 3 + 1) * x) for i in range(classes)]).astype(np.float32)

    def logits(self, images: Any, /) -> Any:
        return np.sum(images[:, :1, None, ...] * self.waves[None, None, :, None, :], axis=(1, 3, 4))


def pictures(images: int, classes: int) -> tuple[Any, Any]:
    labels = np.arange(images) % classes
    noise = np.random.default_rng(0).normal(0.5, 0.05, (images, 1, SIZE, SIZE))
    return (noise + 0.1 * Waves(classes).waves[labels][:, None, None, :]).astype(np.float32), labels


def measured(classes: int = 3) -> FrequencyShortcuts:
    return frequency_shortcuts(Waves(classes), *pictures(60, classes), keep=(0.05, 0.5))


def test_maps_are_the_increases_and_dominant_cells_are_marked() -> None:
    result = measured()
    figure = draw(result, title="model")
    axes = figure.get_axes()
    maps = [axis for axis in axes if axis.get_images()]
    assert [axis.get_title().split(",")[0] for axis in maps] == ["class 0", "class 1", "class 2"]
    increase = result.deletion.patches.spread(result.deletion.increase)
    for row, axis in enumerate(maps):
        drawn: Any = axis.get_images()[0].get_array()
        np.testing.assert_allclose(np.ma.filled(drawn, np.nan), increase[row])
        squares: list[Any] = [line for line in axis.lines if line.get_marker() == "s"]
        chosen = np.argwhere(result.deletion.dominant_maps(0.05)[row]) - SIZE // 2
        marked = {(int(y), int(x)) for x, y in zip(*squares[0].get_data(), strict=True)}
        assert marked | {(0, 0)} == {(int(y), int(x)) for y, x in chosen}
    left, right = (axis for axis in axes if axis.get_xlabel() == "class")
    assert (left.get_ylabel(), right.get_ylabel()) == ("true-positive rate", "false-positive rate")
    for axis, rates in ((left, result.true_positive_rate), (right, result.false_positive_rate)):
        points = [np.asarray(container.lines[0].get_ydata()) for container in axis.containers]  # type: ignore[attr-defined]
        np.testing.assert_allclose(np.stack(points, axis=1), rates)


def test_only_the_first_classes_have_a_map_and_the_title_says_so() -> None:
    result = measured(12)
    figure = draw(result)
    assert sum(bool(axis.get_images()) for axis in figure.get_axes()) == SHOWN
    assert "the first 10 of 12 classes" in str(figure.get_suptitle())
    assert "the first 10 of 12 classes" in str(draw(result.deletion).get_suptitle())


def test_a_deletion_alone_is_drawn() -> None:
    result = frequency_deletion(Waves(3), *pictures(30, 3), patch=2, loss="logit")
    figure = draw(result, title="model")
    assert "a patch of 2 by 2 frequencies" in str(figure.get_suptitle())
    assert figure.get_axes()[-1].get_ylabel() == "mean decrease of the logit"
    save(draw(FrequencyDeletion.from_dict(result.to_dict())), io.BytesIO(), suffix=".png", dpi=30)


def test_spectra_are_drawn_with_and_without_their_maps() -> None:
    result = class_spectra(*pictures(60, 3))
    figure = draw(result)
    assert result.accumulative_difference is not None
    maps = [axis for axis in figure.get_axes() if axis.get_images()]
    for axis, wanted in zip(maps, result.accumulative_difference, strict=True):
        np.testing.assert_array_equal(np.asarray(axis.get_images()[0].get_array()), wanted + 1.0)
    (profile,) = (axis for axis in figure.get_axes() if axis.get_xlabel().startswith("ring"))
    drawn = {str(line.get_label()): np.asarray(line.get_ydata()) for line in profile.lines}
    mean = result.ring_magnitude.mean(axis=0)
    np.testing.assert_allclose(drawn["class 1"], result.ring_magnitude[1] / mean)
    assert len(draw(ClassSpectra.from_dict(result.to_dict())).get_axes()) == 1


@pytest.mark.slow
def test_equal_results_give_equal_bytes(rendered: Any) -> None:
    assert rendered(measured()) == rendered(measured())


def test_a_class_without_images_is_drawn() -> None:
    chosen = frequency_deletion(Waves(3), *pictures(60, 3))
    images, _ = pictures(20, 3)
    result = frequency_shortcuts(Waves(3), images, np.zeros(20, np.int64), deletion=chosen, keep=(0.1,))
    save(draw(result), io.BytesIO(), suffix=".png", dpi=30)
