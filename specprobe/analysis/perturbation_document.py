"""Spectra of perturbations as JSON values, and back."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.perturbation_measures import MEASURES
from specprobe.analysis.perturbation_result import NUMBERS, PROFILES
from specprobe.results import finite
from specprobe.spectral.grid import ring_bands

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.analysis.perturbation_result import PerturbationSpectrum

__all__ = ["perturbation_document", "perturbation_fields"]

_COUNTS = ("images", "dropped", "clean_images", "confidence")
_ESTIMATES = ("ring_sum_share", "ring_mean", *PROFILES[1:], *NUMBERS)
_OF_MEASURES = {
    "": ("measure_rings", "ring_mean"),
    "_band_mean": ("measure_bands", "band_mean"),
    "_low_minus_high": ("measure_low_minus_high", "low_minus_high"),
}
"""By what follows the measure's name in a document: the field that it is kept in, and what it is in a ``Measure``."""


def perturbation_document(result: "PerturbationSpectrum", /) -> dict[str, Any]:
    """Field names and JSON values of a result.

    Parameters
    ----------
    result : PerturbationSpectrum
        To be written.

    Returns
    -------
    dict
        Estimates with their intervals; the measures that gradients do not have are null.
    """
    content: dict[str, Any] = {
        "of": result.of,
        "map_shape": result.map_shape,
        "relative_offset": result.relative_offset,
        "cycles_per_image": result.cycles_per_image,
        "ring_size": result.ring_size,
        "angle_degrees": result.angle_degrees,
    }
    for name in _ESTIMATES:
        content[name] = getattr(result, name)
        content[f"{name}_interval"] = _pair(getattr(result, f"{name}_interval"))
        content[f"{name}_std"] = getattr(result, f"{name}_std")
    for measure in MEASURES:
        found = result.measure(measure) if measure in result.measures else None
        for ending, (_, part) in _OF_MEASURES.items():
            name = f"{measure}{ending}"
            content[name] = None if found is None else getattr(found, part)
            content[f"{name}_interval"] = None if found is None else _pair(getattr(found, f"{part}_interval"))
            content[f"{name}_std"] = None if found is None else getattr(found, f"{part}_std")
    _, mid, high = ring_bands(result.map_shape)
    content |= {
        "clean_ring_sum_share": result.clean_ring_sum_share,
        "clean_ring_sum_share_interval": _pair(result.clean_ring_sum_share_interval),
        "clean_ring_sum_share_std": result.clean_ring_sum_share_std,
        "white_noise_share": result.white_noise_share,
        "white_noise_angular_share": result.white_noise_angular_share,
        "band_limits_cycles_per_image": [mid.start - 1, high.start - 1],
    }
    names = ("low", "mid", "high")
    content |= {
        f"white_noise_{n}_share": share for n, share in zip(names, result.white_noise_bands, strict=True)
    }
    content |= {name: getattr(result, name) for name in _COUNTS}
    content["findings"] = [finding.to_dict() for finding in result.findings]
    written: dict[str, Any] = finite(content)
    return written


def perturbation_fields(content: dict[str, Any], /) -> dict[str, Any]:
    """Fields of a result.

    Parameters
    ----------
    content : dict
        From :func:`perturbation_document`.

    Returns
    -------
    dict
        Arguments of :class:`~specprobe.analysis.perturbation_result.PerturbationSpectrum`.
    """
    height, width = content["map_shape"]
    values: dict[str, Any] = {name: content[name] for name in ("of", "relative_offset", *_COUNTS)}
    values["map_shape"] = (height, width)
    for name in NUMBERS:
        values |= {key: float(_array(content[key])) for key in (name, f"{name}_std")}
    for name in PROFILES:
        values |= {key: _array(content[key]) for key in (name, f"{name}_std")}
    for key in ("clean_ring_sum_share", "clean_ring_sum_share_std"):
        values[key] = None if content[key] is None else _array(content[key])
    held = [measure for measure in MEASURES if content[measure] is not None]
    for ending, (field, _) in _OF_MEASURES.items():
        for spread in ("", "_std"):
            values[f"{field}{spread}"] = _array([content[f"{measure}{ending}{spread}"] for measure in held])
    return values


def _pair(bounds: "NDArray[np.float64] | None") -> Any:
    """An interval as JSON: null where it has no ends."""
    return None if bounds is None or np.isnan(bounds).all() else bounds


def _array(values: Any) -> "NDArray[np.float64]":
    return np.asarray(values, np.float64)
