"""The one implementation of ``protocols.ImageSource``: formats supply raw values, this makes batches of them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from specprobe.arrays import Array
from specprobe.errors import InputMismatch
from specprobe.images.pixels import converted, digests, unit_pixels
from specprobe.protocols import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Found", "ImageStream", "RawImages"]


class RawImages(Protocol):
    """What a format supplies: stored values in NCHW, a few at a time; picklable.

    Attributes
    ----------
    shape : (int, int, int, int)
        N, C, H, W.
    """

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, C, H, W."""
        ...

    def read(self, start: int, stop: int, /) -> Array:
        """Images ``start`` to ``stop − 1``.

        Parameters
        ----------
        start, stop : int
            ``0 <= start < stop <= N``.

        Returns
        -------
        array, shape (stop − start, C, H, W)
            uint8, or floating-point values that are still to be checked.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a format found in a file.

    Attributes
    ----------
    raw : RawImages
        The images.
    labels : numpy.ndarray or None
        As stored: any shape that :func:`specprobe.images.labels.class_indices` reads.
    class_names : tuple of str or None
        Names in the order of the labels.
    facts : dict
        For ``describe()``: ``format``, ``name`` and what else the format has to say.
    pictures : bool
        Whether channels and geometry were applied while decoding.
    """

    raw: RawImages
    labels: "NDArray[Any] | None" = None
    class_names: tuple[str, ...] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    pictures: bool = False


class ImageStream:
    """Images in a fixed order, read a few at a time.

    Parameters
    ----------
    raw : RawImages
        Where the values come from.
    labels : numpy.ndarray of int64, shape (N,), or None
        Model classes of all images.
    class_names : tuple of str or None
        Names that the source itself gives to its classes.
    limit : int or None
        Keep the first so many.
    channels : int or None
        Convert to so many channels.
    facts : dict or None
        JSON values that open ``describe()``; ``name`` is what messages call the source.
    """

    def __init__(
        self,
        raw: RawImages,
        *,
        labels: "NDArray[np.int64] | None" = None,
        class_names: tuple[str, ...] | None = None,
        limit: int | None = None,
        channels: int | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        images, stored, height, width = raw.shape
        self._raw = raw
        self._images = images if limit is None else min(limit, images)
        self._shape = (channels or stored, height, width)
        self._labels = None if labels is None else labels[: self._images]
        self._class_names = class_names
        self._facts = facts or {}
        self._name = str(self._facts.get("name", "images"))

    @property
    def images(self) -> int:
        """Number of images."""
        return self._images

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """C, H, W of every image."""
        return self._shape

    @property
    def labels(self) -> "NDArray[np.int64] | None":
        """Model class of every image, or None."""
        return self._labels

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names that the source itself gives to its classes, or None where a class map replaced them."""
        return self._class_names

    def read(self, start: int, stop: int, /) -> Batch:
        """Images ``start`` to ``stop − 1``.

        Parameters
        ----------
        start, stop : int
            ``0 <= start < stop <= images``.

        Returns
        -------
        Batch
            Pixels in [0, 1], float32, NCHW.
        """
        if not 0 <= start < stop <= self._images:
            msg = f"images {start} to {stop} asked of {self._name}; accepted is 0 <= start < stop <= {self._images}"
            raise InputMismatch(msg)
        stored = converted(self._raw.read(start, stop), self._shape[0], self._name)
        pixels = unit_pixels(stored, start, self._name)
        return Batch(
            images=pixels,
            labels=None if self._labels is None else self._labels[start:stop],
            digests=digests(pixels),
            start=start,
        )

    def describe(self) -> dict[str, Any]:
        """Format, name and counts for the provenance, as JSON values.

        Returns
        -------
        dict
            Holds no folder names. ``class_histogram`` counts the images of each model class (as text, as JSON
            keys are).
        """
        histogram = None
        if self._labels is not None:
            classes, counts = np.unique(self._labels, return_counts=True)
            histogram = {str(c): int(n) for c, n in zip(classes, counts, strict=True)}
        return {
            **self._facts,
            "images": self._images,
            "image_shape": list(self._shape),
            "class_histogram": histogram,
        }
