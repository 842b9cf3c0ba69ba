"""Which part of a perturbation's spectrum carries an attack."""

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from specprobe.analysis.accuracy import batch_logits
from specprobe.analysis.band_filters import PassFilters, default_radii
from specprobe.analysis.band_replacement_result import BandReplacement
from specprobe.analysis.moments import moments
from specprobe.analysis.source import labelled_source, read
from specprobe.arrays import Array, namespace, to_host
from specprobe.errors import DataError, EmptyInput, InputMismatch
from specprobe.intervals import CONFIDENCE, check_confidence
from specprobe.pipeline import Staged
from specprobe.spectral.masks import apply_masks, low_pass
from specprobe.streaming import SHARD_IMAGES, Checkpoint, map_reduce, shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from specprobe.protocols import Batch, Classifier, ImageSource

__all__ = ["BandReplacement", "band_replacement"]


def band_replacement(
    classifier: "Classifier",
    clean: "ImageSource | Array",
    adversarial: "Array | Callable[[Batch], Array]",
    labels: Array | None = None,
    /,
    *,
    radii: "Iterable[float] | None" = None,
    clip: bool = False,
    batch_size: int = 32,
    limit: int | None = None,
    confidence: float = CONFIDENCE,
    executor: "Executor | None" = None,
    checkpoint: Checkpoint | None = None,
    progress: "Callable[[int], None] | None" = None,
) -> BandReplacement:
    """Accuracy on images whose low or high frequencies are taken from their adversarial twins.

    Parameters
    ----------
    classifier : Classifier
        Picklable where the executor uses processes.
    clean : ImageSource or array, shape (N, C, H, W), real floating
        Pixels in [0, 1].
    adversarial : array, shape (N, C, H, W), or callable
        One adversarial image for each clean one, in order, of the library and device of the images that the source
        reads; or a function that makes those of a :class:`~specprobe.protocols.Batch`, shard by shard.
    labels : array, shape (N,), integer, optional
        Classes, where the images are an array.
    radii : iterable of float, optional
        In cycles per shorter side. 0 and about four an octave up to the corner if not given.
    clip : bool
        Whether mixed images are clipped to [0, 1], which spreads their spectrum.
    batch_size : int
        Images classified at once.
    limit : int, optional
        Only the first so many images.
    confidence : float
        Of the intervals.
    executor : concurrent.futures.Executor, optional
        Computes the shards; the result does not depend on it.
    checkpoint : Checkpoint, optional
        Where partial results are kept.
    progress : callable, optional
        Called with the number of images done.

    Returns
    -------
    BandReplacement
        With flags and a digest per image.

    Raises
    ------
    DataError
        If there are no labels, or labels that the classifier has no class for.
    InputMismatch
        If a radius is out of range, or the adversarial images do not fit the clean ones.
    InvalidNumbers
        If logits are NaN or infinite; names the image.
    ValueError
        If ``batch_size`` or ``confidence`` is out of range.

    Notes
    -----
    ``F⁻¹(M F(x + δ) + (1 − M) F(x))`` of a low-pass mask M is ``x + F⁻¹(M F(δ))``, since F is linear: a clean image with
    the low frequencies of its perturbation, and in the complement, with the rest of it. Radius 0 gives exactly the clean
    image and the adversarial one, a radius beyond the corner the same the other way round; neither is filtered.

    Two forward passes an image and radius, and two for the ends. Radii that keep the same frequencies share them.

    References
    ----------
    .. [1] B. Huang et al., What do adversarially trained neural networks focus: a Fourier domain-based study, 2022.
       arXiv:2203.08739
    """
    if batch_size < 1:
        msg = f"batch_size is {batch_size}; accepted are whole numbers from 1"
        raise ValueError(msg)
    check_confidence(confidence)
    source, count = labelled_source(classifier, clean, labels, limit=limit)
    if source.labels is None:
        msg = "the images have no labels, so there is no accuracy; give them beside the images, or to load_images"
        raise DataError(msg)
    if not callable(adversarial) and not count <= adversarial.shape[0] <= source.images:
        msg = f"there are {adversarial.shape[0]} adversarial images for {count} clean ones; accepted is one for each"
        raise InputMismatch(msg)
    shape = (source.image_shape[1], source.image_shape[2])
    swept = PassFilters.of(
        shape,
        radii=(0.0, *default_radii(shape)) if radii is None else radii,
        bands=(),
        wedges=(),
        clip=clip,
        mean_restored=False,
    )
    step = partial(_of_batch, classifier, adversarial, swept, batch_size, confidence)
    return map_reduce(
        Staged((partial(read, source), step)),
        shards(count, size=SHARD_IMAGES),
        executor=executor,
        checkpoint=checkpoint,
        progress=progress,
    )


class _Answers(NamedTuple):
    """Whether images are right with a part of the perturbation, and with the rest of it."""

    low: "NDArray[np.bool_]"
    high: "NDArray[np.bool_]"
    energy: "NDArray[np.float64]"


def _of_batch(
    classifier: "Classifier",
    adversarial: Any,
    swept: PassFilters,
    batch_size: int,
    confidence: float,
    batch: "Batch",
) -> BandReplacement:
    images, labels = batch.images, batch.labels
    if images.shape[0] == 0 or labels is None:
        msg = "there are no labelled images to analyse"
        raise EmptyInput(msg)
    attacked = _attacked(adversarial, batch)

    def right(candidates: Array) -> "NDArray[np.bool_]":
        logits = batch_logits(classifier, candidates, start=batch.start, batch_size=batch_size)
        return np.asarray(to_host(namespace(logits).argmax(logits, axis=1)) == labels)

    shape = (images.shape[-2], images.shape[-1])
    perturbation = attacked - images
    energy = _energy(perturbation)
    clean, fooled = right(images), right(attacked)
    masks, which = _masks(shape, swept.radii)
    answers = [_Answers(clean, fooled, np.zeros_like(energy)), _Answers(fooled, clean, energy)]
    for part in apply_masks(perturbation, masks):
        mixed = (images + part, attacked - part)
        if swept.clip:
            xp = namespace(images)
            mixed = (xp.clip(mixed[0], 0, 1), xp.clip(mixed[1], 0, 1))
        answers.append(_Answers(right(mixed[0]), right(mixed[1]), _energy(part)))
    low, high, kept = (np.stack(parts)[which].T for parts in zip(*answers, strict=True))
    moved = energy > 0
    broken = clean & ~fooled
    _, share, spread = moments(kept[moved] / energy[moved, None])
    return BandReplacement(
        images=len(labels),
        image_size=shape,
        radii=swept.radii,
        clip=swept.clip,
        clean_correct=int(clean.sum()),
        adversarial_correct=int(fooled.sum()),
        broken=int(broken.sum()),
        model_evaluations=2 * len(labels) * (1 + len(masks)),
        low_pass_correct=low.sum(axis=0),
        high_pass_correct=high.sum(axis=0),
        low_pass_broken=(~low[broken]).sum(axis=0),
        high_pass_broken=(~high[broken]).sum(axis=0),
        moved=int(moved.sum()),
        energy_share=share,
        energy_share_std=spread,
        confidence=confidence,
        image_low_pass_correct=low,
        image_high_pass_correct=high,
        image_clean_correct=clean,
        image_adversarial_correct=fooled,
        image_digest=batch.digests,
    )


def _attacked(adversarial: Any, batch: "Batch") -> Array:
    """The adversarial images of a batch."""
    count = batch.images.shape[0]
    made = (
        adversarial(batch) if callable(adversarial) else adversarial[batch.start : batch.start + count, ...]
    )
    if tuple(made.shape) != tuple(batch.images.shape):
        msg = (
            f"the adversarial images from image {batch.start} on have shape {tuple(made.shape)}, the clean ones "
            f"{tuple(batch.images.shape)}; accepted is one adversarial image for each clean one"
        )
        raise InputMismatch(msg)
    return made


def _masks(
    shape: tuple[int, int], radii: tuple[float, ...]
) -> "tuple[list[NDArray[np.bool_]], NDArray[np.int64]]":
    """The low-pass masks that differ, and which one each radius has: 0 for nothing, 1 for everything, then these."""
    seen = {np.full(shape, kept).tobytes(): int(kept) for kept in (False, True)}
    masks: list[NDArray[np.bool_]] = []
    which = []
    for radius in radii:
        mask = low_pass(shape, cutoff=radius)
        place = seen.setdefault(mask.tobytes(), len(seen))
        if place == 2 + len(masks):
            masks.append(mask)
        which.append(place)
    return masks, np.array(which)


def _energy(images: Array) -> "NDArray[np.float64]":
    xp = namespace(images)
    return to_host(xp.sum(xp.astype(images, xp.float64) ** 2, axis=(1, 2, 3)))
