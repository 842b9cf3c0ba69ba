"""How the masks of two models differ."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from specprobe.analysis.mask_energy import radial_centres
from specprobe.analysis.mask_reading_bias import NUMBERS
from specprobe.analysis.per_image import same
from specprobe.bootstrap import RESAMPLES
from specprobe.findings import Finding
from specprobe.intervals import CONFIDENCE, wilson_interval
from specprobe.results import finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["COUNTS", "PROFILES", "MaskDifference"]

PROFILES = ("radial", "angular")
"""What energies are divided by."""

COUNTS = ("more", "less")
"""Pairs of masks by which of them has more energy in a band."""

_SETTINGS = ("of", "image_shape", "masks", "seed", "resamples", "confidence")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskDifference:
    """Energies of the masks of one model, less those of another.

    Attributes
    ----------
    of : {"mask", "images", "folds"}
        One mask each; a mask each for every image, paired; or masks learned on parts of the images, paired by part.
    image_shape : (int, int, int)
        C, H, W.
    masks : int
        Pairs of masks.
    radial_difference, angular_difference : numpy.ndarray of float64, shape (B,)
        Energy of the first model's mask less that of the second's, by band of :mod:`specprobe.analysis.mask_energy`;
        means over the pairs. NaN where a band holds no frequency.
    numbers : numpy.ndarray of float64, shape (8, 2)
        Of the first and of the second, means over the pairs, as of
        :func:`~specprobe.analysis.mask_reading_bias.mask_numbers`; NaN where they are not known.
    number_difference : numpy.ndarray of float64, shape (8,)
        First less second, over the pairs in which both are known.
    radial_difference_std, angular_difference_std, number_difference_std : numpy.ndarray of float64, or None
        Spread over the pairs (ddof 0); None for one pair of masks.
    radial_difference_interval, angular_difference_interval, number_difference_interval : numpy.ndarray, or None
        Where the mean over all such images lies, shape (…, 2): bootstrap over images, bias-corrected and accelerated. None
        for one pair, and for folds: masks of parts are not draws of the mask of the whole.
    radial_more, angular_more : numpy.ndarray of int64, shape (B,), or None
        Pairs in which the first mask has more energy; None for one pair.
    radial_less, angular_less : numpy.ndarray of int64, shape (B,), or None
        Pairs in which the second has. In the others both have the same: sparse masks are often both 0.
    unconverged : int
        Masks, of both models, that had not settled.
    seed, resamples : int
        Of the bootstrap.
    confidence : float
        Of the intervals.
    difference_map : numpy.ndarray of float64, shape (C or 1, H, W), or None
        First mask less second, mean over the pairs; centred. None for results read from JSON.
    """

    kind: ClassVar[str] = "mask_difference"

    of: str
    image_shape: tuple[int, int, int]
    masks: int
    radial_difference: "NDArray[np.float64]"
    angular_difference: "NDArray[np.float64]"
    numbers: "NDArray[np.float64]"
    number_difference: "NDArray[np.float64]"
    radial_difference_std: "NDArray[np.float64] | None" = None
    angular_difference_std: "NDArray[np.float64] | None" = None
    number_difference_std: "NDArray[np.float64] | None" = None
    radial_difference_interval: "NDArray[np.float64] | None" = None
    angular_difference_interval: "NDArray[np.float64] | None" = None
    number_difference_interval: "NDArray[np.float64] | None" = None
    radial_more: "NDArray[np.int64] | None" = None
    angular_more: "NDArray[np.int64] | None" = None
    radial_less: "NDArray[np.int64] | None" = None
    angular_less: "NDArray[np.int64] | None" = None
    unconverged: int = 0
    seed: int = 0
    resamples: int = RESAMPLES
    confidence: float = CONFIDENCE
    difference_map: "NDArray[np.float64] | None" = None

    def __post_init__(self) -> None:
        """Refuse what no masks have: results are read from files, too."""
        if self.of not in {"mask", "images", "folds"} or self.masks < 1:
            msg = f"a difference of {self.masks} pairs of {self.of!r}; accepted are 'mask', 'images' and 'folds', pairs from 1"
            raise ValueError(msg)
        if self.numbers.shape != (len(NUMBERS), 2) or self.number_difference.shape != (len(NUMBERS),):
            msg = f"numbers have shape {self.numbers.shape}; accepted is ({len(NUMBERS)}, 2): {', '.join(NUMBERS)}"
            raise ValueError(msg)
        for name in PROFILES:
            more, less = (getattr(self, f"{name}_{which}") for which in COUNTS)
            if more is not None and not (np.minimum(more, less) >= 0).all():
                msg = f"{name}_more or {name}_less is below 0; accepted are counts"
                raise ValueError(msg)
            if more is not None and (more + less > self.masks).any():
                msg = f"{name}_more and {name}_less are of more than {self.masks} pairs of masks"
                raise ValueError(msg)

    @property
    def radial_more_share(self) -> "NDArray[np.float64] | None":
        """Share of the pairs in which the first mask has more energy, by radial band."""
        return self._share("radial", "more")

    @property
    def radial_more_share_interval(self) -> "NDArray[np.float64] | None":
        """Wilson's interval of ``radial_more_share``, shape (B, 2); None for folds, which are no sample."""
        return self._share_interval("radial", "more")

    @property
    def angular_more_share(self) -> "NDArray[np.float64] | None":
        """Share of the pairs in which the first mask has more energy, by wedge."""
        return self._share("angular", "more")

    @property
    def angular_more_share_interval(self) -> "NDArray[np.float64] | None":
        """Wilson's interval of ``angular_more_share``, shape (B, 2); None for folds, which are no sample."""
        return self._share_interval("angular", "more")

    @property
    def radial_less_share(self) -> "NDArray[np.float64] | None":
        """Share of the pairs in which the second mask has more energy, by radial band."""
        return self._share("radial", "less")

    @property
    def radial_less_share_interval(self) -> "NDArray[np.float64] | None":
        """Wilson's interval of ``radial_less_share``, shape (B, 2); None for folds, which are no sample."""
        return self._share_interval("radial", "less")

    @property
    def angular_less_share(self) -> "NDArray[np.float64] | None":
        """Share of the pairs in which the second mask has more energy, by wedge."""
        return self._share("angular", "less")

    @property
    def angular_less_share_interval(self) -> "NDArray[np.float64] | None":
        """Wilson's interval of ``angular_less_share``, shape (B, 2); None for folds, which are no sample."""
        return self._share_interval("angular", "less")

    @property
    def radial_centres(self) -> "NDArray[np.float64]":
        """Middle of the radial bands, in cycles per shorter side."""
        height, width = self.image_shape[1:]
        return radial_centres((height, width), bands=len(self.radial_difference))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What to know before the numbers are used."""
        found = []
        if self.of == "mask":
            message = "one mask a model has no spread, so the differences have no intervals; masks of images (--per-image) have"
            found.append(Finding(level="note", code="one-mask", message=message))
        if self.unconverged:
            message = (
                f"{self.unconverged} of {2 * self.masks} masks have not settled; allow more with --max-epochs"
            )
            found.append(Finding(level="warning", code="not-converged", message=message))
        if self.of == "images" and self.masks < 30:
            message = (
                f"{self.masks} images are few: intervals of the bootstrap are too narrow below about thirty"
            )
            found.append(Finding(level="warning", code="few-images", message=message))
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values, estimates with their intervals.

        Returns
        -------
        dict
            Without the map. Each of the numbers is a list of first and second.
        """
        content: dict[str, Any] = {name: getattr(self, name) for name in _SETTINGS}
        content |= {"unconverged": self.unconverged, "radial_centres": self.radial_centres}
        for profile in PROFILES:
            for ending in ("", "_interval", "_std"):
                content[f"{profile}_difference{ending}"] = getattr(self, f"{profile}_difference{ending}")
            for which in COUNTS:
                for ending in ("", "_share", "_share_interval"):
                    content[f"{profile}_{which}{ending}"] = getattr(self, f"{profile}_{which}{ending}")
        for place, name in enumerate(NUMBERS):
            content[name] = self.numbers[place]
            for ending in ("", "_interval", "_std"):
                values = getattr(self, f"number_difference{ending}")
                content[f"{name}_difference{ending}"] = None if values is None else values[place]
        content["findings"] = [finding.to_dict() for finding in self.findings]
        made: dict[str, Any] = finite(content)
        return made

    @classmethod
    def from_dict(cls, content: dict[str, Any], /) -> "MaskDifference":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : dict
            JSON values.

        Returns
        -------
        MaskDifference
            Without the map.
        """
        values: dict[str, Any] = {name: content[name] for name in (*_SETTINGS, "unconverged")}
        values["image_shape"] = tuple(content["image_shape"])
        for profile in PROFILES:
            for ending in ("", "_interval", "_std"):
                name = f"{profile}_difference{ending}"
                values[name] = _array(content[name])
            for name in (f"{profile}_{which}" for which in COUNTS):
                values[name] = None if content[name] is None else np.asarray(content[name], np.int64)
        values["numbers"] = _array([content[name] for name in NUMBERS])
        for ending in ("", "_interval", "_std"):
            parts = [content[f"{name}_difference{ending}"] for name in NUMBERS]
            absent = (
                ending and content["of"] != "images" and (ending == "_interval" or content["of"] == "mask")
            )
            if ending == "_interval":
                parts = [[None, None] if part is None else part for part in parts]
            values[f"number_difference{ending}"] = None if absent else _array(parts)
        return cls(**values)

    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What ``.npz`` files hold beside the document.

        Returns
        -------
        dict of str to numpy.ndarray
            ``difference_map``; empty for results read from JSON.
        """
        return {} if self.difference_map is None else {"difference_map": self.difference_map}

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, the map included."""
        if not isinstance(other, MaskDifference):
            return NotImplemented
        return all(same(getattr(self, field.name), getattr(other, field.name)) for field in fields(self))

    __hash__ = None  # type: ignore[assignment]

    def _share(self, profile: str, which: str) -> "NDArray[np.float64] | None":
        counts = getattr(self, f"{profile}_{which}")
        if counts is None:
            return None
        known = ~np.isnan(getattr(self, f"{profile}_difference"))
        return np.where(known, counts / self.masks, np.nan)

    def _share_interval(self, profile: str, which: str) -> "NDArray[np.float64] | None":
        counts, share = getattr(self, f"{profile}_{which}"), self._share(profile, which)
        if counts is None or share is None or self.of != "images":
            return None
        bounds = [wilson_interval(int(n), self.masks, confidence=self.confidence) for n in counts]
        return np.where(np.isnan(share)[:, None], np.nan, np.array(bounds))


def _array(values: Any) -> "NDArray[np.float64] | None":
    return None if values is None else np.asarray(values, np.float64)
