"""Projected gradient ascent that chooses its step size by itself."""

from typing import TYPE_CHECKING

import numpy as np

from specprobe.arrays import Array, to_host
from specprobe.attacks.norms import movable
from specprobe.attacks.rows import column, put, take
from specprobe.errors import InputMismatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.attacks.oracle import Oracle
    from specprobe.attacks.streams import Streams
    from specprobe.attacks.threat import Threat

__all__ = ["TARGETS", "apgd", "apgd_targeted", "checkpoints"]

TARGETS = 9
"""Classes that a targeted attack tries: those ranked second to tenth by the clean logits."""

_MOMENTUM = 0.75
_RISING = 0.75
"""Share of steps of a stretch that must raise the loss for the step size to stay."""


def checkpoints(steps: int, /) -> list[int]:
    """Steps after which the step size is looked at [1]_.

    Parameters
    ----------
    steps : int
        Of the whole run.

    Returns
    -------
    list of int
        Numbers of steps done, ascending. The first stretch is 22 % of the run; each following one is shorter by 3 % of
        the run, down to 6 %.

    References
    ----------
    .. [1] F. Croce, M. Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
       attacks, ICML 2020. arXiv:2003.01690

    Examples
    --------
    >>> checkpoints(100)
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    stretch, least, shorter = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    found = []
    done = stretch
    while done <= steps:
        found.append(done)
        stretch = max(stretch - shorter, least)
        done += stretch
    return found


def apgd(
    oracle: "Oracle",
    threat: "Threat",
    streams: "Streams",
    /,
    *,
    steps: int = 100,
    loss: str = "cross-entropy",
    targets: "NDArray[np.int64] | None" = None,
    early_stop: bool = True,
) -> Array:
    """Auto-PGD [1]_: momentum, and a step size that halves where the loss no longer rises.

    Parameters
    ----------
    oracle : Oracle
        With a differentiable classifier.
    threat : Threat
        Of any norm. In L1 the published attack adapts how many coordinates a step moves; here that share is fixed, see
        :class:`~specprobe.attacks.norms.L1`.
    streams : Streams
        Of the start, on the surface of the ball.
    steps : int
        Gradients of each image after that of the start, at most.
    loss : str
        That is climbed: ``cross-entropy``, ``dlr`` or, with ``targets``, ``targeted-dlr``.
    targets : numpy.ndarray of int64, shape (N,), optional
        Class that each image is to be moved to.
    early_stop : bool
        Whether images that are fooled leave the batch.

    Returns
    -------
    array, shape (N, C, H, W)
        The first candidate that fools the classifier; the one of highest loss where none does.

    Raises
    ------
    ValueError
        If there are no steps.

    References
    ----------
    .. [1] F. Croce, M. Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
       attacks, ICML 2020. arXiv:2003.01690
    """
    if steps < 1:
        msg = f"steps is {steps}; accepted are whole numbers from 1"
        raise ValueError(msg)
    rows = np.arange(len(oracle))
    start = threat.random_start(oracle.images, streams, rows, on_sphere=True)
    climb = _Climb(oracle, threat, start, loss, targets, early_stop=early_stop)
    looked = set(checkpoints(steps))
    for step in range(1, steps + 1):
        if not len(climb.rows):
            break
        climb.step(first=step == 1)
        if step in looked:
            climb.look()
    return climb.result()


def apgd_targeted(
    oracle: "Oracle",
    threat: "Threat",
    streams: "Streams",
    /,
    *,
    steps: int = 100,
    classes: int = TARGETS,
) -> Array:
    """Auto-PGD towards one class after another, by the targeted DLR loss [1]_.

    Parameters
    ----------
    oracle : Oracle
        With a differentiable classifier of four classes or more.
    threat : Threat
        Of any norm.
    streams : Streams
        Of the starts.
    steps : int
        For each target class, at most.
    classes : int
        Target classes of each image, by falling clean logits; there may be fewer.

    Returns
    -------
    array, shape (N, C, H, W)
        The first candidate that fools the classifier; the last one towards the last class where none does.

    Raises
    ------
    InputMismatch
        If there are fewer than four classes, which the loss is not defined for.

    References
    ----------
    .. [1] F. Croce, M. Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
       attacks, ICML 2020. arXiv:2003.01690
    """
    if oracle.classes < 4:
        msg = (
            f"the targeted DLR loss needs 4 classes, the classifier has {oracle.classes}; "
            "attacks that need fewer are apgd-ce and, from 3, apgd-dlr"
        )
        raise InputMismatch(msg)
    rows = np.arange(len(oracle))
    ranked = np.argsort(-to_host(oracle.logits(oracle.images, rows)), axis=1, kind="stable")
    others = ranked[ranked != oracle.labels[:, None]].reshape(len(rows), -1)
    found = oracle.images
    for place in range(min(classes, others.shape[1])):
        part = oracle.take(rows)
        made = apgd(
            part, threat, streams.take(rows), steps=steps, loss="targeted-dlr", targets=others[rows, place]
        )
        found = put(found, rows, made)
        fallen = oracle.fooled(part.logits(made, np.arange(len(rows))), rows)
        oracle.forward_evaluations[rows] += part.forward_evaluations
        oracle.gradient_evaluations[rows] += part.gradient_evaluations
        rows = rows[~fallen]
        if not len(rows):
            break
    return found


class _Climb:
    """State of one run: what each image has reached, and how it moves. All arrays have a row for each that stands."""

    def __init__(
        self,
        oracle: "Oracle",
        threat: "Threat",
        start: Array,
        loss: str,
        targets: "NDArray[np.int64] | None",
        *,
        early_stop: bool,
    ) -> None:
        self.oracle, self.threat, self.loss, self.targets = oracle, threat, loss, targets
        self.early_stop = early_stop
        self.rows = np.arange(len(oracle))
        self.found = start  # of all images; filled in where one fools, and at the end
        self.fooled = np.zeros(len(oracle), bool)
        self.clean = oracle.images
        self.current = self.previous = self.best = start
        values, self.gradient = self._evaluate(start)
        self.best_gradient = self.gradient
        self.size = np.full(len(oracle), 2.0 * threat.epsilon)
        self.best_loss, self.last_loss = values.copy(), values.copy()
        self.best_at_look = values.copy()
        self.rises, self.since = np.zeros(len(oracle), np.int64), 0
        self.reduced = np.ones(len(oracle), bool)
        self._settle()

    def step(self, *, first: bool) -> None:
        """One step with momentum, and what it brought."""
        threat, current = self.threat, self.current
        direction = threat.steepest(movable(threat, current, self.gradient))
        ahead = threat.project(self.clean, current + column(self.size, current) * direction)
        if not first:
            ahead = threat.project(
                self.clean,
                current + _MOMENTUM * (ahead - current) + (1 - _MOMENTUM) * (current - self.previous),
            )
        self.previous, self.current = current, ahead
        values, self.gradient = self._evaluate(ahead)
        self.rises += values > self.last_loss
        self.last_loss = values
        self.since += 1
        higher = np.flatnonzero(values > self.best_loss)
        self.best = put(self.best, higher, take(ahead, higher))
        self.best_gradient = put(self.best_gradient, higher, take(self.gradient, higher))
        self.best_loss = np.maximum(self.best_loss, values)
        self._settle()

    def look(self) -> None:
        """Halve the step sizes of those that no longer rise, and send them back to their best."""
        stuck = ~self.reduced & (self.best_at_look >= self.best_loss)
        self.reduced = (self.rises <= _RISING * self.since) | stuck
        self.best_at_look = self.best_loss.copy()
        self.rises[:] = 0
        self.since = 0
        self.size = np.where(self.reduced, self.size / 2, self.size)
        back = np.flatnonzero(self.reduced)
        self.current = put(self.current, back, take(self.best, back))
        self.gradient = put(self.gradient, back, take(self.best_gradient, back))

    def result(self) -> Array:
        """First candidates that fool, and the best of those that stand."""
        standing = np.flatnonzero(~self.fooled[self.rows])
        return put(self.found, self.rows[standing], take(self.best, standing))

    def _evaluate(self, candidates: Array) -> "tuple[NDArray[np.float64], Array]":
        """Losses and gradients; who is fooled now is written down."""
        targets = None if self.targets is None else self.targets[self.rows]
        logits, values, gradients = self.oracle.gradient(
            candidates, self.rows, loss=self.loss, targets=targets
        )
        fallen = self.oracle.fooled(logits, self.rows)
        new = np.flatnonzero(fallen & ~self.fooled[self.rows])
        self.found = put(self.found, self.rows[new], take(candidates, new))
        self.fooled[self.rows[new]] = True
        return to_host(values).astype(np.float64), gradients

    def _settle(self) -> None:
        """Let those that have fallen go."""
        standing = np.flatnonzero(~self.fooled[self.rows])
        if not self.early_stop or len(standing) == len(self.rows):
            return
        self.rows = self.rows[standing]
        for name in ("clean", "current", "previous", "best", "gradient", "best_gradient"):
            setattr(self, name, take(getattr(self, name), standing))
        for name in ("size", "best_loss", "last_loss", "best_at_look", "rises", "reduced"):
            setattr(self, name, getattr(self, name)[standing])
