"""Answers of a classifier to images with one frequency added: the counts, and the maps made of them."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from specprobe.analysis.accuracy import Accuracy, accuracy_within
from specprobe.analysis.heatmap_data import HeatmapData
from specprobe.analysis.heatmap_document import (
    heatmap_arrays,
    heatmap_document,
    heatmap_fields,
)
from specprobe.analysis.heatmap_findings import heatmap_findings
from specprobe.analysis.heatmap_first_order import rank_correlation, rank_correlation_interval
from specprobe.analysis.heatmap_merge import merged
from specprobe.analysis.heatmap_rings import (
    band_means,
    cells_by_ring,
    ring_interval,
    ring_means,
)
from specprobe.analysis.per_image import same
from specprobe.findings import Finding
from specprobe.intervals import mean_interval, wilson_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FourierHeatmap"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FourierHeatmap(HeatmapData):
    """Errors of a classifier under one Fourier basis image at a time.

    Fields are those of :class:`~specprobe.analysis.heatmap_data.HeatmapData`; properties show them as centred maps
    (H, W), equal at k and -k, NaN where a frequency was not evaluated.
    """

    kind: ClassVar[str] = "fourier_heatmap"

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
    def ring_error_rate(self) -> "NDArray[np.float64]":
        """Mean of ``error_rate`` over the evaluated cells of each ring, shape (R + 1,)."""
        return ring_means(self.error_rate, self.evaluated_cells)

    @property
    def ring_error_rate_interval(self) -> "NDArray[np.float64] | None":
        """Interval for the images, shape (R + 1, 2)."""
        return self._cell_interval("ring", "error_rate")

    @property
    def ring_loss_increase(self) -> "NDArray[np.float64]":
        """Mean of ``loss_increase`` over the evaluated cells of each ring, shape (R + 1,)."""
        return ring_means(self.loss_increase, self.evaluated_cells)

    @property
    def ring_loss_increase_interval(self) -> "NDArray[np.float64] | None":
        """Interval for the images, shape (R + 1, 2)."""
        return self._cell_interval("ring", "loss_increase")

    @property
    def band_error_rate(self) -> "NDArray[np.float64]":
        """Mean of ``error_rate`` over the evaluated cells of low, middle and high rings, shape (3,)."""
        return self._bands(self.ring_error_rate)

    @property
    def band_error_rate_interval(self) -> "NDArray[np.float64] | None":
        """Interval for the images, shape (3, 2)."""
        return self._cell_interval("band", "error_rate")

    @property
    def band_loss_increase(self) -> "NDArray[np.float64]":
        """Mean of ``loss_increase`` over the evaluated cells of low, middle and high rings, shape (3,)."""
        return self._bands(self.ring_loss_increase)

    @property
    def band_loss_increase_interval(self) -> "NDArray[np.float64] | None":
        """Interval for the images, shape (3, 2)."""
        return self._cell_interval("band", "loss_increase")

    @property
    def layer_change(self) -> "NDArray[np.float64] | None":
        """Mean L2 norm of each tensor's change, shape (L, H, W)."""
        return self._by_layer(self.mean_layer_change)

    @property
    def layer_change_interval(self) -> "NDArray[np.float64] | None":
        """Normal interval of each cell of ``layer_change``, shape (L, H, W, 2)."""
        return self._layer_interval("layer_change")

    @property
    def layer_relative_change(self) -> "NDArray[np.float64] | None":
        """Mean over images of the change over the norm of the clean tensor, shape (L, H, W)."""
        return self._by_layer(self.mean_layer_relative_change)

    @property
    def layer_relative_change_interval(self) -> "NDArray[np.float64] | None":
        """Normal interval of each cell of ``layer_relative_change``, shape (L, H, W, 2)."""
        return self._layer_interval("layer_relative_change")

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
        return accuracy_within(self, self.image_correct)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What a user should know."""
        return tuple(heatmap_findings(self))

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
        return merged(self, other)

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
        """What ``.npz`` files hold: the maps, and numbers of each image.

        Returns
        -------
        dict of str to numpy.ndarray
            Maps and their intervals by name, and which cells were ``evaluated``; ``digest``, ``correct``, and fields
            that begin with ``image_`` where they are known.
        """
        return heatmap_arrays(self)

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

    def _bands(self, by_ring: "NDArray[np.float64]") -> "NDArray[np.float64]":
        return band_means(by_ring, cells_by_ring(self.evaluated_cells), self.image_size)

    def _cell_interval(self, part: str, name: str) -> "NDArray[np.float64] | None":
        mean, std = getattr(self, f"{part}_{name}"), getattr(self, f"{part}_{name}_std")
        return (
            None if std is None else ring_interval(name, mean, std, self.images, confidence=self.confidence)
        )

    def _by_layer(self, values: "NDArray[np.float64] | None") -> "NDArray[np.float64] | None":
        """Layers before the axes of the map."""
        return None if values is None else np.moveaxis(self.of_cells(values), 2, 0)

    def _layer_interval(self, name: str) -> "NDArray[np.float64] | None":
        mean, std = getattr(self, f"mean_{name}"), getattr(self, f"{name}_std")
        if mean is None:
            return None
        bounds = mean_interval(mean, std, self.images, confidence=self.confidence, bounds=(0.0, np.inf))
        return self._by_layer(bounds)

    def _ranked(self, values: "NDArray[Any]") -> float:
        return rank_correlation(values[self.evaluated], self.errors[self.evaluated])

    def _ranked_interval(self, correlation: float | None) -> tuple[float, float] | None:
        if correlation is None:
            return None
        return rank_correlation_interval(correlation, self.frequencies_evaluated, confidence=self.confidence)
