"""Mean and spread of numbers that come in parts."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Moments", "moments"]


class Moments(NamedTuple):
    """Mean and standard deviation over images.

    Attributes
    ----------
    images : int
        How many.
    mean, std : numpy.ndarray of float64
        The population's (ddof 0); NaN where there are none.
    """

    images: int
    mean: "NDArray[np.float64]"
    std: "NDArray[np.float64]"

    def merge(self, other: "Moments", /) -> "Moments":
        """Moments of both parts.

        Parameters
        ----------
        other : Moments
            Of arrays of the same shape.

        Returns
        -------
        Moments
            Equal to those of all images but for rounding.

        References
        ----------
        .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque, Updating formulae and a pairwise algorithm for computing sample
           variances, Stanford report STAN-CS-79-773, 1979.
        """
        if not (self.images and other.images):
            return self if self.images else other
        count = self.images + other.images
        step = other.mean - self.mean
        mean = self.mean + step * (other.images / count)
        within = (self.images * self.std**2 + other.images * other.std**2) / count
        return Moments(
            count, mean, np.sqrt(within + step**2 * (self.images / count) * (other.images / count))
        )


def moments(values: "NDArray[np.float64]", /) -> Moments:
    """Moments over the first axis.

    Parameters
    ----------
    values : numpy.ndarray of float64, shape (N, ...)
        One entry an image.

    Returns
    -------
    Moments
        Of N images.
    """
    if len(values) == 0:
        unknown = np.full(values.shape[1:], np.nan)
        return Moments(0, unknown, unknown)
    return Moments(len(values), np.mean(values, axis=0), np.std(values, axis=0))
