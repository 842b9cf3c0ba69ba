"""CIFAR binary and MNIST idx."""

import gzip
import pickle
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.errors import DataError, EmptyInput
from specprobe.images import load_images


def records(n: int, label_bytes: int = 1, seed: int = 0) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, (n, label_bytes), dtype=np.uint8)
    return np.concatenate([labels, rng.integers(0, 256, (n, 3072), dtype=np.uint8)], axis=1)


def idx(array: np.ndarray[Any, Any]) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def digits(n: int = 12) -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).integers(0, 256, (n, 6, 5), dtype=np.uint8)


@settings(max_examples=15, deadline=None)
@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    cuts=st.sets(st.integers(1, 11)),
    label_bytes=st.sampled_from([1, 2]),
)
def test_cifar_records_come_back(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], cuts: set[int], label_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("cifar")
    parts = [records(n, label_bytes, seed) for seed, n in enumerate(counts)]
    for number, part in enumerate(parts, start=1):
        (folder / f"data_batch_{number}.bin").write_bytes(part.tobytes())
    whole = np.concatenate(parts)
    source = pickle.loads(pickle.dumps(load_images(folder)))
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    read = np.concatenate([source.read(a, b).images for a, b in pairwise(edges)])
    stored = whole[:, label_bytes:].reshape(-1, 3, 32, 32)
    assert np.array_equal(read, stored.astype(np.float32) / np.float32(255))
    assert np.array_equal(source.labels, whole[:, label_bytes - 1])
    assert source.describe()["format"] == ("cifar10" if label_bytes == 1 else "cifar100")


def test_cifar_folder_prefers_the_test_file_and_reads_names(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(records(5).tobytes())
    (tmp_path / "test_batch.bin").write_bytes(records(2).tobytes())
    (tmp_path / "batches.meta.txt").write_text("\n".join(f"class {i}" for i in range(10)) + "\n\n")
    source = load_images(tmp_path)
    assert source.images == 2
    assert source.describe()["files"] == ["test_batch.bin"]
    assert source.class_names == tuple(f"class {i}" for i in range(10))
    (tmp_path / "batches.meta.txt").write_text("only one\n")
    assert load_images(tmp_path / "test_batch.bin").class_names is None


def test_cifar_100_names_settle_a_size_that_fits_both(tmp_path: Path) -> None:
    data = bytes(3073 * 3074)
    (tmp_path / "test.bin").write_bytes(data)
    (tmp_path / "other.bin").write_bytes(data)
    assert load_images(tmp_path / "test.bin").images == 3073
    assert load_images(tmp_path / "other.bin").images == 3074


def test_bad_cifar(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(records(2).tobytes()[:-7])
    with pytest.raises(DataError, match=r"a\.bin is 6139 bytes long.*3073 bytes"):
        load_images(tmp_path / "a.bin")
    (tmp_path / "b.bin").write_bytes(b"")
    with pytest.raises(EmptyInput, match=r"b\.bin is empty"):
        load_images(tmp_path / "b.bin")
    bad = records(3)
    bad[2, 0] = 10
    (tmp_path / "c.bin").write_bytes(bad.tobytes())
    with pytest.raises(DataError, match=r"record 2 of c\.bin has label 10; CIFAR-10 has labels below 10"):
        load_images(tmp_path / "c.bin")


@pytest.mark.parametrize("packed", [False, True])
def test_idx_comes_back_with_the_labels_beside_it(tmp_path: Path, packed: bool) -> None:
    suffix, pack = (".gz", gzip.compress) if packed else ("", bytes)
    images, labels = digits(), np.arange(12) % 10
    path = tmp_path / f"t10k-images-idx3-ubyte{suffix}"
    path.write_bytes(pack(idx(images)))
    assert load_images(path).labels is None
    (tmp_path / f"t10k-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(labels)))
    source = pickle.loads(pickle.dumps(load_images(path)))
    assert np.array_equal(source.labels, labels)
    for start, stop in ((5, 9), (0, 2), (11, 12), (0, 12)):
        stored = images[start:stop, None].astype(np.float32) / np.float32(255)
        assert np.array_equal(source.read(start, stop).images, stored)
    assert source.describe()["label_file"] == f"t10k-labels-idx1-ubyte{suffix}"


def test_idx_labels_by_option(tmp_path: Path) -> None:
    (tmp_path / "digits").write_bytes(idx(digits(3)))
    (tmp_path / "truth").write_bytes(idx(np.array([3, 1, 2])))
    labels = load_images(tmp_path / "digits", labels=tmp_path / "truth").labels
    assert labels is not None
    assert labels.tolist() == [3, 1, 2]


def test_bad_idx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x-images-idx3-ubyte"
    path.write_bytes(idx(digits())[:-1])
    with pytest.raises(DataError, match=r"declares shape \(12, 6, 5\), 376 bytes .*375 bytes long"):
        load_images(path)
    path.write_bytes(idx(digits(0)))
    with pytest.raises(EmptyInput, match=r"declares shape \(0, 6, 5\)"):
        load_images(path)
    path.write_bytes(idx(digits())[:9])
    with pytest.raises(DataError, match="begins with 00000803"):
        load_images(path)
    path.write_bytes(idx(digits()))
    (tmp_path / "x-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x03more")
    with pytest.raises(DataError, match=r"x-labels-idx1-ubyte begins with 00000803; .* begin with 00000801"):
        load_images(path)
    (tmp_path / "x-labels-idx1-ubyte").write_bytes(idx(np.arange(12)))
    monkeypatch.setattr("specprobe.images.binary.MAX_LABEL_BYTES", 5)
    with pytest.raises(DataError, match="declares 12 labels; at most 5"):
        load_images(path)


def test_bad_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x-images-idx3-ubyte.gz"
    packed = gzip.compress(idx(digits()))
    path.write_bytes(packed[: len(packed) // 2])
    source = load_images(path)
    with pytest.raises(DataError, match="cannot be expanded near byte"):
        source.read(0, 12)
    path.write_bytes(packed[:9])
    with pytest.raises(DataError, match="cannot be expanded"):
        load_images(path)
    path.write_bytes(gzip.compress(idx(np.zeros((10**6, 1, 1)))[:100] + bytes(30)))
    with pytest.raises(DataError, match=r"ends \d+ bytes early"):
        load_images(path).read(0, 10**6)
    path.write_bytes(gzip.compress(bytes((0, 0, 8, 3)) + struct.pack(">3I", 10**6, 1000, 1000)))
    with pytest.raises(DataError, match="200-fold, as decompression bombs do"):
        load_images(path)
    path.write_bytes(packed)
    (tmp_path / "x-labels-idx1-ubyte.gz").write_bytes(packed[:12])
    with pytest.raises(DataError, match=r"x-labels-idx1-ubyte\.gz cannot be read: .*truncated or damaged"):
        load_images(path)
