"""Gradient models: names, types, what is refused, second derivatives, real networks."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.errors import ModelError
from specprobe.testing.evaluation import Evaluator, evaluate, evaluator
from specprobe.testing.gradient_check import check_vjp

SQUARE = "(float[N] x) => (float[N] y) { y = Mul(x, x) }"


def model(text: str, opset: int = 18) -> ir.Model:
    return ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : {opset}]> f {text}')


def names(graph: ir.Model) -> tuple[list[str | None], list[str | None]]:
    return [v.name for v in graph.graph.inputs], [v.name for v in graph.graph.outputs]


def test_inputs_and_outputs_keep_their_names() -> None:
    graph = model("(float[N] x, float[N] w) => (float[N] y, float[N] z) { y = Mul(x, w) z = Tanh(y) }")
    assert names(with_gradient(graph, of="z")) == (["x", "w", "cotangent"], ["y", "z", "d_x", "d_w"])


def test_taken_names_get_a_number_and_are_told() -> None:
    graph = model("(float[N] cotangent) => (float[N] d_cotangent) { d_cotangent = Tanh(cotangent) }")
    gradient = with_gradient(graph)
    assert names(gradient) == (["cotangent", "cotangent_1"], ["d_cotangent", "d_cotangent_1"])
    assert gradient_names(gradient) == {
        "cotangent": "cotangent_1",
        "gradients": {"cotangent": "d_cotangent_1"},
    }


def test_names_of_a_loss_are_told() -> None:
    graph = model("(float[N,3] labels) => (float[N,3] loss) { loss = Tanh(labels) }")
    told = gradient_names(with_gradient(graph, loss="cross-entropy"))
    assert told == {"labels": "labels_1", "loss": "loss_1", "gradients": {"labels": "d_labels"}}


def test_the_model_is_left_as_it_is() -> None:
    graph = model(SQUARE)
    before = ir.to_proto(graph).SerializeToString()
    with_gradient(graph)
    assert ir.to_proto(graph).SerializeToString() == before


def test_a_tensor_inside_can_be_differentiated() -> None:
    graph = model("(float[N] x) => (float[N] y) { h = Tanh(x) y = Sigmoid(h) }")
    (dx,) = evaluate(
        with_gradient(graph, of="h"),
        {"x": np.zeros(2, np.float32), "cotangent": np.ones(2, np.float32)},
        ["d_x"],
    )
    assert dx.tolist() == [1, 1]


def test_a_zero_cotangent_among_others_is_zeros() -> None:
    graph = model("(float[N] x, float[M] w) => (float[N] y) { y = Tanh(x) }")
    feeds = {
        "x": np.zeros(2, np.float32),
        "w": np.ones(3, np.float32),
        "cotangent": np.ones(2, np.float32),
    }
    assert evaluate(with_gradient(graph), feeds, ["d_w"])[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (
            "(float[N] x) => (float[N] y) { i = Cast<to = 7>(x) y = Cast<to = 1>(i) }",
            {},
            "no gradient flows from 'y' to x",
        ),
        (
            "(float[N] x) => (float[N] y, float[N] z) { y = Tanh(x) z = Neg(x) }",
            {},
            "2 outputs; say of which: y, z",
        ),
        (SQUARE, {"of": "w"}, "no tensor 'w'; its outputs are y"),
        (
            SQUARE,
            {"wrt": "w"},
            "'w' is no floating-point input or initializer; the floating-point inputs are x",
        ),
        (SQUARE, {"loss": "hinge"}, "no loss 'hinge'; accepted are cross-entropy"),
        ("(float[N] x) => (int64[N] y) { y = Cast<to = 7>(x) }", {}, "'y' holds INT64"),
        ("(int64[N] x) => (float[N] y) { y = Cast<to = 1>(x) }", {}, "no floating-point input"),
    ],
)
def test_what_cannot_be_is_said(text: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        with_gradient(model(text), **settings)


def test_a_model_of_another_domain_alone() -> None:
    graph = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["my.domain" : 1]> f (float[N] x) => (float[N] y) { y = my.domain.Some(x) }'
    )
    with pytest.raises(ModelError, match=r"my\.domain::Some"):
        with_gradient(graph)
    assert graph.opset_imports == {"my.domain": 1}


@pytest.mark.parametrize(("kind", "tolerance"), [("float16", 2e-2), ("float", 1e-5), ("double", 1e-9)])
def test_gradients_have_the_type_of_the_graph(kind: str, tolerance: float) -> None:
    graph = model(f"({kind}[N,3] x) => ({kind}[N,3] y) {{ a = Tanh(x) b = Softmax(a) y = Mul(a, b) }}")
    dtype = {"float16": np.float16, "float": np.float32, "double": np.float64}[kind]
    x = np.linspace(-1, 1, 6).reshape(2, 3).astype(dtype)
    gradient = with_gradient(graph)
    onnx.checker.check_model(ir.to_proto(gradient), full_check=True)
    assert evaluate(gradient, {"x": x, "cotangent": x}, ["d_x"])[0].dtype == dtype
    assert check_vjp(graph, {"x": x}).error < tolerance


@pytest.mark.parametrize("opset", [9, 13, 17, 18, 21, 24, 26])
def test_every_opset_is_differentiated(opset: int) -> None:
    graph = model("(float[N,3] x) => (float[N,3] y) { a = Tanh(x) y = Mul(a, x) }", opset)
    gradient = with_gradient(graph)
    assert gradient.opset_imports[""] == max(18, opset)
    assert check_vjp(graph, {"x": np.ones((2, 3), np.float32) / 3}).error < 1e-5


NETWORK = """(double[N,2,6,6] x, double[3,2,3,3] k, double[3] b, double[27,3] w) => (double[N,3] y)
    <int64[2] shape = {-1, 27}>
    {
        a = Conv<pads = [1, 1, 0, 0], strides = [2, 2]>(x, k, b)
        s = Softplus(a)
        t = Tanh(s)
        f = Reshape(t, shape)
        z = MatMul(f, w)
        y = Sigmoid(z)
    }"""
"""Smooth, in float64; its convolution runs in the reference evaluator alone."""


def network_feeds() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    shapes = {"x": (2, 2, 6, 6), "k": (3, 2, 3, 3), "b": (3,), "w": (27, 3)}
    return {name: rng.standard_normal(shape) / 2 for name, shape in shapes.items()}


@pytest.mark.parametrize("name", ["x", "k", "b", "w"])
def test_the_gradient_of_a_gradient_is_a_hessian_vector_product(name: str) -> None:
    first = with_gradient(model(NETWORK), wrt=name)
    second = with_gradient(first, of=f"d_{name}", wrt=name)
    told = gradient_names(second)
    rng = np.random.default_rng(1)
    feeds = {**network_feeds(), "cotangent": rng.standard_normal((2, 3))}
    v = rng.standard_normal(feeds[name].shape)
    (product,) = evaluate(
        second, {**feeds, told["cotangent"]: v}, [told["gradients"][name]], engine="reference"
    )
    gradient = evaluator(first, [f"d_{name}"], engine="reference")
    ahead, behind = (gradient({**feeds, name: feeds[name] + sign * 1e-5 * v})[0] for sign in (1, -1))
    differences = (ahead - behind) / 2e-5
    assert np.linalg.norm(product) > 1e-3
    assert np.max(np.abs(product - differences)) < 1e-8


@pytest.mark.parametrize("name", ["x", "k", "b", "w"])
def test_a_network_agrees_with_differences(name: str) -> None:
    assert check_vjp(model(NETWORK), network_feeds(), wrt=[name], engine="reference").error < 1e-7


BARE = """
import sys
import numpy as np
import onnxruntime as ort

session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
for batch in (1, 7):
    x = np.linspace(-1, 1, batch * 4, dtype=np.float32).reshape(batch, 4)
    feeds = {"x": x, "labels": np.zeros(batch, np.int64)}
    y, loss, dx = session.run(["y", "loss", "d_x"], feeds)
    assert y.shape == dx.shape == (batch, 4) and loss.shape == (batch,)
    assert np.isfinite(dx).all() and abs(dx).max() > 0
assert "specprobe" not in sys.modules and "onnx" not in sys.modules
"""


def test_onnxruntime_alone_runs_it_at_any_batch_size(tmp_path: Path) -> None:
    gradient = with_gradient(
        model("(float[N,4] x) => (float[N,4] y) { a = Tanh(x) y = Mul(a, x) }"), loss="cross-entropy"
    )
    proto = ir.to_proto(gradient)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, tmp_path / "gradient.onnx")
    done = subprocess.run(
        [sys.executable, "-I", "-c", BARE, str(tmp_path / "gradient.onnx")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


REAL = (
    *("cifar10_ada_resnet4b_fgsm", "cifar10_ada_resnet4b_pgd", "cifar10_ada_resnet4b_standard"),
    *(
        "cifar10_akamaster_resnet20",
        "cifar10_marabou_small",
        "cifar10_oval_base_kw",
        "cifar10_vit_pgd_2_3_16",
    ),
    *("mnist_eran_convsmall_diffai", "mnist_eran_convsmall_pgdk", "mnist_eran_convsmall_point"),
    "mnist_vnn_256x2",
)


@pytest.mark.assets
def test_real_models_are_all_listed(assets: Path) -> None:
    listed = _listed(assets)
    assert sorted(name for name, entry in listed.items() if entry["file"].startswith("models/")) == sorted(
        REAL
    )


@pytest.mark.assets
@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_models_agree_with_differences(assets: Path, name: str) -> None:
    entry = _listed(assets)[name]
    gradient = with_gradient(assets / entry["file"], loss="cross-entropy")
    told = gradient_names(gradient)
    (image,) = (str(value.name) for value in gradient.graph.inputs if value.name != told["labels"])
    logits = next(str(v.name) for v in gradient.graph.outputs)
    derivative = told["gradients"][image]
    x = _first_image(assets, entry)
    run = evaluator(gradient, [logits, told["loss"], derivative])
    # The class that comes second: where the loss is near 0, differences of it are noise.
    label = np.argsort(run({image: x, told["labels"]: np.zeros(1, np.int64)})[0].reshape(1, -1))[:, -2]
    z, loss, dx = run({image: x, told["labels"]: label})
    assert loss[0] == pytest.approx(_cross_entropy(z, label), rel=1e-4)
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(5):
        v = rng.standard_normal(x.shape)
        # Half of it along the gradient: differences of float32 logits see no slope across it.
        v = v / np.linalg.norm(v) + dx / np.linalg.norm(dx)
        errors.append(_error(run, {image: x, told["labels"]: label}, image, v, float(np.sum(dx * v))))
    assert np.median(errors) < 1e-3


def _error(
    run: Evaluator, feeds: dict[str, NDArray[Any]], image: str, v: NDArray[Any], exact: float
) -> float:
    """Relative difference at the best step: long ones cross kinks, short ones drown in rounding."""
    label, found = next(array for name, array in feeds.items() if name != image), []
    for step in (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4):
        x = feeds[image]
        ahead, behind = ((x + sign * step * v).astype(np.float32) for sign in (1, -1))
        up, down = (_cross_entropy(run({**feeds, image: moved})[0], label) for moved in (ahead, behind))
        found.append(abs((up - down) / (2 * step) - exact) / abs(exact))
    return min(found)


@pytest.mark.assets
@pytest.mark.slow
def test_a_real_models_spectrum_is_the_one_of_another_framework(assets: Path) -> None:
    """Reference point of the assets' README, computed there with another framework's autograd."""
    entry = _listed(assets)["cifar10_ada_resnet4b_standard"]
    with np.load(assets / "data" / entry["data"]) as stored:
        images = stored["images"][:200].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        labels = stored["labels"][:200].reshape(-1).astype(np.int64)
    gradient = with_gradient(assets / entry["file"], loss="cross-entropy")
    (image, *_), (logits, *_) = names(gradient)
    outputs = [str(logits), "loss", f"d_{image}"]
    z, loss, dx = evaluate(gradient, {str(image): images, "labels": labels}, outputs)
    power = np.abs(np.fft.fft2(dx.mean(axis=1), norm="ortho")) ** 2
    f = np.fft.fftfreq(32) * 32
    ring = np.floor(np.hypot(f[:, None], f[None, :]) + 0.5).astype(int)
    sums = np.stack([power[:, ring == r].sum(axis=1) for r in range(1, 24)], axis=1)
    share = (sums / sums.sum(axis=1, keepdims=True)).mean(axis=0)
    assert (z.argmax(axis=1) == labels).mean() == pytest.approx(0.810)
    assert loss.mean() == pytest.approx(0.6302, abs=1e-4)
    assert share.argmax() + 1 == 13
    assert share.max() == pytest.approx(0.1091, abs=1e-4)
    assert share[:5].sum() == pytest.approx(0.031, abs=5e-4)
    assert share[10:].sum() == pytest.approx(0.720, abs=5e-4)


def _listed(assets: Path) -> dict[str, dict[str, Any]]:
    return {
        entry["name"]: entry
        for entry in tomllib.loads((assets / "models.toml").read_text(encoding="utf-8"))["model"]
    }


def _first_image(assets: Path, entry: dict[str, Any]) -> NDArray[np.float32]:
    """As the model takes it."""
    with np.load(assets / "data" / entry["data"]) as stored:
        pixels = stored["images"][:1].astype(np.float32) / 255
    x = (pixels - np.asarray(entry["mean"])) / np.asarray(entry["std"])
    shape = entry["input_shape"]
    if entry["layout"] == "NCHW":
        x = x.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x.reshape(1, *shape[1:]), np.float32)


def _cross_entropy(logits: NDArray[Any], label: NDArray[Any]) -> float:
    z = logits.astype(np.float64).reshape(-1)
    return float(np.logaddexp.reduce(z) - z[label[0]])


def test_estimates_are_stated() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]> net (float[N, 4] x) => (float[N, 4] y) '
        "<float s = {0.1}, int8 z = {0}> { q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }"
    )
    assert set(gradient_names(with_gradient(model))["estimates"].values()) == {"straight-through"}
    plain = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]> n (float[N] x) => (float[N] y) { y = Exp(x) }'
    )
    assert "estimates" not in gradient_names(with_gradient(plain))
