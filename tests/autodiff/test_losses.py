"""Losses of logits: values and gradients against their formulas in NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.autodiff.losses import LOSSES
from specprobe.errors import ModelError
from specprobe.testing.gradient_check import evaluate

Array = NDArray[np.float64]


def _cross_entropy(z: Array, y: int, _: int) -> float:
    return float(np.log(np.exp(z - z.max()).sum()) + z.max() - z[y])


def _margin(z: Array, y: int, _: int) -> float:
    return float(np.delete(z, y).max() - z[y])


def _dlr(z: Array, y: int, _: int) -> float:
    falling = np.sort(z)[::-1]
    return float(-(z[y] - np.delete(z, y).max()) / (falling[0] - falling[2] + 1e-12))


def _targeted_dlr(z: Array, y: int, t: int) -> float:
    falling = np.sort(z)[::-1]
    return float(-(z[y] - z[t]) / (falling[0] - (falling[2] + falling[3]) / 2 + 1e-12))


def _logit(z: Array, y: int, _: int) -> float:
    return float(z[y])


FORMULAS: dict[str, Callable[[Array, int, int], float]] = {
    "cross-entropy": _cross_entropy,
    "margin": _margin,
    "dlr": _dlr,
    "targeted-dlr": _targeted_dlr,
    "logit": _logit,
}


def _model(shape: str = "N,6", kind: str = "float") -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]> f ({kind}[{shape}] x) => ({kind}[{shape}] z) {{ z = Identity (x) }}'
    )


def _run(
    loss: str,
    logits: Any,
    labels: Any,
    targets: Any = None,
    *,
    shape: str = "N,6",
    kind: str = "float",
    engine: str = "runtime",
) -> tuple[NDArray[Any], NDArray[Any]]:
    dtype = {"float": np.float32, "double": np.float64, "float16": np.float16}[kind]
    gradient = with_gradient(_model(shape, kind), loss=loss)
    names = gradient_names(gradient)
    feeds: dict[str, NDArray[Any]] = {
        "x": np.asarray(logits, dtype),
        names["labels"]: np.asarray(labels, np.int64),
    }
    if "targets" in names:
        feeds[names["targets"]] = np.asarray(labels if targets is None else targets, np.int64)
    value, slope = evaluate(gradient, feeds, [names["loss"], names["gradients"]["x"]], engine=engine)
    assert value.dtype == slope.dtype == dtype
    assert value.shape == feeds["x"].shape[:1]
    assert slope.shape == feeds["x"].shape
    return value, slope


def _examples() -> tuple[Array, list[int], list[int]]:
    """The label comes first, second, third and last among the logits."""
    logits = np.array(
        [
            [4.0, 1.0, -2.0, 0.5, 2.5, -1.0],
            [3.0, 3.5, 0.2, -1.0, 1.2, 2.0],
            [-0.3, 1.7, 0.9, 2.8, -4.0, 0.1],
            [90.0, -90.0, 12.0, 11.0, -3.0, 7.0],
        ]
    )
    return logits, [0, 0, 2, 1], [3, 1, 5, 0]


def _expected(loss: str, logits: Array, labels: list[int], targets: list[int]) -> tuple[Array, Array]:
    values, slopes = np.zeros(len(logits)), np.zeros_like(logits)
    for i, (z, y, t) in enumerate(zip(logits, labels, targets, strict=True)):
        values[i] = FORMULAS[loss](z, y, t)
        for k in range(len(z)):
            step = 1e-5 * np.eye(len(z))[k]
            slopes[i, k] = (FORMULAS[loss](z + step, y, t) - FORMULAS[loss](z - step, y, t)) / 2e-5
    return values, slopes


def test_every_loss_has_a_formula() -> None:
    assert set(FORMULAS) == set(LOSSES)


@pytest.mark.parametrize(
    ("kind", "rtol", "atol"), [("float", 2e-6, 2e-6), ("double", 1e-8, 1e-8), ("float16", 4e-3, 2e-3)]
)
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_gradient_equal_the_formula(loss: str, kind: str, rtol: float, atol: float) -> None:
    logits, labels, targets = _examples()
    if kind == "float16":
        logits = logits.astype(np.float16).astype(np.float64)
    found = _run(loss, logits, labels, targets, kind=kind)
    for number, exact in zip(found, _expected(loss, logits, labels, targets), strict=True):
        np.testing.assert_allclose(number, exact, rtol=rtol, atol=atol)


@pytest.mark.parametrize("loss", LOSSES)
def test_examples_do_not_depend_on_one_another(loss: str) -> None:
    logits, labels, targets = _examples()
    whole = _run(loss, logits, labels, targets)
    for i in range(len(logits)):
        alone = _run(loss, logits[[i]], [labels[i]], [targets[i]])
        for one, all_ in zip(alone, whole, strict=True):
            np.testing.assert_allclose(one[0], all_[i], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", ["N,6,1,1", "2,6", "N,K"])
@pytest.mark.parametrize("loss", LOSSES)
def test_logits_of_other_shapes(loss: str, shape: str) -> None:
    logits, labels, targets = (part[:2] for part in _examples())
    flat_value, flat_slope = _run(loss, logits, labels, targets)
    shaped = np.asarray(logits).reshape(2, 6, *([1] * (shape.count(",") - 1)))
    value, slope = _run(loss, shaped, labels, targets, shape=shape)
    np.testing.assert_array_equal(value, flat_value)
    np.testing.assert_array_equal(slope.reshape(2, 6), flat_slope)


@pytest.mark.parametrize("label", [-1, 6, 1000, -7])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_label_out_of_range_is_nan_for_that_example_alone(loss: str, label: int) -> None:
    logits, labels, targets = _examples()
    value, slope = _run(loss, logits, labels, targets)
    broken_value, broken_slope = _run(loss, logits, [labels[0], label, *labels[2:]], targets)
    assert np.isnan(broken_value[1])
    assert np.isnan(broken_slope[1]).all()
    others = [0, 2, 3]
    np.testing.assert_array_equal(broken_value[others], value[others])
    np.testing.assert_array_equal(broken_slope[others], slope[others])


def test_a_target_out_of_range_is_nan() -> None:
    logits, labels, targets = _examples()
    value, slope = _run("targeted-dlr", logits, labels, [-1, *targets[1:]])
    assert np.isnan(value).tolist() == [True, False, False, False]
    assert np.isnan(slope).all(axis=1).tolist() == [True, False, False, False]


@pytest.mark.parametrize(("loss", "least"), [(name, loss.classes) for name, loss in LOSSES.items()])
def test_too_few_classes_are_refused(loss: str, least: int) -> None:
    if least > 1:
        with pytest.raises(ModelError, match=rf"'{loss}' needs {least} classes or more, 'z' has {least - 1}"):
            with_gradient(_model(f"N,{least - 1}"), loss=loss)
    value, slope = _run(loss, np.arange(least)[None], [0], shape=f"N,{least}")
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("shape", ["N", "N,6,2,2"])
def test_other_ranks_are_refused(shape: str) -> None:
    with pytest.raises(ModelError, match=r"'z' has shape .*; a loss needs logits \[N, K\] or \[N, K, 1, 1\]"):
        with_gradient(_model(shape), loss="cross-entropy")


@pytest.mark.parametrize("kind", ["float", "double", "float16"])
@pytest.mark.parametrize("loss", LOSSES)
def test_equal_logits_have_a_finite_loss(loss: str, kind: str) -> None:
    value, slope = _run(loss, np.ones((1, 6)), [2], [3], kind=kind)
    expected = np.log(6) if loss == "cross-entropy" else 1 if loss == "logit" else 0
    np.testing.assert_allclose(value, expected, rtol=1e-3)
    assert not np.isnan(slope).any()


@pytest.mark.parametrize("loss", ["cross-entropy", "margin", "logit"])
def test_a_class_that_is_ruled_out_keeps_the_others_finite(loss: str) -> None:
    value, slope = _run(loss, [[1, 2, -np.inf, 0, 0, 0]], [0])
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()


def test_cross_entropy_of_certain_predictions() -> None:
    value, slope = _run("cross-entropy", [[1000, 0, 0, 0, 0, 0], [0, 1000, 0, 0, 0, 0]], [0, 0])
    assert value.tolist() == [0, 1000]
    assert slope.tolist() == [[0] * 6, [-1, 1, 0, 0, 0, 0]]


def test_ties_for_the_largest_other_class_share_the_gradient() -> None:
    _, slope = _run("margin", [[3, 5, 5, 0, 0, 0]], [0])
    assert slope.tolist() == [[-1, 0.5, 0.5, 0, 0, 0]]
