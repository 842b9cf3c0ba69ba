"""Documents and arrays in files; spoilt files are refused."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest

import specprobe
from specprobe.analysis.accuracy import Accuracy
from specprobe.errors import DataError
from specprobe.results import (
    collection,
    document,
    dump_json,
    from_document,
    read_document,
    read_results,
    save_arrays,
    write_npz,
)


def test_npz_holds_the_document_and_every_array(tmp_path: Path, result: Accuracy) -> None:
    path = tmp_path / "out.npz"
    arrays = {
        "image_correct": result.image_correct,
        "file": array_api_strict.asarray([1, 2]),
        "allow_pickle": np.ones(2),
    }
    write_npz(path, document(result), arrays)
    with np.load(path, allow_pickle=False) as archive:
        assert set(archive.files) == {"document", *arrays}
        assert np.array_equal(archive["image_correct"], [True, False, True, True])
        assert archive["file"].tolist() == [1, 2]
    assert from_document(read_document(path)).to_dict() == result.to_dict()


def test_objects_are_never_pickled(tmp_path: Path, result: Accuracy) -> None:
    path = tmp_path / "out.npz"
    with pytest.raises(ValueError, match="allow_pickle=False"):
        write_npz(path, document(result), {"x": np.array([{}, None])})
    assert list(tmp_path.iterdir()) == []


def test_no_array_takes_the_name_of_the_document(tmp_path: Path, result: Accuracy) -> None:
    with pytest.raises(ValueError, match="an array is named 'document'"):
        write_npz(tmp_path / "out.npz", document(result), {"document": np.ones(1)})


def test_equal_results_make_equal_files(tmp_path: Path, result: Accuracy) -> None:
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, document(result), {"x": np.ones(3)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_results_come_with_the_arrays_that_are_their_fields(tmp_path: Path, result: Accuracy) -> None:
    path = tmp_path / "out.npz"
    for names in (("correct", "digest"), ("image_correct", "image_digest")):
        arrays = dict(zip(names, (result.image_correct, result.image_digest), strict=True))
        write_npz(path, document(result), {**arrays, "images": np.ones(3), "else": np.ones(3)})
        [(content, read)] = read_results(path)
        assert content == document(result)
        assert read == result


def test_results_of_a_json_file_have_no_arrays(tmp_path: Path, result: Accuracy) -> None:
    path = tmp_path / "out.json"
    parts = [document(result, data={"name": name}) for name in ("a", "b")]
    for content, wanted in ((parts[0], parts[:1]), (collection(parts), parts)):
        path.write_text(dump_json(content), encoding="utf-8")
        held = read_results(path)
        assert [part for part, _ in held] == wanted
        assert all(read.to_dict() == result.to_dict() and read.image_correct is None for _, read in held)


@pytest.mark.parametrize("compressed", [True, False])
def test_saved_arrays_are_numpys(compressed: bool) -> None:
    file = io.BytesIO()
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.float32(2), "s": "text", "e": np.zeros((0, 2))}
    save_arrays(file, arrays, compressed=compressed)
    with np.load(io.BytesIO(file.getvalue()), allow_pickle=False) as archive:
        assert {name: archive[name].tolist() for name in archive.files} == {
            "a": [[0, 1, 2], [3, 4, 5]], "b": 2.0, "s": "text", "e": []
        }  # fmt: skip


def test_json_is_read_back(tmp_path: Path, result: Accuracy) -> None:
    path = tmp_path / "out.json"
    path.write_text(dump_json(document(result)), encoding="utf-8")
    assert read_document(path) == document(result)


def _truncated(path: Path) -> None:
    save_arrays_to(path, {"document": "{}" * 500})
    path.write_bytes(path.read_bytes()[:-40])


def _damaged(path: Path) -> None:
    save_arrays_to(path, {"document": "{}" * 5000})
    content = bytearray(path.read_bytes())
    content[80:100] = b"\xff" * 20
    path.write_bytes(bytes(content))


def _encrypted(path: Path) -> None:
    save_arrays_to(path, {"document": "{}"})
    content = bytearray(path.read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1
    path.write_bytes(bytes(content))


def _without_document(path: Path) -> None:
    save_arrays_to(path, {"x": np.ones(2)})


def _huge(path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<U9", "fortran_order": False, "shape": (2**55,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("document.npy", header.getvalue())


def _only_a_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("document", "{}")


def _one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def save_arrays_to(path: Path, arrays: dict[str, Any]) -> None:
    with path.open("wb") as file:
        save_arrays(file, arrays, compressed=True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04 and nothing"),
        lambda path: path.write_bytes(b"no archive"),
        _truncated,
        _damaged,
        _encrypted,
        _without_document,
        _only_a_zip,
        _one_array,
        _huge,
        lambda path: None,
    ],
    ids=[
        "empty",
        "begun",
        "text",
        "truncated",
        "damaged",
        "encrypted",
        "no document",
        "no array",
        "one array",
        "huge",
        "absent",
    ],
)
def test_a_spoilt_npz_is_refused(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    path = tmp_path / "out.npz"
    spoil(path)
    for read in (read_document, read_results):
        with pytest.raises(DataError, match=r"out.npz is not a specprobe result"):
            read(path)


def test_a_spoilt_array_is_refused_where_it_is_read(tmp_path: Path, result: Accuracy) -> None:
    path = tmp_path / "out.npz"
    write_npz(path, document(result), {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("correct.npy", b"\x93NUMPY and nothing")
    assert read_document(path) == document(result)
    with pytest.raises(DataError, match=r"out.npz is not a specprobe result"):
        read_results(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "out.json is not a specprobe result: Expecting value"),
        (b'{"schema": ', "out.json is not a specprobe result: Expecting value"),
        (b"\xff\xfe", "out.json is not a specprobe result: 'utf-8' codec"),
        (b"[1, 2]", "out.json is not a specprobe result: it holds a JSON list, not an object"),
        (b"3", "it holds a JSON int, not an object"),
        (b"[" * 100_000, "out.json is not a specprobe result: .*recursion"),
    ],
)
def test_a_spoilt_json_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "out.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_document(path)


def test_results_within_a_result_have_their_arrays(tmp_path: Path) -> None:
    models = Path(__file__).resolve().parents[2] / "models" / "digits"
    images = specprobe.load_images(models / "test.npz", limit=8)
    network = specprobe.load(models / "normal.onnx", image_shape=images.image_shape)
    result = specprobe.inspect(network, images)
    write_npz(tmp_path / "inspection.npz", document(result), result.arrays())
    [(content, again)] = read_results(tmp_path / "inspection.npz")
    assert again.to_dict() == result.to_dict() == content["result"]
    assert again.accuracy == result.accuracy, "to the flags of each image"
    for name in ("image_low_share", "image_gradient_l2_norm", "image_digest"):
        assert np.array_equal(getattr(again.sensitivity, name), getattr(result.sensitivity, name))
