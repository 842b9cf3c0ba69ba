"""Operators of ``ai.onnx.ml``: picked features, and steps."""

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from specprobe.autodiff import with_gradient
from specprobe.errors import ModelError
from specprobe.testing.evaluation import evaluate
from specprobe.testing.gradient_check import check_vjp

HEAD = '<ir_version: 10, opset_import: ["" : 18, "ai.onnx.ml" : 5]>'


def picked(shape: str, places: str) -> onnx.ModelProto:
    count = places.count(",") + 1
    return onnx.parser.parse_model(
        f"{HEAD} f (float[{shape}] x) => (y) <int64[1,{count}] i = {{{places}}}> "
        "{ p = ai.onnx.ml.ArrayFeatureExtractor (x, i) y = Mul (p, p) }"
    )


@pytest.mark.parametrize("engine", ["runtime", "reference"])
@pytest.mark.parametrize(
    ("stated", "shape", "places"),
    [
        ("3,4", (3, 4), "1,3"),
        ("N,4", (2, 4), "2,2,0"),
        ("2,N,4", (2, 3, 4), "3"),
        ("4", (4,), "3,0,3"),
        ("N", (4,), "1"),
    ],
)
def test_features_get_the_sum_of_what_was_picked_of_them(
    stated: str, shape: tuple[int, ...], places: str, engine: str
) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert check_vjp(picked(stated, places), {"x": x}, engine=engine).error < 2e-5


def test_a_feature_picked_twice_counts_twice() -> None:
    gradient = with_gradient(picked("1,3", "0,2,2"))
    x = np.asarray([[1, 2, 3]], np.float32)
    (dx,) = evaluate(gradient, {"x": x, "cotangent": np.ones((1, 3), np.float32)}, ["d_x"])
    assert dx.tolist() == [[2, 0, 12]]


def test_steps_have_no_gradient() -> None:
    beside = ir.from_onnx_text(
        f"{HEAD} f (float[N,3] x) => (float[N,3] y) {{ s = ai.onnx.ml.Binarizer <threshold = 0.5> (x) y = Mul (s, x) }}"
    )
    x = np.asarray([[0.2, 0.7, 3]], np.float32)
    (dx,) = evaluate(with_gradient(beside), {"x": x, "cotangent": np.ones_like(x)}, ["d_x"])
    assert dx.tolist() == [[0, 1, 1]]
    alone = ir.from_onnx_text(
        f"{HEAD} f (float[N,3] x) => (float[N,3] y) {{ y = ai.onnx.ml.Binarizer <threshold = 0.5> (x) }}"
    )
    with pytest.raises(ModelError, match="no gradient flows from 'y' to x"):
        with_gradient(alone)


def test_a_tree_has_no_gradient() -> None:
    node = onnx.helper.make_node(
        "TreeEnsemble",
        ["x"],
        ["t"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=1,
        nodes_featureids=[0],
        nodes_splits=onnx.numpy_helper.from_array(np.asarray([0.5], np.float32)),
        nodes_modes=onnx.numpy_helper.from_array(np.asarray([0], np.uint8)),
        nodes_truenodeids=[0],
        nodes_trueleafs=[1],
        nodes_falsenodeids=[1],
        nodes_falseleafs=[1],
        leaf_targetids=[0, 0],
        leaf_weights=onnx.numpy_helper.from_array(np.asarray([2, 3], np.float32)),
        tree_roots=[0],
    )
    proto = onnx.parser.parse_model(f"{HEAD} f (float[N,2] x) => (float[N,2] y) {{ y = Mul (x, t) }}")
    proto.graph.node.insert(0, node)
    x = np.asarray([[0, 1], [1, 1]], np.float32)
    feeds = {"x": x, "cotangent": np.ones_like(x)}
    (dx,) = evaluate(with_gradient(proto), feeds, ["d_x"], engine="reference")
    assert dx.tolist() == [[2, 2], [3, 3]]
