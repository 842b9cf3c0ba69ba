"""Band accuracies as JSON values, and back."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.band_filters import SECTIONS
from specprobe.intervals import mean_interval, wilson_interval
from specprobe.results import finite

if TYPE_CHECKING:
    from specprobe.analysis.band_result import BandAccuracy

__all__ = ["band_document", "band_fields"]


def band_document(result: "BandAccuracy", /) -> dict[str, Any]:
    """Field names and JSON values of a result.

    Parameters
    ----------
    result : BandAccuracy
        To be written.

    Returns
    -------
    dict
        Estimates with their intervals; an infinite end of a band is null.
    """
    clean, saturated = result.clean, result.saturation
    sections = result.filters.sections()
    groups = {
        name: [{**_setting(result, name, i), **_estimates(result, place)} for i, place in enumerate(places)]
        for name, places in sections.items()
    }
    whole = _estimates(result, 0)
    content = {
        **groups,
        "radius_95": saturated.radius,
        "radius_95_interval": saturated.interval,
        "radius_95_reason": saturated.reason,
        "clean_accuracy": whole["accuracy"],
        "clean_accuracy_interval": whole["accuracy_interval"],
        "clean_mean_confidence": whole["mean_confidence"],
        "clean_mean_confidence_interval": whole["mean_confidence_interval"],
        "clean_mean_confidence_std": whole["mean_confidence_std"],
        "chance": None if clean is None else clean.chance,
        "clip": result.clip,
        "mean_restored": result.mean_restored,
        "images": result.images,
        "image_size": result.image_size,
        "model_evaluations": result.model_evaluations,
        "confidence": result.confidence,
        "prediction_histogram": result.prediction_histogram,
        "per_class": [_class(result, row) for row in range(len(result.class_labels))],
        "findings": [finding.to_dict() for finding in result.findings],
    }
    found: dict[str, Any] = finite(content)
    return found


def band_fields(content: dict[str, Any], /) -> dict[str, Any]:
    """Fields of a result.

    Parameters
    ----------
    content : dict
        From :func:`band_document`.

    Returns
    -------
    dict
        Arguments of :class:`~specprobe.analysis.band_result.BandAccuracy`.
    """
    images, labelled = content["images"], bool(content["per_class"])
    entries = [entry for name in SECTIONS for entry in content[name]]
    means = [content["clean_mean_confidence"], *(entry["mean_confidence"] for entry in entries)]
    spreads = [content["clean_mean_confidence_std"], *(entry["mean_confidence_std"] for entry in entries)]
    clean_correct = round(content["clean_accuracy"] * images) if labelled else 0
    return {
        "images": images,
        "image_size": tuple(content["image_size"]),
        "radii": tuple(entry["radius"] for entry in content["low_pass"]),
        "bands": tuple(
            (entry["low"], math.inf if entry["high"] is None else entry["high"])
            for entry in content["band_pass"]
        ),
        "wedges": tuple((entry["low_degrees"], entry["high_degrees"]) for entry in content["wedge_pass"]),
        "clip": content["clip"],
        "mean_restored": content["mean_restored"],
        "model_evaluations": content["model_evaluations"],
        "prediction_histogram": content["prediction_histogram"],
        "mean_confidence": tuple(means),
        "confidence_std": tuple(spreads),
        "agreeing": np.array([images, *(round(entry["agreement"] * images) for entry in entries)]),
        "still_correct": np.array([clean_correct, *(entry["still_correct"] or 0 for entry in entries)]),
        "class_labels": np.array([part["label"] for part in content["per_class"]], np.int64),
        "class_images": np.array([part["images"] for part in content["per_class"]], np.int64),
        "class_correct": np.array([_class_counts(part) for part in content["per_class"]], np.int64).reshape(
            -1, 1 + len(entries)
        ),
        "confidence": content["confidence"],
    }


def _setting(result: "BandAccuracy", name: str, i: int) -> dict[str, float]:
    if name in {"low_pass", "high_pass"}:
        return {"radius": result.radii[i]}
    if name in {"band_pass", "band_stop"}:
        return dict(zip(("low", "high"), result.bands[i], strict=True))
    return dict(zip(("low_degrees", "high_degrees"), result.wedges[i], strict=True))


def _estimates(result: "BandAccuracy", place: int) -> dict[str, Any]:
    images, level = result.images, result.confidence
    correct, agreeing = int(result.class_correct[:, place].sum()), int(result.agreeing[place])
    labelled = bool(result.class_labels.size)
    mean, std = result.mean_confidence[place], result.confidence_std[place]
    return {
        "accuracy": correct / images if labelled else None,
        "accuracy_interval": wilson_interval(correct, images, confidence=level) if labelled else None,
        "still_correct": int(result.still_correct[place]) if labelled else None,
        "agreement": agreeing / images,
        "agreement_interval": wilson_interval(agreeing, images, confidence=level),
        "mean_confidence": mean,
        "mean_confidence_interval": (
            mean_interval(mean, std, images, confidence=level, bounds=(0, 1)) if images > 1 else None
        ),
        "mean_confidence_std": std,
    }


def _class(result: "BandAccuracy", row: int) -> dict[str, Any]:
    """Accuracies of the images of one label, in lists by filter."""
    images, correct = int(result.class_images[row]), result.class_correct[row].tolist()

    def intervals(places: range) -> list[tuple[float, float]]:
        return [wilson_interval(correct[i], images, confidence=result.confidence) for i in places]

    found = {
        "label": int(result.class_labels[row]),
        "images": images,
        "clean_accuracy": correct[0] / images,
        "clean_accuracy_interval": intervals(range(1))[0],
    }
    for name, places in result.filters.sections().items():
        found[f"{name}_accuracy"] = [correct[i] / images for i in places]
        found[f"{name}_accuracy_interval"] = intervals(places)
    return found


def _class_counts(part: dict[str, Any]) -> list[int]:
    shares = [part["clean_accuracy"], *(share for name in SECTIONS for share in part[f"{name}_accuracy"])]
    return [round(share * part["images"]) for share in shares]
