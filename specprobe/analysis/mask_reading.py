"""What learned masks say of two models: where the one needs more than the other."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.mask_energy import (
    ENERGY_BANDS,
    angular_bands,
    angular_energy,
    radial_bands,
    radial_energy,
)
from specprobe.analysis.mask_reading_bias import NUMBERS, mask_numbers
from specprobe.analysis.mask_reading_result import PROFILES, MaskDifference
from specprobe.analysis.mask_result import FourierMask
from specprobe.bootstrap import RESAMPLES, bootstrap_interval
from specprobe.errors import DataError, InputMismatch
from specprobe.intervals import CONFIDENCE, check_confidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["MaskDifference", "display_maps", "mask_difference"]

_ENERGIES = {"radial": radial_energy, "angular": angular_energy}
_BANDS = {"radial": radial_bands, "angular": angular_bands}


def mask_difference(
    first: "FourierMask | Sequence[FourierMask]",
    second: "FourierMask | Sequence[FourierMask]",
    /,
    *,
    bands: int = ENERGY_BANDS,
    images: "ArrayLike | None" = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> MaskDifference:
    """Energies of the masks of one model, less those of another.

    Parameters
    ----------
    first, second : FourierMask, or sequence of FourierMask
        Of the two models: a mask each; or a mask each for every image, of the same images in the same order, which are
        paired; or sequences of masks learned on the same parts of the images, which are paired by part.
    bands : int
        By radius, and by direction; as published if not given.
    images : array_like of bool or int, optional
        Which masks of images to take, such as those of images that both models get right.
    seed, resamples : int
        Of the bootstrap over images.
    confidence : float
        Of the intervals.

    Returns
    -------
    MaskDifference
        First less second. One mask each has exact numbers and no intervals; masks of images have intervals of their mean
        difference, and the share of images in which the first has more; parts have their spread.

    Raises
    ------
    DataError
        If masks are needed that results read from JSON do not hold.
    InputMismatch
        If the masks are not of one kind, one size, or the same images.
    ValueError
        If a setting is out of range.

    Notes
    -----
    Resampled are the images, so that intervals say what other images would give for the same two models; two models are
    no sample of their kinds of training. Masks of images under-determine what a model needs: that of an image is one
    sparse set of frequencies which suffice, of many.

    References
    ----------
    .. [1] N. Karantzas, E. Besier, J. Ortega Caro, X. Pitkow, A. S. Tolias, A. B. Patel, F. Anselmi, Understanding
       robustness and generalization of artificial neural networks through Fourier masks, Frontiers in Artificial
       Intelligence 5 (2022), 890016. arXiv:2203.08822
    """
    check_confidence(confidence)
    of, parts = _pairs(first, second, images)
    (_, height, width), shape = parts[0][0].image_shape, parts[0][0].image_shape
    left, right = (_rows([pair[side] for pair in parts], of, images) for side in (0, 1))
    values: dict[str, Any] = {}
    for profile in PROFILES:
        energies = [
            _energy(profile, [pair[s] for pair in parts], rows, bands) for s, rows in enumerate((left, right))
        ]
        held = (
            np.bincount(_BANDS[profile]((height, width), bands=bands).ravel() + 1, minlength=bands + 1)[1:]
            > 0
        )
        difference = np.where(held, energies[0] - energies[1], np.nan)
        values |= _summary(f"{profile}_difference", difference, of, seed, resamples, confidence)
        if of != "mask":
            values[f"{profile}_more"] = (difference > 0).sum(axis=0)
            values[f"{profile}_less"] = (difference < 0).sum(axis=0)
    numbers = [_numbers([pair[s] for pair in parts], rows) for s, rows in enumerate((left, right))]
    values["numbers"] = np.stack([_mean(side) for side in numbers], axis=1)
    values |= _summary("number_difference", numbers[0] - numbers[1], of, seed, resamples, confidence)
    return MaskDifference(
        of=of,
        image_shape=shape,
        masks=len(numbers[0]),
        unconverged=sum(_unconverged(mask, images) for pair in parts for mask in pair),
        seed=seed,
        resamples=resamples,
        confidence=confidence,
        difference_map=None
        if left is None or right is None
        else (left - right).mean(axis=0, dtype=np.float64),
        **values,
    )


def display_maps(maps: "Sequence[NDArray[np.floating[Any]]]", /) -> "list[NDArray[np.float64]]":
    """Difference maps on one scale, as published: for the eye alone.

    Parameters
    ----------
    maps : sequence of numpy.ndarray
        Differences of masks, of several pairs of models.

    Returns
    -------
    list of numpy.ndarray of float64
        All scaled by one minimum and one maximum to [0, 1], less 0.5. Equal masks are therefore *not* at 0, but where the
        difference of 0 comes to lie: read signs from the differences themselves.

    Raises
    ------
    InputMismatch
        If there are no maps.
    """
    if not maps:
        msg = "there are no maps to show; accepted are one or more"
        raise InputMismatch(msg)
    low, high = min(float(m.min()) for m in maps), max(float(m.max()) for m in maps)
    return [(m.astype(np.float64) - low) / (high - low if high > low else 1.0) - 0.5 for m in maps]


def _pairs(
    first: Any, second: Any, images: "ArrayLike | None"
) -> tuple[str, list[tuple[FourierMask, FourierMask]]]:
    """What is compared, and the results that are paired."""
    single = [isinstance(side, FourierMask) for side in (first, second)]
    if single[0] != single[1]:
        msg = "one side is a mask, the other a sequence of masks; accepted are two of a kind"
        raise InputMismatch(msg)
    lists = [[side] if single[0] else list(side) for side in (first, second)]
    if len(lists[0]) != len(lists[1]) or not lists[0]:
        msg = f"there are masks of {len(lists[0])} and {len(lists[1])} parts; accepted are as many of both, from 1"
        raise InputMismatch(msg)
    every = [mask for side in lists for mask in side]
    for name in ("image_shape", "per_image", "per_channel"):
        found = sorted({str(getattr(mask, name)) for mask in every})
        if len(found) > 1:
            msg = f"the masks have {name} {' and '.join(found)}; accepted are masks of one kind and size"
            raise InputMismatch(msg)
    of = "images" if every[0].per_image else "mask" if single[0] else "folds"
    if of == "images" and not single[0]:
        msg = (
            "there are several results with a mask for each image; accepted is one a model, or masks of parts"
        )
        raise InputMismatch(msg)
    if images is not None and of != "images":
        msg = "images are chosen, but the masks are of no single images; accepted are masks of images"
        raise InputMismatch(msg)
    pairs = list(zip(*lists, strict=True))
    for mine, its in pairs:
        digests = mine.image_digest, its.image_digest
        known = digests[0] is not None and digests[1] is not None
        if mine.images != its.images or (known and not np.array_equal(*digests)):
            msg = (
                f"the masks are of {mine.images} and {its.images} images, and not of the same ones in the same order; "
                "accepted are masks learned on the same images"
            )
            raise InputMismatch(msg)
    return of, pairs


def _rows(results: list[FourierMask], of: str, images: "ArrayLike | None") -> "NDArray[np.float32] | None":
    """Masks of one side, shape (pairs, C, H, W); None where a result from JSON lacks its own."""
    held = [result.masks for result in results]
    masks = [mask for mask in held if mask is not None]
    if len(masks) < len(held):
        if of == "mask":
            return None
        msg = "results read from JSON hold no masks; give those of .npz files, or as they were learned"
        raise DataError(msg)
    rows: NDArray[np.float32] = np.concatenate(masks) if images is None else masks[0][np.asarray(images)]
    if not len(rows):
        msg = "no image is chosen; accepted are one or more"
        raise InputMismatch(msg)
    return rows


def _energy(
    profile: str, results: list[FourierMask], rows: "NDArray[np.float32] | None", bands: int
) -> "NDArray[np.float64]":
    if rows is not None:
        return _ENERGIES[profile](rows, bands=bands, channels=True)
    kept: NDArray[np.float64] = getattr(results[0], f"{profile}_energy")
    if len(kept) != bands:
        msg = f"results read from JSON hold energies of {len(kept)} bands, not of {bands}; give those of .npz files"
        raise DataError(msg)
    return kept[None, :]


def _numbers(results: list[FourierMask], rows: "NDArray[np.float32] | None") -> "NDArray[np.float64]":
    if rows is not None:
        return mask_numbers(rows)
    known = np.full((1, len(NUMBERS)), np.nan)
    known[0, NUMBERS.index("density")] = results[0].density
    return known


def _summary(
    name: str, differences: "NDArray[np.float64]", of: str, seed: int, resamples: int, confidence: float
) -> dict[str, Any]:
    """Mean, spread and interval over the rows, as far as there are."""
    found: dict[str, Any] = {name: _mean(differences)}
    if of == "mask":
        return found
    apart = differences - found[name]
    found[f"{name}_std"] = np.sqrt(_mean(apart**2))
    if of == "images":
        found[f"{name}_interval"] = bootstrap_interval(
            differences, confidence=confidence, seed=seed, purpose="mask/difference", resamples=resamples
        )
    return found


def _mean(values: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Over the rows that are known; NaN where none is."""
    held = ~np.isnan(values)
    count = held.sum(axis=0)
    mean: NDArray[np.float64] = np.where(held, values, 0).sum(axis=0) / np.where(count > 0, count, np.nan)
    return mean


def _unconverged(mask: FourierMask, images: "ArrayLike | None") -> int:
    if mask.image_converged is None:
        return int(not mask.converged)
    chosen = mask.image_converged if images is None else mask.image_converged[np.asarray(images)]
    return int((~chosen).sum())
