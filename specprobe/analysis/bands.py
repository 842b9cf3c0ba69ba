"""Which spatial frequencies a classifier needs, and which are enough for it."""

from contextlib import closing
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from specprobe.analysis.band_filters import PassFilters
from specprobe.analysis.band_result import BandAccuracy, histogram
from specprobe.analysis.source import labelled_source, read
from specprobe.arrays import Array, namespace, to_host
from specprobe.errors import EmptyInput, InvalidNumbers
from specprobe.intervals import CONFIDENCE, check_confidence
from specprobe.pipeline import Staged, ahead
from specprobe.spectral.masks import apply_masks
from specprobe.streaming import SHARD_IMAGES, Checkpoint, map_reduce, shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from specprobe.protocols import Batch, Classifier, ImageSource

__all__ = ["BandAccuracy", "band_accuracy", "band_step"]


def band_accuracy(
    classifier: "Classifier",
    images: "ImageSource | Array",
    labels: Array | None = None,
    /,
    *,
    radii: "Iterable[float] | None" = None,
    bands: "Iterable[tuple[float, float]]" = (),
    wedges: "Iterable[tuple[float, float]]" = (),
    clip: bool = False,
    restore_mean: bool = False,
    batch_size: int = 32,
    limit: int | None = None,
    confidence: float = CONFIDENCE,
    executor: "Executor | None" = None,
    checkpoint: Checkpoint | None = None,
    progress: "Callable[[int], None] | None" = None,
) -> BandAccuracy:
    """Accuracy on low-pass and high-pass filtered images, radius by radius.

    Parameters
    ----------
    classifier : Classifier
        Picklable where the executor uses processes.
    images : ImageSource or array, shape (N, C, H, W), real floating
        Pixels in [0, 1].
    labels : array, shape (N,), integer, optional
        Classes, where the images are an array. Without labels there is agreement with the clean prediction, and no
        accuracy.
    radii : iterable of float, optional
        Low-pass filters keep ``rho < radius``, high-pass filters the rest, in cycles per shorter side. About four an
        octave up to the corner if not given.
    bands : iterable of (float, float)
        Kept alone, and taken out: ``low <= rho < high``; ``high`` may be infinite.
    wedges : iterable of (float, float)
        Directions in degrees, kept alone, and taken out, as of :func:`specprobe.spectral.masks.wedge`.
    clip : bool
        Whether filtered images are clipped to [0, 1], which spreads their spectrum.
    restore_mean : bool
        Whether each channel keeps its mean, whatever the filter does to it.
    batch_size : int
        Images classified at once; filters share batches.
    limit : int, optional
        Only the first so many images.
    confidence : float
        Of the intervals.
    executor : concurrent.futures.Executor, optional
        Computes the shards; the result does not depend on it.
    checkpoint : Checkpoint, optional
        Where partial results are kept.
    progress : callable, optional
        Called with the number of images done.

    Returns
    -------
    BandAccuracy
        With flags, confidences and a digest per image.

    Raises
    ------
    DataError
        If there are labels that the classifier has no class for.
    InputMismatch
        If a filter is out of range, or labels are given beside a source that has its own.
    InvalidNumbers
        If logits are NaN or infinite; names image and filter.
    ValueError
        If ``batch_size`` is below 1, or ``confidence`` is not between 0 and 1.

    Notes
    -----
    One forward pass an image and filter, and one for the image as it is. Filters that keep the same frequencies share
    a pass; those that keep everything share the clean one.

    References
    ----------
    .. [1] H. Wang, X. Wu, Z. Huang, E. P. Xing, High-frequency component helps explain the generalization of
       convolutional neural networks, CVPR 2020. arXiv:1905.13545
    """
    source, count = labelled_source(classifier, images, labels, limit=limit)
    step = band_step(
        classifier,
        source.image_shape,
        radii=radii,
        bands=bands,
        wedges=wedges,
        clip=clip,
        restore_mean=restore_mean,
        batch_size=batch_size,
        confidence=confidence,
    )
    return map_reduce(
        Staged((partial(read, source), *step.stages)),
        shards(count, size=SHARD_IMAGES),
        executor=executor,
        checkpoint=checkpoint,
        progress=progress,
    )


def band_step(
    classifier: "Classifier",
    image_shape: tuple[int, int, int],
    /,
    *,
    radii: "Iterable[float] | None" = None,
    bands: "Iterable[tuple[float, float]]" = (),
    wedges: "Iterable[tuple[float, float]]" = (),
    clip: bool = False,
    restore_mean: bool = False,
    batch_size: int = 32,
    confidence: float = CONFIDENCE,
) -> Staged[BandAccuracy]:
    """From the images of one shard to the accuracy under each filter.

    Parameters
    ----------
    classifier, radii, bands, wedges, clip, restore_mean, batch_size, confidence
        As of :func:`band_accuracy`.
    image_shape : (int, int, int)
        C, H, W.

    Returns
    -------
    Staged
        Takes a :class:`~specprobe.protocols.Batch`.

    Raises
    ------
    InputMismatch
        If a filter is out of range.
    ValueError
        If ``batch_size`` is below 1, or ``confidence`` is not between 0 and 1.
    """
    if batch_size < 1:
        msg = f"batch_size is {batch_size}; accepted are whole numbers from 1"
        raise ValueError(msg)
    check_confidence(confidence)
    filters = PassFilters.of(
        image_shape[1:], radii=radii, bands=bands, wedges=wedges, clip=clip, mean_restored=restore_mean
    )
    return Staged((partial(_of_batch, classifier, filters, batch_size, confidence),))


def _of_batch(
    classifier: "Classifier", filters: PassFilters, batch_size: int, confidence: float, batch: "Batch"
) -> BandAccuracy:
    images, count = batch.images, batch.images.shape[0]
    if count == 0:
        msg = "there are no images to analyse"
        raise EmptyInput(msg)
    shape = (images.shape[-2], images.shape[-1])
    masks, which = filters.masks(shape)
    blocks = chain((images,), apply_masks(images, masks, clip=filters.clip))
    with closing(ahead(_in_batches(blocks, batch_size))) as filtered:
        answers = [
            _answers(classifier, part, partial(_place, filters, which, batch.start, count), done)
            for done, part in filtered
        ]
    # By image, then by filter: evaluated once, told for every filter that it stands for.
    predicted, sure = (
        np.concatenate(parts).reshape(-1, count)[which].T for parts in zip(*answers, strict=True)
    )
    agrees = predicted == predicted[:, :1]
    labels = batch.labels
    right = np.zeros_like(agrees) if labels is None else predicted == labels[:, None]
    present, rows, class_images = np.unique(
        np.zeros(0, np.int64) if labels is None else labels, return_inverse=True, return_counts=True
    )
    class_correct = np.zeros((len(present), len(which)), np.int64)
    np.add.at(class_correct, rows, right[: len(rows)])
    classes, counts = np.unique(predicted[:, 0], return_counts=True)
    return BandAccuracy(
        images=count,
        image_size=shape,
        radii=filters.radii,
        bands=filters.bands,
        wedges=filters.wedges,
        clip=filters.clip,
        mean_restored=filters.mean_restored,
        model_evaluations=count * (1 + len(masks)),
        prediction_histogram=histogram(classes, counts),
        mean_confidence=tuple(sure.mean(axis=0).tolist()),
        confidence_std=tuple(sure.std(axis=0).tolist()),
        agreeing=agrees.sum(axis=0),
        still_correct=(right & right[:, :1]).sum(axis=0),
        class_labels=present,
        class_images=class_images,
        class_correct=class_correct,
        confidence=confidence,
        image_correct=right,
        image_agrees=agrees,
        image_confidence=sure.astype(np.float32),
        image_digest=batch.digests,
    )


def _in_batches(blocks: "Iterable[Array]", size: int) -> "Iterator[tuple[int, Array]]":
    """The images of all blocks, ``size`` at a time, each batch with the number of images before it."""
    done, held, count = 0, [], 0
    for block in blocks:
        held.append(block)
        count += block.shape[0]
        if count < size:
            continue
        joined = held[0] if len(held) == 1 else namespace(block).concat(held, axis=0)
        for start in range(0, count - size + 1, size):
            yield done, joined[start : start + size, ...]
            done += size
        left = count % size
        held, count = ([joined[count - left :, ...]] if left else []), left
    if held:
        yield done, held[0] if len(held) == 1 else namespace(held[0]).concat(held, axis=0)


def _answers(
    classifier: "Classifier", images: Array, place: "Callable[[int], str]", done: int
) -> "tuple[NDArray[np.int64], NDArray[np.float64]]":
    """Predicted classes, and their probabilities."""
    logits = classifier.logits(images)
    xp = namespace(logits)
    logits = xp.astype(logits, xp.float64)
    fine = to_host(xp.all(xp.isfinite(logits), axis=1))
    if not fine.all():
        msg = (
            f"the logits of {place(done + int(np.argmin(fine)))} are NaN or infinite "
            f"({int((~fine).sum())} of {fine.size} images here): check the preprocessing recipe and the export"
        )
        raise InvalidNumbers(msg)
    top = xp.max(logits, axis=1, keepdims=True)
    sure = 1 / xp.sum(xp.exp(logits - top), axis=1)
    return to_host(xp.argmax(logits, axis=1)), to_host(sure)


def _place(filters: PassFilters, which: "NDArray[np.int64]", start: int, count: int, index: int) -> str:
    """Which image it is, and under which filter."""
    evaluated, image = divmod(index, count)
    name = filters.names()[int(np.argmax(which == evaluated))]
    return f"image {start + image}" + (f" under {name}" if evaluated else "")
