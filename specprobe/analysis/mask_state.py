"""Where learning stands, so that it can go on after an interruption to the same bits."""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeVar

from specprobe.arrays import Array, like, to_host

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from specprobe.streaming import Checkpoint

__all__ = ["ImageMasksState", "MaskProgress", "SharedMaskState", "on_device", "run_to_end"]


class MaskProgress(NamedTuple):
    """How far learning has come.

    Attributes
    ----------
    done, total : int
        Steps of a mask for all images, or images that have their masks.
    density : float
        Of the present mask, or mean over the finished ones.
    kept : float or None
        Share of the images which were right and are right under the mask, as last counted.
    """

    done: int
    total: int
    density: float
    kept: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SharedMaskState:
    """Learning of one mask for all images.

    Attributes
    ----------
    epoch, step : int
        Epochs done, and steps done of the next one.
    weight : float
        Present λ.
    values, first, second : array, shape (1, 1 or C, F), float64
        Mask and Adam's moments; on the device.
    best : numpy.ndarray, shape (1, 1 or C, F), or None
        Mask that would be kept now.
    best_density : float or None
        Its density.
    unchanged : int
        Consecutive epochs that the stop rule counts.
    history : tuple of tuple
        An epoch: density; share of predictions kept, of all images and of those held out; right images over those right
        without a mask; λ.
    gradient_evaluations, forward_evaluations : int
        Images.
    finished : bool
        Whether there is nothing left to do.
    """

    kind: ClassVar[str] = "shared_mask_state"

    epoch: int = 0
    step: int = 0
    weight: float
    values: Array
    first: Array
    second: Array
    best: "NDArray[np.float64] | None" = None
    best_density: float | None = None
    unchanged: int = 0
    history: tuple[tuple[float | None, ...], ...] = ()
    gradient_evaluations: int = 0
    forward_evaluations: int = 0
    finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageMasksState:
    """Learning of a mask for each image, some images at a time.

    Attributes
    ----------
    start, stop : int
        Images that are at work.
    step : int
        Steps that these have done.
    rows : numpy.ndarray of int64, shape (n,)
        Those of them that are not done, from ``start``; the arrays below are theirs.
    values, first, second : array, shape (n, 1 or C, F), float64
        Masks and Adam's moments; on the device.
    best : array, shape (n, 1 or C, F), float64
        Masks that would be kept now; on the device.
    best_density : numpy.ndarray of float64, shape (n,)
        Infinite where there is none.
    density, invariance : numpy.ndarray of float64, shape (n,)
        At the step before.
    unchanged : numpy.ndarray of int64, shape (n,)
        Consecutive steps that the stop rule counts.
    masks : numpy.ndarray, shape (N, 1 or C, F), float32
        Those of images that are done.
    image_density : numpy.ndarray of float64, shape (N,)
        Likewise.
    image_steps : numpy.ndarray of int64, shape (N,)
        Gradients that each image took; 0 where it is not done.
    image_converged : numpy.ndarray of bool, shape (N,)
        Whether the stop rule ended it.
    finished : bool
        Whether there is nothing left to do.
    """

    kind: ClassVar[str] = "image_masks_state"

    start: int
    stop: int
    step: int = 0
    rows: "NDArray[np.int64]"
    values: Array
    first: Array
    second: Array
    best: Array
    best_density: "NDArray[np.float64]"
    density: "NDArray[np.float64]"
    invariance: "NDArray[np.float64]"
    unchanged: "NDArray[np.int64]"
    masks: "NDArray[np.float32]"
    image_density: "NDArray[np.float64]"
    image_steps: "NDArray[np.int64]"
    image_converged: "NDArray[np.bool_]"
    finished: bool = False


State = TypeVar("State", SharedMaskState, ImageMasksState)

_ON_DEVICE = {
    SharedMaskState: ("values", "first", "second"),
    ImageMasksState: ("values", "first", "second", "best"),
}


def on_device(state: State, images: Array, /) -> State:
    """A state that was read, its masks where the images are.

    Parameters
    ----------
    state : SharedMaskState or ImageMasksState
        With arrays of NumPy.
    images : array
        Names library and device.

    Returns
    -------
    SharedMaskState or ImageMasksState
        Equal.
    """
    return replace(
        state, **{name: like(to_host(getattr(state, name)), images) for name in _ON_DEVICE[type(state)]}
    )


def run_to_end(
    state: State,
    advance: "Callable[[State], State]",
    /,
    *,
    checkpoint: "Checkpoint | None",
    progress: "Callable[[State], None] | None",
) -> State:
    """Advance until a state is finished.

    Parameters
    ----------
    state : SharedMaskState or ImageMasksState
        To begin with.
    advance : callable
        From a state to the next one, a step later; what it returns depends on the state alone.
    checkpoint : Checkpoint, optional
        Where the state is kept from time to time, when learning is interrupted, and at the end: there is more to be
        measured then, so that it is the caller who clears it.
    progress : callable, optional
        Called with each state.

    Returns
    -------
    SharedMaskState or ImageMasksState
        Finished.

    Raises
    ------
    CheckpointError
        If the state cannot be kept.
    """
    written = time.monotonic()
    try:
        while not state.finished:
            state = advance(state)
            if progress is not None:
                progress(state)
            if checkpoint is not None and time.monotonic() - written > checkpoint.seconds:
                checkpoint.write(0, state)
                written = time.monotonic()
    finally:
        if checkpoint is not None:
            checkpoint.write(0, state)
    return state
