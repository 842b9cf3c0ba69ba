"""Class maps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specprobe.errors import DataError
from specprobe.images import ArraySource, load_images
from specprobe.images.class_map import mapped, read_class_map


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.json", '{"cat": 5, "dog": 2}'),
        ("m.json", '{"class_map": {"cat": 5, "dog": 2}}'),
        ("m.json", '["a", "b", "dog", "c", "d", "cat"]'),
        ("m.toml", "cat = 5\ndog = 2\n"),
        ("m.toml", "[class_map]\ncat = 5\ndog = 2\n"),
    ],
)
def test_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    table = read_class_map(tmp_path / name)
    assert (table["cat"], table["dog"]) == (5, 2)


def test_names_come_before_labels() -> None:
    labels = np.array([0, 1, 1])
    assert mapped(labels, ("a", "b"), {"a": 7, "1": 8}, "x").tolist() == [7, 8, 8]
    assert mapped(labels, ("1", "0"), {"0": 3, "1": 4}, "x").tolist() == [4, 3, 3]
    assert mapped(labels, None, read_class_map({0: 3, 1: np.int64(4)}), "x").tolist() == [3, 4, 4]
    assert mapped(np.array([0, 5]), ("a",), {"a": 1, "5": 2}, "x").tolist() == [1, 2]


def test_unknown_classes_are_all_listed() -> None:
    with pytest.raises(DataError, match=r"no entry for 'b', 'c', which x holds; its keys are such as 'a'"):
        mapped(np.array([0, 1, 2]), ("a", "b", "c"), {"a": 0}, "x")
    with pytest.raises(DataError, match="and 5 more"):
        mapped(np.arange(15), None, {}, "x")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.json", '{"cat": -1}', "maps 'cat' to -1"),
        ("m.json", '{"cat": true}', "maps 'cat' to True"),
        ("m.json", '{"0": ["n01440764", "tench"]}', "maps '0' to"),
        ("m.json", '"cat"', "is a str; accepted is an object"),
        ("m.json", "[1, 2]", "is a list"),
        ("m.json", "{", "cannot be parsed"),
        ("m.json", "[" * 200_000, "cannot be parsed"),
        ("m.toml", "cat = ", "cannot be parsed"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_class_map(tmp_path / name)


def test_a_map_replaces_labels_and_drops_names(tmp_path: Path) -> None:
    images: np.ndarray[Any, Any] = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=[0, 1, 0], classes=["cat", "dog"])
    for source in (
        load_images(tmp_path / "a.npz", class_map={"cat": 281, "dog": 207}),
        ArraySource(images, [0, 1, 0], class_names=("cat", "dog"), class_map={"cat": 281, "dog": 207}),
    ):
        assert source.labels is not None
        assert source.labels.tolist() == [281, 207, 281]
        assert source.class_names is None
        assert source.describe()["class_histogram"] == {"207": 1, "281": 2}


def test_a_map_needs_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 8, 8), dtype=np.uint8))
    with pytest.raises(DataError, match=r"a class map is given, but x\.npy has no labels"):
        load_images(tmp_path / "x.npy", class_map={"0": 1})
