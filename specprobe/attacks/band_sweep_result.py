"""How well a classifier stands against attacks that are confined to one band of frequencies after the other."""

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from specprobe.analysis.per_image import join, same
from specprobe.analysis.settings import check_same_settings
from specprobe.attacks.subspaces import LEAKAGE
from specprobe.findings import Finding
from specprobe.intervals import CONFIDENCE, wilson_interval
from specprobe.results import finite
from specprobe.spectral.grid import radius

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.spectral.arguments import Shape

__all__ = ["AdversarialBandSweep", "coefficients"]

_SETTINGS = (
    "bands",
    "image_shape",
    "attack",
    "threat_norm",
    "epsilon",
    "steps",
    "restarts",
    "seed",
    "target",
)
_COUNTS = ("images", "attacked", "unconfined_standing")
_PER_IMAGE = ("image_attacked", "image_standing", "image_unconfined_standing", "image_digest")


def coefficients(shape: "Shape", bands: tuple[tuple[float, float], ...], /) -> "NDArray[np.int64]":
    """How many cells of the spectrum each band holds.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    bands : tuple of (float, float)
        ``low <= rho < high``.

    Returns
    -------
    numpy.ndarray of int64, shape (B,)
        Times the channels, this is the number of directions in which a perturbation of the band may go.
    """
    rho = radius(shape)
    return np.array([int(np.sum((rho >= low) & (rho < high))) for low, high in bands], np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdversarialBandSweep:
    """What stands against attacks in one band each, of one norm and budget.

    A band with more coefficients gives an attack more directions, and every one that contains another is at least as
    dangerous: compare bands of equal ``coefficients``, or read what a band does with their number beside it.

    Attributes
    ----------
    bands : tuple of (float, float)
        ``low <= rho < high``, in cycles per shorter side.
    image_shape : (int, int, int)
        C, H, W.
    attack : str
        Name.
    threat_norm : {"linf", "l2", "l1"}
        Of the ball, the same for all bands.
    epsilon : float
        Its radius, in pixels of [0, 1].
    steps, restarts, seed : int or None
        Of the attack.
    target : {"true", "predicted"}
        Class that images are to be moved away from.
    images, attacked : int
        All; those attacked: the right ones, or all.
    standing : numpy.ndarray of int64, shape (B,)
        By band: images that the attack could not turn.
    unconfined_standing : int
        The same of the attack without a band.
    moved : numpy.ndarray of int64, shape (B,)
        By band: images whose best candidate is not the clean image.
    mean_leakage, max_leakage : numpy.ndarray of float64, shape (B,)
        By band: share of a perturbation's energy outside it; mean and largest over the moved images.
    confidence : float
        Of the intervals.
    image_attacked : numpy.ndarray of bool, shape (images,), or None
        Per image, in order; None for results read from JSON, as all below.
    image_standing : numpy.ndarray of bool, shape (images, B), or None
        By band.
    image_unconfined_standing : numpy.ndarray of bool, shape (images,), or None
        Without a band.
    image_digest : numpy.ndarray of uint8, shape (images, 16), or None
        Which image it was.
    """

    kind: ClassVar[str] = "adversarial_band_sweep"

    bands: tuple[tuple[float, float], ...]
    image_shape: tuple[int, int, int]
    attack: str
    threat_norm: str
    epsilon: float
    steps: int | None
    restarts: int
    seed: int
    target: str
    images: int
    attacked: int
    standing: "NDArray[np.int64]"
    unconfined_standing: int
    moved: "NDArray[np.int64]"
    mean_leakage: "NDArray[np.float64]"
    max_leakage: "NDArray[np.float64]"
    confidence: float = CONFIDENCE
    image_attacked: "NDArray[np.bool_] | None" = None
    image_standing: "NDArray[np.bool_] | None" = None
    image_unconfined_standing: "NDArray[np.bool_] | None" = None
    image_digest: "NDArray[np.uint8] | None" = None

    def __post_init__(self) -> None:
        """Refuse counts that no images have: results are read from files, too."""
        counts = [self.unconfined_standing, *self.standing, *self.moved]
        if self.images < 1 or not all(0 <= count <= self.attacked <= self.images for count in counts):
            msg = f"counts of {self.attacked} of {self.images} images: accepted are 0 <= count <= attacked <= images, images >= 1"
            raise ValueError(msg)
        lengths = {len(array) for array in (self.standing, self.moved, self.mean_leakage, self.max_leakage)}
        if lengths != {len(self.bands)}:
            msg = f"{sorted(lengths)} values a field; accepted is one for each of {len(self.bands)} bands"
            raise ValueError(msg)

    @property
    def coefficients(self) -> "NDArray[np.int64]":
        """Cells of the spectrum in each band, shape (B,)."""
        return coefficients(self.image_shape[1:], self.bands)

    @property
    def clean_accuracy(self) -> float | None:
        """Share of images that are right without an attack; None where predictions were attacked, right or wrong."""
        return self.attacked / self.images if self.target == "true" else None

    @property
    def clean_accuracy_interval(self) -> tuple[float, float] | None:
        """Wilson's interval of ``clean_accuracy``."""
        return self._interval(self.attacked) if self.target == "true" else None

    @property
    def robust_accuracy(self) -> "NDArray[np.float64]":
        """By band, share of all images that stand, shape (B,)."""
        return np.asarray(self.standing / self.images, np.float64)

    @property
    def robust_accuracy_interval(self) -> "NDArray[np.float64]":
        """Wilson's intervals of ``robust_accuracy``, shape (B, 2)."""
        return np.array([self._interval(int(count)) for count in self.standing]).reshape(-1, 2)

    @property
    def unconfined_robust_accuracy(self) -> float:
        """Share of all images that stand against the attack without a band."""
        return self.unconfined_standing / self.images

    @property
    def unconfined_robust_accuracy_interval(self) -> tuple[float, float]:
        """Wilson's interval of ``unconfined_robust_accuracy``."""
        return self._interval(self.unconfined_standing)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What to know before the numbers are used."""
        found = []
        sizes = self.coefficients
        if len(sizes) > 1 and sizes.max() > 1.5 * sizes.min():
            message = (
                f"the bands have from {sizes.min()} to {sizes.max()} coefficients: an attack has more directions in the "
                "larger ones, whatever the classifier looks at"
            )
            found.append(Finding(level="note", code="unequal-bands", message=message))
        leaking = self.mean_leakage > LEAKAGE  # NaN where nothing moved
        if leaking.any():
            message = (
                f"up to {np.nanmax(self.mean_leakage):.1%} of the energy lies outside the band on average: the box of "
                f"pixels or the norm's ball spreads it in {int(leaking.sum())} of {len(sizes)} bands"
            )
            found.append(Finding(level="warning", code="leakage", message=message))
        return tuple(found)

    def merge(self, other: "AdversarialBandSweep", /) -> "AdversarialBandSweep":
        """Sweep on both sets.

        Parameters
        ----------
        other : AdversarialBandSweep
            Of the images that follow, with the same settings.

        Returns
        -------
        AdversarialBandSweep
            Counts are added; at the confidence of ``self``.

        Raises
        ------
        InputMismatch
            If the settings differ.
        """
        check_same_settings(self, other, _SETTINGS)
        changed: dict[str, Any] = {
            name: getattr(self, name) + getattr(other, name) for name in (*_COUNTS, "standing", "moved")
        }
        changed |= {name: join(getattr(self, name), getattr(other, name)) for name in _PER_IMAGE}
        sums = [np.where(part.moved > 0, part.moved * part.mean_leakage, 0) for part in (self, other)]
        total = np.where(changed["moved"] > 0, changed["moved"], np.nan)
        changed["mean_leakage"] = (sums[0] + sums[1]) / total
        changed["max_leakage"] = np.fmax(self.max_leakage, other.max_leakage)
        return replace(self, **changed)

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values, estimates with their intervals.

        Returns
        -------
        dict
            Without the per-image arrays.
        """
        entries = [
            {
                "low": low,
                "high": high,
                "coefficients": size,
                "robust_accuracy": count / self.images,
                "robust_accuracy_interval": self._interval(count),
                "standing": count,
                "moved": moved,
                "mean_leakage": mean,
                "max_leakage": largest,
            }
            for (low, high), size, count, moved, mean, largest in zip(
                self.bands,
                *(
                    getattr(self, name).tolist()
                    for name in ("coefficients", "standing", "moved", "mean_leakage", "max_leakage")
                ),
                strict=True,
            )
        ]
        content: dict[str, Any] = {"bands": entries}
        for name in ("clean_accuracy", "unconfined_robust_accuracy"):
            content |= {key: getattr(self, key) for key in (name, f"{name}_interval")}
        content |= {name: getattr(self, name) for name in (*_SETTINGS[1:], *_COUNTS, "confidence")}
        content["findings"] = [finding.to_dict() for finding in self.findings]
        result: dict[str, Any] = finite(content)
        return result

    @classmethod
    def from_dict(cls, content: dict[str, Any], /) -> "AdversarialBandSweep":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : dict
            JSON values.

        Returns
        -------
        AdversarialBandSweep
            Without per-image arrays.
        """
        values: dict[str, Any] = {name: content[name] for name in (*_SETTINGS[1:], *_COUNTS, "confidence")}
        channels, height, width = content["image_shape"]
        entries = content["bands"]
        values |= {
            "image_shape": (channels, height, width),
            "bands": tuple((float(entry["low"]), _end(entry["high"])) for entry in entries),
        }
        for name, kind in (
            ("standing", np.int64),
            ("moved", np.int64),
            ("mean_leakage", np.float64),
            ("max_leakage", np.float64),
        ):
            values[name] = np.array([entry[name] for entry in entries], kind)
        return cls(**values)

    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What only ``.npz`` files hold: one row an image, one column a band.

        Returns
        -------
        dict of str to numpy.ndarray
            The per-image arrays without ``image_`` in their names; empty for results read from JSON.
        """
        held = {name.removeprefix("image_"): getattr(self, name) for name in _PER_IMAGE}
        return {name: array for name, array in held.items() if array is not None}

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, per-image arrays included."""
        if not isinstance(other, AdversarialBandSweep):
            return NotImplemented
        return all(same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]

    def _interval(self, count: int) -> tuple[float, float]:
        return wilson_interval(count, self.images, confidence=self.confidence)


def _end(high: float | None) -> float:
    """An infinite end is null in JSON."""
    return float("inf") if high is None else float(high)
