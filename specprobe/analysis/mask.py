"""Which spatial frequencies are enough for a classifier: masks of the Fourier transform, learned from its gradient."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from specprobe.analysis.accuracy import counted
from specprobe.analysis.input_gradients import Target, checked_source
from specprobe.analysis.mask_data import CleanImages, clean_images
from specprobe.analysis.mask_energy import angular_energy, radial_energy
from specprobe.analysis.mask_evaluation import masked_predictions
from specprobe.analysis.mask_individual_adam import AdamImageMasks
from specprobe.analysis.mask_individual_trust import TrustRegionImageMasks
from specprobe.analysis.mask_plane import centred
from specprobe.analysis.mask_presets import Preset, TrustRegion, preset_of
from specprobe.analysis.mask_result import FourierMask
from specprobe.analysis.mask_shared import SharedMask
from specprobe.analysis.mask_state import (
    AdamMasksState,
    MaskProgress,
    SharedMaskState,
    TrustRegionMasksState,
    on_device,
    run_to_end,
)
from specprobe.analysis.moments import moments
from specprobe.arrays import to_host
from specprobe.errors import CheckpointError
from specprobe.intervals import CONFIDENCE, check_confidence

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from specprobe.analysis.mask_individual import ImageMasks
    from specprobe.arrays import Array
    from specprobe.protocols import DifferentiableClassifier, ImageSource
    from specprobe.streaming import Checkpoint

__all__ = ["FourierMask", "MaskProgress", "fourier_mask"]

_MASKS_AT_ONCE = 64


def fourier_mask(
    classifier: "DifferentiableClassifier",
    images: "ImageSource | Array",
    labels: "Array | None" = None,
    /,
    *,
    preset: str = "default",
    per_image: bool = False,
    per_channel: bool = False,
    target: Target | None = None,
    seed: int = 0,
    sparsity_weight: float | None = None,
    max_epochs: int | None = None,
    agreement: float = 0.99,
    batch_size: int = 32,
    limit: int | None = None,
    confidence: float = CONFIDENCE,
    checkpoint: "Checkpoint | None" = None,
    progress: "Callable[[MaskProgress], None] | None" = None,
) -> FourierMask:
    """Sparse mask of the Fourier transform under which a classifier does what it does without.

    Parameters
    ----------
    classifier : DifferentiableClassifier
        Whose gradient the mask is learned from; its weights stay as they are.
    images : ImageSource or array
        Arrays as of :class:`~specprobe.images.ArraySource`: (N, C, H, W), pixels in [0, 1], of any library.
    labels : array, shape (N,), optional
        Classes, where ``images`` is an array.
    preset : {"default", "karantzas"}
        Hyper-parameters: ours, or those published in [1]_.
    per_image : bool
        A mask for each image, instead of one for all.
    per_channel : bool
        A mask for each channel, instead of one for all.
    target : {"true", "predicted"}, optional
        Class that the loss is of. If not given, the model's own answer with ``per_image``, else the label where there
        are labels.
    seed : int
        Of the images held out, and of the order of the others.
    sparsity_weight : float, optional
        λ, the price of a whole mask; the preset's if not given.
    max_epochs : int, optional
        Where learning ends in any case, and what schedules are laid out for; steps, with ``per_image``. The preset's
        if not given.
    agreement : float
        Share of the right images that a mask must leave right, by the class of the loss: the ratio of accuracies, or,
        of predicted classes, the share of predictions that stand. The sparsest mask of an epoch that does is the
        result, the last one in the preset ``"karantzas"``; where none does, the mask at the end. A mask for one image
        must leave its prediction, whatever is given here.
    batch_size : int
        Images run at once; with ``per_image``, images at work at once.
    limit : int, optional
        Only the first so many images.
    confidence : float
        Of the intervals.
    checkpoint : Checkpoint, optional
        Where the state of learning is kept, so that a resumed run ends in the same mask to the bit.
    progress : callable, optional
        Called after each step.

    Returns
    -------
    FourierMask
        With the mask, and what the model says of each image under it and under its complement.

    Raises
    ------
    DataError
        If labels are missing, or the classifier has no class for them.
    InvalidNumbers
        If logits or gradients are NaN or infinite; names the image.
    TypeError
        If the classifier has no gradient.
    ValueError
        If a setting is none of those accepted.

    Notes
    -----
    Minimised is ``mean_i φ(ℓ(f(F⁻¹ M F x_i)) − ℓ(f(x_i))) + λ ‖M‖₁ / (H W)`` over masks within [0, 1], from ones, where ℓ
    is the cross-entropy and ``φ(d) = exp(d²)``. The mean is taken of the images' own φ, not φ of their mean. The mask has
    one parameter for k and −k, see :mod:`specprobe.analysis.mask_plane`.

    ``"karantzas"``: one image a step, Adam with the cycle of PyTorch's ``OneCycleLR``; ends when for 7 epochs the mask
    keeps enough and its density changes by at most 1e-5, or after 100 epochs. Beyond d² = 88, where the published code
    overflows, ``exp(88)`` stands for ``exp(d²)``, also in the gradient.

    ``"default"``: up to 32 images a step, proximal Adam along a cosine; φ goes on along its tangent beyond
    d² = 0.1, so that an image that the mask breaks does not outweigh all others; λ is halved after an epoch whose
    mask keeps too little, and is raised by 1.25 again, up to its value, after one that keeps enough; ends when for 3
    epochs the density changes by at most a thousandth, or after 20 epochs. A fifth of the images, drawn from ``seed``,
    are held out from the gradient, and tell whether the mask fits others. A mask for one image: the loss is taken to be
    linear in the mask within a trust region, which grows and shrinks with how true that was, and the objective is
    minimised there, see :mod:`specprobe.analysis.mask_trust_region`; the result is the mask of lowest objective under
    which the prediction stands, and where none that leaves the loss as it is does, the loss may fall, by 1 nat at most;
    ends when, twice in succession from the first radius, no step lowers the objective by
    two thousandths of the mask's price, or after 1000 steps.

    References
    ----------
    .. [1] N. Karantzas, E. Besier, J. Ortega Caro, X. Pitkow, A. S. Tolias, A. B. Patel, F. Anselmi, Understanding
       robustness and generalization of artificial neural networks through Fourier masks, Frontiers in Artificial
       Intelligence 5 (2022), 890016. arXiv:2203.08822
    """
    chosen = _chosen(preset_of(preset, per_image=per_image), sparsity_weight, max_epochs)
    if not 0 <= agreement <= 1:
        msg = f"agreement is {agreement}; accepted are numbers from 0 to 1, such as 0.99"
        raise ValueError(msg)
    if batch_size < 1:
        msg = f"batch_size is {batch_size}; accepted are whole numbers from 1"
        raise ValueError(msg)
    check_confidence(confidence)
    wanted: Target | None = "predicted" if per_image and target is None else target
    source, count, of = checked_source(classifier, images, labels, target=wanted, limit=limit)
    clean = clean_images(classifier, source, count, target=of, batch_size=batch_size)
    settings: dict[str, Any] = {
        "preset": chosen.name,
        "per_image": per_image,
        "per_channel": per_channel,
        "target": of,
        "seed": seed,
        "sparsity_weight": chosen.sparsity_weight,
        "agreement_goal": agreement,
        "max_epochs": chosen.max_epochs,
        "confidence": confidence,
    }
    common: dict[str, Any] = {
        "classifier": classifier,
        "images": clean,
        "preset": chosen,
        "per_channel": per_channel,
        "batch_size": batch_size,
    }
    learned = (
        _learned_each(common, checkpoint, progress)
        if per_image
        else _learned_one(SharedMask(**common, seed=seed, goal=agreement), checkpoint, progress)
    )
    result = _result(classifier, clean, learned, settings, batch_size=batch_size)
    if checkpoint is not None:
        checkpoint.clear()
    return result


_Settings = TypeVar("_Settings", bound=Preset | TrustRegion)


def _chosen(preset: _Settings, sparsity_weight: float | None, max_epochs: int | None) -> _Settings:
    if sparsity_weight is not None and not 0 < sparsity_weight < np.inf:
        msg = f"sparsity_weight is {sparsity_weight}; accepted are numbers above 0, such as {preset.sparsity_weight}"
        raise ValueError(msg)
    if max_epochs is not None and max_epochs < 1:
        msg = f"max_epochs is {max_epochs}; accepted are whole numbers from 1, such as {preset.max_epochs}"
        raise ValueError(msg)
    return replace(
        preset,
        sparsity_weight=preset.sparsity_weight if sparsity_weight is None else float(sparsity_weight),
        max_epochs=preset.max_epochs if max_epochs is None else max_epochs,
    )


class _Learned(NamedTuple):
    """Masks by parameter, and how they were come by."""

    values: "NDArray[np.float32]"
    held_out: "NDArray[np.int64]"
    fields: dict[str, Any]


def _learned_one(
    task: SharedMask, checkpoint: "Checkpoint | None", progress: "Callable[[MaskProgress], None] | None"
) -> _Learned:
    example = task.images.take(np.arange(1))
    state = _resumed(checkpoint, SharedMaskState, example) or task.begin(example)
    end = run_to_end(
        state,
        task.advance,
        checkpoint=checkpoint,
        progress=None if progress is None else lambda at: progress(task.progress(at)),
    )
    density = [1.0, *(float(entry[0] or 0) for entry in end.history)]
    change = abs(density[-1] - density[-2])
    settled = task.preset.settled is not None and change <= task.preset.settled * density[-1]
    return _Learned(
        (to_host(end.values) if end.best is None else end.best).astype(np.float32),
        task.held_out,
        {
            "epochs": end.epoch,
            "images_per_step": task.images_per_step,
            "converged": end.best is not None and (settled or end.unchanged >= task.preset.patience),
            "gradient_evaluations": end.gradient_evaluations,
            "forward_evaluations": end.forward_evaluations,
            "history": end.history,
        },
    )


def _learned_each(
    task: dict[str, Any],
    checkpoint: "Checkpoint | None",
    progress: "Callable[[MaskProgress], None] | None",
) -> _Learned:
    trusted = isinstance(task["preset"], TrustRegion)
    kind: type[Any] = TrustRegionMasksState if trusted else AdamMasksState
    learner: type[ImageMasks[Any, Any]] = TrustRegionImageMasks if trusted else AdamImageMasks
    each = learner(**task)
    example = each.images.take(np.arange(1))
    state = _resumed(checkpoint, kind, example) or each.begin(example)
    end = run_to_end(
        state,
        each.advance,
        checkpoint=checkpoint,
        progress=None if progress is None else lambda at: progress(each.progress(at)),
    )
    return _Learned(
        end.masks,
        np.zeros(0, np.int64),
        {
            "epochs": int(end.image_steps.max()),
            "images_per_step": 1,
            "converged": bool(end.image_converged.all()),
            "gradient_evaluations": int(end.image_steps.sum()),
            "forward_evaluations": 0,
            "history": (),
            "image_density": end.image_density,
            "image_converged": end.image_converged,
            "image_gradients": end.image_steps,
        },
    )


def _resumed(checkpoint: "Checkpoint | None", kind: type[Any], example: "Array") -> Any:
    """State that a checkpoint holds, or None."""
    found = None if checkpoint is None else checkpoint.read()
    if found is None or checkpoint is None:
        return None
    if not isinstance(found[1], kind):
        msg = (
            f"the partial result {checkpoint.path} is of another analysis; delete it, or run without --resume"
        )
        raise CheckpointError(msg)
    return on_device(found[1], example)


def _result(
    classifier: "DifferentiableClassifier",
    clean: CleanImages,
    learned: _Learned,
    settings: dict[str, Any],
    /,
    *,
    batch_size: int,
) -> FourierMask:
    channels, height, width = clean.source.image_shape
    values, shape = learned.values, (height, width)
    masked = masked_predictions(classifier, clean, values, batch_size=batch_size)
    rest = (values == 0).astype(np.float32)
    complement = masked_predictions(classifier, clean, rest, batch_size=batch_size)
    agrees, held = masked == clean.predicted, learned.held_out
    found: dict[str, Any] = {
        "agreeing": int(agrees.sum()),
        "complement_agreeing": int((complement == clean.predicted).sum()),
        "held_out": len(held),
        "held_out_agreeing": int(agrees[held].sum()),
        **dict.fromkeys(
            ("correct", "masked_correct", "complement_correct", "class_histogram", "prediction_histogram")
        ),
        "image_agrees": agrees,
        "image_complement_agrees": complement == clean.predicted,
    }
    if clean.labels is not None:
        right = counted(clean.labels, clean.predicted, digests=clean.digests)
        found |= {
            name: getattr(right, name) for name in ("correct", "class_histogram", "prediction_histogram")
        }
        found["image_correct"] = right.image_correct
        for name, predicted in (("masked", masked), ("complement", complement)):
            found[f"image_{name}_correct"] = predicted == clean.labels
            found[f"{name}_correct"] = int((predicted == clean.labels).sum())
    masks = centred(values, shape=shape)
    own = masks if settings["per_channel"] else masks[:, 0]
    return FourierMask(
        **settings,
        **found,
        **_energies(masks, per_image=settings["per_image"]),
        **(learned.fields | {"forward_evaluations": learned.fields["forward_evaluations"] + 3 * len(clean)}),
        images=len(clean),
        image_shape=(channels, height, width),
        mask=np.asarray(own if settings["per_image"] else own[0], np.float32),
        example_image=np.asarray(to_host(clean.take(np.arange(1)))[0], np.float32),
        image_class=clean.classes,
        image_digest=clean.digests,
    )


def _energies(masks: "NDArray[np.floating]", /, *, per_image: bool) -> dict[str, Any]:
    """Density and energies; means over masks of images, with their standard deviations."""
    found: dict[str, Any] = {}
    parts = [masks[start : start + _MASKS_AT_ONCE] for start in range(0, len(masks), _MASKS_AT_ONCE)]
    for name, measured in (("radial_energy", radial_energy), ("angular_energy", angular_energy)):
        rows = np.concatenate([measured(part, channels=True) for part in parts])
        _, mean, std = moments(rows)
        found |= {name: mean, f"{name}_std": std if per_image else None}
    density = masks.mean(axis=(1, 2, 3), dtype=np.float64)
    found |= {"density": float(density.mean()), "density_std": float(density.std()) if per_image else None}
    return found
