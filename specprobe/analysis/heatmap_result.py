"""Answers of a classifier to images with one frequency added: the counts, and the maps made of them."""

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from specprobe.analysis.accuracy import Accuracy, chance_findings
from specprobe.analysis.heatmap_document import (
    ACCURACY_FIELDS,
    MAPS,
    SETTINGS,
    heatmap_document,
    heatmap_fields,
)
from specprobe.analysis.heatmap_first_order import rank_correlation, rank_correlation_interval
from specprobe.analysis.moments import Moments
from specprobe.analysis.per_image import join, same
from specprobe.errors import InputMismatch
from specprobe.findings import Finding
from specprobe.intervals import CONFIDENCE, mean_interval, wilson_interval
from specprobe.spectral.grid import frequency_index, real_frequencies

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FourierHeatmap"]

_PER_IMAGE = ("image_correct", "image_error_rate", "image_loss_increase", "image_digest")
_RENAMED = {"image_correct": "correct", "image_digest": "digest"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FourierHeatmap:
    """Errors of a classifier under one Fourier basis image at a time.

    Fields hold one entry for each frequency of :func:`~specprobe.spectral.grid.real_frequencies`; properties show them
    as centred maps (H, W), equal at k and -k, NaN where a frequency was not evaluated.

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
    image_correct : numpy.ndarray of bool, shape (images,), or None
        Per clean image, with labels. None for results read from JSON, as the arrays below.
    image_error_rate, image_loss_increase : numpy.ndarray of float64, shape (images,), or None
        Per image: mean over the evaluated cells of the map.
    image_digest : numpy.ndarray of uint8, shape (images, 16), or None
        Which image it was.
    """

    kind: ClassVar[str] = "fourier_heatmap"

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
    image_correct: "NDArray[np.bool_] | None" = None
    image_error_rate: "NDArray[np.float64] | None" = None
    image_loss_increase: "NDArray[np.float64] | None" = None
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
    def error_rate(self) -> "NDArray[np.float64]":
        """Share of images that are wrong, shape (H, W)."""
        return self.of_cells(np.where(self.evaluated, self.errors / self.images, np.nan))

    @property
    def error_rate_interval(self) -> "NDArray[np.float64]":
        """Wilson's interval of each cell of ``error_rate``, shape (H, W, 2)."""
        return self.of_cells(np.where(self.evaluated[:, None], self._wilson(self.errors), np.nan))

    @property
    def loss_increase(self) -> "NDArray[np.float64]":
        """Mean increase of the cross-entropy in nats, shape (H, W)."""
        return self.of_cells(self.mean_loss_increase)

    @property
    def loss_increase_interval(self) -> "NDArray[np.float64]":
        """Normal interval of each cell of ``loss_increase``, shape (H, W, 2)."""
        mean, std = self.mean_loss_increase, self.loss_increase_std
        return self.of_cells(mean_interval(mean, std, self.images, confidence=self.confidence))

    @property
    def clean_error_rate(self) -> float:
        """Share of images that are wrong as they are."""
        return self.clean_errors / self.images

    @property
    def clean_error_rate_interval(self) -> tuple[float, float]:
        """Wilson's interval of ``clean_error_rate``."""
        return wilson_interval(self.clean_errors, self.images, confidence=self.confidence)

    @property
    def derivative_rms(self) -> "NDArray[np.float64] | None":
        """Root mean square of the margin's derivative along the basis image, in logits per unit of norm, (H, W)."""
        return (
            None if self.mean_derivative_power is None else self.of_cells(np.sqrt(self.mean_derivative_power))
        )

    @property
    def derivative_rms_interval(self) -> "NDArray[np.float64] | None":
        """Root of the normal interval of the mean square, shape (H, W, 2)."""
        if self.mean_derivative_power is None or self.derivative_power_std is None:
            return None
        mean, std = self.mean_derivative_power, self.derivative_power_std
        bounds = mean_interval(mean, std, self.images, confidence=self.confidence, bounds=(0.0, np.inf))
        return self.of_cells(np.sqrt(bounds))

    @property
    def flip_probability(self) -> "NDArray[np.float64] | None":
        """Share of images whose margin is smaller than its linear change, shape (H, W)."""
        return None if self.flips is None else self.of_cells(self.flips / self.images)

    @property
    def flip_probability_interval(self) -> "NDArray[np.float64] | None":
        """Wilson's interval of each cell of ``flip_probability``, shape (H, W, 2)."""
        return None if self.flips is None else self.of_cells(self._wilson(self.flips))

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's, of ``flip_probability`` and ``error_rate`` over the evaluated frequencies."""
        return None if self.flips is None else self._ranked(self.flips)

    @property
    def rank_correlation_interval(self) -> tuple[float, float] | None:
        """Interval of ``rank_correlation``, for the sample of frequencies."""
        return self._ranked_interval(self.rank_correlation)

    @property
    def derivative_rms_rank_correlation(self) -> float | None:
        """Spearman's, of ``derivative_rms`` and ``error_rate`` over the evaluated frequencies."""
        return None if self.mean_derivative_power is None else self._ranked(self.mean_derivative_power)

    @property
    def derivative_rms_rank_correlation_interval(self) -> tuple[float, float] | None:
        """Interval of ``derivative_rms_rank_correlation``, for the sample of frequencies."""
        return self._ranked_interval(self.derivative_rms_rank_correlation)

    @property
    def frequencies_evaluated(self) -> int:
        """Distinct frequencies, k and -k one, that were added."""
        return int(self.evaluated.sum())

    @property
    def accuracy(self) -> Accuracy | None:
        """Accuracy on the images as they are; None without labels."""
        if self.correct is None or self.class_histogram is None or self.prediction_histogram is None:
            return None
        return Accuracy(
            images=self.images,
            correct=self.correct,
            class_histogram=self.class_histogram,
            prediction_histogram=self.prediction_histogram,
            confidence=self.confidence,
            image_correct=self.image_correct,
            image_digest=self.image_digest,
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What a user should know."""
        found: list[Finding] = []
        if self.accuracy is not None:
            found += chance_findings(self.accuracy)
        else:
            message = (
                "the images have no labels: errors are changes of the answer to the clean image; "
                "give labels with --labels FILE"
            )
            found.append(Finding(level="warning", code="no-labels", message=message))
        total = len(self.evaluated)
        if self.frequencies_evaluated < total:
            message = (
                f"{self.frequencies_evaluated} of {total} frequencies were evaluated; "
                "error rate and loss increase of the others are null"
            )
            found.append(Finding(level="note", code="sub-grid", message=message))
        ranked = (self.rank_correlation, self.derivative_rms_rank_correlation)
        if any(value is not None and math.isnan(value) for value in ranked):
            message = "a rank correlation is null: fewer than three frequencies were evaluated, or all have the same rate"
            found.append(Finding(level="warning", code="no-rank-correlation", message=message))
        if self.images == 1:
            message = "one image has no spread over images, so intervals of means are null"
            found.append(Finding(level="warning", code="one-image", message=message))
        return tuple(found)

    def merge(self, other: "FourierHeatmap", /) -> "FourierHeatmap":
        """Map of both sets of images.

        Parameters
        ----------
        other : FourierHeatmap
            Of the images that follow, with the same settings and frequencies.

        Returns
        -------
        FourierHeatmap
            At the confidence of ``self``.

        Raises
        ------
        InputMismatch
            If the settings differ.
        """
        for name in SETTINGS:
            mine, its = getattr(self, name), getattr(other, name)
            if mine != its:
                msg = f"{name} is {mine} here and {its} there; accepted are results of the same settings"
                raise InputMismatch(msg)
        if not np.array_equal(self.evaluated, other.evaluated) or (self.flips is None) != (
            other.flips is None
        ):
            msg = "the results are of different frequencies or orders; accepted are results of the same ones"
            raise InputMismatch(msg)
        changed: dict[str, Any] = {n: join(getattr(self, n), getattr(other, n)) for n in _PER_IMAGE}
        for name in ("images", "clean_errors", "model_evaluations", "gradient_evaluations", "errors"):
            changed[name] = getattr(self, name) + getattr(other, name)
        for name in ("loss_increase", "derivative_power"):
            if getattr(self, f"{name}_std") is not None:
                _, mean, std = self._moments(name).merge(other._moments(name))
                changed |= {f"mean_{name}": mean, f"{name}_std": std}
        if self.flips is not None and other.flips is not None:
            changed["flips"] = self.flips + other.flips
        mine, theirs = self.accuracy, other.accuracy
        both = None if mine is None or theirs is None else mine.merge(theirs)
        changed |= {name: getattr(both, name, None) for name in ACCURACY_FIELDS}
        return replace(self, **changed)

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values, estimates with their intervals.

        Returns
        -------
        dict
            Maps as nested lists, null where a frequency was not evaluated; without the per-image arrays.
        """
        return heatmap_document(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any], /) -> "FourierHeatmap":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : dict
            JSON values.

        Returns
        -------
        FourierHeatmap
            Without per-image arrays.
        """
        return cls(**heatmap_fields(content))

    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What ``.npz`` files hold: the maps, and one number an image.

        Returns
        -------
        dict of str to numpy.ndarray
            Maps and their intervals by name; ``digest``, ``correct``, ``image_error_rate`` and
            ``image_loss_increase`` where they are known.
        """
        found: dict[str, NDArray[Any]] = {}
        for name in MAPS:
            if (values := getattr(self, name)) is not None:
                found |= {name: values, f"{name}_interval": getattr(self, f"{name}_interval")}
        for name in _PER_IMAGE:
            if (values := getattr(self, name)) is not None:
                found[_RENAMED.get(name, name)] = values
        return found

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, per-image arrays included."""
        if not isinstance(other, FourierHeatmap):
            return NotImplemented
        return all(same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]

    def _wilson(self, counts: "NDArray[np.int64]") -> "NDArray[np.float64]":
        values, where = np.unique(counts, return_inverse=True)
        bounds = [wilson_interval(int(n), self.images, confidence=self.confidence) for n in values]
        return np.array(bounds)[where]

    def _moments(self, name: str) -> Moments:
        return Moments(self.images, getattr(self, f"mean_{name}"), getattr(self, f"{name}_std"))

    def _ranked(self, values: "NDArray[Any]") -> float:
        return rank_correlation(values[self.evaluated], self.errors[self.evaluated])

    def _ranked_interval(self, correlation: float | None) -> tuple[float, float] | None:
        if correlation is None:
            return None
        return rank_correlation_interval(correlation, self.frequencies_evaluated, confidence=self.confidence)
