"""Outcomes of attacks as JSON values, and back."""

import math
from typing import TYPE_CHECKING, Any

from specprobe.attacks.medians import Median
from specprobe.results import finite

if TYPE_CHECKING:
    from specprobe.attacks.outcome import AttackOutcome

__all__ = ["SETTINGS", "outcome_document", "outcome_fields"]

_PAIRS = ("frequency", "image_shape")
_THREAT = ("threat_norm", "epsilon", "band")
_OWN = (
    *(
        "steps",
        "queries",
        "step_size",
        "early_stop",
        "frequency",
        "restarts",
        "minimal_norm",
        "seed",
        "target",
        "classes",
    ),
    "image_shape",
)

SETTINGS = ("attack", "members", *_THREAT, *_OWN, "model_flags")
"""What outcomes must share to be merged."""

_COUNTS = (
    "images",
    "attacked",
    "moved",
    "standing",
    "outside",
    "forward_evaluations",
    "gradient_evaluations",
)
_CHECKS = ("checked", "probabilities", "unrepeatable", "differentiated", "without_gradient")
_ACCURACY = ("correct", "class_histogram", "prediction_histogram")
_MEDIANS = ("median_perturbation_norm", "median_distance")


def outcome_document(result: "AttackOutcome", /) -> dict[str, Any]:
    """Field names and JSON values of an outcome.

    Parameters
    ----------
    result : AttackOutcome
        To be written.

    Returns
    -------
    dict
        Estimates with their intervals; an infinite median, or end of its interval, is null.
    """
    content: dict[str, Any] = {name: getattr(result, name) for name in ("attack", *_THREAT, *_OWN)}
    for name in ("clean_accuracy", "robust_accuracy", "success_rate"):
        content |= {key: getattr(result, key) for key in (name, f"{name}_interval")}
    for name in _MEDIANS:
        found = getattr(result, name)
        content[name] = None if found is None else found.value
        content[f"{name}_interval"] = None if found is None else found.interval
    measured = result.accuracy
    content["chance"] = None if measured is None else measured.chance
    content |= {name: getattr(result, name) for name in (*_COUNTS, *_ACCURACY)}
    left = [result.attacked - sum(result.member_fallen[:i]) for i in range(len(result.members))]
    content["members"] = [
        {"attack": name, "attacked": before, "fallen": fallen}
        for name, before, fallen in zip(result.members, left, result.member_fallen, strict=True)
    ]
    content |= {name: getattr(result, name) for name in ("mean_leakage", "max_leakage")}
    content["checks"] = {name: getattr(result, name) for name in _CHECKS}
    content["perturbation"] = None if result.perturbation is None else result.perturbation.to_dict()
    content["confidence"] = result.confidence
    content["flags"] = [flag.to_dict() for flag in result.flags]
    content["findings"] = [finding.to_dict() for finding in result.findings]
    found_values: dict[str, Any] = finite(content)
    return found_values


def outcome_fields(content: dict[str, Any], /) -> dict[str, Any]:
    """Fields of an outcome.

    Parameters
    ----------
    content : dict
        From :func:`outcome_document`.

    Returns
    -------
    dict
        Arguments of :class:`~specprobe.attacks.outcome.AttackOutcome`.
    """
    from specprobe.attacks.flags import MODEL_CODES

    names = ("attack", *_THREAT, *_OWN, *_COUNTS, *_ACCURACY, "mean_leakage", "max_leakage", "confidence")
    values: dict[str, Any] = {name: content[name] for name in names}
    values |= {name: None if content[name] is None else tuple(content[name]) for name in _PAIRS}
    values |= {name: content["checks"][name] for name in _CHECKS}
    values["members"] = tuple(part["attack"] for part in content["members"])
    values["member_fallen"] = tuple(part["fallen"] for part in content["members"])
    values["model_flags"] = tuple(
        (flag["code"], flag["message"], flag["node"])
        for flag in content["flags"]
        if flag["code"] in MODEL_CODES
    )
    values["read_medians"] = tuple(_median(content, name) for name in _MEDIANS)
    values["perturbation"] = None
    if content["perturbation"] is not None:
        values["perturbation"] = _spectrum(content["perturbation"])
    return values


def _median(content: dict[str, Any], name: str) -> Median | None:
    value, bounds = content[name], content[f"{name}_interval"]
    sought = name == "median_distance" and content["minimal_norm"] and content["attacked"]
    if value is None and bounds is None and not sought:
        return None
    low, high = (None, None) if bounds is None else (math.inf if end is None else end for end in bounds)
    interval = None if low is None or high is None else (low, high)
    return Median(math.inf if value is None else value, interval)


def _spectrum(content: dict[str, Any]) -> Any:
    from specprobe.analysis.perturbation_result import PerturbationSpectrum

    return PerturbationSpectrum.from_dict(content)
