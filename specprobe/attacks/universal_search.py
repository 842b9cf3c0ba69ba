"""Which single frequency turns the most images, whichever they are: the pass before a universal attack."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from specprobe.attacks.streams import Streams
from specprobe.attacks.universal import universal
from specprobe.errors import InputMismatch
from specprobe.spectral.grid import real_frequencies

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.attacks.oracle import Oracle
    from specprobe.attacks.threat import Threat

__all__ = ["FrequencyCounts", "fallen_by_frequency", "universal_frequencies"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrequencyCounts:
    """How many images fell to each frequency.

    Attributes
    ----------
    frequencies : numpy.ndarray of int64, shape (F, 2)
        Vertical and horizontal, in cycles per image.
    fallen : numpy.ndarray of int64, shape (F,)
        Images.
    """

    kind: ClassVar[str] = "frequency_counts"

    frequencies: "NDArray[np.int64]"
    fallen: "NDArray[np.int64]"

    @property
    def best(self) -> tuple[int, int]:
        """Frequency that turns the most images; of several, the first."""
        f_y, f_x = self.frequencies[int(np.argmax(self.fallen))].tolist()
        return f_y, f_x

    def merge(self, other: "FrequencyCounts", /) -> "FrequencyCounts":
        """Counts over both sets.

        Parameters
        ----------
        other : FrequencyCounts
            Of the images that follow.

        Returns
        -------
        FrequencyCounts
            Added.

        Raises
        ------
        InputMismatch
            If other frequencies were tried.
        """
        if not np.array_equal(self.frequencies, other.frequencies):
            msg = "counts of different frequencies cannot be merged"
            raise InputMismatch(msg)
        return replace(self, fallen=self.fallen + other.fallen)


def universal_frequencies(shape: tuple[int, int], /, *, count: int) -> "NDArray[np.int64]":
    """Frequencies to be tried, evenly spread over their order by radius.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    count : int
        At most; all of them where there are no more.

    Returns
    -------
    numpy.ndarray of int64, shape (F, 2)
        Vertical and horizontal, in cycles per image, the lowest first; the mean is left out.
    """
    found = real_frequencies(shape)
    order = np.argsort(np.hypot(found[:, 0] / shape[0], found[:, 1] / shape[1]), kind="stable")[1:]
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(np.int64)
    return found[order[places]]


def fallen_by_frequency(
    oracle: "Oracle", threat: "Threat", frequencies: "NDArray[np.int64]", /
) -> "NDArray[np.int64]":
    """How many images of an oracle fall to each frequency.

    Parameters
    ----------
    oracle : Oracle
        Over one image or more; it is asked once for each frequency.
    threat : Threat
        Perturbations that count.
    frequencies : numpy.ndarray of int64, shape (F, 2)
        Vertical and horizontal.

    Returns
    -------
    numpy.ndarray of int64, shape (F,)
        In their order.
    """
    rows = np.arange(len(oracle))
    streams = Streams(0, "universal/search", oracle.index, like=oracle.images)  # none is drawn from
    fallen = np.zeros(len(frequencies), np.int64)
    for place, (f_y, f_x) in enumerate(frequencies.tolist()):
        made = universal(oracle, threat, streams, frequency=(f_y, f_x))
        fallen[place] = int(oracle.fooled(oracle.logits(made, rows), rows).sum())
    return fallen
