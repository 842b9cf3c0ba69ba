"""A heat map as JSON values, and back."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.results import finite
from specprobe.spectral.grid import real_frequencies

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.analysis.heatmap_result import FourierHeatmap

__all__ = [
    "ACCURACY_FIELDS",
    "LAYER_MAPS",
    "MAPS",
    "SETTINGS",
    "heatmap_arrays",
    "heatmap_document",
    "heatmap_fields",
]

SETTINGS = ("image_size", "l2_norm_per_channel", "basis_phase", "random_sign", "clip", "seed", "target")
"""What results must share to be merged."""

ACCURACY_FIELDS = ("correct", "class_histogram", "prediction_histogram")
"""Counts that an accuracy is made of."""

MAPS = ("error_rate", "loss_increase", "derivative_rms", "flip_probability")
"""Estimates that are maps."""

LAYER_MAPS = ("layer_change", "layer_relative_change")
"""Estimates that are maps of one tensor."""

_BY_RING = ("ring_error_rate", "ring_loss_increase", "band_error_rate", "band_loss_increase")
"""Means over cells."""

_PER_IMAGE = {
    "image_correct": "correct",
    "image_error_rate": "image_error_rate",
    "image_loss_increase": "image_loss_increase",
    "image_ring_error_rate": "image_ring_error_rate",
    "image_ring_loss_increase": "image_ring_loss_increase",
    "image_digest": "digest",
}
"""Arrays with a row an image, and what they are called in ``.npz`` files."""

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
        Maps as nested lists, null where a frequency was not evaluated; by layer, in a list of layers.
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
    for name in _BY_RING:
        content |= {key: getattr(result, key) for key in (name, f"{name}_interval", f"{name}_std")}
    content["evaluated"] = result.evaluated_cells
    content |= {name: getattr(result, name) for name in ("frequencies_evaluated", *_COUNTS)}
    content["refine"] = result.refine
    content["refinement_levels"] = [
        {"stride": stride, "frequencies": count} for stride, count in result.refinement_levels
    ]
    content["layers"] = _layers(result)
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
    for name in _BY_RING:
        std = content.get(f"{name}_std")
        values[f"{name}_std"] = None if std is None else np.asarray(std, np.float64)
    values["refine"] = content.get("refine")
    levels = content.get("refinement_levels") or ()
    values["refinement_levels"] = tuple((level["stride"], level["frequencies"]) for level in levels)
    layers = content.get("layers") or ()
    values["layers"] = tuple(layer["name"] for layer in layers)
    for name in LAYER_MAPS if layers else ():
        for key, field in ((name, f"mean_{name}"), (f"{name}_std", f"{name}_std")):
            maps = [_by_frequency(layer[key], (height, width)) for layer in layers]
            values[field] = np.stack(maps, axis=1)
    return values


def heatmap_arrays(result: "FourierHeatmap", /) -> "dict[str, NDArray[Any]]":
    """What ``.npz`` files hold of a heat map.

    Parameters
    ----------
    result : FourierHeatmap
        Of any settings.

    Returns
    -------
    dict of str to numpy.ndarray
        Maps and their intervals by name; numbers of each image where they are known.
    """
    found: dict[str, NDArray[Any]] = {"evaluated": result.evaluated_cells}
    for name in (*MAPS, *LAYER_MAPS):
        if (values := getattr(result, name)) is not None:
            found |= {name: values, f"{name}_interval": getattr(result, f"{name}_interval")}
    if result.layers:
        found["layers"] = np.asarray(result.layers)
    for name, short in _PER_IMAGE.items():
        if (values := getattr(result, name)) is not None:
            found[short] = values
    return found


def _layers(result: "FourierHeatmap") -> "list[dict[str, Any]] | None":
    if not result.layers:
        return None
    found: list[dict[str, Any]] = [{"name": name} for name in result.layers]
    for name in LAYER_MAPS:
        stds = np.moveaxis(result.of_cells(getattr(result, f"{name}_std")), 2, 0)
        maps = {name: getattr(result, name), f"{name}_interval": getattr(result, f"{name}_interval")}
        for key, values in (maps | {f"{name}_std": stds}).items():
            for layer, cells in zip(found, values, strict=True):
                layer[key] = cells
    return found


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
