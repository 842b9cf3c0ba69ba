"""What speaks against taking a robust accuracy at its word, in the manner of AutoAttack's own checks."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from specprobe.analysis.accuracy import chance_findings
from specprobe.analysis.input_gradients import logits_and_gradient
from specprobe.arrays import like, namespace, to_host
from specprobe.attacks.catalogue import FEWEST_CLASSES
from specprobe.findings import Finding
from specprobe.protocols import DifferentiableClassifier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from specprobe.arrays import Array
    from specprobe.attacks.outcome import AttackOutcome
    from specprobe.protocols import Classifier

__all__ = [
    "CHECKED_IMAGES",
    "MODEL_CODES",
    "CleanChecks",
    "check_clean",
    "findings_of",
    "flags_of",
    "model_flags",
]

CHECKED_IMAGES = 16
"""Images of a shard that are run once more, and differentiated, to see whether gradients are there."""

MODEL_CODES = frozenset({"random-operator", "zero-gradient"})
"""Findings on a model that bear upon attacks: of these codes, and their nodes."""

_SAME = 1e-3
"""Of the largest logit: what two runs on the same images may differ by, in whatever batches."""

_MANY = 0.01
_SQUARE = 0.002
"""Share of the images that Square may break behind gradient attacks, as in AutoAttack."""


class CleanChecks(NamedTuple):
    """Counts of what was odd on clean images.

    Attributes
    ----------
    checked : int
        Images.
    probabilities : int
        Images whose logits lie in [0, 1] and sum to 1.
    unrepeatable : int
        Images whose logits were others when they were run again.
    differentiated : int
        Images whose gradient was looked at.
    without_gradient : int
        Of these: gradient zero or not finite.
    """

    checked: int
    probabilities: int
    unrepeatable: int
    differentiated: int
    without_gradient: int

    def merge(self, other: "CleanChecks", /) -> "CleanChecks":
        """Counts of both.

        Parameters
        ----------
        other : CleanChecks
            Of other images.

        Returns
        -------
        CleanChecks
            Added.
        """
        return CleanChecks(*(mine + its for mine, its in zip(self, other, strict=True)))


def check_clean(
    classifier: "Classifier",
    images: "Array",
    logits: "Array",
    labels: "NDArray[np.int64]",
    /,
    *,
    gradients: bool,
    batch_size: int,
) -> CleanChecks:
    """Run the first few of the images again, and differentiate them.

    Parameters
    ----------
    classifier : Classifier
        The model.
    images : array, shape (N, C, H, W)
        Clean.
    logits : array, shape (N, K)
        Of these.
    labels : numpy.ndarray of int64, shape (N,)
        Classes that gradients are taken at.
    gradients : bool
        Whether the attack uses any.
    batch_size : int
        Images run at once.

    Returns
    -------
    CleanChecks
        Of at most :data:`CHECKED_IMAGES` images; the logits of all of them must be finite.
    """
    count = min(CHECKED_IMAGES, int(images.shape[0]))
    unrepeatable, without = 0, 0
    seen = to_host(logits[:count, ...]).astype(np.float64)
    for start in range(0, count, batch_size):
        part = slice(start, min(start + batch_size, count))
        again = to_host(classifier.logits(images[part, ...])).astype(np.float64)
        apart = np.abs(again - seen[part]).max(axis=1)
        unrepeatable += int((~(apart <= _SAME * np.abs(seen[part]).max(axis=1))).sum())
        if gradients and isinstance(classifier, DifferentiableClassifier):
            _, _, d_images = logits_and_gradient(classifier, images[part, ...], like(labels[part], images))
            xp = namespace(d_images)
            largest = to_host(xp.max(xp.abs(d_images), axis=(1, 2, 3)))  # NaN if one entry is
            without += int((~(np.isfinite(largest) & (largest > 0))).sum())
    like_shares = (seen >= -1e-6).all(axis=1) & (np.abs(seen.sum(axis=1) - 1) <= 1e-4)
    return CleanChecks(
        checked=count,
        probabilities=int(like_shares.sum()),
        unrepeatable=unrepeatable,
        differentiated=count if gradients else 0,
        without_gradient=without,
    )


def model_flags(findings: "Iterable[Finding]", /) -> tuple[tuple[str, str, str | None], ...]:
    """Those of a model's findings that bear upon attacks.

    Parameters
    ----------
    findings : iterable of Finding
        Of the model, such as those of a survey.

    Returns
    -------
    tuple of (str, str, str or None)
        Code, message and node, each once, in their order.
    """
    kept = [(f.code, f.message, f.node) for f in findings if f.code in MODEL_CODES]
    return tuple(dict.fromkeys(kept))


def flags_of(outcome: "AttackOutcome", /) -> tuple[Finding, ...]:
    """What an outcome's counts give rise to.

    Parameters
    ----------
    outcome : AttackOutcome
        Of any attack.

    Returns
    -------
    tuple of Finding
        Empty where nothing speaks against the numbers; which is no proof of them.
    """
    checks = outcome.checks
    told = [
        *_of_logits(checks),
        *_of_gradients(checks),
        *_of_members(outcome),
    ]
    if outcome.max_leakage is not None and outcome.max_leakage > _MANY:
        mean = outcome.mean_leakage or 0.0
        message = (
            f"up to {outcome.max_leakage:.1%} of a perturbation's energy lies outside the band {outcome.band} (mean "
            f"{mean:.1%}): the box of pixels or the ball pushes it out; take the l2 norm, or a smaller epsilon"
        )
        told.append(("band-leakage", message))
    flags = [Finding(level="warning", code=code, message=message) for code, message in told]
    flags += [
        Finding(level="warning", code=code, message=message, node=node)
        for code, message, node in outcome.model_flags
    ]
    return tuple(flags)


def findings_of(outcome: "AttackOutcome", /) -> tuple[Finding, ...]:
    """What else a user should know of an outcome.

    Parameters
    ----------
    outcome : AttackOutcome
        Of any attack.

    Returns
    -------
    tuple of Finding
        On labels, on chance level, on images that were not attacked, and on candidates outside the ball.
    """
    found: list[Finding] = []
    if outcome.accuracy is None:
        message = (
            "the images have no labels: the attack moves them away from the predicted classes, and robust accuracy "
            "is the share of predictions that stand; give labels with --labels FILE"
        )
        found.append(Finding(level="warning", code="no-labels", message=message))
    else:
        found += chance_findings(outcome.accuracy)
    if not outcome.attacked:
        message = "no image is classified as labelled, so there was none to attack"
        found.append(Finding(level="error", code="nothing-attacked", message=message))
    if outcome.outside:
        message = (
            f"{outcome.outside} of {outcome.standing} images that stand have a candidate of another class outside the ball: its "
            "distance is recorded, and it is no success"
        )
        found.append(Finding(level="note", code="outside-ball", message=message))
    return tuple(found)


def _of_logits(checks: CleanChecks) -> list[tuple[str, str]]:
    told = []
    if checks.checked and checks.probabilities == checks.checked:
        message = (
            f"the outputs of all {checks.checked} images checked lie in [0, 1] and sum to 1: they look like "
            "probabilities, whose losses saturate; attack the logits before the softmax: --output NAME"
        )
        told.append(("probabilities", message))
    if checks.unrepeatable:
        message = (
            f"the logits of {checks.unrepeatable} of {checks.checked} images differ when they are run again: the model "
            "draws random numbers or keeps a state, and one pass decides what stands; robust accuracy is an "
            "overestimate unless the attack averages over draws"
        )
        told.append(("not-deterministic", message))
    return told


def _of_gradients(checks: CleanChecks) -> list[tuple[str, str]]:
    if not checks.differentiated or checks.without_gradient < _MANY * checks.differentiated:
        return []
    if not checks.without_gradient:
        return []
    share = checks.without_gradient / checks.differentiated
    message = (
        f"the gradient of the cross-entropy is zero or not finite at {checks.without_gradient} of "
        f"{checks.differentiated} images checked ({share:.1%}): gradient attacks see nothing there, so robust accuracy "
        "is an overestimate; take apgd-dlr or apgd-t, whose losses do not saturate, and square, which needs no gradient"
    )
    return [("vanishing-gradients", message)]


def _of_members(outcome: "AttackOutcome") -> list[tuple[str, str]]:
    told = []
    fewest = FEWEST_CLASSES["apgd-t"]
    if outcome.attack == "standard" and outcome.classes < fewest:
        instead = "apgd-dlr was taken in its place" if "apgd-dlr" in outcome.members else "it was left out"
        message = f"the model has {outcome.classes} classes, and the loss of apgd-t needs {fewest}: {instead}"
        told.append(("few-classes", message))
    if "square" not in outcome.members[1:]:
        return told
    place = outcome.members.index("square")
    broken, left = outcome.member_fallen[place], outcome.attacked - sum(outcome.member_fallen[:place])
    if broken > _SQUARE * outcome.images:
        message = (
            f"Square, which uses no gradient, broke {broken} of {left} images ({broken / left:.1%}) that gradient "
            "attacks had left standing: gradients are masked, so robust accuracy may be an overestimate; give Square "
            "more --queries and --restarts, and write an attack for this model"
        )
        told.append(("gradient-masking", message))
    return told
