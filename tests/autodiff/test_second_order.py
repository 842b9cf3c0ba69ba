"""The gradient of a gradient graph, on whole networks: products with the Hessian, and with mixed second derivatives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.testing.evaluation import evaluate, evaluator
from specprobe.testing.widening import widened

BATCH, CLASSES, STEP = 2, 5, 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Its weights are inputs, so that it can be differentiated with respect to them."""

    name: str
    body: str
    weights: Mapping[str, tuple[int, ...]]
    image: tuple[int, ...] = (3, 8, 8)

    @property
    def model(self) -> ir.Model:
        """In float32, for any batch size."""
        inputs = {"x": ("N", *self.image), **self.weights}
        shapes = ", ".join(f"float[{','.join(map(str, shape))}] {name}" for name, shape in inputs.items())
        return ir.from_onnx_text(
            f'<ir_version: 10, opset_import: ["" : 18]> net ({shapes}) => (float[N,{CLASSES}] y) {{ {self.body} }}'
        )

    def feeds(self) -> dict[str, NDArray[np.float32]]:
        """Weights small enough for the activations to stay of order 1."""
        rng = np.random.default_rng(0)
        drawn = {"x": rng.standard_normal((BATCH, *self.image))}
        for name, shape in self.weights.items():
            fan_in = np.prod(shape[:-1] if name.startswith("m_") else shape[1:]) or 1
            drawn[name] = rng.standard_normal(shape) * np.sqrt(1.5 / fan_in)
            if name.startswith("var"):
                drawn[name] = 0.5 + rng.random(shape)
        return {name: array.astype(np.float32) for name, array in drawn.items()}


def convolutional(activation: str, pool: str) -> str:
    return f"""
        a = Conv<pads = [1, 1, 1, 1]>(x, k1, b1)
        n = BatchNormalization(a, scale, shift, mean, var)
        h = {activation}(n)
        p = {pool}<kernel_shape = [2, 2], strides = [2, 2]>(h)
        c = Conv<pads = [0, 1, 1, 0], strides = [2, 1]>(p, k2)
        g = {activation}(c)
        s = GlobalAveragePool(g)
        f = Flatten(s)
        y = Gemm<transB = 1>(f, w, b)"""


CONVOLUTIONAL_WEIGHTS = {
    "k1": (4, 3, 3, 3),
    "b1": (4,),
    "scale": (4,),
    "shift": (4,),
    "mean": (4,),
    "var": (4,),
    "k2": (6, 4, 2, 2),
    "w": (CLASSES, 6),
    "b": (CLASSES,),
}

SMOOTH = Network(
    name="smooth cnn", body=convolutional("Softplus", "AveragePool"), weights=CONVOLUTIONAL_WEIGHTS
)
KINKED = Network(
    name="cnn of relu and maxpool", body=convolutional("Relu", "MaxPool"), weights=CONVOLUTIONAL_WEIGHTS
)

TRANSFORMER = Network(
    name="vit",
    body="""
        patches = Conv<strides = [4, 4]>(x, k)
        flat_shape = Constant<value_ints = [0, 8, -1]>()
        flat = Reshape(patches, flat_shape)
        tokens = Transpose<perm = [0, 2, 1]>(flat)
        n = Shape<start = 0, end = 1>(x)
        rest = Constant<value_ints = [1, 8]>()
        first_shape = Concat<axis = 0>(n, rest)
        first = Expand(token, first_shape)
        all = Concat<axis = 1>(first, tokens)
        h = Add(all, positions)
        u = LayerNormalization(h, scale1, shift1)
        qkv = MatMul(u, m_qkv)
        heads_shape = Constant<value_ints = [0, 5, 3, 2, 4]>()
        heads = Reshape(qkv, heads_shape)
        turned = Transpose<perm = [2, 0, 3, 1, 4]>(heads)
        q4, k4, v4 = Split<axis = 0, num_outputs = 3>(turned)
        zero = Constant<value_ints = [0]>()
        q = Squeeze(q4, zero)
        key = Squeeze(k4, zero)
        v = Squeeze(v4, zero)
        kt = Transpose<perm = [0, 1, 3, 2]>(key)
        score = MatMul(q, kt)
        half = Constant<value_float = 0.5>()
        scaled = Mul(score, half)
        share = Softmax<axis = -1>(scaled)
        mixed = MatMul(share, v)
        back = Transpose<perm = [0, 2, 1, 3]>(mixed)
        join_shape = Constant<value_ints = [0, 5, 8]>()
        joined = Reshape(back, join_shape)
        out = MatMul(joined, m_out)
        h2 = Add(h, out)
        u2 = LayerNormalization(h2, scale2)
        up = MatMul(u2, m_up)
        root = Constant<value_float = 0.70710678>()
        z = Mul(up, root)
        e = Erf(z)
        one = Constant<value_float = 1.0>()
        e1 = Add(e, one)
        ue = Mul(up, e1)
        gelu = Mul(ue, half)
        down = MatMul(gelu, m_down)
        h3 = Add(h2, down)
        index = Constant<value_int = 0>()
        class = Gather<axis = 1>(h3, index)
        y = MatMul(class, m_head)""",
    weights={
        "k": (8, 3, 4, 4),
        "token": (1, 1, 8),
        "positions": (1, 5, 8),
        "scale1": (8,),
        "shift1": (8,),
        "m_qkv": (8, 24),
        "m_out": (8, 8),
        "scale2": (8,),
        "m_up": (8, 16),
        "m_down": (16, 8),
        "m_head": (8, CLASSES),
    },
)

CASES = [
    pytest.param(network, over, along, loss, id=f"{network.name}, {loss or 'cotangent'}: d{along} of d{over}")
    for network, pairs in (
        (SMOOTH, [("x", "x"), ("k1", "k1"), ("x", "k2"), ("var", "scale")]),
        (KINKED, [("x", "x"), ("k1", "k1"), ("x", "k2"), ("var", "scale")]),
        (TRANSFORMER, [("x", "x"), ("m_qkv", "m_qkv"), ("x", "positions"), ("scale1", "m_up")]),
    )
    for loss in ("cross-entropy", None)
    for over, along in pairs
    # Without a loss behind it, a network of ReLUs is linear in its input, and in each weight.
    if loss is not None or network is not KINKED or over != along
]


@pytest.mark.parametrize(("network", "over", "along", "loss"), CASES)
def test_second_derivatives_agree_with_differences_of_the_first(
    network: Network, over: str, along: str, loss: str | None
) -> None:
    """``d⟨d_over, v⟩/d along`` by two gradients is ``d d_along/d over · v``, and that by differences in float64."""
    first = with_gradient(network.model, wrt=over, loss=loss)
    second = with_gradient(first, of=f"d_{over}", wrt=along)
    told = gradient_names(second)
    made = [told["gradients"][along]]
    feeds = {**network.feeds(), **head(loss)}
    v = normal(feeds[over].shape, 1)
    exact_v = v.astype(np.float64)
    wide = {name: in_float64(array) for name, array in feeds.items()}
    require_no_kink(network, wide)
    slope = evaluator(
        widened(ir.to_proto(with_gradient(network.model, wrt=along, loss=loss))),
        [f"d_{along}"],
        engine="reference",
    )
    ahead, behind = (slope({**wide, over: wide[over] + sign * STEP * exact_v})[0] for sign in (1, -1))
    differences = (ahead - behind) / (2 * STEP)
    (exact,) = evaluate(
        widened(ir.to_proto(second)), {**wide, told["cotangent"]: exact_v}, made, engine="reference"
    )
    assert np.linalg.norm(differences) > 1e-2
    assert distance(exact, differences) < 1e-7
    assert distance(evaluate(second, {**feeds, told["cotangent"]: v}, made)[0], differences) < 1e-5


def head(loss: str | None) -> dict[str, NDArray[Any]]:
    return {"labels": np.arange(BATCH)} if loss is not None else {"cotangent": normal((BATCH, CLASSES), 3)}


def require_no_kink(network: Network, wide: dict[str, NDArray[Any]]) -> None:
    """Far more than a step moves any unit lies between each and its kink."""
    if network is not KINKED:
        return
    model = network.model
    inner = {str(output.name): output for node in model.graph for output in node.outputs}
    model.graph.outputs.extend(inner[name] for name in ("n", "c"))
    before = evaluate(widened(ir.to_proto(model)), wide, ["n", "c"], engine="reference")
    assert min(np.abs(array).min() for array in before) > 100 * STEP
    windows = before[0].reshape(BATCH, 4, 4, 2, 4, 2).transpose(0, 1, 2, 4, 3, 5).reshape(-1, 4)
    top = np.sort(windows, axis=1)[:, -2:]
    assert np.min((top[:, 1] - top[:, 0])[top[:, 1] > 0]) > 100 * STEP


def in_float64(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def normal(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def distance(made: NDArray[Any], expected: NDArray[Any]) -> float:
    """Relative, in L2."""
    assert made.shape == expected.shape
    return float(np.linalg.norm(made - expected) / np.linalg.norm(expected))
