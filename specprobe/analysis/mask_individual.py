"""A mask for each image, several images at a time."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.mask_objective import measure
from specprobe.analysis.mask_optimiser import Moments, descend, step_size
from specprobe.analysis.mask_plane import densities, frequency_counts
from specprobe.analysis.mask_state import ImageMasksState, MaskProgress
from specprobe.arrays import like, namespace, to_host

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.analysis.mask_data import CleanImages
    from specprobe.analysis.mask_presets import Preset
    from specprobe.arrays import Array
    from specprobe.protocols import DifferentiableClassifier

__all__ = ["ImageMasks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMasks:
    """What learning a mask for each image depends on.

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
    batch_size : int
        Images at work at once; one that is done leaves.
    """

    classifier: "DifferentiableClassifier"
    images: "CleanImages"
    preset: "Preset"
    per_channel: bool
    batch_size: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        _, height, width = self.images.source.image_shape
        return height, width

    def begin(self, example: "Array", /) -> ImageMasksState:
        """Before the first step of the first images.

        Parameters
        ----------
        example : array
            Names library and device.

        Returns
        -------
        ImageMasksState
            Masks of ones.
        """
        count, frequencies = len(self.images), len(frequency_counts(self.shape))
        return ImageMasksState(
            **self._fresh(0, example),
            masks=np.zeros((count, self._channels, frequencies), np.float32),
            image_density=np.zeros(count),
            image_steps=np.zeros(count, np.int64),
            image_converged=np.zeros(count, np.bool_),
        )

    def advance(self, state: ImageMasksState, /) -> ImageMasksState:
        """One step of all images that are at work.

        Parameters
        ----------
        state : ImageMasksState
            Not finished.

        Returns
        -------
        ImageMasksState
            A step later; with the next images where these are done.
        """
        preset, clean = self.preset, self.images
        index = state.start + state.rows
        found = measure(
            self.classifier,
            clean.take(index),
            clean.classes[index],
            clean.losses[index],
            state.values,
            preset,
            index=index,
            per_channel=self.per_channel,
            batch_size=self.batch_size,
        )
        density = self._densities(state.values)
        same = found.predicted == clean.classes[index]
        better = same & ((density < state.best_density) | (preset.keep == "last"))
        kept = like(better[:, None, None], state.values)
        best = namespace(state.values).where(kept, state.values, state.best)
        best_density = np.where(better, density, state.best_density)
        unchanged = np.where(self._still(state, density, found.change) & same, state.unchanged + 1, 0)
        cells = self._channels * self.shape[0] * self.shape[1]
        planned = (preset.scheduled_epochs or preset.max_epochs) * (preset.scheduled_steps or 1)
        values, moments = descend(
            state.values,
            found.gradient,
            Moments(state.first, state.second),
            preset.sparsity_weight / cells,
            step=state.step,
            size=step_size(state.step, planned, preset),
            preset=preset,
        )
        converged = unchanged >= preset.patience
        done = converged | (state.step + 1 >= preset.max_epochs)
        later = replace(
            state,
            step=state.step + 1,
            values=values,
            first=moments.first,
            second=moments.second,
            best=best,
            best_density=best_density,
            density=density,
            invariance=found.change**2,
            unchanged=unchanged,
        )
        return self._leave(later, done, converged, state.values) if done.any() else later

    def progress(self, state: ImageMasksState, /) -> MaskProgress:
        """How far a state has come.

        Parameters
        ----------
        state : ImageMasksState
            Any.

        Returns
        -------
        MaskProgress
            In images.
        """
        done = state.image_steps > 0
        # What is at work counts in proportion to its steps, so that the bar does not stand still.
        working = len(state.rows) * min(state.step / self.preset.max_epochs, 1)
        share = int(done.sum() + (0 if state.finished else working))
        shown = state.image_density[done] if done.any() else self._densities(state.values)
        return MaskProgress(share, len(self.images), float(shown.mean()), None)

    def _still(
        self, state: ImageMasksState, density: "NDArray[np.float64]", change: "NDArray[np.float64]"
    ) -> "NDArray[np.bool_]":
        """Where neither the density nor the invariance has changed since the step before."""
        preset = self.preset
        tolerance = preset.density_tolerance * (density if preset.density_relative else 1)
        still: NDArray[np.bool_] = np.abs(density - state.density) <= tolerance
        if preset.density_relative and state.step < preset.warm_up * preset.max_epochs:
            return np.zeros_like(still)  # steps are too short to tell
        if preset.invariance_tolerance is not None:
            still = still & (np.abs(change**2 - state.invariance) <= preset.invariance_tolerance)
        return still

    def _leave(
        self,
        state: ImageMasksState,
        done: "NDArray[np.bool_]",
        converged: "NDArray[np.bool_]",
        last: "Array",
    ) -> ImageMasksState:
        """Masks that are done, put away; the next images, where none is left."""
        rows = state.start + state.rows[done]
        kept = np.isfinite(state.best_density[done])
        masks, density = state.masks.copy(), state.image_density.copy()
        steps, by_rule = state.image_steps.copy(), state.image_converged.copy()
        best, before = (to_host(array)[done] for array in (state.best, last))
        masks[rows] = np.where(kept[:, None, None], best, before).astype(np.float32)
        density[rows] = self._densities(masks[rows])
        steps[rows], by_rule[rows] = state.step, converged[done]
        state = replace(state, masks=masks, image_density=density, image_steps=steps, image_converged=by_rule)
        left = np.flatnonzero(~done)
        if len(left):
            there = like(left, state.values)
            xp = namespace(state.values)
            on_device = {name: xp.take(getattr(state, name), there, axis=0) for name in _ON_DEVICE}
            return replace(state, **on_device, **{name: getattr(state, name)[left] for name in _ON_HOST})
        if state.stop == len(self.images):
            return replace(state, finished=True)
        return replace(state, **self._fresh(state.stop, state.values))

    def _fresh(self, start: int, example: "Array") -> dict[str, Any]:
        """Fields of a state whose images, from ``start``, have not begun."""
        stop = min(start + self.batch_size, len(self.images))
        count, frequencies = stop - start, len(frequency_counts(self.shape))
        ones = np.ones((count, self._channels, frequencies))
        first, second = (like(np.zeros_like(ones), example) for _ in range(2))
        return {
            "start": start,
            "stop": stop,
            "step": 0,
            "rows": np.arange(count),
            "values": like(ones.copy(), example),
            "first": first,
            "second": second,
            "best": like(ones, example),
            "best_density": np.full(count, np.inf),
            "density": np.full(count, np.inf),
            "invariance": np.full(count, np.inf),
            "unchanged": np.zeros(count, np.int64),
        }

    @property
    def _channels(self) -> int:
        return self.images.source.image_shape[0] if self.per_channel else 1

    def _densities(self, values: "Array") -> "NDArray[np.float64]":
        by_image: NDArray[np.float64] = densities(values, shape=self.shape).mean(axis=-1)
        return by_image


_ON_DEVICE = ("values", "first", "second", "best")
_ON_HOST = ("rows", "best_density", "density", "invariance", "unchanged")
