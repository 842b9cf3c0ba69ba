"""Steps along the gradient, projected back into the threat."""

from typing import TYPE_CHECKING

import numpy as np

from specprobe.analysis.finite_differences import losses_of_logits
from specprobe.arrays import Array, to_host
from specprobe.attacks.norms import movable
from specprobe.attacks.rows import put, take

if TYPE_CHECKING:
    from specprobe.attacks.oracle import Oracle
    from specprobe.attacks.streams import Streams
    from specprobe.attacks.threat import Threat

__all__ = ["fgsm", "pgd"]

_STRIDE = 2.5
"""Steps of the default size lead this many radii far, so that they reach any point of the ball."""


def fgsm(
    oracle: "Oracle",
    threat: "Threat",
    streams: "Streams",  # noqa: ARG001 - every attack is called alike
    /,
    *,
    loss: str = "cross-entropy",
) -> Array:
    """One step to the edge of the ball [1]_.

    Parameters
    ----------
    oracle : Oracle
        With a differentiable classifier.
    threat : Threat
        Of any norm; in L∞ the step is the sign of the gradient, as published.
    streams : Streams
        Not drawn from.
    loss : str
        That is climbed, as of :mod:`specprobe.autodiff.losses`.

    Returns
    -------
    array, shape (N, C, H, W)
        In ball, band and box.

    References
    ----------
    .. [1] I. J. Goodfellow, J. Shlens, C. Szegedy, Explaining and harnessing adversarial examples, ICLR 2015.
       arXiv:1412.6572
    """
    rows = np.arange(len(oracle))
    images = oracle.images
    _, _, gradients = oracle.gradient(images, rows, loss=loss)
    step = threat.steepest(movable(threat, images, gradients))
    return threat.project(images, images + threat.epsilon * step)


def pgd(
    oracle: "Oracle",
    threat: "Threat",
    streams: "Streams",
    /,
    *,
    steps: int = 40,
    step_size: float | None = None,
    loss: str = "cross-entropy",
    random_start: bool = True,
    early_stop: bool = True,
) -> Array:
    """Projected gradient ascent [1]_.

    Parameters
    ----------
    oracle : Oracle
        With a differentiable classifier.
    threat : Threat
        Of any norm.
    streams : Streams
        Of the random start.
    steps : int
        Gradients of each image, at most.
    step_size : float, optional
        In the threat's norm; ``2.5 · epsilon / steps`` if not given.
    loss : str
        That is climbed, as of :mod:`specprobe.autodiff.losses`.
    random_start : bool
        Whether to start from a random point of the ball, not from the image.
    early_stop : bool
        Whether images that are fooled leave the batch, with the first candidate that did it. Much of that one may be
        the random start; where the perturbation itself is looked at, all steps are to be taken.

    Returns
    -------
    array, shape (N, C, H, W)
        The first candidate that fools the classifier or, if all steps are taken, that of highest loss among those that
        do; the one of highest loss where none does.

    Raises
    ------
    ValueError
        If there are no steps.

    References
    ----------
    .. [1] A. Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018. arXiv:1706.06083
    """
    if steps < 1:
        msg = f"steps is {steps}; accepted are whole numbers from 1"
        raise ValueError(msg)
    size = _STRIDE * threat.epsilon / steps if step_size is None else step_size
    rows = np.arange(len(oracle))
    images = clean = oracle.images
    current = threat.random_start(images, streams, rows) if random_start else images
    found, losses = images, np.full(len(rows), -np.inf)
    fooled = np.zeros(len(rows), bool)
    for step in range(steps + 1):
        if step < steps:
            logits, values, gradients = oracle.gradient(current, rows, loss=loss)
            told = to_host(values).astype(np.float64)
        else:
            logits = oracle.logits(current, rows)
            told = losses_of_logits(to_host(logits), oracle.labels[rows], loss=loss)
        fallen = oracle.fooled(logits, rows)
        first, higher = fallen & ~fooled[rows], told > losses[rows]
        kept = np.flatnonzero(first | (higher & (fallen | ~fooled[rows])))
        losses[rows[kept]] = told[kept]
        found = put(found, rows[kept], take(current, kept))
        fooled[rows[fallen]] = True
        if step == steps:
            break
        if early_stop and fallen.any():
            standing = np.flatnonzero(~fallen)
            if not len(standing):
                break
            rows = rows[standing]
            current, gradients, clean = (take(x, standing) for x in (current, gradients, clean))
        direction = threat.steepest(movable(threat, current, gradients))
        current = threat.project(clean, current + size * direction)
    return found
