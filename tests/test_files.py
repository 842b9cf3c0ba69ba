"""Files that are there whole or not at all."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from specprobe.errors import DataError
from specprobe.files import write_atomically


def test_writing_replaces_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")

    def fill(file: Any) -> None:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"

    write_atomically(path, fill)
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failing_writer_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")

    def fail(file: Any) -> None:
        file.write(b"half")
        raise error

    with pytest.raises(error):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_is_a_data_error(tmp_path: Path) -> None:
    def fail(file: Any) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="out cannot be written: No space left on device"):
        write_atomically(tmp_path / "out", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="out cannot be written: No such file or directory"):
        write_atomically(tmp_path / "nowhere" / "out", lambda file: None)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="folder cannot be written: Is a directory"):
        write_atomically(tmp_path / "folder", lambda file: None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    write_atomically(tmp_path / "out", lambda file: None)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1
