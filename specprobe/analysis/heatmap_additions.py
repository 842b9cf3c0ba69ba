"""Images with a Fourier basis image added, and a classifier's answers to them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from specprobe.analysis.heatmap_layers import LayerTap
from specprobe.arrays import Array, like, namespace, to_host
from specprobe.errors import InvalidNumbers
from specprobe.spectral.basis import basis_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.protocols import Batch, Classifier

__all__ = ["Additions", "Answers", "answers", "cross_entropy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Additions:
    """What is added to the images of one batch: P basis images, each to all of them.

    Attributes
    ----------
    frequencies : numpy.ndarray of int64, shape (P, 2)
        ``(f_y, f_x)`` in cycles per image.
    phase_degrees : numpy.ndarray of float64, shape (P,) or (P, N)
        Of the basis images; of each image's own.
    steps : array, shape (N, C)
        Signed L2 norm, in the library and on the device of the images.
    clip : bool
        Whether sums are clipped to [0, 1].
    """

    frequencies: "NDArray[np.int64]"
    phase_degrees: "NDArray[np.float64]"
    steps: Array
    clip: bool

    def images(self, clean: Array, rows: "NDArray[np.int64]", /) -> Array:
        """Some of the P · N sums; those with one basis image stand side by side.

        Parameters
        ----------
        clean : array, shape (N, C, H, W)
            As they are.
        rows : numpy.ndarray of int64, shape (B,)
            Consecutive, from 0 to P · N - 1.

        Returns
        -------
        array, shape (B, C, H, W)
            Made on the device of ``clean``; needs no more memory than a few times its own.
        """
        xp = namespace(clean)
        probe, image = np.divmod(rows, clean.shape[0])
        shape = (clean.shape[-2], clean.shape[-1])
        if self.phase_degrees.ndim == 2:
            phases = self.phase_degrees[probe, image]
            basis = basis_images(self.frequencies[probe], shape=shape, like=clean, phase_degrees=phases)
        else:
            used = slice(int(probe[0]), int(probe[-1]) + 1)
            phases = self.phase_degrees[used]
            basis = basis_images(self.frequencies[used], shape=shape, like=clean, phase_degrees=phases)
            basis = xp.take(basis, like(probe - used.start, clean), axis=0)
        which = like(image, clean)
        steps = xp.take(self.steps, which, axis=0)
        added = xp.take(clean, which, axis=0) + steps[:, :, None, None] * basis[:, None, :, :]
        return xp.clip(added, 0.0, 1.0) if self.clip else added


class Answers(NamedTuple):
    """What N images did under P basis images.

    Attributes
    ----------
    wrong : numpy.ndarray of bool, shape (P, N)
        Whether the answer is another class.
    losses : numpy.ndarray of float64, shape (P, N)
        Cross-entropy in nats.
    changes : numpy.ndarray of float64, shape (P, N, L), or None
        L2 norms of the changes of L tensors; None where none are asked for.
    """

    wrong: "NDArray[np.bool_]"
    losses: "NDArray[np.float64]"
    changes: "NDArray[np.float64] | None"


def answers(
    classifier: "Classifier",
    batch: "Batch",
    classes: "NDArray[np.int64]",
    /,
    *,
    additions: Additions,
    batch_size: int,
) -> Answers:
    """Answers to each image with each basis image added.

    Parameters
    ----------
    classifier : Classifier
        The model; a LayerTap, which keeps the clean tensors, where their changes are asked for.
    batch : Batch
        N images.
    classes : numpy.ndarray of int64, shape (N,)
        What is right.
    additions : Additions
        P basis images.
    batch_size : int
        Images classified at once; the last batch alone may be smaller.

    Returns
    -------
    Answers
        By basis image, then by image.

    Raises
    ------
    InvalidNumbers
        If a logit is NaN or infinite; names image and frequency.
    """
    shape = (len(additions.frequencies), len(classes))
    total = shape[0] * shape[1]
    wrong, losses = np.empty(total, np.bool_), np.empty(total)
    tap = classifier if isinstance(classifier, LayerTap) else None
    changes = None if tap is None else np.empty((total, len(tap.names)))
    for start in range(0, total, batch_size):
        rows = np.arange(start, min(start + batch_size, total))
        logits = classifier.logits(additions.images(batch.images, rows))
        xp = namespace(logits)
        fine = to_host(xp.all(xp.isfinite(logits), axis=1))
        if not fine.all():
            probe, image = divmod(int(rows[np.argmin(fine)]), shape[1])
            f_y, f_x = additions.frequencies[probe].tolist()
            msg = (
                f"the logits of image {batch.start + image} with frequency (f_y, f_x) = ({f_y}, {f_x}) added are NaN "
                f"or infinite ({int((~fine).sum())} of {fine.size} images here): check the preprocessing recipe and "
                "the export"
            )
            raise InvalidNumbers(msg)
        wanted = classes[rows % shape[1]]
        wrong[rows] = to_host(xp.argmax(logits, axis=1)) != wanted
        losses[rows] = cross_entropy(logits, wanted)
        if tap is not None and changes is not None:
            changes[rows] = tap.changes(rows % shape[1])
    return Answers(
        wrong.reshape(shape),
        losses.reshape(shape),
        None if changes is None else changes.reshape(*shape, -1),
    )


def cross_entropy(logits: Array, classes: "NDArray[np.int64]", /) -> "NDArray[np.float64]":
    """Loss of each image, in float64 on the device of the logits.

    Parameters
    ----------
    logits : array, shape (N, K)
        Finite.
    classes : numpy.ndarray of int64, shape (N,)
        What is right.

    Returns
    -------
    numpy.ndarray of float64, shape (N,)
        In nats.
    """
    xp = namespace(logits)
    logits = xp.astype(logits, xp.float64)
    top = xp.max(logits, axis=1)
    places = like(np.arange(len(classes)) * logits.shape[1] + classes, logits)
    picked = xp.take(xp.reshape(logits, (-1,)), places, axis=0)
    losses: NDArray[np.float64] = to_host(
        xp.log(xp.sum(xp.exp(logits - top[:, None]), axis=1)) + (top - picked)
    )
    return losses
