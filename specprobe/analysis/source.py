"""What an analysis is given to look at."""

from typing import TYPE_CHECKING

from specprobe.analysis.accuracy import check_labels
from specprobe.errors import InputMismatch
from specprobe.images import ArraySource
from specprobe.protocols import ImageSource

if TYPE_CHECKING:
    from specprobe.arrays import Array
    from specprobe.protocols import Classifier

__all__ = ["labelled_source"]


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
    """
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
