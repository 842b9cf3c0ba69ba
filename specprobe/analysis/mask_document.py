"""Fourier masks as JSON values, and back."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.results import finite

if TYPE_CHECKING:
    from specprobe.analysis.mask_result import FourierMask

__all__ = ["mask_document", "mask_fields"]

_HISTORY = ("density", "agreement", "held_out_agreement", "kept", "sparsity_weight")
_SETTINGS = (
    *("preset", "per_image", "per_channel", "target", "seed", "sparsity_weight", "agreement_goal"),
    *("max_epochs", "images_per_step"),
)
_ESTIMATES = (
    *("accuracy", "masked_accuracy", "complement_accuracy", "agreement", "complement_agreement"),
    *("held_out_agreement", "density", "radial_energy", "angular_energy"),
)
_PLAIN = (
    *("images", "image_shape", "epochs", "converged", "agreeing", "complement_agreeing", "held_out"),
    *("held_out_agreeing", "correct", "masked_correct", "complement_correct", "class_histogram"),
    *("prediction_histogram", "density_std", "radial_energy_std", "angular_energy_std"),
    *("gradient_evaluations", "forward_evaluations", "confidence"),
)


def mask_document(result: "FourierMask", /) -> dict[str, Any]:
    """Field names and JSON values of a result.

    Parameters
    ----------
    result : FourierMask
        To be written.

    Returns
    -------
    dict
        Estimates with their intervals, which are null where nothing is estimated.
    """
    content: dict[str, Any] = {}
    for name in _ESTIMATES:
        content |= {name: getattr(result, name), f"{name}_interval": getattr(result, f"{name}_interval")}
    content["kept"] = result.kept
    content |= {name: getattr(result, name) for name in _PLAIN}
    content["chance"] = None if result.clean is None else result.clean.chance
    content["settings"] = {name: getattr(result, name) for name in _SETTINGS}
    content["history"] = [dict(zip(_HISTORY, entry, strict=True)) for entry in result.history]
    content["findings"] = [finding.to_dict() for finding in result.findings]
    found: dict[str, Any] = finite(content)
    return found


def mask_fields(content: dict[str, Any], /) -> dict[str, Any]:
    """Fields of a result.

    Parameters
    ----------
    content : dict
        From :func:`mask_document`.

    Returns
    -------
    dict
        Arguments of :class:`~specprobe.analysis.mask_result.FourierMask`.
    """
    values = {name: content[name] for name in (*_PLAIN, "density")}
    values |= {name: content["settings"][name] for name in _SETTINGS}
    for name in ("radial_energy", "angular_energy", "radial_energy_std", "angular_energy_std"):
        values[name] = None if content[name] is None else np.array(content[name], np.float64)
    values["image_shape"] = tuple(content["image_shape"])
    values["history"] = tuple(tuple(entry[name] for name in _HISTORY) for entry in content["history"])
    return values
