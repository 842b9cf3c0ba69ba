"""What a model says of images under masks."""

from typing import TYPE_CHECKING

import numpy as np

from specprobe.analysis.mask_objective import check_finite
from specprobe.analysis.mask_plane import apply_to_spectra, spectra
from specprobe.arrays import is_numpy, like, namespace, to_host

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.analysis.mask_data import CleanImages
    from specprobe.protocols import Classifier

__all__ = ["masked_predictions"]


def masked_predictions(
    classifier: "Classifier",
    images: "CleanImages",
    values: "NDArray[np.floating]",
    /,
    *,
    batch_size: int,
) -> "NDArray[np.int64]":
    """Predicted class of every image under its mask.

    Parameters
    ----------
    classifier : Classifier
        The model.
    images : CleanImages
        Without a mask.
    values : numpy.ndarray, shape (1 or N, 1 or C, F)
        Parameters of one mask, or of a mask an image.
    batch_size : int
        Images run at once.

    Returns
    -------
    numpy.ndarray of int64, shape (N,)
        One forward pass each.

    Raises
    ------
    InvalidNumbers
        If logits are NaN or infinite; names the image.
    """
    shape = (images.source.image_shape[1], images.source.image_shape[2])
    found = []
    for start in range(0, len(images), batch_size):
        index = np.arange(start, min(start + batch_size, len(images)))
        part = images.take(index)
        own = values if values.shape[0] == 1 else values[index]
        placed = own if is_numpy(part) else like(own.copy(), part)
        logits = classifier.logits(apply_to_spectra(spectra(part), placed, shape=shape))
        check_finite(logits, index)
        found.append(to_host(namespace(logits).argmax(logits, axis=1)))
    return np.concatenate(found).astype(np.int64)
