"""Steps and schedules beside PyTorch's."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from specprobe.analysis.mask_optimiser import Moments, StepSize, descend, step_size
from specprobe.analysis.mask_presets import preset_of
from specprobe.arrays import to_host

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLISHED, OURS = (preset_of(name, per_image=False) for name in ("karantzas", "default"))


@pytest.mark.parametrize("steps", [11, 50, 400])
def test_the_published_steps_are_those_of_pytorch(steps: int) -> None:
    torch = pytest.importorskip("torch")
    gradients = np.random.default_rng(0).normal(size=(steps, 6)) + 0.3
    gradients[:, 0] = 0
    parameter = torch.nn.Parameter(torch.ones(6, dtype=torch.float64))
    adam = torch.optim.Adam([parameter], lr=1e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(adam, 1e-3, total_steps=steps, pct_start=0.1)
    values, moments = np.ones(6), Moments(np.zeros(6), np.zeros(6))
    weight = 0.2 / 36
    for step, gradient in enumerate(gradients):
        size = step_size(step, steps, PUBLISHED)
        assert size.learning_rate == pytest.approx(cycle.get_last_lr()[0], rel=1e-12)
        assert size.momentum == pytest.approx(adam.param_groups[0]["betas"][0], rel=1e-12)
        values, moments = descend(values, gradient, moments, weight, step=step, size=size, preset=PUBLISHED)
        parameter.grad = torch.asarray(gradient) + weight * torch.sign(parameter.detach())
        adam.step()
        with torch.no_grad():
            parameter.clamp_(0, 1)
        if step < steps - 1:
            cycle.step()
        assert np.abs(values - parameter.detach().numpy()).max() < 1e-13


def test_a_frequency_that_nothing_needs_falls_to_zero_at_the_learning_rate_and_stays() -> None:
    for preset in (PUBLISHED, OURS):
        values, moments = np.ones(1), Moments(np.zeros(1), np.zeros(1))
        for step in range(30):
            before = values
            values, moments = descend(
                values,
                np.zeros(1),
                moments,
                1e-4,
                step=step,
                size=StepSize(0.05, 0.9),
                preset=preset,
            )
            assert (before - values)[0] <= 0.05 * (1 + 1e-9)
        assert values[0] == 0


def test_a_frequency_that_is_needed_stays_whole() -> None:
    values, moments = np.ones(1), Moments(np.zeros(1), np.zeros(1))
    for step in range(30):
        gradient = np.array([-1.0])
        values, moments = descend(
            values, gradient, moments, 1e-4, step=step, size=StepSize(0.05, 0.9), preset=OURS
        )
    assert values[0] == 1


def test_proximal_and_plain_steps_rest_at_the_same_place() -> None:
    """Of (m − 0.6)² + λ m the minimum lies at 0.6 − λ / 2."""
    weight = 0.2
    for preset in (PUBLISHED, replace(PUBLISHED, proximal=True)):
        values, moments = np.ones(1), Moments(np.zeros(1), np.zeros(1))
        for step in range(4000):
            size = StepSize(0.02 / (1 + step / 50), 0.9)
            values, moments = descend(
                values, 2 * (values - 0.6), moments, weight, step=step, size=size, preset=preset
            )
        assert values[0] == pytest.approx(0.5, abs=2e-3)


def test_the_cosine_rises_once_and_falls_to_a_hundredth() -> None:
    rates = np.array([step_size(step, 200, OURS).learning_rate for step in range(201)])
    assert rates.max() == pytest.approx(0.04)
    assert int(rates.argmax()) == 20
    assert (np.diff(rates[:21]) > 0).all()
    assert (np.diff(rates[20:]) <= 0).all()
    assert rates[-1] == pytest.approx(0.0004)
    assert step_size(300, 200, OURS).learning_rate == pytest.approx(0.0004)


def test_every_library_takes_the_same_step(placed: "Callable[[Any], Any]") -> None:
    draw = np.random.default_rng(1)
    values, gradient, first = (draw.uniform(size=(2, 1, 5)) for _ in range(3))
    weight = np.full((2, 1, 1), 1e-3)
    for preset in (PUBLISHED, OURS):
        size = step_size(3, 40, preset)
        expected, _ = descend(
            values, gradient, Moments(first, first**2), weight, step=3, size=size, preset=preset
        )
        found, moments = descend(
            placed(values),
            placed(gradient),
            Moments(placed(first), placed(first**2)),
            placed(weight),
            step=3,
            size=size,
            preset=preset,
        )
        assert np.allclose(to_host(found), expected, rtol=1e-12)
        assert to_host(moments.first).shape == values.shape
