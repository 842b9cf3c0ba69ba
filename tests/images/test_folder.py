"""Folders of pictures, tables of labels, and single pictures."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from specprobe.errors import DataError, EmptyInput
from specprobe.images import load_images
from specprobe.images.decode import decode
from specprobe.recipe import Geometry


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (8, 6), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).convert(mode).save(path)


def test_one_folder_a_class(tmp_path: Path) -> None:
    names = ["b/2.png", "b/10.PNG", "a/z.png", "a/deep/1.png", "c/x.jpg"]
    for seed, name in enumerate(names):
        picture(tmp_path / name, seed)
    (tmp_path / "a" / "notes.txt").write_text("hello")
    (tmp_path / "a" / "._z.png").write_text("resource fork")
    (tmp_path / "readme").write_text("hello")
    (tmp_path / ".git").mkdir()
    source = pickle.loads(pickle.dumps(load_images(tmp_path)))
    assert source.class_names == ("a", "b", "c")
    assert source.labels.tolist() == [0, 0, 1, 1, 2]
    order = ["a/z.png", "a/deep/1.png", "b/10.PNG", "b/2.png", "c/x.jpg"]
    wanted = np.stack([decode(tmp_path / name, name, channels=3) for name in order])
    batch = source.read(0, 5)
    assert np.array_equal(batch.images, wanted.astype(np.float32) / np.float32(255))
    assert np.array_equal(source.read(2, 4).digests, batch.digests[2:4])
    facts = source.describe()
    assert facts["ignored_files"] == 3
    assert facts["name"] == tmp_path.name
    assert facts["class_histogram"] == {"0": 2, "1": 2, "2": 1}
    assert str(tmp_path.parent) not in str(facts)
    mapped = load_images(tmp_path, class_map={"a": 9, "b": 8, "c": 7}, limit=3)
    assert mapped.labels is not None
    assert mapped.labels.tolist() == [9, 9, 8]


def test_flat_folder_without_labels(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        picture(tmp_path / name)
    (tmp_path / "empty").mkdir()
    source = load_images(str(tmp_path))
    assert source.labels is None
    assert source.describe()["class_histogram"] is None
    assert source.image_shape == (3, 6, 8)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "file,label\nb.png,1\nsub/c.png,0\n"),
        ("labels.tsv", "b.png\t1\n./sub/c.png\t0\n"),
        ("labels.txt", "b.png 1\nsub/c.png 0\n"),
        ("labels.csv", "picture of,truth\nb.png,1\nsub/c.png,0\n"),
    ],
)
def test_a_table_sets_the_order(tmp_path: Path, name: str, text: str) -> None:
    root = tmp_path / "set"
    for file in ("a.png", "b.png", "sub/c.png"):
        picture(root / file)
    (tmp_path / name).write_text(text)
    source = load_images(root, labels=tmp_path / name)
    assert source.labels is not None
    assert source.labels.tolist() == [1, 0]
    facts = source.describe()
    assert (facts["label_table"], facts["unlisted_pictures"]) == (name, 1)


def test_tables_of_names_and_of_labels_alone(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for file in ("a.png", "b.png"):
        picture(root / file)
    (tmp_path / "l.csv").write_text("a.png,dog\nb.png,cat\n")
    source = load_images(root, labels=tmp_path / "l.csv")
    assert source.labels is not None
    assert (source.class_names, source.labels.tolist()) == (("cat", "dog"), [1, 0])
    (tmp_path / "l.txt").write_text("490\n361\n")
    for labels in (tmp_path / "l.txt", [490, 361], np.array([490, 361])):
        found = load_images(root, labels=labels).labels
        assert found is not None
        assert found.tolist() == [490, 361]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,1\n../secret.png,1\n", r"names 1 pictures that folder set does not hold: \.\./secret\.png"),
        ("a.png,1\nb.png,0\na.png,0\n", r"l\.csv names a\.png more than once"),
        ("label\n1\n2\n3\n", r"l\.csv has 3 labels, folder set has 2 pictures"),
    ],
)
def test_tables_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    for file in ("set/a.png", "set/b.png", "secret.png"):
        picture(tmp_path / file)
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load_images(tmp_path / "set", labels=tmp_path / "l.csv")


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(EmptyInput, match=r"holds no pictures \(1 other files\); accepted suffixes: \.bmp"):
        load_images(tmp_path)
    picture(tmp_path / "a.png")
    (tmp_path / "l.csv").write_text("")
    with pytest.raises(EmptyInput, match="holds no pictures"):
        load_images(tmp_path, labels=tmp_path / "l.csv")


def test_pictures_beside_class_folders_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "cat" / "b.png")
    with pytest.raises(
        DataError, match=r"holds pictures \(a\.png\) and folders with pictures \(cat/b\.png\)"
    ):
        load_images(tmp_path)


def test_pictures_of_different_sizes_need_a_geometry(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", size=(8, 6))
    picture(tmp_path / "b.png", size=(20, 30))
    source = load_images(tmp_path)
    with pytest.raises(
        DataError, match=r"b\.png has 20x30, a\.png has 8x6\. Resize and crop them, by --resize"
    ):
        source.read(0, 2)
    source = load_images(tmp_path, geometry=Geometry(resize=5, crop=(4, 4)), channels=1)
    assert source.read(0, 2).images.shape == (2, 1, 4, 4)


def test_channels_of_the_first_picture(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", mode="L")
    picture(tmp_path / "b.png")
    source = load_images(tmp_path)
    assert source.image_shape == (1, 6, 8)
    with pytest.raises(DataError, match=r"b\.png is in colour .*channels=1 or channels=3"):
        source.read(0, 2)
    assert load_images(tmp_path, channels=1).read(0, 2).images.shape[1] == 1
    assert load_images(tmp_path, channels=3).read(0, 2).images.shape[1] == 3
    with pytest.raises(DataError, match=r"channels=4 asked of the picture a\.png"):
        load_images(tmp_path, channels=4)


def test_a_truncated_jpeg_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", size=(64, 64))
    picture(tmp_path / "b.jpg", size=(64, 64))
    os.truncate(tmp_path / "b.jpg", 1500)
    with pytest.raises(DataError, match=r"b\.jpg cannot be decoded: .*truncated"):
        load_images(tmp_path).read(0, 2)


def test_one_picture(tmp_path: Path) -> None:
    picture(tmp_path / "cat.png")
    source = load_images(tmp_path / "cat.png", labels=[7])
    assert (source.images, source.describe()["format"]) == (1, "picture")
    assert source.read(0, 1).images.shape == (1, 3, 6, 8)


def test_an_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        load_images(tmp_path)


@pytest.mark.assets
def test_photographs_of_odd_sizes() -> None:
    folder = os.environ.get("SPECPROBE_ASSETS")
    if not folder:
        pytest.skip("SPECPROBE_ASSETS is not set")
    photos = Path(folder) / "data" / "photos"
    source = load_images(photos, geometry=Geometry(resize=256, crop=(224, 224)))
    assert (source.images, source.image_shape) == (63, (3, 224, 224))
    files = sorted(photos.iterdir())
    batch = source.read(0, 12)
    for file, pixels in zip(files, batch.images, strict=False):
        with Image.open(file) as stored:
            image = stored.convert("RGB")
        w, h = image.size
        size = (256, int(256 * h / w)) if w <= h else (int(256 * w / h), 256)
        image = image.resize(size, Image.Resampling.BILINEAR)
        left, top = round((image.width - 224) / 2), round((image.height - 224) / 2)
        wanted = np.asarray(image.crop((left, top, left + 224, top + 224))).transpose(2, 0, 1)
        assert np.array_equal(pixels, wanted.astype(np.float32) / np.float32(255))
