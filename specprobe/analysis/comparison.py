"""How several models differ: their results side by side, with paired statistics to the first."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.comparison_findings import comparison_findings
from specprobe.analysis.comparison_result import ComparedMetric, Comparison, Interval
from specprobe.analysis.metrics import Metric, metrics
from specprobe.analysis.paired import adjusted_p_values, paired_means, paired_proportions
from specprobe.bootstrap import RESAMPLES
from specprobe.errors import InputMismatch
from specprobe.intervals import CONFIDENCE, wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from specprobe.analysis.comparison_predictions import Predictions

__all__ = ["AGREEMENT", "compare_results"]

AGREEMENT = "agreement_with_first"
"""Metric of the predictions of two models, which no result of one model has."""

_TWICE = {"bands.clean_accuracy": "accuracy"}
"""Metrics that are left out where another one is the same number: it would be tested twice."""

_SETTINGS = (
    *("method", "channels", "basis", "loss", "target", "map_shape", "frequencies_per_ring"),
    *("image_size", "clip", "mean_restored", "l2_norm_per_channel", "basis_phase", "confidence"),
)
"""What results that are set side by side must have in common."""


def compare_results(
    results: "Sequence[Any]",
    /,
    *,
    names: "Sequence[str]",
    predictions: "Sequence[Predictions] | None" = None,
    checksums: "Sequence[str] | None" = None,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Results of one kind, side by side.

    Parameters
    ----------
    results : sequence of Result
        Of two models or more, measured on the same images in the same order, with the same settings; or without data.
    names : sequence of str
        Of the models.
    predictions : sequence of Predictions, optional
        Of the models, for their agreement.
    checksums : sequence of str, optional
        Of the models' files; equal ones are told.
    confidence : float
        Of the intervals of the differences.
    seed, resamples : int
        Of :func:`~specprobe.analysis.paired.paired_means`.

    Returns
    -------
    Comparison
        Every metric that one of the results has. Those of shares of images are compared by
        :func:`~specprobe.analysis.paired.paired_proportions`, other means over images by
        :func:`~specprobe.analysis.paired.paired_means`; of others there is the difference alone.

    Raises
    ------
    InputMismatch
        If there are fewer than two results, or they are of different kinds, settings or images.
    """
    _check(results, names)
    named = [{metric.name: metric for metric in metrics(result)} for result in results]
    for one in named:
        for name in [name for name, other in _TWICE.items() if other in one]:
            one.pop(name, None)
    digest = _shared_digest(named, names, predictions)
    rows = [[one.get(name) for one in named] for name in _ordered(named)]
    compared = _compared(rows, confidence, seed, resamples)
    predicted = None
    if predictions is not None:
        predicted = np.stack([part.image_prediction for part in predictions], axis=1)
        place = next((i + 1 for i, metric in enumerate(compared) if metric.name == "accuracy"), 0)
        compared.insert(place, _agreement(predicted, confidence))
    compared = _adjusted(compared, len(names))
    images = len(digest) if digest is not None else _image_count(results[0])
    return Comparison(
        models=tuple(names),
        metrics=tuple(compared),
        results=tuple(results),
        findings=comparison_findings(results, names, compared, checksums=checksums, images=images),
        images=images,
        confidence=confidence,
        seed=seed,
        resamples=resamples,
        power_map=_power_maps(results),
        image_prediction=predicted,
        image_digest=digest,
    )


def _check(results: "Sequence[Any]", names: "Sequence[str]") -> None:
    if len(results) < 2 or len(names) != len(results) or len(set(names)) < len(names):
        msg = (
            f"{len(results)} results under the names {', '.join(names)}; accepted are two or more, each with a name of "
            "its own"
        )
        raise InputMismatch(msg)
    kinds = [result.kind for result in results]
    if len(set(kinds)) > 1:
        msg = f"results are of kinds {', '.join(kinds)}; accepted are results of one kind"
        raise InputMismatch(msg)
    for parts in zip(*(_parts(result) for result in results), strict=True):
        held = [(name, part) for name, part in zip(names, parts, strict=True) if part is not None]
        for setting in _SETTINGS:
            found = {name: getattr(part, setting) for name, part in held if hasattr(part, setting)}
            if len({repr(value) for value in found.values()}) > 1:
                told = ", ".join(f"{value} for {name}" for name, value in found.items())
                msg = f"{setting} is {told}; accepted are results of the same settings"
                raise InputMismatch(msg)


def _parts(result: Any) -> tuple[Any, ...]:
    """The result itself, and results within it."""
    return (result, *(getattr(result, name, None) for name in ("accuracy", "sensitivity", "bands")))


def _ordered(named: "list[dict[str, Metric]]") -> list[str]:
    """Names of all, each where the models that have it put it."""
    order: list[str] = []
    for one in named:
        place = 0
        for name in one:
            if name in order:
                place = order.index(name) + 1
            else:
                order.insert(place, name)
                place += 1
    return order


def _shared_digest(
    named: "list[dict[str, Metric]]", names: "Sequence[str]", predictions: "Sequence[Predictions] | None"
) -> "NDArray[np.uint8] | None":
    """Which images all of them were measured on."""
    held = [
        (name, metric.image_digest)
        for name, one in zip(names, named, strict=True)
        for metric in one.values()
        if metric.image_digest is not None
    ]
    held += [(name, part.image_digest) for name, part in zip(names, predictions or (), strict=False)]
    if not held:
        return None
    first, digest = held[0]
    for name, other in held:
        if other is digest or np.array_equal(other, digest):
            continue
        shared = len({row.tobytes() for row in digest} & {row.tobytes() for row in other})
        msg = (
            f"{first} and {name} were measured on different images: {len(digest)} and {len(other)}, of which {shared} are "
            "the same to the last bit; accepted are the same images in the same order. Recipes that resize or crop "
            "differently make different images"
        )
        raise InputMismatch(msg)
    return digest


def _compared(
    rows: "list[list[Metric | None]]", confidence: float, seed: int, resamples: int
) -> list[ComparedMetric]:
    """All metrics; p-values not adjusted yet."""
    columns: list[NDArray[np.float64]] = []
    wanted: list[tuple[int, int]] = []
    found = [_side_by_side(row) for row in rows]
    for i, row in enumerate(rows):
        first = row[0]
        for j, other in enumerate(row):
            if not j or first is None or other is None or first.image_values is None:
                continue
            if other.image_values is None or first.value is None or other.value is None:
                continue
            if _flags(first.image_values) and _flags(other.image_values):
                pair = paired_proportions(first.image_values, other.image_values, confidence=confidence)
                found[i] = _with(
                    found[i], j, pair.difference, pair.interval, pair.p_value, "mcnemar", exact=True
                )
            else:
                wanted.append((i, j))
                columns.append(other.image_values - first.image_values)
    if columns:
        means = paired_means(np.stack(columns, axis=1), confidence=confidence, seed=seed, resamples=resamples)
        for (i, j), column, mean, bounds, p in zip(
            wanted, columns, means.mean, means.interval, means.p_value, strict=True
        ):
            exact = not np.isnan(column).any()
            pair_bounds = None if np.isnan(bounds).any() else (float(bounds[0]), float(bounds[1]))
            p_value = None if np.isnan(p) else float(p)
            difference = None if np.isnan(mean) else float(mean)
            found[i] = _with(found[i], j, difference, pair_bounds, p_value, "sign-flip", exact=exact)
    return found


def _side_by_side(row: "list[Metric | None]") -> ComparedMetric:
    """Values and plain differences."""
    told = next(metric for metric in row if metric is not None)
    values = tuple(None if metric is None else metric.value for metric in row)
    none = (None,) * len(row)
    return ComparedMetric(
        name=told.name,
        label=told.label,
        values=values,
        values_interval=tuple(None if metric is None else metric.interval for metric in row),
        differences=(
            None,
            *(None if v is None or values[0] is None else v - values[0] for v in values[1:]),
        ),
        differences_interval=none,
        p_values=none,
        p_values_adjusted=none,
        unit=told.unit,
        whole=told.whole,
        detail=told.detail,
    )


def _with(
    metric: ComparedMetric,
    place: int,
    difference: float | None,
    bounds: Interval | None,
    p_value: float | None,
    test: str,
    *,
    exact: bool,
) -> ComparedMetric:
    """``metric`` with the statistics of one model; the difference of the values where it is of all images."""
    plain = metric.differences[place]
    chosen = plain if exact else difference
    if bounds is not None and chosen is not None:  # rounding must not push it out
        bounds = min(bounds[0], chosen), max(bounds[1], chosen)
    return replace(
        metric,
        differences=_put(metric.differences, place, chosen),
        differences_interval=_put(metric.differences_interval, place, bounds),
        p_values=_put(metric.p_values, place, p_value),
        test=test,
    )


def _put(values: tuple[Any, ...], place: int, value: Any) -> tuple[Any, ...]:
    return (*values[:place], value, *values[place + 1 :])


def _flags(values: "NDArray[np.float64]") -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _agreement(predicted: "NDArray[np.int64]", confidence: float) -> ComparedMetric:
    """How often each model answers as the first one does."""
    images, models = predicted.shape
    equal = (predicted == predicted[:, :1]).sum(axis=0)
    bounds = [wilson_interval(int(count), images, confidence=confidence) for count in equal[1:]]
    none = (None,) * models
    return ComparedMetric(
        name=AGREEMENT,
        label="predictions as the first model's",
        values=tuple(float(count / images) for count in equal),
        values_interval=(None, *bounds),
        differences=none,
        differences_interval=none,
        p_values=none,
        p_values_adjusted=none,
    )


def _adjusted(compared: list[ComparedMetric], models: int) -> list[ComparedMetric]:
    by_model = [adjusted_p_values([metric.p_values[i] for metric in compared]) for i in range(models)]
    return [
        replace(metric, p_values_adjusted=tuple(by_model[i][place] for i in range(models)))
        for place, metric in enumerate(compared)
    ]


def _power_maps(results: "Sequence[Any]") -> "NDArray[np.float64] | None":
    maps = [getattr(getattr(result, "sensitivity", result), "power_map", None) for result in results]
    shape = next((part.shape for part in maps if part is not None), None)
    if shape is None:
        return None
    return np.stack([np.full(shape, np.nan) if part is None else part for part in maps])


def _image_count(result: Any) -> int | None:
    counts = (getattr(part, "images", None) for part in _parts(result))
    return next((count for count in counts if isinstance(count, int)), None)
