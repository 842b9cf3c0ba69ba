"""Nearest image of another class that was found for each image, and its distance made as short as the segment allows."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.arrays import Array, device, like, namespace, to_host
from specprobe.attacks.rows import column, put, take

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.attacks.oracle import Oracle
    from specprobe.attacks.threat import Threat

__all__ = ["Nearest", "logit_margins", "scaled"]

_BEYOND = 0.05
"""How far from the estimated boundary towards the image beyond it the search looks, as a share of the way."""


def logit_margins(logits: Array, labels: "NDArray[np.int64]", /) -> "NDArray[np.float64]":
    """Largest logit of another class less that of the label.

    Parameters
    ----------
    logits : array, shape (n, K)
        At least two classes.
    labels : numpy.ndarray of int64, shape (n,)
        Of the images.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        Above 0 where an image is taken for another class.
    """
    xp = namespace(logits)
    own = xp.arange(logits.shape[1], dtype=xp.int64, device=device(logits))[None, :] == like(
        labels[:, None], logits
    )
    others = xp.max(xp.where(own, xp.full_like(logits, -xp.inf), logits), axis=1)
    mine = xp.max(xp.where(own, logits, xp.full_like(logits, -xp.inf)), axis=1)
    return to_host(others - mine).astype(np.float64)


def scaled(images: Array, candidates: Array, factors: "NDArray[np.floating[Any]]", /) -> Array:
    """Candidates with their perturbations multiplied by a factor each.

    Parameters
    ----------
    images : array, shape (n, C, H, W)
        Clean.
    candidates : array, shape (n, C, H, W)
        In the box.
    factors : numpy.ndarray, shape (n,)
        Cut to the box where they are above 1.

    Returns
    -------
    array, shape (n, C, H, W)
        Within [0, 1]; the candidates themselves where the factor is 1.
    """
    xp = namespace(images, candidates)
    factor = column(factors, images)
    moved = xp.clip(images + factor * (candidates - images), 0, 1)
    return xp.where(factor == 1, candidates, moved)


class Nearest:
    """Nearest image of another class found so far for each image of an oracle.

    Parameters
    ----------
    oracle : Oracle
        Whose images they are.
    threat : Threat
        Whose norm measures the distance.

    Attributes
    ----------
    images : array, shape (N, C, H, W)
        The nearest; the clean image where none was found.
    sizes : numpy.ndarray of float64, shape (N,)
        Their distances; infinite where none was found.
    """

    def __init__(self, oracle: "Oracle", threat: "Threat", /) -> None:
        self._oracle, self._threat = oracle, threat
        self.images = oracle.images
        self.sizes = np.full(len(oracle), np.inf)

    def offer(
        self, candidates: Array, rows: "NDArray[np.int64]", fooled: "NDArray[np.bool_]", clean: Array, /
    ) -> None:
        """Keep those candidates of another class that are nearer than what there is.

        Parameters
        ----------
        candidates : array, shape (n, C, H, W)
            In the box.
        rows : numpy.ndarray of int64, shape (n,)
            Which images of the oracle.
        fooled : numpy.ndarray of bool, shape (n,)
            Whether they are of another class.
        clean : array, shape (n, C, H, W)
            Clean images of the rows.
        """
        if not fooled.any():
            return
        sizes = to_host(self._threat.size(candidates - clean))
        places = np.flatnonzero(fooled & (sizes < self.sizes[rows]))
        if places.size:
            self.images = put(self.images, rows[places], take(candidates, places))
            self.sizes[rows[places]] = sizes[places]

    def shorten(self, rows: "NDArray[np.int64]", /, *, rounds: int) -> None:
        """Look for nearer images of another class on the way from the clean image to what there is.

        Parameters
        ----------
        rows : numpy.ndarray of int64, shape (n,)
            Which images; those without a candidate are left out.
        rounds : int
            Forward passes for it, with one more to find the margin at each end; 0 for no search.

        Notes
        -----
        By false position on the margin between the last place of the label and the nearest of another class, with a
        small share of the way kept as a reserve: a boundary that is flat there is met to ``0.05 ** rounds`` of what
        was beyond it.
        """
        rows = rows[np.isfinite(self.sizes[rows])]
        if not (rows.size and rounds):
            return
        oracle, labels = self._oracle, self._oracle.labels[rows]
        clean, ends = oracle.clean(rows), take(self.images, rows)
        below, above = np.zeros(len(rows)), np.ones(len(rows))
        margin_below = logit_margins(oracle.logits(clean, rows), labels)
        margin_above = logit_margins(oracle.logits(ends, rows), labels)
        for _ in range(rounds):
            rise = margin_above - margin_below
            share = np.clip(-margin_below / np.where(rise > 0, rise, 1), 0, 1)
            share = np.where(rise > 0, share + _BEYOND * (1 - share), 0.5)
            way = below + share * (above - below)
            tried = scaled(clean, ends, way)
            logits = oracle.logits(tried, rows)
            fooled, margins = oracle.fooled(logits, rows), logit_margins(logits, labels)
            self.offer(tried, rows, fooled, clean)
            above, margin_above = np.where(fooled, way, above), np.where(fooled, margins, margin_above)
            below, margin_below = np.where(fooled, below, way), np.where(fooled, margin_below, margins)
