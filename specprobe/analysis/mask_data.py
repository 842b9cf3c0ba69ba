"""The images that a mask is learned on: read once where they fit, and what the model says of them without a mask."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.accuracy import batch_logits
from specprobe.analysis.heatmap_additions import cross_entropy
from specprobe.arrays import Array, like, namespace, to_host
from specprobe.errors import DataError
from specprobe.streaming import shards

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.analysis.input_gradients import Target
    from specprobe.protocols import Classifier, ImageSource

__all__ = ["IMAGE_BUDGET_BYTES", "CleanImages", "clean_images"]

IMAGE_BUDGET_BYTES = 1 << 30
"""Pixels that are kept in memory; more are read from the source again whenever they are needed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CleanImages:
    """Images without a mask.

    Attributes
    ----------
    source : ImageSource
        Where they come from.
    pixels : array, shape (N, C, H, W), or None
        All of them; None where they do not fit.
    labels : numpy.ndarray of int64, shape (N,), or None
        Where there are any.
    predicted : numpy.ndarray of int64, shape (N,)
        Classes that the model gives.
    classes : numpy.ndarray of int64, shape (N,)
        That the losses are of.
    losses : numpy.ndarray of float64, shape (N,)
        Cross-entropies, in nats.
    digests : numpy.ndarray of uint8, shape (N, 16)
        Which images they are.
    """

    source: "ImageSource"
    pixels: Array | None
    labels: "NDArray[np.int64] | None"
    predicted: "NDArray[np.int64]"
    classes: "NDArray[np.int64]"
    losses: "NDArray[np.float64]"
    digests: "NDArray[np.uint8]"

    def __len__(self) -> int:
        """Number of images."""
        return len(self.classes)

    @property
    def right(self) -> "NDArray[np.bool_]":
        """Images whose prediction is the class that the loss is of."""
        right: NDArray[np.bool_] = self.predicted == self.classes
        return right

    def take(self, index: "NDArray[np.int64]", /) -> Array:
        """Some of the images.

        Parameters
        ----------
        index : numpy.ndarray of int64, shape (n,)
            Which, in any order; one at least.

        Returns
        -------
        array, shape (n, C, H, W)
            In the order of ``index``.
        """
        if self.pixels is not None:
            return namespace(self.pixels).take(self.pixels, like(np.asarray(index), self.pixels), axis=0)
        ends = np.flatnonzero(np.diff(index) != 1) + 1
        runs = [(int(run[0]), int(run[-1]) + 1) for run in np.split(index, ends)]
        parts = [self.source.read(*run).images for run in runs]
        return parts[0] if len(parts) == 1 else namespace(parts[0]).concat(parts, axis=0)


def clean_images(
    classifier: "Classifier",
    source: "ImageSource",
    count: int,
    /,
    *,
    target: "Target",
    batch_size: int,
    budget_bytes: int | None = None,
) -> CleanImages:
    """Read all images once, and ask the model about them.

    Parameters
    ----------
    classifier : Classifier
        The model.
    source : ImageSource
        With labels where ``target`` is ``"true"``.
    count : int
        Images to be read.
    target : {"true", "predicted"}
        Whose class the losses are of.
    batch_size : int
        Images run at once.
    budget_bytes : int, optional
        Of the pixels that are kept; :data:`IMAGE_BUDGET_BYTES` if not given.

    Returns
    -------
    CleanImages
        With the pixels if they fit.

    Raises
    ------
    DataError
        If labels are missing.
    EmptyInput
        If there are no images.
    InvalidNumbers
        If logits are NaN or infinite; names the image.
    """
    labels = None if source.labels is None else np.asarray(source.labels[:count], np.int64)
    if labels is None and target == "true":
        msg = "the images have no labels; give them with --labels FILE, or take --target predicted"
        raise DataError(msg)
    budget = IMAGE_BUDGET_BYTES if budget_bytes is None else budget_bytes
    kept: list[Array] | None = [] if 4 * count * int(np.prod(source.image_shape)) <= budget else None
    found: list[tuple[Any, ...]] = []
    for shard in shards(count):
        batch = source.read(*shard)
        logits = batch_logits(classifier, batch.images, start=batch.start, batch_size=batch_size)
        predicted = to_host(namespace(logits).argmax(logits, axis=1)).astype(np.int64)
        classes = predicted if labels is None or target == "predicted" else labels[slice(*shard)]
        found.append((predicted, classes, cross_entropy(logits, classes), batch.digests))
        if kept is not None:
            kept.append(batch.images)
    predicted, classes, losses, digests = (np.concatenate(part) for part in zip(*found, strict=True))
    return CleanImages(
        source=source,
        pixels=None
        if kept is None
        else kept[0]
        if len(kept) == 1
        else namespace(kept[0]).concat(kept, axis=0),
        labels=labels,
        predicted=predicted,
        classes=classes,
        losses=losses,
        digests=digests,
    )
