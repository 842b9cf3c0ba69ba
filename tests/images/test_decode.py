"""Decoding and geometry, against Pillow called step by step and against numbers worked out by hand."""

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from specprobe.errors import DataError
from specprobe.images.decode import SUFFIXES, decode, is_picture, stored_channels
from specprobe.recipe import Geometry


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def planes(image: Image.Image) -> np.ndarray[Any, Any]:
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_each_format_decodes_as_pillow_does(tmp_path: Path, kind: str) -> None:
    data = encoded(noise(9, 7), kind)
    (tmp_path / "a").write_bytes(data)
    assert is_picture(data)
    for source in (data, tmp_path / "a"):
        for channels, mode in ((1, "L"), (3, "RGB")):
            with Image.open(io.BytesIO(data)) as image:
                wanted = planes(image.convert(mode))
            found = decode(source, "a", channels=channels)
            assert found.flags.c_contiguous
            assert np.array_equal(found, wanted)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_modes_become_grey_or_rgb(mode: str) -> None:
    kind = {"CMYK": "JPEG", "YCbCr": "TIFF"}.get(mode, "PNG")
    data = encoded(noise(8, 8).convert("RGB").convert(mode), kind)
    assert stored_channels(data, "a") == (1 if mode in {"1", "L", "LA"} else 3)
    with Image.open(io.BytesIO(data)) as image:
        rgb = image.convert("RGB")
    assert np.array_equal(decode(data, "a", channels=3), planes(rgb))
    grey = decode(data, "a", channels=1)
    assert np.abs(grey.astype(int) - planes(rgb.convert("L"))).max() <= 1


def test_alpha_is_dropped_and_palette_transparency_ignored() -> None:
    rgba = Image.new("RGBA", (4, 4), (200, 100, 50, 0))
    assert decode(encoded(rgba), "a", channels=3)[:, 0, 0].tolist() == [200, 100, 50]
    palette = noise(8, 8).quantize(16)
    data = encoded(palette, transparency=bytes(range(16)))
    assert np.array_equal(decode(data, "a", channels=3), planes(palette.convert("RGB")))


def test_sixteen_bits_keep_the_high_byte() -> None:
    values = np.array([[0, 255, 256, 65535], [4660, 32767, 32768, 65280]], dtype=np.uint16)
    for kind in ("PNG", "TIFF"):
        data = encoded(Image.fromarray(values), kind)
        assert stored_channels(data, "a") == 1
        assert decode(data, "a", channels=1)[0].tolist() == (values >> 8).tolist()
        assert decode(data, "a", channels=3)[2].tolist() == (values >> 8).tolist()


@pytest.mark.parametrize("values", [np.ones((2, 2), np.float32), np.ones((2, 2), np.int32)])
def test_values_without_a_known_white_are_refused(values: np.ndarray[Any, Any]) -> None:
    with pytest.raises(DataError, match=r"a\.tif has mode [FI], whose white is unknown"):
        decode(encoded(Image.fromarray(values), "TIFF"), "a.tif", channels=1)


def test_first_frame_counts_and_orientation_is_not_applied() -> None:
    frames = [Image.new("RGB", (4, 2), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data, "a", channels=3)[:, 0, 0].tolist() == [255, 0, 0]
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(noise(9, 5), "JPEG", exif=exif), "a", channels=3).shape == (3, 5, 9)


@pytest.mark.parametrize(
    ("size", "geometry", "final"),
    [
        ((500, 375), Geometry(resize=256), (341, 256)),
        ((375, 500), Geometry(resize=256), (256, 341)),
        ((500, 375), Geometry(resize=256, edge="longest"), (256, 192)),
        ((375, 500), Geometry(resize=256, edge="longest"), (192, 256)),
        ((300, 301), Geometry(resize=224, edge="longest"), (223, 224)),
        ((300, 301), Geometry(resize=100, edge="longest", edge_rounding="round"), (100, 100)),
        ((10, 10), Geometry(resize=(6, 8)), (8, 6)),
        ((1000, 1), Geometry(resize=10, edge="longest"), (10, 1)),
        ((500, 375), Geometry(resize=256, crop=(224, 200)), (200, 224)),
        ((10, 10), Geometry(crop=(12, 7)), (7, 12)),
    ],
)
def test_sizes_worked_out_by_hand(size: tuple[int, int], geometry: Geometry, final: tuple[int, int]) -> None:
    assert decode(encoded(noise(*size)), "a", channels=1, geometry=geometry).shape == (1, final[1], final[0])


def torchvision_crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """Pad half before (rounded down) and half behind, then cut at round((h − th)/2)."""
    pad_left, pad_top = max(width - image.width, 0) // 2, max(height - image.height, 0) // 2
    canvas = Image.new(image.mode, (max(width, image.width), max(height, image.height)))
    canvas.paste(image, (pad_left, pad_top))
    top, left = round((canvas.height - height) / 2.0), round((canvas.width - width) / 2.0)
    return canvas.crop((left, top, left + width, top + height))


def hugging_face_crop(array: np.ndarray[Any, Any], height: int, width: int) -> np.ndarray[Any, Any]:
    """Cut at (h − th) // 2 of an array, padded with the larger half in front."""
    _, rows, columns = array.shape
    top, left = (rows - height) // 2, (columns - width) // 2
    out = np.zeros((len(array), height, width), dtype=np.uint8)
    for y in range(height):
        for x in range(width):
            if 0 <= y + top < rows and 0 <= x + left < columns:
                out[:, y, x] = array[:, y + top, x + left]
    return out


@settings(max_examples=40, deadline=None)
@given(*[st.integers(1, 12)] * 4, st.sampled_from(["L", "RGB"]))
def test_crops_equal_the_references(width: int, height: int, crop_h: int, crop_w: int, mode: str) -> None:
    image = noise(width, height, mode)
    channels = len(mode) if mode == "RGB" else 1
    rounded = decode(encoded(image), "a", channels=channels, geometry=Geometry(crop=(crop_h, crop_w)))
    assert np.array_equal(rounded, planes(torchvision_crop(image, crop_h, crop_w)))
    floored = decode(
        encoded(image),
        "a",
        channels=channels,
        geometry=Geometry(crop=(crop_h, crop_w), crop_rounding="floor"),
    )
    assert np.array_equal(floored, hugging_face_crop(planes(image), crop_h, crop_w))


def test_odd_margins_half_to_even_or_down() -> None:
    ramp = Image.fromarray(np.arange(10, dtype=np.uint8)[None, :].repeat(10, axis=0))
    for crop, rounded, floored in ((7, 2, 1), (5, 2, 2), (9, 0, 0), (3, 4, 3)):
        for rounding, offset in (("round", rounded), ("floor", floored)):
            geometry = Geometry(crop=(10, crop), crop_rounding=rounding)  # type: ignore[arg-type]
            assert decode(encoded(ramp), "a", channels=1, geometry=geometry)[0, 0, 0] == offset


@pytest.mark.parametrize("name", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_resizing_is_pillows_filter(name: Any) -> None:
    image = noise(50, 30)
    found = decode(encoded(image), "a", channels=3, geometry=Geometry(resize=20, interpolation=name))
    assert np.array_equal(found, planes(image.resize((33, 20), Image.Resampling[name.upper()])))


def test_padding_with_a_colour() -> None:
    geometry = Geometry(crop=(4, 5), fill=(10, 20, 30))
    found = decode(encoded(Image.new("RGB", (2, 2), "white")), "a", channels=3, geometry=geometry)
    assert found[:, 0, 0].tolist() == [10, 20, 30]
    assert (found == 255).all(axis=0).nonzero()[0].tolist() == [1, 1, 2, 2]
    assert (found == 255).all(axis=0).nonzero()[1].tolist() == [1, 2, 1, 2]
    grey = decode(encoded(Image.new("L", (2, 9))), "a", channels=1, geometry=Geometry(crop=(4, 4), fill=(7,)))
    assert grey[0].tolist() == [[7, 0, 0, 7]] * 4


def png_header(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (10_000, 9_000), (2_000_000_000, 2)])
def test_bombs_are_refused_by_their_header(width: int, height: int) -> None:
    data = png_header(width, height) + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(DataError, match=r"bomb\.png declares too many pixels \(.*at most 89478485"):
        decode(data, "bomb.png", channels=3)


def test_own_cap_holds_where_pillows_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(DataError, match=r"bomb\.png declares too many pixels \(50000x50000\)"):
        decode(png_header(50_000, 50_000) + bytes(4) + b"IDAT" + bytes(4), "bomb.png", channels=3)


def test_resizing_a_sliver_is_capped() -> None:
    data = encoded(Image.new("L", (20_000, 1)))
    with pytest.raises(DataError, match=r"too many pixels \(20000x1 resized to 4480000x224\)"):
        decode(data, "sliver.png", channels=1, geometry=Geometry(resize=224))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM"])
@pytest.mark.parametrize("keep", [0.02, 0.2, 0.6, 0.9])
def test_truncated_pictures_are_named(kind: str, keep: float) -> None:
    data = encoded(noise(64, 64), kind)
    with pytest.raises(DataError, match=r"short\.x (cannot be decoded|is not a picture)"):
        decode(data[: int(keep * len(data))], "short.x", channels=3)


@pytest.mark.filterwarnings("ignore::UserWarning")  # what Pillow says of damaged TIFF tags it then skips
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM"]), st.data())
def test_flipped_bytes_decode_or_raise_data_error(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(encoded(noise(16, 16), kind))
    for position in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=4)):
        damaged[position] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DataError):
        decode(bytes(damaged), "a", channels=3)


def test_other_formats_are_refused() -> None:
    data = encoded(noise(8, 8), "ICO")
    with pytest.raises(DataError, match=r"a\.ico is not a picture in an accepted format \(JPEG, PNG"):
        decode(data, "a.ico", channels=3)
    assert ".ico" not in SUFFIXES


def test_colour_among_grey_is_refused_on_demand() -> None:
    with pytest.raises(DataError, match=r"a is in colour \(mode RGB\) among grey pictures"):
        decode(encoded(noise(4, 4)), "a", channels=1, grey_only=True)
