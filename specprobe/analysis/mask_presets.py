"""Hyper-parameters of learning a Fourier mask: the published ones, and ours."""

from dataclasses import dataclass
from typing import Literal, overload

__all__ = ["PRESETS", "Preset", "TrustRegion", "preset_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How a mask is learned by Adam. An epoch of a mask of one image is one step.

    Attributes
    ----------
    name : str
        Of the preset.
    sparsity_weight : float
        λ of the objective ``invariance + λ · ‖M‖₁ / (H · W)``.
    learning_rate : float
        Largest one of the schedule.
    schedule : {"one-cycle", "cosine"}
        See :mod:`specprobe.analysis.mask_optimiser`.
    scheduled_epochs, scheduled_steps : int or None
        Epochs and steps an epoch that the schedule is laid out for; those that are run if None.
    warm_up : float
        Share of the schedule in which the steps grow; the stop rule counts from its end on.
    second_decay : float
        β₂ of Adam.
    proximal : bool
        Whether the L1 term shrinks values by a proximal step, which makes exact zeros, or is part of the gradient.
    exponent_limit : float
        The invariance of an image is ``exp(d²)`` up to this d², d being the change of its loss in nats.
    beyond : {"constant", "linear"}
        What stands in for the factor ``exp(d²) · 2 d`` of the gradient above: ``exp(limit) · 2 d``, or its last value.
    images_per_step : int
        At most; fewer where an epoch would have fewer than ``steps_per_epoch`` steps.
    steps_per_epoch : int
        See there.
    max_epochs : int
        Where learning ends in any case.
    held_out : float
        Share of the images that no gradient is taken on.
    weight_decrease, weight_increase : float
        Factors of λ after an epoch whose mask keeps too little, and, up to λ itself, after one that keeps enough; of one
        mask for all images.
    patience : int
        Consecutive epochs without a change that end learning.
    density_tolerance : float
        Change of the density that is none.
    density_relative : bool
        Whether that is in units of the density, or of a mask of ones.
    invariance_tolerance : float or None
        Change of ``d²`` that is none; None where it is not looked at.
    settled : float or None
        Change of the density in the last epoch, in units of the density, up to which a mask has settled though the stop
        rule did not end it; None if only the rule counts.
    keep : {"last", "sparsest"}
        Which of the masks that keep enough is the result.
    """

    name: str
    sparsity_weight: float
    learning_rate: float
    schedule: Literal["one-cycle", "cosine"]
    scheduled_epochs: int | None = None
    scheduled_steps: int | None = None
    warm_up: float = 0.1
    second_decay: float
    proximal: bool
    exponent_limit: float
    beyond: Literal["constant", "linear"]
    images_per_step: int
    steps_per_epoch: int = 1
    max_epochs: int
    held_out: float = 0.0
    weight_decrease: float = 1.0
    weight_increase: float = 1.0
    patience: int
    density_tolerance: float
    density_relative: bool = False
    invariance_tolerance: float | None = None
    settled: float | None = None
    keep: Literal["last", "sparsest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRegion:
    """How masks of single images are learned, see :mod:`specprobe.analysis.mask_trust_region`.

    Attributes
    ----------
    name : str
        Of the preset.
    sparsity_weight : float
        λ of the objective ``invariance + λ · ‖M‖₁ / (H · W)``.
    exponent_limit : float
        The invariance of an image is ``exp(d²)`` up to this d², d being the change of its loss in nats.
    beyond : {"constant", "linear"}
        As of :class:`Preset`.
    max_epochs : int
        Steps, each of one gradient, after which learning ends in any case.
    radius : float
        By which a value of a mask may move in the first step.
    grow, shrink : float
        Factors of the radius after a step that lowers the objective by nearly what the model of it says, and after one
        that does so by far less, or not at all.
    smallest_radius : float
        Below it a mask has settled.
    memory : float
        Weight of a running mean of the objective, against which a step is held, from a step to the next.
    aim, largest_aim : float
        Fall of the loss, in nats, that is aimed at first where a mask settles that changes the prediction, doubled
        each time that it still does, and the largest one.
    tolerance : float
        Decrease of the objective, in units of the mask's price ``λ · density``, that is none.
    """

    name: str
    sparsity_weight: float
    exponent_limit: float
    beyond: Literal["constant", "linear"]
    max_epochs: int
    radius: float
    grow: float
    shrink: float
    smallest_radius: float
    memory: float
    aim: float
    largest_aim: float
    tolerance: float


_PUBLISHED = {
    "name": "karantzas",
    "schedule": "one-cycle",
    "second_decay": 0.999,
    "proximal": False,
    "exponent_limit": 88.0,  # exp of more is infinite in float32, in which the published code fails
    "beyond": "constant",
    "images_per_step": 1,
    "keep": "last",
}
_LIMIT = 0.1
"""|d| = 0.32 nats: one image that the mask breaks must not stop all others."""

PRESETS: dict[tuple[str, bool], Preset | TrustRegion] = {
    ("karantzas", False): Preset(
        **_PUBLISHED,  # type: ignore[arg-type]
        sparsity_weight=0.2,
        learning_rate=1e-3,
        max_epochs=100,
        patience=7,
        density_tolerance=1e-5,
    ),
    ("karantzas", True): Preset(
        **_PUBLISHED,  # type: ignore[arg-type]
        sparsity_weight=0.07,
        learning_rate=0.2,
        scheduled_epochs=20_000,
        scheduled_steps=200,
        max_epochs=20_000,
        patience=300,
        density_tolerance=1e-5,
        invariance_tolerance=1e-6,
    ),
    ("default", False): Preset(
        name="default",
        schedule="cosine",
        second_decay=0.95,
        proximal=True,
        exponent_limit=_LIMIT,
        beyond="linear",
        density_relative=True,
        keep="sparsest",
        sparsity_weight=0.2,
        images_per_step=32,
        steps_per_epoch=40,
        learning_rate=0.04,
        max_epochs=20,
        held_out=0.2,
        weight_decrease=0.5,
        weight_increase=1.25,
        patience=3,
        settled=0.01,
        density_tolerance=1e-3,
    ),
    ("default", True): TrustRegion(
        name="default",
        sparsity_weight=0.07,
        exponent_limit=_LIMIT,
        beyond="linear",
        max_epochs=1000,
        radius=0.1,
        grow=2.0,
        shrink=0.5,
        smallest_radius=1e-3,
        memory=0.7,
        aim=0.01,
        largest_aim=1.0,
        tolerance=2e-3,
    ),
}
"""By name, and whether each image has a mask of its own."""


@overload
def preset_of(name: str, /, *, per_image: Literal[False]) -> Preset: ...


@overload
def preset_of(name: str, /, *, per_image: bool) -> Preset | TrustRegion: ...


def preset_of(name: str, /, *, per_image: bool) -> Preset | TrustRegion:
    """Hyper-parameters by name.

    Parameters
    ----------
    name : {"default", "karantzas"}
        As published in [1]_, in the authors' code; or ours, which needs fewer gradients.
    per_image : bool
        Whether each image has a mask of its own.

    Returns
    -------
    Preset or TrustRegion
        Frozen; the latter for ours with a mask for each image.

    Raises
    ------
    ValueError
        If there is no such preset.

    References
    ----------
    .. [1] N. Karantzas, E. Besier, J. Ortega Caro, X. Pitkow, A. S. Tolias, A. B. Patel, F. Anselmi, Understanding
       robustness and generalization of artificial neural networks through Fourier masks, Frontiers in Artificial
       Intelligence 5 (2022), 890016. arXiv:2203.08822
    """
    if (name, per_image) not in PRESETS:
        msg = f"preset is {name!r}; accepted are 'default' and 'karantzas'"
        raise ValueError(msg)
    return PRESETS[name, per_image]
