"""Every single number of an attack's outcome under one name."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.metrics import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.attacks.medians import Median
    from specprobe.attacks.outcome import AttackOutcome

__all__ = ["outcome_metrics"]

_SPECTRUM = {
    "low_share": ("share of low frequencies", ""),
    "mid_share": ("share of mid frequencies", ""),
    "high_share": ("share of high frequencies", ""),
    "centroid_cycles_per_image": ("spectral centroid", "cycles/image"),
    "half_power_cycles_per_image": ("half of the power below", "cycles/image"),
}


def outcome_metrics(result: "AttackOutcome", /) -> tuple[Metric, ...]:
    """All numbers of an outcome.

    Parameters
    ----------
    result : AttackOutcome
        Of any attack.

    Returns
    -------
    tuple of Metric
        The same names for outcomes of the same settings; those of a spectrum without values where nothing moved.
    """
    given: dict[str, Any] = {"image_digest": result.image_digest}
    fallen = result.image_fallen
    success = None
    if fallen is not None and result.image_perturbation_norm is not None:
        success = np.where(np.isnan(result.image_perturbation_norm), np.nan, fallen)
    shares: tuple[tuple[str, str, Any], ...] = (
        ("clean_accuracy", "clean accuracy", result.image_clean_correct),
        ("robust_accuracy", "robust accuracy", result.image_robust),
        ("success_rate", "success", success),
    )
    found = [
        Metric(
            name=f"attack.{name}",
            label=f"attack: {label}",
            value=getattr(result, name),
            interval=getattr(result, f"{name}_interval"),
            image_values=None if values is None else np.asarray(values, np.float64),
            **given,
        )
        for name, label, values in shares
    ]
    found.append(_median("median_perturbation_norm", "median perturbation", result.median_perturbation_norm))
    if result.minimal_norm:
        found.append(_median("median_distance", "median distance", result.median_distance))
    return (*found, *(_of_spectrum(result.perturbation, name) for name in _SPECTRUM))


def _median(name: str, label: str, median: "Median | None") -> Metric:
    known = median is not None and np.isfinite(median.value)
    return Metric(
        name=f"attack.{name}",
        label=f"attack: {label}",
        value=median.value if known and median is not None else None,
        interval=None if median is None else median.interval,
        unit="pixel range",
    )


def _of_spectrum(spectrum: Any, name: str) -> Metric:
    label, unit = _SPECTRUM[name]
    values: NDArray[np.float64] | None = getattr(spectrum, f"image_{name}", None)
    value = getattr(spectrum, name, np.nan)
    bounds = getattr(spectrum, f"{name}_interval", np.full(2, np.nan))
    return Metric(
        name=f"attack.perturbation.{name}",
        label=f"perturbation: {label}",
        value=float(value) if np.isfinite(value) else None,
        interval=(float(bounds[0]), float(bounds[1])) if np.isfinite(bounds).all() else None,
        unit=unit,
        image_values=values,
        image_digest=getattr(spectrum, "image_digest", None),
    )
