"""A heat map as JSON values, and back."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.results import finite
from specprobe.spectral.grid import real_frequencies

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.analysis.heatmap_result import FourierHeatmap

__all__ = ["ACCURACY_FIELDS", "MAPS", "SETTINGS", "heatmap_document", "heatmap_fields"]

SETTINGS = ("image_size", "l2_norm_per_channel", "basis_phase", "random_sign", "clip", "seed", "target")
"""What results must share to be merged."""

ACCURACY_FIELDS = ("correct", "class_histogram", "prediction_histogram")
"""Counts that an accuracy is made of."""

MAPS = ("error_rate", "loss_increase", "derivative_rms", "flip_probability")
"""Estimates that are maps."""

_COUNTS = ("images", "clean_errors", "model_evaluations", "gradient_evaluations", "confidence")
_FLOATS = ("loss_increase_std", "mean_derivative_power", "derivative_power_std")
_CORRELATIONS = ("rank_correlation", "derivative_rms_rank_correlation")


def heatmap_document(result: "FourierHeatmap", /) -> dict[str, Any]:
    """Names and JSON values of a heat map.

    Parameters
    ----------
    result : FourierHeatmap
        Of any settings.

    Returns
    -------
    dict
        Maps as nested lists, null where a frequency was not evaluated.
    """
    content: dict[str, Any] = {name: getattr(result, name) for name in SETTINGS}
    for name in ("clean_error_rate", *MAPS):
        content |= {key: getattr(result, key) for key in (name, f"{name}_interval")}
    for name in _CORRELATIONS:
        bounds = getattr(result, f"{name}_interval")
        known = bounds is not None and np.isfinite(bounds).all()
        content |= {name: getattr(result, name), f"{name}_interval": bounds if known else None}
    for name in _FLOATS:
        values = getattr(result, name)
        content[name] = None if values is None else result.of_cells(values)
    content |= {name: getattr(result, name) for name in ("frequencies_evaluated", *_COUNTS)}
    measured = result.accuracy
    content["clean_accuracy"] = None if measured is None else measured.accuracy
    content["clean_accuracy_interval"] = None if measured is None else measured.accuracy_interval
    content["chance"] = None if measured is None else measured.chance
    content |= {name: getattr(result, name) for name in ACCURACY_FIELDS}
    content["findings"] = [finding.to_dict() for finding in result.findings]
    made: dict[str, Any] = finite(content)
    return made


def heatmap_fields(content: dict[str, Any], /) -> dict[str, Any]:
    """Fields of the heat map that a document is of.

    Parameters
    ----------
    content : dict
        From :func:`heatmap_document`.

    Returns
    -------
    dict
        Without per-image arrays.
    """
    values: dict[str, Any] = {name: content[name] for name in (*SETTINGS, *_COUNTS, *ACCURACY_FIELDS)}
    height, width = content["image_size"]
    values["image_size"] = (height, width)
    rate = _by_frequency(content["error_rate"], (height, width))
    values["evaluated"] = ~np.isnan(rate)
    values["errors"] = _counts(np.where(values["evaluated"], rate, 0), values["images"])
    values["mean_loss_increase"] = _by_frequency(content["loss_increase"], (height, width))
    flips = content["flip_probability"]
    values["flips"] = (
        None if flips is None else _counts(_by_frequency(flips, (height, width)), values["images"])
    )
    for name in _FLOATS:
        cells = content[name]
        values[name] = None if cells is None else _by_frequency(cells, (height, width))
    return values


def _by_frequency(cells: Any, shape: tuple[int, int]) -> "NDArray[np.float64]":
    array = np.asarray(cells, np.float64)  # null becomes NaN
    if array.shape != shape:
        msg = f"a map has shape {array.shape}; accepted is {shape}, the size of the images"
        raise ValueError(msg)
    f_y, f_x = real_frequencies(shape).T
    values: NDArray[np.float64] = array[f_y + shape[0] // 2, f_x + shape[1] // 2]
    return values


def _counts(rates: "NDArray[np.float64]", images: int) -> "NDArray[np.int64]":
    if np.isnan(rates).any():
        msg = "a share of images is null; accepted are numbers from 0 to 1"
        raise ValueError(msg)
    return np.rint(rates * images).astype(np.int64)
