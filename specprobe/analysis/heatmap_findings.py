"""What a user should know of a heat map."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from specprobe.analysis.accuracy import chance_findings
from specprobe.findings import Finding

if TYPE_CHECKING:
    from specprobe.analysis.heatmap_result import FourierHeatmap

__all__ = ["heatmap_findings"]


def heatmap_findings(result: "FourierHeatmap", /) -> Iterator[Finding]:
    """Findings of a result.

    Parameters
    ----------
    result : FourierHeatmap
        Of any settings.

    Yields
    ------
    Finding
        In the order in which they are shown.
    """
    if result.accuracy is not None:
        yield from chance_findings(result.accuracy)
    else:
        message = (
            "the images have no labels: errors are changes of the answer to the clean image; "
            "give labels with --labels FILE"
        )
        yield Finding(level="warning", code="no-labels", message=message)
    total = len(result.evaluated)
    done = f"{result.frequencies_evaluated} of {total} frequencies were evaluated"
    if result.refine is not None:
        message = (
            f"{done}: a grid of stride {result.refine}, and more where the map changes; error rate and loss increase of "
            "the others are null, and means over cells are over those evaluated"
        )
        yield Finding(level="note", code="refined", message=message)
    elif result.frequencies_evaluated < total:
        message = f"{done}; error rate and loss increase of the others are null"
        yield Finding(level="note", code="sub-grid", message=message)
    ranked = (result.rank_correlation, result.derivative_rms_rank_correlation)
    if any(value is not None and math.isnan(value) for value in ranked):
        message = "a rank correlation is null: fewer than three frequencies were evaluated, or all have the same rate"
        yield Finding(level="warning", code="no-rank-correlation", message=message)
    if result.mean_layer_relative_change is not None:
        silent = np.isnan(result.mean_layer_relative_change[result.evaluated]).any(axis=0)
        for name in np.asarray(result.layers)[silent].tolist():
            message = f"tensor '{name}' is zero for some images as they are, so its relative change is null"
            yield Finding(level="warning", code="silent-layer", message=message)
    if result.images == 1:
        message = "one image has no spread over images, so intervals of means are null"
        yield Finding(level="warning", code="one-image", message=message)
