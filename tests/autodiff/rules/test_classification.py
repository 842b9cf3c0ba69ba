"""Losses as operators, with all reductions, weights, ignored labels and spatial axes."""

import itertools
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray

from specprobe.autodiff import with_gradient
from specprobe.testing.gradient_check import check_vjp, evaluate

OPERATORS = ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
SWEEP = list(
    itertools.product(OPERATORS, ("none", "sum", "mean"), (False, True), (None, 1, -100), ((), (5,), (2, 3)))
)


def _model(
    operator: str,
    reduction: str,
    weighted: bool,
    ignored: int | None,
    spatial: tuple[int, ...],
    *,
    outputs: str = "y",
    labels: str = "int64",
) -> onnx.ModelProto:
    axes = "".join(f",d{i}" for i in range(len(spatial)))
    shape = f"N{axes}" if reduction == "none" else ""
    ignore = "" if ignored is None else f", ignore_index = {ignored}"
    result = f"float[{shape}] y" if shape else "float y"
    if "log" in outputs:
        result += f", float[N,4{axes}] log"
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]> f (float[N,4{axes}] x, {labels}[N{axes}] labels'
        f"{', float[4] w' if weighted else ''}) => ({result}) "
        f'{{ {outputs} = {operator} <reduction = "{reduction}"{ignore}> (x, labels{", w" if weighted else ""}) }}'
    )


def _feeds(spatial: tuple[int, ...], *, weighted: bool, ignored: int | None) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(6)
    labels = rng.permutation(np.arange(3 * int(np.prod(spatial))) % 4).reshape(3, *spatial)
    if ignored is not None and ignored < 0:
        labels[0] = ignored
    feeds: dict[str, NDArray[Any]] = {
        "x": rng.standard_normal((3, 4, *spatial)).astype(np.float32),
        "labels": labels,
    }
    return {**feeds, "w": rng.uniform(0.5, 2, 4).astype(np.float32)} if weighted else feeds


@pytest.mark.parametrize(("operator", "reduction", "weighted", "ignored", "spatial"), SWEEP)
def test_gradient_equals_central_difference(
    operator: str, reduction: str, weighted: bool, ignored: int | None, spatial: tuple[int, ...]
) -> None:
    model = _model(operator, reduction, weighted, ignored, spatial)
    feeds = _feeds(spatial, weighted=weighted, ignored=ignored)
    assert check_vjp(model, feeds, engine="reference", directions=1).error < 1e-7
    # Terms of a single number cancel, and so do losses in a weight's derivative of their mean.
    limit = 2e-5 if reduction == "none" else 2e-4
    assert check_vjp(model, feeds, directions=1).error < limit


@pytest.mark.parametrize("of", ["y", "log"])
def test_the_logarithms_of_cross_entropy_are_differentiated_as_well(of: str) -> None:
    model = _model("SoftmaxCrossEntropyLoss", "mean", True, 1, (5,), outputs="y, log")
    feeds = _feeds((5,), weighted=True, ignored=1)
    assert check_vjp(model, feeds, of=of, engine="reference").error < 1e-7


def test_a_sum_of_the_loss_and_its_logarithms() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> f (float[N,4] x, int64[N] labels) => (float[N,4] z) '
        "{ y, log = SoftmaxCrossEntropyLoss (x, labels) z = Mul(y, log) }"
    )
    assert check_vjp(model, _feeds((), weighted=False, ignored=None), engine="reference").error < 1e-7


@pytest.mark.parametrize("operator", OPERATORS)
def test_gradient_of_the_gradient(operator: str) -> None:
    first = with_gradient(_model(operator, "mean", True, -100, (5,)))
    feeds = {**_feeds((5,), weighted=True, ignored=-100), "cotangent": np.array(1.5, np.float32)}
    for of in ("d_x", "d_w"):
        assert check_vjp(first, feeds, of=of, engine="reference").error < 1e-7


@pytest.mark.parametrize("operator", OPERATORS)
def test_labels_of_int32(operator: str) -> None:
    feeds = _feeds((5,), weighted=True, ignored=-100)
    found = [
        evaluate(
            with_gradient(_model(operator, "mean", True, -100, (5,), labels=kind)),
            {**feeds, "labels": feeds["labels"].astype(kind), "cotangent": np.array(1, np.float32)},
            ["d_x", "d_w"],
            engine="reference",
        )
        for kind in ("int64", "int32")
    ]
    for wide, narrow in zip(*found, strict=True):
        np.testing.assert_array_equal(wide, narrow)


def test_ignored_labels_have_no_gradient() -> None:
    model = _model("SoftmaxCrossEntropyLoss", "mean", False, -100, ())
    feeds = {
        "x": np.zeros((2, 4), np.float32),
        "labels": np.array([-100, 2]),
        "cotangent": np.array(1, np.float32),
    }
    (found,) = evaluate(with_gradient(model), feeds, ["d_x"], engine="reference")
    assert found.tolist() == [[0, 0, 0, 0], [0.25, 0.25, -0.75, 0.25]]
