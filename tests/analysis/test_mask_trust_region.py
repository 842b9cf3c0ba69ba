"""Steps of masks: the minimum of the model of the objective, within the box and the radius."""

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from specprobe.analysis.mask_objective import invariance
from specprobe.analysis.mask_plane import frequency_counts
from specprobe.analysis.mask_presets import TrustRegion, preset_of
from specprobe.analysis.mask_trust_region import next_radius, trial
from specprobe.arrays import namespace, to_host

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SHAPE = (5, 4)
CELLS = frequency_counts(SHAPE).astype(np.float64)
FOUND = preset_of("default", per_image=True)
assert isinstance(FOUND, TrustRegion)
PRESET = FOUND


def drawn(seed: int, *, images: int = 6, channels: int = 2) -> tuple[Any, Any, Any, Any]:
    """Masks, some at the ends of their range; gradients and changes of every size; radii."""
    rng = np.random.default_rng(seed)
    shape = (images, channels, len(CELLS))
    values = np.clip(rng.uniform(-0.5, 1.5, shape), 0, 1)
    gradient = rng.normal(size=shape) * 10 ** rng.uniform(-5, 1, (images, 1, 1))
    change = rng.normal(size=images) * 10 ** rng.uniform(-4, 0.5, images)
    return values, gradient, change, 10 ** rng.uniform(-3, 0, images)


def model(
    step: "NDArray[Any]", values: Any, gradient: Any, change: Any, radius: Any
) -> tuple["NDArray[Any]", "NDArray[Any]"]:
    """The objective's increase as the model has it, without and with the term that keeps steps short."""
    weight = PRESET.sparsity_weight / (values.shape[1] * SHAPE[0] * SHAPE[1])
    there = change + (CELLS * gradient * step).sum(axis=(1, 2))
    rise = invariance(there, PRESET)[0] - invariance(change, PRESET)[0]
    plain = rise + weight * (CELLS * step).sum(axis=(1, 2))
    return plain, plain + weight / (2 * radius) * (CELLS * step**2).sum(axis=(1, 2))


@given(st.integers(0, 2**32 - 1))
def test_no_other_step_within_the_box_and_the_radius_is_better(seed: int) -> None:
    values, gradient, change, radius = drawn(seed)
    found = trial(values, gradient, change, radius, PRESET, shape=SHAPE)
    assert found.values.min() >= 0
    assert found.values.max() <= 1
    step, reach = found.values - values, radius[:, None, None]
    assert (np.abs(step) <= reach * (1 + 1e-9)).all()
    plain, whole = model(step, values, gradient, change, radius)
    assert np.allclose(found.expected, np.maximum(-plain, 0), atol=1e-9)
    assert (found.expected >= 0).all()
    rng = np.random.default_rng(seed)
    for size in (1.0, 0.1, 1e-3):
        other = step + size * reach * rng.uniform(-1, 1, step.shape)
        other = np.clip(np.clip(other, -reach, reach), -values, 1 - values)
        assert (model(other, values, gradient, change, radius)[1] >= whole - 1e-9).all()


def test_what_does_not_matter_moves_by_the_radius_and_ends_at_zero() -> None:
    values = np.ones((1, 1, len(CELLS)))
    gradient = np.zeros_like(values)
    for _ in range(4):
        values = trial(values, gradient, np.zeros(1), np.array([0.3]), PRESET, shape=SHAPE).values
    assert (values == 0).all()


def test_a_change_that_one_step_can_undo_is_undone() -> None:
    values = np.full((1, 1, len(CELLS)), 0.5)
    gradient = np.zeros_like(values)
    gradient[..., 3] = 2.0
    found = trial(values, gradient, np.array([0.2]), np.array([0.4]), PRESET, shape=SHAPE)
    there = 0.2 + (CELLS * gradient * (found.values - values)).sum()
    assert abs(there) < 0.01
    assert np.allclose(np.delete(found.values, 3), 0.1)


def test_every_library_takes_the_same_step(placed: "Callable[[Any], Any]") -> None:
    values, gradient, change, radius = drawn(3)
    expected = trial(values, gradient, change, radius, PRESET, shape=SHAPE)
    found = trial(placed(values), placed(gradient), change, radius, PRESET, shape=SHAPE)
    assert namespace(found.values) is namespace(placed(values))
    assert np.allclose(to_host(found.values), expected.values, atol=1e-7)
    assert isinstance(found.expected, np.ndarray)
    assert np.allclose(found.expected, expected.expected, atol=1e-9)


def test_the_radius_follows_how_true_the_model_was() -> None:
    expected = np.ones(5)
    decrease = np.array([0.9, 0.5, 0.1, -3.0, 0.9])
    radius = np.array([0.1, 0.1, 0.1, 0.1, 0.8])
    found = next_radius(radius, decrease, expected, PRESET)
    assert found.tolist() == [0.2, 0.1, 0.05, 0.05, 1.0]
