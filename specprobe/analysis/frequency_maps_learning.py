"""Essential frequencies of single images, clean or attacked: a mask for each image and channel, by its loss alone."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.heatmap_additions import cross_entropy
from specprobe.analysis.input_gradients import logits_and_gradient
from specprobe.analysis.mask_objective import check_finite
from specprobe.analysis.mask_optimiser import Moments, StepSize, descend
from specprobe.analysis.mask_plane import apply_to_spectra, centred, frequency_counts, mask_gradients, spectra
from specprobe.analysis.mask_presets import preset_of
from specprobe.arrays import Array, like, namespace, to_host
from specprobe.errors import EmptyInput, InputMismatch
from specprobe.protocols import DifferentiableClassifier
from specprobe.spectral.arguments import check_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

__all__ = ["FrequencyMaps", "frequency_maps"]

_WINDOW = 20
_STEP = StepSize(0.01, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrequencyMaps:
    """A mask for each image and channel.

    Attributes
    ----------
    maps : numpy.ndarray of float32, shape (N, C, H, W)
        Within [0, 1], centred, equal at k and -k.
    image_class : numpy.ndarray of int64, shape (N,)
        That the loss is of.
    image_kept : numpy.ndarray of bool, shape (N,)
        Whether the masked image is classified so.
    image_loss : numpy.ndarray of float64, shape (N,)
        Cross-entropy of the masked image, in nats.
    image_steps : numpy.ndarray of int64, shape (N,)
        Done.
    image_converged : numpy.ndarray of bool, shape (N,)
        Whether the stop rule ended them.
    sparsity_weight : float
        λ.
    """

    maps: "NDArray[np.float32]"
    image_class: "NDArray[np.int64]"
    image_kept: "NDArray[np.bool_]"
    image_loss: "NDArray[np.float64]"
    image_steps: "NDArray[np.int64]"
    image_converged: "NDArray[np.bool_]"
    sparsity_weight: float

    @property
    def image_density(self) -> "NDArray[np.float64]":
        """Mean of each image's maps."""
        density: NDArray[np.float64] = self.maps.mean(axis=(1, 2, 3), dtype=np.float64)
        return density


def frequency_maps(
    classifier: DifferentiableClassifier,
    images: Array,
    classes: "ArrayLike",
    /,
    *,
    sparsity_weight: float = 0.5,
    min_steps: int = 500,
    max_steps: int = 5000,
    tolerance: float = 1e-5,
    batch_size: int = 32,
    progress: "Callable[[int], None] | None" = None,
) -> FrequencyMaps:
    """Frequencies of each image that are enough for a class.

    Parameters
    ----------
    classifier : DifferentiableClassifier
        Whose gradient the maps are learned from.
    images : array, shape (N, C, H, W), float32 or float64
        Clean images for essential maps; attacked ones for adversarial maps.
    classes : array_like of int, shape (N,)
        The true classes, in both cases. As published, of images that the model gets right.
    sparsity_weight : float
        λ, the price of one cell: published are 0.5 for a ResNet-20 on CIFAR-10 and 0.1 for Imagenette.
    min_steps, max_steps : int
        After which learning may end, and ends in any case.
    tolerance : float
        Learning ends where the objective differs by less from the mean of its last 20 values.
    batch_size : int
        Images at work at once. A map does not depend on the others.
    progress : callable, optional
        Called with the number of images done.

    Returns
    -------
    FrequencyMaps
        In the order of the images.

    Raises
    ------
    EmptyInput
        If there are no images.
    InputMismatch
        If there is not one class an image.
    InvalidNumbers
        If logits or gradients are NaN or infinite; names the image.
    TypeError
        If the classifier has no gradient.
    ValueError
        If a setting is out of range.

    Notes
    -----
    Minimised is ``CE(f(F⁻¹ M F x), y) + λ ‖M‖₁`` over masks within [0, 1], from ones, by Adam with steps of 0.01 [1]_. The
    norm is the sum over all cells and channels, not their mean. With λ of a tenth of a nat for a single cell, the price of
    a map of ones is hundreds of nats: the map is what the first steps away from ones leave.

    References
    ----------
    .. [1] L. Basile, N. Karantzas, A. d'Onofrio, L. Manzoni, L. Bortolussi, A. Rodriguez, F. Anselmi, Frequency maps
       reveal the correlation between adversarial attacks and implicit bias, IJCNN 2025. arXiv:2305.15203
    """
    given: Any = classifier  # whatever the annotation says
    if not isinstance(given, DifferentiableClassifier):
        msg = f"{type(given).__name__} has no gradient; accepted are classifiers that have one"
        raise TypeError(msg)
    check_batch(images)
    wanted = np.asarray(classes, np.int64)
    if wanted.shape != (images.shape[0],):
        msg = f"there are classes of shape {wanted.shape} for {images.shape[0]} images; accepted is one an image"
        raise InputMismatch(msg)
    if not wanted.size:
        msg = "there are no images to analyse"
        raise EmptyInput(msg)
    if not 0 <= sparsity_weight < np.inf:
        msg = f"sparsity_weight is {sparsity_weight}; accepted are numbers from 0"
        raise ValueError(msg)
    if not 1 <= min_steps <= max_steps or batch_size < 1 or not tolerance >= 0:
        msg = (
            f"min_steps is {min_steps}, max_steps {max_steps}, batch_size {batch_size}, tolerance {tolerance}; accepted "
            "are 1 <= min_steps <= max_steps, batch_size >= 1, tolerance >= 0"
        )
        raise ValueError(msg)
    parts = []
    for start in range(0, len(wanted), batch_size):
        stop = min(start + batch_size, len(wanted))
        part = _of_images(
            classifier,
            images[start:stop, ...],
            wanted[start:stop],
            start,
            weight=sparsity_weight,
            steps=(min_steps, max_steps),
            tolerance=tolerance,
        )
        parts.append(part)
        if progress is not None:
            progress(stop)
    names = ("maps", "image_class", "image_kept", "image_loss", "image_steps", "image_converged")
    joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return replace(parts[0], **joined)


def _of_images(
    classifier: DifferentiableClassifier,
    images: Array,
    classes: "NDArray[np.int64]",
    start: int,
    *,
    weight: float,
    steps: tuple[int, int],
    tolerance: float,
) -> FrequencyMaps:
    xp = namespace(images)
    count, channels, height, width = images.shape
    shape = (height, width)
    published = preset_of("karantzas", per_image=False)
    cells = frequency_counts(shape)
    rows = np.arange(count)
    transformed = spectra(images)
    values = like(np.ones((count, channels, len(cells))), images)
    memory = Moments(xp.zeros_like(values), xp.zeros_like(values))
    recent = np.full((count, _WINDOW), np.nan)
    maps = np.empty((count, channels, len(cells)))
    loss, taken = np.empty(count), np.zeros(count, np.int64)
    kept, converged = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for step in range(steps[1] + 1):
        masked = apply_to_spectra(transformed, values, shape=shape)
        logits, _, d_images = logits_and_gradient(classifier, masked, like(classes[rows], masked))
        check_finite(logits, start + rows)
        entropy = cross_entropy(logits, classes[rows])
        objective = entropy + weight * (to_host(values) * cells).sum(axis=(1, 2))
        settled = np.abs(objective - recent.mean(axis=1)) < tolerance
        done = (settled & (step >= steps[0])) | (step == steps[1])
        if done.any():
            away = rows[done]
            maps[away], loss[away], taken[away] = to_host(values)[done], entropy[done], step
            kept[away] = (to_host(xp.argmax(logits, axis=1)) == classes[rows])[done]
            converged[away] = settled[done]
            if done.all():
                break
        gradient = mask_gradients(transformed, d_images, shape=shape, per_channel=True)
        check_finite(xp.sum(gradient, axis=-1), start + rows, what="input gradient")
        values, memory = descend(values, gradient, memory, weight, step=step, size=_STEP, preset=published)
        recent[:, step % _WINDOW] = objective
        if done.any():
            left = np.flatnonzero(~done)
            there = like(left, values)
            values, transformed = (xp.take(part, there, axis=0) for part in (values, transformed))
            memory = Moments(*(xp.take(part, there, axis=0) for part in memory))
            rows, recent = rows[left], recent[left]
    return FrequencyMaps(
        maps=np.asarray(centred(maps, shape=shape), np.float32),
        image_class=classes,
        image_kept=kept,
        image_loss=loss,
        image_steps=taken,
        image_converged=converged,
        sparsity_weight=float(weight),
    )
