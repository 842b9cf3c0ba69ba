"""Figure of a difference of masks."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from specprobe.analysis.mask_reading_bias import NUMBERS
from specprobe.analysis.mask_reading_result import MaskDifference
from specprobe.report.figures import draw

BANDS = 8


def difference(of: str) -> MaskDifference:
    random = np.random.default_rng(0)
    values: dict[str, Any] = {}
    for name, size in (("radial", BANDS), ("angular", BANDS), ("number", len(NUMBERS))):
        mean = random.normal(size=size)
        if name == "radial":
            mean[2] = np.nan
        values[f"{name}_difference"] = mean
        if of != "mask":
            values[f"{name}_difference_std"] = np.ones(size)
        if of == "images":
            values[f"{name}_difference_interval"] = np.stack([mean - 0.1, mean + 0.3], axis=1)
        if of != "mask" and name != "number":
            values |= {f"{name}_more": np.arange(size), f"{name}_less": np.arange(size)[::-1].copy()}
    return MaskDifference(
        of=of,
        image_shape=(3, 12, 12),
        masks=1 if of == "mask" else 40,
        numbers=np.zeros((len(NUMBERS), 2)),
        difference_map=random.normal(size=(3, 12, 12)),
        **values,
    )


@pytest.mark.parametrize(("of", "panels"), [("mask", 3), ("images", 4), ("folds", 3)])
def test_profiles_and_map_are_those_measured(of: str, panels: int) -> None:
    result = difference(of)
    figure = draw(result, title="robust less normal")
    axes = [axis for axis in figure.get_axes() if axis.get_xlabel()]
    assert len(axes) == panels
    held = ~np.isnan(result.radial_difference)
    (bars,) = axes[0].containers
    drawn = bars.lines[0]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(drawn.get_xdata(), result.radial_centres[held])
    np.testing.assert_array_equal(drawn.get_ydata(), result.radial_difference[held])
    (image,) = axes[-1].get_images()
    assert result.difference_map is not None
    np.testing.assert_allclose(image.get_array(), result.difference_map.mean(axis=0))  # type: ignore[arg-type]
    low, high = image.get_clim()
    assert low == -high  # no difference is in the middle of the colours
    if of == "images":
        (segments,) = bars.lines[2]  # type: ignore[attr-defined]
        ends = np.array([segment[:, 1] for segment in segments.get_segments()])
        np.testing.assert_allclose(ends, result.radial_difference_interval[held])  # type: ignore[index]
        shares = [container.lines[0].get_ydata() for container in axes[1].containers]  # type: ignore[attr-defined]
        np.testing.assert_allclose(shares[0], np.arange(BANDS)[held] / 40)
        assert str(figure.get_suptitle()).startswith("robust less normal: ")


def test_without_its_map_it_is_drawn_without() -> None:
    whole = difference("images")
    bare = MaskDifference.from_dict(whole.to_dict())
    assert bare == dataclasses.replace(whole, difference_map=None)
    assert len(draw(bare).get_axes()) == 3


def test_equal_results_give_equal_bytes(rendered: Any) -> None:
    assert rendered(difference("images")) == rendered(difference("images"))
