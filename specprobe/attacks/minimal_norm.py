"""Attacks that look for the nearest image of another class, inside the ball or not."""

from typing import TYPE_CHECKING

import numpy as np

from specprobe.arrays import Array, like, namespace, to_host
from specprobe.attacks.hyperplane import dual_norm, hyperplane_steps
from specprobe.attacks.nearest import Nearest, scaled
from specprobe.attacks.rows import column, take

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.attacks.oracle import Oracle
    from specprobe.attacks.streams import Streams
    from specprobe.attacks.threat import Threat

__all__ = ["deepfool", "fab_targeted"]


def fab_targeted(
    oracle: "Oracle",
    threat: "Threat",
    streams: "Streams",
    /,
    *,
    steps: int = 100,
    targets: int = 9,
    restarts: int = 1,
    largest_bias: float = 0.1,
    extrapolation: float = 1.05,
    backward: float = 0.9,
    search_rounds: int = 3,
    early_stop: bool = True,
) -> Array:
    """Fast adaptive boundary attack on one target class after the other.

    Parameters
    ----------
    oracle : Oracle
        With gradients.
    threat : Threat
        Its norm measures distances; its ball says where the search may end.
    streams : Streams
        Drawn from by restarts after the first alone.
    steps : int
        For each target class and restart: one gradient and one forward pass each.
    targets : int
        How many classes, from the second largest logit of the clean image on.
    restarts : int
        The first starts at the image, the others at random, half as far as the nearest found and epsilon allow.
    largest_bias : float
        Share α of the step that starts from the clean image instead of from where the search is, at most.
    extrapolation : float
        Length η of steps, in distances to the linearised boundary.
    backward : float
        Factor β on the perturbation after the boundary was crossed.
    search_rounds : int
        Of the search on the segment to the clean image, at the end; see
        :meth:`~specprobe.attacks.nearest.Nearest.shorten`.
    early_stop : bool
        Whether an image is left alone once its candidate lies in the ball; otherwise its distance is made as short as
        the steps allow.

    Returns
    -------
    array, shape (N, C, H, W)
        The nearest image of another class that was found, in the ball or not; the clean image where there is none.

    Raises
    ------
    TypeError
        If the classifier has no gradient.
    ValueError
        If the threat has a band: projections onto the boundary know none.

    Notes
    -----
    As published [1]_, with the difference of two logits, for a target, in place of the nearest of all boundaries, which
    makes a step as cheap for a thousand classes as for two. Ball and box decide nothing until a candidate is measured.

    References
    ----------
    .. [1] F. Croce, M. Hein, Minimally distorted adversarial examples with a fast adaptive boundary attack, ICML 2020.
       arXiv:1907.02044
    """
    _without_band(threat, "fab_targeted")
    nearest, everything = Nearest(oracle, threat), np.arange(len(oracle))
    ranked = _ranked_classes(oracle, everything, targets)
    stop = threat.epsilon if early_stop else -np.inf
    for restart in range(restarts):
        for place in range(ranked.shape[1]):
            rows = everything[nearest.sizes > stop]
            if not rows.size:
                return nearest.images
            clean = oracle.clean(rows)
            points = clean if restart == 0 else _half_way(threat, streams, nearest, rows, clean)
            for _ in range(steps):
                points = _boundary_step(
                    oracle,
                    threat,
                    clean,
                    points,
                    rows,
                    ranked[rows, place],
                    bias=largest_bias,
                    length=extrapolation,
                )
                fooled = oracle.fooled(oracle.logits(points, rows), rows)
                nearest.offer(points, rows, fooled, clean)
                points = scaled(clean, points, np.where(fooled, backward, 1.0))
                standing = nearest.sizes[rows] > stop
                if not standing.all():
                    kept = np.flatnonzero(standing)
                    rows, clean, points = rows[kept], take(clean, kept), take(points, kept)
                    if not rows.size:
                        break
    nearest.shorten(everything[nearest.sizes > stop], rounds=search_rounds)
    return nearest.images


def deepfool(
    oracle: "Oracle",
    threat: "Threat",
    streams: "Streams",  # noqa: ARG001 - all attacks are called alike
    /,
    *,
    steps: int = 50,
    classes: int = 10,
    overshoot: float = 0.02,
    search_rounds: int = 3,
) -> Array:
    """Steps to the nearest of the linearised boundaries until one is crossed.

    Parameters
    ----------
    oracle : Oracle
        With gradients.
    threat : Threat
        Its norm measures distances; its ball plays no part.
    streams : Streams
        Not drawn from.
    steps : int
        At most: a gradient for each class but the label, and a forward pass each.
    classes : int
        How many are looked at, of the largest logits of the clean image, the label among them.
    overshoot : float
        By which share of the perturbation the boundary is overstepped.
    search_rounds : int
        Of the search on the segment to the clean image, at the end, which takes most of the overshoot back; see
        :meth:`~specprobe.attacks.nearest.Nearest.shorten`.

    Returns
    -------
    array, shape (N, C, H, W)
        The nearest image of another class that was found, in the ball or not; the clean image where there is none.

    Raises
    ------
    TypeError
        If the classifier has no gradient.
    ValueError
        If the threat has a band: projections onto the boundary know none.

    Notes
    -----
    The boundary is chosen as published [1]_, by value over dual norm. The step to it is the shortest inside the box of
    pixels, which is the published one where the box is out of reach.

    References
    ----------
    .. [1] S.-M. Moosavi-Dezfooli, A. Fawzi, P. Frossard, DeepFool: a simple and accurate method to fool deep neural
       networks, CVPR 2016. arXiv:1511.04599
    """
    _without_band(threat, "deepfool")
    nearest, rows = Nearest(oracle, threat), np.arange(len(oracle))
    ranked = _ranked_classes(oracle, rows, classes - 1)
    clean = points = totals = oracle.images
    for _ in range(steps):
        if not (rows.size and ranked.shape[1]):
            break
        values, gradients = _nearest_boundary(oracle, threat, points, rows, ranked[rows])
        # The sum of all steps, without overshoot, as a point.
        totals = totals + hyperplane_steps(points, gradients, values, norm=threat.norm)
        points = scaled(clean, totals, np.full(len(rows), 1 + overshoot))
        fooled = oracle.fooled(oracle.logits(points, rows), rows)
        nearest.offer(points, rows, fooled, clean)
        kept = np.flatnonzero(~fooled)
        rows, clean, points, totals = rows[kept], take(clean, kept), take(points, kept), take(totals, kept)
    nearest.shorten(np.arange(len(oracle)), rounds=search_rounds)
    return nearest.images


def _without_band(threat: "Threat", name: str) -> None:
    if threat.band is not None:
        msg = (
            f"{name} knows no frequencies, and the threat is confined to {threat.band}; accepted are threats without "
            "a band. The attacks 'pgd', 'apgd-ce' and 'square' keep to one"
        )
        raise ValueError(msg)


def _ranked_classes(oracle: "Oracle", rows: "NDArray[np.int64]", count: int) -> "NDArray[np.int64]":
    """Classes (n, at most count) from the largest clean logit down, the label left out."""
    logits = oracle.logits(oracle.clean(rows), rows)
    xp = namespace(logits)
    order = to_host(
        xp.argsort(logits, axis=1, descending=True, stable=True)[:, : min(count + 1, oracle.classes)]
    )
    others = order != oracle.labels[rows][:, None]
    others[others.all(axis=1), -1] = False  # where the label is not among them, the last one is too many
    return np.asarray(order[others].reshape(len(rows), -1), np.int64)


def _linearised(
    oracle: "Oracle", points: Array, rows: "NDArray[np.int64]", classes: "NDArray[np.int64]"
) -> tuple[Array, Array]:
    """Logit differences (n,) to the label, and their gradients."""
    logits, gradients = oracle.differences(points, rows, classes)
    xp = namespace(logits)
    theirs, mine = (
        xp.take_along_axis(logits, like(which[:, None], logits), axis=1)
        for which in (classes, oracle.labels[rows])
    )
    return (theirs - mine)[:, 0], gradients


def _boundary_step(
    oracle: "Oracle",
    threat: "Threat",
    clean: Array,
    points: Array,
    rows: "NDArray[np.int64]",
    classes: "NDArray[np.int64]",
    *,
    bias: float,
    length: float,
) -> Array:
    """One step of the boundary attack: towards the linearised boundary, drawn to the clean image."""
    values, gradients = _linearised(oracle, points, rows, classes)
    xp = namespace(points)
    back = clean - points
    from_clean = values + xp.sum(gradients * back, axis=(1, 2, 3))
    here = hyperplane_steps(points, gradients, values, norm=threat.norm)
    there = hyperplane_steps(clean, gradients, from_clean, norm=threat.norm)
    near, far = (np.maximum(to_host(threat.size(x)), 1e-8) for x in (here, there))
    share = column(np.minimum(near / (near + far), bias), points)
    return xp.clip(points + length * here + share * (back + length * (there - here)), 0, 1)


def _nearest_boundary(
    oracle: "Oracle", threat: "Threat", points: Array, rows: "NDArray[np.int64]", classes: "NDArray[np.int64]"
) -> tuple[Array, Array]:
    """Values (n,) and gradients of the logit difference whose linearised zero is nearest."""
    values, gradients = _linearised(oracle, points, rows, classes[:, 0])
    xp = namespace(points)
    distances = _distances(values, gradients, threat)
    for place in range(1, classes.shape[1]):
        other_values, other_gradients = _linearised(oracle, points, rows, classes[:, place])
        others = _distances(other_values, other_gradients, threat)
        nearer = others < distances
        distances = np.minimum(others, distances)
        values = xp.where(like(nearer, points), other_values, values)
        gradients = xp.where(column(nearer, points), other_gradients, gradients)
    return values, gradients


def _distances(values: Array, gradients: Array, threat: "Threat") -> "NDArray[np.float64]":
    """Distances to linearised boundaries, whatever the box; infinite where there is no gradient."""
    slopes = to_host(dual_norm(gradients, norm=threat.norm))
    return np.where(slopes > 0, np.abs(to_host(values)) / np.where(slopes > 0, slopes, 1), np.inf)


def _half_way(
    threat: "Threat", streams: "Streams", nearest: Nearest, rows: "NDArray[np.int64]", clean: Array
) -> Array:
    """Random points half as far from the clean images as epsilon and the nearest found are."""
    far = threat.random_start(clean, streams, rows, on_sphere=True)
    there = np.maximum(to_host(threat.size(far - clean)), 1e-12)  # less than epsilon where the box cuts it
    wanted = np.minimum(nearest.sizes[rows], threat.epsilon) / 2
    return scaled(clean, far, np.minimum(wanted / there, 1))
