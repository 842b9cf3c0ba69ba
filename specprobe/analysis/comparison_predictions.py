"""What a classifier answers, image by image: the ground of any agreement between two."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from specprobe.analysis.accuracy import batch_logits
from specprobe.analysis.per_image import same
from specprobe.analysis.source import read
from specprobe.arrays import namespace, to_host
from specprobe.pipeline import Staged
from specprobe.streaming import SHARD_IMAGES, map_reduce, shards

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from specprobe.protocols import Batch, Classifier, ImageSource
    from specprobe.streaming import Checkpoint

__all__ = ["Predictions", "predictions"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """Predicted classes.

    Attributes
    ----------
    image_prediction : numpy.ndarray of int64, shape (N,)
        Class of the largest logit.
    image_digest : numpy.ndarray of uint8, shape (N, 16)
        Which image it was.
    """

    kind: ClassVar[str] = "predictions"

    image_prediction: "NDArray[np.int64]"
    image_digest: "NDArray[np.uint8]"

    def merge(self, other: "Predictions", /) -> "Predictions":
        """Predictions of both sets.

        Parameters
        ----------
        other : Predictions
            Of the images that follow.

        Returns
        -------
        Predictions
            Those of ``self``, then those of ``other``.
        """
        return Predictions(
            image_prediction=np.concatenate([self.image_prediction, other.image_prediction]),
            image_digest=np.concatenate([self.image_digest, other.image_digest]),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values.

        Returns
        -------
        dict
            ``images`` and ``predictions``.
        """
        return {"images": len(self.image_prediction), "predictions": self.image_prediction.tolist()}

    def __eq__(self, other: object) -> bool:
        """Equal image by image."""
        if not isinstance(other, Predictions):
            return NotImplemented
        return same(self.image_prediction, other.image_prediction) and same(
            self.image_digest, other.image_digest
        )

    __hash__ = None  # type: ignore[assignment]


def predictions(
    classifier: "Classifier",
    images: "ImageSource",
    /,
    *,
    batch_size: int = 32,
    limit: int | None = None,
    executor: "Executor | None" = None,
    checkpoint: "Checkpoint | None" = None,
) -> Predictions:
    """Predicted class of every image.

    Parameters
    ----------
    classifier : Classifier
        Picklable where the executor uses processes.
    images : ImageSource
        With or without labels.
    batch_size : int
        Images classified at once.
    limit : int, optional
        Only the first so many images.
    executor : concurrent.futures.Executor, optional
        Computes the shards; the result does not depend on it.
    checkpoint : Checkpoint, optional
        Where partial results are kept.

    Returns
    -------
    Predictions
        One an image.

    Raises
    ------
    InvalidNumbers
        If logits are NaN or infinite; names the image.
    ValueError
        If ``batch_size`` is below 1.
    """
    if batch_size < 1:
        msg = f"batch_size is {batch_size}; accepted are whole numbers from 1"
        raise ValueError(msg)
    count = images.images if limit is None else min(limit, images.images)
    return map_reduce(
        Staged((partial(read, images), partial(_of_batch, classifier, batch_size))),
        shards(count, size=SHARD_IMAGES),
        executor=executor,
        checkpoint=checkpoint,
    )


def _of_batch(classifier: "Classifier", batch_size: int, batch: "Batch") -> Predictions:
    logits = batch_logits(classifier, batch.images, start=batch.start, batch_size=batch_size)
    predicted = to_host(namespace(logits).argmax(logits, axis=1)).astype(np.int64)
    return Predictions(image_prediction=predicted, image_digest=batch.digests)
