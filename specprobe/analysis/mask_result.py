"""A learned Fourier mask, and what a model says under it."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from specprobe.analysis.accuracy import Accuracy, accuracy_within, chance_findings
from specprobe.analysis.mask_document import mask_document, mask_fields
from specprobe.analysis.per_image import same
from specprobe.findings import Finding
from specprobe.intervals import CONFIDENCE, mean_interval, wilson_interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FourierMask"]

_ARRAYS = (
    "mask",
    "example_image",
    "image_class",
    "image_correct",
    "image_masked_correct",
    "image_complement_correct",
    "image_agrees",
    "image_complement_agrees",
    "image_density",
    "image_converged",
    "image_gradients",
    "image_digest",
)
_COUNTS = (
    *("agreeing", "complement_agreeing", "correct", "masked_correct", "complement_correct"),
    *("held_out", "held_out_agreeing"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FourierMask:
    """Frequencies that are enough for a model, on all images or on each.

    A mask M multiplies the Fourier transform of an image: 1 keeps a frequency, 0 takes it out. Its complement keeps
    what the mask does not touch: the frequencies with M = 0, whole.

    Attributes
    ----------
    preset : {"default", "karantzas"}
        How it was learned.
    per_image, per_channel : bool
        Whether each image, and each channel, has a mask of its own.
    target : {"true", "predicted"}
        Class that the loss is of: the label, or the model's own answer.
    seed : int
        Of the images held out, and of the order of the others.
    images : int
        How many.
    image_shape : (int, int, int)
        C, H, W.
    sparsity_weight : float
        λ.
    agreement_goal : float
        Share of the right images that were to stay right.
    max_epochs, epochs : int
        Allowed and done; steps, with a mask an image: the most that an image took.
    images_per_step : int
        1 with a mask an image.
    converged : bool
        Whether the mask keeps enough and the stop rule ended learning, or, in our preset, the density changed by at most
        1 % in the last epoch; with a mask an image, whether the stop rule ended all of them.
    agreeing, complement_agreeing : int
        Images whose prediction under the mask, or its complement, is the one without.
    held_out, held_out_agreeing : int
        Images that no gradient was taken on, and those of them whose prediction is the one without a mask.
    correct, masked_correct, complement_correct : int or None
        Images classified as labelled: as they are, under the mask, under its complement; None without labels.
    class_histogram, prediction_histogram : dict of str to int, or None
        Images by label and by class predicted without a mask; None without labels.
    density : float
        ``‖M‖₁ / (H · W)``, mean over channels, and over images.
    radial_energy, angular_energy : numpy.ndarray of float64, shape (64,)
        Of :mod:`specprobe.analysis.mask_energy`; with a mask an image, mean over the masks.
    density_std : float or None
        Over the masks of images, as are the next; None for one mask.
    radial_energy_std, angular_energy_std : numpy.ndarray of float64, shape (64,), or None
        Likewise.
    gradient_evaluations, forward_evaluations : int
        Images classified and differentiated; images classified alone.
    history : tuple of tuple
        An epoch: density; agreement of all images, and of those held out; right images over those right without a mask;
        λ. Empty with a mask an image.
    confidence : float
        Of the intervals.
    mask : numpy.ndarray of float32, or None
        Within [0, 1], shape (H, W), with (C, …) in front where per channel, and (N, …) in front of that where per
        image. Centred: frequency (f_y, f_x) at ``[f_y + H // 2, f_x + W // 2]``; equal at k and −k to the bit. None
        for results read from JSON, as all below.
    example_image : numpy.ndarray of float32, shape (C, H, W), or None
        The first image.
    image_class : numpy.ndarray of int64, shape (images,), or None
        Class that the loss is of.
    image_correct, image_masked_correct, image_complement_correct : numpy.ndarray of bool, shape (images,), or None
        Per image, in order; None without labels.
    image_agrees, image_complement_agrees : numpy.ndarray of bool, shape (images,), or None
        Whether the prediction is the one without a mask.
    image_density : numpy.ndarray of float64, shape (images,), or None
        Of masks of images.
    image_converged : numpy.ndarray of bool, shape (images,), or None
        Likewise: whether the stop rule ended it.
    image_gradients : numpy.ndarray of int64, shape (images,), or None
        Likewise: how many it took.
    image_digest : numpy.ndarray of uint8, shape (images, 16), or None
        Which image it was.
    """

    kind: ClassVar[str] = "fourier_mask"

    preset: str
    per_image: bool
    per_channel: bool
    target: str
    seed: int
    images: int
    image_shape: tuple[int, int, int]
    sparsity_weight: float
    agreement_goal: float
    max_epochs: int
    epochs: int
    images_per_step: int
    converged: bool
    agreeing: int
    complement_agreeing: int
    held_out: int
    held_out_agreeing: int
    correct: int | None
    masked_correct: int | None
    complement_correct: int | None
    class_histogram: dict[str, int] | None
    prediction_histogram: dict[str, int] | None
    density: float
    radial_energy: "NDArray[np.float64]"
    angular_energy: "NDArray[np.float64]"
    density_std: float | None
    radial_energy_std: "NDArray[np.float64] | None"
    angular_energy_std: "NDArray[np.float64] | None"
    gradient_evaluations: int
    forward_evaluations: int
    history: tuple[tuple[float | None, ...], ...]
    confidence: float = CONFIDENCE
    mask: "NDArray[np.float32] | None" = None
    example_image: "NDArray[np.float32] | None" = None
    image_class: "NDArray[np.int64] | None" = None
    image_correct: "NDArray[np.bool_] | None" = None
    image_masked_correct: "NDArray[np.bool_] | None" = None
    image_complement_correct: "NDArray[np.bool_] | None" = None
    image_agrees: "NDArray[np.bool_] | None" = None
    image_complement_agrees: "NDArray[np.bool_] | None" = None
    image_density: "NDArray[np.float64] | None" = None
    image_converged: "NDArray[np.bool_] | None" = None
    image_gradients: "NDArray[np.int64] | None" = None
    image_digest: "NDArray[np.uint8] | None" = None

    def __post_init__(self) -> None:
        """Refuse counts that no images have: results are read from files, too."""
        counts = [getattr(self, name) for name in _COUNTS]
        if self.images < 1 or not all(count is None or 0 <= count <= self.images for count in counts):
            msg = f"counts {counts} of {self.images} images: accepted are 0 <= count <= images, images >= 1"
            raise ValueError(msg)
        others = self.agreeing - self.held_out_agreeing
        if self.held_out_agreeing > self.held_out or not 0 <= others <= self.images - self.held_out:
            msg = (
                f"{self.held_out_agreeing} of {self.held_out} held-out images agree, and {others} of "
                f"{self.images - self.held_out} others; accepted are as many at most"
            )
            raise ValueError(msg)

    @property
    def clean(self) -> Accuracy | None:
        """Accuracy on the images as they are; None without labels."""
        return accuracy_within(self, self.image_correct)

    @property
    def accuracy(self) -> float | None:
        """Share of images classified as labelled, without a mask; None without labels."""
        return self._share(self.correct)

    @property
    def accuracy_interval(self) -> tuple[float, float] | None:
        """Wilson's interval of ``accuracy``."""
        return self._interval(self.correct)

    @property
    def masked_accuracy(self) -> float | None:
        """Share of images classified as labelled under the mask; None without labels."""
        return self._share(self.masked_correct)

    @property
    def masked_accuracy_interval(self) -> tuple[float, float] | None:
        """Wilson's interval of ``masked_accuracy``."""
        return self._interval(self.masked_correct)

    @property
    def complement_accuracy(self) -> float | None:
        """Share of images classified as labelled under the complement; None without labels."""
        return self._share(self.complement_correct)

    @property
    def complement_accuracy_interval(self) -> tuple[float, float] | None:
        """Wilson's interval of ``complement_accuracy``."""
        return self._interval(self.complement_correct)

    @property
    def agreement(self) -> float:
        """Share of images whose prediction under the mask is the one without."""
        return self.agreeing / self.images

    @property
    def agreement_interval(self) -> tuple[float, float]:
        """Wilson's interval of ``agreement``."""
        return wilson_interval(self.agreeing, self.images, confidence=self.confidence)

    @property
    def complement_agreement(self) -> float:
        """Share of images whose prediction under the complement is the one without."""
        return self.complement_agreeing / self.images

    @property
    def complement_agreement_interval(self) -> tuple[float, float]:
        """Wilson's interval of ``complement_agreement``."""
        return wilson_interval(self.complement_agreeing, self.images, confidence=self.confidence)

    @property
    def held_out_agreement(self) -> float | None:
        """Agreement on the images held out; None where there are none."""
        return self.held_out_agreeing / self.held_out if self.held_out else None

    @property
    def held_out_agreement_interval(self) -> tuple[float, float] | None:
        """Wilson's interval of ``held_out_agreement``."""
        if not self.held_out:
            return None
        return wilson_interval(self.held_out_agreeing, self.held_out, confidence=self.confidence)

    @property
    def kept(self) -> float | None:
        """Right images under the mask over right images without, by the class of the loss.

        What ``agreement_goal`` is of: the ratio of accuracies, or, of predicted classes, the agreement; None where no
        image is right.
        """
        if self.target == "predicted":
            return self.agreement
        return (
            self.masked_correct / self.correct if self.correct and self.masked_correct is not None else None
        )

    @property
    def density_interval(self) -> "NDArray[np.float64] | None":
        """Normal interval of the mean density of masks of images; None for one mask."""
        if self.density_std is None:
            return None
        level = self.confidence
        return mean_interval(self.density, self.density_std, self.images, confidence=level, bounds=(0, 1))

    @property
    def radial_energy_interval(self) -> "NDArray[np.float64] | None":
        """Normal intervals of mean energies, shape (64, 2); None for one mask."""
        return self._mean_interval(self.radial_energy, self.radial_energy_std)

    @property
    def angular_energy_interval(self) -> "NDArray[np.float64] | None":
        """Normal intervals of mean energies, shape (64, 2); None for one mask."""
        return self._mean_interval(self.angular_energy, self.angular_energy_std)

    @property
    def history_density(self) -> tuple[float, ...]:
        """Density after each epoch."""
        return tuple(float(entry[0] or 0) for entry in self.history)

    @property
    def history_agreement(self) -> tuple[float, ...]:
        """Agreement after each epoch."""
        return tuple(float(entry[1] or 0) for entry in self.history)

    @property
    def masks(self) -> "NDArray[np.float32] | None":
        """Masks with all axes, shape (images or 1, C or 1, H, W); None for results read from JSON."""
        if self.mask is None:
            return None
        channels = self.image_shape[0] if self.per_channel else 1
        return self.mask.reshape(-1, channels, *self.image_shape[1:])

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What to know before the numbers are used."""
        found: list[Finding] = []
        if self.clean is None:
            message = "the images have no labels, so there is agreement but no accuracy; give them with --labels FILE"
            found.append(Finding(level="warning", code="no-labels", message=message))
        else:
            found += chance_findings(self.clean)
        kept = self.kept
        if kept is not None and kept < self.agreement_goal and not self.per_image:
            message = (
                f"the mask keeps {kept:.3f} of what is right without it, not {self.agreement_goal:g}: no epoch's mask "
                "kept enough, and this is the last one; take a smaller --sparsity-weight"
            )
            found.append(Finding(level="warning", code="mask-keeps-too-little", message=message))
        elif not self.converged:
            message = (
                f"{self._unsettled()} after {self.epochs} {'steps' if self.per_image else 'epochs'}; "
                "allow more with --max-epochs"
            )
            found.append(Finding(level="warning", code="not-converged", message=message))
        if self._falls_on_held_out():
            message = (
                f"of the {self.held_out} images held out, {self.held_out_agreement:.3f} keep their prediction, fewer "
                "than of those that the mask was learned on: it fits these; learn it on more images"
            )
            found.append(Finding(level="warning", code="mask-overfits", message=message))
        if self.density == 0:
            message = "the mask is 0 everywhere: the model gives its answers to black images, too"
            found.append(Finding(level="note", code="empty-mask", message=message))
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values, estimates with their intervals.

        Returns
        -------
        dict
            Without the mask and the per-image arrays.
        """
        return mask_document(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any], /) -> "FourierMask":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : dict
            JSON values.

        Returns
        -------
        FourierMask
            Without the mask and the per-image arrays.
        """
        return cls(**mask_fields(content))

    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What only ``.npz`` files hold.

        Returns
        -------
        dict of str to numpy.ndarray
            ``mask``, ``example_image``, and the per-image arrays without ``image_`` in their names; empty for results
            read from JSON.
        """
        held = {name.removeprefix("image_"): getattr(self, name) for name in _ARRAYS}
        return {name: array for name, array in held.items() if array is not None}

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, mask and per-image arrays included."""
        if not isinstance(other, FourierMask):
            return NotImplemented
        return all(same(getattr(self, field.name), getattr(other, field.name)) for field in fields(self))

    __hash__ = None  # type: ignore[assignment]

    def _share(self, count: int | None) -> float | None:
        return None if count is None else count / self.images

    def _interval(self, count: int | None) -> tuple[float, float] | None:
        return None if count is None else wilson_interval(count, self.images, confidence=self.confidence)

    def _mean_interval(
        self, mean: "NDArray[np.float64]", std: "NDArray[np.float64] | None"
    ) -> "NDArray[np.float64] | None":
        if std is None:
            return None
        return mean_interval(mean, std, self.images, confidence=self.confidence, bounds=(0, 1))

    def _unsettled(self) -> str:
        return "not all masks have settled" if self.per_image else "the density of the mask has not settled"

    def _falls_on_held_out(self) -> bool:
        """Whether the intervals of agreement, of images held out and of the others, are apart."""
        others = self.images - self.held_out
        held = self.held_out_agreement_interval
        if held is None or not others:
            return False
        agreeing = self.agreeing - self.held_out_agreeing
        return held[1] < wilson_interval(agreeing, others, confidence=self.confidence)[0]
