"""Two heat maps as one: of further images, or of further frequencies."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.heatmap_document import ACCURACY_FIELDS, SETTINGS
from specprobe.analysis.heatmap_rings import RING_MAPS, cells_by_ring, spreads
from specprobe.analysis.moments import Moments
from specprobe.analysis.per_image import join, same
from specprobe.analysis.settings import check_same_settings
from specprobe.errors import InputMismatch
from specprobe.spectral.grid import frequency_index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.analysis.heatmap_result import FourierHeatmap

__all__ = ["PER_IMAGE", "joined", "merged"]

PER_IMAGE = (
    *("image_correct", "image_error_rate", "image_loss_increase"),
    *("image_ring_error_rate", "image_ring_loss_increase", "image_digest"),
)
"""Arrays with a row an image."""

_BY_FREQUENCY = ("loss_increase", "derivative_power", "layer_change", "layer_relative_change")
"""Means over images with a spread, an entry a frequency."""

_BY_RING = tuple(f"{part}_{name}" for part in ("ring", "band") for name in RING_MAPS)
"""Means over cells, whose spread over images is kept."""


def merged(first: "FourierHeatmap", second: "FourierHeatmap", /) -> "FourierHeatmap":
    """Map of both sets of images.

    Parameters
    ----------
    first, second : FourierHeatmap
        Of images that follow one another, with the same settings and frequencies.

    Returns
    -------
    FourierHeatmap
        At the confidence of ``first``.

    Raises
    ------
    InputMismatch
        If the settings differ.
    """
    check_same_settings(first, second, (*SETTINGS, "layers"))
    if not np.array_equal(first.evaluated, second.evaluated) or (first.flips is None) != (
        second.flips is None
    ):
        msg = "the results are of different frequencies or orders; accepted are results of the same ones"
        raise InputMismatch(msg)
    if first.refinement_levels != second.refinement_levels:
        msg = (
            f"the refinement levels are {first.refinement_levels} here and {second.refinement_levels} there; accepted "
            "are results that were refined alike"
        )
        raise InputMismatch(msg)
    changed: dict[str, Any] = {n: join(getattr(first, n), getattr(second, n)) for n in PER_IMAGE}
    for name in ("images", "clean_errors", "model_evaluations", "gradient_evaluations", "errors"):
        changed[name] = getattr(first, name) + getattr(second, name)
    for name in _BY_FREQUENCY:
        if getattr(first, f"{name}_std") is not None:
            both = _moments(first, f"mean_{name}", f"{name}_std").merge(
                _moments(second, f"mean_{name}", f"{name}_std")
            )
            changed |= {f"mean_{name}": both.mean, f"{name}_std": both.std}
    for name in _BY_RING:
        mine, its = getattr(first, f"{name}_std"), getattr(second, f"{name}_std")
        known = mine is not None and its is not None
        changed[f"{name}_std"] = (
            _moments(first, name, f"{name}_std").merge(_moments(second, name, f"{name}_std")).std
            if known
            else None
        )
    if first.flips is not None and second.flips is not None:
        changed["flips"] = first.flips + second.flips
    mine, its = first.accuracy, second.accuracy
    accuracy = None if mine is None or its is None else mine.merge(its)
    changed |= {name: getattr(accuracy, name, None) for name in ACCURACY_FIELDS}
    return replace(first, **changed)


def joined(first: "FourierHeatmap", second: "FourierHeatmap", /) -> "FourierHeatmap":
    """Map of both sets of frequencies.

    Parameters
    ----------
    first, second : FourierHeatmap
        Of the same images and settings, with per-image arrays and without first-order maps; no frequency is in both.

    Returns
    -------
    FourierHeatmap
        Each cell is that of the map which evaluated it, to the bit.

    Raises
    ------
    InputMismatch
        If images or settings differ, or frequencies do not.
    """
    check_same_settings(first, second, (*SETTINGS, "layers"))
    if not (same(first.image_digest, second.image_digest) and first.clean_errors == second.clean_errors):
        msg = "the results are of different images; accepted are those of the same ones"
        raise InputMismatch(msg)
    if (first.evaluated & second.evaluated).any():
        msg = "the results share frequencies; accepted are results of different ones"
        raise InputMismatch(msg)
    shape = first.image_size
    changed: dict[str, Any] = {
        "model_evaluations": first.model_evaluations + second.model_evaluations,
        "evaluated": first.evaluated | second.evaluated,
        "errors": first.errors + second.errors,
    }
    for name in _BY_FREQUENCY:
        for key in (f"mean_{name}", f"{name}_std"):
            mine, its = getattr(first, key), getattr(second, key)
            if mine is not None and its is not None:
                chosen = second.evaluated.reshape(-1, *(1 for _ in mine.shape[1:]))
                changed[key] = np.where(chosen, its, mine)
    multiplicity = np.bincount(frequency_index(shape).ravel())
    cells = [int(multiplicity[part.evaluated].sum()) for part in (first, second)]
    rings = [cells_by_ring(part.evaluated_cells) for part in (first, second)]
    for name in RING_MAPS:
        mine, its = getattr(first, f"image_{name}"), getattr(second, f"image_{name}")
        changed[f"image_{name}"] = (cells[0] * mine + cells[1] * its) / sum(cells)
        by_ring = _weighted(
            getattr(first, f"image_ring_{name}"), getattr(second, f"image_ring_{name}"), rings[0], rings[1]
        )
        changed[f"image_ring_{name}"] = by_ring
        stds = spreads(by_ring, rings[0] + rings[1], shape)
        changed |= {f"ring_{name}_std": stds[0], f"band_{name}_std": stds[1]}
    return replace(first, **changed)


def _moments(result: "FourierHeatmap", mean: str, std: str) -> Moments:
    return Moments(result.images, getattr(result, mean), getattr(result, std))


def _weighted(
    first: "NDArray[np.float32]",
    second: "NDArray[np.float32]",
    of_first: "NDArray[np.int64]",
    of_second: "NDArray[np.int64]",
) -> "NDArray[np.float32]":
    """Means by ring of both, each weighted by its cells; NaN where neither has any."""
    left, right = (
        np.where(cells > 0, part.astype(np.float64) * cells, 0.0)
        for part, cells in ((first, of_first), (second, of_second))
    )
    both = of_first + of_second
    mean = np.divide(left + right, both, out=np.full(left.shape, np.nan), where=both > 0)
    found: NDArray[np.float32] = mean.astype(np.float32)
    return found
