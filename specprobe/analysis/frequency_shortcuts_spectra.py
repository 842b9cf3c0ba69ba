"""How the spectra of one class's images differ from those of the others: the data alone, no model."""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from specprobe.analysis.frequency_shortcuts_moments import merged_moments
from specprobe.analysis.moments import moments
from specprobe.analysis.per_image import join, same
from specprobe.analysis.settings import check_same_settings
from specprobe.analysis.source import read
from specprobe.arrays import Array, like, namespace, to_host
from specprobe.errors import DataError, InputMismatch
from specprobe.findings import Finding
from specprobe.images import ArraySource
from specprobe.intervals import CONFIDENCE, check_confidence, mean_interval
from specprobe.pipeline import Staged
from specprobe.protocols import ImageSource
from specprobe.results import finite
from specprobe.spectral.grid import ring_sizes, rings
from specprobe.spectral.power import full_plane
from specprobe.streaming import SHARD_IMAGES, Checkpoint, map_reduce, shards

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from specprobe.protocols import Batch

__all__ = ["GREY_WEIGHTS", "ClassSpectra", "class_spectra"]

GREY_WEIGHTS = (0.2989, 0.5870, 0.1140)
"""Of red, green and blue; images of another number of channels are averaged over them."""

_PER_IMAGE = ("image_class", "image_digest")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassSpectra:
    """Magnitude of the spectrum by class.

    Attributes
    ----------
    image_size : (int, int)
        Height and width.
    images : int
        How many.
    class_labels, class_images : numpy.ndarray of int64, shape (L,)
        Labels that occur, ascending, and their images.
    ring_magnitude, ring_magnitude_std : numpy.ndarray of float64, shape (L, R + 1)
        Mean magnitude of the cells of each ring, from ring 0, the mean of the image; over the images of a class, with
        the population's standard deviation.
    confidence : float
        Of the intervals.
    magnitude, magnitude_std : numpy.ndarray of float64, shape (L, H, W), or None
        Mean over the images of a class of ``|F(x)|``, F unitary, of the channels' weighted sum; centred. None for results
        read from JSON, as the arrays below.
    image_class : numpy.ndarray of int64, shape (images,), or None
        Per image, in order.
    image_digest : numpy.ndarray of uint8, shape (images, 16), or None
        Which image it was.
    """

    kind: ClassVar[str] = "class_spectra"

    image_size: tuple[int, int]
    images: int
    class_labels: "NDArray[np.int64]"
    class_images: "NDArray[np.int64]"
    ring_magnitude: "NDArray[np.float64]"
    ring_magnitude_std: "NDArray[np.float64]"
    confidence: float = CONFIDENCE
    magnitude: "NDArray[np.float64] | None" = None
    magnitude_std: "NDArray[np.float64] | None" = None
    image_class: "NDArray[np.int64] | None" = None
    image_digest: "NDArray[np.uint8] | None" = None

    def __post_init__(self) -> None:
        """Refuse what no images have: results are read from files, too."""
        if self.images < 1 or self.images != int(np.sum(self.class_images)) or min(self.class_images) < 1:
            msg = f"classes of {list(self.class_images)} images in a set of {self.images}; accepted are counts from 1 that add up"
            raise ValueError(msg)
        wanted = (len(self.class_labels), len(ring_sizes(self.image_size)))
        for values in (self.ring_magnitude, self.ring_magnitude_std):
            if values.shape != wanted:
                msg = f"magnitudes by ring have shape {values.shape}; accepted is {wanted}"
                raise ValueError(msg)

    @property
    def ring_magnitude_interval(self) -> "NDArray[np.float64]":
        """Interval of each entry of ``ring_magnitude``, shape (L, R + 1, 2)."""
        rows = [
            mean_interval(mean, std, int(n), confidence=self.confidence)
            for mean, std, n in zip(
                self.ring_magnitude, self.ring_magnitude_std, self.class_images, strict=True
            )
        ]
        return np.stack(rows)

    @property
    def accumulative_difference(self) -> "NDArray[np.int64] | None":
        """Classes above which each class lies, less those above which it does not, shape (L, H, W).

        At each frequency ``Σ_i sgn(E_c - E_i)`` over all classes i, of mean magnitudes E, with ``sgn(0) = -1``; so the
        class itself counts as -1, and values run from -L to L - 2. None for results read from JSON.
        """
        if self.magnitude is None:
            return None
        mine = self.magnitude
        total = np.zeros(mine.shape, np.int64)
        for other in mine:
            total += np.where(mine > other, 1, -1)
        return total

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What to know before the numbers are used."""
        few = [int(label) for label, n in zip(self.class_labels, self.class_images, strict=True) if n < 30]
        found = []
        if few:
            message = (
                f"{len(few)} of {len(self.class_labels)} classes have fewer than 30 images (the first is class {few[0]}): "
                "signs of differences between their spectra are mostly chance"
            )
            found.append(Finding(level="warning", code="few-images", message=message))
        return tuple(found)

    def merge(self, other: "ClassSpectra", /) -> "ClassSpectra":
        """Spectra of both sets.

        Parameters
        ----------
        other : ClassSpectra
            Of the images that follow.

        Returns
        -------
        ClassSpectra
            Means and deviations are those of all images of a class.

        Raises
        ------
        InputMismatch
            If the sizes of the images or the confidences differ.
        """
        check_same_settings(self, other, ("image_size", "confidence"))
        labels = np.union1d(self.class_labels, other.class_labels)
        changed: dict[str, Any] = {"magnitude": None, "magnitude_std": None}
        for name in ("ring_magnitude", "magnitude"):
            if getattr(self, name) is None or getattr(other, name) is None:
                continue
            parts = [
                (part.class_labels, part.class_images, getattr(part, name), getattr(part, f"{name}_std"))
                for part in (self, other)
            ]
            changed["class_images"], changed[name], changed[f"{name}_std"] = merged_moments(labels, parts)
        changed |= {name: join(getattr(self, name), getattr(other, name)) for name in _PER_IMAGE}
        return replace(self, images=self.images + other.images, class_labels=labels, **changed)

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values, estimates with their intervals.

        Returns
        -------
        dict
            Without maps and per-image arrays.
        """
        names = ("image_size", "images", "class_labels", "class_images")
        content: dict[str, Any] = {name: getattr(self, name) for name in names}
        content["cycles_per_image"] = np.arange(self.ring_magnitude.shape[1])
        for ending in ("", "_interval", "_std"):
            content[f"ring_magnitude{ending}"] = getattr(self, f"ring_magnitude{ending}")
        content["confidence"] = self.confidence
        content["findings"] = [finding.to_dict() for finding in self.findings]
        made: dict[str, Any] = finite(content)
        return made

    @classmethod
    def from_dict(cls, content: dict[str, Any], /) -> "ClassSpectra":
        """Undo :meth:`to_dict`.

        Parameters
        ----------
        content : dict
            JSON values.

        Returns
        -------
        ClassSpectra
            Without maps and per-image arrays.
        """
        height, width = content["image_size"]
        return cls(
            image_size=(height, width),
            images=content["images"],
            class_labels=np.asarray(content["class_labels"], np.int64),
            class_images=np.asarray(content["class_images"], np.int64),
            ring_magnitude=np.asarray(content["ring_magnitude"], np.float64),
            ring_magnitude_std=np.asarray(content["ring_magnitude_std"], np.float64),
            confidence=content["confidence"],
        )

    def arrays(self) -> "dict[str, NDArray[Any]]":
        """What ``.npz`` files hold beside the document.

        Returns
        -------
        dict of str to numpy.ndarray
            ``class_labels``, ``magnitude``, ``magnitude_std``, ``accumulative_difference`` (L, H, W), ``class``,
            ``digest``.
        """
        names = ("class_labels", "magnitude", "magnitude_std", "accumulative_difference", *_PER_IMAGE)
        held = {name.removeprefix("image_"): getattr(self, name) for name in names}
        return {name: array for name, array in held.items() if array is not None}

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, maps and per-image arrays included."""
        if not isinstance(other, ClassSpectra):
            return NotImplemented
        names = ("magnitude", "magnitude_std", *_PER_IMAGE)
        return self.to_dict() == other.to_dict() and all(
            same(getattr(self, name), getattr(other, name)) for name in names
        )

    __hash__ = None  # type: ignore[assignment]


def class_spectra(
    images: "ImageSource | Array",
    labels: Array | None = None,
    /,
    *,
    limit: int | None = None,
    confidence: float = CONFIDENCE,
    executor: "Executor | None" = None,
    checkpoint: Checkpoint | None = None,
    progress: "Callable[[int], None] | None" = None,
) -> ClassSpectra:
    """Mean magnitude of the spectrum of each class's images.

    Parameters
    ----------
    images : ImageSource or array, shape (N, C, H, W), real floating
        Pixels in [0, 1].
    labels : array, shape (N,), integer, optional
        Classes, where the images are an array.
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
    ClassSpectra
        Mergeable.

    Raises
    ------
    DataError
        If there are no labels.
    InputMismatch
        If labels are given beside a source that has its own.

    Notes
    -----
    In [1]_, E is the *sum* over a class's images of the magnitude in each channel, and the sign is that of the grey value
    of the channels' difference. Sums compare classes only where all have equally many images: with twice as many, a class
    would lie above the others at every frequency. Here E is the mean, which gives the same signs for balanced classes.
    Pixels are as they are, in [0, 1]; inputs normalised by a standard deviation for each channel weight channels
    otherwise.

    References
    ----------
    .. [1] S. Wang, R. Veldhuis, C. Brune, N. Strisciuglio, What do neural networks learn in image classification? A
       frequency shortcut perspective, ICCV 2023. arXiv:2307.09829
    """
    check_confidence(confidence)
    source = images if isinstance(images, ImageSource) else ArraySource(images, labels)
    if labels is not None and source is images:
        msg = "labels are given beside a source of images, which has its own; accepted are labels beside an array"
        raise InputMismatch(msg)
    if source.labels is None:
        msg = "the images have no labels, so there are no classes; give them with --labels FILE"
        raise DataError(msg)
    count = source.images if limit is None else min(limit, source.images)
    result: ClassSpectra = map_reduce(
        Staged((partial(read, source), partial(_of_batch, confidence))),
        shards(count, size=SHARD_IMAGES),
        executor=executor,
        checkpoint=checkpoint,
        progress=progress,
    )
    return result


def _of_batch(confidence: float, batch: "Batch") -> ClassSpectra:
    images = batch.images
    shape: tuple[int, int] = (images.shape[-2], images.shape[-1])
    labels = np.array(batch.labels, np.int64)
    magnitude = _magnitude(images)
    sizes = ring_sizes(shape)
    flat = rings(shape).ravel()
    by_ring = np.stack([np.bincount(flat, weights=m.ravel()) for m in magnitude]) / np.maximum(sizes, 1)
    present, rows, class_images = np.unique(labels, return_inverse=True, return_counts=True)
    values: dict[str, Any] = {}
    for name, by_image in (("ring_magnitude", by_ring), ("magnitude", magnitude)):
        found = [moments(by_image[rows == row]) for row in range(len(present))]
        values |= {name: np.stack([m.mean for m in found]), f"{name}_std": np.stack([m.std for m in found])}
    return ClassSpectra(
        image_size=shape,
        images=len(labels),
        class_labels=present,
        class_images=class_images,
        confidence=confidence,
        image_class=labels,
        image_digest=batch.digests,
        **values,
    )


def _magnitude(images: Array) -> "NDArray[np.float64]":
    """Weighted sum over channels of the magnitude, as centred maps (N, H, W)."""
    xp = namespace(images)
    channels = images.shape[1]
    weights = GREY_WEIGHTS if channels == 3 else (1 / channels,) * channels
    half = xp.abs(xp.fft.rfftn(images, axes=(-2, -1), norm="ortho"))
    by_channel = xp.astype(like(np.array(weights), half), half.dtype)
    weighted = xp.sum(half * by_channel[None, :, None, None], axis=1)
    found: NDArray[np.float64] = to_host(
        full_plane(weighted, shape=(images.shape[-2], images.shape[-1]))
    ).astype(np.float64)
    return found
