"""Accuracy on spoiled images, and the spectrum of what was done to them."""

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.stats import spearmanr

from specprobe.analysis.accuracy import Accuracy, chance_findings
from specprobe.analysis.moments import Moments
from specprobe.analysis.per_image import join, same
from specprobe.analysis.settings import check_same_settings
from specprobe.findings import Finding
from specprobe.intervals import CONFIDENCE, mean_interval, wilson_interval
from specprobe.results import finite
from specprobe.spectral.grid import ring_sizes
from specprobe.spectral.profiles import centroid_cycles_per_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CorruptionAccuracy"]

_PER_IMAGE = ("image_clean_correct", "image_correct", "image_digest")
_SETTINGS = ("corruptions", "severities", "image_size", "seed")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CorruptionAccuracy:
    """Accuracy of a classifier on corrupted images, corruption by corruption and severity by severity.

    Arrays have a row a corruption and a column a severity. Spectra are of the change ``C(x) − x``: ring sums of each
    image's power, divided by its total, the mean (ring 0) left out, averaged over images.

    Attributes
    ----------
    corruptions : tuple of str
        K names, as of :data:`specprobe.images.corruptions.CORRUPTIONS`.
    severities : tuple of int
        S of them, from 1 to 5.
    image_size : (int, int)
        Height and width.
    seed : int
        Of noise and fog.
    images, clean_correct : int
        How many; how many of them right as they are.
    class_histogram, prediction_histogram : dict of str to int
        Clean images by label and by predicted class.
    correct : numpy.ndarray of int64, shape (K, S)
        Images that are right.
    changed : numpy.ndarray of int64, shape (K, S)
        Images that the corruption changes off the mean; others have no spectrum.
    power_share, power_share_std : numpy.ndarray of float64, shape (K, S, R)
        From ring 1; NaN where no image is changed.
    l2_norm : numpy.ndarray of float64, shape (K, S)
        Of the change, mean over images, in pixels of [0, 1].
    confidence : float
        Of the intervals.
    image_clean_correct : numpy.ndarray of bool, shape (images,), or None
        Per image; None for results read from JSON, as the arrays below.
    image_correct : numpy.ndarray of bool, shape (images, K, S), or None
        Per image.
    image_digest : numpy.ndarray of uint8, shape (images, 16), or None
        Which image it was.
    """

    kind: ClassVar[str] = "corruption_accuracy"

    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    image_size: tuple[int, int]
    seed: int
    images: int
    clean_correct: int
    class_histogram: dict[str, int]
    prediction_histogram: dict[str, int]
    correct: "NDArray[np.int64]"
    changed: "NDArray[np.int64]"
    power_share: "NDArray[np.float64]"
    power_share_std: "NDArray[np.float64]"
    l2_norm: "NDArray[np.float64]"
    confidence: float = CONFIDENCE
    image_clean_correct: "NDArray[np.bool_] | None" = None
    image_correct: "NDArray[np.bool_] | None" = None
    image_digest: "NDArray[np.uint8] | None" = None

    def __post_init__(self) -> None:
        """Refuse counts that no images have: results are read from files, too."""
        shape = (len(self.corruptions), len(self.severities))
        shapes = {np.shape(x)[:2] for x in (self.correct, self.changed, self.power_share, self.l2_norm)}
        if shapes != {shape} or self.images < 1:
            msg = f"arrays have shapes {sorted(shapes)} for {shape[0]} corruptions in {shape[1]} severities of {self.images} images"
            raise ValueError(msg)
        counts = [self.clean_correct, *np.ravel(self.correct), *np.ravel(self.changed)]
        if min(counts) < 0 or max(counts) > self.images:
            msg = f"counts of {self.images} images: accepted are 0 <= count <= images"
            raise ValueError(msg)

    @property
    def clean(self) -> Accuracy:
        """On the images as they are."""
        return Accuracy(
            images=self.images,
            correct=self.clean_correct,
            class_histogram=self.class_histogram,
            prediction_histogram=self.prediction_histogram,
            confidence=self.confidence,
            image_correct=self.image_clean_correct,
            image_digest=self.image_digest,
        )

    @property
    def accuracy(self) -> "NDArray[np.float64]":
        """Share of images that are right, (K, S)."""
        return np.asarray(self.correct, np.float64) / self.images

    @property
    def mean_accuracy(self) -> "NDArray[np.float64]":
        """Over severities, (K,)."""
        found: NDArray[np.float64] = self.accuracy.mean(axis=1)
        return found

    @property
    def mean_corruption_error(self) -> float:
        """One less the accuracy, averaged over corruptions and severities, divided by no other model's."""
        return float(1 - self.accuracy.mean())

    @property
    def mean_corruption_error_interval(self) -> tuple[float, float] | None:
        """Of the mean over images; None for results read from JSON."""
        if self.image_correct is None:
            return None
        wrong = 1 - self.image_correct.reshape(self.images, -1).mean(axis=1)
        low, high = mean_interval(
            wrong.mean(),
            wrong.std(),
            self.images,
            confidence=self.confidence,
            bounds=(0.0, 1.0),
        )
        return float(low), float(high)

    @property
    def high_frequency_share(self) -> "NDArray[np.float64]":
        """Share of the change's power above a quarter of the shorter side, (K, S): the upper half of what an axis holds."""
        rings = np.arange(1, self.power_share.shape[2] + 1)
        high: NDArray[np.float64] = self.power_share[..., rings > min(self.image_size) / 4].sum(axis=2)
        return high

    @property
    def white_noise_share(self) -> "NDArray[np.float64]":
        """Share of the power of white noise in each ring, (R,): the reference for the spectra of changes."""
        cells = ring_sizes(self.image_size)[1 : 1 + self.power_share.shape[2]]
        share: NDArray[np.float64] = cells / cells.sum()
        return share

    @property
    def white_noise_high_frequency_share(self) -> float:
        """What :attr:`high_frequency_share` is for white noise."""
        rings = np.arange(1, self.power_share.shape[2] + 1)
        return float(self.white_noise_share[rings > min(self.image_size) / 4].sum())

    @property
    def centroid_cycles_per_image(self) -> "NDArray[np.float64]":
        """Of the change's power, (K, S)."""
        flat = np.nan_to_num(self.power_share.reshape(-1, self.power_share.shape[2]))
        found: NDArray[np.float64] = np.asarray(centroid_cycles_per_image(flat)).reshape(self.correct.shape)
        return np.where(self.changed > 0, found, np.nan)

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's, over corruptions and severities, of the change's high-frequency share with the accuracy lost."""
        share, lost = self.high_frequency_share.ravel(), (self.clean_correct - self.correct).ravel()
        held = ~np.isnan(share)
        if held.sum() < 3 or np.ptp(share[held]) == 0 or np.ptp(lost[held]) == 0:
            return None
        return float(spearmanr(share[held], lost[held]).statistic)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is to be told."""
        found = list(chance_findings(self.clean))
        idle = [
            name for name, count in zip(self.corruptions, self.changed.sum(axis=1), strict=True) if count == 0
        ]
        if idle:
            message = f"{', '.join(idle)} changed no image: constant images, or too small ones"
            found.append(Finding(level="warning", code="no-change", message=message))
        return tuple(found)

    def merge(self, other: "CorruptionAccuracy", /) -> "CorruptionAccuracy":
        """Of the images of both.

        Parameters
        ----------
        other : CorruptionAccuracy
            Of the same settings; its images come later.

        Returns
        -------
        CorruptionAccuracy
            Per-image arrays joined, where both have them.

        Raises
        ------
        InputMismatch
            If the settings differ.
        """
        check_same_settings(self, other, (*_SETTINGS, "confidence"))
        images = self.images + other.images
        clean = self.clean.merge(other.clean)
        mean, std = _pooled(self, other)
        return replace(
            self,
            images=images,
            clean_correct=clean.correct,
            class_histogram=clean.class_histogram,
            prediction_histogram=clean.prediction_histogram,
            correct=self.correct + other.correct,
            changed=self.changed + other.changed,
            power_share=mean,
            power_share_std=std,
            l2_norm=(self.images * self.l2_norm + other.images * other.l2_norm) / images,
            **{name: join(getattr(self, name), getattr(other, name)) for name in _PER_IMAGE},
        )

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values, estimates with their intervals.

        Returns
        -------
        dict
            Without the per-image arrays.
        """
        clean = self.clean
        given = {"confidence": self.confidence}
        entries = []
        for place, name in enumerate(self.corruptions):
            for column, severity in enumerate(self.severities):
                correct = int(self.correct[place, column])
                entries.append(
                    {
                        "corruption": name,
                        "severity": severity,
                        "accuracy": correct / self.images,
                        "accuracy_interval": wilson_interval(correct, self.images, **given),
                        "correct": correct,
                        "changed": int(self.changed[place, column]),
                        "l2_norm": self.l2_norm[place, column],
                        "high_frequency_share": self.high_frequency_share[place, column],
                        "centroid_cycles_per_image": self.centroid_cycles_per_image[place, column],
                        "power_share": self.power_share[place, column],
                        "power_share_std": self.power_share_std[place, column],
                    }
                )
        content: dict[str, Any] = finite(
            {
                **{name: getattr(self, name) for name in (*_SETTINGS, "images", "clean_correct")},
                "clean_accuracy": clean.accuracy,
                "clean_accuracy_interval": clean.accuracy_interval,
                "chance": clean.chance,
                "class_histogram": self.class_histogram,
                "prediction_histogram": self.prediction_histogram,
                "mean_corruption_error": self.mean_corruption_error,
                "mean_corruption_error_interval": self.mean_corruption_error_interval,
                "rank_correlation": self.rank_correlation,
                "white_noise_high_frequency_share": self.white_noise_high_frequency_share,
                "cycles_per_image": np.arange(1, self.power_share.shape[2] + 1),
                "entries": entries,
                "confidence": self.confidence,
                "findings": [finding.to_dict() for finding in self.findings],
            }
        )
        return content

    @classmethod
    def from_dict(cls, content: dict[str, Any], /) -> "CorruptionAccuracy":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : dict
            JSON values.

        Returns
        -------
        CorruptionAccuracy
            Without per-image arrays.
        """
        shape = (len(content["corruptions"]), len(content["severities"]))

        def held(name: str, dtype: Any) -> Any:
            rows = [entry[name] for entry in content["entries"]]
            filled = [np.nan if x is None else x for x in rows] if not isinstance(rows[0], list) else rows
            array = np.array(filled, np.float64) if dtype is float else np.array(filled, dtype)
            return array.reshape(*shape, *array.shape[1:])

        plain = ("seed", "images", "clean_correct", "class_histogram", "prediction_histogram", "confidence")
        return cls(
            corruptions=tuple(content["corruptions"]),
            severities=tuple(content["severities"]),
            image_size=(content["image_size"][0], content["image_size"][1]),
            **{name: content[name] for name in plain},
            correct=held("correct", np.int64),
            changed=held("changed", np.int64),
            power_share=held("power_share", float),
            power_share_std=held("power_share_std", float),
            l2_norm=held("l2_norm", float),
        )

    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What only ``.npz`` files hold.

        Returns
        -------
        dict of str to numpy.ndarray
            ``power_share`` and, per image, ``clean_correct``, ``correct`` and ``digest``.
        """
        found: dict[str, Any] = {"power_share": self.power_share}
        found |= {name.removeprefix("image_"): getattr(self, name) for name in _PER_IMAGE}
        return {name: array for name, array in found.items() if array is not None}

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, per-image arrays included."""
        if not isinstance(other, CorruptionAccuracy):
            return NotImplemented
        return all(same(getattr(self, field.name), getattr(other, field.name)) for field in fields(self))

    __hash__ = None  # type: ignore[assignment]


def _pooled(
    left: CorruptionAccuracy, right: CorruptionAccuracy
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Mean and deviation of the ring shares of both, each cell over the images that it changed."""
    mean, std = np.empty_like(left.power_share), np.empty_like(left.power_share)
    for cell in np.ndindex(left.changed.shape):
        one, two = (
            Moments(int(part.changed[cell]), part.power_share[cell], part.power_share_std[cell])
            for part in (left, right)
        )
        _, mean[cell], std[cell] = one.merge(two)
    return mean, std
