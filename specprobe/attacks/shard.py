"""What is done to the images of one shard: classified, attacked, checked, counted."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from specprobe.analysis.accuracy import batch_logits, counted
from specprobe.analysis.perturbation import perturbation_spectrum
from specprobe.arrays import Array, namespace, to_host
from specprobe.attacks.flags import check_clean
from specprobe.attacks.oracle import Oracle
from specprobe.attacks.outcome import EXAMPLES, AttackOutcome
from specprobe.attacks.protocol import Attacked, run_members
from specprobe.attacks.rows import take
from specprobe.attacks.universal_search import FrequencyCounts, fallen_by_frequency
from specprobe.errors import EmptyInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from specprobe.analysis.accuracy import Accuracy
    from specprobe.analysis.input_gradients import Target
    from specprobe.attacks.catalogue import Member
    from specprobe.attacks.threat import Threat
    from specprobe.protocols import Batch, Classifier

__all__ = ["AttackShard", "FrequencySearch"]


class _Clean(NamedTuple):
    """A shard before it is attacked."""

    logits: Array
    classes: "NDArray[np.int64]"
    """That images are to be moved away from, shape (N,)."""
    accuracy: "Accuracy | None"
    rows: "NDArray[np.int64]"
    """Images to be attacked."""
    oracle: Oracle
    """Over these."""


@dataclass(frozen=True, slots=True)
class FrequencySearch:
    """From the images of a shard to the number of them that fall to each frequency. Picklable.

    Attributes
    ----------
    classifier : Classifier
        The model.
    threat : Threat
        Perturbations that count.
    frequencies : numpy.ndarray of int64, shape (F, 2)
        To be tried.
    target : {"true", "predicted"}
        Which images, and away from which classes.
    batch_size : int
        Images run at once.
    confidence : float
        Of intervals.
    """

    classifier: "Classifier"
    threat: "Threat"
    frequencies: "NDArray[np.int64]"
    target: "Target"
    batch_size: int
    confidence: float

    def __call__(self, batch: "Batch", /) -> FrequencyCounts:
        """Counts of one shard.

        Parameters
        ----------
        batch : Batch
            Its images.

        Returns
        -------
        FrequencyCounts
            In the order of the frequencies.
        """
        clean = _classified(self.classifier, batch, self.target, self.batch_size, self.confidence)
        fallen = np.zeros(len(self.frequencies), np.int64)
        if clean.rows.size:
            fallen = fallen_by_frequency(clean.oracle, self.threat, self.frequencies)
        return FrequencyCounts(frequencies=self.frequencies, fallen=fallen)


@dataclass(frozen=True, slots=True)
class AttackShard:
    """From the images of a shard to what stands of them. Picklable where classifier, threat and attacks are.

    Attributes
    ----------
    classifier : Classifier
        The model.
    threat : Threat
        Perturbations that count.
    members : tuple of Member
        Attacks, in turn.
    known : mapping
        Fields of the outcome that are settings.
    target : {"true", "predicted"}
        Which images, and away from which classes.
    batch_size : int
        Images run at once.
    confidence : float
        Of intervals.
    searched : int
        Forward passes of each image attacked that came before.
    keep_images : bool
        Whether the outcome holds all images as attacked.
    """

    classifier: "Classifier"
    threat: "Threat"
    members: "tuple[Member, ...]"
    known: "Mapping[str, Any]"
    target: "Target"
    batch_size: int
    confidence: float
    searched: int = 0
    keep_images: bool = False

    def __call__(self, batch: "Batch", /) -> AttackOutcome:
        """Outcome of one shard.

        Parameters
        ----------
        batch : Batch
            Its images.

        Returns
        -------
        AttackOutcome
            With per-image arrays, in the order of the batch.
        """
        clean = _classified(self.classifier, batch, self.target, self.batch_size, self.confidence)
        checks = check_clean(
            self.classifier,
            batch.images,
            clean.logits,
            clean.classes,
            gradients=any(member.gradients for member in self.members),
            batch_size=self.batch_size,
        )
        attacked = None
        if clean.rows.size:
            attacked = run_members(clean.oracle, self.threat, self.members, seed=self.known["seed"])
        measured = clean.accuracy
        _, channels, height, width = batch.images.shape
        return AttackOutcome(
            **self.known,
            image_shape=(int(channels), int(height), int(width)),
            images=len(clean.classes),
            attacked=len(clean.rows),
            correct=None if measured is None else measured.correct,
            class_histogram=None if measured is None else measured.class_histogram,
            prediction_histogram=None if measured is None else measured.prediction_histogram,
            **checks._asdict(),
            image_clean_correct=None if measured is None else measured.image_correct,
            image_digest=batch.digests,
            **self._by_image(clean, attacked),
            **self._of_perturbations(batch, clean, attacked),
        )

    def _by_image(self, clean: _Clean, attacked: Attacked | None) -> dict[str, Any]:
        """Counts, and arrays with a row an image."""
        rows, count = clean.rows, len(clean.classes)
        robust = np.zeros(count, np.bool_)
        norms = np.full(count, np.nan)
        forward, gradient = np.zeros(count, np.int64), np.zeros(count, np.int64)
        fallen, moved, outside = (0,) * len(self.members), 0, 0
        if attacked is not None:
            checked, fallen = attacked.checked, attacked.member_fallen
            robust[rows] = ~checked.fallen
            nearest = self.known["minimal_norm"]
            norms[rows] = np.where(checked.misled, checked.size, np.inf) if nearest else checked.size
            forward[rows] = attacked.forward_evaluations + self.searched
            gradient[rows] = attacked.gradient_evaluations
            moved = int((checked.size > 0).sum())
            outside = int((checked.misled & ~checked.inside).sum())
        return {
            "member_fallen": fallen,
            "moved": moved,
            "standing": int(robust.sum()),
            "outside": outside,
            "forward_evaluations": int(forward.sum()),
            "gradient_evaluations": int(gradient.sum()),
            "image_robust": robust,
            "image_perturbation_norm": norms,
            "image_forward_evaluations": forward,
            "image_gradient_evaluations": gradient,
        }

    def _of_perturbations(self, batch: "Batch", clean: _Clean, attacked: Attacked | None) -> dict[str, Any]:
        """Spectrum, leakage and images."""
        if attacked is None:
            nothing = take(batch.images, np.zeros(0, np.int64))
            found = _examples(nothing, nothing, np.zeros(0, np.int64), np.zeros((0, 2), np.int64))
            return found | {"adversarial": _hosted(batch.images) if self.keep_images else None}
        checked, made, before = attacked.checked, attacked.candidates, clean.oracle.images
        places = np.flatnonzero(checked.fallen)[:EXAMPLES]
        classes = np.stack([clean.classes[clean.rows], checked.predicted], axis=1)
        found = _examples(
            take(before, places), take(made, places), batch.start + clean.rows[places], classes[places]
        )
        moved = np.flatnonzero(checked.size > 0)
        if moved.size:
            digests = batch.digests[clean.rows]
            found["perturbation"] = perturbation_spectrum(
                before, made, rows=moved, digests=digests, confidence=self.confidence
            )
        leakage = getattr(self.threat, "leakage", None)
        if leakage is not None and moved.size:
            shares = to_host(leakage(take(made - before, moved))).astype(np.float64)
            found |= {"mean_leakage": float(shares.mean()), "max_leakage": float(shares.max())}
        if self.keep_images:
            kept = _hosted(batch.images).copy()
            kept[clean.rows] = _hosted(made)
            found["adversarial"] = kept
        return found


def _classified(
    classifier: "Classifier", batch: "Batch", target: "Target", batch_size: int, confidence: float
) -> _Clean:
    """Which images are to be attacked, and away from which classes."""
    images, count = batch.images, int(batch.images.shape[0])
    if count == 0:
        msg = "there are no images to analyse"
        raise EmptyInput(msg)
    logits = batch_logits(classifier, images, start=batch.start, batch_size=batch_size)
    predicted = to_host(namespace(logits).argmax(logits, axis=1)).astype(np.int64)
    classes, rows, measured = predicted, np.arange(count), None
    if batch.labels is not None:
        measured = counted(batch.labels, predicted, digests=batch.digests, confidence=confidence)
        if target == "true":
            classes = np.asarray(batch.labels, np.int64)
            rows = np.flatnonzero(predicted == classes)
    whole = Oracle(classifier, images, classes, batch.start + np.arange(count), batch_size=batch_size)
    return _Clean(logits, classes, measured, rows, whole.take(rows))


def _examples(
    clean: Array, adversarial: Array, index: "NDArray[np.int64]", classes: "NDArray[np.int64]"
) -> dict[str, Any]:
    """The pairs that are kept to be shown."""
    return {
        "example_clean": _hosted(clean),
        "example_adversarial": _hosted(adversarial),
        "example_index": index,
        "example_classes": classes,
    }


def _hosted(images: Array) -> "NDArray[np.float32]":
    return to_host(images).astype(np.float32)
