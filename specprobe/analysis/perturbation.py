"""Where adversarial perturbations lie in the spectrum."""

import operator
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.moments import Moments, moments
from specprobe.analysis.perturbation_measures import changes
from specprobe.analysis.perturbation_result import NUMBERS, PerturbationSpectrum
from specprobe.arrays import Array, like, namespace, to_host
from specprobe.errors import EmptyInput, InputMismatch
from specprobe.intervals import CONFIDENCE, check_confidence
from specprobe.spectral.arguments import Shape, check_batch
from specprobe.spectral.grid import ring_bands, ring_sizes
from specprobe.spectral.power import full_plane, image_power, ring_means, ring_sums, wedge_sums
from specprobe.spectral.profiles import (
    band_shares,
    centroid_cycles_per_image,
    cumulative_shares,
    half_power_cycles_per_image,
    ring_shares,
    shares,
)
from specprobe.streaming import SHARD_IMAGES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RELATIVE_OFFSET", "PerturbationSpectrum", "array_spectrum", "perturbation_spectrum"]

RELATIVE_OFFSET = 1 / 255
"""τ of the relative measure unless another one is asked for: one step of an 8-bit image. White noise of that size has
coefficients of that size, whatever the size of the image, since the FFT is unitary."""

_ROUNDING = 1e-12
"""Of the whole power: what float32 leaves off the mean of a constant."""


def perturbation_spectrum(
    clean: Array,
    adversarial: Array,
    /,
    *,
    rows: "NDArray[Any] | None" = None,
    digests: "NDArray[np.uint8] | None" = None,
    relative_offset: float = RELATIVE_OFFSET,
    confidence: float = CONFIDENCE,
) -> PerturbationSpectrum:
    """Where the differences between clean and adversarial images lie in the spectrum.

    Parameters
    ----------
    clean : array, shape (N, C, H, W), float32 or float64
        Pixels in [0, 1], any library and device.
    adversarial : array, shape (N, C, H, W)
        Of the same library and device.
    rows : numpy.ndarray of int, shape (n,), or of bool, shape (N,), optional
        Only these images.
    digests : numpy.ndarray of uint8, shape (N, 16), optional
        Which images these are, all N of them.
    relative_offset : float
        τ of the relative measure, above 0.
    confidence : float
        Of the intervals.

    Returns
    -------
    PerturbationSpectrum
        With the maps, and some numbers an image; part of a larger one after
        :meth:`~specprobe.analysis.perturbation_result.PerturbationSpectrum.merge`.

    Raises
    ------
    InputMismatch
        If the arrays are no real floating batches of one shape, or rows or digests do not fit them.
    EmptyInput
        If there are no images.
    ValueError
        If the offset or the confidence is out of range.

    Notes
    -----
    With δ the difference, F the unitary FFT of each channel, and averages over channels and images, all four measures
    of change that are in use are given, since they differ in where they see a perturbation: see
    :mod:`~specprobe.analysis.perturbation_measures`. Power is that of δ, each image's divided by its total off the mean
    before the average, so that images count alike.

    Perturbations of L∞ attacks are made of signs, which spreads their power over all frequencies: for the frequencies
    that a model reacts to, use L2 attacks or gradients.

    References
    ----------
    .. [1] B. Huang et al., What do adversarially trained neural networks focus: a Fourier domain-based study, 2022.
       arXiv:2203.08739
    .. [2] J. Ortega Caro et al., Local convolutions cause an implicit bias towards high frequency adversarial examples,
       2020. arXiv:2006.11440
    """
    check_batch(clean)
    check_batch(adversarial)
    if tuple(clean.shape) != tuple(adversarial.shape):
        msg = (
            f"the clean images have shape {tuple(clean.shape)}, the adversarial ones {tuple(adversarial.shape)}; "
            "accepted is one adversarial image for each clean one"
        )
        raise InputMismatch(msg)
    if not 0 < relative_offset < np.inf:
        msg = f"relative_offset is {relative_offset}; accepted are finite numbers above 0, such as 1 / 255"
        raise ValueError(msg)
    check_confidence(confidence)
    parts = []
    for block in _blocks(rows, clean.shape[0]):
        before = _taken(clean, block)
        found = _spectrum(_taken(adversarial, block) - before, before, relative_offset=relative_offset)
        parts.append(_result(found, "perturbation", digests, block, confidence))
    return reduce(PerturbationSpectrum.merge, parts)


def array_spectrum(
    values: Array,
    /,
    *,
    of: str = "gradient",
    clean: Array | None = None,
    rows: "NDArray[Any] | None" = None,
    digests: "NDArray[np.uint8] | None" = None,
    confidence: float = CONFIDENCE,
) -> PerturbationSpectrum:
    """The same profiles of anything else that has the shape of images, such as input gradients.

    Parameters
    ----------
    values : array, shape (N, C, H, W), float32 or float64
        Any library and device.
    of : str
        What they are, for labels.
    clean : array, shape (N, C, H, W), optional
        Images, for the profile of their own power.
    rows, digests, confidence
        As of :func:`perturbation_spectrum`.

    Returns
    -------
    PerturbationSpectrum
        Of the measures, it has the absolute one alone: values that are not added to images do not change them.

    Raises
    ------
    InputMismatch
        If the arrays are no real floating batches of one shape, or rows or digests do not fit them.
    EmptyInput
        If there are no images.
    ValueError
        If the confidence is out of range.
    """
    check_batch(values)
    if clean is not None:
        check_batch(clean)
        if tuple(clean.shape) != tuple(values.shape):
            msg = (
                f"the values have shape {tuple(values.shape)}, the clean images {tuple(clean.shape)}; accepted is one "
                "shape for both"
            )
            raise InputMismatch(msg)
    check_confidence(confidence)
    parts = []
    for block in _blocks(rows, values.shape[0]):
        before = None if clean is None else _taken(clean, block)
        found = _spectrum(_taken(values, block), before, relative_offset=None)
        parts.append(_result(found, of, digests, block, confidence))
    return reduce(PerturbationSpectrum.merge, parts)


def _blocks(rows: "NDArray[Any] | None", images: int) -> "list[NDArray[np.int64]]":
    """Which images are looked at together: memory does not grow with their number."""
    chosen = np.arange(images) if rows is None else np.asarray(rows)
    if chosen.dtype == np.bool_:
        if chosen.shape != (images,):
            msg = f"rows are flags of shape {chosen.shape}; accepted are ({images},), one for each image"
            raise InputMismatch(msg)
        chosen = np.flatnonzero(chosen)
    if chosen.size == 0:
        msg = "there are no images to analyse"
        raise EmptyInput(msg)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= images:
        msg = f"rows are no list of indices from 0 to {images - 1}; accepted are these, or one flag for each image"
        raise InputMismatch(msg)
    chosen = chosen.astype(np.int64)
    return [chosen[start : start + SHARD_IMAGES] for start in range(0, chosen.size, SHARD_IMAGES)]


def _taken(array: Array, rows: "NDArray[np.int64]") -> Array:
    """Rows of an array; a view where they are consecutive."""
    first = int(rows[0]) if rows.size else 0
    if np.array_equal(rows, np.arange(first, first + rows.size)):
        return array[first : first + rows.size, ...]
    return namespace(array).take(array, like(rows, array), axis=0)


def _spectrum(values: Array, clean: Array | None, *, relative_offset: float | None) -> dict[str, Any]:
    """Averages and values an image of a block: planes stay where the images are, profiles come to the host."""
    xp = namespace(values)
    images, shape = values.shape[0], (values.shape[-2], values.shape[-1])
    largest = xp.max(xp.abs(values), axis=(1, 2, 3))
    rows = np.flatnonzero(to_host(xp.isfinite(largest) & (largest > 0)))
    values, largest, before = _of_rows((values, largest, clean), rows)
    # In units of the largest entry, so that no power under- or overflows: gradients may be of any size.
    scale = xp.reshape(largest, (-1, 1, 1, 1))
    waves = xp.fft.rfftn(values / scale, axes=(-2, -1), norm="ortho")
    squared = xp.real(waves) ** 2 + xp.imag(waves) ** 2
    power = xp.mean(squared, axis=1)
    sums = to_host(ring_sums(power, shape=shape)).astype(np.float64)
    total = sums.sum(axis=1)
    kept = np.flatnonzero(sums[:, 1:].sum(axis=1) > _ROUNDING * total)
    magnitude = xp.sqrt(squared) * scale
    planes = [xp.mean(magnitude, axis=1)]
    if before is not None and relative_offset is not None:
        spectrum = xp.fft.rfftn(before, axes=(-2, -1), norm="ortho")
        planes += changes(spectrum, waves * scale, magnitude, relative_offset=relative_offset)
    power, before, *planes = _of_rows((power, before, *planes), kept)
    sums, total = sums[kept], total[kept]
    size = to_host(largest).astype(np.float64)[kept] * np.sqrt(values.shape[1] * total)
    return {
        "map_shape": shape,
        "images": images,
        "dropped": images - kept.size,
        "relative_offset": relative_offset,
        **_power_part(power, sums, shape),
        **_numbers(sums, size, rows[kept], images, shape),
        **_measure_part(planes, shape),
        **_clean_part(before, shape),
    }


def _of_rows(arrays: tuple[Array | None, ...], rows: "NDArray[np.int64]") -> list[Any]:
    return [None if array is None else _taken(array, rows) for array in arrays]


def _power_part(power: Array, sums: "NDArray[np.float64]", shape: Shape) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rings = ring_shares(sums)
    wedges = shares(to_host(wedge_sums(power, shape=shape)).astype(np.float64))
    for name, profile in (
        ("ring_sum_share", rings),
        ("cumulative_share", cumulative_shares(rings)),
        ("angular_share", wedges),
    ):
        _, found[name], found[f"{name}_std"] = moments(profile)
    if not len(sums):
        return found | {"power_map": np.full(shape, np.nan)}
    xp = namespace(power)
    weights = like(1 / (len(sums) * sums[:, 1:].sum(axis=1)), power)[:, None, None]
    half = xp.sum(xp.astype(power, xp.float64) * weights, axis=0)
    power_map = to_host(full_plane(half, shape=shape)).copy()
    power_map[shape[0] // 2, shape[1] // 2] = 0
    return found | {"power_map": power_map}


def _numbers(
    sums: "NDArray[np.float64]",
    size: "NDArray[np.float64]",
    rows: "NDArray[np.int64]",
    images: int,
    shape: Shape,
) -> dict[str, Any]:
    rings = ring_shares(sums)
    values = [
        *band_shares(rings, shape=shape).T,
        centroid_cycles_per_image(rings),
        half_power_cycles_per_image(rings),
        sums[:, 0] / sums.sum(axis=1),
        size,
    ]
    found: dict[str, Any] = {}
    for name, of_image in zip(NUMBERS, values, strict=True):
        _, mean, std = moments(of_image)
        shown = np.full(images, np.nan)
        shown[rows] = of_image
        found |= {name: float(mean), f"{name}_std": float(std), f"image_{name}": shown}
    return found


def _measure_part(planes: list[Array], shape: Shape) -> dict[str, Any]:
    size = ring_sizes(shape)
    bands = ring_bands(shape)
    rings, means, contrasts, maps = [], [], [], []
    for plane in planes:
        of_rings = to_host(ring_means(plane, shape=shape)).astype(np.float64)
        of_bands = np.stack(
            [(of_rings[:, b] * size[b]).sum(axis=1) / max(int(size[b].sum()), 1) for b in bands], axis=1
        )
        rings.append(moments(of_rings[:, 1:]))
        means.append(moments(of_bands))
        contrasts.append(moments(of_bands[:, 0] - of_bands[:, 2]))
        maps.append(_mean_map(plane, shape))
    found: dict[str, Any] = {"measure_maps": np.stack(maps)}
    for name, parts in (
        ("measure_rings", rings),
        ("measure_bands", means),
        ("measure_low_minus_high", contrasts),
    ):
        found |= {name: np.stack([p.mean for p in parts]), f"{name}_std": np.stack([p.std for p in parts])}
    return found


def _mean_map(plane: Array, shape: Shape) -> "NDArray[np.float64]":
    if not plane.shape[0]:
        return np.full(shape, np.nan)
    xp = namespace(plane)
    half = xp.sum(plane, axis=0, dtype=xp.float64) / plane.shape[0]
    return to_host(full_plane(half, shape=shape))


def _clean_part(clean: Array | None, shape: Shape) -> dict[str, Any]:
    """Profile of the images' own power, without those that are constant."""
    if clean is None:
        return {}
    sums = to_host(ring_sums(image_power(clean), shape=shape)).astype(np.float64)
    known = sums[:, 1:].sum(axis=1) > _ROUNDING * sums.sum(axis=1)
    found: Moments = moments(ring_shares(sums[known]))
    return dict(zip(("clean_images", "clean_ring_sum_share", "clean_ring_sum_share_std"), found, strict=True))


def _result(
    found: dict[str, Any],
    of: str,
    digests: "NDArray[np.uint8] | None",
    rows: "NDArray[np.int64]",
    confidence: float,
) -> PerturbationSpectrum:
    if digests is not None and operator.index(rows.max()) >= len(digests):
        msg = f"there are {len(digests)} digests; accepted is one for each image"
        raise InputMismatch(msg)
    return PerturbationSpectrum(
        of=of,
        confidence=confidence,
        image_digest=None if digests is None else digests[rows],
        **found,
    )
