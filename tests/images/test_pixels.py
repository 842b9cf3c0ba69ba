"""Layouts, channels, values and digests, on NumPy and on the strict array library."""

import hashlib
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from specprobe.errors import DataError, EmptyInput
from specprobe.images.pixels import converted, digests, planar, planar_shape, stored_layout, unit_pixels

LIBRARIES = [np, array_api_strict]


@pytest.mark.parametrize(
    ("shape", "dtype", "layout"),
    [
        ((9, 32, 32, 3), "uint8", "NHWC"),
        ((9, 3, 32, 32), "uint8", "NCHW"),
        ((9, 3, 32, 32), "float32", "NCHW"),
        ((9, 32, 32, 4), "float64", "NHWC"),
        ((9, 28, 28), "uint8", "NHW"),
        ((9, 3, 40, 3), "uint8", "NHWC"),
        ((9, 3, 40, 3), "float16", "NCHW"),
        ((9, 1, 1, 1), "uint8", "NHWC"),
    ],
)
def test_layout_is_where_the_channels_stand(shape: tuple[int, ...], dtype: str, layout: str) -> None:
    found = stored_layout(shape, dtype, "x")
    assert found == layout
    assert planar(np.zeros(shape), found).shape == planar_shape(shape, found)


@pytest.mark.parametrize(
    "shape", [(9, 784), (9, 32, 32, 5), (32, 32, 3), (9,), (2, 3, 4, 5, 6), (9, 2, 8, 8)]
)
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"x has shape \(.*accepted are \(N, H, W\)"):
        stored_layout(shape, "uint8", "x")


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64", "uint16"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(DataError, match=f"dtype {dtype}; images are uint8"):
        stored_layout((9, 32, 32, 3), dtype, "x")


def test_empty_shapes_are_empty_input() -> None:
    with pytest.raises(EmptyInput, match=r"shape \(0, 3, 8, 8\)"):
        stored_layout((0, 3, 8, 8), "uint8", "x")


@pytest.mark.parametrize("xp", LIBRARIES)
def test_every_byte_is_divided_in_float32(xp: Any) -> None:
    values = xp.reshape(xp.arange(256, dtype=xp.uint8), (1, 1, 16, 16))
    pixels = unit_pixels(values, 0, "x")
    assert pixels.dtype == xp.float32
    exact = np.arange(256, dtype=np.float32) / np.float32(255)
    assert np.array_equal(np.asarray(pixels).ravel(), exact)


@given(hnp.arrays(np.uint8, (2, 6, 5, 3)))
def test_luma_and_repetition_are_those_of_pillow(images: np.ndarray[Any, Any]) -> None:
    grey = converted(images.transpose(0, 3, 1, 2), 1, "x")
    for image, luma in zip(images, grey, strict=True):
        assert np.array_equal(np.asarray(Image.fromarray(image).convert("L")), luma[0])
        repeated = np.asarray(Image.fromarray(luma[0]).convert("RGB")).transpose(2, 0, 1)
        assert np.array_equal(converted(luma[None], 3, "x")[0], repeated)


@pytest.mark.parametrize("xp", LIBRARIES)
def test_luma_of_floats(xp: Any) -> None:
    image = xp.reshape(xp.asarray([0.25, 0.5, 1.0], dtype=xp.float32), (1, 3, 1, 1))
    assert np.asarray(converted(image, 1, "x")).item() == pytest.approx(0.299 * 0.25 + 0.587 * 0.5 + 0.114)


def test_other_conversions_are_refused() -> None:
    with pytest.raises(DataError, match="x has 4 channels where 3 are wanted"):
        converted(np.zeros((1, 4, 2, 2)), 3, "x")


@pytest.mark.parametrize("xp", LIBRARIES)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "image 12 of x holds NaN or infinite"),
        (float("inf"), "image 12 of x holds NaN or infinite"),
        (-0.5, r"image 12 of x has pixels from -0\.5 to 0.*Undo the normalisation"),
        (255.0, "image 12 of x has pixels from 0 to 255.*divide by 255"),
        (300.0, "Undo the normalisation"),
        (1.5, "image 12 of x has pixels from 0 to 1.5.*Where that is rounding or resampling, clip them"),
    ],
)
def test_values_outside_the_unit_interval_name_the_image(xp: Any, value: float, message: str) -> None:
    images = np.zeros((4, 3, 2, 2), dtype=np.float32)
    images[2, 1, 0, 1] = value
    with pytest.raises(DataError, match=message):
        unit_pixels(xp.asarray(images), 10, "x")


@given(st.integers(1, 4))
def test_digests_are_of_little_endian_bytes_in_c_order(n: int) -> None:
    images = np.random.default_rng(n).random((n, 3, 4, 5), dtype=np.float32)
    found = digests(images)
    assert found.shape == (n, 16)
    for image, digest in zip(images, found, strict=True):
        assert digest.tobytes() == hashlib.blake2b(image.astype("<f4").tobytes(), digest_size=16).digest()
    assert np.array_equal(digests(np.asfortranarray(images)), found)
