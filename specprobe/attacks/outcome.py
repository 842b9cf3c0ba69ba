"""What attacks have left standing, and how parts of it are put together."""

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from specprobe.analysis.accuracy import Accuracy, accuracy_within
from specprobe.analysis.metrics import metrics
from specprobe.analysis.per_image import join, same
from specprobe.analysis.settings import check_same_settings
from specprobe.attacks.flags import CleanChecks, findings_of, flags_of
from specprobe.attacks.medians import Median, median
from specprobe.attacks.outcome_document import SETTINGS, outcome_document, outcome_fields
from specprobe.attacks.outcome_metrics import outcome_metrics
from specprobe.intervals import CONFIDENCE, wilson_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.analysis.perturbation_result import PerturbationSpectrum
    from specprobe.findings import Finding

__all__ = ["EXAMPLES", "AttackOutcome"]

EXAMPLES = 8
"""Adversarial images that are kept with their clean ones, to be shown."""

_SUMS = (
    "images",
    "attacked",
    "moved",
    "standing",
    "outside",
    "forward_evaluations",
    "gradient_evaluations",
    *CleanChecks._fields,
)
_EXAMPLES = ("example_clean", "example_adversarial", "example_index", "example_classes")
_PER_IMAGE = (
    "image_clean_correct",
    "image_robust",
    "image_perturbation_norm",
    "image_forward_evaluations",
    "image_gradient_evaluations",
    "image_digest",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttackOutcome:
    """Which images an attack could turn, by how little, and at which cost.

    An image has *fallen* where a candidate in ball and box was classified otherwise, in a pass that the attack did not
    make. Robust accuracy is the share of all images that are right and stay right; with ``target`` ``"predicted"``, the
    share whose prediction stands, right or wrong.

    Attributes
    ----------
    attack : str
        Name.
    members : tuple of str
        Attacks that it consists of, in the order in which they were tried on what was left.
    threat_norm : {"linf", "l2", "l1"}
        Of the ball.
    epsilon : float
        Its radius, in pixels of [0, 1].
    band : str or None
        Frequencies that perturbations are confined to.
    steps, queries : int or None
        Iterations; images classified, or frequencies tried, by an attack without gradients. None where it has none.
    step_size : float or None
        None for the attack's own.
    early_stop : bool or None
        Whether images that fell were left at that; None for attacks without this choice.
    frequency : (int, int) or None
        Of a universal perturbation: vertical, horizontal, in cycles per image.
    restarts : int
        Of each member that draws random numbers.
    minimal_norm : bool
        Whether the nearest adversarial image is looked for, inside the ball or not.
    seed : int
        Of all random numbers.
    target : {"true", "predicted"}
        Class that images are to be moved away from.
    classes : int
        Of the model.
    image_shape : (int, int, int)
        C, H, W.
    images, attacked, moved, standing : int
        All; those attacked (the right ones, or all); of them, those whose best candidate is not the clean image, and
        those that no attack has turned.
    member_fallen : tuple of int
        Images that fell to each member.
    forward_evaluations, gradient_evaluations : int
        Images classified, and images classified and differentiated, by the attacks.
    correct : int or None
        Images right without an attack; None without labels, as the histograms.
    class_histogram, prediction_histogram : dict of str to int, or None
        Images by label and by predicted class.
    outside : int
        Standing images that have a candidate of another class outside the ball.
    mean_leakage, max_leakage : float or None
        Share of a perturbation's energy outside the band.
    checked, probabilities, unrepeatable, differentiated, without_gradient : int
        As of :class:`~specprobe.attacks.flags.CleanChecks`.
    model_flags : tuple of (str, str, str or None)
        Code, message and node of what is known of the model.
    perturbation : PerturbationSpectrum or None
        Of all images that the attack moved, whether they fell or not; None where there are none.
    confidence : float
        Of the intervals.
    read_medians : tuple of Median or None
        Of ``median_perturbation_norm`` and ``median_distance``, for results read from JSON.
    image_clean_correct, image_robust : numpy.ndarray of bool, shape (images,), or None
        Per image, in order; None for results read from JSON, as all below. The first is None without labels, too.
    image_perturbation_norm : numpy.ndarray of float64, shape (images,), or None
        Of the best candidate; NaN where none was asked for, infinite where a minimal norm was not found.
    image_forward_evaluations, image_gradient_evaluations : numpy.ndarray of int64, shape (images,), or None
        Of the attacks.
    image_digest : numpy.ndarray of uint8, shape (images, 16), or None
        Which image it was.
    example_clean, example_adversarial : numpy.ndarray of float32, shape (n, C, H, W), or None
        The first few that fell.
    example_index : numpy.ndarray of int64, shape (n,), or None
        Their places.
    example_classes : numpy.ndarray of int64, shape (n, 2), or None
        Class that they were moved away from, and class that they are taken for.
    adversarial : numpy.ndarray of float32, shape (images, C, H, W), or None
        All images, as attacked; the clean one where there was no attack. Only if asked for.
    """

    kind: ClassVar[str] = "attack_outcome"

    attack: str
    members: tuple[str, ...]
    threat_norm: str
    epsilon: float
    band: str | None
    steps: int | None
    queries: int | None
    step_size: float | None
    early_stop: bool | None
    frequency: tuple[int, int] | None
    restarts: int
    minimal_norm: bool
    seed: int
    target: str
    classes: int
    image_shape: tuple[int, int, int]
    images: int
    attacked: int
    moved: int
    standing: int
    member_fallen: tuple[int, ...]
    forward_evaluations: int
    gradient_evaluations: int
    outside: int = 0
    correct: int | None = None
    class_histogram: dict[str, int] | None = None
    prediction_histogram: dict[str, int] | None = None
    mean_leakage: float | None = None
    max_leakage: float | None = None
    checked: int = 0
    probabilities: int = 0
    unrepeatable: int = 0
    differentiated: int = 0
    without_gradient: int = 0
    model_flags: tuple[tuple[str, str, str | None], ...] = ()
    perturbation: "PerturbationSpectrum | None" = None
    confidence: float = CONFIDENCE
    read_medians: tuple[Median | None, Median | None] = (None, None)
    image_clean_correct: "NDArray[np.bool_] | None" = None
    image_robust: "NDArray[np.bool_] | None" = None
    image_perturbation_norm: "NDArray[np.float64] | None" = None
    image_forward_evaluations: "NDArray[np.int64] | None" = None
    image_gradient_evaluations: "NDArray[np.int64] | None" = None
    image_digest: "NDArray[np.uint8] | None" = None
    example_clean: "NDArray[np.float32] | None" = None
    example_adversarial: "NDArray[np.float32] | None" = None
    example_index: "NDArray[np.int64] | None" = None
    example_classes: "NDArray[np.int64] | None" = None
    adversarial: "NDArray[np.float32] | None" = None

    def __post_init__(self) -> None:
        """Refuse counts that no images have: results are read from files, too."""
        fallen = sum(self.member_fallen)
        if not (0 <= self.standing <= self.attacked <= self.images >= 1 and 0 <= self.moved <= self.attacked):
            msg = (
                f"{self.standing} images stand and {self.moved} moved, of {self.attacked} attacked, of {self.images}: "
                "accepted are 0 <= standing, moved <= attacked <= images, images >= 1"
            )
            raise ValueError(msg)
        if len(self.member_fallen) != len(self.members) or fallen != self.attacked - self.standing:
            msg = (
                f"{self.member_fallen} images fell to {self.members}; accepted is one count for each, "
                f"{self.attacked - self.standing} in all"
            )
            raise ValueError(msg)

    @property
    def accuracy(self) -> Accuracy | None:
        """Accuracy without an attack; None without labels."""
        return accuracy_within(self, self.image_clean_correct)

    @property
    def clean_accuracy(self) -> float | None:
        """Share of images that are right without an attack."""
        return None if self.correct is None else self.correct / self.images

    @property
    def clean_accuracy_interval(self) -> tuple[float, float] | None:
        """Wilson's interval of ``clean_accuracy``."""
        return None if self.correct is None else self._interval(self.correct, self.images)

    @property
    def robust_accuracy(self) -> float:
        """Share of all images that stand: an upper bound of what any attack would leave."""
        return self.standing / self.images

    @property
    def robust_accuracy_interval(self) -> tuple[float, float]:
        """Wilson's interval of ``robust_accuracy``."""
        return self._interval(self.standing, self.images)

    @property
    def success_rate(self) -> float | None:
        """Share of the images attacked that fell; None where none was attacked."""
        return (self.attacked - self.standing) / self.attacked if self.attacked else None

    @property
    def success_rate_interval(self) -> tuple[float, float] | None:
        """Wilson's interval of ``success_rate``."""
        return self._interval(self.attacked - self.standing, self.attacked) if self.attacked else None

    @property
    def image_fallen(self) -> "NDArray[np.bool_] | None":
        """Whether each image was attacked and fell, shape (images,)."""
        if self.image_robust is None or self.image_perturbation_norm is None:
            return None
        return ~self.image_robust & ~np.isnan(self.image_perturbation_norm)

    @property
    def median_perturbation_norm(self) -> Median | None:
        """Median norm of the perturbations that images fell to; None where none fell."""
        fallen, norms = self.image_fallen, self.image_perturbation_norm
        if fallen is None or norms is None:
            return self.read_medians[0]
        return median(norms[fallen], confidence=self.confidence)

    @property
    def median_distance(self) -> Median | None:
        """Median distance to the nearest image of another class, over all images attacked, inside the ball or not.

        Infinite for images where none was found; None where the attack does not look for the nearest one.
        """
        norms = self.image_perturbation_norm
        if norms is None or not self.minimal_norm:
            return self.read_medians[1]
        return median(norms[~np.isnan(norms)], confidence=self.confidence)

    @property
    def checks(self) -> CleanChecks:
        """What was odd on clean images."""
        return CleanChecks(*(getattr(self, name) for name in CleanChecks._fields))

    @property
    def flags(self) -> "tuple[Finding, ...]":
        """What speaks against taking the robust accuracy at its word."""
        return flags_of(self)

    @property
    def findings(self) -> "tuple[Finding, ...]":
        """What else a user should know."""
        return findings_of(self)

    def merge(self, other: "AttackOutcome", /) -> "AttackOutcome":
        """Outcome on both sets.

        Parameters
        ----------
        other : AttackOutcome
            Of the images that follow, with the same settings.

        Returns
        -------
        AttackOutcome
            At the confidence of ``self``; without medians where per-image arrays are missing.

        Raises
        ------
        InputMismatch
            If the settings differ.
        """
        check_same_settings(self, other, SETTINGS)
        changed: dict[str, Any] = {name: getattr(self, name) + getattr(other, name) for name in _SUMS}
        changed |= {
            name: join(getattr(self, name), getattr(other, name)) for name in (*_PER_IMAGE, "adversarial")
        }
        for name in _EXAMPLES:
            both = join(getattr(self, name), getattr(other, name))
            changed[name] = None if both is None else both[:EXAMPLES]
        changed["member_fallen"] = tuple(
            mine + its for mine, its in zip(self.member_fallen, other.member_fallen, strict=True)
        )
        mine, its = self.accuracy, other.accuracy
        whole = None if mine is None or its is None else mine.merge(its)
        for name in ("correct", "class_histogram", "prediction_histogram"):
            changed[name] = getattr(whole, name, None)
        if self.perturbation is not None and other.perturbation is not None:
            changed["perturbation"] = self.perturbation.merge(other.perturbation)
        else:
            changed["perturbation"] = self.perturbation or other.perturbation
        changed["mean_leakage"], changed["max_leakage"] = _leakage(self, other)
        return replace(self, **changed, read_medians=(None, None))

    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What ``.npz`` files hold beside the document.

        Returns
        -------
        dict of str to numpy.ndarray
            The per-image arrays without ``image_`` in their names, the examples, ``adversarial`` where it was asked for,
            and the arrays of the perturbation's spectrum after ``perturbation_``.
        """
        held = {name.removeprefix("image_"): getattr(self, name) for name in _PER_IMAGE}
        held |= {name: getattr(self, name) for name in (*_EXAMPLES, "adversarial")}
        if self.perturbation is not None:
            inner = self.perturbation.arrays()
            held |= {f"perturbation_{name}": array for name, array in inner.items()}
        return {name: array for name, array in held.items() if array is not None}

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values, estimates with their intervals.

        Returns
        -------
        dict
            Without the per-image arrays.
        """
        return outcome_document(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any], /) -> "AttackOutcome":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : dict
            JSON values.

        Returns
        -------
        AttackOutcome
            Without per-image arrays.
        """
        return cls(**outcome_fields(content))

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, per-image arrays included."""
        if not isinstance(other, AttackOutcome):
            return NotImplemented
        return all(same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]

    def _interval(self, count: int, total: int) -> tuple[float, float]:
        return wilson_interval(count, total, confidence=self.confidence)


def _leakage(left: AttackOutcome, right: AttackOutcome) -> tuple[float | None, float | None]:
    """Mean and largest share outside the band, of the images moved in both."""
    held = [
        (part.moved, part.mean_leakage, part.max_leakage)
        for part in (left, right)
        if part.mean_leakage is not None and part.max_leakage is not None
    ]
    if not held:
        return None, None
    total = sum(count for count, _, _ in held)
    return sum(count * mean for count, mean, _ in held) / total, max(largest for _, _, largest in held)


metrics.register(AttackOutcome, outcome_metrics)
