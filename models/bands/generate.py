"""Images whose class evidence sits in known spatial-frequency bands.

Every image is a 1/f background plus one oriented random-phase texture in each of four disjoint
candidate bands. The orientation of each texture is drawn independently, and the label of a variant
depends on the orientations in its planted bands alone: all other textures are distractors. In the
redundant variant the planted bands have one orientation, so that each of them gives the label.

Frequencies are in cycles per image, ``f = fftfreq(32) * 32`` and ``rho = sqrt(f_y**2 + f_x**2)``;
the band ``(a, b)`` holds the coefficients with ``a <= rho < b``.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIZE = 32
SEED = 2024
ORIENTATIONS = 4
CANDIDATE_BANDS = ((3, 5), (7, 9), (10, 12), (13, 15))
# Falls with frequency as the background does, so that no band stands out to the eye.
TEXTURE_STD = (0.055, 0.040, 0.034, 0.030)
PLANTED_BANDS = {
    "low": ((3, 5),),
    "mid": ((7, 9),),
    "high": ((13, 15),),
    "low_high": ((3, 5), (13, 15)),
}
# One orientation in all of them: whichever a network reads, it finds the label.
REDUNDANT_BANDS = {"any": ((3, 5), (7, 9), (13, 15))}
VARIANTS = PLANTED_BANDS | REDUNDANT_BANDS
PARTS = {"train": 0, "test": 1}
# Background channels share most of their variance, as those of photographs do.
CHANNEL_MIXING = np.array([[0.90, 0.44, 0.0], [0.90, -0.22, 0.38], [0.90, -0.22, -0.38]])


class Ranges(NamedTuple):
    """Ranges of the uniform draws that vary from image to image, in pixel units."""

    mean: tuple[float, float]
    background_std: tuple[float, float]
    background_slope: tuple[float, float]
    planted_gain: tuple[float, float]
    distractor_gain: tuple[float, float]
    noise_std: tuple[float, float]


# Training images vary more, so that a network learns to ignore what lies outside the planted bands.
RANGES = {
    "train": Ranges((0.35, 0.65), (0.0, 0.16), (0.0, 2.0), (0.6, 2.4), (0.0, 2.4), (0.0, 0.10)),
    "test": Ranges((0.42, 0.58), (0.05, 0.10), (1.0, 1.4), (0.8, 1.2), (0.8, 1.2), (0.0, 0.0)),
}


def radius() -> NDArray[np.float64]:
    """Cycles per image of every FFT coefficient, shape (32, 32), DC at [0, 0]."""
    frequency = np.fft.fftfreq(SIZE) * SIZE
    rho: NDArray[np.float64] = np.hypot(frequency[:, None], frequency[None, :])
    return rho


def band(low: float, high: float) -> NDArray[np.bool_]:
    """Coefficients with ``low <= rho < high``, shape (32, 32), DC at [0, 0]."""
    rho = radius()
    inside: NDArray[np.bool_] = (low <= rho) & (rho < high)
    return inside


def planted(variant: str) -> NDArray[np.bool_]:
    """Coefficients that carry the label of a variant, shape (32, 32), DC at [0, 0]."""
    inside: NDArray[np.bool_] = np.any([band(*edges) for edges in VARIANTS[variant]], axis=0)
    return inside


def orientation() -> NDArray[np.int64]:
    """Wedge of 45 degrees that each coefficient lies in, centred on 0, 45, 90 and 135 degrees."""
    frequency = np.fft.fftfreq(SIZE) * SIZE
    degrees = np.degrees(np.arctan2(frequency[:, None], frequency[None, :]))
    wedge: NDArray[np.int64] = np.floor((degrees + 22.5) / 45).astype(np.int64) % ORIENTATIONS
    return wedge


def label_of(variant: str, orientations: NDArray[np.int64], /) -> NDArray[np.int64]:
    """Label of a variant for the orientations of its images.

    Parameters
    ----------
    variant : str
        A key of ``VARIANTS``.
    orientations : array, shape (N, 4), integer
        Wedge of each candidate band.

    Returns
    -------
    array, shape (N,), int64
        One planted band, or redundant ones: its wedge. Two that each count:
        ``2 * (first wedge // 2) + second wedge // 2``.
    """
    columns = [CANDIDATE_BANDS.index(edges) for edges in VARIANTS[variant]]
    if len(columns) == 1 or variant in REDUNDANT_BANDS:
        return orientations[:, columns[0]]
    first, second = columns
    return 2 * (orientations[:, first] // 2) + orientations[:, second] // 2


def generate(
    variant: str, part: str, count: int, seed: int = SEED, *, start: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images ``start`` to ``start + count - 1`` of a part, and their labels.

    Image i depends on the seed, the part and i alone, through a counter-based generator; in the
    part ``train`` also on the variant. The test images of all variants but ``any`` are the same, their
    labels are not.

    Parameters
    ----------
    variant : str
        ``low``, ``mid``, ``high``, ``low_high`` or ``any``.
    part : str
        ``train`` or ``test``.
    count : int
        Number of images.
    seed : int
        Non-negative, below 2**64.
    start : int
        Index of the first image.

    Returns
    -------
    images : array, shape (N, 32, 32, 3), uint8
    labels : array, shape (N,), int64
        Below 4.

    Raises
    ------
    ValueError
        If the variant or the part is unknown.
    """
    if variant not in VARIANTS:
        msg = f"unknown variant {variant!r}, expected one of {', '.join(VARIANTS)}"
        raise ValueError(msg)
    if part not in PARTS:
        msg = f"unknown part {part!r}, expected one of {', '.join(PARTS)}"
        raise ValueError(msg)
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    orientations = np.empty((count, len(CANDIDATE_BANDS)), np.int64)
    is_planted = np.array([edges in VARIANTS[variant] for edges in CANDIDATE_BANDS])
    redundant = variant in REDUNDANT_BANDS
    spectra = _spectra(variant)
    for i in range(count):
        bits = np.random.Philox(key=[seed, PARTS[part]], counter=[0, 0, 0, start + i])
        rng = np.random.Generator(bits)
        pixels, orientations[i] = _image(rng, RANGES[part], spectra, is_planted, redundant=redundant)
        images[i] = np.rint(np.clip(pixels, 0, 1) * 255).transpose(1, 2, 0)
    return images, label_of(variant, orientations)


class _Spectra(NamedTuple):
    """Frequency-domain arrays that do not change from image to image."""

    log_rho: NDArray[np.float64]
    not_dc: NDArray[np.bool_]
    not_planted: NDArray[np.bool_]
    texture: NDArray[np.float64]


def _spectra(variant: str) -> _Spectra:
    rho, wedge = radius(), orientation()
    not_dc = rho > 0
    texture = np.zeros((len(CANDIDATE_BANDS), ORIENTATIONS, SIZE, SIZE))
    for b, edges in enumerate(CANDIDATE_BANDS):
        for k in range(ORIENTATIONS):
            inside = band(*edges) & (wedge == k)
            # Parseval: coefficients of this modulus make pixels of unit standard deviation.
            texture[b, k] = inside * SIZE**2 / np.sqrt(inside.sum())
    return _Spectra(np.log(np.where(not_dc, rho, 1)), not_dc, not_dc & ~planted(variant), texture)


def _image(
    rng: np.random.Generator,
    ranges: Ranges,
    spectra: _Spectra,
    is_planted: NDArray[np.bool_],
    *,
    redundant: bool,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """One unclipped image, shape (3, 32, 32), and its four orientations."""
    orientations = rng.integers(ORIENTATIONS, size=len(CANDIDATE_BANDS))
    if redundant:
        orientations[is_planted] = orientations[is_planted][0]
    mean = rng.uniform(*ranges.mean)
    background_std = rng.uniform(*ranges.background_std)
    slope = rng.uniform(*ranges.background_slope)
    noise_std = rng.uniform(*ranges.noise_std)

    amplitude = np.exp(-slope * spectra.log_rho) * spectra.not_dc
    amplitude *= background_std * SIZE / np.sqrt(np.sum(amplitude**2))
    white = np.tensordot(CHANNEL_MIXING, rng.standard_normal((3, SIZE, SIZE)), axes=1)
    spectrum = np.fft.fft2(white) * amplitude

    phase = np.fft.fft2(rng.standard_normal((SIZE, SIZE)))
    phase /= np.abs(phase)
    for b, carries_label in enumerate(is_planted):
        gain = rng.uniform(*(ranges.planted_gain if carries_label else ranges.distractor_gain))
        colour = rng.uniform(0.75, 1.25, size=3)
        texture = gain * TEXTURE_STD[b] * spectra.texture[b, orientations[b]] * phase
        spectrum += colour[:, None, None] * texture

    if noise_std > 0:
        noise = np.fft.fft2(rng.standard_normal((3, SIZE, SIZE)))
        spectrum += noise_std * noise * spectra.not_planted
    return mean + np.fft.ifft2(spectrum).real, orientations
