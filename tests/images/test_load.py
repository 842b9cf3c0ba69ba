"""Which format a source is taken for, and what is refused."""

import gzip
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from specprobe.errors import DataError
from specprobe.images import load_images
from specprobe.recipe import Geometry


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("notes.txt", b"hello world", r"notes\.txt begins with b'hello wo', which is no known kind.*\.npz"),
        ("data_batch_1", pickle.dumps({}), r"data_batch_1 is a Python pickle.*never loaded.*cifar-10-binary"),
        ("a.pkl", b"(dp0\n.", "is a Python pickle"),
        ("empty", b"", "begins with b''"),
        ("a.gz", gzip.compress(b"other things", mtime=0), "no known kind of images"),
        ("a.gz", b"\x1f\x8b\x08broken", "cannot be expanded"),
        ("a.npz", b"not a zip", r"a\.npz is not a readable zip archive"),
        ("a.npy", b"not an array", r"a\.npy has no readable \.npy header"),
        ("a.wav", b"RIFF\0\0\0\0WAVEfmt ", "is not a picture in an accepted format"),
    ],
)
def test_what_is_no_source(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        load_images(tmp_path / name)


def test_missing_special_and_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"there is no a\.npz; accepted are \.npz"):
        load_images(tmp_path / "a.npz")
    with pytest.raises(DataError, match="null is neither a file nor a folder"):
        load_images("/dev/null")
    (tmp_path / "a.npz").write_bytes(b"x")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(DataError, match=r"a\.npz cannot be read: Permission denied"):
        load_images(tmp_path / "a.npz")


def test_folders_of_pickles_name_the_binary_version(tmp_path: Path) -> None:
    (tmp_path / "test_batch").write_bytes(pickle.dumps({}))
    with pytest.raises(DataError, match=r"is a Python pickle.*cifar-10-binary\.tar\.gz"):
        load_images(tmp_path)
    np.save(tmp_path / "x.npy", np.zeros((1, 8, 8), np.uint8))
    with pytest.raises(DataError, match="test_batch is a Python pickle"):
        load_images(tmp_path / "x.npy", labels=tmp_path / "test_batch")


@pytest.mark.parametrize("limit", [0, -3])
def test_limits_start_at_one(limit: int) -> None:
    with pytest.raises(DataError, match=f"limit={limit}; accepted is a whole number from 1"):
        load_images(np.zeros((1, 8, 8), np.uint8), limit=limit)


def test_a_limit_keeps_the_first(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((9, 8, 8), np.uint8), labels=np.arange(9))
    source = load_images(tmp_path / "a.npz", limit=4, channels=3)
    assert source.labels is not None
    assert (source.images, source.labels.tolist(), source.image_shape) == (4, [0, 1, 2, 3], (3, 8, 8))
    assert load_images(tmp_path / "a.npz", limit=100).images == 9


def test_arrays_in_files_are_not_resized(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"x\.npy holds images of 8x8 .*the recipe ends in 6x7"):
        load_images(tmp_path / "x.npy", geometry=Geometry(resize=(6, 7)))
    assert load_images(tmp_path / "x.npy", geometry=Geometry(resize=9, crop=(8, 8))).images == 2


def test_importing_loads_neither_pillow_nor_pyarrow() -> None:
    code = "import specprobe.images, sys; print(sorted({'PIL', 'pyarrow', 'onnx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
