"""What a Fourier mask is to leave as it is: the loss of every image."""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from specprobe.analysis.heatmap_additions import cross_entropy
from specprobe.analysis.input_gradients import logits_and_gradient
from specprobe.analysis.mask_plane import apply_to_spectra, mask_gradients, spectra
from specprobe.arrays import Array, like, namespace, to_host
from specprobe.errors import InvalidNumbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.analysis.mask_presets import Preset, TrustRegion
    from specprobe.protocols import DifferentiableClassifier

__all__ = ["Measured", "check_finite", "invariance", "measure"]


class Measured(NamedTuple):
    """Images under their masks.

    Attributes
    ----------
    gradient : array, shape (N, 1 or C, F)
        Of ``change`` with respect to each cell of the image's mask; on the device, float64.
    change : numpy.ndarray of float64, shape (N,)
        By how much the mask changes the loss, in nats.
    predicted : numpy.ndarray of int64, shape (N,)
        Classes.
    lead : numpy.ndarray of float64, shape (N,)
        Of their logit over the next one, in units of the largest logit.
    """

    gradient: Array
    change: "NDArray[np.float64]"
    predicted: "NDArray[np.int64]"
    lead: "NDArray[np.float64]"

    def gradient_of_invariance(self, preset: "Preset", /) -> Array:
        """Gradient of each image's ``φ(change)``.

        Parameters
        ----------
        preset : Preset
            With the exponent's limit.

        Returns
        -------
        array, shape (N, 1 or C, F)
            With respect to each cell of its mask; on the device, float64.
        """
        _, slope = invariance(self.change, preset)
        return self.gradient * like(slope[:, None, None], self.gradient)


def invariance(change: Array, preset: "Preset | TrustRegion", /) -> tuple[Array, Array]:
    """``φ(d) = exp(d²)`` and its derivative, bounded.

    Parameters
    ----------
    change : array
        d: loss under the mask minus loss without, in nats; of any library and shape.
    preset : Preset or TrustRegion
        With the exponent's limit.

    Returns
    -------
    value : array
        ``exp(d²)``; beyond the limit L, at ``|d| > √L``, its tangent there (``linear``) or ``exp(L)`` (``constant``).
    slope : array
        ``exp(d²) · 2 d``; beyond the limit its value there (``linear``), or ``exp(L) · 2 d`` (``constant``).
    """
    xp = namespace(change)
    limit, size = preset.exponent_limit, xp.abs(change)
    value = xp.exp(xp.clip(change * change, 0, limit))
    within = size if preset.beyond == "constant" else xp.clip(size, 0, math.sqrt(limit))
    slope = value * 2 * within * xp.sign(change)
    if preset.beyond == "linear":
        value = value + xp.abs(slope) * (size - within)
    return value, slope


def measure(
    classifier: "DifferentiableClassifier",
    images: Array,
    classes: "NDArray[np.int64]",
    clean_losses: "NDArray[np.float64]",
    values: Array,
    /,
    *,
    index: "NDArray[np.int64]",
    per_channel: bool,
    batch_size: int,
) -> Measured:
    """Change of each image's loss under a mask, and its gradient with respect to the mask.

    Parameters
    ----------
    classifier : DifferentiableClassifier
        The model.
    images : array, shape (N, C, H, W)
        Without a mask.
    classes : numpy.ndarray of int64, shape (N,)
        That the losses are of.
    clean_losses : numpy.ndarray of float64, shape (N,)
        Without a mask, in nats.
    values : array, shape (1 or N, 1 or C, F)
        Parameters of the masks, on the device of the images.
    index : numpy.ndarray of int64, shape (N,)
        Places in the source, for messages.
    per_channel : bool
        Whether channels have masks of their own.
    batch_size : int
        Images run at once.

    Returns
    -------
    Measured
        In the order of the images.

    Raises
    ------
    InvalidNumbers
        If logits or gradients are NaN or infinite; names the image.
    """
    shape = (images.shape[-2], images.shape[-1])
    parts: list[Measured] = []
    for start in range(0, len(classes), batch_size):
        rows = slice(start, min(start + batch_size, len(classes)))
        part = images[rows, ...] if len(classes) > batch_size else images
        own = values if values.shape[0] == 1 else values[rows, ...]
        transformed = spectra(part)
        masked = apply_to_spectra(transformed, own, shape=shape)
        logits, _, d_images = logits_and_gradient(classifier, masked, like(classes[rows], masked))
        check_finite(logits, index[rows])
        change = cross_entropy(logits, classes[rows]) - clean_losses[rows]
        by_image = mask_gradients(transformed, d_images, shape=shape, per_channel=per_channel)
        xp = namespace(by_image)
        check_finite(xp.sum(by_image, axis=-1), index[rows], what="input gradient")
        parts.append(Measured(by_image, change, *_first(logits)))
    if len(parts) == 1:
        return parts[0]
    gradients, *others = zip(*parts, strict=True)
    xp = namespace(gradients[0])
    return Measured(xp.concat(list(gradients), axis=0), *(np.concatenate(other) for other in others))


def _first(logits: Array) -> "tuple[NDArray[np.int64], NDArray[np.float64]]":
    """Class of the largest logit of each image, and its lead."""
    xp = namespace(logits)
    predicted, largest = xp.argmax(logits, axis=1), xp.max(logits, axis=1)
    there = like(np.arange(logits.shape[1]), logits)[None, :] == predicted[:, None]
    next_one = xp.max(xp.where(there, -xp.inf, logits), axis=1)
    size = to_host(xp.max(xp.abs(logits), axis=1)).astype(np.float64)
    lead = to_host(largest - next_one) / np.maximum(size, np.finfo(np.float64).tiny)
    return to_host(predicted).astype(np.int64), lead


def check_finite(values: Array, index: "NDArray[np.int64]", /, *, what: str = "logits") -> None:
    """Refuse what is no number.

    Parameters
    ----------
    values : array, shape (N, ...)
        Of images.
    index : numpy.ndarray of int64, shape (N,)
        Their places in the source.
    what : str
        They are, in the message.

    Raises
    ------
    InvalidNumbers
        If one is NaN or infinite; names the image.
    """
    xp = namespace(values)
    fine = to_host(xp.all(xp.isfinite(values), axis=1))
    if not fine.all():
        bad = int(index[int(np.argmin(fine))])
        msg = (
            f"the {what} of image {bad} are NaN or infinite under a mask ({int((~fine).sum())} of {fine.size} images "
            "here): check the preprocessing recipe and the export"
        )
        raise InvalidNumbers(msg)
