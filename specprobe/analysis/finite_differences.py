"""Gradients with respect to images from logits alone: central differences along waves."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.arrays import Array, like, namespace, to_host
from specprobe.randomness import generator
from specprobe.spectral.basis import quadrature_pairs, self_conjugate
from specprobe.spectral.grid import real_frequencies, rings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.protocols import Classifier
    from specprobe.spectral.power import Channels

__all__ = ["FiniteDifferences", "finite_differences", "losses_of_logits"]

_STEPS = tuple(4 / 2**i for i in range(11))
"""L2 norms that are tried, in pixel units, for a wave in one channel; the last is but half of the last but one."""
_PROBES = 6
_FREQUENCIES = 32
"""Whose waves are held at once; not the batch size, since sums are to the bit the same for any."""
_PURPOSE = "sensitivity/finite-differences"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FiniteDifferences:
    """Gradients of one batch, and what is known of their error.

    Attributes
    ----------
    gradients : array, shape (N, C, H, W) or (N, 1, H, W)
        Of the library and device of the images; the mean of the channels where it was asked for. Where frequencies
        were sampled, waves of the sampled ones alone, enlarged so that ring sums are right on average.
    evaluations : int
        Images that the model was run on.
    step_l2_norm : numpy.ndarray of float64, shape (N,)
        Of the change of each image, in each direction.
    relative_error : numpy.ndarray of float64, shape (N,)
        Of a derivative, estimated from half the step: root mean square over a few waves, divided by that of the
        derivatives. NaN where these are zero.
    """

    gradients: Array
    evaluations: int
    step_l2_norm: "NDArray[np.float64]"
    relative_error: "NDArray[np.float64]"


def losses_of_logits(
    logits: "NDArray[Any]", labels: "NDArray[np.int64]", /, *, loss: str
) -> "NDArray[np.float64]":
    """Losses as of :mod:`specprobe.autodiff.losses`.

    Parameters
    ----------
    logits : numpy.ndarray, shape (N, K)
        Of any floating type.
    labels : numpy.ndarray of int64, shape (N,)
        Classes.
    loss : {"cross-entropy", "margin", "dlr", "logit"}
        Which.

    Returns
    -------
    numpy.ndarray of float64, shape (N,)
        Computed in float64.

    Raises
    ------
    ValueError
        If ``loss`` is none of these.
    """
    z = logits.astype(np.float64)
    rows = np.arange(len(z))
    own: NDArray[np.float64] = z[rows, labels]
    if loss == "logit":
        return own
    largest = z.max(axis=1, keepdims=True)
    if loss == "cross-entropy":
        # In terms of the differences to the label, so that a loss of 1e-20 has digits.
        others = np.exp(z - largest)
        others[rows, labels] = 0
        rest = largest[:, 0] + np.log(np.maximum(others.sum(axis=1), np.finfo(np.float64).tiny))
        entropy: NDArray[np.float64] = np.logaddexp(0, rest - own)
        return entropy
    others = z.copy()
    others[rows, labels] = -np.inf
    margin: NDArray[np.float64] = others.max(axis=1) - own
    if loss == "margin":
        return margin
    if loss == "dlr":
        ordered = np.sort(z, axis=1)
        scaled: NDArray[np.float64] = margin / (ordered[:, -1] - ordered[:, -3] + 1e-12)
        return scaled
    msg = f"loss is {loss!r}; accepted are 'cross-entropy', 'margin', 'dlr' and 'logit'"
    raise ValueError(msg)


def finite_differences(
    classifier: "Classifier",
    images: Array,
    labels: "NDArray[np.int64]",
    /,
    *,
    loss: str,
    channels: "Channels",
    frequencies_per_ring: int | None,
    seed: int,
    start: int,
    batch_size: int,
) -> FiniteDifferences:
    """Central differences along the two waves of every frequency, or of some on each ring.

    Parameters
    ----------
    classifier : Classifier
        Needs no gradient.
    images : array, shape (N, C, H, W)
        Of one shard.
    labels : numpy.ndarray of int64, shape (N,)
        Classes that the loss is of.
    loss : str
        As of :func:`losses_of_logits`.
    channels : {"power", "mean_before"}
        A wave in one channel after the other, or in all at once.
    frequencies_per_ring : int or None
        How many are drawn, for each image anew; None for all.
    seed, start : int
        Seed, and index of the first image in its source.
    batch_size : int
        Images run at once.

    Returns
    -------
    FiniteDifferences
        In the order of the images.

    Notes
    -----
    The step is chosen for each image, out of ten: the one at which the derivatives along the waves of six random
    frequencies change least when it is halved. Too long a step meets kinks and curvature, too short a one the rounding of the logits.
    """
    parts = [
        _of_image(
            _Probed(classifier, images[i : i + 1, ...], labels[i : i + 1], loss, batch_size),
            channels,
            frequencies_per_ring,
            generator(seed, _PURPOSE, start + i),
        )
        for i in range(images.shape[0])
    ]
    gradients, evaluations, steps, errors = zip(*parts, strict=True)
    return FiniteDifferences(
        gradients=namespace(images).concat(list(gradients), axis=0),
        evaluations=sum(evaluations),
        step_l2_norm=np.array(steps),
        relative_error=np.array(errors),
    )


class _Probed:
    """One image whose loss is asked for at many places around it."""

    def __init__(
        self, classifier: "Classifier", image: Array, label: "NDArray[np.int64]", loss: str, batch_size: int
    ) -> None:
        self.classifier, self.image, self.label, self.loss = classifier, image, label, loss
        self.size = max(1, batch_size // 2)
        self.evaluations = 0

    def derivatives(self, directions: Array, step: float) -> "NDArray[np.float64]":
        """Central differences along directions (M, C, H, W)."""
        xp, made = namespace(directions), []
        for i in range(0, directions.shape[0], self.size):
            change = directions[i : min(i + self.size, directions.shape[0]), ...] * step
            around = xp.concat([self.image + change, self.image - change], axis=0)
            logits = to_host(self.classifier.logits(around))
            losses = losses_of_logits(logits, np.repeat(self.label, len(logits)), loss=self.loss)
            self.evaluations += len(logits)
            made.append((losses[: len(losses) // 2] - losses[len(losses) // 2 :]) / (2 * step))
        return np.concatenate(made)


def _of_image(
    probed: _Probed, channels: "Channels", per_ring: int | None, random: np.random.Generator
) -> tuple[Array, int, float, float]:
    image = probed.image
    xp, (_, count, height, width) = namespace(image), image.shape
    pairs, enlarged = _chosen((height, width), per_ring, random)
    eye = np.eye(count) if channels == "power" else np.ones((1, count))
    spread = [like(row.astype(np.float32)[None, :, None, None], image) for row in eye]

    def planes(frequencies: "NDArray[np.int64]") -> Array:
        """Waves (M, 1, H, W): two of each frequency, one where it has no second."""
        made = quadrature_pairs(frequencies, shape=(height, width), like=image)
        held = np.stack(
            [np.ones(len(frequencies), bool), ~self_conjugate(frequencies, shape=(height, width))]
        )
        flat = xp.reshape(made, (2 * len(frequencies), 1, height, width))
        return xp.take(flat, like(np.flatnonzero(held.T.ravel()), image), axis=0)

    waves = random.integers(len(pairs), size=_PROBES)
    some = planes(pairs[waves])
    where = random.integers(len(eye), size=some.shape[0])
    probes = xp.concat([some[i : i + 1, ...] * spread[c] for i, c in enumerate(where)], axis=0)
    step, error = _step_of(probed, probes)

    gradients = []
    for channel in spread:
        total = np.zeros((height, width))
        for i in range(0, len(pairs), _FREQUENCIES):
            several, factors = pairs[i : i + _FREQUENCIES], enlarged[i : i + _FREQUENCIES]
            directions = planes(several)
            alone = self_conjugate(several, shape=(height, width))
            factors = np.repeat(factors, np.where(alone, 1, 2))
            found = probed.derivatives(directions * channel, step) * factors
            total += np.tensordot(found, to_host(directions)[:, 0].astype(np.float64), axes=1)
        gradients.append(total)
    gradient = np.stack(gradients)[None] / (1 if channels == "power" else count)
    return like(gradient.astype(np.float32), image), probed.evaluations, step, error


def _step_of(probed: _Probed, probes: Array) -> tuple[float, float]:
    """The step at which halving changes least, and the change relative to the derivatives."""
    found = np.stack([probed.derivatives(probes, step) for step in _STEPS])
    change = np.sqrt(np.mean((found[:-1] - found[1:]) ** 2, axis=1))
    size = np.sqrt(np.mean(found[:-1] ** 2, axis=1))
    best = int(np.argmin(np.where(size > 0, change / np.where(size > 0, size, 1), np.inf)))
    return _STEPS[best], float(change[best] / size[best]) if size[best] > 0 else float("nan")


def _chosen(
    shape: tuple[int, int], per_ring: int | None, random: np.random.Generator
) -> "tuple[NDArray[np.int64], NDArray[np.float64]]":
    """Frequencies (K, 2), and factors of their amplitudes that make up for those not drawn."""
    pairs = real_frequencies(shape)
    if per_ring is None:
        return pairs, np.ones(len(pairs))
    ring = rings(shape)[pairs[:, 0] + shape[0] // 2, pairs[:, 1] + shape[1] // 2]
    drawn, factors = [], []
    for r in range(int(ring.max()) + 1):
        members = np.flatnonzero(ring == r)
        kept = np.sort(random.permutation(members)[:per_ring])
        drawn.append(kept)
        factors.append(np.full(len(kept), np.sqrt(len(members) / max(len(kept), 1))))
    return pairs[np.concatenate(drawn)], np.concatenate(factors)
