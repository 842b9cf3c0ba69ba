"""Saved models open again with the same weights, in one file or in two."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from specprobe.errors import DataError
from specprobe.graph.load import open_model
from specprobe.graph.save import save_model
from specprobe.runtime.session import Session


@pytest.fixture
def model() -> ir.Model:
    made = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]> net (float[N,40] x) => (float[N,30] y) '
        "{ h = MatMul(x, w)  y = Add(h, b) }"
    )
    rng = np.random.default_rng(0)
    for name, shape in (("w", (40, 30)), ("b", (30,))):
        value = next(v for node in made.graph for v in node.inputs if v is not None and v.name == name)
        array = rng.standard_normal(shape).astype(np.float32)
        value.const_value = ir.Tensor(array, name=name)
        value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)
        made.graph.register_initializer(value)
    return made


@pytest.mark.parametrize("one_file_bytes", [1 << 30, 0])
def test_a_saved_model_computes_the_same(model: ir.Model, tmp_path: Path, one_file_bytes: int) -> None:
    written = save_model(model, tmp_path / "out.onnx", one_file_bytes=one_file_bytes)
    assert [path.name for path in written] == (
        ["out.onnx"] if one_file_bytes else ["out.onnx", "out.onnx.data"]
    )
    onnx.checker.check_model(tmp_path / "out.onnx", full_check=True)
    x = np.ones((2, 40), np.float32)
    again = open_model(tmp_path / "out.onnx").model
    expected, actual = (Session(m).run({"x": x}, ["y"])[0] for m in (model, again))
    np.testing.assert_array_equal(actual, expected)


def test_mapped_weights_are_copied_to_the_new_file(model: ir.Model, tmp_path: Path) -> None:
    save_model(model, tmp_path / "first.onnx", one_file_bytes=0)
    mapped = open_model(tmp_path / "first.onnx")
    (tmp_path / "elsewhere").mkdir()
    save_model(mapped.model, tmp_path / "elsewhere" / "second.onnx", one_file_bytes=0)
    (tmp_path / "first.onnx.data").unlink()
    again = open_model(tmp_path / "elsewhere" / "second.onnx")
    assert [file.name for file in again.external_files] == ["second.onnx.data"]


def test_a_folder_that_is_not_there_is_said(model: ir.Model, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        save_model(model, tmp_path / "nowhere" / "out.onnx")
