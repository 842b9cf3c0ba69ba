"""From which radius on a low-pass is enough, and how sure that is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specprobe.analysis.saturation import difference_interval, saturation


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Images right for both, the first, the second, and all."""
    cells = draw(st.lists(st.integers(0, 200), min_size=4, max_size=4).filter(any))
    both, first, second, neither = cells
    return both, both + first, both + second, both + first + second + neither


@given(tables(), st.floats(0.1, 1))
def test_interval_lies_around_the_estimate(table: tuple[int, int, int, int], weight: float) -> None:
    both, first, second, images = table
    low, high = difference_interval(both, first, second, images, weight=weight, confidence=0.95)
    assert low <= first / images - weight * second / images <= high


@pytest.mark.parametrize(
    "shares", [(0.7, 0.02, 0.04), (0.93, 0.01, 0.05), (0.4, 0.1, 0.1), (0.99, 0.0, 0.01)]
)
@pytest.mark.parametrize("images", [30, 300])
def test_interval_covers_the_truth_as_often_as_it_says(
    shares: tuple[float, float, float], images: int
) -> None:
    both, first, second = shares
    truth = both + first - 0.95 * (both + second)
    rng = np.random.default_rng(1)
    covered = []
    for a, b, c, _ in rng.multinomial(images, [both, first, second, 1 - sum(shares)], size=2000).tolist():
        low, high = difference_interval(a, a + b, a + c, images, weight=0.95, confidence=0.95)
        covered.append(low <= truth <= high)
    assert np.mean(covered) >= 0.93


def test_interval_does_not_shrink_to_a_point() -> None:
    low, high = difference_interval(10, 10, 10, 10, weight=0.95, confidence=0.95)
    assert low < 0.05 <= high
    assert low < 0, "ten images do not establish that 95 % are kept"
    assert difference_interval(500, 500, 500, 500, weight=0.95, confidence=0.95)[0] > 0


def test_radius_is_the_smallest_that_is_enough() -> None:
    radii = (1.0, 2.0, 4.0, 8.0, 16.0)
    correct = [20, 60, 95, 94, 100]
    found = saturation(radii, correct, correct, clean_correct=100, images=200, confidence=0.95)
    assert (found.radius, found.reason) == (4, None)
    assert found.interval is not None
    low, high = found.interval
    assert low <= 4
    assert high == 16
    # Exactly 95 % counts, one image less does not.
    correct[2] = 94
    assert saturation(radii, correct, correct, clean_correct=100, images=200, confidence=0.95).radius == 16


@given(st.data())
def test_radius_lies_within_its_interval(data: st.DataObject) -> None:
    images = data.draw(st.integers(1, 60))
    clean = data.draw(st.integers(1, images))
    correct = data.draw(st.lists(st.integers(0, images), min_size=1, max_size=8))
    both = [data.draw(st.integers(max(0, c + clean - images), min(c, clean))) for c in correct]
    radii = tuple(float(i) for i in range(len(correct)))
    found = saturation(radii, correct, both, clean_correct=clean, images=images, confidence=0.95)
    if found.radius is None:
        assert max(correct) < 0.95 * clean
        assert found.interval is None
        assert f"{max(correct) / images:.3f}" in str(found.reason)
    else:
        assert found.interval is not None
        low, high = found.interval
        assert low <= found.radius
        assert high is None or high >= found.radius


def test_few_images_leave_the_radius_open() -> None:
    found = saturation((4.0, 8.0), [9, 10], [9, 10], clean_correct=10, images=10, confidence=0.95)
    assert (found.radius, found.interval) == (8, (4, None))
