"""Images that are already in memory, on whatever device."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from specprobe.arrays import Array, namespace, to_host
from specprobe.images.class_map import model_classes
from specprobe.images.pixels import StoredLayout, planar, planar_shape, stored_layout
from specprobe.images.source import ImageStream

__all__ = ["ArraySource"]


@dataclass(frozen=True, slots=True)
class _Values:
    array: Array
    layout: StoredLayout

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return planar_shape(tuple(self.array.shape), self.layout)

    def read(self, start: int, stop: int, /) -> Array:
        return planar(self.array[start:stop, ...], self.layout)


class ArraySource(ImageStream):
    """Images in memory; batches are of the same array library and on the same device.

    Parameters
    ----------
    images : array, shape (N, C, H, W), (N, H, W, C) or (N, H, W)
        uint8, or real floating in [0, 1], checked batch by batch. Where 1, 3 or 4 channels could stand in
        both places, uint8 is taken as NHWC, floats as NCHW.
    labels : array or None
        Integers (N,) or (N, 1), or one-hot (N, K).
    class_names : tuple of str or None
        Names in the order of the labels.
    class_map : mapping, path or None
        From class names or labels to model classes.
    limit : int or None
        Keep the first so many.
    channels : int or None
        Convert to so many channels.
    name : str
        What messages and the provenance call the images.

    Raises
    ------
    DataError
        If shapes, dtypes or counts do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> source = ArraySource(np.zeros((10, 32, 32, 3), dtype=np.uint8), np.arange(10))
    >>> source.image_shape
    (3, 32, 32)
    >>> source.read(2, 4).labels
    array([2, 3])
    """

    def __init__(
        self,
        images: Array,
        labels: Array | None = None,
        *,
        class_names: tuple[str, ...] | None = None,
        class_map: str | Path | Mapping[Any, Any] | None = None,
        limit: int | None = None,
        channels: int | None = None,
        name: str = "array",
    ) -> None:
        layout = stored_layout(tuple(images.shape), _dtype_name(images), name)
        found = None
        if labels is not None:
            found = np.asarray(labels) if isinstance(labels, list | tuple) else to_host(labels)
        indices, names = model_classes(found, class_names, class_map, int(images.shape[0]), name)
        facts = {"format": "array", "name": name, "layout": layout, "dtype": _dtype_name(images)}
        super().__init__(
            _Values(images, layout),
            labels=indices,
            class_names=names,
            limit=limit,
            channels=channels,
            facts=facts,
        )


def _dtype_name(array: Array) -> str:
    xp = namespace(array)
    names = ("uint8", "float16", "float32", "float64")
    return next((n for n in names if array.dtype == getattr(xp, n, None)), str(array.dtype))
