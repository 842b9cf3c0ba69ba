"""One step of an optimizer, against central differences of the standard's own evaluator or of its formulas."""

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from specprobe.autodiff import with_gradient
from specprobe.testing.evaluation import Feeds, evaluate
from specprobe.testing.gradient_check import check_vjp

ROLES = {"Adagrad": ("x", "g", "h"), "Adam": ("x", "g", "v", "h"), "Momentum": ("x", "g", "v")}
ATTRIBUTES: list[tuple[str, dict[str, Any]]] = [
    ("Adagrad", {}),
    ("Adagrad", {"decay_factor": 0.1, "norm_coefficient": 0.2, "epsilon": 0.01}),
    ("Adam", {}),
    (
        "Adam",
        {"alpha": 0.8, "beta": 0.6, "epsilon": 0.1, "norm_coefficient": 0.2, "norm_coefficient_post": 0.3},
    ),
    ("Momentum", {"alpha": 0.9, "beta": 0.4, "mode": "standard", "norm_coefficient": 0.2}),
    ("Momentum", {"alpha": 0.9, "beta": 0.4, "mode": "nesterov", "norm_coefficient": 0.0}),
]
SHAPES = ((3,), (2, 2))


def model(operator: str, attributes: dict[str, Any], tensors: int) -> onnx.ModelProto:
    roles, kind = ROLES[operator], onnx.TensorProto.DOUBLE
    names = [f"{role}{i}" for role in roles for i in range(tensors)]
    results = [f"{role}{i}_new" for role in roles if role != "g" for i in range(tensors)]
    node = helper.make_node(
        operator, ["rate", "count", *names], results, domain="ai.onnx.preview.training", **attributes
    )
    shapes = {name: SHAPES[int(name[1])] for name in (*names, *results)}
    graph = helper.make_graph(
        [node],
        "step",
        [
            helper.make_tensor_value_info("rate", kind, []),
            helper.make_tensor_value_info("count", onnx.TensorProto.INT64, []),
            *(helper.make_tensor_value_info(name, kind, shapes[name]) for name in names),
        ],
        [helper.make_tensor_value_info(name, kind, shapes[name]) for name in results],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.preview.training", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def feeds(operator: str, tensors: int, count: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    given = {
        f"{role}{i}": rng.standard_normal(SHAPES[i]) if role != "h" else rng.random(SHAPES[i]) + 0.5
        for role in ROLES[operator]
        for i in range(tensors)
    }
    return {"rate": np.asarray(0.3), "count": np.asarray(count), **given}


@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize(("operator", "attributes"), ATTRIBUTES)
def test_a_step_is_differentiated_through_all_that_it_keeps(
    operator: str, attributes: dict[str, Any], count: int
) -> None:
    proto, given = model(operator, attributes, 1), feeds(operator, 1, count)
    for output in proto.graph.output:
        check = check_vjp(proto, given, of=output.name, engine="reference")
        assert check.error < 1e-7


@pytest.mark.parametrize(
    "operator", ["Adagrad", "Momentum"]
)  # onnx's Adam of several tensors is float32 throughout
def test_tensors_of_one_node_do_not_meet(operator: str) -> None:
    attributes = next(attributes for name, attributes in ATTRIBUTES[1:] if name == operator)
    proto, given = model(operator, attributes, 2), feeds(operator, 2, 3)
    for output in proto.graph.output:
        assert check_vjp(proto, given, of=output.name, engine="reference").error < 1e-7
    gradient = with_gradient(proto, of="x1_new", wrt=["x0", "x1"])
    fed: Feeds = {**given, "cotangent": np.ones(SHAPES[1])}
    first, second = evaluate(gradient, fed, ["d_x0", "d_x1"], engine="reference")
    assert not first.any()
    assert second.all()


def test_adam_of_several_tensors_is_adam_of_each() -> None:
    attributes = ATTRIBUTES[3][1]
    given = feeds("Adam", 2, 3)
    names = ["x1", "g1", "v1", "h1", "rate"]
    both = with_gradient(model("Adam", attributes, 2), of="x1_new", wrt=names)
    seed = np.random.default_rng(1).standard_normal(SHAPES[1])
    together = evaluate(both, {**given, "cotangent": seed}, [f"d_{n}" for n in names], engine="reference")
    rate, count = given["rate"], given["count"]
    alone = {name: given[name] for name in names[:4]}

    def result(**changed: Any) -> NDArray[Any]:
        at = {"rate": rate, **alone, **changed}
        g = attributes["norm_coefficient"] * at["x1"] + at["g1"]
        mean = attributes["alpha"] * at["v1"] + (1 - attributes["alpha"]) * g
        squares = attributes["beta"] * at["h1"] + (1 - attributes["beta"]) * g * g
        factor = np.sqrt(1 - attributes["beta"] ** count) / (1 - attributes["alpha"] ** count)
        moved = at["x1"] - at["rate"] * factor * mean / (np.sqrt(squares) + attributes["epsilon"])
        return np.asarray((1 - attributes["norm_coefficient_post"]) * moved)

    for name, found in zip(names, together, strict=True):
        direction = np.random.default_rng(2).standard_normal(given[name].shape)
        ends = [result(**{name: given[name] + step * direction}) for step in (1e-6, -1e-6)]
        assert np.sum(found * direction) == pytest.approx(np.sum(seed * (ends[0] - ends[1])) / 2e-6, rel=1e-5)
