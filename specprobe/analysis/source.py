"""What an analysis is given to look at."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from specprobe.errors import DataError, InputMismatch
from specprobe.images import ArraySource
from specprobe.protocols import ImageSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.arrays import Array
    from specprobe.protocols import Batch, Classifier
    from specprobe.streaming import Shard

__all__ = ["check_labels", "labelled_source", "read"]


def labelled_source(
    classifier: "Classifier",
    images: "ImageSource | Array",
    labels: "Array | None",
    /,
    *,
    limit: int | None,
) -> "tuple[ImageSource, int]":
    """A source of the images, whose labels, where there are any, are classes of the model.

    Parameters
    ----------
    classifier : Classifier
        The model.
    images : ImageSource or array
        Arrays as of :class:`~specprobe.images.ArraySource`.
    labels : array or None
        Classes, beside images that are an array.
    limit : int or None
        Only the first so many.

    Returns
    -------
    source : ImageSource
        With the labels.
    count : int
        Images to be looked at.

    Raises
    ------
    InputMismatch
        If labels are given beside a source, which has its own.
    DataError
        If the classifier has no class for a label.
    TypeError
        If the images are a path or a list.
    """
    if isinstance(images, str | Path | list | tuple):
        msg = (
            f"images is of type {type(images).__name__}; accepted are arrays (N, C, H, W) and sources of images: "
            "specprobe.load_images reads files and folders"
        )
        raise TypeError(msg)
    source = images if isinstance(images, ImageSource) else ArraySource(images, labels)
    if labels is not None and source is images:
        msg = (
            "labels are given beside a source of images, which has its own; accepted are labels beside an array, "
            "or in load_images"
        )
        raise InputMismatch(msg)
    count = source.images if limit is None else min(limit, source.images)
    if source.labels is not None:
        check_labels(source.labels[:count], classifier.classes, source.class_names)
    return source, count


def read(source: ImageSource, shard: "Shard", /) -> "Batch":
    """Images of one shard: the first stage of an analysis.

    Parameters
    ----------
    source : ImageSource
        Read from.
    shard : Shard
        Which.

    Returns
    -------
    Batch
        Decoded.
    """
    return source.read(*shard)


def check_labels(labels: "NDArray[np.int64]", classes: int, names: tuple[str, ...] | None, /) -> None:
    """Refuse labels that the classifier has no class for.

    Parameters
    ----------
    labels : numpy.ndarray of int64, shape (N,)
        Model classes.
    classes : int
        How many the classifier has.
    names : tuple of str or None
        Names that the data itself gives to its classes.

    Raises
    ------
    DataError
        If a label is no class, or there are as many names as another number of classes.
    """
    if names is not None and len(names) != classes:
        msg = (
            f"the data has {len(names)} classes ({', '.join(names[:3])}, …), the model has {classes}; "
            "say which is which with --class-map FILE"
        )
        raise DataError(msg)
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        wrong = int(np.argmax((labels < 0) | (labels >= classes)))
        msg = (
            f"label {int(labels[wrong])} of image {wrong} is no class of the model, which has {classes} "
            f"(0 to {classes - 1}); map the labels with --class-map FILE"
        )
        raise DataError(msg)
