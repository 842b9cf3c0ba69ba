"""Documents are JSON without NaN, and read back."""

import json
import math
from typing import Any

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from specprobe.analysis.accuracy import Accuracy
from specprobe.errors import DataError
from specprobe.findings import Finding
from specprobe.recipe import Preprocessing
from specprobe.results import SCHEMA, Result, collection, document, dump_json, finite, from_document

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


def test_json_is_utf8_and_never_nan(result: Accuracy) -> None:
    assert dump_json({"ü": 1}) == '{\n  "ü": 1\n}\n'
    with pytest.raises(ValueError, match="Out of range float"):
        dump_json({"x": math.nan})
