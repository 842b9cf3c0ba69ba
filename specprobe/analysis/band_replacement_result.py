"""Which part of a perturbation's spectrum carries an attack: the counts, and what follows from them."""

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from specprobe.analysis.moments import Moments
from specprobe.analysis.per_image import join, same
from specprobe.analysis.settings import check_same_settings
from specprobe.findings import Finding
from specprobe.intervals import CONFIDENCE, mean_interval, wilson_interval
from specprobe.results import finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DIRECTIONS", "BandReplacement", "HalfRadius"]

DIRECTIONS = ("low_pass", "high_pass")
"""Which part of the perturbation is added: below the radius, or from it on."""

_SETTINGS = ("image_size", "radii", "clip")
_COUNTS = ("images", "clean_correct", "adversarial_correct", "broken", "model_evaluations")
_BY_RADIUS = ("low_pass_correct", "high_pass_correct", "low_pass_broken", "high_pass_broken")
_PER_IMAGE = (
    "image_low_pass_correct",
    "image_high_pass_correct",
    "image_clean_correct",
    "image_adversarial_correct",
    "image_digest",
)


class HalfRadius(NamedTuple):
    """Where a part of the perturbation does half of what the whole does.

    Attributes
    ----------
    radius : float or None
        In cycles per shorter side; None where no radius of the sweep does.
    interval : (float or None, float or None) or None
        Radii outside are ruled out by the sample; None in it where the sweep does not bound that side.
    """

    radius: float | None = None
    interval: tuple[float | None, float | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BandReplacement:
    """Answers of a classifier to clean images that bear a part of their perturbation.

    With δ the perturbation and P(r) the low-pass that keeps ``rho < r``, ``low_pass`` is the answer to ``x + P(r) δ``, and
    ``high_pass`` to ``x + δ − P(r) δ``: the spectrum of the adversarial image below the radius and that of the clean one
    from it on, and the other way round.

    Attributes
    ----------
    images : int
        How many.
    image_size : (int, int)
        Height and width.
    radii : tuple of float
        Ascending, in cycles per shorter side.
    clip : bool
        Whether mixed images are clipped to [0, 1]; the two ends are left as they are.
    clean_correct, adversarial_correct : int
        Images that are right as they are, and with the whole perturbation.
    broken : int
        Images that are right clean and wrong with the whole perturbation.
    model_evaluations : int
        Images classified.
    low_pass_correct, high_pass_correct : numpy.ndarray of int64, shape (F,)
        By radius: images that are right with that part.
    low_pass_broken, high_pass_broken : numpy.ndarray of int64, shape (F,)
        By radius: of the ``broken`` images, those that are wrong with that part already.
    moved : int
        Images with a perturbation.
    energy_share, energy_share_std : numpy.ndarray of float64, shape (F,)
        By radius: part of δ's energy that P(r) keeps, the mean (ring 0) included; mean and population standard deviation
        over the moved images.
    confidence : float
        Of the intervals.
    image_low_pass_correct, image_high_pass_correct : numpy.ndarray of bool, shape (images, F), or None
        Per image, in order; None for results read from JSON, as all below.
    image_clean_correct, image_adversarial_correct : numpy.ndarray of bool, shape (images,), or None
        Per image.
    image_digest : numpy.ndarray of uint8, shape (images, 16), or None
        Which image it was.
    """

    kind: ClassVar[str] = "band_replacement"

    images: int
    image_size: tuple[int, int]
    radii: tuple[float, ...]
    clip: bool
    clean_correct: int
    adversarial_correct: int
    broken: int
    model_evaluations: int
    low_pass_correct: "NDArray[np.int64]"
    high_pass_correct: "NDArray[np.int64]"
    low_pass_broken: "NDArray[np.int64]"
    high_pass_broken: "NDArray[np.int64]"
    moved: int
    energy_share: "NDArray[np.float64]"
    energy_share_std: "NDArray[np.float64]"
    confidence: float = CONFIDENCE
    image_low_pass_correct: "NDArray[np.bool_] | None" = None
    image_high_pass_correct: "NDArray[np.bool_] | None" = None
    image_clean_correct: "NDArray[np.bool_] | None" = None
    image_adversarial_correct: "NDArray[np.bool_] | None" = None
    image_digest: "NDArray[np.uint8] | None" = None

    def __post_init__(self) -> None:
        """Refuse counts that no images have: results are read from files, too."""
        arrays = [getattr(self, name) for name in _BY_RADIUS]
        counts = [self.clean_correct, self.adversarial_correct, self.broken, self.moved, *np.ravel(arrays)]
        if self.images < 1 or not all(0 <= count <= self.images for count in counts):
            msg = f"counts of {self.images} images: accepted are 0 <= count <= images, images >= 1"
            raise ValueError(msg)
        lengths = {len(array) for array in (*arrays, self.energy_share, self.energy_share_std)}
        if lengths != {len(self.radii)}:
            msg = f"{sorted(lengths)} values a field; accepted is one for each of {len(self.radii)} radii"
            raise ValueError(msg)

    @property
    def clean_accuracy(self) -> float:
        """Share of images that are right as they are."""
        return self.clean_correct / self.images

    @property
    def clean_accuracy_interval(self) -> tuple[float, float]:
        """Wilson's interval of ``clean_accuracy``."""
        return wilson_interval(self.clean_correct, self.images, confidence=self.confidence)

    @property
    def adversarial_accuracy(self) -> float:
        """Share of images that are right with the whole perturbation."""
        return self.adversarial_correct / self.images

    @property
    def adversarial_accuracy_interval(self) -> tuple[float, float]:
        """Wilson's interval of ``adversarial_accuracy``."""
        return wilson_interval(self.adversarial_correct, self.images, confidence=self.confidence)

    @property
    def energy_share_interval(self) -> "NDArray[np.float64]":
        """Interval of each entry of ``energy_share``, shape (F, 2)."""
        return mean_interval(
            self.energy_share,
            self.energy_share_std,
            self.moved,
            confidence=self.confidence,
            bounds=(0.0, 1.0),
        )

    @property
    def low_pass_half(self) -> HalfRadius:
        """Smallest radius below which the perturbation breaks at least half of the ``broken`` images."""
        enough, possible, established = self._half("low_pass")
        if not enough:
            return HalfRadius()
        return HalfRadius(enough[0], (min(enough[0], *possible), next(iter(established), None)))

    @property
    def high_pass_half(self) -> HalfRadius:
        """Largest radius from which on the perturbation breaks at least half of the ``broken`` images."""
        enough, possible, established = self._half("high_pass")
        if not enough:
            return HalfRadius()
        return HalfRadius(enough[-1], (next(reversed(established), None), max(enough[-1], *possible)))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What to know before the numbers are used."""
        if not self.broken:
            message = "the perturbations break no image, so that no part of them breaks half of those: a stronger attack is needed"
            return (Finding(level="warning", code="nothing-broken", message=message),)
        found = []
        for direction in DIRECTIONS:
            if getattr(self, f"{direction}_half").radius is None:
                message = (
                    f"{direction}_half_radius is null: no radius of the sweep breaks half of the {self.broken} images; "
                    "take radii from 0 up to the corner"
                )
                found.append(Finding(level="note", code="no-half-radius", message=message))
        return tuple(found)

    def merge(self, other: "BandReplacement", /) -> "BandReplacement":
        """Answers on both sets.

        Parameters
        ----------
        other : BandReplacement
            Of the images that follow, under the same radii.

        Returns
        -------
        BandReplacement
            Counts are added; at the confidence of ``self``.

        Raises
        ------
        InputMismatch
            If the settings differ.
        """
        check_same_settings(self, other, _SETTINGS)
        changed: dict[str, Any] = {
            name: getattr(self, name) + getattr(other, name) for name in (*_COUNTS, *_BY_RADIUS)
        }
        changed |= {name: join(getattr(self, name), getattr(other, name)) for name in _PER_IMAGE}
        moved, mean, std = Moments(self.moved, self.energy_share, self.energy_share_std).merge(
            Moments(other.moved, other.energy_share, other.energy_share_std)
        )
        return replace(self, moved=moved, energy_share=mean, energy_share_std=std, **changed)

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values, estimates with their intervals.

        Returns
        -------
        dict
            Without the per-image arrays.
        """
        content: dict[str, Any] = {name: self._entries(name) for name in DIRECTIONS}
        for name in DIRECTIONS:
            half = getattr(self, f"{name}_half")
            content |= {f"{name}_half_radius": half.radius, f"{name}_half_radius_interval": half.interval}
        for name in ("clean_accuracy", "adversarial_accuracy"):
            content |= {key: getattr(self, key) for key in (name, f"{name}_interval")}
        bounds = self.energy_share_interval
        content |= {name: getattr(self, name) for name in _SETTINGS}
        content["energy_share"] = self.energy_share
        content["energy_share_interval"] = None if np.isnan(bounds).all() else bounds
        content["energy_share_std"] = self.energy_share_std
        content |= {name: getattr(self, name) for name in (*_COUNTS, "moved", "confidence")}
        content["findings"] = [finding.to_dict() for finding in self.findings]
        result: dict[str, Any] = finite(content)
        return result

    @classmethod
    def from_dict(cls, content: dict[str, Any], /) -> "BandReplacement":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : dict
            JSON values.

        Returns
        -------
        BandReplacement
            Without per-image arrays.
        """
        values: dict[str, Any] = {name: content[name] for name in (*_COUNTS, "moved", "confidence", "clip")}
        height, width = content["image_size"]
        values |= {"image_size": (height, width), "radii": tuple(content["radii"])}
        for direction in DIRECTIONS:
            for name in ("correct", "broken"):
                counts = [entry[name] for entry in content[direction]]
                values[f"{direction}_{name}"] = np.array(counts, np.int64)
        for name in ("energy_share", "energy_share_std"):
            values[name] = np.asarray(content[name], np.float64)
        return cls(**values)

    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What only ``.npz`` files hold: one row an image, one column a radius.

        Returns
        -------
        dict of str to numpy.ndarray
            The per-image arrays without ``image_`` in their names; empty for results read from JSON.
        """
        held = {name.removeprefix("image_"): getattr(self, name) for name in _PER_IMAGE}
        return {name: array for name, array in held.items() if array is not None}

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, per-image arrays included."""
        if not isinstance(other, BandReplacement):
            return NotImplemented
        return all(same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]

    def _entries(self, direction: str) -> list[dict[str, Any]]:
        correct, broken = (getattr(self, f"{direction}_{name}").tolist() for name in ("correct", "broken"))
        entries = []
        for radius, right, wrong in zip(self.radii, correct, broken, strict=True):
            known = self.broken > 0
            entries.append(
                {
                    "radius": radius,
                    "accuracy": right / self.images,
                    "accuracy_interval": wilson_interval(right, self.images, confidence=self.confidence),
                    "broken_share": wrong / self.broken if known else None,
                    "broken_share_interval": self._broken_interval(wrong) if known else None,
                    "correct": right,
                    "broken": wrong,
                }
            )
        return entries

    def _broken_interval(self, broken: int) -> tuple[float, float]:
        return wilson_interval(broken, self.broken, confidence=self.confidence)

    def _half(self, direction: str) -> tuple[list[float], list[float], list[float]]:
        """Radii that break half, that may do so in all such images, and that are known to."""
        if not self.broken:
            return [], [], []
        counts = getattr(self, f"{direction}_broken").tolist()
        bounds = [self._broken_interval(count) for count in counts]
        enough = [r for r, count in zip(self.radii, counts, strict=True) if 2 * count >= self.broken]
        possible = [r for r, (_, high) in zip(self.radii, bounds, strict=True) if high >= 0.5]
        established = [r for r, (low, _) in zip(self.radii, bounds, strict=True) if low >= 0.5]
        return enough, possible, established
