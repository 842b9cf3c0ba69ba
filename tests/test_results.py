"""Results as files."""

import dataclasses
import io
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from specprobe import results
from specprobe.analysis.accuracy import Accuracy
from specprobe.errors import DataError
from specprobe.findings import Finding
from specprobe.recipe import Preprocessing
from specprobe.results import (
    SCHEMA,
    Result,
    collection,
    document,
    dump_json,
    finite,
    from_document,
    pack,
    read_document,
    result_type,
    save_arrays,
    unpack,
    write_npz,
)

ROOT = Path(__file__).resolve().parent.parent

numbers = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.floats(width=32).map(np.float32),
    st.floats(width=16).map(np.float16),
    st.floats().map(np.float64),
    st.floats().map(np.longdouble),
    st.integers(-(2**31), 2**31 - 1).map(np.int32),
    st.booleans().map(np.bool_),
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)),
    hnp.arrays(np.float32, (2,)).map(array_api_strict.asarray),
    hnp.arrays(np.int64, (2, 2)),
)
values = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), inner, max_size=3),
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(values)
def test_finite_values_are_json_without_nan(value: Any) -> None:
    content = finite(value)
    text = json.dumps(content, allow_nan=False)
    assert finite(json.loads(text)) == json.loads(text)
    assert finite(content) == content


@given(st.floats())
def test_finite_keeps_every_finite_number(value: float) -> None:
    expected = value if math.isfinite(value) else None
    for kind in (float, np.float64, np.asarray, array_api_strict.asarray):
        assert finite(kind(value)) == expected
    assert finite([value, {"x": (value,)}]) == [expected, {"x": [expected]}]


def test_finite_reads_dataclasses_and_keeps_names() -> None:
    content = finite(
        {1: Finding(level="note", code="a", message="b"), "p": Preprocessing(mean=(0.5, 0.25, 1.0))}
    )
    assert content["1"] == {"level": "note", "code": "a", "message": "b", "node": None}
    assert content["p"]["mean"] == [0.5, 0.25, 1.0]
    assert content["p"]["geometry"]["fill"] == [0]


def test_finite_keeps_flags_flags() -> None:
    assert finite(np.array([True, False])) == [True, False]
    assert finite(np.bool_(True)) is True


@pytest.fixture
def result() -> Accuracy:
    return Accuracy(
        images=4,
        correct=3,
        class_histogram={"0": 2, "7": 2},
        prediction_histogram={"0": 1, "7": 3},
        confidence=0.1 + 0.2,
        image_correct=np.array([True, False, True, True]),
        image_digest=np.arange(64, dtype=np.uint8).reshape(4, 16),
    )


def test_a_document_holds_what_programs_rely_on(result: Accuracy) -> None:
    assert isinstance(result, Result)
    content = document(result, model={"file": "m.onnx"}, data={"images": 4}, provenance={"tool": "specprobe"})
    assert list(content) == ["schema", "kind", "model", "data", "provenance", "result"]
    assert (content["schema"], content["kind"], content["result"]["images"]) == ("specprobe/1", "accuracy", 4)
    assert document(result)["provenance"] == {}


def test_documents_are_read_back(result: Accuracy) -> None:
    content = json.loads(dump_json(document(result)))
    assert from_document(content).to_dict() == result.to_dict()
    several = json.loads(dump_json(collection([content, content])))
    assert several["kind"] == "collection"
    assert [part.to_dict() for part in from_document(several)] == [result.to_dict()] * 2
    assert from_document(collection([])) == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"not a specprobe result \(schema None\); accepted is 'specprobe/1'"),
        ({"schema": "specprobe/2", "kind": "accuracy", "result": {}}, r"schema 'specprobe/2'"),
        ({"schema": SCHEMA, "kind": "accuracy"}, "not a specprobe result"),
        ({"schema": SCHEMA, "result": {}}, "not a specprobe result"),
        ([], r"not a specprobe result \(schema None\)"),
        (
            {"schema": SCHEMA, "kind": "nothing", "result": {}},
            "no result of kind 'nothing'; known are accuracy, ",
        ),
        (
            {"schema": SCHEMA, "kind": ["accuracy"], "result": {}},
            r"the \['accuracy'\] cannot be read: TypeError",
        ),
        (
            {"schema": SCHEMA, "kind": "accuracy", "result": {}},
            "the accuracy cannot be read: KeyError 'images'",
        ),
        (
            {
                "schema": SCHEMA,
                "kind": "accuracy",
                "result": {
                    "images": 0,
                    "correct": 0,
                    "class_histogram": {},
                    "prediction_histogram": {},
                    "confidence": 0.95,
                },
            },
            "the accuracy cannot be read: ValueError 0 of 0 images right",
        ),
        ({"schema": SCHEMA, "kind": "accuracy", "result": None}, "the accuracy cannot be read: TypeError"),
        (
            {"schema": SCHEMA, "kind": "inspection", "result": {"gradient": 3}},
            "the inspection cannot be read: ",
        ),
        ({"schema": SCHEMA, "kind": "collection"}, "the collection cannot be read: KeyError 'documents'"),
        (
            {"schema": SCHEMA, "kind": "collection", "documents": 3},
            "the collection cannot be read: TypeError",
        ),
        (
            {"schema": SCHEMA, "kind": "collection", "documents": ["x"]},
            r"not a specprobe result \(schema None\)",
        ),
    ],
)
def test_what_is_no_document_is_refused(content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_document(content)


def test_documents_nested_without_end_are_refused(result: Accuracy) -> None:
    content: dict[str, Any] = document(result)
    for _ in range(5000):
        content = {"schema": SCHEMA, "kind": "collection", "documents": [content]}
    with pytest.raises(DataError, match="the collection cannot be read: RecursionError"):
        from_document(content)


def test_every_kind_has_a_class() -> None:
    schema = json.loads((ROOT / "docs" / "schema" / "specprobe-1.schema.json").read_text(encoding="utf-8"))
    published = set(schema["$defs"]["document"]["properties"]["kind"]["enum"])
    kinds = set(results._TYPES)
    assert published <= kinds
    for kind in kinds:
        assert result_type(kind).kind == kind
        assert hasattr(result_type(kind), "from_dict") or kind not in published


def test_json_is_utf8_and_never_nan(result: Accuracy) -> None:
    assert dump_json({"ü": 1}) == '{\n  "ü": 1\n}\n'
    with pytest.raises(ValueError, match="Out of range float"):
        dump_json({"x": math.nan})


# Partial results


@settings(deadline=None)
@given(
    st.integers(0, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    st.floats(0.01, 0.99),
    st.booleans(),
)
def test_packing_keeps_every_bit(counts: tuple[int, int], confidence: float, per_image: bool) -> None:
    images, correct = counts[0] + 1, counts[1]
    packed = Accuracy(
        images=images,
        correct=correct,
        class_histogram={"3": images},
        prediction_histogram={"3": images},
        confidence=confidence,
        image_correct=np.arange(images) < correct if per_image else None,
        image_digest=np.arange(16 * images, dtype=np.uint8).reshape(images, 16) if per_image else None,
    )
    scalars, arrays = pack(packed)
    assert unpack(scalars, arrays) == packed


@dataclasses.dataclass(frozen=True)
class Odd:
    """Numbers that JSON has no word for, nested tuples, arrays of another library."""

    kind = "accuracy"

    x: float
    shape: tuple[tuple[int, ...], ...]
    values: Any


def test_packing_keeps_infinities_tuples_and_strict_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    scalars, arrays = pack(Odd(-math.inf, ((1, 2), (3,)), array_api_strict.asarray([1.5, math.nan])))
    assert isinstance(arrays["values"], np.ndarray)
    monkeypatch.setitem(unpack.__globals__, "result_type", lambda kind: Odd)
    again = unpack(scalars, arrays)
    assert (again.x, again.shape) == (-math.inf, ((1, 2), (3,)))
    assert np.array_equal(again.values, [1.5, math.nan], equal_nan=True)


# Files


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
    with pytest.raises(DataError, match=r"out.npz is not a specprobe result"):
        read_document(path)


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
