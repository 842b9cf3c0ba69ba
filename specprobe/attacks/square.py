"""Square attack: random search in square windows, without gradients."""

from typing import TYPE_CHECKING

import numpy as np

from specprobe.arrays import Array, namespace
from specprobe.attacks.nearest import logit_margins
from specprobe.attacks.rows import column, take
from specprobe.attacks.square_moves import square_moves, window_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.attacks.oracle import Oracle
    from specprobe.attacks.streams import Streams
    from specprobe.attacks.threat import Threat

__all__ = ["square"]

_BLOCK = 256
"""Steps that random numbers are drawn for at a time: a call of a generator takes as long as some hundred of them."""


def square(
    oracle: "Oracle",
    threat: "Threat",
    streams: "Streams",
    /,
    *,
    queries: int = 5000,
    largest_share: float = 0.8,
    early_stop: bool = True,
) -> Array:
    """Random search for the largest margin, in windows that shrink.

    Parameters
    ----------
    oracle : Oracle
        Of any classifier.
    threat : Threat
        Perturbations that are allowed. Where it has a band, each candidate is projected onto it.
    streams : Streams
        Drawn from in blocks of steps.
    queries : int
        Candidates that are classified, for each image, at most; the first one among them.
    largest_share : float
        Of the pixels, that the first windows cover (the published p); see
        :func:`~specprobe.attacks.square_moves.window_share`.
    early_stop : bool
        Whether an image is left alone once it is taken for another class.

    Returns
    -------
    array, shape (N, C, H, W)
        Candidates of largest margin: the largest logit of another class less that of the label.

    Raises
    ------
    ValueError
        If there are no queries, or the share is not in (0, 1].

    Notes
    -----
    As published [1]_, for l1 with the moves of l2 and sums of absolute values for sums of squares. Windows and signs are
    drawn for each image alone, as in the paper; the code in wide use shares windows among the images of a batch, and
    never puts one at the last row or column.

    References
    ----------
    .. [1] M. Andriushchenko, F. Croce, N. Flammarion, M. Hein, Square attack: a query-efficient black-box adversarial
       attack via random search, ECCV 2020. arXiv:1912.00049
    """
    if queries < 1 or not 0 < largest_share <= 1:
        msg = (
            f"queries is {queries} and largest_share is {largest_share}; "
            "accepted are whole numbers from 1, and shares above 0 up to 1"
        )
        raise ValueError(msg)
    rows = np.arange(len(oracle))
    moves = square_moves(threat, oracle.images)
    best = moves.start(streams, rows)
    xp = namespace(best)
    logits = oracle.logits(best, rows)
    fooled, margins = oracle.fooled(logits, rows), logit_margins(logits, oracle.labels)
    done: list[tuple[NDArray[np.int64], Array]] = []
    numbers = np.empty((len(rows), 0, moves.numbers))
    for step in range(queries - 1):
        if early_stop and fooled.any():
            left, gone = np.flatnonzero(~fooled), np.flatnonzero(fooled)
            done.append((rows[gone], take(best, gone)))
            best = take(best, left)
            moves.take(left)
            rows, numbers, margins, fooled = rows[left], numbers[left], margins[left], fooled[left]
        if not rows.size:
            break
        if step % _BLOCK == 0:
            numbers = streams.host(rows, lambda random: random.random((_BLOCK, moves.numbers)))
        share = window_share(step, queries=queries, largest=largest_share)
        tried = moves.propose(best, share, numbers[:, step % _BLOCK])
        logits = oracle.logits(tried, rows)
        misled, found = oracle.fooled(logits, rows), logit_margins(logits, oracle.labels[rows])
        better = (found > margins) | (misled & ~fooled)
        if better.any():
            best = xp.where(column(better, best), tried, best)
            margins, fooled = np.where(better, found, margins), np.where(better, misled, fooled)
    done.append((rows, best))
    order = np.argsort(np.concatenate([part for part, _ in done]))
    return take(xp.concat([images for _, images in done], axis=0), order)
