"""The check tells right gradients from wrong ones, and kinks from slopes."""

import math

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from specprobe.autodiff import Operators, registry, vjp
from specprobe.errors import ModelError
from specprobe.testing.evaluation import evaluate, evaluator
from specprobe.testing.gradient_check import central_difference, check_vjp, slopes
from specprobe.testing.widening import widened


@pytest.fixture(autouse=True)
def _own_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_RULES", dict(registry._RULES))


def model(body: str, kind: str = "float") -> ir.Model:
    return ir.from_onnx_text(
        f'<ir_version: 10, opset_import: ["" : 18]> f ({kind}[N] x) => ({kind}[N] y) {{ {body} }}'
    )


def points(*values: float) -> dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]:
    return {"x": np.array(values, np.float32)}


def test_a_right_rule_has_a_small_error() -> None:
    check = check_vjp(model("y = Tanh(x)"), points(0.3, -0.8, 1.2))
    assert check.error < 2e-6
    assert check.spread < 1e-6
    assert check.kink < 1e-3
    assert check.directions == 2


def test_the_reference_engine_computes_in_float64() -> None:
    assert check_vjp(model("a = Tanh(x) y = Mul(a, x)"), points(0.3, -0.8), engine="reference").error < 1e-8


def test_a_wrong_rule_has_a_large_error() -> None:
    del registry._RULES["", "Tanh"]

    @vjp("Tanh")
    def wrong(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[ir.Value]:
        return (op.Mul(dy, node.outputs[0]),)

    assert check_vjp(model("y = Tanh(x)"), points(0.3, -0.8, 1.2)).error > 0.1


def test_one_wrong_element_of_many_shows() -> None:
    del registry._RULES["", "Identity"]

    @vjp("Identity")
    def wrong(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[ir.Value]:
        mask = np.ones(1000, np.float32)
        mask[7] = 0
        return (op.Mul(dy, op.constant(mask, ir.DataType.FLOAT)),)

    assert check_vjp(model("y = Identity(x)"), points(*np.linspace(0, 1, 1000)), directions=4).error > 1e-3


def test_a_kink_shows_where_central_differences_agree() -> None:
    check = check_vjp(model("y = Relu(x)"), points(0, 0, 0))
    assert check.spread < 1e-6
    assert check.kink > 0.1


def test_a_kink_near_by_shows_in_the_spread() -> None:
    assert check_vjp(model("y = Relu(x)"), points(1e-6, 1e-6, 1e-6), directions=4).spread > 1e-2


def test_float16_is_compared_at_what_it_can_hold() -> None:
    feeds = {"x": np.array([0.3, -0.8, 1.2], np.float16)}
    assert check_vjp(model("y = Tanh(x)", "float16"), feeds).error < 1e-2


def test_central_difference_of_a_cube() -> None:
    cube = model("a = Mul(x, x) y = Mul(a, x)")
    along = {"x": np.ones(2)}
    found = central_difference(cube, points(1, 2), along, "y", step=1e-4)
    assert np.allclose(found, [3, 12], rtol=1e-7)


def test_slopes_refuse_a_shape_that_moves() -> None:
    def longer(feeds: object) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
        return [np.zeros(3 if feeds["x"][0] > 1 else 2)]  # type: ignore[index]

    with pytest.raises(ValueError, match="the shape of an output depends"):
        slopes(longer, points(1), {"x": np.ones(1)}, steps=[1e-3])


def test_what_an_engine_cannot_evaluate_is_said() -> None:
    unknown = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18, "my.domain" : 1]> f (float[N] x) => (float[N] y) { y = my.domain.F(x) }'
    )
    for engine in ("runtime", "reference"):
        with pytest.raises(ModelError, match="cannot run this graph"):
            evaluate(unknown, points(1), ["y"], engine=engine)


def test_the_reference_engine_takes_absolute_values_of_a_norm() -> None:
    text = '<ir_version: 10, opset_import: ["" : 22]> f (float[N] x) => (float[N] y) { y = LpNormalization<p = 1>(x) }'
    found = evaluate(ir.from_onnx_text(text), points(-1, 3), ["y"], engine="reference")[0]
    assert found.tolist() == [-0.25, 0.75]


def test_widened_models_compute_in_float64() -> None:
    half = model(
        """a = Cast<to = 10>(x) c = Constant<value_float = 0.1>() d = Cast<to = 10>(c)
           e = Mul(a, d) f = Cast<to = 1>(e) y = Erf(f)"""
    )
    proto = ir.to_proto(half)
    before = proto.SerializeToString()
    x = np.array([1 / 3])
    (y,) = evaluator(widened(proto), ["y"], engine="reference")({"x": x})
    assert proto.SerializeToString() == before
    assert y.dtype == np.float64
    assert y[0] == pytest.approx(math.erf(0.1 / 3), rel=1e-6)
    assert onnx.TensorProto.FLOAT16 not in {a.i for n in widened(proto).graph.node for a in n.attribute}
