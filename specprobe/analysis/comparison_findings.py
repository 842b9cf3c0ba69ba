"""What to know of a comparison before its numbers are used."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.accuracy import Accuracy, chance_findings
from specprobe.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from specprobe.analysis.comparison_result import ComparedMetric

__all__ = ["comparison_findings"]

_FEW_IMAGES = 30
_FORWARDED = ("chance-level", "no-sensitivity", "dropped-images")
"""Findings of a model's own result that bear on every difference."""


def comparison_findings(
    results: "Sequence[Any]",
    names: "Sequence[str]",
    metrics: "Sequence[ComparedMetric]",
    /,
    *,
    checksums: "Sequence[str] | None",
    images: int | None,
) -> tuple[Finding, ...]:
    """Findings of a comparison.

    Parameters
    ----------
    results : sequence of Result
        Of the models.
    names : sequence of str
        Of the models.
    metrics : sequence of ComparedMetric
        That were compared.
    checksums : sequence of str or None
        Of the models' files.
    images : int or None
        How many.

    Returns
    -------
    tuple of Finding
        Each once.
    """
    return (
        *_same_files(names, checksums),
        *_quantised(results, names, metrics, images),
        *_of_results(results, names),
        *_batch_norm(results, names),
        *_sample(results, names, metrics, images),
    )


def _same_files(names: "Sequence[str]", checksums: "Sequence[str] | None") -> "Iterator[Finding]":
    first: dict[str, str] = {}
    for name, checksum in zip(names, checksums or (), strict=False):
        if checksum in first:
            message = f"{name} is the same file as {first[checksum]}"
            yield Finding(level="note", code="identical-files", message=message)
        first.setdefault(checksum, name)


def _quantised(
    results: "Sequence[Any]", names: "Sequence[str]", metrics: "Sequence[ComparedMetric]", images: int | None
) -> "Iterator[Finding]":
    kinds = [getattr(result, "quantisation", None) for result in results]
    agreement = next((metric for metric in metrics if metric.name == "agreement_with_first"), None)
    for i, kind in enumerate(kinds):
        if not i or (kind is None) == (kinds[0] is None):
            continue
        if kind is not None:
            told = f"{names[i]} is quantised ({kind}), {names[0]} is not"
        else:
            told = f"{names[0]} is quantised ({kinds[0]}), {names[i]} is not"
        share = None if agreement is None else agreement.values[i]
        bounds = None if agreement is None else agreement.values_interval[i]
        if share is None or bounds is None or images is None:
            told += "; with --data SRC their predictions are compared"
        else:
            differ = round(images * (1 - share))
            told += (
                f": their predictions differ on {differ} of {images} images (agreement {share:.3f} "
                f"[{bounds[0]:.3f}, {bounds[1]:.3f}])"
            )
        yield Finding(level="note", code="quantised-model", message=told)


def _of_results(results: "Sequence[Any]", names: "Sequence[str]") -> "Iterator[Finding]":
    unlabelled = False
    for name, result in zip(names, results, strict=True):
        own = chance_findings(result) if isinstance(result, Accuracy) else getattr(result, "findings", ())
        for finding in own:
            if finding.code in _FORWARDED:
                yield Finding(level=finding.level, code=finding.code, message=f"{name}: {finding.message}")
            unlabelled = unlabelled or finding.code == "no-labels"
    if unlabelled:
        message = (
            "the images have no labels, so there is no accuracy, and each model's gradients are of the loss at its own "
            "predictions; give them with --labels FILE"
        )
        yield Finding(level="warning", code="no-labels", message=message)


def _batch_norm(results: "Sequence[Any]", names: "Sequence[str]") -> "Iterator[Finding]":
    told = {True: "folded", False: "kept as nodes"}
    folded = {
        name: getattr(getattr(result, "filters", None), "batch_norm_folded", None)
        for name, result in zip(names, results, strict=True)
    }
    known = {name: told[value] for name, value in folded.items() if value is not None}
    if len(set(known.values())) > 1:
        listed = ", ".join(f"{value} in {name}" for name, value in known.items())
        message = (
            f"BatchNormalization is {listed}: folding scales filters, so their sparsity and entropies are not to be "
            "compared"
        )
        yield Finding(level="warning", code="batch-norm-differs", message=message)


def _sample(
    results: "Sequence[Any]", names: "Sequence[str]", metrics: "Sequence[ComparedMetric]", images: int | None
) -> "Iterator[Finding]":
    if images is None:
        return
    tested = any(p is not None for metric in metrics for p in metric.p_values)
    if not tested:
        message = (
            "there are no values by image, so differences have neither interval nor p-value; results from .json files "
            "hold none, those from .npz files do"
        )
        yield Finding(level="warning", code="no-pairs", message=message)
    elif images < _FEW_IMAGES:
        message = f"{images} images: intervals of mean differences are too narrow below about {_FEW_IMAGES}"
        yield Finding(level="warning", code="few-images", message=message)
    parts = [getattr(result, "sensitivity", result) for result in results]
    held = [~np.isnan(v) for v in (getattr(part, "image_low_share", None) for part in parts) if v is not None]
    if len(held) > 1 and not all(np.array_equal(part, held[0]) for part in held):
        left = int(np.logical_and.reduce(held).sum())
        message = (
            f"{left} of {images} images have a gradient in all of {', '.join(names)}; differences of sensitivity are over "
            "the images that have one in both models"
        )
        yield Finding(level="warning", code="unpaired-images", message=message)
