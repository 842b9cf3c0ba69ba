"""The filters of a band sweep: which frequencies each one keeps."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from specprobe.errors import InputMismatch
from specprobe.spectral.grid import radius
from specprobe.spectral.masks import band_pass, low_pass, wedge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from specprobe.spectral.arguments import Shape

__all__ = ["SECTIONS", "PassFilters", "default_radii"]

SECTIONS = ("low_pass", "high_pass", "band_pass", "band_stop", "wedge_pass", "wedge_stop")
"""Groups of filters, in the order in which they are run. Every second one is the complement of the one before."""

_PER_OCTAVE = 4


def default_radii(shape: "Shape", /) -> tuple[float, ...]:
    """Whole radii, about a quarter of an octave apart, from the mean alone to the whole spectrum.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the images.

    Returns
    -------
    tuple of float
        From 1 to the first whole number beyond the corner, in cycles per shorter side.

    Examples
    --------
    >>> default_radii((32, 32))
    (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 11.0, 13.0, 16.0, 19.0, 23.0)
    """
    everything = math.floor(float(radius(shape).max())) + 1
    steps = range(math.ceil(_PER_OCTAVE * math.log2(everything)) + 1)
    return tuple(sorted({float(min(everything, round(2 ** (i / _PER_OCTAVE)))) for i in steps}))


@dataclass(frozen=True, slots=True, kw_only=True)
class PassFilters:
    """What a sweep keeps of the images, filter by filter.

    Attributes
    ----------
    radii : tuple of float
        Of the low-pass and the high-pass filters, ascending, in cycles per shorter side.
    bands : tuple of (float, float)
        Each kept alone, and each taken out: ``low <= rho < high``.
    wedges : tuple of (float, float)
        Directions in degrees, each kept alone, and each taken out: ``low <= angle < high``.
    clip : bool
        Whether filtered images are clipped to [0, 1].
    mean_restored : bool
        Whether every filter keeps the mean of each channel.
    """

    radii: tuple[float, ...] = ()
    bands: tuple[tuple[float, float], ...] = ()
    wedges: tuple[tuple[float, float], ...] = ()
    clip: bool = False
    mean_restored: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no filter, before any image is read."""
        if not all(0 <= value < math.inf for value in self.radii):
            msg = (
                f"the radii are {', '.join(f'{r:g}' for r in self.radii)}; accepted are finite numbers from 0"
            )
            raise InputMismatch(msg)
        if any(low >= high for low, high in zip(self.radii, self.radii[1:], strict=False)):
            msg = f"the radii {', '.join(f'{r:g}' for r in self.radii)} do not ascend"
            raise InputMismatch(msg)
        for low, high in self.bands:
            if not 0 <= low < high:
                msg = f"the band {low:g}:{high:g} is empty or below 0; accepted are radii 0 <= low < high"
                raise InputMismatch(msg)
        for low, high in self.wedges:
            if not (math.isfinite(low) and 0 < high - low <= 180):
                msg = f"the wedge {low:g}:{high:g} degrees is out of range; accepted are low < high <= low + 180"
                raise InputMismatch(msg)
        if not (self.radii or self.bands or self.wedges):
            msg = "there is no filter: no radius, no band and no wedge"
            raise InputMismatch(msg)

    @classmethod
    def of(
        cls,
        shape: "Shape",
        /,
        *,
        radii: "Iterable[float] | None",
        bands: "Iterable[tuple[float, float]]",
        wedges: "Iterable[tuple[float, float]]",
        clip: bool,
        mean_restored: bool,
    ) -> "PassFilters":
        """Filters for images of one size.

        Parameters
        ----------
        shape : (int, int)
            Height and width.
        radii : iterable of float or None
            In any order; None for :func:`default_radii`.
        bands, wedges, clip, mean_restored
            As the attributes.

        Returns
        -------
        PassFilters
            Radii ascending, each once.

        Raises
        ------
        InputMismatch
            If a filter is out of range, or there is none.
        """
        return cls(
            radii=default_radii(shape) if radii is None else tuple(sorted({float(r) for r in radii})),
            bands=tuple((float(low), float(high)) for low, high in bands),
            wedges=tuple((float(low), float(high)) for low, high in wedges),
            clip=bool(clip),
            mean_restored=bool(mean_restored),
        )

    def sections(self) -> dict[str, range]:
        """Where each group of filters lies in arrays by filter.

        Returns
        -------
        dict of str to range
            By the names of ``SECTIONS``. Index 0 is in none: it is the image as it is.
        """
        found, start = {}, 1
        for name, settings in zip(SECTIONS, self._settings(), strict=True):
            found[name] = range(start, start + len(settings))
            start += len(settings)
        return found

    def names(self) -> list[str]:
        """Every filter in words, index 0 included.

        Returns
        -------
        list of str
            Such as ``low_pass 4``.
        """
        parts = ["no filter"]
        for name, settings in zip(SECTIONS, self._settings(), strict=True):
            for setting in settings:
                values = setting if isinstance(setting, tuple) else (setting,)
                parts.append(f"{name} {':'.join(f'{value:g}' for value in values)}")
        return parts

    def masks(self, shape: "Shape", /) -> "tuple[list[NDArray[np.bool_]], NDArray[np.int64]]":
        """The masks that differ from each other and from keeping everything.

        Parameters
        ----------
        shape : (int, int)
            Height and width.

        Returns
        -------
        masks : list of numpy.ndarray of bool, shape (H, W)
            Centred, to be evaluated in this order.
        which : numpy.ndarray of int64, shape (1 + F,)
            For each filter, index 0 included, 1 + its place in ``masks``; 0 where it keeps everything.
        """
        low = [low_pass(shape, cutoff=r) for r in self.radii]
        ring = [band_pass(shape, low=a, high=b) for a, b in self.bands]
        sector = [wedge(shape, low_degrees=a, high_degrees=b) for a, b in self.wedges]
        every = [
            mask for group in (low, ring, sector) for part in (group, [~m for m in group]) for mask in part
        ]
        seen = {np.ones(shape, np.bool_).tobytes(): 0}
        masks: list[NDArray[np.bool_]] = []
        which = [0]
        for mask in every:
            if self.mean_restored:
                mask[shape[0] // 2, shape[1] // 2] = True
            place = seen.setdefault(mask.tobytes(), len(seen))
            if place > len(masks):
                masks.append(mask)
            which.append(place)
        return masks, np.array(which)

    def _settings(self) -> "list[tuple[float, ...] | tuple[tuple[float, float], ...]]":
        return [self.radii, self.radii, self.bands, self.bands, self.wedges, self.wedges]
