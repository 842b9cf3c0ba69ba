"""Gradients of a loss with respect to the images, a shard at a time."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from specprobe.analysis.accuracy import Accuracy, batch_logits, check_logits, counted
from specprobe.analysis.source import labelled_source
from specprobe.arrays import Array, like, namespace, to_host
from specprobe.errors import DataError, EmptyInput
from specprobe.protocols import Classifier, DifferentiableClassifier, ImageSource, JointClassifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.protocols import Batch

__all__ = [
    "InputGradients",
    "Target",
    "checked_source",
    "input_gradients",
    "logits_and_gradient",
    "logits_and_vjp",
    "loss_classes",
    "unit_gradients",
]

Target: TypeAlias = Literal["true", "predicted"]
"""Whose class the loss is of: the label, or the model's own answer."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InputGradients:
    """Gradients of one batch.

    Attributes
    ----------
    gradients : array, shape (N, C, H, W)
        With respect to the pixels, of each image's own loss; of the library and device of the images.
    accuracy : Accuracy or None
        On the same images, where they have labels.
    """

    gradients: Array
    accuracy: Accuracy | None


def checked_source(
    classifier: Classifier,
    images: "ImageSource | Array",
    labels: Array | None,
    /,
    *,
    target: "Target | None",
    limit: int | None,
    differentiable: bool = True,
) -> "tuple[ImageSource, int, Target]":
    """Images of an analysis of gradients, and the class that their loss is of.

    Parameters
    ----------
    classifier : DifferentiableClassifier
        The model.
    images : ImageSource or array
        Arrays as of :class:`~specprobe.images.ArraySource`.
    labels : array or None
        Classes, beside images that are an array.
    target : {"true", "predicted"} or None
        None for the labels where there are any.
    limit : int or None
        Only the first so many.
    differentiable : bool
        Whether the classifier must have a gradient.

    Returns
    -------
    source : ImageSource
        With the labels.
    count : int
        Images to be looked at.
    target : {"true", "predicted"}
        Decided.

    Raises
    ------
    TypeError
        If the classifier has no gradient.
    ValueError
        If ``target`` is neither.
    InputMismatch
        If labels are given twice.
    DataError
        If labels are missing, or no classes of the model.
    """
    if differentiable and not isinstance(classifier, DifferentiableClassifier):
        msg = (
            f"{type(classifier).__name__} has no gradient; accepted are classifiers that have one, "
            "such as those of specprobe.load(path); others have the method 'finite-difference'"
        )
        raise TypeError(msg)
    if target not in {None, "true", "predicted"}:
        msg = f"target is {target!r}; accepted are 'true' (the labels) and 'predicted' (the model's own answers)"
        raise ValueError(msg)
    source, count = labelled_source(classifier, images, labels, limit=limit)
    if source.labels is None and target == "true":
        msg = "the images have no labels; give them with --labels FILE, or take --target predicted"
        raise DataError(msg)
    return source, count, target or ("predicted" if source.labels is None else "true")


def logits_and_gradient(
    classifier: DifferentiableClassifier,
    images: Array,
    labels: Array,
    /,
    *,
    loss: str = "cross-entropy",
    targets: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Logits, losses and their gradients, in one run where the classifier can.

    Parameters
    ----------
    classifier : DifferentiableClassifier
        In one run where it is a :class:`~specprobe.protocols.JointClassifier`; else in two.
    images, labels, loss, targets
        As of :meth:`~specprobe.protocols.DifferentiableClassifier.gradient`.

    Returns
    -------
    logits : array, shape (N, K)
        Of the library and device of ``images``.
    losses : array, shape (N,)
        One an image.
    d_images : array, shape (N, C, H, W)
        Gradient of the sum of the losses.
    """
    given: dict[str, Any] = {"loss": loss} if targets is None else {"loss": loss, "targets": targets}
    if isinstance(classifier, JointClassifier):
        return classifier.logits_and_gradient(images, labels, **given)
    return classifier.logits(images), *classifier.gradient(images, labels, **given)


def logits_and_vjp(
    classifier: DifferentiableClassifier, images: Array, cotangent: Array, /
) -> tuple[Array, Array]:
    """Logits, and the product of a cotangent with their derivative, in one run where the classifier can.

    Parameters
    ----------
    classifier : DifferentiableClassifier
        In one run where it is a :class:`~specprobe.protocols.JointClassifier`; else in two.
    images, cotangent
        As of :meth:`~specprobe.protocols.DifferentiableClassifier.vjp`.

    Returns
    -------
    logits : array, shape (N, K)
        Of the library and device of ``images``.
    d_images : array, shape (N, C, H, W)
        Gradient of ``sum(cotangent * logits(images))``.
    """
    if isinstance(classifier, JointClassifier):
        return classifier.logits_and_vjp(images, cotangent)
    return classifier.logits(images), classifier.vjp(images, cotangent)


def input_gradients(
    classifier: DifferentiableClassifier,
    batch: "Batch",
    /,
    *,
    target: Target,
    loss: str,
    batch_size: int,
    confidence: float,
) -> InputGradients:
    """Gradients of a batch, and how often the model is right on it.

    Parameters
    ----------
    classifier : DifferentiableClassifier
        The model.
    batch : Batch
        Images of one shard.
    target : {"true", "predicted"}
        Whose class the loss is of.
    loss : str
        Of the logits.
    batch_size : int
        Images run at once.
    confidence : float
        Of the accuracy's interval.

    Returns
    -------
    InputGradients
        In the order of the batch.

    Raises
    ------
    EmptyInput
        If there are no images.
    InvalidNumbers
        If a logit is NaN or infinite.
    """
    images = batch.images
    _some(images)
    xp = namespace(images)
    labels = like(_labels(batch), images) if target == "true" else None
    parts: list[tuple[Array, Array]] = []
    for start in range(0, images.shape[0], batch_size):
        of = slice(start, min(start + batch_size, images.shape[0]))
        if labels is not None:
            logits, _, gradients = logits_and_gradient(classifier, images[of, ...], labels[of], loss=loss)
        else:
            logits = classifier.logits(images[of, ...])
            _, gradients = classifier.gradient(images[of, ...], xp.argmax(logits, axis=1), loss=loss)
        parts.append((logits, gradients))
    logits, gradients = (x[0] if len(x) == 1 else xp.concat(x, axis=0) for x in zip(*parts, strict=True))
    measured = _measured(batch, _predicted(logits, batch.start), confidence)
    return InputGradients(gradients=gradients, accuracy=measured)


def loss_classes(
    classifier: Classifier, batch: "Batch", /, *, target: Target, batch_size: int, confidence: float
) -> "tuple[NDArray[np.int64], Accuracy | None]":
    """Classes that the loss is of, and how often the model is right.

    Parameters
    ----------
    classifier : Classifier
        The model.
    batch : Batch
        Images of one shard.
    target : {"true", "predicted"}
        Whose class the loss is of.
    batch_size : int
        Images run at once.
    confidence : float
        Of the accuracy's interval.

    Returns
    -------
    classes : numpy.ndarray of int64, shape (N,)
        Labels or predictions.
    accuracy : Accuracy or None
        Where the images have labels.

    Raises
    ------
    DataError
        If there are no images, or no labels where they are asked for.
    InvalidNumbers
        If a logit is NaN or infinite.
    """
    _some(batch.images)
    logits = batch_logits(classifier, batch.images, start=batch.start, batch_size=batch_size)
    predicted = _predicted(logits, batch.start)
    wanted = _labels(batch) if target == "true" else predicted
    return np.array(wanted, np.int64), _measured(batch, predicted, confidence)


def _some(images: Array) -> None:
    if images.shape[0] == 0:
        msg = "there are no images to analyse"
        raise EmptyInput(msg)


def _labels(batch: "Batch") -> "NDArray[np.int64]":
    if batch.labels is None:
        msg = "the images have no labels; give them with --labels FILE, or take --target predicted"
        raise DataError(msg)
    return batch.labels


def _predicted(logits: Array, start: int) -> "NDArray[np.int64]":
    check_logits(logits, start=start)
    return to_host(namespace(logits).argmax(logits, axis=1)).astype(np.int64)


def _measured(batch: "Batch", predicted: "NDArray[np.int64]", confidence: float) -> Accuracy | None:
    if batch.labels is None:
        return None
    return counted(batch.labels, predicted, digests=batch.digests, confidence=confidence)


def unit_gradients(gradients: Array, /) -> "tuple[Array, NDArray[np.float64], NDArray[np.bool_]]":
    """Gradients in units of their own largest entry, so that no power of theirs under- or overflows.

    Parameters
    ----------
    gradients : array, shape (N, C, H, W)
        Of any size: a saturated loss leaves 1e-30, or nothing.

    Returns
    -------
    scaled : array, shape (N, C, H, W)
        Entries within [-1, 1]; zero for images that have no gradient.
    l2_norm : numpy.ndarray of float64, shape (N,)
        Of the gradients as they came.
    usable : numpy.ndarray of bool, shape (N,)
        False where the gradient is zero or not finite.
    """
    xp = namespace(gradients)
    largest = xp.max(xp.abs(gradients), axis=(1, 2, 3), keepdims=True)  # NaN if one entry is
    usable = xp.isfinite(largest) & (largest > 0)
    one, zero = xp.ones_like(largest), xp.zeros_like(gradients)
    scaled = xp.where(usable, gradients, zero) / xp.where(usable, largest, one)
    squares = xp.sum(xp.astype(scaled, xp.float64) ** 2, axis=(1, 2, 3))
    size, known = (to_host(xp.reshape(x, (-1,))) for x in (largest, usable))
    return scaled, size.astype(np.float64) * np.where(known, np.sqrt(to_host(squares)), 1), known
