"""Every single number of a result under one name: what comparisons, audits and reports are about."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.accuracy import Accuracy
from specprobe.analysis.band_result import BandAccuracy
from specprobe.analysis.corruption_result import CorruptionAccuracy
from specprobe.analysis.filters import FilterStatistics
from specprobe.analysis.heatmap_result import FourierHeatmap
from specprobe.analysis.inspection import Inspection
from specprobe.analysis.mask_result import FourierMask
from specprobe.analysis.sensitivity_result import NUMBERS, FourierSensitivity
from specprobe.intervals import mean_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Metric", "metrics"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metric:
    """One number of a result.

    Attributes
    ----------
    name : str
        Stable, in dots: ``bands.low_pass.8.accuracy``.
    label : str
        For people.
    value : float or None
        None where it is undefined.
    interval : (float, float) or None
        At the confidence of the result; None where there is none, an end infinite where it is open.
    unit : str
        Empty for shares and counts.
    whole : bool
        Whether it counts something.
    detail : bool
        Whether it is one of a series, such as the accuracy under one of many filters.
    image_values : numpy.ndarray of float64, shape (N,), or None
        By image; NaN where an image has none. Their mean is ``value``. None for results read from JSON, and for what
        is no mean over images.
    image_digest : numpy.ndarray of uint8, shape (N, 16), or None
        Which images.
    """

    name: str
    label: str
    value: float | None
    interval: tuple[float, float] | None = None
    unit: str = ""
    whole: bool = False
    detail: bool = False
    image_values: "NDArray[np.float64] | None" = None
    image_digest: "NDArray[np.uint8] | None" = None


@singledispatch
def metrics(result: object, /) -> tuple[Metric, ...]:
    """All numbers of a result.

    Parameters
    ----------
    result : Result
        Of an analysis.

    Returns
    -------
    tuple of Metric
        No two of one name; the same names for results of the same settings.

    Raises
    ------
    TypeError
        If there are none for a result of this type.
    """
    msg = f"{type(result).__name__} has no metrics"
    raise TypeError(msg)


@metrics.register(Accuracy)
def _accuracy(result: Accuracy, /) -> tuple[Metric, ...]:
    return (
        Metric(
            name="accuracy",
            label="accuracy",
            value=result.accuracy,
            interval=result.accuracy_interval,
            image_values=_values(result.image_correct),
            image_digest=result.image_digest,
        ),
    )


_SENSITIVITY = {
    "low_share": ("share of low frequencies", ""),
    "mid_share": ("share of mid frequencies", ""),
    "high_share": ("share of high frequencies", ""),
    "centroid_cycles_per_image": ("spectral centroid", "cycles/image"),
    "spectral_entropy_bits": ("spectral entropy", "bits"),
}


@metrics.register(FourierSensitivity)
def _sensitivity(result: FourierSensitivity, /) -> tuple[Metric, ...]:
    return tuple(
        Metric(
            name=f"sensitivity.{name}",
            label=f"sensitivity: {_SENSITIVITY[name][0]}",
            value=_number(getattr(result, name)),
            interval=_pair(getattr(result, f"{name}_interval")),
            unit=_SENSITIVITY[name][1],
            image_values=_values(getattr(result, f"image_{name}")),
            image_digest=result.image_digest,
        )
        for name in NUMBERS
    )


@metrics.register(BandAccuracy)
def _bands(result: BandAccuracy, /) -> tuple[Metric, ...]:
    return tuple(_band_metrics(result))


def _band_metrics(result: BandAccuracy) -> Iterator[Metric]:
    content = result.to_dict()
    labelled = content["clean_accuracy"] is not None
    given: dict[str, Any] = {"image_digest": result.image_digest}
    series = given | {"detail": True}
    if labelled:
        yield Metric(
            name="bands.clean_accuracy",
            label="bands: clean accuracy",
            value=content["clean_accuracy"],
            interval=_pair(content["clean_accuracy_interval"]),
            image_values=_column(result.image_correct, 0),
            **given,
        )
        yield Metric(
            name="bands.radius_95",
            label="bands: radius that keeps 95 % of the accuracy",
            value=content["radius_95"],
            interval=_pair(content["radius_95_interval"]),
            unit="cycles/image",
        )
    for section, places in result.filters.sections().items():
        for place, entry in zip(places, content[section], strict=True):
            setting = _setting(entry)
            what = f"bands: {section.replace('_', '-')} {setting}"
            if labelled:
                yield Metric(
                    name=f"bands.{section}.{setting}.accuracy",
                    label=f"{what}, accuracy",
                    value=entry["accuracy"],
                    interval=_pair(entry["accuracy_interval"]),
                    image_values=_column(result.image_correct, place),
                    **series,
                )
            yield Metric(
                name=f"bands.{section}.{setting}.agreement",
                label=f"{what}, agreement",
                value=entry["agreement"],
                interval=_pair(entry["agreement_interval"]),
                image_values=_column(result.image_agrees, place),
                **series,
            )


def _setting(entry: dict[str, Any]) -> str:
    """A filter as the command line writes it."""
    if "radius" in entry:
        return f"{entry['radius']:g}"
    low, high = (entry.get(f"{end}_degrees", entry.get(end)) for end in ("low", "high"))
    return f"{low:g}:{'' if high is None else f'{high:g}'}"


@metrics.register(CorruptionAccuracy)
def _corruptions(result: CorruptionAccuracy, /) -> tuple[Metric, ...]:
    right = result.image_correct
    given: dict[str, Any] = {"image_digest": result.image_digest}
    wrong = None if right is None else 1 - right.reshape(result.images, -1).mean(axis=1)
    found = [
        Metric(
            name="corruptions.mean_error",
            label="corruptions: mean error",
            value=result.mean_corruption_error,
            interval=result.mean_corruption_error_interval,
            image_values=wrong,
            **given,
        )
    ]
    for place, name in enumerate(result.corruptions):
        of_kind = None if right is None else right[:, place].mean(axis=1)
        found.append(
            Metric(
                name=f"corruptions.{name}.accuracy",
                label=f"corruptions: {name}, accuracy",
                value=float(result.mean_accuracy[place]),
                interval=None if of_kind is None else _mean_bounds(of_kind, result.confidence),
                image_values=of_kind,
                **given,
            )
        )
    return tuple(found)


def _mean_bounds(values: "NDArray[np.float64]", confidence: float) -> tuple[float, float] | None:
    return _pair(
        mean_interval(values.mean(), values.std(), len(values), confidence=confidence, bounds=(0.0, 1.0))
    )


@metrics.register(FourierMask)
def _mask(result: FourierMask, /) -> tuple[Metric, ...]:
    given: dict[str, Any] = {"image_digest": result.image_digest}
    shares = (
        ("agreement", "agreement under the mask", result.image_agrees),
        ("masked_accuracy", "accuracy under the mask", result.image_masked_correct),
        ("complement_accuracy", "accuracy under its complement", result.image_complement_correct),
    )
    density = Metric(
        name="mask.density",
        label="mask: density",
        value=result.density,
        image_values=_values(result.image_density),
        **given,
    )
    return (
        density,
        *(
            Metric(
                name=f"mask.{name}",
                label=f"mask: {label}",
                value=_number(getattr(result, name)),
                interval=_pair(getattr(result, f"{name}_interval")),
                image_values=_values(values),
                **given,
            )
            for name, label, values in shares
        ),
    )


@metrics.register(FourierHeatmap)
def _heatmap(result: FourierHeatmap, /) -> tuple[Metric, ...]:
    def mean(values: "NDArray[np.float64] | None") -> float | None:
        return None if values is None else _number(np.mean(values))

    errors, losses = result.image_error_rate, result.image_loss_increase
    held = result.evaluated & (np.arange(len(result.evaluated)) > 0)  # without the mean, at place 0
    share = result.errors[held] / result.images
    given: dict[str, Any] = {"image_digest": result.image_digest}
    if result.refine is not None:
        return ()  # which cells are measured depends on the model: their mean and maximum compare with no other's
    return (
        Metric(
            name="heatmap.error_rate.mean",
            label="heat map: mean error rate",
            value=mean(errors),
            image_values=_values(errors),
            **given,
        ),
        Metric(
            name="heatmap.error_rate.max",
            label="heat map: error rate at the worst frequency",
            value=_number(share.max()) if share.size else None,
        ),
        Metric(
            name="heatmap.loss_increase.mean",
            label="heat map: mean loss increase",
            value=mean(losses),
            unit="nats",
            image_values=_values(losses),
            **given,
        ),
    )


_FILTERS = {
    "sparsity": "sparsity",
    "variance_entropy": "variance entropy",
    "variance_entropy_ratio": "variance entropy over that of random filters",
    "orthogonality": "orthogonality",
    "centre_energy": "centre energy",
}


@metrics.register(FilterStatistics)
def _filters(result: FilterStatistics, /) -> tuple[Metric, ...]:
    return tuple(
        Metric(
            name=f"filters.{name}", label=f"filters: {label}", value=_number(getattr(result.overall, name))
        )
        for name, label in _FILTERS.items()
    )


@metrics.register(Inspection)
def _inspection(result: Inspection, /) -> tuple[Metric, ...]:
    missing = result.gradient.supported
    counts = (
        ("model.parameters", "parameters", result.parameters),
        ("model.bytes", "size of the file", result.bytes),
        ("model.multiply_adds", "multiply-adds an image", result.multiply_adds),
        ("model.gradient_supported", "gradient supported", None if missing is None else int(missing)),
        ("model.warnings", "warnings and errors", sum(f.level != "note" for f in result.findings)),
    )
    units = {"model.bytes": "B"}
    parts = (result.accuracy, result.sensitivity, result.bands, result.filters)
    found = [metric for part in parts if part is not None for metric in metrics(part)]
    found += [
        Metric(name=name, label=label, value=_number(value), unit=units.get(name, ""), whole=True)
        for name, label, value in counts
    ]
    return tuple(found)


def _number(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _pair(bounds: Any) -> tuple[float, float] | None:
    """An interval; an end that is not known is infinite."""
    if bounds is None:
        return None
    low, high = bounds
    if low is None or np.isnan(low):
        return None
    return float(low), float("inf") if high is None else float(high)


def _values(values: "NDArray[Any] | None") -> "NDArray[np.float64] | None":
    return None if values is None else np.asarray(values, np.float64)


def _column(values: "NDArray[Any] | None", place: int) -> "NDArray[np.float64] | None":
    return None if values is None else np.asarray(values[:, place], np.float64)
