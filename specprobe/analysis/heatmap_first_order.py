"""What the input gradient alone says of every frequency's effect, and how well that ranks the effects measured."""

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from specprobe.arrays import Array, like, namespace, to_host
from specprobe.errors import InvalidNumbers
from specprobe.intervals import CONFIDENCE
from specprobe.spectral.basis import basis_coefficients, self_conjugate
from specprobe.spectral.grid import real_frequencies

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.protocols import Batch, DifferentiableClassifier

__all__ = ["FirstOrder", "first_order_maps", "rank_correlation", "rank_correlation_interval"]


class FirstOrder(NamedTuple):
    """What one linear step from each image predicts, for all K frequencies of the grid.

    Attributes
    ----------
    power : numpy.ndarray of float64, shape (N, K)
        Squared derivative of the margin along the basis image, summed over channels.
    flips : numpy.ndarray of bool, shape (N, K)
        Whether the margin's change along the basis image is larger than the margin.
    """

    power: "NDArray[np.float64]"
    flips: "NDArray[np.bool_]"


def first_order_maps(
    classifier: "DifferentiableClassifier",
    batch: "Batch",
    classes: "NDArray[np.int64]",
    /,
    *,
    steps: "NDArray[np.float64]",
    phase: str,
    phase_degrees: "NDArray[np.float64] | None",
    batch_size: int,
) -> FirstOrder:
    """Predictions for the images of a batch.

    Parameters
    ----------
    classifier : DifferentiableClassifier
        The model.
    batch : Batch
        Images.
    classes : numpy.ndarray of int64, shape (N,)
        That the losses are of.
    steps : numpy.ndarray of float64, shape (N, C)
        Signed L2 norm of the basis image that is added to each channel.
    phase : {"0", "45", "random", "worst-of-two"}
        Of the basis images.
    phase_degrees : numpy.ndarray of float64, shape (N, K), or None
        For ``random``.
    batch_size : int
        Images run at once.

    Returns
    -------
    FirstOrder
        Without any clipping.

    Raises
    ------
    InvalidNumbers
        If a gradient is NaN or infinite; names the image.

    Notes
    -----
    The margin m is the logit of the class less the largest other one; its derivative along ``s · U_k`` is
    ``Σ_c s_c ⟨∇_c m, U_k⟩``. Under random signs that has mean 0 and mean square ``Σ_c ⟨∇_c m, U_k⟩²``, which is
    ``power``. ``flips`` is ``m < |Σ_c v s_c ⟨∇_c m, U_k⟩|``. Images that are wrong already flip always. Of the
    cross-entropy a few images have nearly all the gradient, those of small margin; that ranked measured maps worse.
    """
    losses, gradients = _gradients(classifier, batch, classes, batch_size=batch_size)
    along = _derivatives(gradients, phase, phase_degrees)
    power = np.max([(derivative**2).sum(axis=1) for derivative in along], axis=0)
    change = np.max([np.abs((steps[:, :, None] * derivative).sum(axis=1)) for derivative in along], axis=0)
    flips = -losses[:, None] < change
    return FirstOrder(power, flips)


def _gradients(
    classifier: "DifferentiableClassifier",
    batch: "Batch",
    classes: "NDArray[np.int64]",
    *,
    batch_size: int,
) -> "tuple[NDArray[np.float64], Array]":
    images = batch.images
    labels = like(np.array(classes, np.int64), images)
    losses, parts = [], []
    for start in range(0, images.shape[0], batch_size):
        stop = min(start + batch_size, images.shape[0])
        values, gradient = classifier.gradient(images[start:stop, ...], labels[start:stop], loss="margin")
        losses.append(to_host(values).astype(np.float64))
        parts.append(gradient)
    xp = namespace(*parts)
    gradients = parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)
    fine = to_host(xp.all(xp.isfinite(gradients), axis=(1, 2, 3)))
    if not fine.all():
        msg = (
            f"the gradient of the margin of image {batch.start + int(np.argmin(fine))} is NaN or infinite "
            f"({int((~fine).sum())} of {fine.size} images here); there is a map without first_order"
        )
        raise InvalidNumbers(msg)
    return np.concatenate(losses), gradients


def _derivatives(
    gradients: Array, phase: str, phase_degrees: "NDArray[np.float64] | None"
) -> "list[NDArray[np.float64]]":
    """Derivatives along each basis image, (N, C, K): one array, or two of which the worse one counts."""
    cosine, sine = (
        to_host(basis_coefficients(gradients, phase_degrees=degrees)).astype(np.float64)
        for degrees in ((45.0, 45.0) if phase == "45" else (0.0, -90.0))
    )
    if phase == "worst-of-two":
        return [cosine, sine]
    if phase_degrees is None:
        return [cosine]
    shape = (gradients.shape[-2], gradients.shape[-1])
    alone = self_conjugate(real_frequencies(shape), shape=shape)
    turn = np.where(alone, 0.0, np.radians(phase_degrees))[:, None, :]  # these have one image at every phase
    return [np.cos(turn) * cosine - np.sin(turn) * sine]


def rank_correlation(
    left: "NDArray[np.float64] | NDArray[np.int64]", right: "NDArray[np.float64] | NDArray[np.int64]", /
) -> float:
    """Spearman's rank correlation.

    Parameters
    ----------
    left, right : numpy.ndarray, shape (S,)
        Paired; equal values share their mean rank.

    Returns
    -------
    float
        Within [-1, 1]; NaN for fewer than three pairs, or where one side does not vary.

    Examples
    --------
    >>> import numpy as np
    >>> rank_correlation(np.array([1, 2, 3, 4]), np.array([1, 4, 9, 16]))
    1.0
    """
    from scipy.stats import rankdata

    if len(left) < 3:
        return math.nan
    x, y = rankdata(left), rankdata(right)
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return math.nan if scale == 0 else max(-1.0, min(1.0, float(x @ y) / scale))


def rank_correlation_interval(
    correlation: float, pairs: int, /, *, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Interval of a rank correlation of sampled pairs.

    Parameters
    ----------
    correlation : float
        From :func:`rank_correlation`.
    pairs : int
        Size of the sample.
    confidence : float
        Coverage asked for, in (0, 1).

    Returns
    -------
    (float, float)
        Within [-1, 1]; NaN where there is no correlation, or fewer than four pairs.

    Notes
    -----
    ``tanh(atanh ρ ± z · sqrt((1 + ρ² / 2) / (S - 3)))`` [1]_. It tells how far the sample of frequencies may mislead,
    not that of images.

    References
    ----------
    .. [1] D. G. Bonett, T. A. Wright, Sample size requirements for estimating Pearson, Kendall and Spearman
       correlations, Psychometrika 65 (2000), 23–28.

    Examples
    --------
    >>> low, high = rank_correlation_interval(0.5, 60)
    >>> round(low, 3), round(high, 3)
    (0.267, 0.678)
    """
    if not 0 < confidence < 1:
        msg = f"confidence is {confidence}; accepted are numbers between 0 and 1, such as 0.95"
        raise ValueError(msg)
    if pairs < 4 or math.isnan(correlation):
        return math.nan, math.nan
    if abs(correlation) == 1:
        return correlation, correlation
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    spread = z * math.sqrt((1 + correlation**2 / 2) / (pairs - 3))
    middle = math.atanh(correlation)
    return math.tanh(middle - spread), math.tanh(middle + spread)
