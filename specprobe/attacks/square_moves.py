"""Where the square attack looks next: candidates that differ from the best ones in a window."""

import math
from bisect import bisect_left
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from specprobe.arrays import Array, device, like, namespace
from specprobe.attacks.rows import take

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.attacks.streams import Streams
    from specprobe.attacks.threat import Threat

__all__ = ["Moves", "bump", "square_moves", "window_share", "window_side"]

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries of 10 000 after which the window's share of the image is halved."""


def window_share(step: int, /, *, queries: int, largest: float) -> float:
    """Share of an image's pixels that a window covers.

    Parameters
    ----------
    step : int
        From 0.
    queries : int
        Of the whole attack; the published schedule is for 10 000 and stretched to fit.
    largest : float
        At the start.

    Returns
    -------
    float
        Halved nine times.
    """
    return float(largest / 2 ** bisect_left(_HALVINGS, step * 10_000 // queries))


def window_side(share: float, shape: tuple[int, int], /, *, fewest: int = 1, odd: bool = False) -> int:
    """Side of a square window.

    Parameters
    ----------
    share : float
        Of the pixels.
    shape : (int, int)
        Height and width of the images.
    fewest : int
        Least side.
    odd : bool
        Whether even sides are raised by one.

    Returns
    -------
    int
        In pixels; no larger than the image.
    """
    side = max(round(math.sqrt(share * shape[0] * shape[1])), fewest)
    side += odd and side % 2 == 0
    return min(side, *shape)


@lru_cache(maxsize=64)
def bump(side: int, order: int, /) -> "NDArray[np.float64]":
    """Pattern of a window: a peak above a trough, each falling off from its centre.

    Parameters
    ----------
    side : int
        Of the window.
    order : {1, 2}
        Of the norm.

    Returns
    -------
    numpy.ndarray of float64, shape (side, side)
        Of norm 1. Peak and trough have the same norm, unless the side is 1.
    """
    upper = side // 2
    halves = [_peak(upper, side, order), -_peak(side - upper, side, order)]
    whole = np.concatenate(halves)
    whole /= np.linalg.norm(whole.ravel(), ord=order)
    whole.setflags(write=False)
    return whole


def _peak(height: int, width: int, order: int) -> "NDArray[np.float64]":
    """Sums of 1 / (j + 1)² over j from the distance to the centre up to the largest one, scaled to norm 1."""
    largest = max(height // 2, width // 2)
    tails = np.cumsum(1.0 / np.arange(largest + 1, 0, -1) ** 2)[::-1]
    y, x = np.abs(np.arange(height) - height // 2), np.abs(np.arange(width) - width // 2)
    values = tails[np.maximum(y[:, None], x[None, :])]
    return values / np.linalg.norm(values.ravel(), ord=order) if height else values


class Moves(Protocol):
    """Candidates of the square attack for the images that still stand.

    Attributes
    ----------
    numbers : int
        Uniform numbers in [0, 1) that a step takes, for each image.
    """

    numbers: int

    def start(self, streams: "Streams", rows: "NDArray[np.int64]", /) -> Array:
        """First candidates.

        Parameters
        ----------
        streams : Streams
            Drawn from.
        rows : numpy.ndarray of int64, shape (n,)
            Which images of the oracle the clean images are.

        Returns
        -------
        array, shape (n, C, H, W)
            In ball and box.
        """
        ...

    def propose(self, best: Array, share: float, numbers: "NDArray[np.float64]", /) -> Array:
        """Candidates that differ from the best ones in windows.

        Parameters
        ----------
        best : array, shape (n, C, H, W)
            In ball and box.
        share : float
            Of the pixels, that a window covers.
        numbers : numpy.ndarray of float64, shape (n, numbers)
            Uniform in [0, 1).

        Returns
        -------
        array, shape (n, C, H, W)
            In ball and box.
        """
        ...

    def take(self, kept: "NDArray[np.int64]", /) -> None:
        """Go on with some of the images.

        Parameters
        ----------
        kept : numpy.ndarray of int64, shape (m,)
            Which.
        """
        ...


def square_moves(threat: "Threat", clean: Array, /) -> Moves:
    """Moves that suit the norm of a threat.

    Parameters
    ----------
    threat : Threat
        That candidates keep to.
    clean : array, shape (n, C, H, W)
        Images.

    Returns
    -------
    Moves
        Squares at the ends of the range for linf, bumps for l2 and l1.
    """
    return _Squares(threat, clean) if threat.norm == "linf" else _Bumps(threat, clean)


def _windows(numbers: "NDArray[np.float64]", side: int, clean: Array) -> Array:
    """Whether pixels (n, 1, H, W) lie in windows at random places (n, 2)."""
    xp, (height, width) = namespace(clean), clean.shape[-2:]
    corners = np.floor(numbers * (height - side + 1, width - side + 1)).astype(np.int64)
    corner = like(corners[:, :, None, None], clean)
    y, x = (xp.arange(n, dtype=xp.int64, device=device(clean)) for n in (height, width))
    down, right = y[None, None, :, None] - corner[:, :1, ...], x[None, None, None, :] - corner[:, 1:, ...]
    return ((down >= 0) & (down < side)) & ((right >= 0) & (right < side))


class _Squares:
    """Squares in which each channel goes to one end of the range that the ball leaves."""

    def __init__(self, threat: "Threat", clean: Array, /) -> None:
        self._threat, self._clean = threat, clean
        self._low = threat.project(clean, clean - 2 * threat.epsilon)
        self._high = threat.project(clean, clean + 2 * threat.epsilon)
        self.numbers = 2 + clean.shape[1]

    def start(self, streams: "Streams", rows: "NDArray[np.int64]", /) -> Array:
        _, channels, _, width = self._clean.shape
        stripes = streams.uniform(rows, (channels, 1, width)) < 0.5
        return self._inside(namespace(self._clean).where(stripes, self._low, self._high))

    def propose(self, best: Array, share: float, numbers: "NDArray[np.float64]", /) -> Array:
        xp = namespace(best)
        side = window_side(share, best.shape[-2:])
        window = _windows(numbers[:, :2], side, best)
        down = like(numbers[:, 2:, None, None] < 0.5, best)
        # Each pass goes over all pixels; a gather of small windows would need indices of every one of theirs.
        return self._inside(xp.where(window, xp.where(down, self._low, self._high), best))

    def take(self, kept: "NDArray[np.int64]", /) -> None:
        self._clean, self._low, self._high = (take(x, kept) for x in (self._clean, self._low, self._high))

    def _inside(self, candidates: Array) -> Array:
        return candidates if self._threat.band is None else self._threat.project(self._clean, candidates)


class _Bumps:
    """A window's perturbation is drawn towards a bump, with the norm that another window gives up."""

    def __init__(self, threat: "Threat", clean: Array, /) -> None:
        self._threat, self._clean = threat, clean
        self._order = 2 if threat.norm == "l2" else 1
        self.numbers = 5 + clean.shape[1]

    def start(self, streams: "Streams", rows: "NDArray[np.int64]", /) -> Array:
        _, channels, height, width = self._clean.shape
        side = max(min(height, width) // 5, 1)
        down, right = height // side, width // side
        drawn = streams.host(rows, lambda random: random.random((channels + 1, down, right)))
        pattern = bump(side, self._order)
        tiles = np.where(drawn[:, :1, :, :, None, None] < 0.5, pattern, pattern.T)
        tiles = tiles * np.where(drawn[:, 1:] < 0.5, -1, 1)[..., None, None]
        canvas = np.zeros((len(rows), channels, height, width), np.float32)
        top, left = (height - side * down) // 2, (width - side * right) // 2
        canvas[:, :, top : top + side * down, left : left + side * right] = np.moveaxis(tiles, 4, 3).reshape(
            len(rows), channels, side * down, side * right
        )
        return self._at_epsilon(like(canvas, self._clean))

    def propose(self, best: Array, share: float, numbers: "NDArray[np.float64]", /) -> Array:
        xp, (count, channels) = namespace(best), best.shape[:2]
        side = window_side(share, best.shape[-2:], fewest=3, odd=True)
        window, other = _windows(numbers[:, :2], side, best), _windows(numbers[:, 2:4], side, best)
        within = (count, channels, side, side)
        # Windows are read and written by masks: all but the first of them hold few of the pixels.
        here, there = (xp.broadcast_to(mask, best.shape) for mask in (window, other))
        perturbation = best - self._clean
        old, given_up = (xp.reshape(perturbation[mask], within) for mask in (here, there))
        both = xp.reshape(window[other], (count, 1, side, side))
        held = _of_channels(xp, self._powers(old))
        elsewhere = xp.where(both, xp.zeros_like(given_up), self._powers(given_up))
        # Of each channel: what the two windows hold now, and its part of what the ball has left.
        unused = self._threat.epsilon**self._order - _total(xp, self._powers(perturbation))
        available = held + _of_channels(xp, elsewhere) + unused / channels
        available = self._root(xp.maximum(available, xp.zeros_like(available)))
        length = self._root(held)
        moved = self._bumps(side, numbers[:, 4:], best) + old / xp.where(
            length > 0, length, xp.ones_like(length)
        )
        length = self._root(_of_channels(xp, self._powers(moved)))
        moved = moved * (available / xp.where(length > 0, length, xp.ones_like(length)))
        candidates = xp.asarray(best, copy=True)
        candidates[there] = self._clean[there]
        candidates[here] = xp.reshape(xp.clip(xp.reshape(self._clean[here], within) + moved, 0, 1), (-1,))
        return candidates if self._threat.band is None else self._threat.project(self._clean, candidates)

    def take(self, kept: "NDArray[np.int64]", /) -> None:
        self._clean = take(self._clean, kept)

    def _bumps(self, side: int, numbers: "NDArray[np.float64]", like_: Array) -> Array:
        """Bumps (n, C, side, side) of random sign in each channel, on their sides for half of the images."""
        plain = bump(side, self._order).astype(np.float32)
        turned = np.where(numbers[:, 0, None, None] < 0.5, plain, plain.T)
        signs = np.where(numbers[:, 1:] < 0.5, -1, 1).astype(np.float32)
        return like(turned[:, None], like_) * like(signs[:, :, None, None], like_)

    def _powers(self, perturbation: Array) -> Array:
        return perturbation * perturbation if self._order == 2 else namespace(perturbation).abs(perturbation)

    def _root(self, sums: Array) -> Array:
        return namespace(sums).sqrt(sums) if self._order == 2 else sums

    def _at_epsilon(self, perturbation: Array) -> Array:
        """Images whose perturbation has norm epsilon until the box cuts it."""
        xp = namespace(perturbation)
        length = self._root(_total(xp, self._powers(perturbation)))
        factor = self._threat.epsilon / xp.where(length > 0, length, xp.ones_like(length))
        return self._threat.project(self._clean, self._clean + perturbation * factor)


def _total(xp: Any, powers: Array) -> Array:
    """Sums (n, 1, 1, 1) over images."""
    return xp.sum(powers, axis=(1, 2, 3), keepdims=True)


def _of_channels(xp: Any, powers: Array) -> Array:
    """Sums (n, C, 1, 1) over pixels."""
    return xp.sum(powers, axis=(2, 3), keepdims=True)
