"""What a heat map holds: counts, means and spreads by frequency, and numbers of each image."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.heatmap_document import LAYER_MAPS
from specprobe.intervals import CONFIDENCE
from specprobe.spectral.grid import frequency_index, real_frequencies

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HeatmapData"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeatmapData:
    """What was measured with one Fourier basis image at a time added, and under which settings.

    Arrays of shape (K,) hold one entry for each frequency of :func:`~specprobe.spectral.grid.real_frequencies`.

    Attributes
    ----------
    image_size : (int, int)
        Height and width.
    l2_norm_per_channel : float
        Of what is added to each channel, before clipping.
    basis_phase : {"0", "45", "random", "worst-of-two"}
        Degrees of the one basis image of a frequency; drawn for each image and frequency; or both cosine and sine, of
        which the worse counts, image by image.
    random_sign : bool
        Whether each channel of each image draws a sign, the same for every frequency.
    clip : bool
        Whether images are clipped to [0, 1] after the addition.
    seed : int
        Of the signs, the phases and the sample.
    target : {"true", "predicted"}
        Class that errors and losses are of: the label, or the answer to the clean image.
    images : int
        How many.
    clean_errors : int
        Images that are wrong as they are; 0 for the target ``predicted``.
    model_evaluations, gradient_evaluations : int
        Images classified, the clean ones included; gradients of images.
    evaluated : numpy.ndarray of bool, shape (K,)
        Whether the images were classified with this frequency added.
    errors : numpy.ndarray of int64, shape (K,)
        Images that are wrong; 0 where not evaluated.
    mean_loss_increase, loss_increase_std : numpy.ndarray of float64, shape (K,)
        Cross-entropy in nats, less that of the clean image: mean, and spread over images (ddof 0).
    mean_derivative_power, derivative_power_std : numpy.ndarray of float64, shape (K,), or None
        Squared derivative of the margin along the basis image, summed over channels: mean, and spread over
        images. None without first-order maps.
    flips : numpy.ndarray of int64, shape (K,), or None
        Images whose margin is smaller than its linear change.
    correct : int or None
        Images classified as labelled; None without labels, as the histograms.
    class_histogram, prediction_histogram : dict of str to int, or None
        Clean images by label and by predicted class.
    confidence : float
        Of the intervals.
    refine : int or None
        Stride of the coarse grid that frequencies were refined from; None where all asked for were evaluated.
    refinement_levels : tuple of (int, int)
        Stride and number of frequencies of each pass over the images.
    layers : tuple of str
        Names of L tensors whose change was measured.
    mean_layer_change, layer_change_std : numpy.ndarray of float64, shape (K, L), or None
        L2 norm of a tensor's change: mean, and spread over images. None without layers.
    mean_layer_relative_change, layer_relative_change_std : numpy.ndarray of float64, shape (K, L), or None
        The same, of the change over the norm of the clean tensor.
    ring_error_rate_std, ring_loss_increase_std : numpy.ndarray of float64, shape (R + 1,), or None
        Spread over images of the mean over the evaluated cells of a ring.
    band_error_rate_std, band_loss_increase_std : numpy.ndarray of float64, shape (3,), or None
        The same, of the low, middle and high rings.
    image_correct : numpy.ndarray of bool, shape (images,), or None
        Per clean image, with labels. None for results read from JSON, as the arrays below.
    image_error_rate, image_loss_increase : numpy.ndarray of float64, shape (images,), or None
        Per image: mean over the evaluated cells of the map.
    image_ring_error_rate, image_ring_loss_increase : numpy.ndarray of float32, shape (images, R + 1), or None
        Per image: mean over the evaluated cells of each ring; NaN where there are none.
    image_digest : numpy.ndarray of uint8, shape (images, 16), or None
        Which image it was.
    """

    image_size: tuple[int, int]
    l2_norm_per_channel: float
    basis_phase: str
    random_sign: bool
    clip: bool
    seed: int
    target: str
    images: int
    clean_errors: int
    model_evaluations: int
    evaluated: "NDArray[np.bool_]"
    errors: "NDArray[np.int64]"
    mean_loss_increase: "NDArray[np.float64]"
    loss_increase_std: "NDArray[np.float64]"
    gradient_evaluations: int = 0
    mean_derivative_power: "NDArray[np.float64] | None" = None
    derivative_power_std: "NDArray[np.float64] | None" = None
    flips: "NDArray[np.int64] | None" = None
    correct: int | None = None
    class_histogram: dict[str, int] | None = None
    prediction_histogram: dict[str, int] | None = None
    confidence: float = CONFIDENCE
    refine: int | None = None
    refinement_levels: tuple[tuple[int, int], ...] = ()
    layers: tuple[str, ...] = ()
    mean_layer_change: "NDArray[np.float64] | None" = None
    layer_change_std: "NDArray[np.float64] | None" = None
    mean_layer_relative_change: "NDArray[np.float64] | None" = None
    layer_relative_change_std: "NDArray[np.float64] | None" = None
    ring_error_rate_std: "NDArray[np.float64] | None" = None
    ring_loss_increase_std: "NDArray[np.float64] | None" = None
    band_error_rate_std: "NDArray[np.float64] | None" = None
    band_loss_increase_std: "NDArray[np.float64] | None" = None
    image_correct: "NDArray[np.bool_] | None" = None
    image_error_rate: "NDArray[np.float64] | None" = None
    image_loss_increase: "NDArray[np.float64] | None" = None
    image_ring_error_rate: "NDArray[np.float32] | None" = None
    image_ring_loss_increase: "NDArray[np.float32] | None" = None
    image_digest: "NDArray[np.uint8] | None" = None

    def __post_init__(self) -> None:
        """Refuse what no images have: results are read from files, too."""
        counts = np.concatenate([[self.clean_errors], self.errors, [] if self.flips is None else self.flips])
        if self.images < 1 or counts.min() < 0 or counts.max() > self.images:
            msg = f"counts of {self.images} images: accepted are 0 <= count <= images, images >= 1"
            raise ValueError(msg)
        wanted = {(len(real_frequencies(self.image_size)),)}
        names = (
            "evaluated",
            "errors",
            "mean_loss_increase",
            "loss_increase_std",
            "mean_derivative_power",
            "flips",
        )
        shapes = {np.shape(getattr(self, name)) for name in names if getattr(self, name) is not None}
        if shapes != wanted:
            msg = f"values by frequency have shapes {sorted(shapes)}; accepted is {wanted}, for all"
            raise ValueError(msg)
        by_layer = [getattr(self, key) for name in LAYER_MAPS for key in (f"mean_{name}", f"{name}_std")]
        inner = {None if values is None else np.shape(values) for values in by_layer}
        if inner != {(len(self.evaluated), len(self.layers)) if self.layers else None}:
            msg = f"values by layer have shapes {inner}; accepted are {len(self.layers)} layers of {wanted}, for all"
            raise ValueError(msg)

    def of_cells(self, values: "NDArray[Any]", /) -> "NDArray[Any]":
        """Values by frequency as a centred map.

        Parameters
        ----------
        values : numpy.ndarray, shape (K, ...)
            One entry a frequency.

        Returns
        -------
        numpy.ndarray, shape (H, W, ...)
            Equal at k and -k.
        """
        return values[frequency_index(self.image_size)]

    @property
    def evaluated_cells(self) -> "NDArray[np.bool_]":
        """Whether each cell was evaluated, shape (H, W)."""
        return self.of_cells(self.evaluated)
