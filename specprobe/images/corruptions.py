"""Pictures as cameras, weather and files spoil them, in five severities.

Kinds and strengths follow common benchmarks [1]_; pictures made here are not those of the benchmarks, since noise is drawn
by image and fog is made in another way.

.. [1] D. Hendrycks, T. Dietterich, Benchmarking neural network robustness to common corruptions and perturbations,
   ICLR 2019. arXiv:1903.12261
"""

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from specprobe.errors import InputMismatch
from specprobe.randomness import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CORRUPTIONS", "SEVERITIES", "corrupt"]

SEVERITIES = (1, 2, 3, 4, 5)
_SMALL = 64
"""Images with a shorter side below this take the milder strengths that are in use for small images."""

_STRENGTHS: Mapping[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "gaussian-noise": ((0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot-noise": ((500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),
    "gaussian-blur": ((0.4, 0.6, 0.7, 0.8, 1.0), (1.0, 2.0, 3.0, 4.0, 6.0)),
    "contrast": ((0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
    "fog": ((0.2, 0.5, 0.75, 1.0, 1.5), (1.5, 2.0, 2.5, 2.5, 3.0)),
    "pixelate": ((0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg": ((80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
}
"""By severity: of small images, and of others."""

CORRUPTIONS = tuple(_STRENGTHS)
"""Names of the kinds."""


def corrupt(
    images: "NDArray[np.float32]", kind: str, /, *, severity: int, seed: int = 0, start: int = 0
) -> "NDArray[np.float32]":
    """Spoil images.

    Parameters
    ----------
    images : numpy.ndarray of float32, shape (N, C, H, W)
        Pixels in [0, 1], grey or RGB.
    kind : str
        One of :data:`CORRUPTIONS`.
    severity : int
        From 1 to 5.
    seed : int
        Of noise and fog.
    start : int
        Index of the first image in its source: what is drawn for an image depends on nothing else.

    Returns
    -------
    numpy.ndarray of float32, shape (N, C, H, W)
        Pixels in [0, 1].

    Raises
    ------
    InputMismatch
        If kind or severity is none of those accepted, or the images are neither grey nor RGB.
    """
    if kind not in _STRENGTHS or severity not in SEVERITIES:
        msg = f"corruption is {kind!r} of severity {severity!r}; accepted are {', '.join(CORRUPTIONS)} of severity 1 to 5"
        raise InputMismatch(msg)
    if images.ndim != 4 or images.shape[1] not in {1, 3}:
        msg = f"images have shape {images.shape}; accepted are grey and RGB ones, (N, 1 or 3, H, W)"
        raise InputMismatch(msg)
    small, large = _STRENGTHS[kind]
    strength = (small if min(images.shape[2:]) < _SMALL else large)[severity - 1]
    spoil = _KINDS[kind]
    made = np.empty_like(images, np.float32)
    for place, image in enumerate(images):
        made[place] = spoil(image, strength, generator(seed, f"corruption/{kind}", start + place))
    return np.clip(made, 0, 1, out=made)


def _gaussian_noise(image: Any, deviation: float, random: np.random.Generator) -> Any:
    return image + random.normal(scale=deviation, size=image.shape)


def _shot_noise(image: Any, photons: float, random: np.random.Generator) -> Any:
    return random.poisson(np.clip(image, 0, 1) * photons) / photons


def _gaussian_blur(image: Any, deviation: float, _: np.random.Generator) -> Any:
    return gaussian_filter(image, (0, deviation, deviation), mode="nearest")


def _contrast(image: Any, factor: float, _: np.random.Generator) -> Any:
    mean = image.mean(axis=(1, 2), keepdims=True)
    return mean + factor * (image - mean)


def _fog(image: Any, amount: float, random: np.random.Generator) -> Any:
    """Haze whose power falls with the third power of the frequency, added and brought back to the range of the image."""
    height, width = image.shape[1:]
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    rho = np.hypot(rows, columns)
    rho[0, 0] = np.inf
    spectrum = np.fft.rfft2(random.standard_normal((height, width))) * rho**-1.5
    haze = np.fft.irfft2(spectrum, s=(height, width))
    low, high = haze.min(), haze.max()
    haze = (haze - low) / (high - low) if high > low else np.zeros_like(haze)
    top = image.max()
    return (image + amount * haze) * top / (top + amount) if top + amount > 0 else image


def _pixelate(image: Any, share: float, _: np.random.Generator) -> Any:
    height, width = image.shape[1:]
    smaller = (max(1, round(width * share)), max(1, round(height * share)))
    planes = [Image.fromarray(plane.astype(np.float32)) for plane in image]
    return np.stack(
        [
            np.asarray(
                plane.resize(smaller, Image.Resampling.BOX).resize((width, height), Image.Resampling.NEAREST)
            )
            for plane in planes
        ]
    )


def _jpeg(image: Any, quality: int, _: np.random.Generator) -> Any:
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "JPEG", quality=quality)
    with Image.open(file) as opened:
        held = np.asarray(opened, np.float32) / 255
    return held[None] if held.ndim == 2 else held.transpose(2, 0, 1)


_KINDS: dict[str, Callable[[Any, Any, np.random.Generator], Any]] = {
    "gaussian-noise": _gaussian_noise,
    "shot-noise": _shot_noise,
    "gaussian-blur": _gaussian_blur,
    "contrast": _contrast,
    "fog": _fog,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
}
