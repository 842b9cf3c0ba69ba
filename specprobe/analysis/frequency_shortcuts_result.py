"""What patches of frequencies are worth to each class, and how parts of that are put together."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from specprobe.analysis.accuracy import Accuracy, accuracy_within, chance_findings
from specprobe.analysis.frequency_shortcuts_moments import merged_moments
from specprobe.analysis.frequency_shortcuts_patches import Patches
from specprobe.analysis.heatmap_first_order import rank_correlation, rank_correlation_interval
from specprobe.analysis.per_image import join, same
from specprobe.analysis.settings import check_same_settings
from specprobe.errors import InputMismatch
from specprobe.findings import Finding
from specprobe.intervals import CONFIDENCE, mean_interval
from specprobe.results import finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ACCURACY_FIELDS", "FrequencyDeletion"]

ACCURACY_FIELDS = ("correct", "class_histogram", "prediction_histogram")
"""Counts that an accuracy is made of."""

_SETTINGS = ("image_size", "patch", "loss", "target", "confidence")
_COUNTS = ("images", "model_evaluations", "gradient_evaluations")
_ESTIMATES = ("clean_loss", "loss_increase", "first_order_increase")
_PER_IMAGE = ("image_class", "image_clean_loss", "image_correct", "image_digest")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrequencyDeletion:
    """Increase of the loss of each class when a patch of frequencies is taken out of its images.

    Estimates are means over the images of a class; ``x_std`` is the spread over them (ddof 0), ``x_interval`` where the
    mean of all such images lies. P patches divide all frequencies but the mean, which is never taken out.

    Attributes
    ----------
    image_size : (int, int)
        Height and width.
    patch : int
        Frequencies along a side of a patch; see :class:`~specprobe.analysis.frequency_shortcuts_patches.Patches`.
    loss : str
        Of the logits.
    target : {"true", "predicted"}
        What the classes are: labels, or the model's own answers.
    images, model_evaluations, gradient_evaluations : int
        Images looked at; images classified, and differentiated.
    class_labels, class_images : numpy.ndarray of int64, shape (L,)
        Classes that occur, ascending, and their images.
    clean_loss, clean_loss_std : numpy.ndarray of float64, shape (L,)
        Of the images as they are.
    loss_increase, loss_increase_std : numpy.ndarray of float64, shape (L, P), or None
        Exactly: loss without the patch, minus the clean loss. None where only the first order was asked for.
    first_order_increase, first_order_increase_std : numpy.ndarray of float64, shape (L, P), or None
        To first order, from one gradient an image. None where the classifier has no gradient.
    correct : int or None
        Images classified as labelled; None without labels, as the histograms.
    class_histogram, prediction_histogram : dict of str to int, or None
        Images by label and by predicted class.
    confidence : float
        Of the intervals.
    image_class : numpy.ndarray of int64, shape (images,), or None
        Per image, in order; None for results read from JSON, as the arrays below.
    image_clean_loss : numpy.ndarray of float64, shape (images,), or None
        Of the image as it is.
    image_correct : numpy.ndarray of bool, shape (images,), or None
        Per image, with labels.
    image_digest : numpy.ndarray of uint8, shape (images, 16), or None
        Which image it was.
    """

    kind: ClassVar[str] = "frequency_deletion"

    image_size: tuple[int, int]
    patch: int
    loss: str
    target: str
    images: int
    model_evaluations: int
    gradient_evaluations: int
    class_labels: "NDArray[np.int64]"
    class_images: "NDArray[np.int64]"
    clean_loss: "NDArray[np.float64]"
    clean_loss_std: "NDArray[np.float64]"
    loss_increase: "NDArray[np.float64] | None" = None
    loss_increase_std: "NDArray[np.float64] | None" = None
    first_order_increase: "NDArray[np.float64] | None" = None
    first_order_increase_std: "NDArray[np.float64] | None" = None
    correct: int | None = None
    class_histogram: dict[str, int] | None = None
    prediction_histogram: dict[str, int] | None = None
    confidence: float = CONFIDENCE
    image_class: "NDArray[np.int64] | None" = None
    image_clean_loss: "NDArray[np.float64] | None" = None
    image_correct: "NDArray[np.bool_] | None" = None
    image_digest: "NDArray[np.uint8] | None" = None

    def __post_init__(self) -> None:
        """Refuse what no images have: results are read from files, too."""
        classes, patches = len(self.class_labels), self.patches.count
        if self.images < 1 or self.images != int(np.sum(self.class_images)) or min(self.class_images) < 1:
            msg = f"classes of {list(self.class_images)} images in a set of {self.images}; accepted are counts from 1 that add up"
            raise ValueError(msg)
        if self.loss_increase is None and self.first_order_increase is None:
            msg = "there is neither an exact nor a first-order increase; accepted are results that have one"
            raise ValueError(msg)
        for name in _ESTIMATES:
            wanted = (classes,) if name == "clean_loss" else (classes, patches)
            for values in (getattr(self, name), getattr(self, f"{name}_std")):
                if values is not None and values.shape != wanted:
                    msg = f"{name} has shape {values.shape}; accepted for {classes} classes and {patches} patches is {wanted}"
                    raise ValueError(msg)

    @property
    def patches(self) -> Patches:
        """Which frequencies are in which patch."""
        return Patches.of(self.image_size, side=self.patch)

    @property
    def increase(self) -> "NDArray[np.float64]":
        """What patches are ranked by, shape (L, P): the exact increase where there is one; of a logit, its decrease."""
        chosen: Any = self.first_order_increase if self.loss_increase is None else self.loss_increase
        ranked: NDArray[np.float64] = -chosen if self.loss == "logit" else chosen
        return ranked

    @property
    def clean_loss_interval(self) -> "NDArray[np.float64]":
        """Interval of ``clean_loss``, shape (L, 2)."""
        return self._interval(self.clean_loss, self.clean_loss_std)

    @property
    def loss_increase_interval(self) -> "NDArray[np.float64] | None":
        """Interval of each entry of ``loss_increase``, shape (L, P, 2)."""
        if self.loss_increase is None or self.loss_increase_std is None:
            return None
        return self._interval(self.loss_increase, self.loss_increase_std)

    @property
    def first_order_increase_interval(self) -> "NDArray[np.float64] | None":
        """Interval of each entry of ``first_order_increase``, shape (L, P, 2)."""
        if self.first_order_increase is None or self.first_order_increase_std is None:
            return None
        return self._interval(self.first_order_increase, self.first_order_increase_std)

    @property
    def rank_correlation(self) -> "NDArray[np.float64] | None":
        """Spearman's, of both increases over the patches, by class; None where only one of them was had."""
        if self.loss_increase is None or self.first_order_increase is None:
            return None
        return np.array(
            [
                rank_correlation(*pair)
                for pair in zip(self.loss_increase, self.first_order_increase, strict=True)
            ]
        )

    @property
    def rank_correlation_interval(self) -> "NDArray[np.float64] | None":
        """Interval of ``rank_correlation``, shape (L, 2), as if patches were a sample of independent ones."""
        correlation = self.rank_correlation
        if correlation is None:
            return None
        count = self.patches.count
        bounds = [rank_correlation_interval(r, count, confidence=self.confidence) for r in correlation]
        return np.array(bounds)

    @property
    def accuracy(self) -> Accuracy | None:
        """Accuracy on the images as they are; None without labels."""
        return accuracy_within(self, self.image_correct)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What to know before the numbers are used."""
        found: list[Finding] = []
        if self.accuracy is None:
            message = "the images have no labels, so that classes are the model's own answers; give them with labels"
            found.append(Finding(level="warning", code="no-labels", message=message))
        else:
            found += chance_findings(self.accuracy)
        few = [int(label) for label, n in zip(self.class_labels, self.class_images, strict=True) if n < 30]
        if few:
            message = (
                f"{len(few)} of {len(self.class_labels)} classes have fewer than 30 images (the first is class {few[0]}): "
                "their order of patches is mostly chance"
            )
            found.append(Finding(level="warning", code="few-images", message=message))
        return tuple(found)

    def dominant_patches(self, share: float, /) -> "NDArray[np.int64]":
        """Patches whose loss hurts each class most.

        Parameters
        ----------
        share : float
            Of all patches, in (0, 1]; at least one patch.

        Returns
        -------
        numpy.ndarray of int64, shape (L, n)
            The largest increase first; equal ones in the order of the patches.

        Raises
        ------
        ValueError
            If ``share`` is out of range.
        """
        if not 0 < share <= 1:
            msg = f"the share of patches kept is {share}; accepted are numbers above 0, up to 1"
            raise ValueError(msg)
        kept = max(1, math.floor(share * self.patches.count + 0.5))
        return np.argsort(-self.increase, axis=1, kind="stable")[:, :kept]

    def dominant_maps(self, share: float, /) -> "NDArray[np.bool_]":
        """Dominant-frequency map of each class: the patches of :meth:`dominant_patches`, and the mean.

        Parameters
        ----------
        share : float
            Of all patches, in (0, 1].

        Returns
        -------
        numpy.ndarray of bool, shape (L, H, W)
            Centred; for :func:`specprobe.spectral.masks.apply_mask`.

        Raises
        ------
        ValueError
            If ``share`` is out of range.
        """
        chosen = self.dominant_patches(share)
        kept = np.zeros((len(chosen), self.patches.count))
        np.put_along_axis(kept, chosen, 1.0, axis=1)
        maps = self.patches.spread(kept)
        made: NDArray[np.bool_] = np.isnan(maps) | (maps > 0)
        return made

    def merge(self, other: "FrequencyDeletion", /) -> "FrequencyDeletion":
        """Increases on both sets.

        Parameters
        ----------
        other : FrequencyDeletion
            Of the images that follow, with the same settings.

        Returns
        -------
        FrequencyDeletion
            Counts are added; means and deviations are those of all images of a class.

        Raises
        ------
        InputMismatch
            If the settings differ, or only one of both has an exact or a first-order increase.
        """
        check_same_settings(self, other, _SETTINGS)
        labels = np.union1d(self.class_labels, other.class_labels)
        changed: dict[str, Any] = {}
        for name in _ESTIMATES:
            if (getattr(self, name) is None) != (getattr(other, name) is None):
                msg = f"only one of the results has {name}; accepted are results of the same method"
                raise InputMismatch(msg)
            if getattr(self, name) is not None:
                parts = [
                    (part.class_labels, part.class_images, getattr(part, name), getattr(part, f"{name}_std"))
                    for part in (self, other)
                ]
                changed["class_images"], changed[name], changed[f"{name}_std"] = merged_moments(labels, parts)
        mine, theirs = self.accuracy, other.accuracy
        both = None if mine is None or theirs is None else mine.merge(theirs)
        changed |= {name: getattr(both, name, None) for name in ACCURACY_FIELDS}
        changed |= {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        changed |= {name: join(getattr(self, name), getattr(other, name)) for name in _PER_IMAGE}
        return replace(self, class_labels=labels, **changed)

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values, estimates with their intervals.

        Returns
        -------
        dict
            Without the per-image arrays. Increases are lists by class, then by patch.
        """
        content: dict[str, Any] = {name: getattr(self, name) for name in (*_SETTINGS, *_COUNTS)}
        content |= {"patches": self.patches.count}
        content |= {name: getattr(self, name) for name in ("class_labels", "class_images")}
        for name in _ESTIMATES:
            for ending in ("", "_interval", "_std"):
                content[f"{name}{ending}"] = getattr(self, f"{name}{ending}")
        content["rank_correlation"] = self.rank_correlation
        content["rank_correlation_interval"] = self.rank_correlation_interval
        measured = self.accuracy
        content["clean_accuracy"] = None if measured is None else measured.accuracy
        content["clean_accuracy_interval"] = None if measured is None else measured.accuracy_interval
        content["chance"] = None if measured is None else measured.chance
        content |= {name: getattr(self, name) for name in ACCURACY_FIELDS}
        content["findings"] = [finding.to_dict() for finding in self.findings]
        made: dict[str, Any] = finite(content)
        return made

    @classmethod
    def from_dict(cls, content: dict[str, Any], /) -> "FrequencyDeletion":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : dict
            JSON values.

        Returns
        -------
        FrequencyDeletion
            Without per-image arrays.
        """
        names = (*_SETTINGS, *_COUNTS, *ACCURACY_FIELDS)
        values: dict[str, Any] = {name: content[name] for name in names}
        height, width = content["image_size"]
        values["image_size"] = (height, width)
        values |= {name: np.asarray(content[name], np.int64) for name in ("class_labels", "class_images")}
        for name in _ESTIMATES:
            for key in (name, f"{name}_std"):
                held = content[key]
                values[key] = None if held is None else np.asarray(held, np.float64)
        return cls(**values)

    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What ``.npz`` files hold beside the document.

        Returns
        -------
        dict of str to numpy.ndarray
            ``loss_increase_map`` and ``first_order_increase_map`` (L, H, W), centred, NaN at the mean, where they were
            had; ``class_labels``; and the per-image arrays without ``image_`` in their names.
        """
        held: dict[str, Any] = {"class_labels": self.class_labels}
        for name in _ESTIMATES[1:]:
            values = getattr(self, name)
            held[f"{name}_map"] = None if values is None else self.patches.spread(values)
        held |= {name.removeprefix("image_"): getattr(self, name) for name in _PER_IMAGE}
        return {name: array for name, array in held.items() if array is not None}

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, per-image arrays included."""
        if not isinstance(other, FrequencyDeletion):
            return NotImplemented
        return self.to_dict() == other.to_dict() and all(
            same(getattr(self, name), getattr(other, name)) for name in _PER_IMAGE
        )

    __hash__ = None  # type: ignore[assignment]

    def _interval(self, mean: "NDArray[np.float64]", std: "NDArray[np.float64]") -> "NDArray[np.float64]":
        rows = [
            mean_interval(m, s, int(n), confidence=self.confidence)
            for m, s, n in zip(mean, std, self.class_images, strict=True)
        ]
        return np.stack(rows)
