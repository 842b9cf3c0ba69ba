"""How images that keep few frequencies are classified: the counts, and what follows from them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from specprobe.analysis.frequency_shortcuts_result import FrequencyDeletion
from specprobe.analysis.per_image import same
from specprobe.findings import Finding
from specprobe.intervals import CONFIDENCE, wilson_interval
from specprobe.results import finite

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["COUNTS", "FrequencyShortcuts"]

COUNTS = ("true_positives", "false_positives")
"""Of images classified as a class: those that are of it, and those that are not."""

_SETTINGS = ("keep", "seed", "images", "model_evaluations", "confidence")
_CONTROLS = ("", "random_", "clean_")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrequencyShortcuts:
    """Frequencies that matter most to each class, and how well the model does when they are all that is left.

    A rate is of the images of a class that are classified as it (true positives), or of all others (false positives).

    Attributes
    ----------
    deletion : FrequencyDeletion
        What the order of the frequencies is from.
    keep : tuple of float
        Shares of the patches that dominant-frequency maps keep, X of them, ascending.
    seed : int
        Of the random patches.
    images : int
        That were filtered and classified.
    model_evaluations : int
        For that; those of the deletion not counted.
    class_positives : numpy.ndarray of int64, shape (L,)
        Images of each class of the deletion, of those filtered.
    true_positives, false_positives : numpy.ndarray of int64, shape (L, X)
        Images classified as the class when its own map is all that is kept of them.
    random_true_positives, random_false_positives : numpy.ndarray of int64, shape (L, X)
        When as many patches drawn at random are kept, the same ones for all classes.
    clean_true_positives, clean_false_positives : numpy.ndarray of int64, shape (L,)
        When all is kept.
    confidence : float
        Of the intervals.
    image_digest : numpy.ndarray of uint8, shape (images, 16), or None
        Which images were filtered; None for results read from JSON.
    """

    kind: ClassVar[str] = "frequency_shortcuts"

    deletion: FrequencyDeletion
    keep: tuple[float, ...]
    seed: int
    images: int
    model_evaluations: int
    class_positives: "NDArray[np.int64]"
    true_positives: "NDArray[np.int64]"
    false_positives: "NDArray[np.int64]"
    random_true_positives: "NDArray[np.int64]"
    random_false_positives: "NDArray[np.int64]"
    clean_true_positives: "NDArray[np.int64]"
    clean_false_positives: "NDArray[np.int64]"
    confidence: float = CONFIDENCE
    image_digest: "NDArray[np.uint8] | None" = None

    def __post_init__(self) -> None:
        """Refuse counts that no images have: results are read from files, too."""
        classes = len(self.deletion.class_labels)
        for prefix in _CONTROLS:
            wanted = (classes,) if prefix == "clean_" else (classes, len(self.keep))
            for name, among in zip(COUNTS, self._of(), strict=True):
                counts = getattr(self, f"{prefix}{name}")
                if counts.shape != wanted:
                    msg = f"{prefix}{name} has shape {counts.shape}; accepted is {wanted}: class, then share kept"
                    raise ValueError(msg)
                if (counts < 0).any() or (counts.reshape(classes, -1) > among[:, None]).any():
                    msg = f"{prefix}{name} is below 0 or above the number of images that it is of"
                    raise ValueError(msg)

    @property
    def class_labels(self) -> "NDArray[np.int64]":
        """Classes, those of the deletion; shape (L,)."""
        return self.deletion.class_labels

    @property
    def kept_patches(self) -> tuple[int, ...]:
        """Patches that are kept, by share."""
        return tuple(self.deletion.dominant_patches(share).shape[1] for share in self.keep)

    @property
    def true_positive_rate(self) -> "NDArray[np.float64]":
        """Share of a class's images that its own map alone has classified as it, shape (L, X); NaN without images."""
        return self._rate("true_positives")

    @property
    def false_positive_rate(self) -> "NDArray[np.float64]":
        """Share of the other images that the class's map alone has classified as it, shape (L, X)."""
        return self._rate("false_positives")

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What to know before the numbers are used."""
        found = list(self.deletion.findings)
        absent = [int(c) for c, n in zip(self.class_labels, self.class_positives, strict=True) if n == 0]
        if absent:
            message = f"no image filtered is of the classes {absent}: their true-positive rates are null"
            found.append(Finding(level="note", code="absent-classes", message=message))
        own = self.deletion.image_digest
        if own is not None and self.image_digest is not None and same(own, self.image_digest):
            message = (
                "the maps were chosen on the images that they are tested on, which flatters them; give the deletion of "
                "other images for rates that are not"
            )
            found.append(Finding(level="note", code="same-images", message=message))
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values, estimates with their intervals.

        Returns
        -------
        dict
            One entry a class under ``per_class``; the deletion as its own document under ``deletion``.
        """
        content: dict[str, Any] = {name: getattr(self, name) for name in _SETTINGS}
        content |= {"kept_patches": self.kept_patches, "patches": self.deletion.patches.count}
        content["per_class"] = [self._class(row) for row in range(len(self.class_labels))]
        content["findings"] = [finding.to_dict() for finding in self.findings]
        made: dict[str, Any] = finite(content)
        return made | {"deletion": self.deletion.to_dict()}

    @classmethod
    def from_dict(cls, content: dict[str, Any], /) -> "FrequencyShortcuts":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : dict
            JSON values.

        Returns
        -------
        FrequencyShortcuts
            Without per-image arrays.
        """
        values: dict[str, Any] = {name: content[name] for name in _SETTINGS}
        values["keep"] = tuple(content["keep"])
        names = ["class_positives", *(f"{prefix}{name}" for prefix in _CONTROLS for name in COUNTS)]
        for name in names:
            values[name] = np.asarray([part[name] for part in content["per_class"]], np.int64)
        return cls(deletion=FrequencyDeletion.from_dict(content["deletion"]), **values)

    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What ``.npz`` files hold beside the document.

        Returns
        -------
        dict of str to numpy.ndarray
            ``dominant_map`` (L, X, H, W), centred; ``digest`` of the images filtered; those of the deletion after
            ``deletion_``.
        """
        maps = np.stack([self.deletion.dominant_maps(share) for share in self.keep], axis=1)
        held: dict[str, NDArray[Any]] = {"dominant_map": maps}
        if self.image_digest is not None:
            held["digest"] = self.image_digest
        return held | {f"deletion_{name}": array for name, array in self.deletion.arrays().items()}

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, per-image arrays included."""
        if not isinstance(other, FrequencyShortcuts):
            return NotImplemented
        return (
            self.deletion == other.deletion
            and self.to_dict() == other.to_dict()
            and same(self.image_digest, other.image_digest)
        )

    __hash__ = None  # type: ignore[assignment]

    def _of(self) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
        """How many images true and false positives are of."""
        return self.class_positives, self.images - self.class_positives

    def _rate(self, name: str) -> "NDArray[np.float64]":
        among = self._of()[COUNTS.index(name)][:, None]
        with np.errstate(invalid="ignore"):
            rate: NDArray[np.float64] = getattr(self, name) / np.where(among > 0, among, np.nan)
        return rate

    def _class(self, row: int) -> dict[str, Any]:
        correlation, bounds = self.deletion.rank_correlation, self.deletion.rank_correlation_interval
        content: dict[str, Any] = {
            "label": int(self.class_labels[row]),
            "class_positives": int(self.class_positives[row]),
            "rank_correlation": None if correlation is None else correlation[row],
            "rank_correlation_interval": None
            if bounds is None or np.isnan(bounds[row]).any()
            else bounds[row],
        }
        for prefix in _CONTROLS:
            for name, rate, among in zip(COUNTS, ("true", "false"), self._of(), strict=True):
                counts = np.asarray(getattr(self, f"{prefix}{name}")[row])
                n = int(among[row])
                rates = counts / n if n else np.full(counts.shape, np.nan)
                intervals = [
                    list(wilson_interval(int(c), n, confidence=self.confidence)) if n else None
                    for c in counts.ravel()
                ]
                content[f"{prefix}{name}"] = counts
                content[f"{prefix}{rate}_positive_rate"] = rates
                content[f"{prefix}{rate}_positive_rate_interval"] = intervals if counts.ndim else intervals[0]
        return content
