"""A mask for each image, several images at a time; how a mask is learned is for the subclasses to say."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from specprobe.analysis.mask_objective import measure
from specprobe.analysis.mask_plane import densities, frequency_counts
from specprobe.analysis.mask_state import ImageMasksState, MaskProgress
from specprobe.arrays import like, namespace, to_host

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.analysis.mask_data import CleanImages
    from specprobe.analysis.mask_objective import Measured
    from specprobe.analysis.mask_presets import Preset, TrustRegion
    from specprobe.arrays import Array
    from specprobe.protocols import DifferentiableClassifier

__all__ = ["ImageMasks"]

State = TypeVar("State", bound=ImageMasksState)
Settings = TypeVar("Settings", "Preset", "TrustRegion")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMasks(ABC, Generic[State, Settings]):
    """What learning a mask for each image depends on.

    Attributes
    ----------
    classifier : DifferentiableClassifier
        The model.
    images : CleanImages
        Without a mask.
    preset : Preset or TrustRegion
        Hyper-parameters.
    per_channel : bool
        Whether channels have masks of their own.
    batch_size : int
        Images at work at once; one that is done leaves.
    """

    classifier: "DifferentiableClassifier"
    images: "CleanImages"
    preset: Settings
    per_channel: bool
    batch_size: int

    @abstractmethod
    def begin(self, example: "Array", /) -> State:
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

    @abstractmethod
    def advance(self, state: State, /) -> State:
        """One step, of one gradient each, of all images that are at work.

        Parameters
        ----------
        state : ImageMasksState
            Not finished.

        Returns
        -------
        ImageMasksState
            A step later; with the next images where these are done.
        """

    @abstractmethod
    def _fresh(self, ones: "Array") -> dict[str, Any]:
        """Fields of images that begin, beside those of every state; ``ones`` are their masks."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        _, height, width = self.images.source.image_shape
        return height, width

    def progress(self, state: State, /) -> MaskProgress:
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
        shown = state.image_density[done] if done.any() else self.densities(state.values)
        return MaskProgress(share, len(self.images), float(shown.mean()), None)

    def densities(self, values: "Array", /) -> "NDArray[np.float64]":
        """Share of the plane that each mask keeps.

        Parameters
        ----------
        values : array, shape (n, 1 or C, F)
            Masks.

        Returns
        -------
        numpy.ndarray of float64, shape (n,)
            Means over channels.
        """
        by_image: NDArray[np.float64] = densities(values, shape=self.shape).mean(axis=-1)
        return by_image

    def measure(self, state: State, values: "Array", /) -> "Measured":
        """Look at the images that are at work through masks.

        Parameters
        ----------
        state : ImageMasksState
            With these images.
        values : array, shape (n, 1 or C, F)
            Masks.

        Returns
        -------
        Measured
            In the order of ``state.rows``.
        """
        clean, index = self.images, state.start + state.rows
        return measure(
            self.classifier,
            clean.take(index),
            clean.classes[index],
            clean.losses[index],
            values,
            index=index,
            per_channel=self.per_channel,
            batch_size=self.batch_size,
        )

    def none_done(self) -> dict[str, Any]:
        """Fields of a state in which no image has its mask."""
        count, frequencies = len(self.images), len(frequency_counts(self.shape))
        return {
            "masks": np.zeros((count, self._channels, frequencies), np.float32),
            "image_density": np.zeros(count),
            "image_steps": np.zeros(count, np.int64),
            "image_converged": np.zeros(count, np.bool_),
        }

    def images_from(self, start: int, example: "Array", /) -> dict[str, Any]:
        """Fields of a state whose images have not begun.

        Parameters
        ----------
        start : int
            The first of them.
        example : array
            Names library and device.

        Returns
        -------
        dict
            By name.
        """
        stop = min(start + self.batch_size, len(self.images))
        count, frequencies = stop - start, len(frequency_counts(self.shape))
        ones = like(np.ones((count, self._channels, frequencies)), example)
        common = {"start": start, "stop": stop, "step": 0, "rows": np.arange(count), "values": ones}
        return common | self._fresh(ones)

    def leave(
        self, state: State, masks: "Array", done: "NDArray[np.bool_]", converged: "NDArray[np.bool_]", /
    ) -> State:
        """Put masks away that are done; go on with the next images, where none is left.

        Parameters
        ----------
        state : ImageMasksState
            After a step.
        masks : array, shape (n, 1 or C, F)
            That the images at work would have now.
        done : numpy.ndarray of bool, shape (n,)
            Which of these are done.
        converged : numpy.ndarray of bool, shape (n,)
            Which of these have settled.

        Returns
        -------
        ImageMasksState
            Without those that are done.
        """
        if not done.any():
            return state
        rows = state.start + state.rows[done]
        put, density = state.masks.copy(), state.image_density.copy()
        steps, settled = state.image_steps.copy(), state.image_converged.copy()
        put[rows] = to_host(masks)[done].astype(np.float32)
        density[rows] = self.densities(put[rows])
        steps[rows], settled[rows] = state.step, converged[done]
        state = replace(state, masks=put, image_density=density, image_steps=steps, image_converged=settled)
        left = np.flatnonzero(~done)
        if len(left):
            there = like(left, state.values)
            xp = namespace(state.values)
            names = {field.name for field in fields(state)} - _COMMON
            parts = {name: getattr(state, name) for name in names}
            kept: dict[str, Any] = {
                name: part[left] if isinstance(part, np.ndarray) else xp.take(part, there, axis=0)
                for name, part in parts.items()
            }
            return replace(state, **kept)
        if state.stop == len(self.images):
            return replace(state, finished=True)
        return replace(state, **self.images_from(state.stop, state.values))

    @property
    def _channels(self) -> int:
        return self.images.source.image_shape[0] if self.per_channel else 1


_COMMON = {field.name for field in fields(ImageMasksState)} - {"rows", "values"}
"""Fields of a state that are not of the images at work, one by one."""
