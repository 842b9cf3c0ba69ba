"""A mask for each image by Adam, as published."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.mask_individual import ImageMasks
from specprobe.analysis.mask_optimiser import Moments, descend, step_size
from specprobe.analysis.mask_presets import Preset
from specprobe.analysis.mask_state import AdamMasksState
from specprobe.arrays import like, namespace

if TYPE_CHECKING:
    from specprobe.arrays import Array

__all__ = ["AdamImageMasks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamImageMasks(ImageMasks[AdamMasksState, Preset]):
    """A mask is done when neither the loss nor the density nor the prediction have changed for some steps."""

    def begin(self, example: "Array", /) -> AdamMasksState:
        """Masks of ones."""
        return AdamMasksState(**self.images_from(0, example), **self.none_done())

    def advance(self, state: AdamMasksState, /) -> AdamMasksState:
        """One step of Adam for each image."""
        preset = self.preset
        found = self.measure(state, state.values)
        density, invariance = self.densities(state.values), found.change**2
        same = found.predicted == self.images.classes[state.start + state.rows]
        still = same & (np.abs(density - state.density) <= preset.density_tolerance)
        if preset.invariance_tolerance is not None:
            still &= np.abs(invariance - state.invariance) <= preset.invariance_tolerance
        unchanged = np.where(still, state.unchanged + 1, 0)
        planned = (preset.scheduled_epochs or preset.max_epochs) * (preset.scheduled_steps or 1)
        _, channels, _ = state.values.shape
        values, moments = descend(
            state.values,
            found.gradient_of_invariance(preset),
            Moments(state.first, state.second),
            preset.sparsity_weight / (channels * self.shape[0] * self.shape[1]),
            step=state.step,
            size=step_size(state.step, planned, preset),
            preset=preset,
        )
        xp = namespace(state.values)
        kept = xp.where(like(same[:, None, None], state.values), state.values, state.kept)
        has_kept = same | state.has_kept
        later = replace(
            state,
            step=state.step + 1,
            values=values,
            first=moments.first,
            second=moments.second,
            kept=kept,
            has_kept=has_kept,
            density=density,
            invariance=invariance,
            unchanged=unchanged,
        )
        converged = unchanged >= preset.patience
        done = converged | (later.step >= preset.max_epochs)
        masks = xp.where(like(has_kept[:, None, None], state.values), kept, state.values)
        return self.leave(later, masks, done, converged)

    def _fresh(self, ones: "Array") -> dict[str, Any]:
        count, nothing = ones.shape[0], namespace(ones).zeros_like(ones)
        return {
            "first": nothing,
            "second": nothing,
            "kept": ones,
            "has_kept": np.zeros(count, np.bool_),
            "density": np.full(count, np.inf),
            "invariance": np.full(count, np.inf),
            "unchanged": np.zeros(count, np.int64),
        }
