"""Labels in all spellings, label tables, and class maps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specprobe.errors import DataError
from specprobe.images import labels as labels_module
from specprobe.images.labels import class_indices, label_column, read_table, read_text


@given(
    st.lists(st.integers(0, 20), min_size=1), st.sampled_from(["i8", "u1", "f4", "U", "S", "column", "hot"])
)
def test_spellings_agree(values: list[int], spelling: str) -> None:
    stored: np.ndarray[Any, Any] = np.array(values)
    if spelling == "column":
        stored = stored[:, None]
    elif spelling == "hot":
        stored = np.eye(21)[stored]
    else:
        stored = stored.astype(spelling)
    found, names = class_indices(stored, "labels")
    assert found.dtype == np.int64
    assert found.tolist() == values
    assert names is None


def test_names_are_numbered_in_sorted_order() -> None:
    found, names = class_indices(np.array(["dog", "cat", "dog", "10"]), "labels")
    assert found.tolist() == [2, 1, 2, 0]
    assert names == ("10", "cat", "dog")


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (np.array([0, 1.5]), r"hold 1\.5 at index 1; a label is a whole number"),
        (np.array([0, -1]), "hold -1 at index 1"),
        (np.array([np.nan]), "hold nan at index 0"),
        (np.array([np.inf]), "hold inf at index 0"),
        (np.array([[0.5, 0.5], [0, 1]]), "not one-hot at row 0"),
        (np.array([[0, 1], [1, 1]]), "not one-hot at row 1"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (np.array([None, 1], dtype=object), "dtype object"),
        (np.array([1 + 1j]), "dtype complex128"),
    ],
)
def test_what_is_no_label(stored: np.ndarray[Any, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        class_indices(stored, "labels")


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.csv", "a.png,3\nb.png,4\n", [("a.png", "3"), ("b.png", "4")]),
        ("a.csv", "\ufefffile,label\na.png,3\n\n", [("a.png", "3")]),
        ("a.csv", 'label,note,file_name\n3,"x,y",a b.png\n', [("a b.png", "3")]),
        ("a.tsv", "a.png\tcat fish\n", [("a.png", "cat fish")]),
        ("a.txt", "my pic.png 3\nb.png\t4\n", [("my pic.png", "3"), ("b.png", "4")]),
        ("a.txt", "3\n4\n", [("", "3"), ("", "4")]),
        ("a.csv", "label\n3\n", [("", "3")]),
        ("a.csv", "", []),
    ],
)
def test_tables(tmp_path: Path, name: str, text: str, rows: list[tuple[str, str]]) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_table(tmp_path / name) == rows
    assert label_column(tmp_path / name).tolist() == [label for _, label in rows]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.json", b"{}", r"labels in a\.json: accepted are \.csv, \.tsv, \.txt, \.npy"),
        ("a.csv", b"a,b,c\n1,2,3\n", "3 columns and no title of a label column"),
        ("a.csv", b"a.png,1\nb.png\n", "1 columns in row 2 of its 2, 2 elsewhere"),
        ("a.csv", b"\xff\xfe\x00", "is not UTF-8 text"),
        ("a.csv", b'"' + b"x" * 200_000, "not a readable table"),
        ("b.csv", None, "cannot be read: No such file"),
    ],
)
def test_bad_tables(tmp_path: Path, name: str, data: bytes | None, message: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / name)


def test_text_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("12345678")
    monkeypatch.setattr(labels_module, "MAX_TABLE_BYTES", 4)
    with pytest.raises(DataError, match="8 bytes long; tables may take 4"):
        read_text(tmp_path / "a.csv")
