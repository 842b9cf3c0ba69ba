"""Steps of masks of single images: the loss is taken to be linear in the mask, and nothing else is.

The objective of a mask M of one image is ``φ(d(M)) + λ ‖M‖₁ / (H W)``: a known convex function of one number, the change d
of the loss, plus a linear term. One gradient gives d and its derivative g. Where gradient descent knows no more than the
slope of φ(d), which is 0 wherever the mask changes nothing, here the whole of φ is kept, and d alone is linearised:

    minimise  φ(d + ⟨g, Δ⟩) + λ ΣΔ / (H W) + λ / (2 ϱ H W) ‖Δ‖²    over  |Δ| ≤ ϱ,  0 ≤ M + Δ ≤ 1

within a radius ϱ in which this is to be trusted. The last term gives a value of which only the price matters a step of
just ϱ. At the minimum Δ is known up to one number, the slope ``φ'(d + ⟨g, Δ⟩)``, which is found by bisection.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from specprobe.analysis.mask_objective import invariance
from specprobe.analysis.mask_plane import frequency_counts
from specprobe.arrays import Array, like, namespace, to_host
from specprobe.spectral.arguments import Shape, placed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.analysis.mask_presets import TrustRegion

__all__ = ["Trial", "next_radius", "trial"]

_BISECTIONS = 40
_GOOD, _POOR = 0.75, 0.25
"""Of the decrease expected: from here on the radius grows; up to here it shrinks."""


class Trial(NamedTuple):
    """Masks to be tried next.

    Attributes
    ----------
    values : array, shape (N, C, F), float64
        Within [0, 1]; on the device.
    expected : numpy.ndarray of float64, shape (N,)
        By how much the objective falls if the loss is linear; at least 0.
    """

    values: Array
    expected: "NDArray[np.float64]"


def trial(
    values: Array,
    gradient: Array,
    change: "NDArray[np.float64]",
    radius: "NDArray[np.float64]",
    preset: "TrustRegion",
    /,
    *,
    shape: Shape,
) -> Trial:
    """Minimise the model of the objective around each mask.

    Parameters
    ----------
    values : array, shape (N, C, F), float64
        Masks, C being 1 where channels share one.
    gradient : array, shape (N, C, F), float64
        Of the change of the loss, with respect to each cell.
    change : numpy.ndarray of float64, shape (N,)
        Of the loss, in nats.
    radius : numpy.ndarray of float64, shape (N,)
        By which a value may move.
    preset : TrustRegion
        With λ and φ.
    shape : (int, int)
        Height and width.

    Returns
    -------
    Trial
        A mask each.

    References
    ----------
    .. [1] A. S. Lewis, S. J. Wright, A proximal method for composite minimization, Mathematical Programming 158 (2016),
       501-546.
    .. [2] A. R. Conn, N. I. M. Gould, P. L. Toint, Trust-Region Methods, SIAM, 2000.
    """
    xp = namespace(values)
    cells = placed(frequency_counts(shape).astype(np.float64), values)
    weight = preset.sparsity_weight / (values.shape[1] * shape[0] * shape[1])
    before, reach = (like(host[:, None, None], values) for host in (change, radius))
    lowest, highest = xp.maximum(-values, -reach), xp.minimum(1 - values, reach)
    rates = cells * gradient

    def step(slope: Array) -> Array:
        wanted = (slope * gradient + weight) * (reach / -weight)
        return xp.minimum(xp.maximum(wanted, lowest), highest)

    def after(step: Array) -> Array:
        return before + xp.sum(rates * step, axis=(1, 2), keepdims=True)

    limit = preset.exponent_limit
    above = xp.zeros_like(before) + 2 * math.sqrt(limit) * math.exp(limit)
    below = -above
    for _ in range(_BISECTIONS):
        middle = (below + above) / 2
        _, slope = invariance(after(step(middle)), preset)
        # The steeper φ is taken to be, the smaller d gets, and so the less steep φ is.
        too_steep = middle > slope
        above, below = xp.where(too_steep, middle, above), xp.where(too_steep, below, middle)
    taken = step((below + above) / 2)
    now, then = (invariance(at, preset)[0] for at in (before, after(taken)))
    expected = now - then - weight * xp.sum(cells * taken, axis=(1, 2), keepdims=True)
    return Trial(xp.clip(values + taken, 0, 1), np.maximum(to_host(expected)[:, 0, 0], 0))


def next_radius(
    radius: "NDArray[np.float64]",
    decrease: "NDArray[np.float64]",
    expected: "NDArray[np.float64]",
    preset: "TrustRegion",
    /,
) -> "NDArray[np.float64]":
    """How far the next step may go.

    Parameters
    ----------
    radius : numpy.ndarray of float64, shape (N,)
        Of the last one.
    decrease : numpy.ndarray of float64, shape (N,)
        Of the objective in the last step; negative where it rose.
    expected : numpy.ndarray of float64, shape (N,)
        If the loss were linear.
    preset : TrustRegion
        With the factors.

    Returns
    -------
    numpy.ndarray of float64, shape (N,)
        At most 1, the range of a mask.
    """
    grown = np.minimum(radius * preset.grow, 1)
    shrunk = np.where(decrease <= _POOR * expected, radius * preset.shrink, radius)
    return np.where(decrease >= _GOOD * expected, grown, shrunk)
