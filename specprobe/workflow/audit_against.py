"""A check of a model against another one."""

from typing import TYPE_CHECKING

import numpy as np

from specprobe.analysis.paired import paired_means, paired_proportions
from specprobe.analysis.per_image import same
from specprobe.audit.verdicts import Limit, Verdict, judge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.analysis.metrics import Metric
    from specprobe.audit.config import Audit, Check
    from specprobe.workflow.audited_models import Opened

__all__ = ["against"]


def against(
    model: "Opened",
    rival: "Opened",
    check: "Check",
    metric: "Metric",
    other: "Metric",
    config: "Audit",
    line: int,
    /,
) -> Verdict:
    """Judge the difference to another model, image by image where that is possible.

    Parameters
    ----------
    model, rival : Opened
        The model that is judged, and the one that it is held against.
    check : Check
        With ``better`` and ``tolerance``.
    metric, other : Metric
        Of ``model`` and of ``rival``.
    config : Audit
        For the confidence.
    line : int
        Of the check in the configuration.

    Returns
    -------
    Verdict
        ``error`` where the two did not see the same images.
    """
    interval = None
    value = (
        None if None in {metric.value, other.value} else float(metric.value or 0) - float(other.value or 0)
    )
    mine, theirs = metric.image_values, other.image_values
    if mine is not None and theirs is not None and value is not None:
        if not same(metric.image_digest, other.image_digest):
            message = f"{model.name} and {rival.name} did not see the same images, so they cannot be compared"
            return Verdict(
                model=model.name,
                check=check.name,
                metric=check.metric,
                status="error",
                line=line,
                message=message,
            )
        interval = _paired_interval(theirs, mine, config.confidence)
    origin = f"{check.tolerance:g} at most worse than {rival.name}"
    if check.better == "higher":
        limit = Limit(minimum=-check.tolerance, origin=origin)
    else:
        limit = Limit(maximum=check.tolerance, origin=origin)
    what = f"difference in {check.metric}"
    return judge(
        check, model.name, limit, value=value, interval=interval, unit=metric.unit, line=line, what=what
    )


def _paired_interval(
    first: "NDArray[np.float64]", second: "NDArray[np.float64]", confidence: float
) -> tuple[float, float]:
    """Of the mean of second minus first, over the same images."""
    if set(np.unique(np.concatenate([first, second]))) <= {0.0, 1.0}:
        return paired_proportions(first, second, confidence=confidence).interval
    low, high = paired_means((second - first)[:, None], confidence=confidence).interval[0]
    return float(low), float(high)
