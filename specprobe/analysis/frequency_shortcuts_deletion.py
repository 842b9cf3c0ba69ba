"""What each patch of frequencies is worth to the loss of each class: exactly, and to first order."""

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from specprobe.analysis.accuracy import check_logits, counted
from specprobe.analysis.finite_differences import losses_of_logits
from specprobe.analysis.frequency_shortcuts_patches import Patches
from specprobe.analysis.frequency_shortcuts_result import ACCURACY_FIELDS, FrequencyDeletion
from specprobe.analysis.input_gradients import Target, checked_source, logits_and_gradient
from specprobe.analysis.moments import moments
from specprobe.analysis.source import read
from specprobe.arrays import Array, like, namespace, to_host
from specprobe.errors import EmptyInput, InvalidNumbers
from specprobe.intervals import CONFIDENCE, check_confidence
from specprobe.pipeline import Staged, ahead
from specprobe.protocols import DifferentiableClassifier
from specprobe.spectral.groups import group_sums
from specprobe.spectral.masks import apply_masks
from specprobe.streaming import SHARD_IMAGES, Checkpoint, map_reduce, shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from specprobe.protocols import Batch, Classifier, ImageSource

__all__ = ["FrequencyDeletion", "frequency_deletion", "masked_logits"]

METHODS = ("deletion", "first-order")


class _Settings(NamedTuple):
    """What the images of every shard are asked."""

    method: str
    patch: int
    loss: str
    target: Target
    batch_size: int
    confidence: float


def frequency_deletion(
    classifier: "Classifier",
    images: "ImageSource | Array",
    labels: Array | None = None,
    /,
    *,
    method: str = "deletion",
    patch: int = 1,
    loss: str = "cross-entropy",
    target: Target | None = None,
    batch_size: int = 32,
    limit: int | None = None,
    confidence: float = CONFIDENCE,
    executor: "Executor | None" = None,
    checkpoint: Checkpoint | None = None,
    progress: "Callable[[int], None] | None" = None,
) -> FrequencyDeletion:
    """Increase of each class's loss when a patch of frequencies is taken out of its images.

    Parameters
    ----------
    classifier : Classifier
        With a gradient, the first-order increase is had as well. Picklable where the executor uses processes.
    images : ImageSource or array, shape (N, C, H, W), real floating
        Pixels in [0, 1].
    labels : array, shape (N,), integer, optional
        Classes, where the images are an array.
    method : {"deletion", "first-order"}
        Every patch taken out in turn; or its effect to first order alone, from one gradient an image.
    patch : int
        Frequencies along a side of a patch.
    loss : {"cross-entropy", "margin", "dlr", "logit"}
        Of the logits; ``"logit"`` falls where a class loses evidence, the others rise.
    target : {"true", "predicted"}, optional
        What the classes are: labels, or the model's own answers; labels where there are any.
    batch_size : int
        Images run at once; patches share batches.
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
    FrequencyDeletion
        By class and patch. Mergeable: parts of a data set give what the whole gives.

    Raises
    ------
    DataError
        If labels are missing, or the classifier has no class for them.
    InputMismatch
        If ``patch`` is no whole number from 1.
    InvalidNumbers
        If logits or gradients are NaN or infinite.
    TypeError
        If the first order alone is asked for, of a classifier without a gradient.
    ValueError
        If a setting is none of those accepted.

    Notes
    -----
    For ``x`` with spectrum X and input gradient g with spectrum G, unitary transforms, taking out the set P of frequencies
    changes the loss by ``-Σ_P Re(X · conj G)`` to first order. That is exact for losses that are linear in the image.
    The mean of each channel is in no patch: pixels lie in [0, 1], so that an image without its mean is nearly black,
    and nothing like the normalised images of [1]_ without theirs.

    References
    ----------
    .. [1] S. Wang, R. Veldhuis, C. Brune, N. Strisciuglio, What do neural networks learn in image classification? A
       frequency shortcut perspective, ICCV 2023. arXiv:2307.09829
    """
    if method not in METHODS:
        msg = f"method is {method!r}; accepted are 'deletion' and 'first-order'"
        raise ValueError(msg)
    if batch_size < 1:
        msg = f"batch_size is {batch_size}; accepted are whole numbers from 1"
        raise ValueError(msg)
    losses_of_logits(
        np.zeros((1, 3)), np.zeros(1, np.int64), loss=loss
    )  # refuses other names, before any run
    check_confidence(confidence)
    source, count, target = checked_source(
        classifier, images, labels, target=target, limit=limit, differentiable=method == "first-order"
    )
    Patches.of(source.image_shape[1:], side=patch)
    settings = _Settings(method, patch, loss, target, batch_size, confidence)
    result: FrequencyDeletion = map_reduce(
        Staged((partial(read, source), partial(_of_batch, classifier, settings))),
        shards(count, size=SHARD_IMAGES),
        executor=executor,
        checkpoint=checkpoint,
        progress=progress,
    )
    return result


def _of_batch(classifier: "Classifier", settings: _Settings, batch: "Batch") -> FrequencyDeletion:
    images, count = batch.images, batch.images.shape[0]
    if count == 0:
        msg = "there are no images to analyse"
        raise EmptyInput(msg)
    patches = Patches.of((images.shape[-2], images.shape[-1]), side=settings.patch)
    logits, classes, first_order = _as_they_are(classifier, batch, settings, patches)
    clean = losses_of_logits(logits, classes, loss=settings.loss)
    increase = None
    if settings.method == "deletion":
        masks = (patches.masks(i, i + _together(settings, count)) for i in _starts(settings, patches, count))
        without = np.concatenate(
            [
                losses_of_logits(part, np.tile(classes, len(part) // count), loss=settings.loss)
                for part in masked_logits(
                    classifier, images, masks, start=batch.start, batch_size=settings.batch_size
                )
            ]
        )
        increase = without.reshape(patches.count, count).T - clean[:, None]
    values: dict[str, Any] = {}
    present, rows, class_images = np.unique(classes, return_inverse=True, return_counts=True)
    for name, by_image in (
        ("clean_loss", clean),
        ("loss_increase", increase),
        ("first_order_increase", first_order),
    ):
        if by_image is not None:
            found = [moments(by_image[rows == row]) for row in range(len(present))]
            values |= {
                name: np.stack([m.mean for m in found]),
                f"{name}_std": np.stack([m.std for m in found]),
            }
    measured = None
    if batch.labels is not None:
        predicted = np.argmax(logits, axis=1)
        measured = counted(batch.labels, predicted, digests=batch.digests, confidence=settings.confidence)
    values |= {name: getattr(measured, name, None) for name in ACCURACY_FIELDS}
    return FrequencyDeletion(
        image_size=patches.shape,
        patch=settings.patch,
        loss=settings.loss,
        target=settings.target,
        images=count,
        model_evaluations=count * (1 + (patches.count if increase is not None else 0)),
        gradient_evaluations=0 if first_order is None else count,
        class_labels=present,
        class_images=class_images,
        confidence=settings.confidence,
        image_class=classes,
        image_clean_loss=clean,
        image_correct=None if measured is None else measured.image_correct,
        image_digest=batch.digests,
        **values,
    )


def _together(settings: _Settings, images: int) -> int:
    """Patches whose images fill a batch."""
    return max(1, settings.batch_size // images)


def _starts(settings: _Settings, patches: Patches, images: int) -> range:
    return range(0, patches.count, _together(settings, images))


def _as_they_are(
    classifier: "Classifier", batch: "Batch", settings: _Settings, patches: Patches
) -> "tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64] | None]":
    """Logits of the images, their classes, and the first-order effect of every patch where there is a gradient."""
    images, count = batch.images, batch.images.shape[0]
    xp = namespace(images)
    true = np.array(batch.labels, np.int64) if settings.target == "true" else None
    parts: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = []
    effects: list[NDArray[np.float64]] = []
    for start in range(0, count, settings.batch_size):
        stop = min(start + settings.batch_size, count)
        some = images[start:stop, ...]
        gradient: Array | None = None
        if true is not None and isinstance(classifier, DifferentiableClassifier):
            classes = true[start:stop]
            logits, _, gradient = logits_and_gradient(
                classifier, some, like(classes, some), loss=settings.loss
            )
        else:
            logits = classifier.logits(some)
            predicted = to_host(xp.argmax(logits, axis=1)).astype(np.int64)
            classes = predicted if true is None else true[start:stop]
            if isinstance(classifier, DifferentiableClassifier):
                _, gradient = classifier.gradient(some, like(classes, some), loss=settings.loss)
        check_logits(logits, start=batch.start + start)
        parts.append((to_host(logits).astype(np.float64), classes))
        if gradient is not None:
            effects.append(_first_order(some, gradient, patches, batch.start + start))
    logits, classes = (np.concatenate(values) for values in zip(*parts, strict=True))
    return logits, classes, np.concatenate(effects) if effects else None


def _first_order(images: Array, gradients: Array, patches: Patches, start: int) -> "NDArray[np.float64]":
    """Minus the inner product of gradient and patch, for every patch; shape (N, P)."""
    xp = namespace(images, gradients)
    fine = to_host(xp.all(xp.isfinite(gradients), axis=(1, 2, 3)))
    if not fine.all():
        msg = (
            f"the gradient of image {start + int(np.argmin(fine))} is NaN or infinite ({int((~fine).sum())} of "
            f"{fine.size} images here): check the model; a classifier without a gradient has exact deletion alone"
        )
        raise InvalidNumbers(msg)
    x, g = (xp.fft.rfftn(part, axes=(-2, -1), norm="ortho") for part in (images, gradients))
    product = xp.sum(xp.real(x) * xp.real(g) + xp.imag(x) * xp.imag(g), axis=1)
    return -to_host(group_sums(product, patches.groups())).astype(np.float64)


def masked_logits(
    classifier: "Classifier",
    images: Array,
    masks: "Iterator[NDArray[np.bool_]]",
    /,
    *,
    start: int,
    batch_size: int,
) -> "Iterator[NDArray[np.float64]]":
    """Logits of images under one mask after the other.

    Parameters
    ----------
    classifier : Classifier
        The model.
    images : array, shape (N, C, H, W)
        Of one shard.
    masks : iterator of numpy.ndarray of bool, shape (B, H, W)
        Centred; B of them are applied at once. They are made while the model is at the ones before.
    start : int
        Index of the first image in its source, for messages.
    batch_size : int
        Images run at once.

    Yields
    ------
    numpy.ndarray of float64, shape (B · N, K)
        Mask after mask.

    Raises
    ------
    InvalidNumbers
        If a logit is NaN or infinite.
    """
    xp = namespace(images)
    blocks = apply_masks(images, (mask[:, None, None, :, :] for mask in masks))
    with closing(ahead(xp.reshape(block, (-1, *images.shape[1:])) for block in blocks)) as filtered:
        for block in filtered:
            total = block.shape[0]
            parts = [
                to_host(classifier.logits(block[i : min(i + batch_size, total), ...]))
                for i in range(0, total, batch_size)
            ]
            logits = np.concatenate(parts).astype(np.float64)
            fine = np.isfinite(logits).all(axis=1)
            if not fine.all():
                msg = (
                    f"the logits of image {start + int(np.argmin(fine)) % images.shape[0]} without some of its "
                    f"frequencies are NaN or infinite ({int((~fine).sum())} of {fine.size} images here): check the "
                    "preprocessing recipe and the export"
                )
                raise InvalidNumbers(msg)
            yield logits
