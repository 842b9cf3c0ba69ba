"""Several analyses of one model on one set of images, which is read once."""

from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from specprobe.analysis.accuracy import Accuracy, accuracy_step
from specprobe.analysis.band_result import BandAccuracy
from specprobe.analysis.bands import band_step
from specprobe.analysis.sensitivity import FourierSensitivity, sensitivity_step
from specprobe.analysis.source import labelled_source, read
from specprobe.errors import DataError
from specprobe.intervals import CONFIDENCE
from specprobe.pipeline import Staged
from specprobe.streaming import SHARD_IMAGES, map_reduce, shards

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from concurrent.futures import Executor

    from specprobe.analysis.input_gradients import Target
    from specprobe.protocols import Batch, Classifier, ImageSource
    from specprobe.streaming import Checkpoint

__all__ = ["ANALYSES", "Measurements", "measure"]

ANALYSES = ("accuracy", "sensitivity", "bands")
"""Names of what can be measured together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """What was measured together.

    Attributes
    ----------
    accuracy : Accuracy or None
        With labelled images.
    sensitivity : FourierSensitivity or None
        Of the labels, or of the predicted classes.
    bands : BandAccuracy or None
        Low-pass and high-pass sweeps.
    """

    kind: ClassVar[str] = "measurements"

    accuracy: Accuracy | None = None
    sensitivity: FourierSensitivity | None = None
    bands: BandAccuracy | None = None

    def merge(self, other: "Measurements", /) -> "Measurements":
        """Of the images of both.

        Parameters
        ----------
        other : Measurements
            Of the same analyses; its images come later.

        Returns
        -------
        Measurements
            Each part merged.
        """
        pairs = {
            field.name: (getattr(self, field.name), getattr(other, field.name)) for field in fields(self)
        }
        return Measurements(
            **{name: None if left is None else left.merge(right) for name, (left, right) in pairs.items()}
        )


def measure(
    classifier: "Classifier",
    images: "ImageSource",
    /,
    *,
    analyses: "Collection[str]" = ANALYSES,
    settings: "Mapping[str, Mapping[str, Any]] | None" = None,
    batch_size: int = 32,
    limit: int | None = None,
    confidence: float = CONFIDENCE,
    executor: "Executor | None" = None,
    checkpoint: "Checkpoint | None" = None,
    progress: "Callable[[int], None] | None" = None,
) -> Measurements:
    """Several analyses in one pass over the images.

    Parameters
    ----------
    classifier : Classifier
        With a gradient, if its sensitivity is asked for.
    images : ImageSource
        Without labels there is no accuracy, and the sensitivity is that of the predicted class.
    analyses : collection of {"accuracy", "sensitivity", "bands"}
        Which.
    settings : mapping, optional
        Of ``sensitivity`` and ``bands``, where they are not the defaults.
    batch_size : int
        Images run at once.
    limit : int, optional
        Only the first so many images.
    confidence : float
        Of the intervals.
    executor : concurrent.futures.Executor, optional
        Computes the shards; the result does not depend on it.
    checkpoint : Checkpoint, optional
        Where partial results are kept.
    progress : callable, optional
        Called with the number of images done.

    Returns
    -------
    Measurements
        Each as its own function gives it, to the bit.

    Raises
    ------
    DataError
        If the classifier has no class for a label, or there is nothing to be measured.
    InvalidNumbers
        If logits are NaN or infinite; names the image.
    ValueError
        If an analysis is not known.
    """
    unknown = sorted(set(analyses) - set(ANALYSES))
    if unknown:
        msg = f"analyses hold {', '.join(unknown)}; accepted are {', '.join(ANALYSES)}"
        raise ValueError(msg)
    source, count = labelled_source(classifier, images, None, limit=limit)
    labelled = source.labels is not None
    given = settings or {}
    steps: dict[str, Staged[Any]] = {}
    if "bands" in analyses:
        steps["bands"] = band_step(
            classifier,
            source.image_shape,
            batch_size=batch_size,
            confidence=confidence,
            **given.get("bands", {}),
        )
    elif "accuracy" in analyses and labelled:
        steps["accuracy"] = accuracy_step(classifier, batch_size=batch_size, confidence=confidence)
    if "sensitivity" in analyses:
        target: Target = "true" if labelled else "predicted"
        steps["sensitivity"] = sensitivity_step(
            classifier,
            source.image_shape,
            batch_size=batch_size,
            confidence=confidence,
            **{"target": target, **given.get("sensitivity", {})},
        )
    if not steps:
        msg = "the images have no labels, so there is no accuracy; give them with --labels FILE"
        raise DataError(msg)
    result: Measurements = map_reduce(
        Staged((partial(read, source), partial(_run, steps), partial(_finish, steps))),
        shards(count, size=SHARD_IMAGES),
        executor=executor,
        checkpoint=checkpoint,
        progress=progress,
    )
    if result.bands is not None and "accuracy" in analyses:
        return replace(result, accuracy=result.bands.clean)  # the clean pass of the sweep is the accuracy's
    return result


def _run(steps: "Mapping[str, Staged[Any]]", batch: "Batch") -> dict[str, Any]:
    """The stage of each analysis that the runtime works in."""
    return {name: step.stages[0](batch) for name, step in steps.items()}


def _finish(steps: "Mapping[str, Staged[Any]]", made: dict[str, Any]) -> Measurements:
    """What is left to do for each."""
    return Measurements(**{name: Staged(steps[name].stages[1:])(part) for name, part in made.items()})
