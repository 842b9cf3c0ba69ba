"""Where perturbations lie in the spectrum: the averages, and how parts of them are put together.

Ring *sums* and ring *means* differ: white noise has most of its power in high rings by sum, as much in all by mean.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from specprobe.analysis.moments import Moments
from specprobe.analysis.per_image import same
from specprobe.analysis.perturbation_measures import MEASURES, Measure, measure_of
from specprobe.findings import Finding
from specprobe.intervals import CONFIDENCE, mean_interval
from specprobe.spectral.grid import ring_bands, ring_sizes
from specprobe.spectral.power import WEDGES, wedge_sizes
from specprobe.spectral.profiles import white_noise_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BY_MEASURE", "NUMBERS", "PROFILES", "PerturbationSpectrum"]

PROFILES = ("ring_sum_share", "cumulative_share", "angular_share")
"""Averages with an entry a ring or wedge."""

NUMBERS = (
    *("low_share", "mid_share", "high_share", "centroid_cycles_per_image", "half_power_cycles_per_image"),
    *("mean_share", "l2_norm"),
)
"""Averages that have a value an image, too."""

BY_MEASURE = ("measure_rings", "measure_bands", "measure_low_minus_high")
"""Averages with a row a measure."""


def _interval_of(name: str) -> property:
    def get(self: "PerturbationSpectrum") -> "NDArray[np.float64]":
        return self.interval(name)

    return property(get, doc=f"Interval of ``{name}``, low and high along the last axis.")


def _rings_of(name: str) -> property:
    def get(self: "PerturbationSpectrum") -> "NDArray[np.float64] | None":
        return self.measure(name).ring_mean if name in self.measures else None

    return property(
        get, doc=f"Ring means of the measure ``{name}``, from ring 1; None for gradients without it."
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PerturbationSpectrum:
    """Spectra of perturbations, or of other images of numbers such as gradients.

    Every estimate is a mean over images; ``x_std`` is its spread over them (ddof 0), ``x_interval`` where the mean of
    all such images lies. A share is of the power of one image's perturbation, its mean (ring 0) left out.

    Attributes
    ----------
    of : str
        ``perturbation``, or what else the spectra are of, such as ``gradient``.
    map_shape : (int, int)
        Height and width of the maps.
    images, dropped : int
        Images looked at; those of them that did not move, or moved by a constant or not by finite numbers, which no
        average holds.
    ring_sum_share, ring_sum_share_std : numpy.ndarray of float64, shape (R,)
        Power of all cells of a ring together, from ring 1. To be read against ``white_noise_share``.
    cumulative_share, cumulative_share_std : numpy.ndarray of float64, shape (R,)
        Power of all rings up to each.
    angular_share, angular_share_std : numpy.ndarray of float64, shape (12,)
        Power by direction.
    low_share, mid_share, high_share, low_share_std, mid_share_std, high_share_std : float
        By sum: power of the rings up to a sixth of the shorter side, up to a third, and beyond.
    centroid_cycles_per_image, centroid_cycles_per_image_std : float
        Mean ring, weighted with its share.
    half_power_cycles_per_image, half_power_cycles_per_image_std : float
        Frequency below which half of the power lies.
    mean_share, mean_share_std : float
        Power at the mean (ring 0), of the whole power: what the other shares leave out.
    l2_norm, l2_norm_std : float
        Size of the perturbations, over all pixels and channels.
    measure_rings, measure_rings_std : numpy.ndarray of float64, shape (M, R)
        By measure, in the order of ``measures``: ring means, from ring 1.
    measure_bands, measure_bands_std : numpy.ndarray of float64, shape (M, 3)
        Means of the cells of the low, the middle and the high rings.
    measure_low_minus_high, measure_low_minus_high_std : numpy.ndarray of float64, shape (M,)
        Difference of the first and the last, image by image.
    relative_offset : float or None
        τ of the relative measure.
    clean_images : int
        Images behind ``clean_ring_sum_share``.
    clean_ring_sum_share, clean_ring_sum_share_std : numpy.ndarray of float64, shape (R,), or None
        ``ring_sum_share`` of the clean images themselves; None where they were not given.
    confidence : float
        Of the intervals.
    measure_maps : numpy.ndarray of float64, shape (M, H, W), or None
        By measure, centred; None for results read from JSON, as all below.
    power_map : numpy.ndarray of float64, shape (H, W), or None
        Mean of the images' power, each divided by its total off the mean: 0 at the mean, sums to 1.
    image_low_share, image_mid_share, image_high_share, image_mean_share, image_centroid_cycles_per_image, \
image_half_power_cycles_per_image, image_l2_norm : numpy.ndarray of float64, shape (images,), or None
        Per image, in order; NaN for those dropped.
    image_digest : numpy.ndarray of uint8, shape (images, 16), or None
        Which image it was.
    """

    kind: ClassVar[str] = "perturbation_spectrum"

    of: str
    map_shape: tuple[int, int]
    images: int
    dropped: int
    ring_sum_share: "NDArray[np.float64]"
    ring_sum_share_std: "NDArray[np.float64]"
    cumulative_share: "NDArray[np.float64]"
    cumulative_share_std: "NDArray[np.float64]"
    angular_share: "NDArray[np.float64]"
    angular_share_std: "NDArray[np.float64]"
    low_share: float
    low_share_std: float
    mid_share: float
    mid_share_std: float
    high_share: float
    high_share_std: float
    centroid_cycles_per_image: float
    centroid_cycles_per_image_std: float
    half_power_cycles_per_image: float
    half_power_cycles_per_image_std: float
    mean_share: float
    mean_share_std: float
    l2_norm: float
    l2_norm_std: float
    measure_rings: "NDArray[np.float64]"
    measure_rings_std: "NDArray[np.float64]"
    measure_bands: "NDArray[np.float64]"
    measure_bands_std: "NDArray[np.float64]"
    measure_low_minus_high: "NDArray[np.float64]"
    measure_low_minus_high_std: "NDArray[np.float64]"
    relative_offset: float | None = None
    clean_images: int = 0
    clean_ring_sum_share: "NDArray[np.float64] | None" = None
    clean_ring_sum_share_std: "NDArray[np.float64] | None" = None
    confidence: float = CONFIDENCE
    measure_maps: "NDArray[np.float64] | None" = None
    power_map: "NDArray[np.float64] | None" = None
    image_low_share: "NDArray[np.float64] | None" = None
    image_mid_share: "NDArray[np.float64] | None" = None
    image_high_share: "NDArray[np.float64] | None" = None
    image_centroid_cycles_per_image: "NDArray[np.float64] | None" = None
    image_half_power_cycles_per_image: "NDArray[np.float64] | None" = None
    image_mean_share: "NDArray[np.float64] | None" = None
    image_l2_norm: "NDArray[np.float64] | None" = None
    image_digest: "NDArray[np.uint8] | None" = None

    ring_sum_share_interval = _interval_of("ring_sum_share")
    ring_mean_interval = _interval_of("ring_mean")
    cumulative_share_interval = _interval_of("cumulative_share")
    angular_share_interval = _interval_of("angular_share")
    low_share_interval = _interval_of("low_share")
    mid_share_interval = _interval_of("mid_share")
    high_share_interval = _interval_of("high_share")
    centroid_cycles_per_image_interval = _interval_of("centroid_cycles_per_image")
    half_power_cycles_per_image_interval = _interval_of("half_power_cycles_per_image")
    mean_share_interval = _interval_of("mean_share")
    l2_norm_interval = _interval_of("l2_norm")
    absolute = _rings_of("absolute")
    magnitude_change = _rings_of("magnitude_change")
    relative = _rings_of("relative")
    log_ratio = _rings_of("log_ratio")

    def __post_init__(self) -> None:
        """Refuse what no images have: results are read from files, too."""
        if not 0 <= self.dropped <= self.images or self.images < 1:
            msg = f"{self.dropped} of {self.images} images dropped: accepted are 0 <= dropped <= images, images >= 1"
            raise ValueError(msg)
        rings = ring_sizes(self.map_shape).size - 1
        profiles = (self.ring_sum_share, self.ring_sum_share_std, self.measure_rings, self.measure_rings_std)
        lengths = sorted({np.shape(profile)[-1] for profile in profiles})
        if lengths != [rings]:
            msg = f"there are profiles of {lengths} rings; accepted for maps of shape {self.map_shape} are {rings}"
            raise ValueError(msg)

    @property
    def averaged(self) -> int:
        """Images that the averages are of."""
        return self.images - self.dropped

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures: all four for perturbations, ``absolute`` alone for anything else."""
        return MEASURES[: len(self.measure_rings)]

    @property
    def cycles_per_image(self) -> "NDArray[np.int64]":
        """Rings that the profiles are of."""
        return np.arange(1, len(self.ring_sum_share) + 1)

    @property
    def ring_size(self) -> "NDArray[np.int64]":
        """Cells of each of these rings: ring sums are ring means times these."""
        return ring_sizes(self.map_shape)[1:]

    @property
    def ring_mean(self) -> "NDArray[np.float64]":
        """Share of power in one cell of each ring: ``ring_sum_share / ring_size``, flat for white noise."""
        return self.ring_sum_share / self.ring_size

    @property
    def ring_mean_std(self) -> "NDArray[np.float64]":
        """Spread of ``ring_mean`` over images."""
        return self.ring_sum_share_std / self.ring_size

    @property
    def angle_degrees(self) -> "NDArray[np.float64]":
        """Middle of the wedges that ``angular_share`` is of; 0 varies along the rows, counter-clockwise."""
        return np.arange(WEDGES) * 180 / WEDGES

    @property
    def white_noise_share(self) -> "NDArray[np.float64]":
        """``ring_sum_share`` of white noise, shape (R,)."""
        return white_noise_shares(self.map_shape)

    @property
    def white_noise_angular_share(self) -> "NDArray[np.float64]":
        """``angular_share`` of white noise, shape (12,)."""
        return wedge_sizes(self.map_shape) / max(self.map_shape[0] * self.map_shape[1] - 1, 1)

    @property
    def white_noise_bands(self) -> tuple[float, float, float]:
        """Low, mid and high share of white noise."""
        rings = np.concatenate([[0.0], self.white_noise_share])
        low, mid, high = (float(rings[band].sum()) for band in ring_bands(self.map_shape))
        return low, mid, high

    @property
    def clean_ring_sum_share_interval(self) -> "NDArray[np.float64] | None":
        """Interval of ``clean_ring_sum_share``, shape (R, 2)."""
        mean, std = self.clean_ring_sum_share, self.clean_ring_sum_share_std
        if mean is None or std is None:
            return None
        return self._bounded(Moments(self.clean_images, mean, std), (0.0, 1.0))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What a user should know."""
        found: list[Finding] = []
        if self.dropped:
            message = f"{self.dropped} of {self.images} images have no finite {self.of} off the mean, and are in no average"
            found.append(Finding(level="warning", code="dropped-images", message=message))
        if self.averaged == 1:
            message = "one image has no spread over images, so the intervals are null"
            found.append(Finding(level="warning", code="one-image", message=message))
        return tuple(found)

    def interval(self, name: str, /) -> "NDArray[np.float64]":
        """Interval of an estimate.

        Parameters
        ----------
        name : str
            One of ``PROFILES`` and ``NUMBERS``, or ``ring_mean``.

        Returns
        -------
        numpy.ndarray of float64, shape (..., 2)
            Low and high.
        """
        rings = len(self.ring_sum_share)
        bounds = {
            "l2_norm": (0.0, np.inf),
            "centroid_cycles_per_image": (1.0, float(rings)),
            "half_power_cycles_per_image": (0.5, rings + 0.5),
        }
        estimate = Moments(self.averaged, getattr(self, name), getattr(self, f"{name}_std"))
        return self._bounded(estimate, bounds.get(name, (0.0, 1.0)))

    def measure(self, name: str, /) -> Measure:
        """One of the four measures.

        Parameters
        ----------
        name : {"absolute", "magnitude_change", "relative", "log_ratio"}
            D1 ``|F(δ)|``; D2 ``||F(x + δ)| − |F(x)||``; D3 ``|F(δ)| / (|F(x)| + τ)``;
            D4 ``log(1 + |F(x + δ)|) − log(1 + |F(x)|)``, which alone has a sign.

        Returns
        -------
        Measure
            Of magnitudes of the unitary FFT, averaged over channels and images.

        Raises
        ------
        ValueError
            If this result has no such measure.
        """
        if name not in self.measures:
            msg = f"there is no measure {name!r} of a {self.of}; accepted are {', '.join(self.measures)}"
            raise ValueError(msg)
        place = self.measures.index(name)
        rings, bands, contrast = (
            Moments(self.averaged, getattr(self, part)[place], getattr(self, f"{part}_std")[place])
            for part in BY_MEASURE
        )
        return measure_of(
            rings,
            bands,
            contrast,
            signed=name == "log_ratio",
            ring_size=self.ring_size,
            confidence=self.confidence,
            cells=None if self.measure_maps is None else self.measure_maps[place],
        )

    def merge(self, other: "PerturbationSpectrum", /) -> "PerturbationSpectrum":
        """Spectrum of both sets.

        Parameters
        ----------
        other : PerturbationSpectrum
            Of the images that follow, with the same settings.

        Returns
        -------
        PerturbationSpectrum
            At the confidence of ``self``.

        Raises
        ------
        InputMismatch
            If the settings differ.
        """
        from specprobe.analysis.perturbation_merge import merged

        return merged(self, other)

    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What ``.npz`` files hold beside the document.

        Returns
        -------
        dict of str to numpy.ndarray
            The profile, the maps, and the per-image arrays without ``image_`` in their names.
        """
        names = ("cycles_per_image", "ring_sum_share", "white_noise_share", "power_map")
        held = {name: getattr(self, name) for name in names}
        if self.measure_maps is not None:
            held |= {
                f"{name}_map": values for name, values in zip(self.measures, self.measure_maps, strict=True)
            }
        held |= {
            f.name.removeprefix("image_"): getattr(self, f.name)
            for f in fields(self)
            if f.name.startswith("image_")
        }
        return {name: array for name, array in held.items() if array is not None}

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values, estimates with their intervals.

        Returns
        -------
        dict
            Without the maps and the per-image arrays.
        """
        from specprobe.analysis.perturbation_document import perturbation_document

        return perturbation_document(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any], /) -> "PerturbationSpectrum":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : dict
            JSON values.

        Returns
        -------
        PerturbationSpectrum
            Without the maps and the per-image arrays.
        """
        from specprobe.analysis.perturbation_document import perturbation_fields

        return cls(**perturbation_fields(content))

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, per-image arrays included."""
        if not isinstance(other, PerturbationSpectrum):
            return NotImplemented
        return all(same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]

    def _bounded(self, estimate: Moments, bounds: tuple[float, float]) -> "NDArray[np.float64]":
        count, mean, std = estimate
        return mean_interval(mean, std, count, confidence=self.confidence, bounds=bounds)
