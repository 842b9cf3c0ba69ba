"""One mask for all images, a step at a time."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from specprobe.analysis.mask_evaluation import masked_predictions
from specprobe.analysis.mask_objective import measure
from specprobe.analysis.mask_optimiser import Moments, descend, step_size
from specprobe.analysis.mask_plane import densities, frequency_counts
from specprobe.analysis.mask_state import MaskProgress, SharedMaskState
from specprobe.arrays import like, namespace, to_host
from specprobe.randomness import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.analysis.mask_data import CleanImages
    from specprobe.analysis.mask_presets import Preset
    from specprobe.arrays import Array
    from specprobe.protocols import DifferentiableClassifier

__all__ = ["SharedMask"]


@dataclass(frozen=True, kw_only=True)
class SharedMask:
    """What learning one mask for all images depends on.

    Attributes
    ----------
    classifier : DifferentiableClassifier
        The model.
    images : CleanImages
        Without a mask.
    preset : Preset
        Hyper-parameters.
    per_channel : bool
        Whether channels have masks of their own.
    seed : int
        Of the images held out, and of the order of the others.
    goal : float
        Share of the right images that a mask must leave right: counted over all images, like the paper's ratio of
        accuracies; one that only the mask makes right makes up for one that it makes wrong.
    batch_size : int
        Images run at once.
    """

    classifier: "DifferentiableClassifier"
    images: "CleanImages"
    preset: "Preset"
    per_channel: bool
    seed: int
    goal: float
    batch_size: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        _, height, width = self.images.source.image_shape
        return height, width

    @cached_property
    def held_out(self) -> "NDArray[np.int64]":
        """Images that no gradient is taken on, ascending."""
        count = int(self.preset.held_out * len(self.images))
        drawn = generator(self.seed, "mask/held-out").permutation(len(self.images))
        return np.sort(drawn[:count])

    @cached_property
    def learned_from(self) -> "NDArray[np.int64]":
        """All others, ascending."""
        return np.setdiff1d(np.arange(len(self.images)), self.held_out)

    @property
    def images_per_step(self) -> int:
        """Images of a step: fewer than the preset has, where an epoch would have too few steps."""
        preset, count = self.preset, len(self.learned_from)
        return max(1, min(preset.images_per_step, count // preset.steps_per_epoch))

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.learned_from) // self.images_per_step)

    def begin(self, example: "Array", /) -> SharedMaskState:
        """Before the first step.

        Parameters
        ----------
        example : array
            Names library and device.

        Returns
        -------
        SharedMaskState
            A mask of ones.
        """
        channels = self.images.source.image_shape[0] if self.per_channel else 1
        ones = np.ones((1, channels, len(frequency_counts(self.shape))))
        first, second = (like(np.zeros_like(ones), example) for _ in range(2))
        weight = self.preset.sparsity_weight
        return SharedMaskState(weight=weight, values=like(ones, example), first=first, second=second)

    def advance(self, state: SharedMaskState, /) -> SharedMaskState:
        """One step, or what follows the last one of an epoch.

        Parameters
        ----------
        state : SharedMaskState
            Not finished.

        Returns
        -------
        SharedMaskState
            A step later.
        """
        return self._step(state) if state.step < self.steps else self._end_epoch(state)

    def progress(self, state: SharedMaskState, /) -> MaskProgress:
        """How far a state has come.

        Parameters
        ----------
        state : SharedMaskState
            Any.

        Returns
        -------
        MaskProgress
            In steps.
        """
        total = self.preset.max_epochs * self.steps
        done = total if state.finished else state.epoch * self.steps + state.step
        kept = state.history[-1][3] if state.history else None
        return MaskProgress(done, total, self._density(state.values), kept)

    def _step(self, state: SharedMaskState) -> SharedMaskState:
        preset, per_step, rows = self.preset, self.images_per_step, self.learned_from
        order = generator(self.seed, "mask/order", state.epoch).permutation(rows)
        index = order[state.step * per_step : (state.step + 1) * per_step]
        found = measure(
            self.classifier,
            self.images.take(index),
            self.images.classes[index],
            self.images.losses[index],
            state.values,
            index=index,
            per_channel=self.per_channel,
            batch_size=self.batch_size,
        )
        done = state.epoch * self.steps + state.step
        planned = (preset.scheduled_epochs or preset.max_epochs) * (preset.scheduled_steps or self.steps)
        gradient = found.gradient_of_invariance(preset)
        values, moments = descend(
            state.values,
            namespace(gradient).mean(gradient, axis=0, keepdims=True),
            Moments(state.first, state.second),
            state.weight / self._cells,
            step=done,
            size=step_size(done, planned, preset),
            preset=preset,
        )
        return replace(
            state,
            step=state.step + 1,
            values=values,
            first=moments.first,
            second=moments.second,
            gradient_evaluations=state.gradient_evaluations + len(index),
        )

    def _end_epoch(self, state: SharedMaskState) -> SharedMaskState:
        """Count what the mask keeps; keep the mask, change λ, or stop."""
        preset, clean = self.preset, self.images
        values = to_host(state.values)
        predicted = masked_predictions(self.classifier, clean, values, batch_size=self.batch_size)
        agrees, held = predicted == clean.predicted, self.held_out
        right, clean_right = int((predicted == clean.classes).sum()), int(clean.right.sum())
        enough = right >= self.goal * clean_right
        density = self._density(state.values)
        before = float(state.history[-1][0] or 0) if state.history else 1.0
        tolerance = preset.density_tolerance * (density if preset.density_relative else 1)
        unchanged = state.unchanged + 1 if enough and abs(density - before) <= tolerance else 0
        entry = (
            density,
            float(agrees.mean()),
            float(agrees[held].mean()) if len(held) else None,
            right / clean_right if clean_right else None,
            state.weight,
        )
        epoch = state.epoch + 1
        factor = preset.weight_increase if enough else preset.weight_decrease
        state = replace(
            state,
            epoch=epoch,
            step=0,
            weight=min(preset.sparsity_weight, state.weight * factor),
            unchanged=unchanged,
            history=(*state.history, entry),
            forward_evaluations=state.forward_evaluations + len(clean),
            finished=epoch >= preset.max_epochs or unchanged >= preset.patience,
        )
        sparser = state.best_density is None or density < state.best_density
        if enough and (sparser or preset.keep == "last"):
            return replace(state, best=values, best_density=density)
        return state

    @property
    def _cells(self) -> int:
        """Cells of the plane of each channel's mask, all channels' together."""
        channels = self.images.source.image_shape[0] if self.per_channel else 1
        return channels * self.shape[0] * self.shape[1]

    def _density(self, values: "Array") -> float:
        return float(densities(values, shape=self.shape).mean())
