"""Steps of Adam on masks, with and without a proximal step for the L1 term, and the schedules of their length."""

import math
from typing import TYPE_CHECKING, NamedTuple

from specprobe.arrays import Array, namespace

if TYPE_CHECKING:
    from specprobe.analysis.mask_presets import Preset

__all__ = ["Moments", "StepSize", "descend", "step_size"]

_EPSILON = 1e-8
_MOMENTUM = 0.9
_LAST = 0.01
"""Of the largest learning rate, at the end of a cosine."""


class StepSize(NamedTuple):
    """Length and inertia of one step.

    Attributes
    ----------
    learning_rate : float
        Of Adam.
    momentum : float
        β₁ of Adam.
    """

    learning_rate: float
    momentum: float


class Moments(NamedTuple):
    """What Adam remembers.

    Attributes
    ----------
    first, second : array
        Running means of the gradient and of its square, not corrected; of the shape of the masks.
    """

    first: Array
    second: Array


def step_size(step: int, steps: int, preset: "Preset", /) -> StepSize:
    """Learning rate and momentum of a step.

    Parameters
    ----------
    step : int
        From 0.
    steps : int
        In all.
    preset : Preset
        With the schedule.

    Returns
    -------
    StepSize
        ``one-cycle``: PyTorch's ``OneCycleLR`` with ``pct_start`` 0.1 and its defaults: up from a 25th of the learning
        rate, then down to a 10 000th of that, along cosines, while the momentum goes from 0.95 to 0.85 and back.
        ``cosine``: up along a line while it warms up, then along a cosine down to a hundredth; momentum 0.9.
    """
    peak = preset.learning_rate
    if preset.schedule == "one-cycle":
        top, last = preset.warm_up * steps - 1, steps - 1
        if step <= top:
            along, start, end, inertia = step / max(top, 1), peak / 25, peak, (0.95, 0.85)
        else:
            along, start, end = min((step - top) / max(last - top, 1), 1.0), peak, peak / 25 / 1e4
            inertia = (0.85, 0.95)
        return StepSize(_cosine(start, end, along), _cosine(*inertia, along))
    share = min(step / max(steps, 1), 1.0)
    rise = preset.warm_up
    if share < rise:
        return StepSize(peak * max(share / rise, _LAST), _MOMENTUM)
    return StepSize(max(_cosine(peak, 0.0, (share - rise) / (1 - rise)), _LAST * peak), _MOMENTUM)


def _cosine(start: float, end: float, along: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * along)) / 2


def descend(
    values: Array,
    gradient: Array,
    moments: Moments,
    weight: "Array | float",
    /,
    *,
    step: "Array | int",
    size: StepSize,
    preset: "Preset",
) -> tuple[Array, Moments]:
    """One step of Adam from a gradient, and into [0, 1].

    Parameters
    ----------
    values, gradient : array
        Masks, and the gradient of the invariance by cell.
    moments : Moments
        Before the step.
    weight : array or float
        λ / (H · W): derivative of the L1 term by cell; broadcast.
    step : array or int
        From 0: how many came before; broadcast.
    size : StepSize
        Of this step.
    preset : Preset
        With β₂, and how the L1 term is treated.

    Returns
    -------
    values : array
        Of the same shape.
    moments : Moments
        After the step.

    Notes
    -----
    Published: the L1 term's derivative, 0 at 0, is part of the gradient. Proximal: Adam sees the invariance alone, and
    the L1 term shrinks each value by ``learning_rate · weight / scale``, the step that the same derivative would make
    in Adam's metric; the scale never falls below ``weight``, so that nothing moves faster than the learning rate.
    """
    xp = namespace(values)
    fast, slow = size.momentum, preset.second_decay
    if not preset.proximal:
        gradient = gradient + weight * xp.sign(values)
    first = fast * moments.first + (1 - fast) * gradient
    second = slow * moments.second + (1 - slow) * gradient * gradient
    # The momentum that is cycled is corrected with its present value, as PyTorch does.
    direction, spread = first / (1 - fast ** (step + 1)), second / (1 - slow ** (step + 1))
    if preset.proximal:
        scale = xp.sqrt(spread + weight * weight) + _EPSILON * weight
        moved = values - size.learning_rate * (direction + weight) / scale
    else:
        moved = values - size.learning_rate * direction / (xp.sqrt(spread) + _EPSILON)
    return xp.clip(moved, 0, 1), Moments(first, second)
