"""Attacks in turn on the images that still stand, and what came back checked without trust in any of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from specprobe.arrays import Array, namespace, to_host
from specprobe.attacks.oracle import Oracle
from specprobe.attacks.rows import put, take
from specprobe.attacks.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from specprobe.attacks.catalogue import Member
    from specprobe.attacks.threat import Threat

__all__ = ["Attacked", "Checked", "check_candidates", "run_members", "within"]

_ABSOLUTE = {"linf": 1e-6}
_RELATIVE = 1e-5


class Checked(NamedTuple):
    """Candidates as who asked for them finds them, one entry each.

    Attributes
    ----------
    predicted : numpy.ndarray of int64, shape (n,)
        Class.
    misled : numpy.ndarray of bool, shape (n,)
        Whether that is another class than the label.
    inside : numpy.ndarray of bool, shape (n,)
        Whether it lies in the ball.
    size : numpy.ndarray of float64, shape (n,)
        Norm of the perturbation.
    margin : numpy.ndarray of float64, shape (n,)
        Largest logit of another class less that of the label.
    """

    predicted: "NDArray[np.int64]"
    misled: "NDArray[np.bool_]"
    inside: "NDArray[np.bool_]"
    size: "NDArray[np.float64]"
    margin: "NDArray[np.float64]"

    @property
    def fallen(self) -> "NDArray[np.bool_]":
        """Whether the attack succeeded: another class, inside the ball."""
        return self.misled & self.inside

    def better(self, other: "Checked", /, *, nearest: bool) -> "NDArray[np.bool_]":
        """Whether these candidates are worth more than others for the same images.

        Parameters
        ----------
        other : Checked
            Of as many candidates.
        nearest : bool
            Whether the nearest image of another class is looked for, inside the ball or not.

        Returns
        -------
        numpy.ndarray of bool, shape (n,)
            Those that succeed come first; then, if ``nearest``, the nearer of those of another class; then those of
            larger margin inside the ball.
        """
        found = self.fallen & ~other.fallen
        larger = self.inside & (~other.inside | (self.margin > other.margin))
        if nearest:
            nearer = self.misled & (~other.misled | (self.size < other.size))
            return nearer | (~self.misled & ~other.misled & larger)
        return found | (~self.fallen & ~other.fallen & larger)

    def put(self, rows: "NDArray[np.int64]", new: "Checked", /) -> "Checked":
        """Entries of some rows replaced.

        Parameters
        ----------
        rows : numpy.ndarray of int64, shape (m,)
            Which.
        new : Checked
            Of m candidates.

        Returns
        -------
        Checked
            Of n candidates.
        """
        changed: list[Any] = [_put(old, rows, values) for old, values in zip(self, new, strict=True)]
        return Checked(*changed)

    def take(self, rows: "NDArray[np.integer] | NDArray[np.bool_]", /) -> "Checked":
        """Entries of some rows.

        Parameters
        ----------
        rows : numpy.ndarray of int64, shape (m,), or of bool, shape (n,)
            Which.

        Returns
        -------
        Checked
            Of m candidates.
        """
        taken: list[Any] = [values[rows] for values in self]
        return Checked(*taken)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attacked:
    """What attacks in turn have left of the images of an oracle.

    Attributes
    ----------
    candidates : array, shape (N, C, H, W)
        The best found for each image.
    checked : Checked
        Of these.
    member_fallen : tuple of int
        Images that fell to each attack.
    forward_evaluations, gradient_evaluations : numpy.ndarray of int64, shape (N,)
        By image, of the attacks alone: the checks are not in it.
    """

    candidates: Array
    checked: Checked
    member_fallen: tuple[int, ...]
    forward_evaluations: "NDArray[np.int64]"
    gradient_evaluations: "NDArray[np.int64]"


def run_members(oracle: Oracle, threat: "Threat", members: "Sequence[Member]", /, *, seed: int) -> Attacked:
    """Each attack, restart by restart, on the images that still stand.

    Parameters
    ----------
    oracle : Oracle
        Over one image or more.
    threat : Threat
        Perturbations that count.
    members : sequence of Member
        In order.
    seed : int
        The user's; each restart of each attack draws from streams of its own.

    Returns
    -------
    Attacked
        In the order of the oracle.

    Raises
    ------
    RuntimeError
        If an attack gives back what it must not: that is a bug in the attack.
    """
    candidates, standing = oracle.images, np.arange(len(oracle))
    forward, gradient = np.zeros(len(oracle), np.int64), np.zeros(len(oracle), np.int64)
    best: Checked | None = None
    fallen = [0] * len(members)
    nearest = all(member.minimal_norm for member in members)
    for place, member in enumerate(members):
        for restart in range(member.restarts):
            if not standing.size:
                break
            part = oracle.take(standing)
            streams = Streams(seed, f"{member.name}/{restart}", part.index, like=part.images)
            made = member.function(part, threat, streams)
            forward[standing] += part.forward_evaluations
            gradient[standing] += part.gradient_evaluations
            checked = check_candidates(part, threat, made, name=member.name, nearest=member.minimal_norm)
            if best is None:
                candidates, best = made, checked
            else:
                better = np.flatnonzero(checked.better(best.take(standing), nearest=nearest))
                candidates = put(candidates, standing[better], take(made, better))
                best = best.put(standing[better], checked.take(better))
            fallen[place] += int(checked.fallen.sum())
            standing = standing[~checked.fallen]
    if best is None:
        msg = "there are no images, or no attacks, to be run"
        raise ValueError(msg)
    return Attacked(
        candidates=candidates,
        checked=best,
        member_fallen=tuple(fallen),
        forward_evaluations=forward,
        gradient_evaluations=gradient,
    )


def check_candidates(
    oracle: Oracle, threat: "Threat", made: Array, /, *, name: str, nearest: bool
) -> Checked:
    """Where candidates lie and what they are taken for, found anew.

    Parameters
    ----------
    oracle : Oracle
        That they are for.
    threat : Threat
        Perturbations that count.
    made : array, shape (N, C, H, W)
        One candidate an image.
    name : str
        Of the attack, for messages.
    nearest : bool
        Whether candidates may lie outside the ball.

    Returns
    -------
    Checked
        Predictions come from a pass of their own, which the oracle does not count.

    Raises
    ------
    RuntimeError
        If candidates have another shape, leave the box of pixels, or the ball that they must keep.
    InvalidNumbers
        If a logit is NaN or infinite.
    """
    clean = oracle.images
    xp = namespace(clean, made)
    if made.shape != clean.shape or made.dtype != clean.dtype:
        msg = (
            f"the attack {name} gave {made.dtype} of shape {tuple(made.shape)} for images that are {clean.dtype} of "
            f"shape {tuple(clean.shape)}: this is a bug in the attack"
        )
        raise RuntimeError(msg)
    low, high = float(xp.min(made)), float(xp.max(made))
    if not (low >= 0 and high <= 1):  # NaN fails, too
        msg = f"the attack {name} gave pixels from {low:.9g} to {high:.9g}, outside [0, 1]: this is a bug in the attack"
        raise RuntimeError(msg)
    size = to_host(threat.size(made - clean)).astype(np.float64)
    inside = within(size, threat)
    if not (nearest or inside.all()):
        row = int(np.argmax(size))
        msg = (
            f"the attack {name} moved image {int(oracle.index[row])} by {size[row]:.9g} ({threat.norm}), epsilon is "
            f"{threat.epsilon:.9g}: this is a bug in the attack"
        )
        raise RuntimeError(msg)
    fresh = Oracle(oracle.classifier, made, oracle.labels, oracle.index, batch_size=oracle.batch_size)
    logits = to_host(fresh.logits(made, np.arange(len(oracle)))).astype(np.float64)
    rows = np.arange(len(oracle))
    others = logits.copy()
    others[rows, oracle.labels] = -np.inf
    predicted = np.argmax(logits, axis=1)
    return Checked(
        predicted=predicted,
        misled=predicted != oracle.labels,
        inside=inside,
        size=size,
        margin=others.max(axis=1) - logits[rows, oracle.labels],
    )


def within(size: "NDArray[np.float64]", threat: "Threat", /) -> "NDArray[np.bool_]":
    """Whether perturbations lie in the ball, to the rounding of float32 pixels.

    Parameters
    ----------
    size : numpy.ndarray of float64, shape (N,)
        Norms.
    threat : Threat
        With the ball.

    Returns
    -------
    numpy.ndarray of bool, shape (N,)
        Up to 1e-6 beyond epsilon for ``linf``, and up to a factor of 1 + 1e-5 for other norms.
    """
    slack = _ABSOLUTE.get(threat.norm, _RELATIVE * threat.epsilon)
    return np.asarray(size <= threat.epsilon + slack)


def _put(old: "NDArray[Any]", rows: "NDArray[np.int64]", new: "NDArray[Any]") -> "NDArray[Any]":
    values = old.copy()
    values[rows] = new
    return values
