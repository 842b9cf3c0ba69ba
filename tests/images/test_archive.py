"""npz archives and npy files: round trips, any partition of reads, and every kind of damage."""

import io
import os
import pickle
import struct
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from specprobe.errors import DataError, EmptyInput
from specprobe.images import archive, limits, load_images, stream

Saver = Callable[..., None]
SAVERS = [np.savez, np.savez_compressed]


def images_uint8(n: int = 7, size: int = 5) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def expected(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


@settings(max_examples=25, deadline=None)
@given(
    images=hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 9), st.integers(5, 7), st.integers(5, 7), st.just(3))
    ),
    cuts=st.sets(st.integers(1, 8)),
    compressed=st.booleans(),
)
def test_any_partition_reads_what_was_saved(
    tmp_path_factory: pytest.TempPathFactory, images: np.ndarray[Any, Any], cuts: set[int], compressed: bool
) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    labels = np.arange(len(images))
    (np.savez_compressed if compressed else np.savez)(path, images=images, labels=labels)
    source = load_images(path)
    edges = [0, *sorted(cut for cut in cuts if cut < len(images)), len(images)]
    parts = [source.read(a, b) for a, b in pairwise(edges)]
    whole = pickle.loads(pickle.dumps(source)).read(0, len(images))
    assert np.array_equal(np.concatenate([p.images for p in parts]), expected(images))
    assert np.array_equal(whole.images, expected(images))
    assert np.array_equal(np.concatenate([p.digests for p in parts]), whole.digests)
    assert np.array_equal(np.concatenate([p.labels for p in parts if p.labels is not None]), labels)
    assert [p.start for p in parts] == edges[:-1]


@pytest.mark.parametrize("save", SAVERS)
def test_reading_back_starts_over(tmp_path: Path, save: Saver) -> None:
    images = images_uint8(40)
    save(tmp_path / "a.npz", images=images)
    source = load_images(tmp_path / "a.npz")
    for start in (30, 10, 39, 0, 5):
        assert np.array_equal(source.read(start, start + 1).images, expected(images[start : start + 1]))
    assert source.labels is None


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("shape", [(4, 3, 6, 5), (4, 6, 5, 3), (4, 6, 5)])
def test_floats_in_the_unit_interval_pass(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(1).random(shape).astype(dtype)
    np.savez(tmp_path / "a.npz", x_test=images)
    batch = load_images(tmp_path / "a.npz").read(1, 3)
    planar = images if shape[1] == 3 else images.transpose(0, 3, 1, 2) if len(shape) == 4 else images[:, None]
    assert batch.images.dtype == np.float32
    assert batch.images.flags.c_contiguous
    assert np.array_equal(batch.images, planar[1:3].astype(np.float32))


@pytest.mark.parametrize(
    ("images", "labels"), [("images", "labels"), ("x", "y"), ("x_test", "y_test"), ("data", "y")]
)
def test_members_are_found_by_their_usual_names(tmp_path: Path, images: str, labels: str) -> None:
    members: dict[str, Any] = {images: images_uint8(), labels: np.arange(7), "extra": np.zeros(2)}
    np.savez(tmp_path / "a.npz", **members)
    source = load_images(tmp_path / "a.npz")
    assert source.labels is not None
    assert source.labels.tolist() == list(range(7))
    facts = source.describe()
    assert (facts["image_member"], facts["label_member"]) == (images, labels)
    assert facts["unused_members"] == ["extra"]


def test_positional_arrays_and_class_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images_uint8(2), [1, 0])
    assert load_images(tmp_path / "a.npz").describe()["class_histogram"] == {"0": 1, "1": 1}
    np.savez(tmp_path / "b.npz", images=images_uint8(2), labels=[1, 0], classes=["cat", "dog"])
    assert load_images(tmp_path / "b.npz").class_names == ("cat", "dog")
    np.savez(tmp_path / "c.npz", images=images_uint8(2), labels=[1, 0], classes=np.arange(2))
    assert load_images(tmp_path / "c.npz").class_names is None


def test_threads_share_one_source(tmp_path: Path) -> None:
    images = images_uint8(60)
    np.savez_compressed(tmp_path / "a.npz", images=images)
    source = load_images(tmp_path / "a.npz")
    wrong: list[int] = []

    def work(seed: int) -> None:
        for start in np.random.default_rng(seed).integers(0, 59, 30).tolist():
            same = np.array_equal(source.read(start, start + 1).images, expected(images[start : start + 1]))
            wrong.extend([] if same else [start])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_another_process_opens_its_own_handle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=images_uint8(30))
    with zipfile.ZipFile(tmp_path / "a.npz") as zipped:
        size = zipped.getinfo("images.npy").file_size
    member = stream.ZipMember(tmp_path / "a.npz", "a", size, "images.npy")
    first = member.read(0, 100)
    lock = member._lock
    lock.acquire()  # as if another thread held it at the time of the fork
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert member.read(0, 100) == first
    assert member._lock is not lock


def test_memory_does_not_hold_the_images(tmp_path: Path) -> None:
    n, shard = 10_000, 100
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
        block = np.random.default_rng(0).integers(0, 64, (shard, 32, 32, 3), dtype=np.uint8).tobytes()
        with zipped.open("images.npy", "w") as member:
            np.lib.format.write_array_header_1_0(
                member, {"descr": "|u1", "fortran_order": False, "shape": (n, 32, 32, 3)}
            )
            for _ in range(n // shard):
                member.write(block)
    source = load_images(tmp_path / "a.npz")
    tracemalloc.start()
    try:
        for start in range(0, n, 5 * shard):
            source.read(start, start + shard)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * shard * 32 * 32 * 3 * 4 < n * 32 * 32 * 3


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive_file:
        for name, data in members.items():
            archive_file.writestr(name, data)
    return path


def npy(array: np.ndarray[Any, Any], **header: Any) -> bytes:
    buffer = io.BytesIO()
    fields = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape, **header}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue() + array.tobytes()


def patched(path: Path, old: bytes, new: bytes, *, count: int) -> Path:
    data = path.read_bytes()
    assert data.count(old) == count
    path.write_bytes(data.replace(old, new))
    return path


def test_object_arrays_are_refused_in_images_and_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.array([{}, {}], dtype=object))
    with pytest.raises(DataError, match=r"member 'images\.npy' of a\.npz holds Python objects.*never loaded"):
        load_images(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", images=images_uint8(2), labels=np.array(["x", None], dtype=object))
    with pytest.raises(DataError, match=r"member 'labels\.npy' of b\.npz holds Python objects"):
        load_images(tmp_path / "b.npz")


@pytest.mark.slow
def test_a_gigabyte_of_zeros_is_refused(tmp_path: Path) -> None:
    size = 1 << 30
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive_file,
        archive_file.open("images.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(64):
            member.write(bytes(size // 64))
    with pytest.raises(
        DataError, match=r"member 'images\.npy' of bomb\.npz expands \d+ bytes to 1073741824.*bombs"
    ):
        load_images(tmp_path / "bomb.npz")


def test_total_of_declared_sizes_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", images=images_uint8())
    monkeypatch.setattr(archive, "MAX_EXPANDED_BYTES", 100)
    with pytest.raises(DataError, match=r"a\.npz declares \d+ expanded bytes; at most 100"):
        load_images(tmp_path / "a.npz")
    assert limits.MAX_EXPANDED_BYTES > 1 << 30


def test_labels_read_whole_are_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", images=images_uint8(2), labels=[1, 2])
    monkeypatch.setattr("specprobe.images.npy.MAX_LABEL_BYTES", 10)
    with pytest.raises(DataError, match="labels may take 10"):
        load_images(tmp_path / "a.npz")


@pytest.mark.parametrize("claimed", [20, -20])
def test_a_declared_size_that_lies_is_met(tmp_path: Path, claimed: int) -> None:
    """The header agrees with the declared size, the deflated data with neither."""
    true = npy(images_uint8(20))
    n = 20 + claimed if claimed > 0 else 4
    said = npy(images_uint8(20), shape=(n, 5, 5, 3))[: len(true)]
    path = zipped(tmp_path / "a.npz", {"images.npy": said})
    patched(path, struct.pack("<I", len(true)), struct.pack("<I", len(true) + (n - 20) * 75), count=2)
    with pytest.raises(
        DataError, match=r"images\.npy' of a\.npz (ends \d+ bytes early|cannot be expanded.*CRC)"
    ):
        load_images(path)


def test_shape_and_declared_size_must_agree(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", {"images.npy": npy(images_uint8(4), shape=(10**12, 5, 5, 3))})
    with pytest.raises(DataError, match=r"declares shape \(1000000000000, 5, 5, 3\) of uint8, \d+ bytes"):
        load_images(path)
    path = zipped(tmp_path / "b.npz", {"images.npy": npy(images_uint8(4), shape=(-4, 5, -5, 3))})
    with pytest.raises(DataError, match="truncated or damaged"):
        load_images(path)


@pytest.mark.parametrize("keep", [10, 200, -30])
def test_truncated_archives(tmp_path: Path, keep: int) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=images_uint8())
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.npz is not a readable zip archive.*truncated"):
        load_images(tmp_path / "a.npz")


def test_damaged_deflate_data(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=images_uint8(50))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20] = bytes(20)
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"cannot be expanded near byte \d+ of \d+"):
        load_images(tmp_path / "a.npz").read(0, 50)


def test_a_stored_member_out_of_place(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=images_uint8())
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(b"XXXX" + data[4:])
    with pytest.raises(DataError, match="does not lie where the directory"):
        load_images(tmp_path / "a.npz")


def test_a_file_that_shrank_or_vanished_since(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=images_uint8())
    source = load_images(tmp_path / "a.npz")
    os.truncate(tmp_path / "a.npz", 500)
    with pytest.raises(DataError, match=r"ends \d+ bytes early"):
        source.read(0, 7)
    (tmp_path / "a.npz").unlink()
    with pytest.raises(DataError, match="cannot be read: No such file"):
        source.read(0, 7)


def test_other_compression_and_encryption(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", {"images.npy": npy(images_uint8())}, zipfile.ZIP_LZMA)
    with pytest.raises(DataError, match="encrypted or compressed by another method"):
        load_images(path)


UNCLOSED = b"\x93NUMPY\x01\x00\x10\x00{'shape': (3, \x82  \n"
NULLS = b"\x93NUMPY\x01\x00\x10\x00{'shape': (3,\0   \n "


@pytest.mark.parametrize(
    "data", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x05\x00hello", b"nonsense" * 4, UNCLOSED, NULLS]
)
def test_bad_npy_headers(tmp_path: Path, data: bytes) -> None:
    path = zipped(tmp_path / "a.npz", {"images.npy": data})
    with pytest.raises(DataError, match=r"'images\.npy' of a\.npz has no readable \.npy header"):
        load_images(path)


def test_npy_version_3_and_empty_items(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", {"images.npy": b"\x93NUMPY\x03\x00" + bytes(20)})
    with pytest.raises(DataError, match=r"version 3\.0"):
        load_images(path)
    path = zipped(
        tmp_path / "b.npz", {"images.npy": npy(images_uint8(2)), "labels.npy": npy(np.zeros(2, "V0"))}
    )
    with pytest.raises(DataError, match="declares shape"):
        load_images(path)


def test_npy_version_2(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, images_uint8(), version=(2, 0))
    path = zipped(tmp_path / "a.npz", {"images.npy": buffer.getvalue()})
    assert load_images(path).images == 7


def test_fortran_order_is_refused_for_images_and_read_for_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.asfortranarray(images_uint8()))
    with pytest.raises(DataError, match=r"Fortran order.*ascontiguousarray"):
        load_images(tmp_path / "a.npz")
    one_hot = np.asfortranarray(np.eye(3)[[2, 0]])
    np.savez(tmp_path / "b.npz", images=images_uint8(2), labels=one_hot)
    labels = load_images(tmp_path / "b.npz").labels
    assert labels is not None
    assert labels.tolist() == [2, 0]


def test_no_fitting_member(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", pictures=images_uint8())
    with pytest.raises(DataError, match=r"members are pictures; accepted names are images, x, x_test"):
        load_images(tmp_path / "a.npz")
    zipped(tmp_path / "b.npz", {"readme.txt": b"hi"})
    with pytest.raises(DataError, match="members are none"):
        load_images(tmp_path / "b.npz")


def test_text_that_is_no_unicode(tmp_path: Path) -> None:
    for point in (0x110000, 0xD800):
        names = np.array([point], dtype="<u4").view("<U1")
        np.savez(tmp_path / "a.npz", images=images_uint8(1), labels=[0], classes=names)
        with pytest.raises(DataError, match=r"'classes\.npy' of a\.npz holds text that is no Unicode"):
            load_images(tmp_path / "a.npz")
    np.savez(
        tmp_path / "b.npz", images=images_uint8(1), labels=[0], classes=np.array(["\N{CAT}"], dtype=">U3")
    )
    assert load_images(tmp_path / "b.npz").class_names == ("\N{CAT}",)


def test_counts_must_agree(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=images_uint8(7), labels=np.arange(6))
    with pytest.raises(DataError, match=r"6 labels for 7 images in a\.npz"):
        load_images(tmp_path / "a.npz")


def test_labels_from_other_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images_uint8(3))
    np.save(tmp_path / "y.npy", np.array([[2], [0], [1]]))
    np.savez(tmp_path / "y.npz", y=[2, 0, 1])
    np.savez(tmp_path / "z.npz", other=[2, 0, 1])
    (tmp_path / "y.csv").write_text("label\n2\n0\n1\n")
    for name in ("y.npy", "y.npz", "y.csv"):
        labels = load_images(tmp_path / "x.npy", labels=tmp_path / name).labels
        assert labels is not None
        assert labels.tolist() == [2, 0, 1]
    with pytest.raises(DataError, match=r"z\.npz has no labels: members are other"):
        load_images(tmp_path / "x.npy", labels=tmp_path / "z.npz")


def test_npy_streams_and_checks_its_length(tmp_path: Path) -> None:
    images = images_uint8(9)
    np.save(tmp_path / "x.npy", images)
    source = load_images(str(tmp_path / "x.npy"))
    assert np.array_equal(source.read(4, 6).images, expected(images[4:6]))
    assert source.describe()["format"] == "npy"
    os.truncate(tmp_path / "x.npy", 300)
    with pytest.raises(DataError, match=r"x\.npy declares shape .* but is 300 bytes long"):
        load_images(tmp_path / "x.npy")


def test_no_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=images_uint8(0))
    with pytest.raises(EmptyInput, match="no images or no pixels"):
        load_images(tmp_path / "a.npz")


def assets() -> Path:
    folder = os.environ.get("SPECPROBE_ASSETS")
    if not folder:
        pytest.skip("SPECPROBE_ASSETS is not set")
    return Path(folder) / "data"


@pytest.mark.assets
@pytest.mark.parametrize(
    ("file", "images", "shape"),
    [
        ("cifar10_lossless_test.npz", 854, (3, 32, 32)),
        ("cifar10_jpeg_test2000.npz", 2000, (3, 32, 32)),
        ("mnist_test1000.npz", 1000, (1, 28, 28)),
    ],
)
def test_real_archives(file: str, images: int, shape: tuple[int, int, int]) -> None:
    source = load_images(assets() / file)
    assert (source.images, source.image_shape) == (images, shape)
    with np.load(assets() / file) as whole:
        stored = whole["images"][100:300]
        assert np.array_equal(source.read(100, 300).images, expected(stored))
        assert source.labels is not None
        assert np.array_equal(source.labels, whole["labels"])
