"""An inspection as a record."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.analysis.accuracy import Accuracy
from specprobe.analysis.filters import filter_statistics
from specprobe.analysis.inspection import GradientSupport, Inspection
from specprobe.findings import Finding
from specprobe.protocols import Convolution
from specprobe.results import Result, document, dump_json, from_document

KERNELS = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)


def an_inspection(**changes: Any) -> Inspection:
    filters = filter_statistics(
        [
            Convolution(name="first", operator="Conv", weight=KERNELS),
            Convolution(name="flat", operator="Conv", weight=np.zeros((2, 8, 1, 1), np.float32), depth=1),
        ]
    )
    settings: dict[str, Any] = {
        "inputs": ({"name": "x", "dtype": "float", "shape": ["N", 3, None, 8]},),
        "outputs": ({"name": "y", "dtype": "float", "shape": None},),
        "opset": 17,
        "ir_version": 8,
        "producer": "somebody 1.0",
        "bytes": 1000,
        "parameters": 232,
        "multiply_adds": None,
        "operators": {"Conv": 2},
        "functions": 0,
        "quantisation": None,
        "trailing_activation": "Softmax",
        "filters": filters,
    }
    return Inspection(**{**settings, **changes})


MEASURED = Accuracy(images=10, correct=7, class_histogram={"0": 10}, prediction_histogram={"0": 7, "1": 3})

inspections = st.builds(
    an_inspection,
    gradient=st.builds(
        GradientSupport,
        supported=st.sampled_from([None, True, False]),
        missing=st.lists(st.tuples(st.text(), st.text()), max_size=2).map(tuple),
        masking=st.lists(st.text(), max_size=2).map(tuple),
    ),
    findings=st.lists(
        st.builds(
            Finding,
            level=st.sampled_from(["note", "warning"]),
            code=st.text(),
            message=st.text(),
            node=st.text(),
        ),
        max_size=2,
    ).map(tuple),
    accuracy=st.sampled_from([None, MEASURED]),
    multiply_adds=st.none() | st.integers(0, 2**70),
    quantisation=st.sampled_from([None, "qdq"]),
)


@settings(deadline=None, max_examples=50)
@given(inspections)
def test_inspections_survive_json(result: Inspection) -> None:
    content = json.loads(dump_json(document(result)))
    again = from_document(content)
    assert again == result
    assert again.to_dict() == content["result"]


def test_the_names_that_programs_rely_on() -> None:
    result = an_inspection(gradient=GradientSupport(supported=False, missing=(("GridSample", "/stn"),)))
    assert isinstance(result, Result)
    assert result.kind == "inspection"
    content = result.to_dict()
    assert set(content) >= {
        "inputs", "outputs", "opset", "parameters", "multiply_adds", "operators", "convolutions", "gradient", "findings",
    }  # fmt: skip
    assert content["inputs"] == [{"name": "x", "dtype": "float", "shape": ["N", 3, None, 8]}]
    assert content["gradient"] == {
        "supported": False, "missing": [{"operator": "GridSample", "node": "/stn"}], "masking": []
    }  # fmt: skip
    assert [layer["name"] for layer in content["convolutions"]] == ["first", "flat"]
    assert "layers" not in content["filters"]


def test_accuracy_is_a_number_with_its_interval() -> None:
    content = an_inspection(accuracy=MEASURED).to_dict()
    assert content["accuracy"] == 0.7
    assert content["accuracy_interval"] == list(MEASURED.accuracy_interval)
    assert content["accuracy_detail"]["images"] == 10
    content = an_inspection().to_dict()
    assert [content[name] for name in ("accuracy", "accuracy_interval", "accuracy_detail")] == [None] * 3


@pytest.mark.parametrize(
    "name", ["gradient", "findings", "convolutions", "filters", "accuracy_detail", "opset"]
)
def test_a_missing_part_is_named(name: str) -> None:
    content = an_inspection().to_dict()
    del content[name]
    with pytest.raises(KeyError, match=name):
        Inspection.from_dict(content)


def test_inspections_are_compared_by_what_they_hold() -> None:
    assert an_inspection() == an_inspection()
    assert an_inspection(accuracy=MEASURED) != an_inspection()
    assert an_inspection(accuracy=MEASURED) != an_inspection(
        accuracy=dataclasses.replace(MEASURED, correct=6)
    )
