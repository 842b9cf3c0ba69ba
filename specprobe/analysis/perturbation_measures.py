"""Four ways to measure how much the coefficients of a spectrum change, which need not agree on where.

D1 ``absolute``, ``|F(δ)|``: the perturbation itself. D2 ``magnitude_change``, ``||F(x + δ)| − |F(x)||``: turns of phase do
not count. D3 ``relative``, ``|F(δ)| / (|F(x)| + τ)``: against what was there, which natural images have at low frequencies.
D4 ``log_ratio``, ``log(1 + |F(x + δ)|) − log(1 + |F(x)|)``: with a sign, relative where the magnitude is well above 1.
All of the unitary FFT of each channel, averaged over channels.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from specprobe.arrays import Array, namespace
from specprobe.intervals import mean_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.analysis.moments import Moments

__all__ = ["MEASURES", "Measure", "changes", "measure_of"]

MEASURES = ("absolute", "magnitude_change", "relative", "log_ratio")
"""D1 to D4."""


class Measure(NamedTuple):
    """One of D1 to D4, averaged over images.

    Attributes
    ----------
    ring_mean, ring_mean_std : numpy.ndarray of float64, shape (R,)
        Mean of the cells of a ring, from ring 1; its spread over images.
    ring_mean_interval : numpy.ndarray of float64, shape (R, 2)
        Where the mean of all such images lies.
    ring_sum, ring_sum_interval : numpy.ndarray of float64, shape (R,) and (R, 2)
        All cells of a ring added up.
    band_mean, band_mean_std : numpy.ndarray of float64, shape (3,)
        Mean of the cells of the low, the middle and the high rings.
    band_mean_interval : numpy.ndarray of float64, shape (3, 2)
        Likewise.
    low_minus_high, low_minus_high_std : float
        Mean of a low cell less mean of a high cell, image by image: above 0, low frequencies change more.
    low_minus_high_interval : numpy.ndarray of float64, shape (2,)
        Likewise.
    map : numpy.ndarray of float64, shape (H, W), or None
        Centred, the mean (ring 0) included; None for results read from JSON.
    """

    ring_mean: "NDArray[np.float64]"
    ring_mean_std: "NDArray[np.float64]"
    ring_mean_interval: "NDArray[np.float64]"
    ring_sum: "NDArray[np.float64]"
    ring_sum_interval: "NDArray[np.float64]"
    band_mean: "NDArray[np.float64]"
    band_mean_std: "NDArray[np.float64]"
    band_mean_interval: "NDArray[np.float64]"
    low_minus_high: float
    low_minus_high_std: float
    low_minus_high_interval: "NDArray[np.float64]"
    map: "NDArray[np.float64] | None"


def measure_of(
    rings: "Moments",
    bands: "Moments",
    contrast: "Moments",
    /,
    *,
    signed: bool,
    ring_size: "NDArray[np.int64]",
    confidence: float,
    cells: "NDArray[np.float64] | None",
) -> Measure:
    """A measure with its intervals.

    Parameters
    ----------
    rings, bands, contrast : Moments
        Of arrays of shape (R,), (3,) and ().
    signed : bool
        Whether the measure can be below 0.
    ring_size : numpy.ndarray of int64, shape (R,)
        Cells of each ring.
    confidence : float
        Of the intervals.
    cells : numpy.ndarray of float64, shape (H, W), or None
        The map.

    Returns
    -------
    Measure
        Means, sums and differences.
    """
    infinite = (-np.inf, np.inf)

    def within(estimate: "Moments", bounds: tuple[float, float]) -> "NDArray[np.float64]":
        count, mean, std = estimate
        return mean_interval(mean, std, count, confidence=confidence, bounds=bounds)

    possible = infinite if signed else (0.0, np.inf)
    ring_interval = within(rings, possible)
    return Measure(
        ring_mean=rings.mean,
        ring_mean_std=rings.std,
        ring_mean_interval=ring_interval,
        ring_sum=rings.mean * ring_size,
        ring_sum_interval=ring_interval * ring_size[:, None],
        band_mean=bands.mean,
        band_mean_std=bands.std,
        band_mean_interval=within(bands, possible),
        low_minus_high=float(contrast.mean),
        low_minus_high_std=float(contrast.std),
        low_minus_high_interval=within(contrast, infinite),
        map=cells,
    )


def changes(
    before: Array, perturbation: Array, magnitude: Array, /, *, relative_offset: float
) -> list[Array]:
    """D2, D3 and D4 of each image.

    Parameters
    ----------
    before, perturbation : array, shape (N, C, H, W // 2 + 1), complex
        Half planes of the unitary FFT of clean images and of perturbations.
    magnitude : array, shape (N, C, H, W // 2 + 1)
        Of the perturbations.
    relative_offset : float
        τ.

    Returns
    -------
    list of array, shape (N, H, W // 2 + 1)
        Averaged over channels.
    """
    xp = namespace(before)
    clean, moved = xp.abs(before), xp.abs(before + perturbation)
    step = moved - clean
    planes = (xp.abs(step), magnitude / (clean + relative_offset), xp.log1p(step / (1 + clean)))
    return [xp.mean(plane, axis=1) for plane in planes]
