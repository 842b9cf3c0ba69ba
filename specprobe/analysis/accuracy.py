"""How often the model is right."""

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from specprobe.analysis.per_image import join, same
from specprobe.analysis.source import check_labels, read
from specprobe.arrays import Array, namespace, to_host
from specprobe.errors import DataError, EmptyInput, InvalidNumbers
from specprobe.findings import Finding
from specprobe.intervals import CONFIDENCE, check_confidence, wilson_interval
from specprobe.pipeline import Staged
from specprobe.streaming import SHARD_IMAGES, Checkpoint, map_reduce, shards

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from specprobe.protocols import Batch, Classifier, ImageSource

__all__ = [
    "Accuracy",
    "accuracy",
    "batch_logits",
    "chance_findings",
    "check_labels",
    "check_logits",
    "counted",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Accuracy:
    """Top-1 accuracy on a labelled set.

    Attributes
    ----------
    images, correct : int
        How many, and how many of them right.
    class_histogram : dict of int to int
        Images by label.
    prediction_histogram : dict of int to int
        Images by predicted class.
    confidence : float
        Of the intervals.
    image_correct : numpy.ndarray of bool, shape (images,), or None
        Per image, in order; None for results read from JSON.
    image_digest : numpy.ndarray of uint8, shape (images, 16), or None
        Which image it was.
    """

    kind: ClassVar[str] = "accuracy"

    images: int
    correct: int
    class_histogram: dict[str, int]
    prediction_histogram: dict[str, int]
    confidence: float = CONFIDENCE
    image_correct: "NDArray[np.bool_] | None" = None
    image_digest: "NDArray[np.uint8] | None" = None

    def __post_init__(self) -> None:
        """Refuse counts that no images have: results are read from files, too."""
        if not 0 <= self.correct <= self.images or self.images < 1:
            msg = f"{self.correct} of {self.images} images right: accepted are 0 <= correct <= images, images >= 1"
            raise ValueError(msg)

    @property
    def accuracy(self) -> float:
        """Share of images classified as labelled."""
        return self.correct / self.images

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Wilson's interval of ``accuracy``."""
        return wilson_interval(self.correct, self.images, confidence=self.confidence)

    @property
    def chance(self) -> float:
        """Accuracy of always answering with the most frequent label."""
        return max(self.class_histogram.values()) / self.images

    @property
    def at_chance(self) -> bool:
        """Whether the interval does not rule out an answer that never looks at the image."""
        return len(self.class_histogram) > 1 and self.accuracy_interval[0] <= self.chance

    def merge(self, other: "Accuracy", /) -> "Accuracy":
        """Accuracy on both sets.

        Parameters
        ----------
        other : Accuracy
            Of the images that follow.

        Returns
        -------
        Accuracy
            At the confidence of ``self``.
        """
        return replace(
            self,
            images=self.images + other.images,
            correct=self.correct + other.correct,
            class_histogram=_add(self.class_histogram, other.class_histogram),
            prediction_histogram=_add(self.prediction_histogram, other.prediction_histogram),
            image_correct=join(self.image_correct, other.image_correct),
            image_digest=join(self.image_digest, other.image_digest),
        )

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values, estimates with their intervals.

        Returns
        -------
        dict
            Without the per-image arrays.
        """
        return {
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "confidence": self.confidence,
            "images": self.images,
            "correct": self.correct,
            "chance": self.chance,
            "class_histogram": self.class_histogram,
            "prediction_histogram": self.prediction_histogram,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any], /) -> "Accuracy":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : dict
            JSON values.

        Returns
        -------
        Accuracy
            Without per-image arrays.
        """
        names = ("images", "correct", "class_histogram", "prediction_histogram", "confidence")
        return cls(**{name: content[name] for name in names})

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, per-image arrays included."""
        if not isinstance(other, Accuracy):
            return NotImplemented
        return (
            self.to_dict() == other.to_dict()
            and same(self.image_correct, other.image_correct)
            and same(self.image_digest, other.image_digest)
        )

    __hash__ = None  # type: ignore[assignment]


def accuracy(
    classifier: "Classifier",
    images: "ImageSource",
    /,
    *,
    batch_size: int = 32,
    limit: int | None = None,
    confidence: float = CONFIDENCE,
    executor: "Executor | None" = None,
    checkpoint: Checkpoint | None = None,
    progress: "Callable[[int], None] | None" = None,
) -> Accuracy:
    """Top-1 accuracy of a classifier.

    Parameters
    ----------
    classifier : Classifier
        Picklable where the executor uses processes.
    images : ImageSource
        With labels.
    batch_size : int
        Images classified at once.
    limit : int, optional
        Only the first so many images.
    confidence : float
        Of the interval.
    executor : concurrent.futures.Executor, optional
        Computes the shards; the result does not depend on it.
    checkpoint : Checkpoint, optional
        Where partial results are kept.
    progress : callable, optional
        Called with the number of images done.

    Returns
    -------
    Accuracy
        With one flag and one digest per image.

    Raises
    ------
    DataError
        If there are no labels, or labels that the classifier has no class for.
    InvalidNumbers
        If logits are NaN or infinite; names the image.
    ValueError
        If ``batch_size`` is below 1, or ``confidence`` is not between 0 and 1.
    """
    step = accuracy_step(classifier, batch_size=batch_size, confidence=confidence)
    count = images.images if limit is None else min(limit, images.images)
    labels = images.labels
    if labels is None:
        msg = "the images have no labels, so there is no accuracy; give them with --labels FILE"
        raise DataError(msg)
    check_labels(labels[:count], classifier.classes, images.class_names)
    return map_reduce(
        Staged((partial(read, images), *step.stages)),
        shards(count, size=SHARD_IMAGES),
        executor=executor,
        checkpoint=checkpoint,
        progress=progress,
    )


def accuracy_step(
    classifier: "Classifier", /, *, batch_size: int = 32, confidence: float = CONFIDENCE
) -> Staged[Accuracy]:
    """From the images of one shard to the accuracy on them.

    Parameters
    ----------
    classifier, batch_size, confidence
        As of :func:`accuracy`.

    Returns
    -------
    Staged
        Takes a :class:`~specprobe.protocols.Batch`.

    Raises
    ------
    ValueError
        If ``batch_size`` is below 1, or ``confidence`` is not between 0 and 1.
    """
    if batch_size < 1:
        msg = f"batch_size is {batch_size}; accepted are whole numbers from 1"
        raise ValueError(msg)
    check_confidence(confidence)
    return Staged((partial(_of_batch, classifier, batch_size, confidence),))


def batch_logits(classifier: "Classifier", images: Array, /, *, start: int, batch_size: int) -> Array:
    """Finite logits of many images, a few at a time.

    Parameters
    ----------
    classifier : Classifier
        The model.
    images : array, shape (N, C, H, W)
        Pixels in [0, 1].
    start : int
        Index of the first image in its source, for messages.
    batch_size : int
        Images classified at once.

    Returns
    -------
    array, shape (N, K)
        Of the library and device of ``images``.

    Raises
    ------
    InvalidNumbers
        If a logit is NaN or infinite.
    """
    xp = namespace(images)
    count = images.shape[0]
    parts = [
        classifier.logits(images[i : min(i + batch_size, count), ...]) for i in range(0, count, batch_size)
    ]
    logits = parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)
    check_logits(logits, start=start)
    return logits


def check_logits(logits: Array, /, *, start: int) -> None:
    """Refuse logits that are no numbers.

    Parameters
    ----------
    logits : array, shape (N, K)
        Of consecutive images.
    start : int
        Index of the first image in its source.

    Raises
    ------
    InvalidNumbers
        If a logit is NaN or infinite; names the image.
    """
    xp = namespace(logits)
    fine = to_host(xp.all(xp.isfinite(logits), axis=1))
    if not fine.all():
        bad = int(np.argmin(fine))
        msg = (
            f"the logits of image {start + bad} are NaN or infinite "
            f"({int((~fine).sum())} of {fine.size} images here): check the preprocessing recipe and the export"
        )
        raise InvalidNumbers(msg)


def _of_batch(classifier: "Classifier", batch_size: int, confidence: float, batch: "Batch") -> Accuracy:
    labels = batch.labels
    if labels is None:
        msg = "the images have no labels, so there is no accuracy; give them with --labels FILE"
        raise DataError(msg)
    if len(labels) == 0:
        msg = "there are no images to analyse"
        raise EmptyInput(msg)
    logits = batch_logits(classifier, batch.images, start=batch.start, batch_size=batch_size)
    predicted = to_host(namespace(logits).argmax(logits, axis=1))
    return counted(labels, predicted, digests=batch.digests, confidence=confidence)


def counted(
    labels: "NDArray[np.int64]",
    predicted: "NDArray[np.int64]",
    /,
    *,
    digests: "NDArray[np.uint8]",
    confidence: float = CONFIDENCE,
) -> Accuracy:
    """Accuracy of predictions that are there already.

    Parameters
    ----------
    labels, predicted : numpy.ndarray of int64, shape (N,)
        Classes.
    digests : numpy.ndarray of uint8, shape (N, 16)
        Of the images.
    confidence : float
        Of the interval.

    Returns
    -------
    Accuracy
        With one flag and one digest per image.
    """
    right = predicted == labels
    return Accuracy(
        images=len(labels),
        correct=int(right.sum()),
        class_histogram=_histogram(labels),
        prediction_histogram=_histogram(predicted),
        confidence=confidence,
        image_correct=right,
        image_digest=digests,
    )


class HoldsAccuracy(Protocol):
    """A result with the counts of an accuracy on its clean images, None without labels."""

    @property
    def images(self) -> int: ...
    @property
    def correct(self) -> int | None: ...
    @property
    def class_histogram(self) -> dict[str, int] | None: ...
    @property
    def prediction_histogram(self) -> dict[str, int] | None: ...
    @property
    def confidence(self) -> float: ...
    @property
    def image_digest(self) -> "NDArray[np.uint8] | None": ...


def accuracy_within(result: HoldsAccuracy, image_correct: "NDArray[np.bool_] | None", /) -> Accuracy | None:
    """Accuracy whose counts another result holds.

    Parameters
    ----------
    result : HoldsAccuracy
        Of an analysis of images.
    image_correct : numpy.ndarray of bool, shape (images,), or None
        Per image.

    Returns
    -------
    Accuracy or None
        None without labels.
    """
    correct, labels, predictions = result.correct, result.class_histogram, result.prediction_histogram
    if correct is None or labels is None or predictions is None:
        return None
    return Accuracy(
        images=result.images,
        correct=correct,
        class_histogram=labels,
        prediction_histogram=predictions,
        confidence=result.confidence,
        image_correct=image_correct,
        image_digest=result.image_digest,
    )


def chance_findings(measured: Accuracy, /) -> tuple[Finding, ...]:
    """What is to be told about an accuracy that may be chance.

    Parameters
    ----------
    measured : Accuracy
        On the data of an analysis.

    Returns
    -------
    tuple of Finding
        One warning where the interval does not lie above chance, none where it does. It says whether the accuracy
        itself is at chance, or the images are too few to tell.
    """
    if not measured.at_chance:
        return ()
    low, high = measured.accuracy_interval
    told = f"accuracy {measured.accuracy:.3f} [{low:.3f}, {high:.3f}]"
    advice = "check --mean, --std, --range, --layout, --channel-order and --class-map"
    if measured.accuracy > measured.chance:
        message = (
            f"{told} is above chance ({measured.chance:.3f}), but {measured.images} images are too few to establish it: "
            f"take more; if they do not, {advice}"
        )
    else:
        message = f"{told} is not above chance ({measured.chance:.3f}): {advice}"
    return (Finding(level="warning", code="chance-level", message=message),)


def _histogram(values: "NDArray[Any]") -> dict[str, int]:
    names, counts = np.unique(values, return_counts=True)
    return {str(int(name)): int(count) for name, count in zip(names, counts, strict=True)}


def _add(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    total = Counter(left) + Counter(right)
    return {name: total[name] for name in sorted(total, key=int)}
