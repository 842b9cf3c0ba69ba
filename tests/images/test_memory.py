"""Images in memory."""

import pickle
from typing import Any

import array_api_strict
import numpy as np
import pytest

from specprobe.errors import DataError, InputMismatch
from specprobe.images import ArraySource, load_images
from specprobe.protocols import ImageSource
from specprobe.recipe import Geometry


@pytest.mark.parametrize("xp", [np, array_api_strict])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_batches_stay_in_their_library(xp: Any, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 9), dtype=np.uint8)
    stored = values if dtype == "uint8" else (values / 255).astype(dtype)
    source = ArraySource(xp.asarray(stored), xp.asarray([4, 3, 2, 1, 0]))
    assert isinstance(source, ImageSource)
    batch = source.read(1, 4)
    assert type(batch.images) is type(xp.asarray(stored))
    assert batch.images.dtype == xp.float32
    assert np.array_equal(np.asarray(batch.images), values[1:4].astype(np.float32) / np.float32(255))
    assert batch.labels is not None
    assert batch.labels.tolist() == [3, 2, 1]
    assert np.array_equal(batch.digests, ArraySource(stored).read(1, 4).digests)


def test_tuples_and_arrays_load() -> None:
    images = np.zeros((4, 8, 8, 3), dtype=np.uint8)
    assert load_images(images).labels is None
    source = load_images((images, [1, 2, 3, 4]), limit=2, channels=1)
    assert (source.images, source.image_shape) == (2, (1, 8, 8))
    assert source.describe() == {
        "format": "array",
        "name": "array",
        "layout": "NHWC",
        "dtype": "uint8",
        "images": 2,
        "image_shape": [1, 8, 8],
        "class_histogram": {"1": 1, "2": 1},
    }
    labels = load_images((images, None), labels=np.arange(4)).labels
    assert labels is not None
    assert labels.tolist() == [0, 1, 2, 3]
    copy = pickle.loads(pickle.dumps(source))
    assert np.array_equal(copy.read(0, 2).images, source.read(0, 2).images)


def test_what_does_not_fit_is_refused() -> None:
    images = np.zeros((4, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(DataError, match="3 labels for 4 images in array"):
        load_images((images, [1, 2, 3]))
    with pytest.raises(DataError, match="images of type int"):
        load_images(3)
    with pytest.raises(DataError, match="dtype int64"):
        load_images(images.astype(np.int64))
    with pytest.raises(DataError, match=r"8x8 .*the recipe ends in 4x4"):
        load_images(images, geometry=Geometry(crop=(4, 4)))
    assert load_images(images, geometry=Geometry(resize=4)).images == 4
    source = load_images(images)
    for start, stop in ((-1, 2), (2, 2), (3, 5)):
        with pytest.raises(InputMismatch, match=f"images {start} to {stop} asked of array; .*<= 4"):
            source.read(start, stop)
