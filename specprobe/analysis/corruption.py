"""How a classifier stands what cameras, weather and files do to images, and at which frequencies they do it."""

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.accuracy import batch_logits, counted
from specprobe.analysis.corruption_result import CorruptionAccuracy
from specprobe.analysis.source import labelled_source, read
from specprobe.arrays import Array, like, namespace, to_host
from specprobe.errors import DataError, EmptyInput
from specprobe.images.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from specprobe.intervals import CONFIDENCE, check_confidence
from specprobe.pipeline import Staged, ahead
from specprobe.spectral.power import image_power, ring_sums
from specprobe.spectral.profiles import ring_shares
from specprobe.streaming import SHARD_IMAGES, Checkpoint, map_reduce, shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from specprobe.protocols import Batch, Classifier, ImageSource

__all__ = ["CorruptionAccuracy", "corruption_accuracy"]


def corruption_accuracy(
    classifier: "Classifier",
    images: "ImageSource | Array",
    labels: Array | None = None,
    /,
    *,
    corruptions: "Iterable[str]" = CORRUPTIONS,
    severities: "Iterable[int]" = SEVERITIES,
    seed: int = 0,
    batch_size: int = 32,
    limit: int | None = None,
    confidence: float = CONFIDENCE,
    executor: "Executor | None" = None,
    checkpoint: Checkpoint | None = None,
    progress: "Callable[[int], None] | None" = None,
) -> CorruptionAccuracy:
    """Accuracy on corrupted images, beside the spectrum of what each corruption changes.

    Parameters
    ----------
    classifier : Classifier
        Picklable where the executor uses processes.
    images : ImageSource or array, shape (N, C, H, W), real floating
        Pixels in [0, 1], grey or RGB.
    labels : array, shape (N,), integer, optional
        Classes, where the images are an array.
    corruptions : iterable of str
        Kinds, of :data:`specprobe.images.corruptions.CORRUPTIONS`.
    severities : iterable of int
        From 1 to 5.
    seed : int
        Of noise and fog.
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
    CorruptionAccuracy
        With flags and a digest per image.

    Raises
    ------
    DataError
        If there are no labels, or labels that the classifier has no class for.
    InputMismatch
        If a corruption is not known, or the images are neither grey nor RGB.
    InvalidNumbers
        If logits are NaN or infinite.
    ValueError
        If ``batch_size`` is below 1, or nothing is asked for.

    Notes
    -----
    One forward pass an image, corruption and severity, and one for the image as it is. Whether noise that lies at high
    frequencies costs more accuracy than fog, which lies at low ones, is what adversarial and noise training change [1]_.

    References
    ----------
    .. [1] D. Yin, R. Gontijo Lopes, J. Shlens, E. D. Cubuk, J. Gilmer, A Fourier perspective on model robustness in
       computer vision, NeurIPS 2019. arXiv:1906.08988
    """
    kinds, levels = tuple(corruptions), tuple(severities)
    if batch_size < 1:
        msg = f"batch_size is {batch_size}; accepted are whole numbers from 1"
        raise ValueError(msg)
    if not kinds or not levels:
        msg = "no corruption or no severity is asked for"
        raise ValueError(msg)
    check_confidence(confidence)
    source, count = labelled_source(classifier, images, labels, limit=limit)
    if source.labels is None:
        msg = "the images have no labels, so there is no accuracy; give them with --labels FILE"
        raise DataError(msg)
    probe = np.zeros((1, *source.image_shape), np.float32)
    for kind in kinds:
        for level in levels:
            corrupt(probe, kind, severity=level)  # refuses what cannot be, before anything is run
    step: Staged[CorruptionAccuracy] = Staged(
        (partial(read, source), partial(_of_batch, classifier, kinds, levels, seed, batch_size, confidence))
    )
    return map_reduce(
        step, shards(count, size=SHARD_IMAGES), executor=executor, checkpoint=checkpoint, progress=progress
    )


def _of_batch(
    classifier: "Classifier",
    kinds: tuple[str, ...],
    levels: tuple[int, ...],
    seed: int,
    batch_size: int,
    confidence: float,
    batch: "Batch",
) -> CorruptionAccuracy:
    labels = batch.labels
    if labels is None or not len(labels):
        msg = "there are no labelled images to analyse"
        raise EmptyInput(msg)

    def predicted(images: Array) -> "NDArray[np.int64]":
        logits = batch_logits(classifier, images, start=batch.start, batch_size=batch_size)
        return to_host(namespace(logits).argmax(logits, axis=1)).astype(np.int64)

    clean = counted(labels, predicted(batch.images), digests=batch.digests, confidence=confidence)
    right = np.empty((len(labels), len(kinds), len(levels)), np.bool_)
    spectra = []
    with closing(ahead(_spoiled(batch, kinds, levels, seed))) as spoiled:
        for place, (images, spectrum) in enumerate(spoiled):
            right[:, place // len(levels), place % len(levels)] = predicted(images) == labels
            spectra.append(spectrum)
    changed, mean, std, length = (
        np.stack(parts).reshape(len(kinds), len(levels), *np.shape(parts[0]))
        for parts in zip(*spectra, strict=True)
    )
    return CorruptionAccuracy(
        corruptions=kinds,
        severities=levels,
        image_size=(batch.images.shape[2], batch.images.shape[3]),
        seed=seed,
        images=len(labels),
        clean_correct=clean.correct,
        class_histogram=clean.class_histogram,
        prediction_histogram=clean.prediction_histogram,
        correct=right.sum(axis=0),
        changed=changed,
        power_share=mean,
        power_share_std=std,
        l2_norm=length,
        confidence=confidence,
        image_clean_correct=clean.image_correct,
        image_correct=right,
        image_digest=batch.digests,
    )


def _spoiled(
    batch: "Batch", kinds: tuple[str, ...], levels: tuple[int, ...], seed: int
) -> "Iterator[tuple[Array, Any]]":
    """Corrupted images, where the clean ones are, with the spectrum of the change."""
    host = np.ascontiguousarray(to_host(batch.images), np.float32)
    for kind in kinds:
        for level in levels:
            made = corrupt(host, kind, severity=level, seed=seed, start=batch.start)
            yield like(made, batch.images), _spectrum(made - host)


def _spectrum(change: "NDArray[np.float32]") -> tuple[Any, ...]:
    """Images that changed off the mean; mean and deviation of their ring shares; mean length of the change."""
    shape = (change.shape[2], change.shape[3])
    sums = np.asarray(ring_sums(image_power(change), shape=shape), np.float64)
    held = sums[:, 1:].sum(axis=1) > 0
    shares = ring_shares(sums[held])
    rings = sums.shape[1] - 1
    none = np.full(rings, np.nan)
    length = np.sqrt(np.sum(change.astype(np.float64) ** 2, axis=(1, 2, 3))).mean()
    return (
        np.int64(held.sum()),
        shares.mean(axis=0) if held.any() else none,
        shares.std(axis=0) if held.any() else none,
        length,
    )
