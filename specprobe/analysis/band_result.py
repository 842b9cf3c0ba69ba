"""Answers of a classifier to filtered images: the counts, and what follows from them."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from specprobe.analysis.accuracy import Accuracy, chance_findings
from specprobe.analysis.band_document import band_document, band_fields
from specprobe.analysis.band_filters import PassFilters
from specprobe.analysis.per_image import join, same
from specprobe.analysis.saturation import Saturation, saturation
from specprobe.analysis.settings import check_same_settings
from specprobe.findings import Finding
from specprobe.intervals import CONFIDENCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BandAccuracy", "histogram"]

_SETTINGS = ("image_size", "radii", "bands", "wedges", "clip", "mean_restored", "confidence")
_PER_IMAGE = ("image_correct", "image_agrees", "image_confidence", "image_digest")


def histogram(classes: "NDArray[Any]", counts: "NDArray[Any]", /) -> dict[str, int]:
    """Counts by class, as results hold them.

    Parameters
    ----------
    classes, counts : numpy.ndarray of int64, shape (L,)
        Ascending; from 1.

    Returns
    -------
    dict of str to int
        In the same order.
    """
    return {str(int(k)): int(n) for k, n in zip(classes, counts, strict=True)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BandAccuracy:
    """Answers of a classifier to filtered images.

    Arrays by filter have one entry for the images as they are, then those of the filters, in the order of
    :meth:`filters`.

    Attributes
    ----------
    images : int
        How many.
    image_size : (int, int)
        Height and width.
    radii : tuple of float
        Low-pass filters keep ``rho < radius``, high-pass filters the rest; cycles per shorter side.
    bands : tuple of (float, float)
        Each kept alone (``band_pass``), and each taken out (``band_stop``): ``low <= rho < high``.
    wedges : tuple of (float, float)
        Likewise, of directions in degrees: ``low <= angle < high``.
    clip, mean_restored : bool
        Whether filtered images are clipped to [0, 1]; whether they keep the mean of each channel.
    model_evaluations : int
        Images classified, the clean ones included.
    prediction_histogram : dict of str to int
        Images by class predicted without a filter.
    mean_confidence, confidence_std : tuple of float
        By filter: probability of the predicted class; mean and population standard deviation over images.
    agreeing : numpy.ndarray of int64, shape (1 + F,)
        By filter: images whose prediction is the one without a filter.
    still_correct : numpy.ndarray of int64, shape (1 + F,)
        By filter: images that are right with the filter and without.
    class_labels, class_images : numpy.ndarray of int64, shape (L,)
        Labels that occur, and their images; empty without labels.
    class_correct : numpy.ndarray of int64, shape (L, 1 + F)
        Images that are right, by label and filter.
    confidence : float
        Of the intervals.
    image_correct, image_agrees : numpy.ndarray of bool, shape (images, 1 + F), or None
        Per image, in order; None for results read from JSON. Without labels nothing is correct.
    image_confidence : numpy.ndarray of float32, shape (images, 1 + F), or None
        Probability of the predicted class.
    image_digest : numpy.ndarray of uint8, shape (images, 16), or None
        Which image it was.
    """

    kind: ClassVar[str] = "band_accuracy"

    images: int
    image_size: tuple[int, int]
    radii: tuple[float, ...]
    bands: tuple[tuple[float, float], ...]
    wedges: tuple[tuple[float, float], ...]
    clip: bool
    mean_restored: bool
    model_evaluations: int
    prediction_histogram: dict[str, int]
    mean_confidence: tuple[float, ...]
    confidence_std: tuple[float, ...]
    agreeing: "NDArray[np.int64]"
    still_correct: "NDArray[np.int64]"
    class_labels: "NDArray[np.int64]"
    class_images: "NDArray[np.int64]"
    class_correct: "NDArray[np.int64]"
    confidence: float = CONFIDENCE
    image_correct: "NDArray[np.bool_] | None" = None
    image_agrees: "NDArray[np.bool_] | None" = None
    image_confidence: "NDArray[np.float32] | None" = None
    image_digest: "NDArray[np.uint8] | None" = None

    def __post_init__(self) -> None:
        """Refuse counts that no images have: results are read from files, too."""
        filters = len(self.filters.names())
        arrays = (self.agreeing, self.still_correct, *self.class_correct)
        counts = [int(count) for array in arrays for count in array]
        if self.images < 1 or not all(0 <= count <= self.images for count in counts):
            msg = f"counts of {self.images} images: accepted are 0 <= count <= images, images >= 1"
            raise ValueError(msg)
        lengths = {len(array) for array in (*arrays, self.mean_confidence, self.confidence_std)}
        if lengths != {filters}:
            msg = f"{sorted(lengths)} values a field; accepted is one for each of {filters} filters"
            raise ValueError(msg)

    @property
    def filters(self) -> PassFilters:
        """What was done to the images."""
        return PassFilters(
            radii=self.radii,
            bands=self.bands,
            wedges=self.wedges,
            clip=self.clip,
            mean_restored=self.mean_restored,
        )

    @property
    def clean(self) -> Accuracy | None:
        """Accuracy on the images as they are; None without labels."""
        if not self.class_labels.size:
            return None
        return Accuracy(
            images=self.images,
            correct=self._correct(0),
            class_histogram=histogram(self.class_labels, self.class_images),
            prediction_histogram=self.prediction_histogram,
            confidence=self.confidence,
            image_correct=None if self.image_correct is None else self.image_correct[:, 0],
            image_digest=self.image_digest,
        )

    @property
    def saturation(self) -> Saturation:
        """Smallest radius whose low-pass keeps 95 % of the clean accuracy, its interval, or why there is none."""
        clean = self.clean
        reason = None
        if clean is None:
            reason = "the images have no labels"
        elif clean.correct == 0 or clean.at_chance:
            reason = "the clean accuracy is not established to be above chance"
        elif not self.radii:
            reason = "no radius was asked for"
        if reason is not None or clean is None:
            return Saturation(reason=reason)
        places = self.filters.sections()["low_pass"]
        return saturation(
            self.radii,
            [self._correct(i) for i in places],
            [int(self.still_correct[i]) for i in places],
            clean_correct=clean.correct,
            images=self.images,
            confidence=self.confidence,
        )

    @property
    def radius_95(self) -> float | None:
        """Smallest radius of the sweep whose low-pass keeps 95 % of the clean accuracy."""
        return self.saturation.radius

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What to know before the numbers are used."""
        clean, found, saturated = self.clean, [], self.saturation
        if clean is None:
            message = "the images have no labels, so there is agreement but no accuracy; give them with --labels FILE"
            found.append(Finding(level="warning", code="no-labels", message=message))
        elif clean.at_chance:
            found += chance_findings(clean)
        elif saturated.reason is not None:
            message = f"radius_95 is null: {saturated.reason}"
            found.append(Finding(level="note", code="no-radius-95", message=message))
        elif saturated.interval is not None and saturated.interval[1] is None:
            message = (
                f"radius_95 has no upper bound: {self.images} images establish 95 % of the clean accuracy at no radius "
                "of the sweep; use more images, or radii up to the corner"
            )
            found.append(Finding(level="note", code="radius-95-open", message=message))
        if self.images == 1:
            message = "one image has no spread, so the intervals of mean confidences are null"
            found.append(Finding(level="note", code="one-image", message=message))
        return tuple(found)

    def merge(self, other: "BandAccuracy", /) -> "BandAccuracy":
        """Answers on both sets.

        Parameters
        ----------
        other : BandAccuracy
            Of the images that follow, under the same filters.

        Returns
        -------
        BandAccuracy
            Counts are added; means and deviations are those of all images.

        Raises
        ------
        InputMismatch
            If the settings differ.
        """
        check_same_settings(self, other, _SETTINGS)
        images = self.images + other.images
        mean, std = _pooled(self, other)
        labels = np.union1d(self.class_labels, other.class_labels)
        class_images = np.zeros(len(labels), np.int64)
        class_correct = np.zeros((len(labels), len(self.agreeing)), np.int64)
        for part in (self, other):
            rows = np.searchsorted(labels, part.class_labels)
            class_images[rows] += part.class_images
            class_correct[rows] += part.class_correct
        predicted = Counter(self.prediction_histogram) + Counter(other.prediction_histogram)
        return replace(
            self,
            images=images,
            model_evaluations=self.model_evaluations + other.model_evaluations,
            prediction_histogram={name: predicted[name] for name in sorted(predicted, key=int)},
            mean_confidence=mean,
            confidence_std=std,
            agreeing=self.agreeing + other.agreeing,
            still_correct=self.still_correct + other.still_correct,
            class_labels=labels,
            class_images=class_images,
            class_correct=class_correct,
            **{name: join(getattr(self, name), getattr(other, name)) for name in _PER_IMAGE},
        )

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values, estimates with their intervals.

        Returns
        -------
        dict
            Without the per-image arrays.
        """
        return band_document(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any], /) -> "BandAccuracy":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : dict
            JSON values.

        Returns
        -------
        BandAccuracy
            Without per-image arrays.
        """
        return cls(**band_fields(content))

    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What only ``.npz`` files hold: one row an image, one column a filter.

        Returns
        -------
        dict of str to numpy.ndarray
            ``digest``, and ``…_correct``, ``…_agrees`` and ``…_confidence`` after the name of each group of filters,
            such as ``low_pass_correct``, and after ``clean``, where rows are single values; empty for results read
            from JSON.
        """
        if self.image_correct is None or self.image_agrees is None or self.image_confidence is None:
            return {}
        found: dict[str, NDArray[Any]] = {} if self.image_digest is None else {"digest": self.image_digest}
        places: dict[str, int | slice] = {"clean": 0}
        places |= {name: slice(p.start, p.stop) for name, p in self.filters.sections().items() if p}
        for name, part in places.items():
            if self.class_labels.size:
                found[f"{name}_correct"] = self.image_correct[:, part]
            found[f"{name}_agrees"] = self.image_agrees[:, part]
            found[f"{name}_confidence"] = self.image_confidence[:, part]
        return found

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, per-image arrays included."""
        if not isinstance(other, BandAccuracy):
            return NotImplemented
        return self.to_dict() == other.to_dict() and all(
            same(getattr(self, name), getattr(other, name)) for name in _PER_IMAGE
        )

    __hash__ = None  # type: ignore[assignment]

    def _correct(self, place: int) -> int:
        return int(self.class_correct[:, place].sum())


def _pooled(left: BandAccuracy, right: BandAccuracy) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of both samples together."""
    share = right.images / (left.images + right.images)
    mean, std, other, spread = map(
        np.asarray, (left.mean_confidence, left.confidence_std, right.mean_confidence, right.confidence_std)
    )
    apart = other - mean
    variance = (1 - share) * std**2 + share * spread**2 + share * (1 - share) * apart**2
    return tuple((mean + share * apart).tolist()), tuple(np.sqrt(variance).tolist())
