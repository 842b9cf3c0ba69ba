"""How spectra of perturbations of two sets of images are put together."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.moments import Moments
from specprobe.analysis.per_image import join
from specprobe.analysis.perturbation_result import BY_MEASURE, NUMBERS, PROFILES
from specprobe.analysis.settings import check_same_settings

if TYPE_CHECKING:
    from specprobe.analysis.perturbation_result import PerturbationSpectrum

__all__ = ["merged"]

_SETTINGS = ("of", "map_shape", "relative_offset")
_MAPS = ("measure_maps", "power_map")
_CLEAN = ("clean_images", "clean_ring_sum_share", "clean_ring_sum_share_std")


def merged(first: "PerturbationSpectrum", second: "PerturbationSpectrum", /) -> "PerturbationSpectrum":
    """Spectrum of both sets.

    Parameters
    ----------
    first, second : PerturbationSpectrum
        Of the same settings, in the order of the images.

    Returns
    -------
    PerturbationSpectrum
        Equal to that of all images at once but for rounding; at the confidence of the first.

    Raises
    ------
    InputMismatch
        If the settings differ.
    """
    check_same_settings(first, second, _SETTINGS)
    changed: dict[str, Any] = {
        field.name: join(getattr(first, field.name), getattr(second, field.name))
        for field in fields(first)
        if field.name.startswith("image_")
    }
    for name in (*PROFILES, *NUMBERS, *BY_MEASURE):
        _, mean, std = _moments(first, name).merge(_moments(second, name))
        as_kept = float if name in NUMBERS else np.asarray
        changed |= {name: as_kept(mean), f"{name}_std": as_kept(std)}
    for name in _MAPS:
        held = getattr(first, name) is not None and getattr(second, name) is not None
        changed[name] = _of_map(first, name).merge(_of_map(second, name)).mean if held else None
    clean = [Moments(*(getattr(part, name) for name in _CLEAN)) for part in (first, second)]
    known = all(part.mean is not None for part in clean)
    changed |= dict(zip(_CLEAN, clean[0].merge(clean[1]) if known else (0, None, None), strict=True))
    changed |= {name: getattr(first, name) + getattr(second, name) for name in ("images", "dropped")}
    return replace(first, **changed)


def _moments(part: "PerturbationSpectrum", name: str) -> Moments:
    return Moments(part.averaged, np.asarray(getattr(part, name)), np.asarray(getattr(part, f"{name}_std")))


def _of_map(part: "PerturbationSpectrum", name: str) -> Moments:
    """Maps are kept without their spread."""
    values = getattr(part, name)
    return Moments(part.averaged, values, np.zeros(values.shape))
