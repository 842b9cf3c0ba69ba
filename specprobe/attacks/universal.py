"""Single-Fourier attack: one wave, the same for all images."""

from typing import TYPE_CHECKING

import numpy as np

from specprobe.arrays import Array, namespace
from specprobe.spectral.basis import basis_images

if TYPE_CHECKING:
    from specprobe.attacks.oracle import Oracle
    from specprobe.attacks.streams import Streams
    from specprobe.attacks.threat import Norm, Threat

__all__ = ["universal", "universal_perturbation"]

_PHASE_DEGREES = 45.0
"""Cosine and sine in equal parts: of opposite frequencies, which are one wave at phase 0, it makes two."""


def universal(
    oracle: "Oracle",
    threat: "Threat",
    streams: "Streams",  # noqa: ARG001 - all attacks are called alike
    /,
    *,
    frequency: tuple[int, int],
) -> Array:
    """Images with a wave of one frequency added, the same for all.

    Parameters
    ----------
    oracle : Oracle
        Whose images they are; it is not asked for anything.
    threat : Threat
        Norm and size of the wave; the box, and the band where there is one, cut it image by image.
    streams : Streams
        Not drawn from.
    frequency : (int, int)
        ``(f_y, f_x)`` in cycles per image.

    Returns
    -------
    array, shape (N, C, H, W)
        In ball and box.

    Raises
    ------
    InputMismatch
        If the frequency lies outside the grid of the images.

    Notes
    -----
    For linf the signs of the wave, times epsilon [1]_; for l2 and l1 the wave itself, scaled. Which frequency hurts most
    is a question to all the images, not to those of an oracle: see :mod:`specprobe.attacks.universal_search`.

    References
    ----------
    .. [1] Y. Tsuzuku, I. Sato, On the structural sensitivity of deep convolutional networks to the directions of
       Fourier basis functions, CVPR 2019. arXiv:1809.04098
    """
    images = oracle.images
    wave = universal_perturbation(frequency, norm=threat.norm, epsilon=threat.epsilon, like=images)
    return threat.project(images, images + wave)


def universal_perturbation(
    frequency: tuple[int, int], /, *, norm: "Norm", epsilon: float, like: Array
) -> Array:
    """Wave of one frequency, of a given norm, equal in all channels.

    Parameters
    ----------
    frequency : (int, int)
        ``(f_y, f_x)`` in cycles per image.
    norm : {"linf", "l2", "l1"}
        Over all pixels and channels.
    epsilon : float
        Size in that norm.
    like : array, shape (..., C, H, W)
        Names shape, library, device and dtype.

    Returns
    -------
    array, shape (1, C, H, W)
        For linf ``±epsilon``; where the wave is 0 it counts as positive.

    Raises
    ------
    InputMismatch
        If the frequency lies outside the grid of the images.
    """
    channels, height, width = like.shape[-3:]
    xp = namespace(like)
    wave = basis_images(
        np.asarray([frequency]), shape=(height, width), like=like, phase_degrees=_PHASE_DEGREES
    )
    sizes = xp.abs(wave)
    if norm == "linf":
        # Rounding decides about zeros of the wave, and must not decide about their sign.
        positive = wave > -1e-5 * xp.max(sizes)
        wave = xp.where(positive, xp.ones_like(wave), -xp.ones_like(wave)) * epsilon
    elif norm == "l2":
        wave = wave * (epsilon / (channels * float(xp.sum(wave * wave, dtype=xp.float64))) ** 0.5)
    else:
        wave = wave * (epsilon / (channels * float(xp.sum(sizes, dtype=xp.float64))))
    return xp.broadcast_to(wave[:, None, :, :], (1, channels, height, width))
