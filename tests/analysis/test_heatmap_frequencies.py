"""Which frequencies are evaluated, and what that costs: told before, counted after."""

from typing import Any

import numpy as np
import pytest

from specprobe.analysis.heatmap import fourier_heatmap
from specprobe.analysis.heatmap_frequencies import central_square, chosen_frequencies, lattice, plan
from specprobe.errors import InputMismatch
from specprobe.spectral.grid import frequency_index


class Three:
    classes = 3

    def logits(self, images: Any, /) -> Any:
        return np.asarray(images[:, 0, 0, :3], np.float64)


@pytest.mark.parametrize("phase", ["0", "random", "worst-of-two"])
@pytest.mark.parametrize("frequencies", [None, 3, 4, [[1, 2], [0, 0]]])
@pytest.mark.parametrize("shape", [(8, 8), (6, 7)])
def test_the_plan_is_what_is_counted(shape: tuple[int, int], frequencies: Any, phase: Any) -> None:
    planned = plan(shape, frequencies=frequencies, phase=phase)
    result = fourier_heatmap(
        Three(), np.full((3, 1, *shape), 0.5, np.float32), [0] * 3, frequencies=frequencies, phase=phase
    )
    assert planned.exact
    assert planned.frequencies == planned.chosen == result.frequencies_evaluated
    assert 3 * (1 + planned.waves) == result.model_evaluations


@pytest.mark.parametrize("phase", ["0", "worst-of-two"])
@pytest.mark.parametrize("side", [None, 6])
def test_a_refined_map_begins_with_its_plan(phase: Any, side: int | None) -> None:
    class Silent(Three):
        def logits(self, images: Any, /) -> Any:
            return np.tile([1.0, 0, 0], (len(images), 1))

    planned = plan((8, 8), frequencies=side, phase=phase, refine=2)
    result = fourier_heatmap(
        Silent(), np.full((3, 1, 8, 8), 0.5), [0] * 3, frequencies=side, phase=phase, refine=2
    )
    assert planned.frequencies == result.frequencies_evaluated < planned.chosen
    assert 3 * (1 + planned.waves) == result.model_evaluations


def test_a_sample_with_sines_is_bounded() -> None:
    assert plan((8, 8), frequencies=None, phase="worst-of-two", sample=10) == (10, 34, 20, False)
    assert plan((8, 8), frequencies=None, phase="worst-of-two", sample=99) == (34, 34, 64, True)
    assert plan((8, 8), frequencies=None, phase="0", sample=10) == (10, 34, 10, True)


@pytest.mark.parametrize("shape", [(8, 8), (9, 6), (7, 7), (32, 20)])
@pytest.mark.parametrize("side", [None, 5])
def test_each_grid_holds_the_coarser_one(shape: tuple[int, int], side: int | None) -> None:
    square = central_square(shape, side)
    for stride in (16, 8, 4, 2):
        for coarse, fine, part in zip(
            lattice(shape, side, stride), lattice(shape, side, stride // 2), square, strict=True
        ):
            assert set(coarse) <= set(fine)
            assert (coarse[0], coarse[-1]) == (part.start, part.stop - 1)
    for axis, part in zip(lattice(shape, side, 1), square, strict=True):
        assert axis.tolist() == list(range(part.start, part.stop))
    assert np.array_equal(
        np.flatnonzero(chosen_frequencies(side, shape)), np.unique(frequency_index(shape)[square])
    )


def test_sides_out_of_range_are_refused() -> None:
    with pytest.raises(
        InputMismatch, match="the side of the sub-grid is 9; accepted are whole numbers from 1 to 8"
    ):
        plan((8, 8), frequencies=9, phase="0")
