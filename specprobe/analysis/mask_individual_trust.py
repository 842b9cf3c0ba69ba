"""A mask for each image by steps within a trust region."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.mask_individual import ImageMasks
from specprobe.analysis.mask_objective import invariance
from specprobe.analysis.mask_presets import TrustRegion
from specprobe.analysis.mask_state import TrustRegionMasksState
from specprobe.analysis.mask_trust_region import next_radius, trial
from specprobe.arrays import like, namespace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.arrays import Array

__all__ = ["TrustRegionImageMasks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRegionImageMasks(ImageMasks[TrustRegionMasksState, TrustRegion]):
    """The result is the mask of lowest objective of all that were tried and leave the prediction as it is.

    Steps themselves may change the prediction, since the way to a sparse mask that keeps it often leads over some that
    do not. They are taken where the objective falls below a running mean of what it was [1]_, which lets them cross the
    kinks of networks with ReLU, in which descent at any step ends early. A mask that has settled is tried once more from
    the first radius; one that settles again where it was is done.

    Where two classes are nearly as likely, the loss of one may stay as it is while the other overtakes it. If a mask
    settles there, it goes back to the best one and aims at a lower loss, lower with each time, until the prediction
    stands; that much of a fall of the loss is then not held against a mask.

    References
    ----------
    .. [1] H. Zhang, W. W. Hager, A nonmonotone line search technique and its application to unconstrained optimization,
       SIAM Journal on Optimization 14 (2004), 1043-1056.
    """

    def begin(self, example: "Array", /) -> TrustRegionMasksState:
        """Masks of ones, not yet looked at."""
        return TrustRegionMasksState(**self.images_from(0, example), **self.none_done())

    def advance(self, state: TrustRegionMasksState, /) -> TrustRegionMasksState:
        """Look at the masks that are to be tried, take them or not, and find the next ones."""
        return self._proposed(self._tried(state))

    def _tried(self, state: TrustRegionMasksState) -> TrustRegionMasksState:
        """With the masks that were to be tried, where they are taken, and the best ones."""
        preset, found = self.preset, self.measure(state, state.trial)
        price = preset.sparsity_weight * self.densities(state.trial)
        stands = found.predicted == self.images.predicted[state.start + state.rows]
        objective = self._judged(found.change, state.aim) + price
        better = stands & (found.lead > _LEAD) & (objective < state.best_objective)

        aimed = invariance(found.change + state.aim, preset)[0] + price
        taken, begun = aimed < state.reference, np.isfinite(state.reference)
        decrease = np.where(begun, state.reference, aimed) - aimed
        radius = next_radius(state.radius, decrease, state.expected, preset)
        remembered = np.where(taken, preset.memory * state.remembered + 1, state.remembered)
        mean = np.where(begun, aimed + decrease * (1 - 1 / remembered), aimed)
        return replace(
            state,
            step=state.step + 1,
            values=_where(taken, state.trial, state.values),
            gradient=_where(taken, found.gradient, state.gradient),
            change=np.where(taken, found.change, state.change),
            best=_where(better, state.trial, state.best),
            best_objective=np.where(better, objective, state.best_objective),
            reference=np.where(taken, mean, state.reference),
            remembered=remembered,
            radius=np.where(begun, radius, state.radius),
        )

    def _proposed(self, state: TrustRegionMasksState) -> TrustRegionMasksState:
        """With masks to be tried next; without the images that are done."""
        preset, shape = self.preset, self.shape
        following = trial(
            state.values, state.gradient, state.change + state.aim, state.radius, preset, shape=shape
        )
        price = preset.sparsity_weight * self.densities(state.values)
        tolerance = preset.tolerance * price
        still = (following.expected <= tolerance) | (state.radius < preset.smallest_radius)
        # Where it has come to rest at a mask that is better than the best one, this mask changes the prediction.
        resting = self._judged(state.change, state.aim) + price
        astray = still & (state.best_objective > resting + tolerance)
        aim = np.where(astray, np.maximum(2 * state.aim, preset.aim), state.aim)
        lost = astray & (aim > preset.largest_aim)
        converged = still & ~astray & (state.settled - state.best_objective <= tolerance)
        again = still & ~converged & ~lost
        radius = np.where(again, preset.radius, state.radius)
        if again.any():
            following = trial(state.values, state.gradient, state.change + aim, radius, preset, shape=shape)
        later = replace(
            state,
            trial=_where(astray, state.best, following.values),
            expected=following.expected,
            aim=aim,
            reference=np.where(astray, np.inf, state.reference),
            remembered=np.where(astray, 0.0, state.remembered),
            radius=radius,
            settled=np.where(again & ~astray, state.best_objective, state.settled),
        )
        done = converged | lost | (later.step >= preset.max_epochs)
        return self.leave(later, later.best, done, converged)

    def _judged(self, change: "NDArray[np.float64]", aim: "NDArray[np.float64]") -> "NDArray[np.float64]":
        """Invariance of which a fall of the loss by no more than was aimed at is not held against a mask."""
        beyond = np.maximum(change, 0) + np.minimum(change + aim, 0)
        return np.asarray(invariance(beyond, self.preset)[0])

    def _fresh(self, ones: "Array") -> dict[str, Any]:
        count = ones.shape[0]
        return {
            "gradient": namespace(ones).zeros_like(ones),
            "trial": ones,
            "best": ones,
            "best_objective": np.full(count, np.inf),
            "change": np.zeros(count),
            "aim": np.zeros(count),
            "reference": np.full(count, np.inf),
            "remembered": np.zeros(count),
            "expected": np.zeros(count),
            "radius": np.full(count, self.preset.radius),
            "settled": np.full(count, np.inf),
        }


_LEAD = 1e-5
"""Of the first class, for a prediction that does not depend on the order in which float32 is summed."""


def _where(chosen: "NDArray[np.bool_]", first: "Array", second: "Array") -> "Array":
    """By image."""
    return namespace(first).where(like(chosen[:, None, None], first), first, second)
