"""What a sensitivity analysis found, and how parts of it are put together."""

from dataclasses import Field, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from specprobe.analysis.accuracy import Accuracy, accuracy_within, chance_findings
from specprobe.analysis.moments import Moments
from specprobe.analysis.per_image import join, same
from specprobe.analysis.settings import check_same_settings
from specprobe.findings import Finding
from specprobe.intervals import CONFIDENCE, mean_interval
from specprobe.results import finite
from specprobe.spectral.grid import ring_bands
from specprobe.spectral.power import WEDGES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ACCURACY_FIELDS", "NUMBERS", "FourierSensitivity"]

_LARGE_ERROR = 0.2
_PROFILES = ("power_share", "angular_share")
NUMBERS = ("low_share", "mid_share", "high_share", "centroid_cycles_per_image", "spectral_entropy_bits")
"""Averages that have a value an image, too."""

_SETTINGS = ("method", "channels", "basis", "loss", "target", "map_shape", "frequencies_per_ring", "seed")
_COUNTS = ("images", "dropped", "model_evaluations", "step_l2_norm", "relative_error", "confidence")
ACCURACY_FIELDS = ("correct", "class_histogram", "prediction_histogram")
"""Counts that an accuracy is made of."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FourierSensitivity:
    """Power of the input gradient by spatial frequency.

    Every estimate is a mean over images; ``x_std`` is its spread over them (ddof 0), ``x_interval`` where the mean of
    all such images lies. A share is of the power of one image's gradient, its mean (ring 0) left out.

    Attributes
    ----------
    method : {"gradient", "finite-difference"}
        How derivatives were had.
    channels : {"power", "mean_before"}
        Mean of the channels' power, or power of the channels' mean.
    basis : {"fourier", "dct", "hadamard", "haar"}
        Orthonormal basis.
    loss : str
        Whose gradient it is.
    target : {"true", "predicted"}
        Class that the loss is of.
    map_shape : (int, int)
        Height and width of ``power_map``.
    images, dropped : int
        Images looked at; those of them without a gradient, which no average holds.
    power_share, power_share_std : numpy.ndarray of float64, shape (R,)
        Ring sums, from ring 1.
    low_share, mid_share, high_share, low_share_std, mid_share_std, high_share_std : float
        Of rings up to a sixth of the shorter side, up to a third, and beyond.
    centroid_cycles_per_image, centroid_cycles_per_image_std : float
        Mean ring, weighted with its share.
    spectral_entropy_bits, spectral_entropy_bits_std : float
        Mean of the images' own entropies, which is less than the entropy of ``power_share``.
    angular_share, angular_share_std : numpy.ndarray of float64, shape (12,), or None
        Of directions; None for bases that have none.
    white_noise_share : numpy.ndarray of float64, shape (R,)
        ``power_share`` of white noise.
    white_noise_angular_share : numpy.ndarray of float64, shape (12,), or None
        ``angular_share`` of white noise.
    correct : int or None
        Images classified as labelled; None without labels, as the histograms.
    class_histogram, prediction_histogram : dict of str to int, or None
        Images by label and by predicted class.
    frequencies_per_ring, seed : int or None
        Frequencies drawn on each ring, and from which seed; None where all were taken.
    model_evaluations : int or None
        Images that the model was run on for finite differences, clean pass included.
    step_l2_norm, relative_error : float or None
        Of finite differences: mean over images of the step, in pixel units, and of the estimated error of a derivative.
    confidence : float
        Of the intervals.
    power_map : numpy.ndarray of float64, shape (H, W), or None
        Mean of the images' power, each divided by its total off the mean: 0 at the mean, sums to 1. Centred for the
        Fourier basis. None where frequencies were drawn, and for results read from JSON, as the arrays below.
    image_low_share, image_mid_share, image_high_share, image_centroid_cycles_per_image, image_spectral_entropy_bits \
: numpy.ndarray of float64, shape (images,), or None
        Per image, in order; NaN for those dropped.
    image_gradient_l2_norm : numpy.ndarray of float64, shape (images,), or None
        Of the gradient with respect to pixels in [0, 1].
    image_correct : numpy.ndarray of bool, shape (images,), or None
        Per image, with labels.
    image_digest : numpy.ndarray of uint8, shape (images, 16), or None
        Which image it was.
    """

    kind: ClassVar[str] = "fourier_sensitivity"

    method: str
    channels: str
    basis: str
    loss: str
    target: str
    map_shape: tuple[int, int]
    images: int
    dropped: int
    power_share: "NDArray[np.float64]"
    power_share_std: "NDArray[np.float64]"
    low_share: float
    low_share_std: float
    mid_share: float
    mid_share_std: float
    high_share: float
    high_share_std: float
    centroid_cycles_per_image: float
    centroid_cycles_per_image_std: float
    spectral_entropy_bits: float
    spectral_entropy_bits_std: float
    white_noise_share: "NDArray[np.float64]"
    angular_share: "NDArray[np.float64] | None" = None
    angular_share_std: "NDArray[np.float64] | None" = None
    white_noise_angular_share: "NDArray[np.float64] | None" = None
    correct: int | None = None
    class_histogram: dict[str, int] | None = None
    prediction_histogram: dict[str, int] | None = None
    frequencies_per_ring: int | None = None
    seed: int | None = None
    model_evaluations: int | None = None
    step_l2_norm: float | None = None
    relative_error: float | None = None
    confidence: float = CONFIDENCE
    power_map: "NDArray[np.float64] | None" = None
    image_low_share: "NDArray[np.float64] | None" = None
    image_mid_share: "NDArray[np.float64] | None" = None
    image_high_share: "NDArray[np.float64] | None" = None
    image_centroid_cycles_per_image: "NDArray[np.float64] | None" = None
    image_spectral_entropy_bits: "NDArray[np.float64] | None" = None
    image_gradient_l2_norm: "NDArray[np.float64] | None" = None
    image_correct: "NDArray[np.bool_] | None" = None
    image_digest: "NDArray[np.uint8] | None" = None

    def __post_init__(self) -> None:
        """Refuse what no images have: results are read from files, too."""
        if not 0 <= self.dropped <= self.images or self.images < 1:
            msg = f"{self.dropped} of {self.images} images dropped: accepted are 0 <= dropped <= images, images >= 1"
            raise ValueError(msg)
        sizes = {np.shape(x) for x in (self.power_share, self.power_share_std, self.white_noise_share)}
        if len(sizes) > 1:
            msg = f"shares, their spread and their reference have shapes {sorted(sizes)}; accepted is one (R,) for all"
            raise ValueError(msg)

    @property
    def cycles_per_image(self) -> "NDArray[np.int64]":
        """Rings that ``power_share`` is of."""
        return np.arange(1, len(self.power_share) + 1)

    @property
    def angle_degrees(self) -> "NDArray[np.float64] | None":
        """Middle of the wedges that ``angular_share`` is of; 0 varies along the rows, counter-clockwise."""
        return None if self.angular_share is None else np.arange(WEDGES) * 180 / WEDGES

    @property
    def averaged(self) -> int:
        """Images that the averages are of."""
        return self.images - self.dropped

    @property
    def accuracy(self) -> Accuracy | None:
        """Accuracy on the same images, without any change to them."""
        return accuracy_within(self, self.image_correct)

    @property
    def power_share_interval(self) -> "NDArray[np.float64]":
        """Interval of each entry of ``power_share``, shape (R, 2)."""
        return self._interval("power_share")

    @property
    def low_share_interval(self) -> "NDArray[np.float64]":
        """Interval of ``low_share``."""
        return self._interval("low_share")

    @property
    def mid_share_interval(self) -> "NDArray[np.float64]":
        """Interval of ``mid_share``."""
        return self._interval("mid_share")

    @property
    def high_share_interval(self) -> "NDArray[np.float64]":
        """Interval of ``high_share``."""
        return self._interval("high_share")

    @property
    def centroid_cycles_per_image_interval(self) -> "NDArray[np.float64]":
        """Interval of ``centroid_cycles_per_image``."""
        return self._interval("centroid_cycles_per_image", (1.0, float(len(self.power_share))))

    @property
    def spectral_entropy_bits_interval(self) -> "NDArray[np.float64]":
        """Interval of ``spectral_entropy_bits``."""
        return self._interval("spectral_entropy_bits", (0.0, float(np.log2(len(self.power_share)))))

    @property
    def angular_share_interval(self) -> "NDArray[np.float64] | None":
        """Interval of each entry of ``angular_share``, shape (12, 2)."""
        return None if self.angular_share is None else self._interval("angular_share")

    @property
    def white_noise_bands(self) -> tuple[float, float, float]:
        """Low, mid and high share of white noise."""
        rings = np.concatenate([[0.0], self.white_noise_share])
        low, mid, high = (float(rings[band].sum()) for band in ring_bands(self.map_shape))
        return low, mid, high

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What a user should know."""
        found: list[Finding] = []
        if self.accuracy is not None:
            found += chance_findings(self.accuracy)
        else:
            message = (
                "the images have no labels, so there is no accuracy, and gradients are of the loss at the predicted "
                "classes; give them with --labels FILE"
            )
            found.append(Finding(level="warning", code="no-labels", message=message))
        if self.dropped:
            message = (
                f"{self.dropped} of {self.images} images have no gradient (zero or not finite) and are in no average; "
                "where the loss is saturated, --loss margin has one"
            )
            found.append(Finding(level="warning", code="dropped-images", message=message))
        if self.averaged == 1:
            message = "one image has no spread over images, so the intervals are null"
            found.append(Finding(level="warning", code="one-image", message=message))
        if self.relative_error is not None and not self.relative_error <= _LARGE_ERROR:
            message = (
                f"derivatives by finite differences are off by about {self.relative_error:.2f} of their size: power is "
                "spread evenly over the frequencies that they do not have; prefer --method gradient"
            )
            found.append(Finding(level="warning", code="finite-difference-error", message=message))
        return tuple(found)

    def merge(self, other: "FourierSensitivity", /) -> "FourierSensitivity":
        """Sensitivity on both sets.

        Parameters
        ----------
        other : FourierSensitivity
            Of the images that follow, with the same settings.

        Returns
        -------
        FourierSensitivity
            At the confidence of ``self``.

        Raises
        ------
        InputMismatch
            If the settings differ.
        """
        check_same_settings(self, other, _SETTINGS)
        changed: dict[str, Any] = {
            field.name: join(getattr(self, field.name), getattr(other, field.name)) for field in _per_image()
        }
        for name in (*_PROFILES, *NUMBERS):
            if getattr(self, name) is None:
                continue
            _, mean, std = self._moments(name).merge(other._moments(name))
            as_kept = float if name in NUMBERS else np.asarray
            changed |= {name: as_kept(mean), f"{name}_std": as_kept(std)}
        if self.power_map is not None and other.power_map is not None:
            none = np.zeros(self.map_shape)
            _, changed["power_map"], _ = Moments(self.averaged, self.power_map, none).merge(
                Moments(other.averaged, other.power_map, none)
            )
        else:
            changed["power_map"] = None
        mine, theirs = self.accuracy, other.accuracy
        both = None if mine is None or theirs is None else mine.merge(theirs)
        changed |= {name: getattr(both, name, None) for name in ACCURACY_FIELDS}
        changed |= {"images": self.images + other.images, "dropped": self.dropped + other.dropped}
        if self.model_evaluations is not None and other.model_evaluations is not None:
            changed["model_evaluations"] = self.model_evaluations + other.model_evaluations
        for name in ("step_l2_norm", "relative_error"):
            pair = [(part.images, getattr(part, name)) for part in (self, other)]
            if None not in {value for _, value in pair}:
                changed[name] = sum(images * value for images, value in pair) / changed["images"]
        return replace(self, **changed)

    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What ``.npz`` files hold beside the document.

        Returns
        -------
        dict of str to numpy.ndarray
            The profile, ``power_map``, and the per-image arrays without ``image_`` in their names.
        """
        names = ("cycles_per_image", "power_share", "white_noise_share", "power_map")
        held = {name: getattr(self, name) for name in names}
        held |= {f.name.removeprefix("image_"): getattr(self, f.name) for f in _per_image()}
        return {name: array for name, array in held.items() if array is not None}

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values, estimates with their intervals.

        Returns
        -------
        dict
            Without the map and the per-image arrays.
        """
        content: dict[str, Any] = {name: getattr(self, name) for name in _SETTINGS}
        content["cycles_per_image"] = self.cycles_per_image
        for name in (_PROFILES[0], *NUMBERS, _PROFILES[1]):
            content[name] = getattr(self, name)
            content[f"{name}_interval"] = _pair(getattr(self, f"{name}_interval"))
            content[f"{name}_std"] = getattr(self, f"{name}_std")
        _, mid, high = ring_bands(self.map_shape)
        content |= {
            "angle_degrees": self.angle_degrees,
            "white_noise_share": self.white_noise_share,
            "white_noise_angular_share": self.white_noise_angular_share,
            "band_limits_cycles_per_image": [mid.start - 1, high.start - 1],
        }
        content |= {
            f"white_noise_{name}_share": share
            for name, share in zip(("low", "mid", "high"), self.white_noise_bands, strict=True)
        }
        content |= {name: getattr(self, name) for name in _COUNTS}
        measured = self.accuracy
        content["clean_accuracy"] = None if measured is None else measured.accuracy
        content["clean_accuracy_interval"] = None if measured is None else measured.accuracy_interval
        content["chance"] = None if measured is None else measured.chance
        content |= {name: getattr(self, name) for name in ACCURACY_FIELDS}
        content["findings"] = [finding.to_dict() for finding in self.findings]
        result: dict[str, Any] = finite(content)
        return result

    @classmethod
    def from_dict(cls, content: dict[str, Any], /) -> "FourierSensitivity":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : dict
            JSON values.

        Returns
        -------
        FourierSensitivity
            Without the map and the per-image arrays.
        """
        values: dict[str, Any] = {name: content[name] for name in (*_SETTINGS, *_COUNTS, *ACCURACY_FIELDS)}
        height, width = content["map_shape"]
        values["map_shape"] = (height, width)
        for name in NUMBERS:
            values |= {key: float(_array(content[key])) for key in (name, f"{name}_std")}
        for name in ("power_share", "power_share_std", "white_noise_share"):
            values[name] = _array(content[name])
        for name in ("angular_share", "angular_share_std", "white_noise_angular_share"):
            values[name] = None if content[name] is None else _array(content[name])
        return cls(**values)

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, per-image arrays included."""
        if not isinstance(other, FourierSensitivity):
            return NotImplemented
        return all(same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]

    def _moments(self, name: str) -> Moments:
        return Moments(
            self.averaged, np.asarray(getattr(self, name)), np.asarray(getattr(self, f"{name}_std"))
        )

    def _interval(self, name: str, bounds: tuple[float, float] = (0.0, 1.0)) -> "NDArray[np.float64]":
        count, mean, std = self._moments(name)
        return mean_interval(mean, std, count, confidence=self.confidence, bounds=bounds)


def _per_image() -> list[Field[Any]]:
    return [field for field in fields(FourierSensitivity) if field.name.startswith("image_")]


def _pair(bounds: "NDArray[np.float64] | None") -> Any:
    """An interval as JSON: null where it has no ends."""
    return None if bounds is None or np.isnan(bounds).all() else bounds


def _array(values: Any) -> "NDArray[np.float64]":
    return np.asarray(values, np.float64)
