"""Whether a few frequencies are all that a model needs to answer with a class: frequency shortcuts."""

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from specprobe.analysis.accuracy import batch_logits
from specprobe.analysis.frequency_shortcuts_deletion import frequency_deletion, masked_logits
from specprobe.analysis.frequency_shortcuts_rates import FrequencyShortcuts
from specprobe.analysis.input_gradients import Target, checked_source
from specprobe.analysis.source import read
from specprobe.arrays import Array, to_host
from specprobe.errors import InputMismatch
from specprobe.intervals import CONFIDENCE
from specprobe.pipeline import Staged
from specprobe.randomness import generator
from specprobe.streaming import SHARD_IMAGES, Checkpoint, map_reduce, shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from specprobe.analysis.frequency_shortcuts_result import FrequencyDeletion
    from specprobe.protocols import Batch, Classifier, ImageSource

__all__ = ["FrequencyShortcuts", "frequency_shortcuts"]

KEEP = (0.01, 0.05, 0.1, 0.2)
"""Shares of the patches that are kept unless others are asked for."""


def frequency_shortcuts(
    classifier: "Classifier",
    images: "ImageSource | Array",
    labels: Array | None = None,
    /,
    *,
    method: str = "deletion",
    patch: int = 1,
    keep: "Iterable[float]" = KEEP,
    loss: str = "cross-entropy",
    target: Target | None = None,
    deletion: "FrequencyDeletion | None" = None,
    seed: int = 0,
    batch_size: int = 32,
    limit: int | None = None,
    confidence: float = CONFIDENCE,
    executor: "Executor | None" = None,
    checkpoint: Checkpoint | None = None,
    progress: "Callable[[int], None] | None" = None,
) -> FrequencyShortcuts:
    """Dominant frequencies of each class, and how images are classified that keep nothing else.

    Parameters
    ----------
    classifier : Classifier
        Picklable where the executor uses processes.
    images : ImageSource or array, shape (N, C, H, W), real floating
        Pixels in [0, 1].
    labels : array, shape (N,), integer, optional
        Classes, where the images are an array.
    method, patch, loss, target
        As of :func:`~specprobe.analysis.frequency_shortcuts_deletion.frequency_deletion`.
    keep : iterable of float
        Shares of the patches, in (0, 1], that the maps keep.
    deletion : FrequencyDeletion, optional
        Of other images, or from a file, which spares that part; ``method``, ``patch``, ``loss`` and ``target`` are then
        those that it was made with.
    seed : int
        Of the random patches that are kept for comparison.
    batch_size : int
        Images run at once.
    limit : int, optional
        Only the first so many images.
    confidence : float
        Of the intervals.
    executor : concurrent.futures.Executor, optional
        Computes the shards; the result does not depend on it.
    checkpoint : Checkpoint, optional
        Where partial results of the deletion, which takes most of the time, are kept.
    progress : callable, optional
        Called with the number of images done; twice with each, for the deletion and for the filtered images.

    Returns
    -------
    FrequencyShortcuts
        With the deletion that the maps are from.

    Raises
    ------
    DataError
        If labels are missing, or the classifier has no class for them.
    InputMismatch
        If ``patch`` is no whole number from 1, or the deletion is of images of another size or of another target.
    InvalidNumbers
        If logits or gradients are NaN or infinite.
    TypeError
        If the first order alone is asked for, of a classifier without a gradient.
    ValueError
        If a setting is none of those accepted.

    Notes
    -----
    A class has a frequency shortcut, in the words of [1]_, if few frequencies suffice to recognise its images: a high
    true-positive rate. A high false-positive rate says that they make other images look like it, too. Rates under as many
    random patches tell what the number of frequencies alone does. The mean of each channel is always kept, see
    :func:`~specprobe.analysis.frequency_shortcuts_deletion.frequency_deletion`; in [1]_, whose inputs are normalised, it
    is ranked with the rest.

    References
    ----------
    .. [1] S. Wang, R. Veldhuis, C. Brune, N. Strisciuglio, What do neural networks learn in image classification? A
       frequency shortcut perspective, ICCV 2023. arXiv:2307.09829
    """
    shares = tuple(sorted({float(share) for share in keep}))
    if not shares or not all(0 < share <= 1 for share in shares):
        msg = f"keep is {shares}; accepted are one or more shares of the patches above 0, up to 1"
        raise ValueError(msg)
    wanted: Target | None = target
    if deletion is not None:
        wanted = "true" if deletion.target == "true" else "predicted"
        if target not in {None, wanted}:
            msg = f"the deletion is of {deletion.target} classes, target is {target!r}; accepted is the same"
            raise InputMismatch(msg)
    source, count, target = checked_source(
        classifier, images, labels, target=wanted, limit=limit, differentiable=False
    )
    if deletion is not None and deletion.image_size != source.image_shape[1:]:
        msg = (
            f"the deletion is of images of height and width {deletion.image_size}, these have {source.image_shape[1:]}; "
            "accepted is the same size"
        )
        raise InputMismatch(msg)
    ranked = deletion or frequency_deletion(
        classifier,
        source,
        method=method,
        patch=patch,
        loss=loss,
        target=target,
        batch_size=batch_size,
        limit=limit,
        confidence=confidence,
        executor=executor,
        checkpoint=checkpoint,
        progress=progress,
    )
    counts: _Counts = map_reduce(
        Staged(
            (
                partial(read, source),
                partial(
                    _of_batch,
                    classifier,
                    _maps(ranked, shares, seed),
                    ranked.class_labels,
                    target,
                    batch_size,
                ),
            )
        ),
        shards(count, size=SHARD_IMAGES),
        executor=executor,
        progress=progress,
    )
    kept = len(shares)
    positives: dict[str, NDArray[np.int64]] = {}
    for name, found in (("true_positives", counts.true), ("false_positives", counts.false)):
        positives[name] = found[:, :kept]
        positives[f"random_{name}"] = found[:, kept:-1]
        positives[f"clean_{name}"] = found[:, -1]
    return FrequencyShortcuts(
        deletion=ranked,
        keep=shares,
        seed=seed,
        images=count,
        model_evaluations=count * ((len(ranked.class_labels) + 1) * kept + 1),
        class_positives=counts.positives,
        confidence=confidence,
        image_digest=counts.digest,
        **positives,
    )


class _Counts(NamedTuple):
    """Images by class that are classified as it: under its maps, the random ones, and as they are; (L, 2 X + 1)."""

    true: "NDArray[np.int64]"
    false: "NDArray[np.int64]"
    positives: "NDArray[np.int64]"
    digest: "NDArray[np.uint8]"

    def merge(self, other: "_Counts", /) -> "_Counts":
        """Counts of both sets."""
        return _Counts(
            self.true + other.true,
            self.false + other.false,
            self.positives + other.positives,
            np.concatenate([self.digest, other.digest]),
        )


def _maps(deletion: "FrequencyDeletion", shares: tuple[float, ...], seed: int) -> "NDArray[np.bool_]":
    """Every class's maps, then the random ones; shape (L · X + X, H, W)."""
    patches = deletion.patches
    own = np.stack([deletion.dominant_maps(share) for share in shares], axis=1)
    order = generator(seed, "shortcuts/random").permutation(patches.count)
    drawn = []
    for share in shares:
        kept = np.zeros(patches.count)
        kept[order[: deletion.dominant_patches(share).shape[1]]] = 1
        spread = patches.spread(kept)
        drawn.append(np.isnan(spread) | (spread > 0))
    return np.concatenate([own.reshape(-1, *patches.shape), np.stack(drawn)])


def _of_batch(
    classifier: "Classifier",
    maps: "NDArray[np.bool_]",
    classes: "NDArray[np.int64]",
    target: Target,
    batch_size: int,
    batch: "Batch",
) -> _Counts:
    images, count = batch.images, batch.images.shape[0]
    kept = len(maps) // (len(classes) + 1)
    clean = batch_logits(classifier, images, start=batch.start, batch_size=batch_size)
    predicted = to_host(clean).argmax(axis=1)
    together = max(1, batch_size // count)
    blocks = (maps[i : i + together] for i in range(0, len(maps), together))
    answers = [
        logits.argmax(axis=1)
        for logits in masked_logits(classifier, images, blocks, start=batch.start, batch_size=batch_size)
    ]
    by_mask = np.concatenate([*answers, predicted]).reshape(-1, count)
    own = by_mask[: len(classes) * kept].reshape(len(classes), kept, count)
    shared = np.broadcast_to(by_mask[len(classes) * kept :], (len(classes), kept + 1, count))
    answered = np.concatenate([own, shared], axis=1) == classes[:, None, None]
    actual = predicted if target == "predicted" or batch.labels is None else batch.labels
    positive = actual[None, :] == classes[:, None]
    return _Counts(
        (answered & positive[:, None, :]).sum(axis=2),
        (answered & ~positive[:, None, :]).sum(axis=2),
        positive.sum(axis=1),
        batch.digests,
    )
