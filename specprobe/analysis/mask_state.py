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

__all__ = [
    "AdamMasksState",
    "ImageMasksState",
    "MaskProgress",
    "SharedMaskState",
    "TrustRegionMasksState",
    "on_device",
    "run_to_end",
]


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
        Those of them that are not done, from ``start``; the arrays of subclasses are theirs, too.
    values : array, shape (n, 1 or C, F), float64
        Masks; on the device.
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

    start: int
    stop: int
    step: int = 0
    rows: "NDArray[np.int64]"
    values: Array
    masks: "NDArray[np.float32]"
    image_density: "NDArray[np.float64]"
    image_steps: "NDArray[np.int64]"
    image_converged: "NDArray[np.bool_]"
    finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdamMasksState(ImageMasksState):
    """Learning by Adam.

    Attributes
    ----------
    first, second : array, shape (n, 1 or C, F), float64
        Adam's moments; on the device.
    kept : array, shape (n, 1 or C, F), float64
        The last masks that left the prediction as it is; on the device.
    has_kept : numpy.ndarray of bool, shape (n,)
        Whether there is one.
    density, invariance : numpy.ndarray of float64, shape (n,)
        At the step before.
    unchanged : numpy.ndarray of int64, shape (n,)
        Consecutive steps that the stop rule counts.
    """

    kind: ClassVar[str] = "adam_masks_state"

    first: Array
    second: Array
    kept: Array
    has_kept: "NDArray[np.bool_]"
    density: "NDArray[np.float64]"
    invariance: "NDArray[np.float64]"
    unchanged: "NDArray[np.int64]"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrustRegionMasksState(ImageMasksState):
    """Learning by steps within a trust region.

    Attributes
    ----------
    gradient : array, shape (n, 1 or C, F), float64
        Of the change of the loss at ``values``, the masks taken last; on the device.
    trial : array, shape (n, 1 or C, F), float64
        Masks to be tried; on the device.
    best : array, shape (n, 1 or C, F), float64
        Masks of lowest objective that leave the prediction as it is; on the device.
    best_objective : numpy.ndarray of float64, shape (n,)
        There; infinite where there is none.
    change : numpy.ndarray of float64, shape (n,)
        Of the loss at ``values``, in nats.
    aim : numpy.ndarray of float64, shape (n,)
        By how much the loss is to fall, in nats: above 0 where a mask that changes nothing else changes the prediction.
    reference : numpy.ndarray of float64, shape (n,)
        Running mean of the objectives of masks taken; infinite before the first.
    remembered : numpy.ndarray of float64, shape (n,)
        Weight of that mean.
    expected : numpy.ndarray of float64, shape (n,)
        Decrease of the objective at ``trial``, if the loss is linear.
    radius : numpy.ndarray of float64, shape (n,)
        By which a value may move.
    settled : numpy.ndarray of float64, shape (n,)
        ``best_objective`` where the mask last settled; infinite before.
    """

    kind: ClassVar[str] = "trust_region_masks_state"

    gradient: Array
    trial: Array
    best: Array
    best_objective: "NDArray[np.float64]"
    change: "NDArray[np.float64]"
    aim: "NDArray[np.float64]"
    reference: "NDArray[np.float64]"
    remembered: "NDArray[np.float64]"
    expected: "NDArray[np.float64]"
    radius: "NDArray[np.float64]"
    settled: "NDArray[np.float64]"


State = TypeVar("State", SharedMaskState, AdamMasksState, TrustRegionMasksState)

_ON_DEVICE: dict[type, tuple[str, ...]] = {
    SharedMaskState: ("values", "first", "second"),
    AdamMasksState: ("values", "first", "second", "kept"),
    TrustRegionMasksState: ("values", "gradient", "trial", "best"),
}


def on_device(state: State, images: Array, /) -> State:
    """A state that was read, its masks where the images are.

    Parameters
    ----------
    state : SharedMaskState, AdamMasksState or TrustRegionMasksState
        With arrays of NumPy.
    images : array
        Names library and device.

    Returns
    -------
    SharedMaskState, AdamMasksState or TrustRegionMasksState
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
    state : SharedMaskState, AdamMasksState or TrustRegionMasksState
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
    SharedMaskState, AdamMasksState or TrustRegionMasksState
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
